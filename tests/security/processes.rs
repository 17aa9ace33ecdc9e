//! What other processes of the same user learn of the service: the commands that it runs are such.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::guarded::ADMIN;
use crate::harness::{TestApp, bare};

/// Any user without rights, as whom all runs if the tests are run by root: nothing is hidden from that.
const USER: &str = "65534";

/// A folder with a copy of the binary, both for all.
fn copied() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(dir.path(), 0o755);
    let binary = dir.path().join("fleetcall");
    std::fs::copy(env!("CARGO_BIN_EXE_fleetcall"), &binary).unwrap();
    open(&binary, 0o755);
    (dir, binary)
}

/// The program, run by a user without rights.
fn unprivileged(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return bare(program.to_str().unwrap());
    }
    let mut command = bare("setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"])
        .arg(program);
    command
}

/// Tries what a process can learn of another one of its user, as `KEY=VALUE` lines.
const SPY: &str = r#"
show() { if [ -n "$2" ]; then echo "$1=$2"; else echo "$1=denied"; fi; }
read -r _ _ _ service _ < /proc/$PPID/stat
show name "$(tr '\0' ' ' < /proc/$service/cmdline | cut -d ' ' -f 2)"
show environ "$(tr '\0' ' ' < /proc/$service/environ 2> /dev/null)"
show maps "$(head -c 20 /proc/$service/maps 2> /dev/null)"
show files "$(ls /proc/$service/fd 2> /dev/null | head -c 20)"
show memory "$(dd if=/proc/$service/mem bs=1 count=1 2>&1 > /dev/null | grep -v denied | head -c 20)"
show scope "$(tr '\0' ' ' < /proc/$PPID/environ 2> /dev/null)"
show own "$(env | tr '\n' ' ')"
"#;

#[test]
fn a_command_cannot_read_the_service_that_runs_it() {
    let (dir, binary) = copied();
    let config = dir.path().join("clusters.toml");
    let spy = SPY.replace('{', "{{").replace('}', "}}");
    std::fs::write(
        &config,
        format!(
            "[http]\ntokens = [{{ name = \"a\", role = \"admin\", token = {{ env = \"ADMIN_TOKEN\" }} }}]\n\
             [lookup]\ndriver = \"exec\"\noutput = \"key_value\"\n\
             command = [\"/bin/sh\", \"-c\", {spy:?}]\nenv = {{ GIVEN = \"given\" }}\ntimeout = \"1m\"\n\
             [[clusters]]\nid = 1\nnodes = \"1\"\n"
        ),
    )
    .unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = unprivileged(&binary);
    command.env("ADMIN_TOKEN", ADMIN);
    let app = TestApp::start_as(command, dir, config, &[]);
    let bearer = format!("Bearer {ADMIN}");
    let headers = [("Authorization", bearer.as_str())];
    let answer = app.request("GET", "/test", &headers);
    assert!(!answer.body.contains(ADMIN), "{}", answer.body);
    let learned = &answer.json()["data"][0]["nodes"][0]["facts"]["values"];
    // It looked at the right one.
    assert_eq!(learned["name"], "--port", "{learned}");
    for what in ["environ", "maps", "files", "memory", "scope"] {
        assert_eq!(learned[what], "denied", "{what}: {learned}");
    }
    let own = learned["own"].as_str().unwrap();
    assert!(
        own.contains("GIVEN=given") && own.contains("PATH="),
        "{own}"
    );
    // The service itself still knows how it is.
    let metrics = app.request("GET", "/metrics", &headers).body;
    for name in [
        "process_open_fds",
        "process_max_fds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_threads",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
    ] {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name}: {metrics}"));
        let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!(value > 0.0, "{line}");
    }
}

#[test]
fn a_crash_leaves_no_core() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("clusters.toml");
    std::fs::write(&config, "[[clusters]]\nid = 1\nnodes = \"1\"\n").unwrap();
    let mut command = bare("sh");
    let script = "ulimit -c $(ulimit -Hc); exec \"$0\" \"$@\"";
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_fleetcall")])
        .current_dir(dir.path());
    let mut app = TestApp::start_as(command, dir, config, &[]);
    app.signal("ABRT");
    let status = app.wait();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
}
