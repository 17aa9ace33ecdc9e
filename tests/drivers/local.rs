//! What is missing on this machine: it fails the lookup, says what to do, and is no device's fault.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::{Answer, TestApp, agent, bare, config_file, eventually, fleetcall, request};
use crate::servers::{self, answers, http, server};
use crate::tcp::tls_server;

/// Takes connections and closes them.
fn takes_connections() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    addr
}

/// The binary, started by a shell with such a limit on open files.
fn limited(limit: &str) -> Command {
    let mut command = bare("sh");
    let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_fleetcall")]);
    command
}

fn metric(metrics: &Answer, name: &str) -> f64 {
    let line = metrics.body.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name}: {}", metrics.body));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

const OPEN_FILES: &str = "fleetcall_lookups_local_failures_total{reason=\"open_files\"}";

#[test]
fn with_few_open_files_lookups_and_clients_wait_and_all_are_well() {
    let devices = takes_connections();
    let (dir, path) = config_file(&format!(
        "[lookup]\ndriver = \"tcp\"\naddress = \"{devices}\"\n[[clusters]]\nid = 1\nnodes = \"1-250\"\n\
         [[clusters]]\nid = 2\nswitches = \"1-250\"\n[collect]\ndeadline = \"5m\"\n"
    ));
    let app = TestApp::start_as(limited("-n 64"), dir, path, &[]);
    let failed: BTreeSet<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..100).map(|_| scope.spawn(|| app.get())).collect();
        let failed = clients.into_iter().flat_map(|client| {
            let answer = client.join().unwrap();
            let devices = answer.devices();
            assert_eq!(devices.len(), 500);
            devices.into_iter().filter(|it| it.contains(':'))
        });
        failed.collect()
    });
    assert_eq!(failed, BTreeSet::new());
    let metrics = app.request("GET", "/metrics", &[]);
    assert_eq!(metric(&metrics, "fleetcall_breakers_opened_total"), 0.0);
    assert_eq!(metric(&metrics, OPEN_FILES), 0.0);
    assert_eq!(metric(&metrics, "process_max_fds"), 64.0);
}

#[test]
fn connections_that_a_lookup_keeps_end_with_it() {
    let mut text = "[lookup]\ndriver = \"redfish\"\n[collect]\ndeadline = \"5m\"\n\
                    [[clusters]]\nid = 1\n"
        .to_owned();
    for id in 1..=200 {
        // Keeps its connections for as long as the client does.
        let service = server(|mut stream| {
            let body = "{\"RedfishVersion\": \"1.5.0\"}";
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            while !servers::request(&mut stream).is_empty() {
                stream.write_all(answer.as_bytes()).ok();
            }
        });
        text += &format!("[[clusters.nodes]]\nids = [{id}]\nlookup.url = \"http://{service}\"\n");
    }
    let (dir, path) = config_file(&text);
    let app = TestApp::start_as(limited("-n 64"), dir, path, &[]);
    let devices = app.get().devices();
    let failed: Vec<_> = devices.iter().filter(|it| it.contains(':')).collect();
    assert_eq!(failed, Vec::<&String>::new());
}

#[test]
fn a_device_that_waits_for_open_files_until_the_deadline_is_not_blamed() {
    const DEVICES: usize = 100;
    // Takes requests and is silent until they are given up.
    let service = server(|mut stream| {
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    });
    let (dir, path) = config_file(&format!(
        "[lookup]\ndriver = \"http\"\nurl = \"http://{service}/\"\ntimeout = \"10m\"\n\
         breaker = {{ failures = 1 }}\n[collect]\ndeadline = \"5s\"\n\
         [[clusters]]\nid = 1\nnodes = \"1-{DEVICES}\"\n"
    ));
    let app = TestApp::start_as(limited("-n 64"), dir, path, &[]);
    let answer = app.get().json();
    let nodes = answer["data"][0]["nodes"].as_array().unwrap().clone();
    let of_kind = |kind: &str| {
        let errors = nodes.iter().map(|it| &it["error"]);
        let of_kind = errors.filter(|it| it["kind"] == *kind);
        let messages = of_kind.map(|it| it["message"].as_str().unwrap().to_owned());
        messages.collect::<Vec<_>>()
    };
    let (asked, waited) = (of_kind("timed_out"), of_kind("failed"));
    assert!(!asked.is_empty() && !waited.is_empty(), "{nodes:?}");
    assert_eq!(asked.len() + waited.len(), DEVICES);
    for message in asked {
        assert_eq!(message, "no answer before the collect's deadline of 5s");
    }
    for message in &waited {
        let (what, advice) = message.split_once(", enough for ").unwrap();
        let expected = "not asked before the collect's deadline of 5s: it waited for open files";
        assert_eq!(what, expected);
        let (most, advice) = advice.split_once(" at once; ").unwrap();
        assert!((2..32).contains(&most.parse().unwrap()), "{message}");
        assert_eq!(
            advice,
            "raise the limit on open files (LimitNOFILE=, ulimit -n)"
        );
    }
    // The devices hear of it in turns, after the answer.
    let ended = |metrics: &Answer| {
        let outcomes = ["timed_out", "failed"].map(|outcome| {
            let name = format!("fleetcall_lookups_total{{driver=\"http\",outcome=\"{outcome}\"}}");
            metric(metrics, &name)
        });
        outcomes[0] + outcomes[1]
    };
    let metrics = eventually("all devices have heard of it", || {
        let metrics = app.request("GET", "/metrics", &[]);
        (ended(&metrics) == DEVICES as f64).then_some(metrics)
    });
    assert_eq!(metric(&metrics, OPEN_FILES), waited.len() as f64);
    let opened = (DEVICES - waited.len()) as f64;
    assert_eq!(metric(&metrics, "fleetcall_breakers_opened_total"), opened);
}

