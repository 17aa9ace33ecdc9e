//! Buckets that others delete, purge, make anew with other settings, or fill with rubbish.

use std::path::Path;

use serde_json::{Value, json};

use crate::access::{FLEET, init, run_as, start_as, users};
use crate::fleet::{
    LEASE, clusters, held, says, says_nothing_twice, until_answer, until_well, worker_at,
};
use crate::harness::{TestApp, config_file, fleetcall, run, stderr, stdout};
use crate::load::{CLUSTERS, Scene, ask, under_load};
use crate::nats::Nats;
use crate::rubbish::memory;
use crate::scrape::answer_until;

const LEASES: &str = "fleetcall_leases";
const WORKERS: &str = "fleetcall_workers";

/// Long enough for none to be lost because a machine is slow.
const LONG: &str = "10s";

/// The fence of each cluster, by its id.
fn fences(front: &TestApp) -> Vec<(String, u64)> {
    let known = front.request("GET", "/v1/workers", &[]).json();
    let fence = |it: &Value| (it["cluster"].to_string(), it["fence"].as_u64().unwrap());
    known["clusters"]
        .as_array()
        .unwrap()
        .iter()
        .map(fence)
        .collect()
}

/// The largest fence of each cluster until now is not larger than that of its next owner.
fn next_owners_have_larger_fences(scene: &Scene, a: &mut TestApp, b: &TestApp) {
    let before = fences(&scene.front);
    let moved = held(a).len();
    let taken = clusters(b, "cluster taken").len();
    a.signal("TERM");
    assert!(a.wait().success());
    b.wait_for_logs(taken + moved, says("cluster taken"));
    let seen = ask(&scene.front, 5);
    assert_eq!(
        seen.degraded, 0,
        "fronts read what the next owner says: {seen:?}"
    );
    let after = fences(&scene.front);
    assert_eq!(after.len(), CLUSTERS);
    for ((cluster, before), (_, after)) in before.iter().zip(&after) {
        assert!(before <= after, "{cluster}: {before} to {after}");
    }
    assert!(
        before
            .iter()
            .zip(&after)
            .filter(|(it, next)| it.1 < next.1)
            .count()
            == moved
    );
}

#[test]
fn buckets_that_are_deleted_are_made_anew_and_nobody_notices() {
    let scene = Scene::new();
    let [mut a, b] = scene.two_workers_for(LONG);
    for buckets in [&[LEASES][..], &[WORKERS], &[LEASES, WORKERS]] {
        let made = |app: &TestApp| {
            app.log()
                .into_iter()
                .filter(says("a bucket was made"))
                .count()
        };
        let before = made(&a) + made(&b);
        let seen = under_load(&scene.front, || {
            for bucket in buckets {
                scene.nats.delete(bucket);
            }
            while made(&a) + made(&b) < before + buckets.len() {
                ask(&scene.front, 1);
            }
            until_renewed(&scene);
        });
        assert_eq!(seen.degraded, 0, "{buckets:?}: {seen:?}");
    }
    for worker in [&a, &b] {
        assert_eq!(clusters(worker, "cluster lost"), Vec::<String>::new());
    }
    next_owners_have_larger_fences(&scene, &mut a, &b);
    scene.asked_nobody_twice_at_a_time();
}

