//! A made-up fleet never looks real: where the configuration is looked for, and what is said of
//! devices that are simulated.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{TestApp, config_file, fleetcall, run, stderr, stdout};

const ALL_SIMULATED: &str = "every device is simulated, this is a demonstration";
const NOT_ALL: &str = "this is no demonstration any more";

/// A cluster of two simulated nodes, and one of whatever is listed in a file, over TCP.
const MIXED: &str = "[lookup]\nlatency = \"1ms\"\n\
     [[clusters]]\nid = 1\nnodes = \"1-2\"\n\
     [[clusters]]\nid = 2\nnodes = { file = \"real.json\", every = \"100ms\" }\n\
     lookup = { driver = \"tcp\", address = \"127.0.0.1:9\" }\n";

fn says(message: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line["message"] == message
}

/// What the service says wherever it has to: whether it is a demonstration, and how many devices are
/// simulated.
fn said(app: &TestApp) -> (bool, u64) {
    let get = |path: &str, headers: &[(&str, &str)]| app.request("GET", path, headers);
    let clusters = get("/v1/clusters", &[]).json();
    let is_demonstration = clusters["demonstration"].as_bool().unwrap();
    let report = get("/v1/report", &[]).json();
    assert_eq!(report["demonstration"], is_demonstration, "{report}");
    let part = get("/v1/report?cluster=1&max_age=1h", &[]).json();
    assert_eq!(part["demonstration"], is_demonstration, "{part}");
    let lines = get("/v1/report", &[("Accept", "application/x-ndjson")]).body;
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["demonstration"], is_demonstration, "{lines}");
    let events = get("/v1/report", &[("Accept", "text/event-stream")]).body;
    let said = format!("\"demonstration\":{is_demonstration}");
    assert_eq!(events.matches(&said).count(), 1, "{events}");
    let test = get("/test", &[]).body;
    assert!(!test.contains("demonstration") && !test.contains("simulated"));
    (is_demonstration, clusters["simulated"].as_u64().unwrap())
}

/// Serves what is found in an empty folder.
fn serve_in(dir: TempDir) -> (TestApp, PathBuf) {
    let file = dir.path().join("config/clusters.toml");
    let mut command = fleetcall();
    command.current_dir(dir.path());
    (TestApp::start_as(command, dir, PathBuf::new(), &[]), file)
}

