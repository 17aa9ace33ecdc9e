//! Output that is not read to its end, as by `| head`.

use std::process::{Command, Stdio};

use crate::harness::{TestApp, config_file, fleetcall, stderr};
use crate::pty::{AtTerminal, Options, shown};

/// One answers, two fail.
const MIXED: &str = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\n\
    nodes = [\"1\", { ids = \"2-3\", lookup = { script = [\"fail\", \"panic\"] } }]\n";

/// The exit code with nothing that reads standard output, and what stands on standard error.
fn unread(command: &mut Command) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    (output.status.code(), stderr(&output))
}

#[test]
fn a_reader_that_is_gone_is_no_error_of_any_command() {
    let app = TestApp::start(MIXED);
    let server = format!("http://{}", app.addr);
    let config = app.config.to_str().unwrap();
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["help", "collect"], 0),
        (&["man"], 0),
        (&["man", "collect"], 0),
        (&["completions", "bash"], 0),
        (&["init", "-"], 0),
        (&["check", "--config", config], 0),
        (&["tree", "--server", &server], 0),
        (&["tree", "--server", &server, "--format", "json"], 0),
        (&["tree", "--server", &server, "--watch"], 0),
        (&["collect", "--config", config], 3),
        (&["collect", "--config", config, "--format", "csv"], 3),
        (&["collect", "--config", config, "--format", "table"], 3),
        (&["collect", "--config", config, "--format", "ndjson"], 141),
        (&["collect", "--server", &server], 3),
        (&["collect", "--server", &server, "--format", "ndjson"], 141),
    ] {
        let unread = unread(fleetcall().args(arguments));
        assert_eq!(unread, (Some(code), String::new()), "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_written_for_another_reason_is_an_error() {
    for arguments in [
        &["init", "-"][..],
        &["--help"],
        &["serve", "--help"],
        &["--version"],
        &["help", "tree"],
        &["man"],
        &["completions", "bash"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut command = fleetcall();
        let output = command.args(arguments).stdout(full.unwrap()).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let why = stderr(&output);
        let right = "fleetcall: cannot write to standard output: ";
        assert!(why.starts_with(right), "{arguments:?}: {why}");
    }
}

#[test]
fn standard_error_does_not_name_the_devices_that_the_answer_names() {
    let lists =
        format!("{MIXED}[[clusters]]\nid = 2\nnodes = {{ file = \"/nowhere/list.json\" }}\n");
    for format in ["table", "json", "csv", "ndjson"] {
        let (_dir, path) = config_file(&lists);
        let path = path.to_str().unwrap();
        let arguments = ["collect", "--config", path, "--format", format];
        let options = Options {
            columns: 400,
            stdout: Some(Stdio::null()),
            ..Options::default()
        };
        let (raw, code) = AtTerminal::start(&arguments, options).end();
        assert_eq!(code, Some(3));
        let logged: Vec<_> = shown(&raw)
            .into_iter()
            .filter(|line| line.starts_with("[20"))
            .collect();
        // What the answer does not say is still there.
        assert!(
            logged.len() == 1 && logged[0].contains("/nowhere/"),
            "{format}: {raw}"
        );
    }
    let (_dir, path) = config_file(MIXED);
    let path = path.to_str().unwrap();
    let arguments = ["collect", "--config", path, "--debug"];
    let (raw, _) = AtTerminal::start(&arguments, Options::default()).end();
    assert!(raw.contains("failing"), "{raw}");
}
