//! All buckets of a fleet at once, the configuration's included.

use serde_json::{Value, json};

use crate::devices::Devices;
use crate::fleet::{held, says_nothing_twice, until_well};
use crate::harness::{TestApp, config_file, fleetcall, run, until};
use crate::load::{CLUSTERS, under_load};
use crate::nats::Nats;
use crate::scrape::answer_until;

const BUCKETS: [&str; 3] = ["fleetcall_leases", "fleetcall_workers", "fleetcall_config"];

/// Long enough for none to be lost because a machine is slow.
const LONG: &str = "10s";

/// How many entries each bucket has, if all are as they were made.
fn entries(nats: &Nats, right: &[Value]) -> Option<Vec<u64>> {
    let infos = BUCKETS.map(|it| nats.api(&format!("STREAM.INFO.KV_{it}"), &Value::Null));
    let is_right = |(info, right): (&Value, &Value)| info["config"]["max_msg_size"] == *right;
    let are_right = infos.iter().zip(right).all(is_right);
    let count = |it: &Value| it["state"]["num_subjects"].as_u64();
    are_right.then(|| {
        infos
            .iter()
            .map(|it| count(it).unwrap_or_default())
            .collect()
    })
}

#[test]
fn a_fleet_goes_on_whatever_happens_to_all_of_its_buckets() {
    let devices = Devices::start();
    let nats = Nats::start();
    let url = nats.url();
    let (_dir, path) = config_file(&devices.config(CLUSTERS));
    let mut publish = fleetcall();
    publish.args(["publish", "--nats", &url, "--config"]);
    assert!(run(publish.arg(path)).status.success());
    let start = |more: &[&str]| {
        TestApp::start_with("", &[&["--published", "--nats", &url][..], more].concat())
    };
    let workers = ["a", "b"].map(|it| start(&["worker", "--lease", LONG, "--name", it]));
    let front = start(&["serve"]);
    until("all is shared", || {
        until_well(&front).status == 200 && workers.iter().all(|it| !held(it).is_empty())
    });
    let size = |it: &str| nats.info(it)["config"]["max_msg_size"].clone();
    let right: Vec<Value> = BUCKETS.map(size).into();
    let all = [CLUSTERS as u64, 2, 1];
    let each = |happen: &dyn Fn(&str)| BUCKETS.iter().for_each(|it| happen(it));
    let is_there = |bucket: &str| nats.api(&format!("STREAM.INFO.KV_{bucket}"), &Value::Null);
    let delete = |bucket: &str| {
        nats.api(&format!("STREAM.DELETE.KV_{bucket}"), &Value::Null);
    };
    let purge = |bucket: &str| {
        nats.api(&format!("STREAM.PURGE.KV_{bucket}"), &json!({}));
    };
    let remake = |bucket: &str| {
        let mut settings = is_there(bucket)["config"].clone();
        for (key, value) in [("max_msg_size", json!(7)), ("retention", json!("interest"))] {
            settings[key] = value;
        }
        settings.as_object_mut().unwrap().remove("first_seq");
        delete(bucket);
        nats.api(&format!("STREAM.CREATE.KV_{bucket}"), &settings);
    };
    let rubbish = |bucket: &str| {
        for key in ["1", "2", "a", "clusters"] {
            nats.put(bucket, key, "rubbish");
        }
    };
    let last = |bucket: &str| nats.info(bucket)["state"]["last_seq"].as_u64();
    for happen in [&delete as &dyn Fn(&str), &purge, &remake, &rubbish] {
        let before = BUCKETS.map(last);
        let seen = under_load(&front, || {
            each(happen);
            until("all is there again", || {
                let now = entries(&nats, &right);
                now.is_some_and(|it| it.iter().zip(all).all(|(it, least)| *it >= least))
                    && last(BUCKETS[0]) > before[0]
            });
        });
        assert!(seen.answers > 0, "{seen:?}");
        for app in workers.iter().chain([&front]) {
            answer_until(app.addr, "/readyz", 200);
        }
    }
    for app in workers.iter().chain([&front]) {
        says_nothing_twice(app);
    }
    assert_eq!(devices.overlaps(), Vec::<String>::new());
}
