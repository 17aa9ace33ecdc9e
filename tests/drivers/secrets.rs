//! Secrets: where they come from, and that they stand in no output.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{TestApp, config_file, fleetcall, run, stderr};
use crate::servers::{ask_with, http, request, server};

/// A server that accepts one password.
fn guarded(password: &'static str) -> std::net::SocketAddr {
    server(move |mut stream| {
        let head = request(&mut stream);
        let right = head.contains(&format!("authorization: Bearer {password}\r\n"));
        let status = if right { "200 OK" } else { "401 Unauthorized" };
        stream.write_all(&http(status, "", b"{}")).ok();
    })
}

fn bearer(addr: std::net::SocketAddr, source: &str) -> String {
    format!("driver = \"http\"\nurl = \"http://{addr}/\"\nbearer_token = {source}")
}

#[test]
fn a_secret_comes_from_the_environment_a_file_or_systemd() {
    let addr = guarded("s3cr3t");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cr3t\n").unwrap();
    let from_file = format!("{{ file = {:?} }}", file.display().to_string());
    for source in [
        "{ env = \"TOKEN\" }",
        &from_file,
        "{ systemd_credential = \"token\" }",
    ] {
        let node = ask_with("", &bearer(addr, source), |command| {
            command
                .env("TOKEN", "s3cr3t")
                .env("CREDENTIALS_DIRECTORY", dir.path());
        });
        assert_eq!(node.fact("http_status"), 200, "{source}");
        assert!(!node.output.contains("s3cr3t"), "{}", node.output);
    }
}

#[test]
fn a_secret_that_cannot_be_read_is_named_and_not_shown() {
    let addr = guarded("s3cr3t");
    for (source, message) in [
        (
            "{ env = \"TOKEN\" }",
            "the secret's environment variable TOKEN is not set",
        ),
        (
            "{ file = \"/no/such/file\" }",
            "cannot read the secret in /no/such/file: No such file",
        ),
        (
            "{ systemd_credential = \"token\" }",
            "systemd has set no CREDENTIALS_DIRECTORY",
        ),
    ] {
        let node = ask_with("", &bearer(addr, source), |command| {
            command.env_remove("CREDENTIALS_DIRECTORY");
        });
        node.fails("failed", message);
    }
    let node = ask_with("", &bearer(addr, "{ env = \"TOKEN\" }"), |command| {
        command.env("TOKEN", "two\nlines");
    });
    node.fails("failed", "has characters that no header can have");
    assert!(!node.output.contains("lines"), "{}", node.output);
}

#[test]
fn check_names_each_secret_that_is_missing_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("there");
    std::fs::write(&file, "s3cr3t-there").unwrap();
    // One that everybody can read is warned of, too.
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, own).unwrap();
    let (_dir, path) = config_file(&format!(
        "[lookup]\ndriver = \"snmp\"\naddress = \"{{id}}:161\"\nversion = \"3\"\nusername = \"u\"\n\
         auth = \"sha256\"\nauth_password = {{ env = \"NOT_SET\" }}\nprivacy = \"aes128\"\n\
         privacy_password = {{ file = \"/no/such/file\" }}\n\
         [[clusters]]\nid = 1\nnodes = [\"a\", {{ ids = \"b\", lookup = {{ timeout = \"1s\" }} }}]\n\
         [[clusters]]\nid = 2\nnodes = [\"a\"]\nlookup = {{ driver = \"http\", url = \"http://{{id}}/\", \
         bearer_token = {{ file = {file:?} }} }}\n"
    ));
    let output = run(fleetcall().args(["check", "--config"]).arg(&path));
    assert_eq!(output.status.code(), Some(0));
    let warnings = stderr(&output);
    assert_eq!(warnings.lines().count(), 2, "{warnings}");
    assert!(
        warnings.contains("variable NOT_SET is not set"),
        "{warnings}"
    );
    assert!(
        warnings.contains("the secret in /no/such/file"),
        "{warnings}"
    );
}

#[test]
fn a_secret_in_the_file_itself_is_refused_unless_that_is_allowed() {
    let addr = guarded("s3cr3t");
    let text = format!(
        "[lookup]\n{}\n[[clusters]]\nid = 1\nnodes = \"1\"\n",
        bearer(addr, "\"s3cr3t\"")
    );
    let (_dir, path) = config_file(&text);
    let output = run(fleetcall().args(["check", "--config"]).arg(path));
    assert_eq!(output.status.code(), Some(78));
    let said = stderr(&output);
    assert!(
        said.contains(":4:16: lookup.bearer_token: a secret in the file itself; write { env"),
        "{said}"
    );
    assert!(!said.contains("s3cr3t"), "{said}");
    let node = ask_with(
        "allow_inline_secrets = true",
        &bearer(addr, "\"s3cr3t\""),
        |_| {},
    );
    assert_eq!(node.fact("http_status"), 200);
    assert!(!node.output.contains("s3cr3t"), "{}", node.output);
}

