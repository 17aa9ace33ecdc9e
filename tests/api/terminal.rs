//! `fleetcall collect` at a terminal: progress, table, colours, width, Ctrl-C.

use std::process::Stdio;

use crate::harness::config_file;
use crate::pty::{AtTerminal, Options, shown};
use crate::service::{Service, lines, tree};

/// Two answer, one fails, one hangs.
const MIXED: &str = "[lookup]\nlatency = \"1ms\"\ntimeout = \"1h\"\n[collect]\ndeadline = \"1h\"\n\
    [[clusters]]\nid = 1\nnodes = [\"1-2\", { ids = \"bad\", lookup = { script = [\"fail\"] } }]\n\
    [[clusters]]\nid = \"edge\"\nswitches = [{ ids = \"hung\", lookup = { script = [\"hang\"] } }]\n";

/// The same, where the one that hangs answers.
fn settled() -> String {
    MIXED.replace("\"hang\"", "\"ok\"")
}

fn collect(
    config: &str,
    arguments: &[&str],
    options: Options<'_>,
) -> (tempfile::TempDir, AtTerminal) {
    let (dir, path) = config_file(config);
    let path = path.to_str().unwrap();
    let arguments = [&["collect", "--config", path], arguments].concat();
    (dir, AtTerminal::start(&arguments, options))
}

#[test]
fn a_table_tells_who_failed_and_why() {
    let (_dir, terminal) = collect(MIXED, &["--deadline", "3s"], Options::default());
    let (raw, code) = terminal.end();
    assert_eq!(code, Some(3));
    let lines = shown(&raw);
    let starts = |line: usize, expected: &str| {
        assert!(lines[line].starts_with(expected), "{line}: {lines:#?}");
    };
    starts(0, "cluster  devices       ok   failed  slowest");
    starts(1, "1              3        2        1  node ");
    starts(2, "edge           1        0        1");
    starts(
        4,
        "cluster 1 node bad        failed     the simulated lookup failed",
    );
    starts(
        5,
        "cluster edge switch hung  timed_out  no answer before the collect's deadline of 3s",
    );
    starts(7, "4 devices: 2 ok, 2 failed (timed_out 1, failed 1), in ");
    assert_eq!(lines[8..], [String::new()]);
}

#[test]
fn ctrl_c_puts_what_has_come_in_the_place_of_the_progress() {
    let (_dir, mut terminal) = collect(MIXED, &[], Options::default());
    let raw = terminal.wait_for(|text| text.contains("failed 1"));
    let counts = "  3/4  \u{1b}[32mok 2\u{1b}[0m  \u{1b}[31mfailed 1\u{1b}[0m  ";
    assert!(raw.contains(counts), "{raw:?}");
    terminal.press_ctrl_c();
    let (raw, code) = terminal.end();
    assert_eq!(code, Some(130));
    let lines = shown(&raw);
    let find = |expected: &str| {
        let found = lines.iter().any(|line| line.starts_with(expected));
        assert!(found, "{expected}: {lines:#?}");
    };
    find("cluster  devices       ok   failed  waiting  slowest");
    find("edge           1        0        0        1");
    find("4 devices: 2 ok, 1 failed (failed 1), 1 had not answered, in ");
    find("fleetcall: interrupted, so this is not complete: 1 of 4 devices had not answered");
    assert!(!lines.iter().any(|line| line.contains("###")), "{lines:#?}");
}

#[test]
fn only_those_who_failed_are_shown_if_that_is_asked_for() {
    let (_dir, terminal) = collect(&settled(), &["--failed"], Options::default());
    let (raw, code) = terminal.end();
    assert_eq!(code, Some(3));
    let lines = shown(&raw);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("1              3        2        1"))
    );
    assert!(
        !lines.iter().any(|line| line.starts_with("edge")),
        "{lines:#?}"
    );
}

#[test]
fn ctrl_c_keeps_the_shape_of_json() {
    let (_dir, mut terminal) = collect(MIXED, &["--format", "json"], Options::default());
    terminal.wait_for(|text| text.contains("failed 1"));
    terminal.press_ctrl_c();
    let (raw, code) = terminal.end();
    assert_eq!(code, Some(130));
    let lines = shown(&raw);
    let json: Vec<_> = lines.iter().filter(|line| line.starts_with('{')).collect();
    let json: serde_json::Value = serde_json::from_str(json[0]).unwrap();
    assert_eq!(
        crate::harness::devices(&json),
        ["1/n1", "1/n2", "1/nbad:failed", "edge/shung:cancelled"]
    );
}

#[test]
fn a_second_ctrl_c_waits_for_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    // More than a pipe holds, and nobody reads it.
    let config = "[lookup]\nscript = [\"hang\"]\ntimeout = \"1h\"\n[collect]\ndeadline = \"1h\"\n\
        [[clusters]]\nid = 1\nnodes = \"1-5000\"\n";
    let options = Options {
        stdout: Some(Stdio::from(writer)),
        ..Options::default()
    };
    let (_dir, mut terminal) = collect(config, &[], options);
    terminal.wait_for(|text| text.contains("0/5000"));
    terminal.press_ctrl_c();
    // Signals that come too close to each other are one, so the first has to be heard: then the
    // progress gives way to the answer.
    terminal.wait_for(|text| {
        let after = text.split("^C").nth(1);
        after.is_some_and(|after| after.ends_with("\u{1b}[K"))
    });
    terminal.press_ctrl_c();
    let (_, code) = terminal.end();
    assert_eq!(code, Some(130));
    drop(reader);
}

