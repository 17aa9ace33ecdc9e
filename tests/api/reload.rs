//! A new configuration for a running service: by signal, by request, by change of the file.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{
    Answer, PATIENCE, TestApp, config_file, devices, eventually, fleetcall, read_all, run, stderr,
};

fn config(nodes: &str) -> String {
    format!("[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"{nodes}\"\n")
}

fn is_reloaded(line: &Value) -> bool {
    line["message"] == "reloaded"
}

#[test]
fn sighup_applies_the_difference_and_logs_it_in_one_line() {
    let app = TestApp::start(&config("1-3"));
    assert_eq!(app.get().devices(), ["1/n1", "1/n2", "1/n3"]);
    std::fs::write(
        &app.config,
        config("2-4") + "[[clusters]]\nid = 2\nswitches = \"1\"\n",
    )
    .unwrap();
    app.signal("HUP");
    let line = app.wait_for_log(is_reloaded);
    for (field, value) in [
        ("level", json!("info")),
        ("trigger", json!("signal")),
        ("clusters_added", json!(1)),
        ("clusters_removed", json!(0)),
        ("devices_added", json!(2)),
        ("devices_removed", json!(1)),
        ("devices_changed", json!(0)),
        ("devices_kept", json!(2)),
        ("settings_changed", json!(false)),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!(app.get().devices(), ["1/n2", "1/n3", "1/n4", "2/s1"]);
}

#[test]
fn a_bad_file_changes_nothing_and_all_its_faults_are_reported() {
    let app = TestApp::start(&config("1-3"));
    std::fs::write(&app.config, config("3-1") + "colour = 1\n").unwrap();
    app.signal("HUP");
    let faults = app.wait_for_logs(2, |line| line["message"] == "configuration fault");
    let places: Vec<_> = faults
        .iter()
        .map(|line| (&line["line"], &line["key"]))
        .collect();
    let expected = [
        (&json!(5), &json!("clusters[0].nodes")),
        (&json!(6), &json!("clusters[0].colour")),
    ];
    assert_eq!(places, expected);
    assert!(faults.iter().all(|line| line["level"] == "error"));
    let refused = app.wait_for_log(|line| {
        line["message"] == "reload refused, the configuration stays as it was"
    });
    assert_eq!(refused["faults"], 2);
    assert_eq!(app.get().devices(), ["1/n1", "1/n2", "1/n3"]);

    let answer = app.request("POST", "/v1/reload", &[]);
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(
        (&problem["type"], &problem["status"]),
        (&json!("about:blank"), &json!(422))
    );
    let fault = &problem["faults"][0];
    assert_eq!(
        (&fault["line"], &fault["column"], &fault["key"]),
        (&json!(5), &json!(9), &json!("clusters[0].nodes"))
    );
    assert!(
        fault["message"].as_str().unwrap().contains("write \"1-3\""),
        "{fault}"
    );
    assert_eq!(problem["faults"].as_array().unwrap().len(), 2);
    let says = |answer: &Answer, what: &str| {
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(what), "{detail}");
    };
    says(&answer, "has 2 faults; the configuration stays");

    std::fs::remove_file(&app.config).unwrap();
    let answer = app.request("POST", "/v1/reload", &[]);
    assert_eq!(answer.status, 422);
    assert!(
        answer.body.contains("cannot read the file: No such file"),
        "{}",
        answer.body
    );
    says(&answer, "has 1 fault; the configuration stays");
    assert_eq!(app.get().devices(), ["1/n1", "1/n2", "1/n3"]);
}

#[test]
fn a_request_reloads_and_says_the_difference() {
    let app = TestApp::start(&config("1-3"));
    std::fs::write(&app.config, config("1-4").replace("1ms", "2ms")).unwrap();
    let answer = app.request("POST", "/v1/reload", &[]);
    assert_eq!(answer.status, 200);
    let expected = json!({
        "clusters_added": 0, "clusters_removed": 0, "devices_added": 1, "devices_removed": 0,
        "devices_changed": 3, "devices_kept": 0, "settings_changed": false, "changed_settings": [],
    });
    assert_eq!(answer.json(), expected);
    let answer = app.request("GET", "/v1/reload", &[]);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        answer.header("access-control-allow-origin"),
        None,
        "/test's is for /test alone"
    );
}

