//! Configurations from a bucket whose settings let entries come from elsewhere, or cannot be looked at.

use std::path::Path;

use serde_json::{Value, json};

use crate::access::{FLEET, as_role, init, run_as, start_as, users};
use crate::fleet::{LEASE, says, says_nothing_twice, until_answer, until_well};
use crate::harness::{TestApp, config_file, fleetcall, run, stderr, until};
use crate::nats::Nats;
use crate::scrape::answer_until;

const CONFIG: &str = "fleetcall_config";

fn fleet(nodes: usize) -> String {
    FLEET.replace("1-3", &format!("1-{nodes}"))
}

/// Users as the documentation has them; the test may do everything.
fn roles(dir: &Path) -> String {
    format!("{}\nno_auth_user: all\n", users(dir))
}

/// A worker and a front of each role's rights.
fn by_roles(nats: &Nats) -> [TestApp; 2] {
    init(nats);
    assert_eq!(run_as(nats, "publisher", &["publish"]).0, 0);
    let work = ["--published", "worker", "--lease", LEASE];
    let apps = [
        start_as(nats, "worker", "", &work),
        start_as(nats, "front", "", &["--published", "serve"]),
    ];
    until_well(&apps[1]);
    apps
}

fn publish(nats: &Nats, config: &str) {
    let (_dir, path) = config_file(config);
    let mut command = fleetcall();
    command.args(["publish", "--nats", &nats.url(), "--config"]);
    let published = run(command.arg(path));
    assert!(published.status.success(), "{published:?}");
}

fn started(nats: &Nats, arguments: &[&str]) -> TestApp {
    let url = nats.url();
    TestApp::start_with("", &[&["--published", "--nats", &url], arguments].concat())
}

/// What a process says that does not start with what was published.
fn not_started(who: Vec<String>) -> String {
    let mut command = fleetcall();
    command.args(["--port", "0", "--published", "serve"]);
    let output = run(command.args(who));
    assert!(!output.status.success());
    stderr(&output)
}

/// Changes settings of the bucket that is there.
fn update(nats: &Nats, change: &Value) {
    let mut settings = nats.info(CONFIG)["config"].clone();
    for (key, value) in change.as_object().unwrap() {
        settings[key] = value.clone();
    }
    nats.does(&format!("STREAM.UPDATE.KV_{CONFIG}"), &settings);
}

/// A stream with a configuration, and the settings by which the bucket has it from there.
fn elsewhere(nats: &Nats, text: &str) -> Value {
    let other = json!({"name": "OTHER", "subjects": ["other.x"], "storage": "file",
                       "retention": "limits", "discard": "old", "num_replicas": 1});
    nats.does("STREAM.CREATE.OTHER", &other);
    nats.send("other.x", None, text);
    until("it is there", || {
        nats.does("STREAM.INFO.OTHER", &Value::Null)["state"]["messages"] == 1
    });
    let transform = json!({"src": "other.x", "dest": format!("$KV.{CONFIG}.clusters")});
    json!({"sources": [{"name": "OTHER", "subject_transforms": [transform]}]})
}

/// The reloads that brought another fleet.
fn taken(app: &TestApp) -> Vec<Value> {
    let reloaded = app.log().into_iter().filter(says("reloaded"));
    let is_other =
        |it: &Value| (&it["devices_added"], &it["devices_removed"]) != (&0.into(), &0.into());
    reloaded
        .filter(is_other)
        .map(|it| it["config"].clone())
        .collect()
}

fn version(number: u64) -> Value {
    format!("{CONFIG} version {number}").into()
}

#[test]
fn a_bucket_that_has_entries_from_elsewhere_is_made_anew_without_them() {
    let nats = Nats::start();
    publish(&nats, FLEET);
    let worker = started(&nats, &["worker", "--lease", LEASE]);
    let front = started(&nats, &["serve"]);
    until_well(&front);
    let right = nats.info(CONFIG)["config"].clone();
    for change in [
        elsewhere(&nats, &fleet(9)),
        // It cannot be changed back.
        json!({"allow_msg_ttl": true}),
        json!({"republish": {"src": ">", "dest": "copies.>"}}),
        // Only a bound, and it cannot be changed back either.
        json!({"deny_purge": true, "allow_rollup_hdrs": false}),
    ] {
        let before = nats.info(CONFIG)["created"].clone();
        update(&nats, &change);
        // The one in force, which is kept by itself, is published again.
        until("it is made anew", || {
            assert_eq!(front.get().devices().len(), 3, "nobody notices");
            let info = nats.info(CONFIG);
            info["created"] != before && info["state"]["messages"] == 1
        });
        let settings = nats.info(CONFIG)["config"].clone();
        for key in right.as_object().unwrap().keys() {
            if key != "first_seq" {
                assert_eq!(settings[key], right[key], "{key} after {change}");
            }
        }
    }
    for app in [&worker, &front] {
        answer_until(app.addr, "/readyz", 200);
    }
    let last = nats.info(CONFIG)["state"]["last_seq"].as_u64().unwrap();
    publish(&nats, &fleet(4));
    for app in [&worker, &front] {
        app.wait_for_log(|it| it["config"] == version(last + 1));
        assert_eq!(taken(app), [version(last + 1)]);
        says_nothing_twice(app);
    }
}

