//! The OpenAPI document against the running service, by a fuzzer that nobody here wrote.

use std::path::Path;
use std::process::Command;

use crate::harness::TestApp;

/// Without `strict`, which turns a device that is late into an error of the server, as it should, and
/// without numbers of changes that are still to come, which are gone.
const FLEET: &str = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = \"edge\"\nnodes = [1, \"web1\"]\n\
                     switches = \"1-2\"\n[[clusters]]\nid = 7\nnodes = \"web[1-3]\"\n";

/// Makes up requests, right ones and wrong ones, and looks whether the answers are as documented;
/// `config` is for what it cannot know.
fn fuzz(config: &str) {
    let app = TestApp::start(FLEET);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("schemathesis.toml"), config).unwrap();
    // A stream is no JSON; its first line is.
    let hooks = "import json\nimport schemathesis\n\n\
                 @schemathesis.deserializer(\"application/x-ndjson\")\n\
                 def lines(ctx, response):\n    \
                 return json.loads(response.content.split(b\"\\n\")[0])\n";
    std::fs::write(dir.path().join("hooks.py"), hooks).unwrap();
    let output = Command::new(root.join("target/schemathesis/bin/schemathesis"))
        .current_dir(dir.path())
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", dir.path())
        .arg("run")
        .arg(format!("http://{}/openapi.json", app.addr))
        .args(["--checks", "all", "--max-examples", "10", "--seed", "1"])
        .args(["--request-timeout", "60", "--exclude-path", "/v1/reload"])
        .output()
        .expect("schemathesis, which .ci/test installs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Tested: 14"), "{said}");
    assert_eq!(app.get().status, 200);
}

#[test]
fn every_answer_to_made_up_requests_is_a_documented_one() {
    fuzz("[parameters]\n\"query.strict\" = \"false\"\n\"query.since\" = 0\n");
}

#[test]
fn every_answer_about_known_devices_is_a_documented_one() {
    fuzz(
        "[parameters]\n\"query.strict\" = \"false\"\n\"query.since\" = 0\n\"path.cluster\" = \"edge\"\n\"path.device\" = 1\n",
    );
}

#[test]
fn the_document_and_its_page_need_nothing_from_elsewhere() {
    let app = TestApp::start(FLEET);
    let page = app.request("GET", "/docs/", &[]);
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    for foreign in ["http://", "https://", "<script", "<style", " style="] {
        assert!(!page.body.contains(foreign), "{foreign}: {}", page.body);
    }
    let links = page.body.split("href=\"../").skip(1);
    let links: Vec<&str> = links.map(|it| it.split('"').next().unwrap()).collect();
    assert_eq!(links.len(), 4, "{links:?}");
    for link in links {
        assert_eq!(
            app.request("GET", &format!("/{link}"), &[]).status,
            200,
            "{link}"
        );
    }
    assert_eq!(app.request("HEAD", "/docs/", &[]).status, 200);
    assert_eq!(app.request("POST", "/docs/", &[]).status, 405);
    assert_eq!(app.request("GET", "/docs/x", &[]).status, 404);
    let document = app.request("GET", "/openapi.json", &[]).json();
    for path in [
        "/v1/report",
        "/v1/collect",
        "/v1/clusters/{cluster}/nodes/{device}",
        "/v1/changes",
        "/v1/workers",
        "/v1/supervision",
        "/v1/reload",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
        assert!(
            page.body.contains(&format!("<code>{path}</code>")),
            "{path}"
        );
    }
}