/// A stream takes the subjects of the leases while there is no bucket of them, and answers that it has
/// written what comes.
#[test]
fn a_stream_with_the_subjects_of_the_leases_holds_no_lease() {
    let scene = Scene::new();
    let [a, b] = scene.two_workers_for(LEASE);
    let largest = |fences: Vec<(String, u64)>| fences.into_iter().map(|it| it.1).max();
    let before = largest(fences(&scene.front)).unwrap();
    let other = json!({
        "name": "other", "subjects": [format!("$KV.{LEASES}.>")], "storage": "memory",
    });
    loop {
        scene
            .nats
            .api(&format!("STREAM.DELETE.KV_{LEASES}"), &Value::Null);
        if scene.nats.api("STREAM.CREATE.other", &other)["error"].is_null() {
            break;
        }
    }
    until_answer(&scene.front, "/test", "clusters are still held", |_| {
        held(&a).is_empty() && held(&b).is_empty()
    });
    // What is to be done is said, and not what would not help.
    let expected = "delete \"other\" (`nats stream rm other`), or take these subjects from it";
    for worker in [&a, &b] {
        let line = worker.wait_for_log(|it| {
            let why = it["why"].as_str().unwrap_or_default();
            it["message"] == "a bucket cannot be used" && why.contains(expected)
        });
        assert_eq!(line["bucket"], LEASES);
        let reasons = answer_until(worker.addr, "/readyz", 503).json()["reasons"].clone();
        let said = reasons[0]["message"].as_str().unwrap().to_owned();
        assert!(
            said.contains(expected) && !said.contains("--init"),
            "{said}"
        );
    }
    let url = scene.nats.url();
    let init = ["publish", "--init", "--lease", LEASE, "--nats", &url];
    let made = run(fleetcall().args(init));
    assert_eq!(made.status.code(), Some(1), "{made:?}");
    assert!(stderr(&made).contains(expected), "{made:?}");
    // It comes by the other one's clusters, of which it had no leases before.
    a.signal("KILL");
    b.wait_for_log(|it| it["message"] == "a worker is gone" && it["worker"] == "a");
    ask(&scene.front, 10);
    let info = scene.nats.does("STREAM.INFO.other", &Value::Null);
    assert_eq!(info["state"]["last_seq"], 0, "{info}");
    scene.nats.does("STREAM.DELETE.other", &Value::Null);
    until_well(&scene.front);
    let after = fences(&scene.front);
    assert!(after.iter().all(|it| it.1 > before), "{before}: {after:?}");
}

/// Until every lease is there and was renewed.
fn until_renewed(scene: &Scene) {
    let state = || scene.nats.info(LEASES)["state"].clone();
    let last = |state: &Value| state["last_seq"].as_u64().unwrap();
    let start = last(&state());
    loop {
        ask(&scene.front, 1);
        let now = state();
        if last(&now) >= start + 2 * CLUSTERS as u64 && now["messages"] == CLUSTERS {
            return;
        }
    }
}

/// A bucket as others might make it: what is not said is as it should be.
fn others(nats: &Nats, name: &str, change: &Value) {
    let mut settings = nats.info(name)["config"].clone();
    for unsaid in ["first_seq", "metadata", "duplicate_window"] {
        settings.as_object_mut().unwrap().remove(unsaid);
    }
    for (key, value) in change.as_object().unwrap() {
        settings[key] = value.clone();
    }
    loop {
        nats.api(&format!("STREAM.DELETE.KV_{name}"), &Value::Null);
        let made = nats.api(&format!("STREAM.CREATE.KV_{name}"), &settings);
        if made["error"].is_null() {
            return;
        }
        // A worker was faster.
        assert_eq!(made["error"]["err_code"], 10058, "{made}");
    }
}

/// What matters of a bucket's settings.
fn settings(scene: &Scene, name: &str) -> Value {
    let info = format!("STREAM.INFO.KV_{name}");
    let mut settings = scene.nats.api(&info, &Value::Null)["config"].clone();
    // There may be none at this moment.
    if let Some(settings) = settings.as_object_mut() {
        for free in ["first_seq", "metadata", "duplicate_window", "description"] {
            settings.remove(free);
        }
    }
    settings
}