#[test]
fn a_configuration_from_elsewhere_is_not_taken_where_no_process_may_mend_its_bucket() {
    let nats = Nats::start_with(roles);
    let apps = by_roles(&nats);
    let change = elsewhere(&nats, &fleet(9));
    update(&nats, &change);
    for app in &apps {
        let answer = answer_until(app.addr, "/readyz", 503);
        for part in ["sources is ", "if it is deleted, `fleetcall publish --init"] {
            assert!(answer.body.contains(part), "{part}: {answer:?}");
        }
        app.wait_for_log(|it| it["message"] == "a bucket cannot be used" && it["bucket"] == CONFIG);
    }
    until("it is there", || {
        nats.info(CONFIG)["state"]["last_seq"] == 2
    });
    let said = not_started(as_role(&nats, "front"));
    let expected = "its entries may be from elsewhere: delete it, and publish again";
    assert!(
        said.contains("sources is ") && said.contains(expected),
        "{said}"
    );
    // Neither is what is written to it meanwhile, until there is another bucket.
    nats.put(CONFIG, "clusters", &fleet(5));
    nats.delete(CONFIG);
    init_again(&nats);
    nats.put(CONFIG, "clusters", &fleet(4));
    for app in &apps {
        let taken_now = || {
            app.log()
                .iter()
                .any(|it| it["message"] == "reloaded" && it["devices_added"] == 1)
        };
        until("it is taken", taken_now);
        assert_eq!(taken(app), [version(1)]);
        answer_until(app.addr, "/readyz", 200);
        says_nothing_twice(app);
    }
    assert_eq!(until_well(&apps[1]).devices().len(), 4);
}

