//! A new configuration for a running service: by signal, by request, by change of the file.

use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, config_file, devices, read_all};

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
    says(&answer, "has a fault; the configuration stays");
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
        "devices_changed": 3, "devices_kept": 0, "settings_changed": false,
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

/// A pipe that nobody writes to blocks whoever opens it.
/// Puts a named pipe in the file's place: who reads it waits until its writer has closed it.
fn replace_by_pipe(path: &std::path::Path) {
    std::fs::remove_file(path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// Waits until somebody reads the pipe, and gives its other end.
fn once_it_is_read(path: &std::path::Path) -> std::fs::File {
    let (opened, pipe) = std::sync::mpsc::channel();
    let path = path.to_owned();
    std::thread::spawn(move || opened.send(std::fs::File::create(path).unwrap()));
    pipe.recv_timeout(Duration::from_secs(10)).unwrap()
}

#[test]
fn a_reload_that_hangs_on_its_file_holds_up_neither_requests_nor_the_end() {
    let mut app = TestApp::start(&config("1-3"));
    replace_by_pipe(&app.config);
    app.signal("HUP");
    let _pipe = once_it_is_read(&app.config);
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 409);
    assert_eq!(app.get().devices(), ["1/n1", "1/n2", "1/n3"]);
    app.signal("TERM");
    assert_eq!(app.wait().code(), Some(0));
}

#[test]
fn a_reload_whose_caller_goes_away_is_carried_out_logged_and_not_overtaken() {
    use std::io::Write as _;
    let app = TestApp::start(&config("1-3"));
    // A pipe in the file's place: the reload is under way from when it reads until we have written.
    replace_by_pipe(&app.config);
    let mut client = std::net::TcpStream::connect(app.addr).unwrap();
    client
        .write_all(b"POST /v1/reload HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let mut pipe = once_it_is_read(&app.config);
    drop(client);
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 409);

    std::fs::remove_file(&app.config).unwrap();
    std::fs::write(&app.config, config("1-4")).unwrap();
    app.signal("HUP");
    pipe.write_all(config("1-2").as_bytes()).unwrap();
    drop(pipe);
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
                    for _ in 0..200 {
                        let answer = app.get();
                        assert_eq!(answer.status, 200, "{}", answer.body);
                        let found = answer.devices();
                        let expected: Vec<_> =
                            (1..=found.len()).map(|id| format!("1/n{id}")).collect();
                        assert_eq!(found, expected);
                        sizes.insert(found.len());
                    }
                    sizes.len()
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
            assert!(client.join().unwrap() > 5);
        }
    });
    let start = std::time::Instant::now();
    assert_eq!(app.get().status, 200);
    assert!(start.elapsed() < Duration::from_secs(5));
}