#[test]
fn a_collect_under_way_answers_for_the_topology_it_started_with() {
    let slow = |nodes| config(nodes).replace("1ms", "1s");
    let app = TestApp::start(&slow("1-3"));
    let client = app.begin();
    app.wait_for_log(|line| line["message"] == "collecting");
    std::fs::write(&app.config, slow("3-5")).unwrap();
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
    assert_eq!(app.get().devices(), ["1/n3", "1/n4", "1/n5"]);
    let answer = read_all(client);
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(devices(&body), ["1/n1", "1/n2", "1/n3"]);
}

#[test]
fn a_watched_file_is_reloaded_however_it_changes() {
    let app = TestApp::start_with(&config("1"), &["--watch"]);
    let mut reloads = 0;
    let mut changes_to = |expected: &[&str]| {
        reloads += 1;
        let lines = app.wait_for_logs(reloads, is_reloaded);
        assert_eq!(lines[reloads - 1]["trigger"], "watch");
        assert_eq!(app.get().devices(), expected);
    };
    std::fs::write(&app.config, config("2")).unwrap();
    changes_to(&["1/n2"]);
    // As editors and configuration management do it: another file is renamed over it.
    let other = app.config.with_extension("new");
    std::fs::write(&other, config("3")).unwrap();
    std::fs::rename(&other, &app.config).unwrap();
    changes_to(&["1/n3"]);
    // It is gone for a while: that is refused, and its return is noticed.
    std::fs::remove_file(&app.config).unwrap();
    app.wait_for_log(|line| line["message"] == "reload refused, the configuration stays as it was");
    assert_eq!(app.get().devices(), ["1/n3"]);
    std::fs::write(&app.config, config("4")).unwrap();
    changes_to(&["1/n4"]);
    // A bad one is refused, and mended by a write of the same length.
    std::fs::write(&app.config, config("x").replace("nodes", "nodez")).unwrap();
    app.wait_for_log(|line| {
        line["message"] == "configuration fault" && line["key"] == "clusters[0].nodez"
    });
    assert_eq!(app.get().devices(), ["1/n4"]);
    std::fs::write(&app.config, config("5")).unwrap();
    changes_to(&["1/n5"]);
}

/// A mounted `ConfigMap`: the file is a link into a folder that is itself a link, which is swapped.
#[test]
fn a_watched_file_is_reloaded_through_a_symlink_swap_as_kubernetes_does_it() {
    let (dir, path) = config_file("");
    std::fs::remove_file(&path).unwrap();
    let at = |name: &str| dir.path().join(name);
    for (version, nodes) in [("..v1", "1"), ("..v2", "2")] {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("clusters.toml"), config(nodes)).unwrap();
    }
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/clusters.toml", &path).unwrap();
    let (data, new) = (at("..data"), at("..data_tmp"));
    let app = TestApp::start_on(dir, path, &["--watch"]);
    assert_eq!(app.get().devices(), ["1/n1"]);
    symlink("..v2", &new).unwrap();
    std::fs::rename(&new, &data).unwrap();
    app.wait_for_log(is_reloaded);
    assert_eq!(app.get().devices(), ["1/n2"]);
}

/// A server whose list of devices is waited for, as long as the test likes.
struct SlowList(TcpListener);

impl SlowList {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// A configuration that takes devices from it, and has these nodes.
    fn config(&self, nodes: &str) -> String {
        let addr = self.0.local_addr().unwrap();
        let switches = format!("switches = {{ url = \"http://{addr}/\", timeout = \"5m\" }}\n");
        config(nodes) + &switches
    }

