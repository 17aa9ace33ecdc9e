//! What sessions a controller has of ours, whatever becomes of the lookups.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{PATIENCE, TestApp, config_file, fleetcall, until};
use crate::redfish::{ADMIN, Asked, LOGIN, machine, resource};
use crate::servers::{http, server};

const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const ROOT: &str = "GET /redfish/v1/";
const SURVEY: &str = "GET /redfish/v1/Chassis/1/Power";
const LOGOUT: &str = "DELETE";

/// A controller that counts its sessions, and can be told to let a request wait for its answer.
#[derive(Default)]
struct Controller {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: BTreeSet<usize>,
    logins: usize,
    /// The most that were open at once.
    most: usize,
    /// Requests that begin so get no answer.
    held: Option<&'static str>,
    /// How many of those have come.
    waiting: usize,
    /// Whether it lets no session be ended.
    keeps_sessions: bool,
}

impl Controller {
    fn start() -> (Arc<Self>, SocketAddr) {
        let controller = Arc::new(Self::default());
        let resources = machine();
        let serving = Arc::clone(&controller);
        let addr = server(move |mut stream| {
            while let Some(asked) = Asked::read(&mut stream) {
                let answer = serving.answer(&asked);
                let answer = answer.unwrap_or_else(|| resource(&resources, &asked));
                if stream.write_all(&answer).is_err() {
                    return;
                }
            }
        });
        (controller, addr)
    }

    /// `None` is the resource that it asks for.
    fn answer(&self, asked: &Asked) -> Option<Vec<u8>> {
        let mut state = self.state.lock().unwrap();
        // It has the session, also if its answer is never taken.
        let mut session = None;
        if asked.line == LOGIN {
            state.logins += 1;
            let id = state.logins;
            state.open.insert(id);
            state.most = state.most.max(state.open.len());
            session = Some(id);
        }
        let is_held = |state: &State| state.held.is_some_and(|it| asked.line.starts_with(it));
        if is_held(&state) {
            state.waiting += 1;
            self.changed.notify_all();
            state = self.changed.wait_while(state, |it| is_held(it)).unwrap();
        }
        if let Some(id) = session {
            let headers = format!("X-Auth-Token: t{id}\r\nLocation: {SESSIONS}/{id}\r\n");
            return Some(http("201 Created", &headers, b"{}"));
        }
        if asked.line == ROOT {
            return None;
        }
        let is_shown = |id: &&usize| asked.has_header(&format!("x-auth-token: t{id}"));
        let Some(id) = state.open.iter().find(is_shown).copied() else {
            return Some(http("401 Unauthorized", "", b""));
        };
        if state.keeps_sessions && asked.line.starts_with(LOGOUT) {
            return Some(http("405 Method Not Allowed", "", b""));
        }
        if asked.line == format!("DELETE {SESSIONS}/{id}") {
            state.open.remove(&id);
            self.changed.notify_all();
            return Some(http("204 No Content", "", b""));
        }
        None
    }

    /// Holds back the answers to such requests, or no others any more.
    fn hold(&self, what: Option<&'static str>) {
        let mut state = self.state.lock().unwrap();
        (state.held, state.waiting) = (what, 0);
        self.changed.notify_all();
    }

    #[track_caller]
    fn wait(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !is_so(state));
        assert!(
            !waited.unwrap().1.timed_out(),
            "this does not become so: {what}"
        );
    }

    fn logins(&self) -> usize {
        self.state.lock().unwrap().logins
    }

    /// None is open, and there was never more than one at a time.
    #[track_caller]
    fn all_ended(&self) {
        self.wait("all sessions have ended", |state| state.open.is_empty());
        assert_eq!(self.state.lock().unwrap().most, 1);
    }

    #[track_caller]
    fn none_is_open(&self) {
        let state = self.state.lock().unwrap();
        assert_eq!((state.open.len(), state.most), (0, 1));
    }
}

fn config(addr: SocketAddr, more: &str) -> String {
    let (top, nodes) = more.split_once('|').unwrap_or((more, "1"));
    format!(
        "[lookup]\ndriver = \"redfish\"\nurl = \"http://{addr}\"\n{ADMIN}timeout = \"1m\"\n\
         [collect]\ndeadline = \"2m\"\n{top}\n[[clusters]]\nid = 1\nnodes = \"{nodes}\"\n"
    )
}

fn start(addr: SocketAddr, more: &str, arguments: &[&str]) -> TestApp {
    let (dir, path) = config_file(&config(addr, more));
    let mut command = fleetcall();
    command.env("PASSWORD", "hunter2");
    TestApp::start_as(command, dir, path, arguments)
}

#[test]
fn clients_that_hang_up_leave_no_session() {
    let (controller, addr) = Controller::start();
    let app = start(addr, "", &[]);
    for round in 0..40 {
        let stage = [LOGIN, "GET /redfish/v1/Systems", SURVEY, ROOT][round % 4];
        controller.hold(Some(stage));
        let client = app.begin();
        controller.wait("it is asked for", |state| state.waiting == 1);
        drop(client);
        app.wait_for_logs(round + 1, |line| line["message"] == "collect cancelled");
        controller.hold(None);
        controller.all_ended();
    }
    // One at the root had none yet.
    assert_eq!(controller.logins(), 30);
    assert_eq!(app.get().devices(), ["1/n1"]);
    controller.all_ended();
}