/// Sets how many files a process may have open from now on; gives how many that was.
fn limit_files(app: &TestApp, limit: Option<u64>) -> Rlimit {
    let limit = Rlimit {
        current: limit,
        ..rustix::process::getrlimit(Resource::Nofile)
    };
    prlimit(Pid::from_raw(app.pid()), Resource::Nofile, limit).unwrap()
}

#[test]
fn a_process_without_files_to_open_blames_no_device_and_recovers() {
    let devices = takes_connections();
    let server = answers(http("200 OK", "", b"{}"));
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s3cr3t").unwrap();
    let lookups = [
        format!("driver = \"tcp\", address = \"{devices}\""),
        format!("driver = \"http\", url = \"http://{server}/\""),
        format!(
            "driver = \"http\", url = \"http://{server}/\", bearer_token = {{ file = {secret:?} }}"
        ),
        "driver = \"exec\", command = [\"/bin/true\"]".to_owned(),
        format!("driver = \"snmp\", address = \"{devices}\", community = {{ file = {secret:?} }}"),
    ];
    let mut text =
        "[lookup]\nretries = 0\nbreaker = { failures = 2 }\n[[clusters]]\nid = 1\n".to_owned();
    for (index, lookup) in lookups.iter().enumerate() {
        text += &format!("[[clusters.nodes]]\nids = [{index}]\nlookup = {{ {lookup} }}\n");
    }
    let app = TestApp::start(&text);
    let agent = agent();
    let get = |path: &str| request(&agent, app.addr, "GET", path, &[]);
    // Kept, so that asking again needs no file.
    assert_eq!(get("/nowhere").status, 404);
    let before = limit_files(&app, Some(3));
    for _ in 0..4 {
        let answer = get("/test");
        let expected: Vec<_> = (0..lookups.len())
            .map(|it| format!("1/n{it}:failed"))
            .collect();
        assert_eq!(answer.devices(), expected, "{}", answer.body);
        let nodes = &answer.json()["data"][0]["nodes"];
        for node in nodes.as_array().unwrap() {
            let message = node["error"]["message"].as_str().unwrap();
            let says = "Too many open files (os error 24); raise the limit on open files";
            assert!(message.contains(says), "{message}");
        }
    }
    // A client that comes meanwhile is answered later.
    let mut waiting = std::net::TcpStream::connect(app.addr).unwrap();
    waiting
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    limit_files(&app, before.current);
    let answer = crate::harness::read_all(waiting);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let metrics = get("/metrics");
    assert_eq!(metric(&metrics, "fleetcall_breakers_opened_total"), 0.0);
    assert_eq!(metric(&metrics, OPEN_FILES), 4.0 * lookups.len() as f64);
    // The agent that there is none of fails by itself now.
    assert_eq!(
        get("/test").devices()[..4],
        ["1/n0", "1/n1", "1/n2", "1/n3"]
    );
}

