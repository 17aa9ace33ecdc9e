//! Who may connect, as whom, and what that allows.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::LazyLock;

use crate::fleet::{LEASE, says, until_well};
use crate::harness::{TestApp, config_file, fleetcall, run, stderr, stdout};
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

/// The roles, by the names of their users.
pub const ROLES: [&str; 4] = ["front", "worker", "publisher", "operator"];

/// Users as the documentation has them, and one who may do everything.
pub fn users(dir: &Path) -> String {
    let mut config = PERMISSIONS.to_owned();
    for role in ROLES {
        std::fs::write(dir.join(role), format!("{role}-hush\n")).unwrap();
        config = config.replace(
            &format!("{}_PASSWORD", role.to_uppercase()),
            &format!("{role}-hush"),
        );
    }
    config.replacen("users = [", "users = [\n{ user: all, password: all }", 1)
}

/// The arguments of a process that connects as this role.
pub fn as_role(nats: &Nats, role: &str) -> Vec<String> {
    let file = nats.dir().join(role).display().to_string();
    let url = nats.url();
    [
        "--nats",
        &url,
        "--nats-user",
        role,
        "--nats-password-file",
        &file,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Runs a command as this role; its exit code and what it says to standard error.
pub fn run_as(nats: &Nats, role: &str, arguments: &[&str]) -> (i32, String) {
    let who = as_role(nats, role);
    let who: Vec<&str> = who.iter().map(String::as_str).collect();
    refused(&[&who[..], arguments].concat())
}

/// Starts a process as this role.
pub fn start_as(nats: &Nats, role: &str, config: &str, arguments: &[&str]) -> TestApp {
    let who = as_role(nats, role);
    let who: Vec<&str> = who.iter().map(String::as_str).collect();
    TestApp::start_with(config, &[&who[..], arguments].concat())
}

/// Makes the buckets of a fleet as its operator.
pub fn init(nats: &Nats) {
    let who = as_role(nats, "operator");
    let mut command = fleetcall();
    command
        .args(["publish", "--init", "--lease", LEASE])
        .args(who);
    let made = run(&mut command);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    assert_eq!(stdout(&made).matches(": made\n").count(), 3, "{made:?}");
}

#[test]
fn each_role_may_do_what_it_has_to_and_no_more() {
    let mut nats = Nats::start_with(users);
    init(&nats);
    let (code, said) = run_as(&nats, "front", &["publish"]);
    assert_eq!(code, 1, "a front publishes nothing: {said}");
    let publish = || run_as(&nats, "publisher", &["publish"]);
    let (code, said) = publish();
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("hush"), "{said}");
    let worker = start_as(
        &nats,
        "worker",
        "",
        &["--published", "worker", "--lease", LEASE],
    );
    let front = start_as(&nats, "front", "", &["--published", "serve"]);
    let answer = until_well(&front);
    assert_eq!(answer.devices(), ["1/n1", "1/n2", "1/n3"]);
    publish();
    for app in [&worker, &front] {
        app.wait_for_log(|it| it["message"] == "reloaded" && it["trigger"] == "publication");
    }
    // What they watch is to be watched again.
    nats.kill();
    nats.restart();
    until_well(&front);
    run_as(&nats, "publisher", &["publish"]);
    for app in [&worker, &front] {
        app.wait_for_logs(2, |it| {
            it["message"] == "reloaded" && it["trigger"] == "publication"
        });
    }
    // A front's credentials take no lease.
    let (code, said) = run_as(&nats, "front", &["worker", "--lease", LEASE]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("bucket \"fleetcall_leases\""), "{said}");
    let (code, said) = refused(&["--nats", &nats.url(), "serve"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.to_lowercase().contains("auth"), "{said}");
    for app in [&worker, &front] {
        was_refused_nothing(app);
        let said = serde_json::to_string(&app.log()).unwrap();
        assert!(!said.contains("hush"), "{said}");
    }
}

/// Answers of many pieces, each acknowledged, and such that take longer than a front may say so for one.
#[test]
fn roles_may_give_and_acknowledge_long_answers() {
    let nats = Nats::start_with(users);
    init(&nats);
    let config = "[lookup]\nlatency = \"0s\"\n[collect]\ndeadline = \"1m\"\n\
                  [[clusters]]\nid = 1\nnodes = \"n[0001-9000]\"\n\
                  [[clusters]]\nid = 2\n\
                  nodes = [{ ids = \"slow\", lookup = { latency = \"13s\", timeout = \"30s\" } }]\n";
    let work = ["--nats-schema", "1", "worker", "--lease", LEASE];
    let worker = start_as(&nats, "worker", config, &work);
    let front = start_as(&nats, "front", config, &["serve"]);
    worker.wait_for_logs(2, says("cluster taken"));
    let answer = until_well(&front);
    assert_eq!(answer.devices().len(), 9001);
    // Workers ask each other, too.
    let arguments = ["worker", "--lease", LEASE];
    let other = start_as(&nats, "worker", config, &arguments);
    let answer = until_well(&other);
    assert_eq!(answer.devices().len(), 9001);
    for app in [&worker, &other, &front] {
        was_refused_nothing(app);
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