#[test]
fn buckets_with_other_settings_are_mended() {
    let scene = Scene::new();
    let [mut a, b] = scene.two_workers_for(LONG);
    let right = settings(&scene, LEASES);
    for change in [
        json!({"max_age": 0}),
        json!({"max_age": 3_600_000_000_000_u64, "max_msgs_per_subject": 10}),
        json!({"max_msg_size": 10}),
        json!({"discard_new_per_subject": true}),
        json!({"persist_mode": "async"}),
        json!({"allow_msg_ttl": true}),
        json!({"allow_msg_counter": true, "discard": "old"}),
        json!({"allow_atomic": true, "allow_batched": true}),
        json!({"max_bytes": 100, "republish": {"src": "$KV.fleetcall_leases.>", "dest": "copies.>"}}),
        json!({"subjects": ["elsewhere.>"], "allow_direct": true}),
    ] {
        under_load(&scene.front, || {
            others(&scene.nats, LEASES, &change);
            while settings(&scene, LEASES) != right {
                ask(&scene.front, 1);
            }
            until_leased(&scene);
        });
    }
    let right = settings(&scene, WORKERS);
    others(
        &scene.nats,
        WORKERS,
        &json!({"max_age": 0, "allow_rollup_hdrs": true}),
    );
    while settings(&scene, WORKERS) != right {
        ask(&scene.front, 1);
    }
    for app in [&a, &b, &scene.front] {
        answer_until(app.addr, "/readyz", 200);
    }
    next_owners_have_larger_fences(&scene, &mut a, &b);
    scene.asked_nobody_twice_at_a_time();
}

/// Until there is a lease for each cluster, and nothing else.
fn until_leased(scene: &Scene) {
    while scene.nats.info(LEASES)["state"]["messages"] != CLUSTERS {
        ask(&scene.front, 1);
    }
    until_well(&scene.front);
}