    /// Waits until it is asked, and gives the connection.
    fn once_it_is_read(&self) -> TcpStream {
        let listener = self.0.try_clone().unwrap();
        let (accepted, connection) = std::sync::mpsc::channel();
        std::thread::spawn(move || accepted.send(listener.accept().unwrap().0));
        connection.recv_timeout(PATIENCE).unwrap()
    }

    fn answer(mut connection: TcpStream) {
        let body = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
        connection.write_all(body.as_bytes()).unwrap();
    }
}

#[test]
fn a_reload_that_takes_long_holds_up_neither_requests_nor_the_end() {
    let mut app = TestApp::start(&config("1-3"));
    let list = SlowList::new();
    std::fs::write(&app.config, list.config("1-3")).unwrap();
    app.signal("HUP");
    let _connection = list.once_it_is_read();
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 409);
    assert_eq!(app.get().devices(), ["1/n1", "1/n2", "1/n3"]);
    app.signal("TERM");
    assert_eq!(app.wait().code(), Some(0));
}

#[test]
fn a_reload_whose_caller_goes_away_is_carried_out_logged_and_not_overtaken() {
    let app = TestApp::start(&config("1-3"));
    // The reload is under way from when it asks for the list until we have answered.
    let list = SlowList::new();
    std::fs::write(&app.config, list.config("1-2")).unwrap();
    let mut client = TcpStream::connect(app.addr).unwrap();
    client
        .write_all(b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let connection = list.once_it_is_read();
    drop(client);
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 409);

    std::fs::write(&app.config, config("1-4")).unwrap();
    app.signal("HUP");
    SlowList::answer(connection);
    let lines = app.wait_for_logs(2, is_reloaded);
    let said: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                &line["trigger"],
                &line["devices_kept"],
                &line["devices_added"],
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            (&json!("request"), &json!(2), &json!(0)),
            (&json!("signal"), &json!(2), &json!(2)),
        ],
        "{lines:#?}"
    );
    assert_eq!(app.get().devices(), ["1/n1", "1/n2", "1/n3", "1/n4"]);
}

#[test]
fn signals_that_come_during_a_reload_are_one_more_reload_after_it() {
    let app = TestApp::start(&config("1-3"));
    let list = SlowList::new();
    std::fs::write(&app.config, list.config("1-2")).unwrap();
    app.signal("HUP");
    let connection = list.once_it_is_read();
    let is_next = |line: &Value| {
        line["message"] == "a reload is under way, another one follows it"
            && line["trigger"] == "signal"
    };
    for signals in 1..=3 {
        app.signal("HUP");
        app.wait_for_logs(signals, is_next);
    }
    std::fs::write(&app.config, config("1-4")).unwrap();
    SlowList::answer(connection);
    let lines = app.wait_for_logs(2, is_reloaded);
    assert_eq!(lines[1]["trigger"], "signal");
    assert_eq!(app.get().devices(), ["1/n1", "1/n2", "1/n3", "1/n4"]);
    // None is under way, and none comes before this one.
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
    let lines = app.wait_for_logs(3, is_reloaded);
    assert_eq!(lines[2]["trigger"], "request");
}

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// What a service that reads it waits for, for ever: a pipe that nobody writes to, a device.
#[test]
fn what_is_no_regular_file_is_refused_at_once_and_the_next_reload_works() {
    let (dir, path) = config_file(&config("1"));
    let other = dir.path().join("other");
    let mut app = TestApp::start_on(dir, path, &["--watch"]);
    let replace: [(&str, &dyn Fn()); 4] = [
        ("a pipe", &|| make_pipe(&app.config)),
        ("a pipe", &|| {
            make_pipe(&other);
            symlink(&other, &app.config).unwrap();
        }),
        ("a device", &|| symlink("/dev/zero", &app.config).unwrap()),
        ("a directory", &|| std::fs::create_dir(&app.config).unwrap()),
    ];
    for (round, &(what, make)) in replace.iter().enumerate() {
        std::fs::remove_file(&app.config).unwrap();
        make();
        let expected = format!("cannot read the file: it is {what}, not a regular file");
        app.signal("HUP");
        // Once for the signal, once because it is watched; rounds before asked once more.
        let so_far = 3 * (0..=round).filter(|&it| replace[it].0 == what).count() - 1;
        let says = |line: &Value| line["message"] == "configuration fault";
        app.wait_for_logs(so_far, |line| says(line) && line["fault"] == *expected);
        // The one that watches may be at it.
        let answer = eventually("it may reload", || {
            Some(app.request("POST", "/v1/reload", &[])).filter(|answer| answer.status != 409)
        });
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.contains(&expected), "{}", answer.body);

        if app.config.is_dir() && !app.config.is_symlink() {
            std::fs::remove_dir(&app.config).unwrap();
        } else {
            std::fs::remove_file(&app.config).unwrap();
        }
        let nodes = format!("1-{}", round + 2);
        std::fs::write(&app.config, config(&nodes)).unwrap();
        app.signal("HUP");
        let by_signal = |line: &Value| is_reloaded(line) && line["trigger"] == "signal";
        app.wait_for_logs(round + 1, by_signal);
        assert_eq!(app.get().devices().len(), round + 2);
    }
    std::fs::remove_file(&app.config).unwrap();
    make_pipe(&app.config);
    app.signal("HUP");
    app.signal("TERM");
    assert_eq!(app.wait().code(), Some(0));
}

