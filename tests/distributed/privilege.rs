//! What each role must not do with the permissions that the documentation gives it, tried.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::access::{FLEET, ROLES, init, refused, run_as, start_as, users};
use crate::fleet::{LEASE, says, until_well};
use crate::harness::{TestApp, config_file, fleetcall, run, stderr};
use crate::nats::Nats;
use crate::scrape::scrape;

const CONFIG: &str = "fleetcall_config";
const BUCKETS: [&str; 3] = ["fleetcall_leases", "fleetcall_workers", CONFIG];

/// Who has a role's credentials, and does with them as it likes.
struct Intruder {
    stream: BufReader<TcpStream>,
}

impl Intruder {
    fn new(nats: &Nats, role: &str) -> Self {
        let stream = TcpStream::connect(nats.addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut intruder = Self {
            stream: BufReader::new(stream),
        };
        intruder.say(&format!(
            "CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true,\
             \"user\":\"{role}\",\"pass\":\"{role}-hush\"}}\r\n"
        ));
        assert!(intruder.is_allowed(), "{role} may connect");
        intruder
    }

    fn say(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Whether the server allowed what was said since this was asked last.
    fn is_allowed(&mut self) -> bool {
        self.say("PING\r\n");
        let mut is_allowed = true;
        loop {
            let mut line = String::new();
            assert_ne!(self.stream.read_line(&mut line).unwrap(), 0, "it is gone");
            is_allowed &= !line.starts_with("-ERR 'Permissions Violation");
            if line.starts_with("PONG") {
                return is_allowed;
            }
        }
    }

    fn publish(&mut self, subject: &str, reply: &str, payload: &str) -> bool {
        let len = payload.len();
        self.say(&format!("PUB {subject} {reply} {len}\r\n{payload}\r\n"));
        self.is_allowed()
    }

    fn publish_with(&mut self, subject: &str, header: &str, payload: &str) -> bool {
        let header = format!("NATS/1.0\r\n{header}\r\n\r\n");
        let (head, all) = (header.len(), header.len() + payload.len());
        self.say(&format!(
            "HPUB {subject} {head} {all}\r\n{header}{payload}\r\n"
        ));
        self.is_allowed()
    }

    fn subscribe(&mut self, subject: &str) -> bool {
        self.say(&format!("SUB {subject} 7\r\n"));
        self.is_allowed()
    }
}

fn api(nats: &Nats, request: &str) -> Value {
    nats.api_as(r#","user":"all","pass":"all""#, request, &Value::Null)
}

/// What a bucket is and has.
fn contents(nats: &Nats, bucket: &str) -> Value {
    let info = api(nats, &format!("STREAM.INFO.KV_{bucket}"));
    json!([info["config"], info["state"], info["created"]])
}

fn streams(nats: &Nats) -> Value {
    let mut names = api(nats, "STREAM.NAMES")["streams"].clone();
    names
        .as_array_mut()
        .unwrap()
        .sort_by_key(|it| it.as_str().unwrap().to_owned());
    names
}

#[test]
fn no_role_may_do_what_is_not_its_own() {
    let nats = Nats::start_with(users);
    init(&nats);
    let mut forbidden: Vec<String> = vec!["_INBOX.x".into(), "$JS.API.STREAM.CREATE.EVIL".into()];
    for bucket in BUCKETS {
        for request in [
            "STREAM.UPDATE",
            "STREAM.DELETE",
            "STREAM.PURGE",
            "STREAM.MSG.DELETE",
            "STREAM.SNAPSHOT",
            "STREAM.RESTORE",
            "DIRECT.GET",
            "CONSUMER.NAMES",
        ] {
            forbidden.push(format!("$JS.API.{request}.KV_{bucket}"));
        }
        forbidden.push(format!("$JS.API.DIRECT.GET.KV_{bucket}.$KV.{bucket}.1"));
    }
    for role in ROLES {
        forbidden.push(format!("fleetcall.inbox.{role}.x.1"));
        let mut intruder = Intruder::new(&nats, role);
        let own: &[&str] = match role {
            "front" => &["fleetcall.v1.collect.1", "fleetcall.v1.workers"],
            "worker" => &[
                "fleetcall.v1.collect.1",
                "fleetcall.v1.workers",
                "fleetcall.v1.changes",
                "fleetcall.answers.front.x",
                "fleetcall.answers.worker.x",
                "$KV.fleetcall_leases.1",
                "$KV.fleetcall_workers.a.b",
            ],
            "publisher" => &["$KV.fleetcall_config.clusters"],
            _ => &[
                "$JS.API.STREAM.CREATE.KV_fleetcall_leases",
                "$JS.API.STREAM.CREATE.KV_fleetcall_workers",
                "$JS.API.STREAM.CREATE.KV_fleetcall_config",
                "$JS.API.STREAM.NAMES",
            ],
        };
        let shared = [
            "fleetcall.v1.collect.1",
            "fleetcall.v1.workers",
            "fleetcall.v1.changes",
            "fleetcall.answers.front.x",
            "fleetcall.answers.worker.x",
            "$KV.fleetcall_leases.1",
            "$KV.fleetcall_workers.a.b",
            "$KV.fleetcall_config.clusters",
            "$JS.API.STREAM.CREATE.KV_fleetcall_leases",
            "$JS.API.STREAM.CREATE.KV_fleetcall_workers",
            "$JS.API.STREAM.CREATE.KV_fleetcall_config",
            "$JS.API.STREAM.NAMES",
        ];
        for subject in shared {
            let may = intruder.publish(subject, "", "");
            assert_eq!(may, own.contains(&subject), "{role} to {subject}");
        }
        for subject in &forbidden {
            assert!(!intruder.publish(subject, "", ""), "{role} to {subject}");
        }
        for subject in [
            ">",
            "_INBOX.>",
            "$KV.>",
            "$KV.fleetcall_config.clusters",
            "$JS.API.>",
            "fleetcall.>",
            "fleetcall.inbox.>",
            "fleetcall.answers.>",
        ] {
            assert!(!intruder.subscribe(subject), "{role} hears {subject}");
        }
        for other in ROLES {
            let [inbox, answers] =
                ["inbox", "answers"].map(|it| format!("fleetcall.{it}.{other}.>"));
            let is_own = role == other;
            assert_eq!(intruder.subscribe(&inbox), is_own, "{role} hears {inbox}");
            let may = is_own && ["front", "worker"].contains(&role);
            assert_eq!(intruder.subscribe(&answers), may, "{role} hears {answers}");
        }
        let hears = intruder.subscribe("fleetcall.v1.collect.*");
        assert_eq!(hears, role == "worker", "{role} takes orders");
    }
}

/// A server is told where to answer by who asks, and does not look whether that one might write there.
#[test]
fn answers_that_are_wanted_elsewhere_make_nothing() {
    let nats = Nats::start_with(users);
    init(&nats);
    assert_eq!(run_as(&nats, "publisher", &["publish"]).0, 0);
    let work = ["--published", "worker", "--lease", LEASE];
    let worker = start_as(&nats, "worker", "", &work);
    let front = start_as(&nats, "front", "", &["--published", "serve"]);
    until_well(&front);
    let before = BUCKETS.map(|it| contents(&nats, it)[0].clone());
    let made = streams(&nats);
    // A bucket that puts what is written to it into the configuration.
    let evil = json!({
        "name": "EVIL", "subjects": ["evil.>"], "retention": "limits", "storage": "file",
        "discard": "old", "num_replicas": 1, "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
        "max_age": 0, "republish": {"src": ">", "dest": "$KV.fleetcall_config.clusters"},
    })
    .to_string();
    let requests = [
        "STREAM.CREATE.EVIL",
        "STREAM.DELETE.KV_fleetcall_config",
        "STREAM.DELETE.KV_fleetcall_leases",
        "STREAM.PURGE.KV_fleetcall_config",
        "STREAM.PURGE.KV_fleetcall_leases",
        "STREAM.UPDATE.KV_fleetcall_config",
    ]
    .map(|it| format!("$JS.API.{it}"));
    let mut intruder = Intruder::new(&nats, "worker");
    assert!(intruder.publish("$KV.fleetcall_leases.evil", "", &evil));
    assert!(intruder.subscribe("fleetcall.v1.collect.evil"));
    let get = "$JS.API.STREAM.MSG.GET.KV_fleetcall_leases";
    let last = r#"{"last_by_subj":"$KV.fleetcall_leases.evil"}"#;
    for target in &requests {
        assert!(intruder.publish(get, target, last));
        assert!(intruder.publish("$JS.API.STREAM.INFO.KV_fleetcall_leases", target, ""));
        assert!(intruder.publish("$KV.fleetcall_leases.evil", target, &evil));
        // By an order to itself, which it is to answer there.
        assert!(intruder.publish("fleetcall.v1.collect.evil", target, "x"));
        assert!(!intruder.publish(target, "", &evil), "{target}");
    }
    for (number, target) in requests.iter().enumerate() {
        let consumer = json!({
            "stream_name": "KV_fleetcall_leases",
            "config": {
                "name": format!("c{number}"), "deliver_subject": target, "ack_policy": "none",
                "deliver_policy": "all", "replay_policy": "instant", "mem_storage": true,
                "num_replicas": 1, "filter_subject": "$KV.fleetcall_leases.evil",
            },
        });
        let create = format!(
            "$JS.API.CONSUMER.CREATE.KV_fleetcall_leases.c{number}.$KV.fleetcall_leases.evil"
        );
        assert!(intruder.publish(&create, "fleetcall.inbox.worker.x", &consumer.to_string()));
    }
    // One message instead of all there are.
    let rollup = "Nats-Rollup: all";
    assert!(intruder.publish_with("$KV.fleetcall_leases.evil", rollup, "x"));
    // What is written into the configuration so is none.
    let text = "$KV.fleetcall_config.clusters";
    assert!(intruder.publish(get, text, last));
    assert!(intruder.publish("$KV.fleetcall_leases.evil", text, "[[clusters]]\nid = 7\n"));
    for app in [&worker, &front] {
        app.wait_for_log(|it| {
            it["message"]
                .as_str()
                .is_some_and(|it| it.contains("refused"))
        });
    }
    assert_eq!(streams(&nats), made);
    assert_eq!(BUCKETS.map(|it| contents(&nats, it)[0].clone()), before);
    let answer = until_well(&front);
    assert_eq!(answer.devices(), ["1/n1", "1/n2", "1/n3"]);
    assert!(answer.status == 200 && !says_it_lost(&worker));
}

fn says_it_lost(worker: &TestApp) -> bool {
    worker.log().iter().any(says("cluster lost"))
}

#[test]
fn an_order_that_is_to_be_answered_elsewhere_is_not_carried_out() {
    let nats = Nats::start_with(users);
    init(&nats);
    assert_eq!(run_as(&nats, "publisher", &["publish"]).0, 0);
    let work = ["worker", "--lease", LEASE];
    let worker = start_as(&nats, "worker", FLEET, &work);
    let front = start_as(&nats, "front", FLEET, &["serve"]);
    until_well(&front);
    let before = contents(&nats, CONFIG);
    let mut intruder = Intruder::new(&nats, "front");
    let elsewhere = [
        "$KV.fleetcall_config.clusters",
        "$KV.fleetcall_leases.1",
        "$KV.fleetcall_workers.a",
        "$JS.API.STREAM.DELETE.KV_fleetcall_leases",
        "fleetcall.v1.changes",
        "fleetcall.v1.collect.1",
        "fleetcall.inbox.worker.x",
        "_INBOX.x",
    ];
    for reply in elsewhere {
        assert!(intruder.publish("fleetcall.v1.collect.1", reply, "{}"));
        assert!(intruder.publish("fleetcall.v1.workers", reply, ""));
    }
    let misdirected = r#"fleetcall_orders_answered_total{outcome="misdirected"}"#;
    while scrape(&worker).of(misdirected) < 2.0 * elsewhere.len() as f64 {
        until_well(&front);
    }
    let line = "a message is to be answered where no process may";
    worker.wait_for_log(says(line));
    assert_eq!(worker.log().into_iter().filter(says(line)).count(), 1);
    assert_eq!(contents(&nats, CONFIG), before);
    assert!(!says_it_lost(&worker));
}

#[test]
fn a_password_in_the_clear_is_warned_of() {
    let nats = Nats::start_with(users);
    init(&nats);
    let file = nats.dir().join("front").display().to_string();
    let who = ["--nats-user", "front", "--nats-password-file", &file];
    let (_dir, path) = config_file(FLEET);
    let check = |url: &str| {
        let mut command = fleetcall();
        command.args(["check", "--nats", url]).args(who);
        let output = run(command.arg("--config").arg(&path));
        assert!(output.status.success(), "{output:?}");
        stderr(&output)
    };
    let warning = "the NATS password crosses the network in the clear";
    let said = check("nats://127.0.0.1:4222,nats://nats.example:4222");
    assert!(
        said.contains(warning) && said.contains("nats.example"),
        "{said}"
    );
    for fine in [&nats.url(), "tls://nats.example:4222"] {
        assert!(!check(fine).contains(warning), "{fine}");
    }
    // A process says so before it connects, so that it is said also where that fails.
    let addr = "nats://192.0.2.1:4222";
    let all = format!("{},{addr}", nats.url());
    let arguments = [&["--nats", &all][..], &who, &["serve"]].concat();
    let front = TestApp::start_with(FLEET, &arguments);
    let line = front.wait_for_log(says(warning));
    assert_eq!(
        (&line["level"], &line["server"]),
        (&json!("warn"), &json!(addr))
    );
    let (code, said) = refused(&["--nats", &nats.url(), "serve"]);
    assert_eq!(code, 1, "{said}");
    assert!(!said.contains(warning), "{said}");
}