/// Makes the bucket again as the operator.
fn init_again(nats: &Nats) {
    let mut command = fleetcall();
    command.args(["publish", "--init", "--lease", LEASE]);
    let made = run(command.args(as_role(nats, "operator")));
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn a_configuration_is_not_taken_while_its_bucket_cannot_be_looked_at() {
    let mut nats = Nats::start_with(roles);
    let apps = by_roles(&nats);
    let all = nats.config().to_owned();
    let look =
        format!("\"$JS.API.STREAM.INFO.KV_{CONFIG}\", \"$JS.API.STREAM.MSG.GET.KV_{CONFIG}\",");
    assert_eq!(
        all.matches(&look).count(),
        2,
        "the front's and the worker's"
    );
    nats.kill();
    nats.restart_with(all.replace(&look, &look.replace("INFO", "NAMES")));
    for app in &apps {
        app.wait_for_log(says("connected to NATS again"));
        until_answer(app, "/readyz", "it may look at its bucket", |it| {
            it.status == 503 && it.body.contains("this process may not look at it")
        });
    }
    nats.put(CONFIG, "clusters", &fleet(9));
    // The one in force is taken without a look, whatever its version.
    nats.put(CONFIG, "clusters", FLEET);
    for app in &apps {
        app.wait_for_log(|it| it["message"] == "reloaded" && it["config"] == version(3));
    }
    nats.put(CONFIG, "clusters", &fleet(4));
    until("it is stored", || {
        nats.info(CONFIG)["state"]["last_seq"] == 4
    });
    nats.kill();
    nats.restart_with(all);
    for app in &apps {
        app.wait_for_log(|it| it["message"] == "reloaded" && it["config"] == version(4));
        assert_eq!(taken(app), [version(4)]);
        answer_until(app.addr, "/readyz", 200);
        let is_said =
            |it: &Value| it["message"] == "a bucket cannot be used" && it["bucket"] == CONFIG;
        assert_eq!(app.log().into_iter().filter(is_said).count(), 1);
    }
    assert_eq!(until_well(&apps[1]).devices().len(), 4);
}

/// Also at the start, with what it had before.
#[test]
fn a_bucket_with_other_bounds_is_mended_and_keeps_what_it_has() {
    let nats = Nats::start();
    publish(&nats, FLEET);
    let created = nats.info(CONFIG)["created"].clone();
    let bounds = json!({"max_msgs_per_subject": 1, "max_bytes": 1 << 20, "discard": "old",
                        "allow_direct": true});
    update(&nats, &bounds);
    let front = started(&nats, &["serve"]);
    let _worker = started(&nats, &["worker", "--lease", LEASE]);
    assert_eq!(until_well(&front).devices().len(), 3);
    update(&nats, &bounds);
    nats.put(CONFIG, "clusters", &fleet(4));
    front.wait_for_log(|it| it["message"] == "reloaded" && it["config"] == version(2));
    let info = nats.info(CONFIG);
    assert_eq!(info["config"]["max_msgs_per_subject"], 16);
    assert_eq!(info["created"], created);
    assert_eq!(until_well(&front).devices().len(), 4);
}

#[test]
fn a_mirror_starts_no_process() {
    let nats = Nats::start();
    elsewhere(&nats, FLEET);
    let mirror = json!({"name": format!("KV_{CONFIG}"), "storage": "file", "num_replicas": 1,
                        "mirror": {"name": "OTHER", "subject_transforms":
                            [{"src": "other.x", "dest": format!("$KV.{CONFIG}.clusters")}]}});
    nats.does(&format!("STREAM.CREATE.KV_{CONFIG}"), &mirror);
    let said = not_started(vec!["--nats".to_owned(), nats.url()]);
    assert!(
        said.contains("mirror is ") && said.contains("delete it"),
        "{said}"
    );
    assert_eq!(nats.info(CONFIG)["config"]["mirror"]["name"], "OTHER");
}

/// A server that does something else than what JetStream's API is asked for of it.
fn with_mappings(dir: &Path, mappings: &[(&str, &str)]) -> String {
    let mapped = |(from, to): &(&str, &str)| format!("\"$JS.API.{from}\": \"$JS.API.{to}\"");
    let mappings: Vec<String> = mappings.iter().map(mapped).collect();
    let (store, mappings) = (dir.join("jetstream"), mappings.join(", "));
    format!(
        "jetstream {{ store_dir: {store:?}, strict: false }}\n\
         accounts {{ f {{ jetstream: enabled, users: [{{ user: f, password: f }}], \
         mappings: {{ {mappings} }} }} }}\nno_auth_user: f"
    )
}

/// How often a process has deleted a bucket.
fn times_deleted(app: &TestApp) -> usize {
    let message = "a bucket was deleted, to be made with its settings";
    app.log().into_iter().filter(says(message)).count()
}

fn cannot_be_used(app: &TestApp, why: &str) {
    app.wait_for_log(|it| {
        it["message"] == "a bucket cannot be used" && it["why"].as_str().unwrap().contains(why)
    });
}

#[test]
fn bounds_that_a_server_keeps_are_said_and_nothing_is_deleted() {
    let changes = [
        // It says that it has done it.
        (
            "STREAM.UPDATE.KV_fleetcall_config",
            "STREAM.INFO.KV_fleetcall_config",
        ),
        ("TEST.UPDATE", "STREAM.UPDATE.KV_fleetcall_config"),
    ];
    let nats = Nats::start_with(|dir| with_mappings(dir, &changes));
    publish(&nats, FLEET);
    publish(&nats, &fleet(4));
    let front = started(&nats, &["serve"]);
    let before = nats.info(CONFIG);
    let mut settings = before["config"].clone();
    settings["max_bytes"] = (1 << 20).into();
    nats.does("TEST.UPDATE", &settings);
    cannot_be_used(&front, "max_bytes is 1048576, not unlimited (the server ");
    nats.does("TEST.UPDATE", &before["config"]);
    front.wait_for_log(says("a bucket can be used again"));
    let after = nats.info(CONFIG);
    assert_eq!(after["created"], before["created"]);
    assert_eq!(after["state"]["messages"], 2);
    assert_eq!(times_deleted(&front), 0);
    says_nothing_twice(&front);
}

/// As a later server might give all streams.
#[test]
fn settings_that_a_server_gives_each_new_bucket_are_said_and_it_is_deleted_once() {
    let mut nats = Nats::start_with(|dir| with_mappings(dir, &[]));
    publish(&nats, FLEET);
    let front = started(&nats, &["serve"]);
    let imposed = json!({"name": "IMPOSED", "subjects": ["imposed"], "storage": "file",
                         "retention": "limits", "num_replicas": 1, "allow_msg_ttl": true});
    nats.does("STREAM.CREATE.IMPOSED", &imposed);
    let all = [
        ("STREAM.CREATE.KV_fleetcall_config", "STREAM.INFO.IMPOSED"),
        ("STREAM.DELETE.KV_fleetcall_config", "STREAM.INFO.IMPOSED"),
        ("STREAM.INFO.KV_fleetcall_config", "STREAM.INFO.IMPOSED"),
    ];
    nats.kill();
    nats.restart_with(with_mappings(nats.dir(), &all));
    cannot_be_used(&front, "(the server gives these to each new one)");
    nats.kill();
    nats.restart_with(with_mappings(nats.dir(), &[]));
    front.wait_for_log(says("a bucket can be used again"));
    assert_eq!(times_deleted(&front), 1);
}