#[test]
fn a_secret_or_command_that_cannot_be_read_opens_no_breaker() {
    let server = answers(http("200 OK", "", b"{}"));
    let dir = tempfile::tempdir().unwrap();
    let (secret, command) = (dir.path().join("secret"), dir.path().join("command"));
    let made = Command::new("mkfifo").arg(&secret).status();
    assert!(made.unwrap().success());
    let app = TestApp::start(&format!(
        "[lookup]\nbreaker = {{ failures = 1 }}\nretries = 0\n[[clusters]]\nid = 1\n\
         [[clusters.nodes]]\nids = [1]\nlookup = {{ driver = \"http\", url = \"http://{server}/\", \
         bearer_token = {{ file = {secret:?} }} }}\n\
         [[clusters.nodes]]\nids = [2]\nlookup = {{ driver = \"exec\", command = [{command:?}] }}\n"
    ));
    for _ in 0..3 {
        assert_eq!(app.get().devices(), ["1/n1:failed", "1/n2:failed"]);
    }
    let metrics = app.request("GET", "/metrics", &[]);
    for reason in ["secret", "file"] {
        let name = format!("fleetcall_lookups_local_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(metric(&metrics, &name), 3.0, "{reason}");
    }
    std::fs::remove_file(&secret).unwrap();
    std::fs::write(&secret, "s3cr3t").unwrap();
    std::os::unix::fs::symlink("/bin/true", &command).unwrap();
    assert_eq!(app.get().devices(), ["1/n1", "1/n2"]);
}

#[test]
fn the_systems_authorities_are_used_as_soon_as_they_can_be_read() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}".as_bytes();
    let (secure, _dir, ca) = tls_server("localhost", 30, ok);
    let plain = answers(http("200 OK", "", b"{}"));
    let (dir, path) = config_file(&format!(
        "[lookup]\nbreaker = {{ failures = 1 }}\nretries = 0\n[[clusters]]\nid = 1\n\
         [[clusters.nodes]]\nids = [1]\nlookup = {{ driver = \"http\", url = \"https://localhost:{0}/\" }}\n\
         [[clusters.nodes]]\nids = [2]\nlookup = {{ driver = \"tcp\", address = \"localhost:{0}\", tls = true }}\n\
         [[clusters.nodes]]\nids = [3]\nlookup = {{ driver = \"http\", url = \"http://{plain}/\" }}\n",
        secure.port()
    ));
    let store = dir.path().join("store.pem");
    let mut command = fleetcall();
    command.env("SSL_CERT_FILE", &store);
    command.env_remove("SSL_CERT_DIR");
    let app = TestApp::start_as(command, dir, path, &[]);
    let make: [(&str, &dyn Fn()); 5] = [
        ("No such file or directory (os error 2)", &|| {}),
        ("it is a pipe, not a regular file", &|| {
            let made = Command::new("mkfifo").arg(&store).status();
            assert!(made.unwrap().success());
        }),
        ("it is a device, not a regular file", &|| {
            std::os::unix::fs::symlink("/dev/zero", &store).unwrap();
        }),
        ("it is a directory, not a regular file", &|| {
            std::fs::create_dir(&store).unwrap();
        }),
        (
            "there are none; install them (the package ca-certificates)",
            &|| std::fs::write(&store, "no certificate").unwrap(),
        ),
    ];
    for (why, make) in make {
        make();
        for _ in 0..2 {
            let answer = app.get();
            assert_eq!(answer.devices(), ["1/n1:failed", "1/n2:failed", "1/n3"]);
            let nodes = &answer.json()["data"][0]["nodes"];
            let expected = format!("cannot read the system's certificates of authorities: {why}");
            assert_eq!(nodes[0]["error"]["message"], *expected);
            assert_eq!(nodes[1]["error"]["message"], *expected);
        }
        if store.is_dir() && !store.is_symlink() {
            std::fs::remove_dir(&store).unwrap();
        } else if store.is_symlink() || store.exists() {
            std::fs::remove_file(&store).unwrap();
        }
    }
    std::fs::copy(&ca, &store).unwrap();
    assert_eq!(app.get().devices(), ["1/n1", "1/n2", "1/n3"]);
    let metrics = app.request("GET", "/metrics", &[]);
    assert_eq!(metric(&metrics, "fleetcall_breakers_opened_total"), 0.0);
    let failures = "fleetcall_lookups_local_failures_total{reason=\"file\"}";
    assert_eq!(metric(&metrics, failures), 20.0);
    // Each reason was said once, and its end.
    let about = |line: &serde_json::Value, what: &str| {
        let message = line["message"].as_str().unwrap_or_default();
        message == format!("{what} the system's certificates of authorities")
            || message == format!("the system's certificates of authorities {what}")
    };
    app.wait_for_log(|line| about(line, "can be read"));
    let said = app.log();
    let said = said.iter().filter(|line| about(line, "cannot read"));
    assert_eq!(said.count(), 5);
}

#[test]
fn the_limit_on_open_files_is_raised_for_the_service_and_not_for_commands() {
    let (dir, path) = config_file(
        "[lookup]\ndriver = \"exec\"\n[[clusters]]\nid = 1\n\
         [[clusters.nodes]]\nids = [1]\nlookup = { command = [\"/bin/sh\", \"-c\", \
         \"echo '{{\\\"soft\\\": '$(ulimit -Sn)', \\\"hard\\\": '$(ulimit -Hn)'}}'\"] }\n\
         [[clusters.nodes]]\nids = [2]\nlookup = { command = [\"/no/such/program\"] }\n\
         [[clusters.nodes]]\nids = [3]\nlookup = { command = [\"sh\", \"-c\", \"exit 127\"] }\n",
    );
    let app = TestApp::start_as(limited("-S -n 123; ulimit -H -n 300"), dir, path, &[]);
    let answer = app.get();
    let nodes = &answer.json()["data"][0]["nodes"];
    let limits = serde_json::json!({"soft": 123, "hard": 300});
    assert_eq!(nodes[0]["facts"]["values"], limits, "{nodes}");
    let message = |at: usize| nodes[at]["error"]["message"].as_str().unwrap().to_owned();
    let expected = "cannot run /no/such/program: No such file or directory (os error 2)";
    assert_eq!(message(1), expected);
    assert_eq!(message(2), "the command ended with exit status: 127");
    let metrics = app.request("GET", "/metrics", &[]);
    assert_eq!(metric(&metrics, "process_max_fds"), 300.0);
}
