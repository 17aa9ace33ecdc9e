//! Counters and gauges say what happened, to the unit.

use crate::harness::TestApp;
use crate::scrape::{scrape, scrape_until};

/// Two that are well, one that fails, one that crashes, one that hangs until the deadline.
const MIXED: &str = r#"
    [lookup]
    latency = "10ms"
    [collect]
    deadline = "3s"
    [supervision]
    intensity = 0
    quarantine = "1h"
    [[clusters]]
    id = "mixed"
    nodes = [
        "1-2",
        { ids = "fails", lookup = { script = ["auth"] } },
        { ids = "crashes", lookup = { script = ["panic"] } },
    ]
    switches = [{ ids = "hangs", lookup = { script = ["hang"] } }]
    [[clusters]]
    id = 2
    nodes = "1"
"#;

#[test]
fn a_collect_moves_the_counters_of_what_came_of_it() {
    let app = TestApp::start(MIXED);
    let before = scrape(&app);
    for series in [
        "fleetcall_collects_total{outcome=\"complete\"}",
        "fleetcall_collects_total{outcome=\"partial\"}",
        "fleetcall_lookups_total{driver=\"simulated\",outcome=\"ok\"}",
        "fleetcall_lookup_duration_seconds_count{driver=\"simulated\"}",
        "fleetcall_actor_crashes_total",
    ] {
        assert_eq!(before.of(series), 0.0, "{series}");
    }
    assert!(!before.has("fleetcall_up"), "nobody was asked");
    assert_eq!(before.of("fleetcall_devices{state=\"unknown\"}"), 6.0);

    assert_eq!(app.get().status, 202);
    // What is withdrawn at the deadline is noted just after the answer, as is the verdict.
    let after = scrape_until(&app, "all is counted", |samples| {
        samples.of("fleetcall_lookups_total{driver=\"simulated\",outcome=\"timed_out\"}") == 1.0
            && samples.of("fleetcall_actor_quarantines_total") == 1.0
            && samples.of("fleetcall_collects_in_flight") == 0.0
    });
    for (series, value) in [
        ("fleetcall_collects_total{outcome=\"complete\"}", 0.0),
        ("fleetcall_collects_total{outcome=\"partial\"}", 1.0),
        ("fleetcall_collects_total{outcome=\"cancelled\"}", 0.0),
        ("fleetcall_collect_faults_total{kind=\"auth\"}", 1.0),
        ("fleetcall_collect_faults_total{kind=\"crashed\"}", 1.0),
        ("fleetcall_collect_faults_total{kind=\"timed_out\"}", 1.0),
        (
            "fleetcall_lookups_total{driver=\"simulated\",outcome=\"ok\"}",
            3.0,
        ),
        (
            "fleetcall_lookups_total{driver=\"simulated\",outcome=\"auth\"}",
            1.0,
        ),
        (
            "fleetcall_lookup_duration_seconds_count{driver=\"simulated\"}",
            4.0,
        ),
        (
            "fleetcall_lookup_duration_seconds_bucket{driver=\"simulated\",le=\"0.005\"}",
            0.0,
        ),
        (
            "fleetcall_lookup_duration_seconds_bucket{driver=\"simulated\",le=\"+Inf\"}",
            4.0,
        ),
        ("fleetcall_lookups_in_flight", 0.0),
        ("fleetcall_mailbox_messages{actor=\"cluster\"}", 0.0),
        ("fleetcall_actor_crashes_total", 1.0),
        ("fleetcall_actors{actor=\"cluster\",state=\"running\"}", 2.0),
        ("fleetcall_actors{actor=\"node\",state=\"running\"}", 4.0),
        (
            "fleetcall_actors{actor=\"node\",state=\"quarantined\"}",
            1.0,
        ),
        ("fleetcall_actors{actor=\"switch\",state=\"running\"}", 1.0),
        ("fleetcall_breakers{state=\"open\"}", 1.0),
        ("fleetcall_breakers{state=\"closed\"}", 5.0),
        ("fleetcall_breakers_opened_total", 1.0),
        ("fleetcall_devices{state=\"up\"}", 3.0),
        ("fleetcall_devices{state=\"down\"}", 3.0),
        ("fleetcall_devices{state=\"unknown\"}", 0.0),
        (
            "fleetcall_cluster_devices{cluster=\"mixed\",state=\"down\"}",
            3.0,
        ),
        ("fleetcall_cluster_devices{cluster=\"2\",state=\"up\"}", 1.0),
        (
            "fleetcall_up{cluster=\"mixed\",kind=\"node\",device=\"1\"}",
            1.0,
        ),
        (
            "fleetcall_up{cluster=\"mixed\",kind=\"node\",device=\"fails\"}",
            0.0,
        ),
        (
            "fleetcall_up{cluster=\"mixed\",kind=\"node\",device=\"crashes\"}",
            0.0,
        ),
        (
            "fleetcall_up{cluster=\"mixed\",kind=\"switch\",device=\"hangs\"}",
            0.0,
        ),
        (
            "fleetcall_up{cluster=\"2\",kind=\"node\",device=\"1\"}",
            1.0,
        ),
    ] {
        assert_eq!(after.of(series), value, "{series}");
    }
    let took = "fleetcall_last_lookup_duration_seconds{cluster=\"2\",kind=\"node\",device=\"1\"}";
    assert!((0.01..3.0).contains(&after.of(took)), "{}", after.of(took));
    assert_eq!(
        after.count("fleetcall_last_lookup_duration_seconds"),
        4,
        "one never ended, one was cut off"
    );
    assert_eq!(after.count("fleetcall_last_success_timestamp_seconds"), 3);
    let at = "fleetcall_last_success_timestamp_seconds{cluster=\"2\",kind=\"node\",device=\"1\"}";
    let start = after.of("process_start_time_seconds");
    let since = after.of(at) - start;
    // The kernel counts a start by boot time in whole seconds.
    assert!((-2.0..600.0).contains(&since), "{since}");
}