#[test]
fn leases_that_are_purged_or_written_over_with_rubbish_are_written_again() {
    let scene = Scene::new();
    let workers = scene.two_workers_for(LONG);
    let seen = under_load(&scene.front, || {
        scene
            .nats
            .does("STREAM.PURGE.KV_fleetcall_leases", &json!({}));
        scene
            .nats
            .does("STREAM.PURGE.KV_fleetcall_workers", &json!({}));
        until_renewed(&scene);
        for (key, value) in [
            ("1", "x"),
            ("2", "{}"),
            ("3", ""),
            ("4", r#"{"version":1}"#),
        ] {
            scene.nats.put(LEASES, key, value);
        }
        scene.nats.put(WORKERS, "a", "rubbish");
        until_renewed(&scene);
    });
    assert_eq!(seen.degraded, 0, "{seen:?}");
    for worker in &workers {
        assert_eq!(clusters(worker, "cluster lost"), Vec::<String>::new());
    }
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn clusters_are_handed_over_though_their_leases_were_purged_or_written_over() {
    let scene = Scene::new();
    let [mut a, b] = scene.two_workers_for(LONG);
    let purge = || {
        scene
            .nats
            .does("STREAM.PURGE.KV_fleetcall_leases", &json!({}));
    };
    let write_over = || {
        for number in 1..=CLUSTERS {
            scene.nats.put(LEASES, &number.to_string(), "x");
        }
    };
    for spoil in [&purge as &dyn Fn(), &write_over] {
        let (moved, taken) = (held(&a).len(), clusters(&b, "cluster taken").len());
        let before = a.log().len();
        let seen = under_load(&scene.front, || {
            spoil();
            a.signal("TERM");
            assert!(a.wait().success());
            b.wait_for_logs(taken + moved, says("cluster taken"));
        });
        assert_eq!(seen.degraded, 0, "{seen:?}");
        let lines = a.log();
        let handed: Vec<_> = lines
            .iter()
            .skip(before)
            .filter(|it| it["message"] == "cluster handed over")
            .collect();
        assert!(handed.iter().all(|it| it["freed"] == true), "{handed:?}");
        assert_eq!(handed.len(), moved);
        a = worker_at(&scene.nats.url(), &scene.config, "a", LONG);
        a.wait_for_logs(moved, says("cluster taken"));
        until_well(&scene.front);
    }
    scene.asked_nobody_twice_at_a_time();
}

/// With names of clusters and of workers that there are, and many more.
#[test]
fn leases_and_workers_that_are_none_are_gone_after_a_lease() {
    const KEYS: usize = 300;
    let scene = Scene::new();
    let workers = scene.two_workers();
    let before = workers.each_ref().map(memory);
    let gone = || -> usize {
        let ends = ["cluster lost", "cluster handed over"];
        let of = |worker| {
            ends.map(|end| clusters(worker, end).len())
                .iter()
                .sum::<usize>()
        };
        workers.iter().map(of).sum()
    };
    let had = gone();
    let ghost = r#"{"version":1,"worker":"ghost","tenure":1,"since_ms":1}"#;
    let later = r#"{"version":2,"owner":{"name":"ghost"}}"#;
    under_load(&scene.front, || {
        scene.nats.put(
            WORKERS,
            "ghost",
            r#"{"version":1,"release":"1","since_ms":1}"#,
        );
        scene.nats.put(WORKERS, "later", r#"{"version":2}"#);
        for (worker, name) in workers.iter().flat_map(|it| [(it, "ghost"), (it, "later")]) {
            worker.wait_for_log(|it| it["message"] == "a worker is there" && it["worker"] == name);
        }
        for number in 0..KEYS {
            let key = format!("$KV.{LEASES}.no/cluster/{number}");
            scene.nats.send(&key, None, ghost);
            scene
                .nats
                .send(&format!("$KV.{LEASES}.c{number}"), None, ghost);
            scene
                .nats
                .send(&format!("$KV.{WORKERS}.w{number}"), None, "rubbish");
        }
        for (number, lease) in (1..=CLUSTERS).zip([ghost, later].iter().cycle()) {
            scene.nats.put(LEASES, &number.to_string(), lease);
        }
        // They are not renewed any more: they are lost, or were left to the ghost before.
        while gone() < had + CLUSTERS {
            ask(&scene.front, 1);
        }
        until_leased(&scene);
    });
    for (worker, before) in workers.iter().zip(before) {
        worker.wait_for_log(|it| it["message"] == "a worker is gone" && it["worker"] == "later");
        let after = memory(worker);
        assert!(after < before + 64, "{before} to {after} MiB");
    }
    assert_eq!(scene.nats.info(WORKERS)["state"]["messages"], 2);
    scene.asked_nobody_twice_at_a_time();
}

#[test]
fn where_no_process_may_make_buckets_it_says_what_makes_them() {
    let nats = Nats::start_with(users);
    let start =
        |role: &str, more: &[&str]| start_as(&nats, role, "", &[&["--published"], more].concat());
    let publish = || run_as(&nats, "publisher", &["publish"]);
    init(&nats);
    assert_eq!(publish().0, 0);
    let worker = start("worker", &["worker", "--name", "a", "--lease", LEASE]);
    let front = start("front", &["serve"]);
    until_well(&front);
    let all = r#","user":"all","pass":"all""#;
    for bucket in [LEASES, WORKERS, "fleetcall_config"] {
        let deleted = nats.api_as(all, &format!("STREAM.DELETE.KV_{bucket}"), &Value::Null);
        assert_eq!(deleted["success"], true, "{deleted}");
    }
    worker.wait_for_log(says("cluster lost"));
    // A front asks its workers when a cluster has none.
    for app in [&worker, &front] {
        let answer = until_answer(app, "/readyz", "it is ready", |it| {
            front.get();
            it.status == 503 && it.body.contains("fleetcall publish --init")
        });
        assert_eq!(
            answer.json()["reasons"][0]["reason"],
            "bucket",
            "{answer:?}"
        );
    }
    let body = worker.request("GET", "/readyz", &[]).body;
    assert!(
        body.contains("`fleetcall publish --init --lease 2s` makes it"),
        "{body}"
    );
    for bucket in [LEASES, WORKERS, "fleetcall_config"] {
        worker.wait_for_log(|it| {
            it["message"] == "a bucket cannot be used" && it["bucket"] == bucket
        });
    }
    for app in [&worker, &front] {
        says_nothing_twice(app);
    }
    init(&nats);
    assert_eq!(publish().0, 0);
    until_well(&front);
    for app in [&worker, &front] {
        answer_until(app.addr, "/readyz", 200);
    }
}

#[test]
fn buckets_are_made_for_a_fleet_without_a_configuration() {
    let nats = Nats::start();
    let url = nats.url();
    let init = |more: &[&str]| {
        run(fleetcall()
            .args(["publish", "--init", "--nats", &url])
            .args(more))
    };
    let made = init(&["--lease", "3s"]);
    let said = "fleetcall_leases: made\nfleetcall_workers: made\nfleetcall_config: made\n";
    assert_eq!(
        (made.status.code(), stdout(&made)),
        (Some(0), said.to_owned())
    );
    let again = init(&["--lease", "3s"]);
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(stdout(&again), said.replace("made", "there"));
    // A worker needs no more.
    let arguments = ["--nats", &url, "worker", "--lease", "3s"];
    let worker = TestApp::start_with(FLEET, &arguments);
    worker.wait_for_log(says("cluster taken"));
    let other = init(&["--lease", "4s"]);
    assert_eq!(other.status.code(), Some(1));
    let line = "fleetcall_leases: there, with other settings: max_age is 3s, not 4s\n";
    assert!(stdout(&other).starts_with(line), "{other:?}");
    let nothing = run(fleetcall().args(["publish", "--init"]));
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
}

/// Where a bucket is kept is the affair of who runs the servers.
#[test]
fn buckets_in_memory_are_used_and_what_is_lost_with_them_is_said() {
    let nats = Nats::start();
    let url = nats.url();
    let (_dir, path) = config_file(FLEET);
    let publish = || {
        let mut command = fleetcall();
        command.args(["publish", "--init", "--lease", LEASE, "--nats", &url]);
        run(command.arg("--config").arg(&path))
    };
    assert_eq!(publish().status.code(), Some(0));
    let all = [LEASES, WORKERS, "fleetcall_config"];
    for bucket in all {
        others(&nats, bucket, &json!({"storage": "memory"}));
    }
    let made = publish();
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let said = "there, in memory: a restart of NATS loses ";
    assert_eq!(stdout(&made).matches(said).count(), 3, "{made:?}");
    let start =
        |more: &[&str]| TestApp::start_with("", &[&["--nats", &url, "--published"], more].concat());
    let worker = start(&["worker", "--lease", LEASE]);
    let front = start(&["serve"]);
    until_well(&front);
    for (app, buckets) in [(&worker, &all[..]), (&front, &all[2..])] {
        for bucket in buckets {
            let line = app.wait_for_log(|it| it["bucket"] == *bucket && it["lost"].is_string());
            assert_eq!(line["level"], "warn", "{line}");
        }
        answer_until(app.addr, "/readyz", 200);
        says_nothing_twice(app);
    }
    for bucket in all {
        assert_eq!(nats.info(bucket)["config"]["storage"], "memory");
    }
}

/// An account whose buckets have a limit.
fn limited(_: &Path) -> String {
    "accounts { fleet { jetstream { max_file: 262144 }, users: [{ user: f, password: f }] } }\n\
     no_auth_user: f"
        .to_owned()
}

#[test]
fn a_store_that_was_full_is_used_again() {
    let scene = Scene::on(Nats::start_with(limited));
    let workers = scene.two_workers_for(LONG);
    let filler = json!({
        "name": "FILLER", "subjects": ["filler"], "storage": "file", "retention": "limits",
        "num_replicas": 1, "discard": "new",
    });
    scene.nats.does("STREAM.CREATE.FILLER", &filler);
    for _ in 0..3 {
        for size in [60_000, 6_000, 600, 60, 6, 1] {
            for _ in 0..10 {
                scene.nats.send("filler", None, &"x".repeat(size));
            }
        }
    }
    for worker in &workers {
        let answer = answer_until(worker.addr, "/readyz", 503);
        assert!(answer.body.contains("cannot be written"), "{answer:?}");
    }
    let lost = || workers.each_ref().map(|it| held(it).len()) == [0, 0];
    while !lost() {
        ask(&scene.front, 1);
    }
    under_load(&scene.front, || {
        scene.nats.does("STREAM.DELETE.FILLER", &Value::Null);
        until_leased(&scene);
    });
    for worker in &workers {
        answer_until(worker.addr, "/readyz", 200);
        says_nothing_twice(worker);
    }
    scene.asked_nobody_twice_at_a_time();
}