#[test]
fn a_secret_that_changes_is_used_at_once() {
    let addr = guarded("new");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "old").unwrap();
    let source = format!("{{ file = {:?} }}", file.display().to_string());
    // The breaker of a device that refused our credentials is open for long, so it is reset here
    // by asking two devices.
    let app = TestApp::start(&format!(
        "[lookup]\n{}\n[[clusters]]\nid = 1\nnodes = \"1\"\n",
        bearer(addr, &source) + "\nbreaker = { open = { min = \"1ms\", max = \"1ms\" } }"
    ));
    assert_eq!(app.get().devices(), ["1/n1:auth"]);
    std::fs::write(&file, "new\n").unwrap();
    until(&app, "1/n1");
}

#[test]
fn a_secret_stands_in_no_answer_and_no_log_line_of_a_service() {
    let right = guarded("s3cr3t");
    let wrong = guarded("other");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cr3t\n").unwrap();
    let token = format!("{{ file = {:?} }}", file.display().to_string());
    let group = |id: u8, addr, more: &str| {
        format!(
            "[[clusters.nodes]]\nids = [{id}]\nlookup = {{ driver = \"http\", url = \"http://{addr}/?k=s3cr3t\", {more} }}\n"
        )
    };
    let app = TestApp::start(&format!(
        "[[clusters]]\nid = 1\n{}{}{}",
        group(1, right, &format!("bearer_token = {token}")),
        group(2, wrong, &format!("bearer_token = {token}")),
        group(
            3,
            wrong,
            &format!("username = \"root\", password = {token}, headers = {{ x-token = {token} }}")
        ),
    ));
    let mut outputs = Vec::new();
    for _ in 0..2 {
        let answer = app.get();
        outputs.push(answer.body.clone());
        outputs.push(format!("{:?}", answer.headers));
    }
    assert_eq!(
        app.get().devices(),
        ["1/n1", "1/n2:breaker_open", "1/n3:breaker_open"]
    );
    for (method, path) in [("GET", "/v1/supervision"), ("POST", "/v1/reload")] {
        let answer = app.request(method, path, &[]);
        assert_eq!(answer.status, 200, "{path}");
        outputs.push(answer.body);
    }
    let server = format!("http://{}", app.addr);
    let tree = run(fleetcall().args(["tree", "--all", "--server", &server]));
    outputs.push(crate::harness::stdout(&tree));
    outputs.extend(app.log().iter().map(ToString::to_string));
    assert!(outputs.len() > 10);
    for output in outputs {
        assert!(!output.contains("s3cr3t"), "{output}");
    }
}

/// A service whose only node is asked with a token from a file, its breaker open for ten minutes once that
/// is refused; also counts how often the node was asked.
fn refused(every: &str) -> (TestApp, std::path::PathBuf, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let addr = server(move |mut stream| {
        let head = request(&mut stream);
        counter.fetch_add(1, Ordering::SeqCst);
        let right = head.contains("authorization: Bearer s3cr3t-right\r\n");
        let status = if right { "200 OK" } else { "401 Unauthorized" };
        stream.write_all(&http(status, "", b"{}")).ok();
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cr3t-wrong\n").unwrap();
    let source = format!("{{ file = {:?} }}", file.display().to_string());
    let config = dir.path().join("clusters.toml");
    let lookup = bearer(addr, &source);
    let text = format!("{every}\n[lookup]\n{lookup}\n[[clusters]]\nid = 1\nnodes = \"1\"\n");
    std::fs::write(&config, text).unwrap();
    (TestApp::start_on(dir, config, &[]), file, asked)
}

/// Replaces a file, so that nobody reads half of it.
pub fn write_whole(path: &std::path::Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// How a roll call ends for the only node: asks until it is so.
pub fn until(app: &TestApp, device: &str) {
    let start = Instant::now();
    loop {
        let found = app.get().devices();
        if found == [device] {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "{device}: {found:?}"
        );
    }
}

#[test]
fn another_secret_is_tried_although_the_breaker_is_open_and_the_same_is_not() {
    let (app, file, asked) = refused("");
    assert_eq!(app.get().devices(), ["1/n1:auth"]);
    // It is looked at for the first time, and is the same.
    assert_eq!(app.get().devices(), ["1/n1:breaker_open"]);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    write_whole(&file, "s3cr3t-other\n");
    until(&app, "1/n1:auth");
    assert_eq!(app.get().devices(), ["1/n1:breaker_open"]);
    assert_eq!(asked.load(Ordering::SeqCst), 2, "once for each secret");
    // What cannot be read is no other secret.
    std::fs::remove_file(&file).unwrap();
    for _ in 0..3 {
        assert_eq!(app.get().devices(), ["1/n1:breaker_open"]);
    }
    write_whole(&file, "s3cr3t-right\n");
    until(&app, "1/n1");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let log = format!("{:?}", app.log());
    assert!(!log.contains("s3cr3t"), "{log}");
}

#[test]
fn the_schedule_tries_another_secret_too() {
    let (app, file, asked) = refused("[collect]\nevery = \"1s\"");
    app.wait_for_log(|line| line["message"] == "failing");
    write_whole(&file, "s3cr3t-right\n");
    app.wait_for_log(|line| line["message"] == "recovered");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
