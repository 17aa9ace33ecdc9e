//! Who may connect, as whom, and what that allows.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::LazyLock;

use crate::fleet::until_well;
use crate::harness::{TestApp, config_file, fleetcall, run, stderr};
use crate::nats::{Nats, nobody};

pub const FLEET: &str = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-3\"\n";

/// What a process that cannot take part says, and its exit code.
pub fn refused(arguments: &[&str]) -> (i32, String) {
    let (_dir, path) = config_file(FLEET);
    let mut command = fleetcall();
    if !arguments.contains(&"publish") {
        command.args(["--port", "0"]);
    }
    command.arg("--config").arg(path);
    let output = run(command.args(arguments));
    (output.status.code().unwrap(), stderr(&output))
}

#[test]
fn a_server_that_is_too_old_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let hello = b"INFO {\"server_id\":\"X\",\"version\":\"2.9.10\",\"host\":\"h\",\
                              \"port\":1,\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n";
                stream.write_all(hello).unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.starts_with("PING") {
                        stream.write_all(b"PONG\r\n").unwrap();
                    }
                }
            });
        }
    });
    let (code, said) = refused(&["--nats", &format!("nats://{addr}"), "serve"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("is version 2.9.10; 2.11 or later is needed"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_reached_or_means_nothing_is_said_so() {
    let addr = nobody();
    let (code, said) = refused(&["--nats", &format!("nats://{addr}"), "serve"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(&format!("cannot connect to NATS at nats://{addr}")),
        "{said}"
    );
    let (code, said) = refused(&["worker"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--nats URL"), "{said}");
    let (code, said) = refused(&["--nats", "nats://me:hush@127.0.0.1:1", "worker"]);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("--nats-creds") && !said.contains("hush"),
        "{said}"
    );
    let nats = Nats::start();
    let url = nats.url();
    let _worker = TestApp::start_with(FLEET, &["--nats", &url, "worker", "--lease", "2s"]);
    let (code, said) = refused(&["--nats", &url, "worker", "--lease", "3s"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("2s") && said.contains("3s") && said.contains("--lease"),
        "{said}"
    );
}

/// What `docs/distributed.md` lets each role do, as the server's configuration has it.
pub static PERMISSIONS: LazyLock<&str> = LazyLock::new(|| {
    let page = include_str!("../../docs/distributed.md");
    let (_, rest) = page.split_once("```hocon\n").unwrap();
    rest.split_once("```").unwrap().0
});

/// It was never told of a violation, so it had all that it needs.
pub fn was_refused_nothing(app: &TestApp) {
    let refused = app.log().into_iter().filter(|it| it["level"] == "error");
    assert_eq!(refused.collect::<Vec<_>>(), Vec::<serde_json::Value>::new());
}

fn users(dir: &Path) -> String {
    std::fs::write(dir.join("front"), "front-hush\n").unwrap();
    std::fs::write(dir.join("worker"), "worker-hush\n").unwrap();
    std::fs::write(dir.join("publisher"), "publisher-hush\n").unwrap();
    PERMISSIONS
        .replace("FRONT_PASSWORD", "front-hush")
        .replace("WORKER_PASSWORD", "worker-hush")
        .replace("PUBLISHER_PASSWORD", "publisher-hush")
}

#[test]
fn each_role_may_do_what_it_has_to_and_no_more() {
    let mut nats = Nats::start_with(users);
    let url = nats.url();
    let path = |name: &str| nats.dir().join(name).display().to_string();
    let (front_file, worker_file) = (path("front"), path("worker"));
    let publisher_file = path("publisher");
    let connect = ["--nats", url.as_str()];
    let as_front = ["--nats-user", "front", "--nats-password-file", &front_file];
    let as_worker = [
        "--nats-user",
        "worker",
        "--nats-password-file",
        &worker_file,
    ];
    let as_publisher = [
        "--nats-user",
        "publisher",
        "--nats-password-file",
        &publisher_file,
    ];
    let (code, said) = refused(&[&connect[..], &as_front, &["publish"]].concat());
    assert_eq!(code, 1, "a front publishes nothing: {said}");
    let (code, said) = refused(&[&connect[..], &as_publisher, &["publish"]].concat());
    assert_eq!(code, 0, "{said}");
    let work = ["--published", "worker", "--lease", "2s"];
    let worker = TestApp::start_with("", &[&connect[..], &as_worker, &work].concat());
    let serve = ["--published", "serve"];
    let front = TestApp::start_with("", &[&connect[..], &as_front, &serve].concat());
    let answer = until_well(&front);
    assert_eq!(answer.devices(), ["1/n1", "1/n2", "1/n3"]);
    let (_, said) = refused(&[&connect[..], &as_publisher, &["publish"]].concat());
    for app in [&worker, &front] {
        app.wait_for_log(|it| it["message"] == "reloaded" && it["trigger"] == "publication");
    }
    assert!(!said.contains("hush"), "{said}");
    // What they watch is to be watched again.
    nats.kill();
    nats.restart();
    until_well(&front);
    refused(&[&connect[..], &as_publisher, &["publish"]].concat());
    for app in [&worker, &front] {
        app.wait_for_logs(2, |it| {
            it["message"] == "reloaded" && it["trigger"] == "publication"
        });
    }
    // A front's credentials take no lease.
    let (code, said) = refused(&[&connect[..], &as_front, &["worker", "--lease", "2s"]].concat());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("bucket \"fleetcall_leases\""), "{said}");
    let (code, said) = refused(&["--nats", &url, "serve"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.to_lowercase().contains("auth"), "{said}");
    for app in [&worker, &front] {
        was_refused_nothing(app);
        let said = serde_json::to_string(&app.log()).unwrap();
        assert!(!said.contains("hush"), "{said}");
    }
}

#[test]
fn servers_are_known_by_their_certificates() {
    let nats = Nats::start_with(|dir| {
        let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let (cert, secret) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&cert, key.cert.pem()).unwrap();
        std::fs::write(&secret, key.signing_key.serialize_pem()).unwrap();
        std::fs::write(dir.join("other.pem"), other.cert.pem()).unwrap();
        format!("tls {{ cert_file: {cert:?}, key_file: {secret:?} }}")
    });
    let url = nats.url();
    let ca = nats.dir().join("cert.pem").display().to_string();
    let arguments = ["--nats", &url, "--nats-ca", &ca, "worker", "--lease", "2s"];
    let worker = TestApp::start_with(FLEET, &arguments);
    until_well(&worker);
    let other = nats.dir().join("other.pem").display().to_string();
    let (code, said) = refused(&["--nats", &url, "--nats-ca", &other, "serve"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("ertificate"), "{said}");
}
