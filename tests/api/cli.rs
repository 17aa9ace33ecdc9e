//! The command line: commands, flags, environment, exit codes, what goes where.

use std::net::TcpListener;

use crate::harness::{config_file, fleetcall, run, stderr, stdout};

const QUICK: &str = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-2\"\n";
const GOLDEN: &str = include_str!("../golden/test.json");

#[test]
fn collect_prints_the_answer_of_the_repository_configuration() {
    let output = run(fleetcall().arg("collect"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), format!("{GOLDEN}\n"));
    assert_eq!(stderr(&output), "");
}

#[test]
fn collect_says_by_its_exit_code_that_some_devices_failed() {
    let (_dir, path) = config_file(
        "[lookup]\nlatency = \"1ms\"\nscript = [\"fail\"]\n[[clusters]]\nid = 1\nnodes = \"1\"\n",
    );
    let output = run(fleetcall()
        .args(["collect", "--debug", "--config"])
        .arg(path));
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stdout(&output).starts_with("{\n  \"error_code\": 1,\n"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn check_says_what_a_valid_configuration_holds() {
    let (_dir, path) = config_file(QUICK);
    let output = run(fleetcall().args(["check", "--config"]).arg(&path));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        format!(
            "{}: valid, 1 cluster, 2 devices, 2 of them simulated\n",
            path.display()
        )
    );
}

#[test]
fn the_repository_configuration_is_valid() {
    let output = run(fleetcall().args(["check", "--config", "config/clusters.toml"]));
    assert_eq!(
        stdout(&output),
        "config/clusters.toml: valid, 4 clusters, 32 devices, 32 of them simulated\n"
    );
}

#[test]
fn every_example_is_valid() {
    let mut count = 0;
    for entry in std::fs::read_dir("config/examples").unwrap() {
        let path = entry.unwrap().path();
        let output = run(fleetcall().args(["check", "--config"]).arg(&path));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        count += 1;
    }
    assert!(count >= 4);
}

#[test]
fn every_command_refuses_a_bad_configuration_with_78() {
    let (_dir, path) = config_file("[[clusters]]\nid = 1\n");
    for command in ["serve", "check", "collect"] {
        let output = run(fleetcall().args([command, "--config"]).arg(&path));
        assert_eq!(output.status.code(), Some(78), "{command}");
        assert_eq!(stdout(&output), "");
        let last = stderr(&output).lines().last().unwrap().to_owned();
        assert!(
            last.contains("clusters.toml:1:1: clusters[0]: the cluster has no devices"),
            "{last}"
        );
    }
}

#[test]
fn a_port_that_is_taken_is_one_clear_line_and_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (_dir, path) = config_file(QUICK);
    let output = run(fleetcall()
        .env("RUST_LOG", "off")
        .args(["--port", &port, "--config"])
        .arg(path));
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    let expected = format!("fleetcall: cannot listen on 127.0.0.1:{port}: Address already in use");
    assert!(
        text.starts_with(&expected) && text.lines().count() == 1,
        "{text}"
    );
}