#[test]
fn requests_that_join_a_lookup_and_those_that_are_refused_are_counted() {
    let app = TestApp::start(
        r#"
        [lookup]
        script = ["hang"]
        timeout = "1h"
        [collect]
        deadline = "1h"
        max_waiting = 2
        [[clusters]]
        id = 1
        nodes = "1-3"
        "#,
    );
    let first = app.begin();
    scrape_until(&app, "three are asked", |samples| {
        samples.of("fleetcall_lookups_in_flight") == 3.0
    });
    let second = app.begin();
    let samples = scrape_until(&app, "they are joined", |samples| {
        samples.of("fleetcall_lookups_joined_total") == 3.0
    });
    assert_eq!(samples.of("fleetcall_lookups_in_flight"), 3.0);
    assert_eq!(samples.of("fleetcall_collects_in_flight"), 2.0);
    assert_eq!(app.get().status, 503);
    drop((first, second));
    let samples = scrape_until(&app, "both are cancelled", |samples| {
        samples.of("fleetcall_collects_total{outcome=\"cancelled\"}") == 2.0
    });
    assert_eq!(
        samples.of("fleetcall_collects_total{outcome=\"refused\"}"),
        1.0
    );
    scrape_until(&app, "nobody is asked", |samples| {
        samples.of("fleetcall_lookups_in_flight") == 0.0
    });
}

#[test]
fn the_schedule_the_reloads_and_the_lists_are_counted() {
    let config = r#"
        [lookup]
        latency = "1ms"
        [collect]
        every = "100ms"
        [[clusters]]
        id = 1
        nodes = "1"
        switches = { file = "switches.json", every = "100ms" }
    "#;
    let (dir, path) = crate::harness::config_file(config);
    let list = dir.path().join("switches.json");
    std::fs::write(&list, r#"[{"targets": ["a", "b"]}]"#).unwrap();
    let app = TestApp::start_on(dir, path, &[]);
    let samples = scrape_until(&app, "the schedule goes on", |samples| {
        samples.of("fleetcall_scheduled_lookups_total") >= 3.0
    });
    let of_list = |name: &str| format!("{name}{{list=\"clusters[0].switches\"}}");
    assert_eq!(samples.of(&of_list("fleetcall_discovery_devices")), 2.0);
    assert_eq!(samples.of(&of_list("fleetcall_discovery_up")), 1.0);
    std::fs::write(&list, "no list").unwrap();
    let samples = scrape_until(&app, "the list cannot be read", |samples| {
        samples.of(&of_list("fleetcall_discovery_up")) == 0.0
    });
    assert!(samples.of("fleetcall_discovery_reads_total{outcome=\"failed\"}") >= 1.0);
    assert_eq!(samples.of(&of_list("fleetcall_discovery_devices")), 2.0);
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
    std::fs::write(&app.config, "colour = 1").unwrap();
    assert_eq!(app.request("POST", "/v1/reload", &[]).status, 422);
    let samples = scrape(&app);
    assert_eq!(
        samples.of("fleetcall_reloads_total{outcome=\"applied\"}"),
        1.0
    );
    assert_eq!(
        samples.of("fleetcall_reloads_total{outcome=\"refused\"}"),
        1.0
    );
}