#[test]
fn no_colours_where_they_are_not_wanted() {
    let options = Options {
        environment: &[("NO_COLOR", "1")],
        ..Options::default()
    };
    let (_dir, mut terminal) = collect(MIXED, &[], options);
    terminal.wait_for(|text| text.contains("ok 2  failed 1"));
    terminal.press_ctrl_c();
    let (raw, _) = terminal.end();
    assert!(!raw.replace("\u{1b}[K", "").contains('\u{1b}'), "{raw:?}");
}

#[test]
fn a_dumb_terminal_gets_text_alone() {
    let options = Options {
        environment: &[("TERM", "dumb")],
        ..Options::default()
    };
    let (_dir, terminal) = collect(&settled(), &[], options);
    let (raw, code) = terminal.end();
    assert_eq!(code, Some(3));
    assert!(
        !raw.contains('\u{1b}') && raw.contains("1 failed (failed 1)"),
        "{raw:?}"
    );
}

#[test]
fn a_table_in_a_pipe_is_text_and_progress_stays_at_the_terminal() {
    let (reader, writer) = std::io::pipe().unwrap();
    let options = Options {
        stdout: Some(Stdio::from(writer)),
        ..Options::default()
    };
    let (_dir, mut terminal) = collect(MIXED, &["--format", "table"], options);
    terminal.wait_for(|text| text.contains("failed 1"));
    terminal.press_ctrl_c();
    terminal.end();
    let piped = std::io::read_to_string(reader).unwrap();
    assert!(
        piped.starts_with("cluster ") && !piped.contains('\u{1b}'),
        "{piped:?}"
    );
}

#[test]
fn everything_fits_the_width() {
    for (columns, environment) in [(40, vec![]), (200, vec![("COLUMNS", "40")])] {
        let options = Options {
            columns,
            environment: &environment,
            ..Options::default()
        };
        let (_dir, terminal) = collect(&settled(), &[], options);
        let (raw, _) = terminal.end();
        for line in shown(&raw) {
            // The last line has the numbers, and may go on in a second one.
            let is_total = line.starts_with("4 devices");
            assert!(is_total || line.chars().count() <= 40, "{line:?}");
        }
        assert!(raw.contains("failed\u{1b}[0m  the simulat…"), "{raw:?}");
    }
}

#[test]
fn log_lines_and_progress_do_not_mix() {
    let options = Options {
        columns: 400,
        environment: &[("RUST_LOG", "fleetcall=info")],
        ..Options::default()
    };
    // One fails when there has been progress for a while.
    let late =
        "{ ids = \"late\", lookup = { latency = \"1s\", script = [\"panic\"] } }, { ids = \"bad\"";
    let config = MIXED.replace("{ ids = \"bad\"", late);
    let (_dir, mut terminal) = collect(&config, &[], options);
    terminal.wait_for(|text| text.contains("crashed 1"));
    terminal.press_ctrl_c();
    let (raw, _) = terminal.end();
    let lines = shown(&raw);
    let logged = lines.iter().filter(|line| line.starts_with("[20")).count();
    assert!(logged >= 2, "{lines:#?}");
    assert!(
        lines
            .iter()
            .all(|line| !line.contains('#') && !line.contains("[...")),
        "{lines:#?}"
    );
    for line in &lines {
        let rest = line.get(1..).unwrap_or_default();
        assert!(!rest.contains("[20"), "two in one: {line}");
    }
}

#[test]
fn nothing_that_a_device_says_steers_the_terminal() {
    let evil = r#"{"cluster_id":1,"node_id":1,"outcome":"failed","error":{"kind":"failed","message":"\u001b]0;owned\u0007\u009b2J\r\n\u202egone"},"facts":{"x":"\u009b1m"}}"#;
    let raw_c1 =
        "{\"cluster_id\":1,\"node_id\":2,\"outcome\":\"ok\",\"facts\":{\"x\":\"\u{9b}2J\u{7f}\"}}";
    let report = format!("{evil}\n{raw_c1}\n{{\"summary\":{{}}}}\n");
    let service = Service::start(tree(&[1, 2]), lines(&report, false));
    for format in ["table", "json", "ndjson", "csv"] {
        let options = Options {
            environment: &[("NO_COLOR", "1")],
            ..Options::default()
        };
        let server = service.url();
        let arguments = ["collect", "--server", &server, "--format", format];
        let (raw, code) = AtTerminal::start(&arguments, options).end();
        assert_eq!(code, Some(3), "{raw:?}");
        let rest = raw.replace("\r\u{1b}[K", "");
        let steers = |c: char| (c.is_control() && c != '\r' && c != '\n') || c == '\u{202e}';
        assert!(!rest.contains(steers), "{format}: {raw:?}");
        let line = rest.lines().find(|line| line.contains("owned")).unwrap();
        assert!(
            line.contains("gone"),
            "{format}: it breaks the line: {raw:?}"
        );
    }
}
