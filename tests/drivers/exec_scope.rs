//! What commands of `exec` and `ssh` leave behind, whatever becomes of them and of the service.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::exec::{is_alive, run, sh};
use crate::harness::{TestApp, until};
use crate::ssh::Sshd;

/// A file for the numbers of processes.
struct Pids(PathBuf);

impl Pids {
    fn new(dir: &TempDir) -> Self {
        Self(dir.path().join("pids"))
    }

    /// A shell's command for a process in a session of its own, three generations below the shell: none
    /// of those between live on. It is over when that runs.
    fn daemon(&self) -> String {
        let file = self.0.display();
        format!(
            "(setsid sh -c '(setsid sh -c \"echo \\$\\$ >> {file}; exec sleep 1000\" &)' \
             < /dev/null > /dev/null 2>&1 &); until [ -s {file} ]; do sleep 0.01; done"
        )
    }

    /// One that notes the number of the shell itself.
    fn note(&self) -> String {
        format!("echo $$ >> {}", self.0.display())
    }

    fn read(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn are_gone(&self) {
        let pids = self.read();
        assert!(!pids.is_empty());
        until("none is left", || !pids.iter().any(|pid| is_alive(pid)));
    }
}

#[test]
fn what_left_its_group_and_its_session_ends_with_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let pids = Pids::new(&dir);
    let script = format!("{}; echo '{{\"n\":1}}'", pids.daemon());
    let node = run(&script, "");
    assert_eq!(node.fact("values"), &json!({"n": 1}));
    pids.are_gone();
}

#[test]
fn a_scope_that_its_command_stops_ends_it_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let pids = Pids::new(&dir);
    let (daemon, note) = (pids.daemon(), pids.note());
    let lookup = sh(
        &format!("{daemon}; kill -STOP $PPID; {note}; sleep 1000"),
        "",
    );
    let app = TestApp::start(&format!(
        "[lookup]\n{lookup}\n[[clusters]]\nid = 1\nnodes = \"1\"\n"
    ));
    let client = app.begin();
    until("both run", || pids.read().len() == 2);
    drop(client);
    pids.are_gone();
}

#[test]
fn a_service_that_is_killed_leaves_no_command_behind() {
    let dir = tempfile::tempdir().unwrap();
    let pids = Pids::new(&dir);
    let script = format!("{}; {}; sleep 1000", pids.daemon(), pids.note());
    let lookup = sh(&script, "");
    let app = TestApp::start(&format!(
        "[lookup]\n{lookup}\n[[clusters]]\nid = 1\nnodes = \"1\"\n"
    ));
    let _client = app.begin();
    until("both run", || pids.read().len() == 2);
    app.signal("KILL");
    pids.are_gone();
}

#[test]
fn a_session_of_ssh_ends_with_a_service_that_is_killed() {
    let sshd = Sshd::start();
    let pinned = format!("host_key = {:?}", sshd.key("host.pub"));
    let started = sshd.at("started");
    let command = format!("touch {}; sleep 1000", started.display());
    let lookup = sshd.lookup("user", &command, &pinned);
    let app = TestApp::start(&format!(
        "[lookup]\n{lookup}\n[[clusters]]\nid = 1\nnodes = \"1\"\n"
    ));
    let _client = app.begin();
    until("it is logged in", || started.exists());
    // Its key is in a folder that no other test has.
    let key = sshd.at("user").display().to_string();
    let clients = processes_with(&key);
    assert!(!clients.is_empty());
    app.signal("KILL");
    until("none is left", || !clients.iter().any(|pid| is_alive(pid)));
}

/// The processes that have this in an argument.
fn processes_with(text: &str) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").unwrap();
    let found = entries.filter_map(|entry| {
        let path = entry.unwrap().path();
        let arguments = std::fs::read(path.join("cmdline")).ok()?;
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        arguments.contains(text).then(|| name(&path))
    });
    found.collect()
}

#[test]
fn what_a_command_leaves_may_still_print() {
    // As with `> >(tee …)` of bash: the command itself does not wait for what prints.
    let late = |code: u8| {
        let dir = tempfile::tempdir().unwrap();
        let (pids, ended) = (Pids::new(&dir), dir.path().join("ended"));
        let script = format!(
            "(until [ -e {} ]; do sleep 0.01; done; echo '{{\"late\":1}}') & {}; exit {code}",
            ended.display(),
            pids.note(),
        );
        std::thread::scope(|scope| {
            let node = scope.spawn(|| run(&script, ""));
            until("the shell runs", || !pids.read().is_empty());
            let shell = Path::new("/proc").join(&pids.read()[0]);
            until("it has ended, and its scope knows", || !shell.exists());
            std::fs::write(&ended, "").unwrap();
            node.join().unwrap()
        })
    };
    assert_eq!(late(0).fact("values"), &json!({"late": 1}));
    late(3).fails("failed", "exit status: 3");
}

#[test]
fn a_command_that_kills_its_group_ends_itself_only() {
    run("kill -KILL 0", "").fails("failed", "the command ended with signal: 9");
    run("kill -TERM 0", "").fails("failed", "the command ended with signal: 15");
}

#[test]
fn a_command_whose_scope_is_killed_ends_and_opens_no_breaker() {
    let dir = tempfile::tempdir().unwrap();
    let pids = Pids::new(&dir);
    let file = pids.0.display();
    let script = format!("sleep 1000 & printf '%s\\n' $PPID $$ $! >> {file}; wait");
    let lookup = sh(&script, "breaker = { failures = 1 }\nretries = 0");
    let app = TestApp::start(&format!(
        "[lookup]\n{lookup}\n[[clusters]]\nid = 1\nnodes = \"1\"\n[collect]\ndeadline = \"5m\"\n"
    ));
    for round in 1..=2 {
        std::thread::scope(|scope| {
            let answer = scope.spawn(|| app.get());
            until("they run", || pids.read().len() == 3 * round);
            let killed = &pids.read()[3 * (round - 1)];
            let output = Path::new("/proc").join(killed).join("fd/1");
            let has_started = || std::fs::read_link(&output).unwrap() == Path::new("/dev/null");
            until("it has told that", has_started);
            let killed = Pid::from_raw(killed.parse().unwrap()).unwrap();
            kill_process(killed, Signal::KILL).unwrap();
            assert_eq!(answer.join().unwrap().devices(), ["1/n1:failed"]);
        });
    }
    pids.are_gone();
    let metrics = app.request("GET", "/metrics", &[]).body;
    let ours = "fleetcall_lookups_local_failures_total{reason=\"processes\"} 2\n";
    assert!(metrics.contains(ours), "{metrics}");
}

#[test]
fn a_command_whose_scope_is_killed_fails() {
    let message = "the process that ran /bin/sh (fleetcall exec-scope) was killed";
    run("exec > /dev/null 2>&1; kill -KILL $PPID", "").fails("failed", message);
    // Not only when it closes its output.
    run("kill -KILL $PPID; sleep 2", "").fails("failed", message);
}

#[test]
fn a_scope_is_no_command_of_the_help() {
    let help = crate::harness::run(crate::harness::fleetcall().arg("--help"));
    assert!(!crate::harness::stdout(&help).contains("exec-scope"));
}
