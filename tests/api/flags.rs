//! Each command has the flags that do something there, and no others.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{config_file, fleetcall, run, stderr, stdout};

const QUICK: &str = "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-2\"\n";

const LOG: &str = "debug log-format";
const EXPOSURE: &str = "bind insecure";
const NATS: &str =
    "nats nats-ca nats-cert nats-creds nats-key nats-password-file nats-prefix nats-user";
const SERVER: &str = "server token-file ca";
const TRUST: &str = "published-key published-unsigned";

/// What each command's flags are to be.
fn expected() -> BTreeMap<&'static str, BTreeSet<String>> {
    let serve =
        format!("config watch {EXPOSURE} port grace {LOG} {NATS} nats-schema published {TRUST}");
    let flags = [
        ("serve", serve.clone()),
        ("worker", format!("{serve} name lease")),
        ("check", format!("config {EXPOSURE} {LOG} {NATS}")),
        (
            "collect",
            format!(
                "config {LOG} {SERVER} format cluster kind device exclude failed deadline force"
            ),
        ),
        ("tree", format!("{SERVER} all format watch")),
        ("reset", format!("{SERVER} cluster kind")),
        (
            "publish",
            format!("config {LOG} {NATS} {TRUST} init lease sign-key new-key"),
        ),
        ("workers", format!("{SERVER} format")),
        ("init", "config force".to_owned()),
        ("completions", String::new()),
        ("man", String::new()),
    ];
    let set = |text: String| text.split_whitespace().map(str::to_owned).collect();
    flags
        .map(|(command, text)| (command, set(text)))
        .into_iter()
        .collect()
}

/// The flags that a command's help lists.
fn listed(command: &str) -> BTreeSet<String> {
    let help = stdout(&run(fleetcall().args([command, "--help"])));
    let lines = help.lines().map(str::trim_start);
    let flags = lines.filter_map(|line| {
        let line = line.strip_prefix("-h, ").unwrap_or(line);
        line.strip_prefix("--")?
            .split([' ', '=', '['])
            .next()
            .map(str::to_owned)
    });
    flags.filter(|flag| flag != "help").collect()
}

#[test]
fn help_lists_the_commands_own_flags_only() {
    let all = expected();
    let help = stdout(&run(fleetcall().arg("--help")));
    for (command, flags) in &all {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command}: {help}"
        );
        assert_eq!(listed(command), *flags, "{command}");
    }
    assert_eq!(listed("help"), BTreeSet::new());
}

#[test]
fn what_the_environment_says_to_a_service_breaks_no_other_command() {
    let (_dir, path) = config_file(QUICK);
    let config = path.to_str().unwrap();
    let server = ["--server", "http://127.0.0.1:1"];
    let init = path.with_file_name("new.toml");
    for (arguments, code) in [
        (&["check", "--config", config][..], 0),
        (&["collect", "--config", config], 0),
        (&["collect", server[0], server[1]], 1),
        (&["tree", server[0], server[1]], 1),
        (&["workers", server[0], server[1]], 1),
        (&["reset", "1", server[0], server[1]], 1),
        (&["init", init.to_str().unwrap()], 0),
        (&["completions", "bash"], 0),
        (&["man", "serve"], 0),
    ] {
        let mut command = fleetcall();
        for (name, value) in [
            ("FLEETCALL_CONFIG", config),
            ("FLEETCALL_WATCH", "true"),
            ("FLEETCALL_PORT", "none"),
            ("FLEETCALL_GRACE", "never"),
            ("FLEETCALL_NATS", "nats://127.0.0.1:1"),
            ("FLEETCALL_NATS_USER", "somebody"),
            ("FLEETCALL_NATS_PASSWORD_FILE", "/dev/null/none"),
            ("FLEETCALL_NATS_SCHEMA", "0"),
            ("FLEETCALL_PUBLISHED", "true"),
            ("FLEETCALL_PUBLISHED_KEY", "none"),
            ("FLEETCALL_LEASE", "1"),
            ("FLEETCALL_TOKEN_FILE", "/dev/null/none"),
            ("FLEETCALL_CA", "/dev/null/none"),
        ] {
            let is_of_client = name.contains("TOKEN") || name == "FLEETCALL_CA";
            if !(is_of_client && arguments.contains(&server[0])) {
                command.env(name, value);
            }
        }
        let output = run(command.args(arguments));
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn flags_that_would_do_nothing_beside_others_are_refused() {
    for (arguments, why) in [
        (
            &["collect", "--config", "a", "--server", "http://127.0.0.1:1"][..],
            "--config does nothing with --server",
        ),
        (
            &["collect", "--token-file", "a"],
            "--token-file does nothing without --server",
        ),
        (
            &["collect", "--ca", "a"],
            "--ca does nothing without --server",
        ),
        (
            &["serve", "--nats-creds", "a"],
            "--nats-creds does nothing without --nats",
        ),
        (
            &["--nats-prefix", "a"],
            "--nats-prefix does nothing without --nats",
        ),
        (
            &["serve", "--nats-schema", "1"],
            "--nats-schema does nothing without --nats",
        ),
        (
            &["serve", "--published-key", "a"],
            "--published-key does nothing without --published",
        ),
        (
            &["worker", "--published-unsigned"],
            "--published-unsigned does nothing without --published",
        ),
        (
            &["publish", "--nats", "nats://127.0.0.1:1", "--lease", "3s"],
            "--lease does nothing without --init",
        ),
    ] {
        let output = run(fleetcall().args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(stderr(&output), format!("fleetcall: {why}\n"));
    }
}

#[test]
fn flags_may_stand_before_the_command() {
    let (_dir, path) = config_file(QUICK);
    let output = run(fleetcall().arg("--config").arg(&path).arg("check"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = run(fleetcall().args(["--port", "1", "check"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("unexpected argument '--port' found"));
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    let (_dir, path) = config_file("[[clusters]]\nid = 1\nnodes = 1\n");
    let config = path.to_str().unwrap();
    for (variables, arguments, why) in [
        (
            &[("FLEETCALL_PORT", "x")][..],
            &["serve"][..],
            "fleetcall: invalid value 'x' for FLEETCALL_PORT: ",
        ),
        (
            &[("FLEETCALL_GRACE", "3")],
            &[],
            "fleetcall: invalid value '3' for FLEETCALL_GRACE: ",
        ),
        (
            &[("FLEETCALL_LOG_FORMAT", "z")],
            &["check", "--config", config],
            "fleetcall: invalid value 'z' for FLEETCALL_LOG_FORMAT [possible values: text, json]\n",
        ),
        (
            &[("FLEETCALL_PUBLISHED", "true")],
            &["serve", "--config", config],
            "cannot be used with FLEETCALL_PUBLISHED\n",
        ),
        (
            &[("FLEETCALL_SERVER", "x")],
            &["tree"],
            "fleetcall: FLEETCALL_SERVER \"x\" is no address of a service",
        ),
        // What is written wins over the variable.
        (
            &[("FLEETCALL_PORT", "1")],
            &["serve", "--port", "x"],
            "fleetcall: invalid value 'x' for '--port <N>': ",
        ),
    ] {
        let mut command = fleetcall();
        command.args(arguments).envs(variables.iter().copied());
        let output = run(&mut command);
        assert_eq!(output.status.code(), Some(2), "{variables:?}");
        let said = stderr(&output);
        assert!(said.contains(why), "{variables:?}: {said}");
    }
}
