//! What sessions a controller has of ours, whatever becomes of the lookups.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{PATIENCE, TestApp, config_file, eventually, fleetcall, until};
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
    /// Whether it closes the connection in place of an answer to a login.
    breaks_logins: bool,
    /// Whether it does not say where a session is.
    hides_sessions: bool,
    /// Whether a session ends at the first request.
    forgets_sessions: bool,
}

impl Controller {
    fn start() -> (Arc<Self>, SocketAddr) {
        let controller = Arc::new(Self::default());
        let resources = machine();
        let serving = Arc::clone(&controller);
        let addr = server(move |mut stream| {
            while let Some(asked) = Asked::read(&mut stream) {
                if asked.line == LOGIN && serving.state.lock().unwrap().breaks_logins {
                    return;
                }
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
            let place = match state.hides_sessions {
                true => String::new(),
                false => format!("Location: {SESSIONS}/{id}\r\n"),
            };
            let headers = format!("X-Auth-Token: t{id}\r\n{place}");
            return Some(http("201 Created", &headers, b"{}"));
        }
        if asked.line == ROOT {
            return None;
        }
        if state.forgets_sessions {
            state.open.clear();
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

/// Two clusters with one device each, both of this controller; the lookups of the second one, which has
/// the id 2, are short.
fn start_two(addr: SocketAddr) -> TestApp {
    let text =
        config(addr, "").replacen("[collect]", "breaker = { failures = 1000 }\n[collect]", 1);
    let (dir, path) = config_file(&format!(
        "{text}[[clusters]]\nid = 2\nnodes = \"2\"\nlookup = {{ timeout = \"500ms\" }}\n"
    ));
    let mut command = fleetcall();
    command.env("PASSWORD", "hunter2");
    TestApp::start_as(command, dir, path, &[])
}

/// Asks the device of a cluster of [`start_two`] alone, and hands over the connection.
fn begin_one(app: &TestApp, cluster: u8) -> TcpStream {
    let mut stream = TcpStream::connect(app.addr).unwrap();
    let head = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    write!(stream, "GET /v1/report?cluster={cluster} {head}").unwrap();
    stream
}

/// Asks the second device until the answer, which has to be a failure, is this one.
#[track_caller]
fn second_says(app: &TestApp, said: &str) -> Value {
    eventually("the second device says why", || {
        let answer = app.request("GET", "/v1/report?cluster=2", &[]).json();
        let device = &answer["clusters"][0]["nodes"][0];
        assert!(device["error"].is_object(), "{answer}");
        let message = device["error"]["message"].as_str()?;
        message.starts_with(said).then(|| device["outcome"].clone())
    })
}

/// Asks until both devices answer: the second one's time is short, also without anything in its way.
fn both_answer(app: &TestApp) {
    until("both answer", || app.get().devices() == ["1/n1", "2/n2"]);
}

fn sessions_left(app: &TestApp) -> String {
    let metrics = app.request("GET", "/metrics", &[]).body;
    let name = "fleetcall_redfish_sessions_left_total ";
    let mut found = metrics.lines().filter_map(|line| line.strip_prefix(name));
    found.next().unwrap().to_owned()
}

#[test]
fn a_login_that_hangs_is_named_to_lookups_that_wait_and_given_up_after_its_own() {
    let (controller, addr) = Controller::start();
    let app = start_two(addr);
    assert_eq!(sessions_left(&app), "0");
    controller.hold(Some(LOGIN));
    let first = begin_one(&app, 1);
    controller.wait("it logs in", |state| state.waiting == 1);
    let said = "no session within 500ms: the login of device 1 of cluster 1 there, begun ";
    assert_eq!(second_says(&app, said), "timed_out");
    assert_eq!(controller.logins(), 1);
    // Long before its timeout, and so is its login then.
    drop(first);
    let left = |line: &Value| line["message"] == "a session may be left on a Redfish service";
    let line = app.wait_for_log(left);
    assert_eq!(line["error"], "logging in: no answer");
    assert_eq!(
        (&line["level"], &line["device"]),
        (&json!("warn"), &json!("1"))
    );
    assert_eq!(sessions_left(&app), "1");
    controller.hold(None);
    both_answer(&app);
}

#[test]
fn a_logout_that_hangs_is_named_to_lookups_that_wait() {
    let (controller, addr) = Controller::start();
    let app = start_two(addr);
    controller.hold(Some(LOGOUT));
    drop(crate::harness::read_all(begin_one(&app, 1)));
    controller.wait("it logs out", |state| state.waiting == 1);
    let said = "no session within 500ms: the logout of device 1 of cluster 1 there, begun ";
    assert_eq!(second_says(&app, said), "timed_out");
    controller.hold(None);
    controller.all_ended();
    both_answer(&app);
    controller.all_ended();
    assert_eq!(sessions_left(&app), "0");
}

#[test]
fn a_session_in_use_is_named_to_lookups_that_wait() {
    let (controller, addr) = Controller::start();
    let app = start_two(addr);
    controller.hold(Some(SURVEY));
    let first = begin_one(&app, 1);
    controller.wait("it is asked for", |state| state.waiting == 1);
    let said = "no session within 500ms: the session of device 1 of cluster 1 there, begun ";
    // Its controller was not asked for it.
    assert_eq!(second_says(&app, said), "failed");
    let metrics = app.request("GET", "/metrics", &[]).body;
    let counted = metrics.lines().find(|it| it.contains("reason=\"session\""));
    assert!(counted.is_some_and(|it| !it.ends_with(" 0")), "{counted:?}");
    drop(first);
    controller.hold(None);
    controller.all_ended();
}

/// The timer that the system runs for the connections to a port, by their lines in `/proc/net/tcp`.
fn timers(to: SocketAddr) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to = format!(":{:04X}", to.port());
    let lines = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_open = columns[3] == "01";
        (columns[2].ends_with(&to) && is_open).then(|| columns[5].to_owned())
    });
    lines.collect()
}

#[test]
fn a_controller_that_is_restarted_is_not_waited_for() {
    let (controller, addr) = Controller::start();
    let app = start(addr, "", &[]);
    controller.hold(Some(LOGIN));
    let _client = app.begin();
    controller.wait("it logs in", |state| state.waiting == 1);
    // Nothing else tells of a peer that has forgotten a connection: it is probed (02) each second, and not,
    // as otherwise, after a quarter of a minute.
    let due = eventually("it is to be probed", || {
        let probes = timers(addr).into_iter().filter_map(|it| {
            let (code, ticks) = it.split_once(':').unwrap();
            (code == "02").then(|| u64::from_str_radix(ticks, 16).unwrap())
        });
        probes.max()
    });
    assert!(due <= 200, "{due} hundredths of a second");
    controller.hold(None);
    controller.all_ended();
}

#[test]
fn a_connection_that_breaks_ends_its_login_at_once() {
    let (broken, addr) = Controller::start();
    let app = start_two(addr);
    broken.state.lock().unwrap().breaks_logins = true;
    let answer = app.request("GET", "/v1/report?cluster=1", &[]).body;
    assert!(answer.contains("\"failed\":1"), "{answer}");
    // It may have made a session.
    assert_ne!(sessions_left(&app), "0");
    broken.state.lock().unwrap().breaks_logins = false;
    until("the second device, which has little time, is asked", || {
        app.request("GET", "/v1/report?cluster=2", &[])
            .body
            .contains("\"ok\":1")
    });
}

#[test]
fn a_session_that_cannot_be_found_again_is_counted() {
    let (controller, addr) = Controller::start();
    let app = start(addr, "", &[]);
    controller.state.lock().unwrap().hides_sessions = true;
    assert_eq!(app.get().devices(), ["1/n1:protocol"]);
    let left = |line: &Value| line["message"] == "a session may be left on a Redfish service";
    let error = app.wait_for_log(left)["error"].clone();
    assert!(
        error.as_str().unwrap().contains("has no address"),
        "{error}"
    );
    assert_eq!(sessions_left(&app), "1");
}

#[test]
fn a_session_that_ended_by_itself_says_nothing_of_the_credentials() {
    let (controller, addr) = Controller::start();
    let app = start(addr, "", &[]);
    controller.state.lock().unwrap().forgets_sessions = true;
    let answer = app.get();
    assert_eq!(answer.devices(), ["1/n1:auth"]);
    assert!(
        answer
            .body
            .contains("401 Unauthorized, though it accepted the login")
    );
    controller.state.lock().unwrap().forgets_sessions = false;
    // No breaker is open.
    assert_eq!(app.get().devices(), ["1/n1"]);
    controller.all_ended();
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