#[test]
fn without_a_configuration_serve_shows_a_demonstration_and_says_so() {
    let (app, file) = serve_in(TempDir::new().unwrap());
    let warned = app.wait_for_log(says(
        "there is no configuration, so a simulated demonstration is served",
    ));
    assert_eq!(warned["level"], "warn");
    assert_eq!(
        warned["looked_for"],
        "config/clusters.toml, /etc/fleetcall/clusters.toml"
    );
    let configured = app.wait_for_log(says("configured"));
    assert_eq!(configured["config"], "the built-in demonstration");
    assert_eq!(
        (&configured["devices"], &configured["simulated"]),
        (&json!(32), &json!(32))
    );
    assert_eq!(app.wait_for_log(says(ALL_SIMULATED))["level"], "warn");
    assert_eq!(said(&app), (true, 32));
    assert_eq!(app.get().body, include_str!("../golden/test.json"));

    // A file that appears is taken, and that it goes again does not bring the demonstration back.
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(
        &file,
        MIXED.replace("{ file = \"real.json\", every = \"100ms\" }", "\"1\""),
    )
    .unwrap();
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
    let reloaded = app.wait_for_log(says("reloaded"));
    assert_eq!(reloaded["config"], "config/clusters.toml");
    let changed = app.wait_for_log(says(NOT_ALL));
    assert_eq!(
        (&changed["devices"], &changed["simulated"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(said(&app), (false, 2));
    std::fs::remove_file(&file).unwrap();
    let refused = app.request("POST", "/v1/reload", &[]);
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(
        refused.body.contains("config/clusters.toml"),
        "{}",
        refused.body
    );
    assert_eq!(said(&app), (false, 2));
}

#[test]
fn a_fleet_is_a_demonstration_while_every_device_is_simulated() {
    let (dir, path) = config_file(MIXED);
    let list = dir.path().join("real.json");
    let put = |targets: &str| {
        let new = list.with_extension("new");
        std::fs::write(&new, format!("[{{\"targets\": [{targets}]}}]")).unwrap();
        std::fs::rename(&new, &list).unwrap();
    };
    put("");
    let app = TestApp::start_on(dir, path, &[]);
    app.wait_for_log(says(ALL_SIMULATED));
    assert_eq!(said(&app), (true, 2));
    put("\"a\"");
    app.wait_for_log(says(NOT_ALL));
    assert_eq!(said(&app), (false, 2));
    put("");
    app.wait_for_logs(2, says(ALL_SIMULATED));
    assert_eq!(said(&app), (true, 2));
    // Also by a reload.
    let real = MIXED.replace("nodes = \"1-2\"", "nodes = { file = \"real.json\" }");
    std::fs::write(&app.config, real).unwrap();
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
    app.wait_for_logs(2, says(NOT_ALL));
    // Without devices nothing looks real.
    let clusters = app.request("GET", "/v1/clusters", &[]).json();
    assert_eq!(
        (&clusters["demonstration"], &clusters["simulated"]),
        (&json!(false), &json!(0))
    );
}

#[test]
fn what_asks_devices_or_publishes_refuses_without_a_configuration() {
    let dir = TempDir::new().unwrap();
    // Nothing is there, though something else stands in the way of looking.
    std::fs::write(dir.path().join("config"), "").unwrap();
    let nats = ["--nats", "nats://127.0.0.1:9"];
    for (command, arguments) in [
        ("check", &[][..]),
        ("collect", &[]),
        ("collect", &["--format", "table"]),
        ("publish", &nats),
        ("worker", &nats),
        ("serve", &nats),
    ] {
        let output = run(fleetcall()
            .current_dir(dir.path())
            .env("RUST_LOG", "off")
            .arg(command)
            .args(arguments));
        assert_eq!(
            output.status.code(),
            Some(78),
            "{command}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "", "{command}");
        let here = std::fs::canonicalize(dir.path()).unwrap();
        let expected = format!(
            "config/clusters.toml: there is no such file in {}, and no \
             /etc/fleetcall/clusters.toml; name the configuration by --config or \
             FLEETCALL_CONFIG, or write one by `fleetcall init`\n",
            here.display()
        );
        assert_eq!(stderr(&output), expected, "{command}");
    }
}

#[test]
fn a_pipe_that_is_not_named_is_refused_at_once() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("config")).unwrap();
    let made = Command::new("mkfifo")
        .arg(dir.path().join("config/clusters.toml"))
        .status();
    assert!(made.unwrap().success());
    for arguments in [["serve"], ["check"], ["collect"]] {
        let output = run(fleetcall()
            .current_dir(dir.path())
            .env("RUST_LOG", "off")
            .args(arguments));
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        assert_eq!(
            stderr(&output),
            "config/clusters.toml: cannot read the file: it is a pipe, not a regular file\n",
            "{arguments:?}"
        );
    }
}

#[test]
fn a_configuration_that_is_named_or_cannot_be_read_is_never_replaced_by_the_demonstration() {
    let dir = TempDir::new().unwrap();
    let refused = |arguments: &[&str]| -> Output {
        let output = run(fleetcall()
            .current_dir(dir.path())
            .env("RUST_LOG", "off")
            .args(arguments));
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        output
    };
    for command in ["serve", "check", "collect"] {
        let output = refused(&[command, "--config", "gone.toml"]);
        let text = stderr(&output);
        assert!(
            text.starts_with("gone.toml: cannot read the file: "),
            "{text}"
        );
    }
    // A link to nothing is what somebody meant.
    std::fs::create_dir(dir.path().join("config")).unwrap();
    symlink("gone.toml", dir.path().join("config/clusters.toml")).unwrap();
    for command in ["serve", "check", "collect"] {
        let text = stderr(&refused(&[command]));
        assert!(
            text.starts_with("config/clusters.toml: cannot read the file: "),
            "{text}"
        );
    }
}

#[test]
fn check_says_how_many_devices_are_simulated_those_of_lists_too() {
    let real = "lookup = { driver = \"tcp\", address = \"127.0.0.1:9\" }\n";
    let list = "nodes = { file = \"list.json\" }\n";
    for (clusters, expected) in [
        (format!("nodes = \"1-3\"\n{real}"), "1 cluster, 3 devices\n"),
        (
            format!("nodes = \"1-3\"\n{real}[[clusters]]\nid = 2\nnodes = \"1\"\n"),
            "2 clusters, 4 devices, 1 of them simulated\n",
        ),
        (
            format!("{list}[[clusters]]\nid = 2\nnodes = \"1\"\n{real}"),
            "2 clusters, 1 device, and 2 in 1 list, 2 of them simulated\n",
        ),
    ] {
        let (dir, path) = config_file(&format!("[[clusters]]\nid = 1\n{clusters}"));
        std::fs::write(dir.path().join("list.json"), r#"[{"targets": ["a", "b"]}]"#).unwrap();
        let output = run(fleetcall().args(["check", "--config"]).arg(&path));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let out = stdout(&output);
        assert!(out.ends_with(&format!(": valid, {expected}")), "{out}");
    }
}
