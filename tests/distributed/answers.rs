//! What a front answers is what a service alone answers.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::fleet::{clusters, front, says, until, until_well, worker};
use crate::harness::{PATIENCE, TestApp, eventually, fleetcall, run, stderr, stdout};
use crate::nats::Nats;

const MIXED: &str = r#"
[lookup]
latency = "10ms"
[[clusters]]
id = 1
nodes = "1-3"
switches = "1-2"
[[clusters]]
id = "rack.7"
[[clusters.nodes]]
ids = "web[01-03]"
[[clusters.nodes]]
ids = "bad1"
lookup = { script = ["refused"], breaker = { failures = 0 } }
[[clusters.nodes]]
ids = "slow1"
lookup = { script = ["hang"], timeout = "500ms", breaker = { failures = 0 } }
[[clusters]]
id = 3
switches = "1-4"
"#;

#[test]
fn a_front_answers_the_same_bytes_as_a_service_alone() {
    let nats = Nats::start();
    let alone = TestApp::start(MIXED);
    let front = front(&nats, MIXED);
    let _workers = ["a", "b"].map(|name| worker(&nats, MIXED, name));
    let ours = until(&front, "clusters without a worker", |it| {
        !it.body.contains("no worker")
    });
    let theirs = alone.get();
    assert_eq!(theirs.status, 202, "two devices fail");
    assert_eq!(ours.body, theirs.body);
    let without_date = |headers: &[(String, String)]| {
        let kept = headers.iter().filter(|(name, _)| name != "date");
        kept.cloned().collect::<BTreeMap<_, _>>()
    };
    assert_eq!(ours.status, theirs.status);
    assert_eq!(without_date(&ours.headers), without_date(&theirs.headers));
    for part in [
        "/v1/report?cluster=rack.7&kind=node",
        "/v1/report?device=web01",
    ] {
        let data = |app: &TestApp| {
            let mut json = app.request("GET", part, &[]).json();
            for cluster in json["clusters"].as_array_mut().unwrap() {
                for node in cluster["nodes"].as_array_mut().unwrap() {
                    assert!(
                        node["observed_at"].is_string() || node["error"].is_object(),
                        "{node}"
                    );
                    for key in ["observed_at", "age_ms", "took_ms", "duration_ms"] {
                        node.as_object_mut().unwrap().remove(key);
                    }
                }
            }
            json["clusters"].clone()
        };
        assert_eq!(data(&front), data(&alone), "{part}");
    }
}

