//! The `exec` driver.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::harness::{TestApp, until};
use crate::servers::{Node, ask, ask_with};

pub fn sh(script: &str, more: &str) -> String {
    let script = script.replace('{', "{{").replace('}', "}}");
    let script = serde_json::to_string(&script).unwrap();
    format!(
        "driver = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", {script}, \"sh\", \"{{id}}\", \"{{cluster}}\"]\ntimeout = \"1m\"\n{more}"
    )
}

pub fn run(script: &str, more: &str) -> Node {
    ask(&sh(script, more))
}

#[test]
fn json_lines_are_facts() {
    let node = run(
        r#"echo '{"id":"'$1'","n":1}'; echo; echo '{"cluster":"'$2'"}'"#,
        "",
    );
    assert_eq!(
        node.fact("values"),
        &json!({"id": "n1", "n": 1, "cluster": "c"})
    );
    run("echo hello", "").fails("protocol", "line 1 is no JSON object");
    run("echo '[1]'", "").fails("protocol", "line 1 is no JSON object");
    run("printf '\\377'", "").fails("protocol", "its output is no text");
    assert!(run("true", "").node["facts"].is_null());
}

#[test]
fn key_value_lines_are_facts() {
    let more = "output = \"key_value\"";
    let node = run("echo 'ID=debian'; echo; echo 'NAME = a=b'", more);
    assert_eq!(node.fact("values"), &json!({"ID": "debian", "NAME": "a=b"}));
    run("echo nonsense", more).fails("protocol", "line 1 is no KEY=VALUE: \"nonsense\"");
}

#[test]
fn exit_codes_say_whether_it_failed() {
    run("echo out; echo 'disk on fire' >&2; exit 7", "").fails(
        "failed",
        "the command ended with exit status: 7: \"disk on fire\"",
    );
    run("kill -SEGV $$", "").fails("failed", "signal: 11");
    let missing = "driver = \"exec\"\ncommand = [\"/no/such/program\"]";
    ask(missing).fails(
        "failed",
        "cannot run /no/such/program: No such file or directory",
    );
}

#[test]
fn nagios_plugins_are_understood() {
    let more = "output = \"nagios\"";
    let plugin = |code| {
        format!("echo \"DISK fine | /=2643MB;5948;5958;0;5968 'a b'=1s\"; echo more; exit {code}")
    };
    for (code, status) in [(0, "ok"), (1, "warning")] {
        let node = run(&plugin(code), more);
        assert_eq!(node.fact("check_status"), status);
        assert_eq!(node.fact("check_output"), "DISK fine");
        assert_eq!(node.fact("values"), &json!({"/": "2643MB", "a b": "1s"}));
    }
    run(&plugin(2), more).fails("failed", "critical: \"DISK fine");
    run(&plugin(3), more).fails("failed", "unknown: \"DISK fine");
    run(&plugin(9), more).fails("protocol", "the plugin ended with exit status: 9");
}

#[test]
fn no_shell_reads_the_arguments_and_the_environment_is_its_own() {
    let literal = "driver = \"exec\"\noutput = \"key_value\"\ncommand = [\"/usr/bin/printf\", \"A=%s\", \"$(id); rm -rf *\"]";
    assert_eq!(
        ask(literal).fact("values"),
        &json!({"A": "$(id); rm -rf *"})
    );
    let more = "output = \"key_value\"\nenv = { GIVEN = { env = \"SECRET\" }, PLAIN = \"x y\" }";
    let lookup = sh("/usr/bin/env", more);
    let node = ask_with("", &lookup, |command| {
        command.env("SECRET", "s3cr3t").env("OTHER", "not yours");
    });
    let values = node.fact("values");
    assert_eq!(
        (&values["GIVEN"], &values["PLAIN"]),
        (&json!("s3cr3t"), &json!("x y"))
    );
    // And what the shell itself sets.
    let names: Vec<&String> = values.as_object().unwrap().keys().collect();
    for name in &names {
        let known = ["GIVEN", "PLAIN", "PATH", "PWD", "OLDPWD", "_", "SHLVL"];
        assert!(known.contains(&name.as_str()), "{names:?}");
    }
}

#[test]
fn complaints_without_end_do_not_stop_a_command_that_answers() {
    let node = run("yes complaint | head -c 1000000 >&2; echo '{\"n\":1}'", "");
    assert_eq!(node.fact("values"), &json!({"n": 1}));
    run("yes complaint >&2 & yes", "max_output_bytes = 1000").fails("too_large", "1000 bytes");
}

#[test]
fn what_prints_too_much_is_stopped() {
    let node = run("yes", "max_output_bytes = 1000");
    node.fails("too_large", "more than 1000 bytes");
    run("printf '{}    '", "max_output_bytes = 6").node["error"]
        .as_null()
        .unwrap();
}

/// Whether the process is there and no zombie.
pub fn is_alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    status.is_ok_and(|it| !it.contains(") Z "))
}

#[test]
fn nothing_of_a_command_outlives_its_lookup() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let program = dir.path().join("check");
    // A child in the background that ignores being asked to end, and holds the output open; and one
    // in a session of its own, whose parent has ended.
    let script = format!(
        "#!/bin/bash\necho $$ >> {0}\n(trap '' TERM HUP INT; echo $BASHPID >> {0}; sleep 1000) &\n\
         (setsid sh -c 'echo $$ >> {0}; exec sleep 1000' &)\nsleep 1000\n",
        pids.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = |timeout: &str| {
        format!(
            "[lookup]\ndriver = \"exec\"\ncommand = [{:?}]\ntimeout = \"{timeout}\"\n\
             [collect]\ndeadline = \"1h\"\n[[clusters]]\nid = 1\nnodes = \"1\"\n",
            program.display().to_string()
        )
    };
    let started = || std::fs::read_to_string(&pids).unwrap_or_default();
    let app = TestApp::start(&config("1s"));
    assert_eq!(app.get().devices(), ["1/n1:timed_out"]);
    // A client that goes away ends it too.
    std::fs::write(&app.config, config("1h")).unwrap();
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
    let before = started().lines().count();
    let client = app.begin();
    until("all of its processes run", || {
        started().lines().count() == before + 3
    });
    drop(client);
    app.wait_for_log(|line| line["message"] == "collect cancelled");
    let pids = started();
    until("none is left", || !pids.lines().any(is_alive));
}