#[test]
fn bad_arguments_are_usage_errors_that_say_what_is_right() {
    for (arguments, expected) in [
        (["--port", "65536"], "65536 is not in 0..=65535"),
        (["--port", "http"], "invalid digit found in string"),
        (["--bind", "example"], "invalid IP address syntax"),
        (["--log-format", "xml"], "[possible values: text, json]"),
        (["--grace", "5"], "write a number and its unit"),
        (["--grace", "2days"], "write at most \"24h\""),
        (["--prot", "1"], "a similar argument exists: '--port'"),
        (["colect", "--debug"], "unrecognized subcommand 'colect'"),
    ] {
        let output = run(fleetcall().args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            stderr(&output).contains(expected),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_value_out_of_range_is_one_clear_line() {
    let output = run(fleetcall().args(["--port", "65536"]));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "fleetcall: invalid value '65536' for '--port <N>': 65536 is not in 0..=65535\n"
    );
}

#[test]
fn the_exit_code_stands_when_nobody_can_be_told() {
    let (_dir, path) = config_file("");
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let status = fleetcall()
        .args(["check", "--config"])
        .arg(path)
        .stderr(full)
        .status();
    assert_eq!(status.unwrap().code(), Some(78));
}

#[test]
fn every_flag_has_its_environment_variable() {
    let (_dir, path) = config_file(QUICK);
    let output = run(fleetcall()
        .arg("collect")
        .env("FLEETCALL_CONFIG", &path)
        .env("FLEETCALL_DEBUG", "yes")
        .env("FLEETCALL_LOG_FORMAT", "json"));
    assert!(stdout(&output).starts_with("{\n  \"error_code\": 0,\n"));
    for line in stderr(&output).lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["message"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
    assert!(stderr(&output).contains("\"collected\""), "--debug logs");
    for (name, value) in [
        ("FLEETCALL_PORT", "65536"),
        ("FLEETCALL_BIND", "example"),
        ("FLEETCALL_GRACE", "5"),
        ("FLEETCALL_DEBUG", "perhaps"),
    ] {
        let output = run(fleetcall().env(name, value));
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(
            stderr(&output).contains(value),
            "{name}: {}",
            stderr(&output)
        );
    }
    let (_dir, path) = config_file("");
    let output = run(fleetcall().args(["check"]).env("FLEETCALL_CONFIG", path));
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn a_variable_that_is_set_to_nothing_says_nothing() {
    let (dir, path) = config_file(QUICK);
    let help = ["serve", "worker", "publish", "tree"].map(|command| {
        let help = run(fleetcall().args([command, "--help"]));
        stdout(&help)
    });
    let names = help.iter().flat_map(|help| help.split("[env: ").skip(1));
    let names: std::collections::BTreeSet<_> =
        names.filter_map(|rest| rest.split('=').next()).collect();
    assert!(names.len() > 15, "{names:?}");
    let empty = |command: &mut std::process::Command| {
        command.current_dir(dir.path());
        command.envs(names.iter().map(|name| (name, "")));
        command.env("RUST_LOG", "").env("RUST_LOG_STYLE", "");
    };
    let mut check = fleetcall();
    empty(&mut check);
    let output = run(check.arg("check").arg("--config").arg(&path));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // Where it is looked for, there is none.
    for arguments in [&["check"][..], &["serve", "--config", "none.toml"]] {
        let mut command = fleetcall();
        empty(&mut command);
        let output = run(command.args(arguments));
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    }
    let mut tree = fleetcall();
    empty(&mut tree);
    let output = run(tree.args(["tree", "--server", "http://127.0.0.1:9"]));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    // What is a mistake stays one.
    let output = run(fleetcall().args(["check", "--config", ""]));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn rust_log_says_what_is_logged() {
    let (_dir, path) = config_file(QUICK);
    let log = |filter| {
        let mut command = fleetcall();
        stderr(&run(command
            .env("RUST_LOG", filter)
            .args(["collect", "--config"])
            .arg(&path)))
    };
    assert_eq!(log("off"), "");
    assert_eq!(
        log(""),
        stderr(&run(fleetcall().args(["collect", "--config"]).arg(&path)))
    );
    let info = log("fleetcall::collector=info");
    assert_eq!(info.lines().count(), 1, "{info}");
    assert!(info.contains(
        " INFO  fleetcall::collector] collected collect=1 clusters=1 devices=2 failed=0"
    ));
}

#[test]
fn help_and_version_are_there() {
    let help = stdout(&run(fleetcall().arg("--help")));
    for part in ["serve", "check", "collect", "Exit codes", "78"] {
        assert!(help.contains(part), "{part}: {help}");
    }
    let help = stdout(&run(fleetcall().args(["--help", "serve"])));
    for part in ["FLEETCALL_PORT", "11100", "--grace"] {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert_eq!(
        stdout(&run(fleetcall().arg("--version"))),
        "fleetcall 0.1.0\n"
    );
}

#[test]
fn the_units_for_systemd_and_containers_start_it_as_it_can_be_started() {
    let unit = include_str!("../../config/systemd/fleetcall.service");
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let arguments = start.unwrap().split(' ').skip(1);
    let help = run(fleetcall().args(arguments).arg("--help"));
    assert_eq!(help.status.code(), Some(0), "{}", stderr(&help));
    // Of commands that it runs, too; and these end with their lookups, not before.
    for line in ["LimitCORE=0", "KillMode=mixed"] {
        assert!(unit.lines().any(|it| it == line), "{line}");
    }
    let known = stdout(&help);
    let container = include_str!("../../config/container/Containerfile");
    let names: Vec<&str> = container
        .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
        .filter(|word| word.starts_with("FLEETCALL_"))
        .collect();
    assert!(names.len() > 4, "{names:?}");
    for name in names {
        assert!(known.contains(&format!("[env: {name}=")), "{name}");
    }
}