#[test]
fn an_answer_of_many_pieces_arrives_whole() {
    let config = "[lookup]\nlatency = \"0s\"\n[collect]\nmax_waiting = 4\ndeadline = \"2m\"\n\
                  [[clusters]]\nid = 1\nnodes = \"n[0001-5000]\"\n\
                  [[clusters]]\nid = 2\nswitches = \"s[0001-5000]\"\n";
    let nats = Nats::start();
    let alone = TestApp::start(config);
    let front = front(&nats, config);
    let _worker = worker(&nats, config, "a");
    let ours = until_well(&front);
    assert_eq!(ours.body.len(), alone.get().body.len());
    assert_eq!(ours.body, alone.get().body);
    // Every other device, which is no run of places.
    let part = "/v1/report?cluster=1&device=n%5B0001-4999/2%5D";
    let count = |app: &TestApp| {
        let answer = app.request("GET", part, &[]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["summary"].clone()
    };
    let (ours, theirs) = (count(&front), count(&alone));
    assert_eq!(
        (&ours["asked"], &ours["ok"]),
        (&theirs["asked"], &theirs["ok"])
    );
}

#[test]
fn a_stream_gives_lines_while_other_devices_are_silent() {
    let config = "[lookup]\nlatency = \"1ms\"\ntimeout = \"1h\"\n[collect]\ndeadline = \"1h\"\n\
                  [[clusters]]\nid = 1\nnodes = \"1-3\"\n\
                  [[clusters.switches]]\nids = \"1\"\nlookup = { script = [\"hang\"] }\n";
    let nats = Nats::start();
    let front = front(&nats, config);
    let worker = worker(&nats, config, "a");
    worker.wait_for_log(says("cluster taken"));
    let mut stream = TcpStream::connect(front.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(
            b"GET /v1/report HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\
              Connection: close\r\n\r\n",
        )
        .unwrap();
    let mut nodes = 0;
    for line in BufReader::new(stream).lines() {
        if line.unwrap().contains("\"node_id\"") {
            nodes += 1;
        }
        if nodes == 3 {
            break;
        }
    }
    assert_eq!(nodes, 3);
}

#[test]
fn without_a_worker_every_device_is_unreachable_at_once() {
    let nats = Nats::start();
    let front = front(&nats, MIXED);
    let answer = front.get();
    assert_eq!(answer.status, 202);
    let devices = answer.devices();
    assert_eq!(devices.len(), 14);
    assert!(
        devices.iter().all(|it| it.ends_with(":unreachable")),
        "{devices:?}"
    );
    assert_eq!(devices[0], "1/n1:unreachable");
    assert_eq!(devices[13], "3/s4:unreachable");
    let why = answer.json()["data"][0]["nodes"][0]["error"]["message"].clone();
    assert_eq!(why, "no worker has cluster 1");
}

#[test]
fn a_request_whose_client_goes_ends_at_the_worker() {
    let config = "[lookup]\nscript = [\"hang\"]\ntimeout = \"1h\"\n\
                  [collect]\ndeadline = \"1h\"\n[[clusters]]\nid = 1\nnodes = \"1-3\"\n";
    let nats = Nats::start();
    let front = front(&nats, config);
    let worker = worker(&nats, config, "a");
    worker.wait_for_log(says("cluster taken"));
    let client = front.begin();
    worker.wait_for_log(says("collecting"));
    drop(client);
    front.wait_for_log(says("collect cancelled"));
    worker.wait_for_log(says("collect cancelled"));
}

#[test]
fn who_has_what_is_known_to_a_front_and_at_a_terminal() {
    let nats = Nats::start();
    let front = front(&nats, MIXED);
    let ask = || front.request("GET", "/v1/workers", &[]).json();
    let nobody = ask();
    assert_eq!(nobody["workers"], serde_json::json!([]));
    assert_eq!(
        nobody["clusters"][1],
        serde_json::json!({"cluster_id": "rack.7"})
    );
    let workers = ["a", "b"].map(|name| worker(&nats, MIXED, name));
    let text = |id: &Value| id.to_string().replace('"', "");
    // Their logs say the same; while a cluster moves they may not.
    let known = eventually("what is known is what they have logged", || {
        let known = ask();
        let logs = workers.each_ref().map(TestApp::log);
        let mut clusters = known["clusters"].as_array().unwrap().iter();
        let is_logged = clusters.all(|cluster| {
            let log = &logs[usize::from(cluster["worker"] == "b")];
            log.iter().any(|line| {
                line["message"] == "cluster taken"
                    && line["fence"] == cluster["fence"]
                    && text(&line["cluster"]) == text(&cluster["cluster_id"])
            })
        });
        let has_both = known["workers"].as_array().unwrap().len() == 2;
        (is_logged && has_both).then_some(known)
    });
    let names: Vec<_> = known["workers"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&names[0]["name"], &names[1]["name"]),
        (&"a".into(), &"b".into())
    );
    for cluster in known["clusters"].as_array().unwrap() {
        assert!(cluster["fence"].is_u64(), "{cluster}");
        assert!(cluster["renewed_ms"].is_u64(), "{cluster}");
    }
    let shown = run(fleetcall().args(["workers", "--server", &format!("http://{}", front.addr)]));
    assert!(shown.status.success(), "{}", stderr(&shown));
    let shown = stdout(&shown);
    assert!(
        shown.contains("\nrack.7 ") && shown.contains("\na "),
        "{shown}"
    );
    // A service alone has no such thing, and says so.
    let alone = TestApp::start(MIXED);
    let answer = alone.request("GET", "/v1/workers", &[]);
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("--nats"), "{}", answer.body);
}

#[test]
fn a_worker_with_other_devices_answers_for_none() {
    let nats = Nats::start();
    let front = front(&nats, "[[clusters]]\nid = 1\nnodes = \"1-3\"\n");
    let worker = worker(&nats, "[[clusters]]\nid = 1\nnodes = \"1-2\"\n", "a");
    worker.wait_for_log(says("cluster taken"));
    let answer = front.get();
    let unreachable = ["1/n1:unreachable", "1/n2:unreachable", "1/n3:unreachable"];
    assert_eq!(answer.devices(), unreachable);
    assert!(
        answer.body.contains("another configuration"),
        "{}",
        answer.body
    );
    assert_eq!(clusters(&worker, "collected"), Vec::<String>::new());
}