#[test]
fn a_session_whose_login_is_answered_too_late_ends_too() {
    let (controller, addr) = Controller::start();
    controller.hold(Some(LOGIN));
    let (dir, path) = config_file(&config(addr, "").replace("\"1m\"", "\"1s\""));
    let mut command = fleetcall();
    command.env("PASSWORD", "hunter2");
    let app = TestApp::start_as(command, dir, path, &[]);
    // Whether or not that was long enough to come as far as the login.
    until("it logs in and times out", || {
        assert_eq!(app.get().devices(), ["1/n1:timed_out"]);
        controller.logins() > 0
    });
    controller.hold(None);
    controller.all_ended();
}

#[test]
fn devices_of_one_controller_have_one_session_at_a_time() {
    let (controller, addr) = Controller::start();
    let app = start(addr, "|1-8", &[]);
    for _ in 0..3 {
        let devices: Vec<String> = (1..=8).map(|id| format!("1/n{id}")).collect();
        assert_eq!(app.get().devices(), devices);
    }
    controller.all_ended();
    assert_eq!(controller.logins(), 24);
}

#[test]
fn a_logout_that_takes_its_time_delays_the_next_login_and_no_answer() {
    let (controller, addr) = Controller::start();
    let app = start(addr, "", &[]);
    controller.hold(Some(LOGOUT));
    assert_eq!(app.get().devices(), ["1/n1"]);
    controller.wait("it logs out", |state| state.waiting == 1);
    let _next = app.begin();
    controller.hold(None);
    controller.wait("the next one logs in", |state| state.logins == 2);
    controller.all_ended();
}

#[test]
fn the_log_warns_once_of_a_controller_that_keeps_sessions() {
    let (controller, addr) = Controller::start();
    let app = start(addr, "", &[]);
    let keep = |keeps| controller.state.lock().unwrap().keeps_sessions = keeps;
    for round in 1..=2 {
        keep(true);
        for _ in 0..3 {
            assert_eq!(app.get().devices(), ["1/n1"]);
        }
        let left = |line: &Value| line["message"] == "a session may be left on a Redfish service";
        let lines = app.wait_for_logs(3 * round, left);
        keep(false);
        assert_eq!(app.get().devices(), ["1/n1"]);
        let ended = |line: &Value| line["message"] == "sessions on a Redfish service end again";
        app.wait_for_logs(round, ended);
        let lines = &lines[3 * (round - 1)..];
        let levels: Vec<_> = lines.iter().map(|line| &line["level"]).collect();
        assert_eq!(levels, ["warn", "debug", "debug"]);
        assert_eq!(lines[0]["controller"], format!("http://{addr}"));
        let error = "logging out: it answers 405 Method Not Allowed";
        assert_eq!(
            (&lines[0]["device"], &lines[0]["error"]),
            (&json!("1"), &json!(error))
        );
    }
    // One that ends says nothing. The second login comes after the end of the first session.
    for _ in 0..2 {
        assert_eq!(app.get().devices(), ["1/n1"]);
    }
    app.wait_for_logs(10, |line| line["message"] == "collected");
    let ended = |line: &&Value| line["message"] == "sessions on a Redfish service end again";
    assert_eq!(app.log().iter().filter(ended).count(), 2);
}

#[test]
fn a_service_that_stops_leaves_no_session() {
    for (stage, every) in [
        (LOGIN, ""),
        (SURVEY, ""),
        (LOGIN, "every = \"1s\"\n"),
        (SURVEY, "every = \"1s\"\n"),
    ] {
        let (controller, addr) = Controller::start();
        controller.hold(Some(stage));
        let mut app = start(addr, every, &["--grace", "0s"]);
        let _client = every.is_empty().then(|| app.begin());
        controller.wait("it is asked for", |state| state.waiting == 1);
        app.signal("TERM");
        app.wait_for_log(|line| line["message"] == "stopping");
        controller.hold((stage == SURVEY).then_some(stage));
        app.wait();
        controller.none_is_open();
        assert_eq!(controller.logins(), 1);
        let failed = |line: &serde_json::Value| line["kind"] == "auth";
        assert!(!app.log().iter().any(failed), "{stage} {every}");
    }
}

/// A roll call of the command line, which gets no answer to its survey.
fn collect(addr: SocketAddr, arguments: &[&str]) -> (Child, TempDir) {
    let (dir, path) = config_file(&config(addr, ""));
    let mut child = fleetcall();
    child
        .env("PASSWORD", "hunter2")
        .args(["collect", "--config"])
        .arg(path)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    (child.spawn().unwrap(), dir)
}

#[test]
fn a_roll_call_whose_deadline_passes_leaves_no_session() {
    let (controller, addr) = Controller::start();
    controller.hold(Some(SURVEY));
    // As long as this machine takes to log in.
    for deadline in ["2s", "5s", "10s", "20s", "40s"] {
        let (mut child, _dir) = collect(addr, &["--deadline", deadline]);
        assert_eq!(child.wait().unwrap().code(), Some(3));
        if controller.logins() > 0 {
            break;
        }
    }
    controller.none_is_open();
}

#[test]
fn a_roll_call_that_is_interrupted_leaves_no_session() {
    let (controller, addr) = Controller::start();
    controller.hold(Some(SURVEY));
    let (mut child, _dir) = collect(addr, &[]);
    controller.wait("it is asked for", |state| state.waiting == 1);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    controller.none_is_open();
}