/// As a shell's `<(…)` is one.
#[test]
fn a_service_starts_with_a_pipe_and_does_not_read_it_again() {
    let (dir, path) = config_file("");
    std::fs::remove_file(&path).unwrap();
    make_pipe(&path);
    let write = |text: String| {
        let path = path.clone();
        std::thread::spawn(move || std::fs::write(path, text).unwrap())
    };
    write(config("1-2"));
    let check = run(fleetcall().args(["check", "--config"]).arg(&path));
    assert_eq!(check.status.code(), Some(0), "{}", stderr(&check));
    write(config("1-3"));
    let app = TestApp::start_on(dir, path.clone(), &[]);
    assert_eq!(app.get().devices(), ["1/n1", "1/n2", "1/n3"]);
    app.signal("HUP");
    let line = app.wait_for_log(|line| line["message"] == "configuration fault");
    assert!(
        line["fault"].as_str().unwrap().contains("it is a pipe"),
        "{line}"
    );
    for field in ["line", "column", "key"] {
        assert_eq!(line.get(field), None, "{line}");
    }
    assert_eq!(app.get().devices(), ["1/n1", "1/n2", "1/n3"]);
}

#[test]
fn without_watch_a_change_waits_for_a_signal() {
    let app = TestApp::start(&config("1"));
    std::fs::write(&app.config, config("2")).unwrap();
    app.signal("HUP");
    let line = app.wait_for_log(is_reloaded);
    assert_eq!(line["trigger"], "signal");
    assert_eq!(app.log().iter().filter(|line| is_reloaded(line)).count(), 1);
}

#[test]
fn reloads_under_load_lose_no_answer() {
    let app = TestApp::start(&config("1-50"));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut sizes = std::collections::BTreeSet::new();
                    while sizes.len() <= 5 {
                        let answer = app.get();
                        assert_eq!(answer.status, 200, "{}", answer.body);
                        let found = answer.devices();
                        let expected: Vec<_> =
                            (1..=found.len()).map(|id| format!("1/n{id}")).collect();
                        assert_eq!(found, expected);
                        sizes.insert(found.len());
                    }
                })
            })
            .collect();
        let mut size = 50;
        while !clients
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            size = size % 60 + 1;
            std::fs::write(&app.config, config(&format!("1-{size}"))).unwrap();
            let answer = app.request("POST", "/v1/reload", &[]);
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        for client in clients {
            client.join().unwrap();
        }
    });
    assert_eq!(app.get().status, 200);
}
