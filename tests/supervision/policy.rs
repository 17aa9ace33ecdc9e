//! Intensity, backoff, quarantine, trial; circuit breaker, retries, schedule: by a clock that
//! stands still while anything can be done.

use std::time::Duration;

use fleetcall::domain::{BreakerState, Collection, FaultKind, Liveness};
use fleetcall::supervision::failpoints::{FailAction, Failpoint};
use tokio::time::{Instant, sleep};

use crate::harness::{ALL_WELL, FLEET, Fleet, children, expected};

const NODE: &str = "cluster=1 node=1";

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// [`FLEET`] with three restarts within a minute, each after 100 ms, and a quarantine of 10 s.
fn strict() -> String {
    FLEET
        .replace(
            "intensity = 1000",
            "intensity = 3\nperiod = \"60s\"\nquarantine = \"10s\"",
        )
        .replace(
            "min = \"1ms\", max = \"2ms\"",
            "min = \"100ms\", max = \"100ms\"",
        )
}

fn state(fleet: &Fleet, path: &str) -> fleetcall::domain::ChildState {
    let children = children(&fleet.tree());
    children
        .into_iter()
        .find(|(child, _)| child == path)
        .unwrap()
        .1
}

/// Crashes the node once, and waits until its backoff or quarantine has begun.
async fn crash(fleet: &Fleet) {
    fleet.panics(Failpoint::Handler, NODE);
    assert_eq!(fleet.collect().await, expected(&["1/n1:crashed"]));
}

#[actix_web::test]
async fn intensity_restarts_pass_and_the_next_within_the_period_quarantines() {
    let fleet = Fleet::start_paused(&strict());
    fleet.heal().await;
    for restart in 1..=3 {
        crash(&fleet).await;
        assert!(matches!(
            state(&fleet, NODE).liveness,
            Liveness::Restarting(Some(_))
        ));
        sleep(ms(100)).await;
        assert_eq!(
            fleet.collect().await,
            expected(&[]),
            "restart {restart} is within the intensity"
        );
    }
    crash(&fleet).await;
    assert_eq!(fleet.metrics().quarantines(), 1);
    assert!(matches!(
        state(&fleet, NODE).liveness,
        Liveness::Quarantined(_)
    ));
    let answer = fleet.ask().await;
    let (_, _, _, fault) = answer.faults().next().unwrap();
    assert_eq!(fault.kind(), FaultKind::Quarantined);
    let why = "crashed: the node actor panicked: failpoint: Handler, failing since ";
    assert!(fault.message().starts_with(why), "{}", fault.message());
    let message = "; the node actor crashed too often and is quarantined, again in 9s 9";
    assert!(fault.message().contains(message), "{}", fault.message());
    assert_eq!(answer.summary().failed(), 1, "the rest goes on");
}

#[actix_web::test]
async fn a_device_fails_since_its_first_failure_whatever_the_later_ones_are() {
    tokio::time::pause();
    let fleet = one(
        r#""refused", "panic", "auth", "ok", "fail""#,
        "breaker = { failures = 9 }",
    );
    let state = || fleet.tree().clusters[0].nodes[0].clone();
    let fault = || state().fault(std::time::SystemTime::now()).unwrap();
    assert_eq!(state().failing_since, None, "it was never asked");
    fleet.collect().await;
    let since = state().failing_since.unwrap();
    assert_eq!(fault().kind(), FaultKind::Refused);
    sleep(Duration::from_secs(5)).await;
    fleet.collect().await;
    assert_eq!(state().failing_since, Some(since), "over a crash");
    assert_eq!(fault().kind(), FaultKind::Crashed);
    fleet.collect().await;
    assert_eq!(state().failing_since, Some(since));
    let restarting = fleet.ask().await;
    let message = restarting.faults().next().unwrap().3.message().to_owned();
    let text = humantime::format_rfc3339_seconds(since);
    let why = format!(
        "crashed: the node actor panicked: simulated panic in lookup 1, failing since {text}; "
    );
    assert!(message.starts_with(&why), "{message}");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(fleet.collect().await, ["1/n1:auth"]);
    assert_eq!(state().failing_since, Some(since));
    sleep(Duration::from_secs(600)).await;
    assert_eq!(fleet.collect().await, ["1/n1"]);
    assert_eq!(state().failing_since, None);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(fleet.collect().await, ["1/n1:failed"]);
    let later = state().failing_since.unwrap().duration_since(since);
    assert_eq!(later.unwrap().as_secs(), 725, "it began anew");
}

#[actix_web::test]
async fn failures_further_apart_than_the_period_never_quarantine() {
    let fleet = Fleet::start_paused(&strict());
    fleet.heal().await;
    for _ in 0..20 {
        crash(&fleet).await;
        sleep(Duration::from_secs(20)).await;
        assert_eq!(fleet.collect().await, expected(&[]));
    }
    assert_eq!(
        fleet.metrics().quarantines(),
        0,
        "three in any minute is not more than three"
    );
}

#[actix_web::test]
async fn after_the_cool_down_one_lookup_is_the_trial() {
    let fleet = Fleet::start_paused(&strict());
    fleet.heal().await;
    for _ in 0..4 {
        crash(&fleet).await;
        sleep(ms(100)).await;
    }
    // The cool-down began 100 ms ago.
    sleep(ms(9_700)).await;
    assert_eq!(fleet.collect().await, expected(&["1/n1:quarantined"]));
    sleep(ms(200)).await;
    crash(&fleet).await;
    assert_eq!(
        fleet.metrics().quarantines(),
        2,
        "the trial failed: back at once"
    );
    sleep(Duration::from_secs(10)).await;
    assert_eq!(fleet.collect().await, expected(&[]), "the trial went well");
    for _ in 0..3 {
        crash(&fleet).await;
        sleep(ms(100)).await;
    }
    assert_eq!(
        fleet.metrics().quarantines(),
        2,
        "a clean slate: three restarts pass again"
    );
    crash(&fleet).await;
    assert_eq!(fleet.metrics().quarantines(), 3);
}

#[actix_web::test]
async fn a_child_that_fails_during_every_restart_ends_in_quarantine_and_hurts_nobody() {
    tokio::time::pause();
    for (act, path) in [
        (FailAction::Panic, NODE),
        (FailAction::Error, NODE),
        (FailAction::Panic, "cluster=1"),
    ] {
        let fleet = Fleet::start_here(&strict());
        fleet.heal().await;
        fleet.panics(Failpoint::Handler, path);
        fleet.failpoints.arm(Failpoint::New, act, path, 1_000);
        fleet.ask().await;
        sleep(ms(400)).await;
        assert!(
            matches!(state(&fleet, path).liveness, Liveness::Quarantined(_)),
            "{path}"
        );
        assert_eq!(fleet.metrics().crashes(), 4);
        let quarantined: Vec<&str> = match path {
            NODE => vec!["1/n1:quarantined"],
            _ => vec![
                "1/n1:quarantined",
                "1/n2:quarantined",
                "1/s1:quarantined",
                "1/s2:quarantined",
            ],
        };
        assert_eq!(fleet.collect().await, expected(&quarantined));
        sleep(Duration::from_secs(100)).await;
        assert_eq!(
            fleet.metrics().quarantines(),
            11,
            "one try every ten seconds"
        );
        assert_eq!(fleet.collect().await, expected(&quarantined));
        fleet.failpoints.arm(Failpoint::New, act, path, 0);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(fleet.collect().await, expected(&[]), "it is repaired");
        fleet.settle(ALL_WELL).await;
    }
}

#[actix_web::test]
async fn backoff_grows_within_its_bounds_and_starts_over_after_a_quiet_period() {
    let config = FLEET.replace(
        "min = \"1ms\", max = \"2ms\"",
        "min = \"100ms\", max = \"3s\"",
    );
    let fleet = Fleet::start_paused(&config);
    fleet.heal().await;
    let wait = || match state(&fleet, NODE).liveness {
        Liveness::Restarting(Some(wait)) => wait,
        other => panic!("{other:?}"),
    };
    let mut longest = Duration::ZERO;
    for failures in 1..=20_u32 {
        crash(&fleet).await;
        let ceiling = (ms(100) * 2_u32.pow(failures.min(10))).min(Duration::from_secs(3));
        let (shortest, wait) = (ms(100) - ms(51), wait());
        assert!(
            (shortest..=ceiling).contains(&wait),
            "{failures}: {wait:?} of {ceiling:?}"
        );
        longest = longest.max(wait);
        sleep(wait + ms(2)).await;
    }
    assert!(longest > ms(800), "it grew: {longest:?}");
    sleep(Duration::from_secs(60)).await;
    crash(&fleet).await;
    assert!(wait() <= ms(200), "it started over");
}

#[actix_web::test]
async fn callers_hear_at_once_before_during_and_after_a_backoff() {
    let config = strict().replace("latency = \"50ms\"", "latency = \"1h\"\ntimeout = \"2h\"");
    let fleet = Fleet::start_paused(&config.replace("deadline = \"10s\"", "deadline = \"24h\""));
    let start = Instant::now();
    // All of cluster 1 and 2 crash: nothing is left to wait for.
    for cluster in ["cluster=1", "cluster=2"] {
        fleet.panics(Failpoint::Handler, cluster);
    }
    let crashed = fleet.collect().await;
    assert!(
        crashed.iter().all(|device| device.ends_with(":crashed")),
        "{crashed:?}"
    );
    let restarting = fleet.ask().await;
    assert!(
        restarting
            .faults()
            .all(|(.., fault)| fault.kind() == FaultKind::Restarting)
    );
    for (.., fault) in restarting.faults() {
        let why = "crashed: the cluster actor panicked: failpoint: Handler, failing since ";
        assert!(fault.message().starts_with(why), "{}", fault.message());
        let message = "; the cluster actor crashed and is restarting, again in 100ms";
        assert!(fault.message().ends_with(message), "{}", fault.message());
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[actix_web::test]
async fn a_crashed_cluster_answers_for_lookups_under_way_at_once() {
    let fleet = Fleet::start_paused(&FLEET.replace("50ms", "2s"));
    let collector = fleet.engine.collector();
    let start = Instant::now();
    let first = actix_web::rt::spawn(async move {
        let answer = collector.collect().await.unwrap();
        (crate::harness::devices(&answer), Instant::now())
    });
    sleep(ms(500)).await;
    assert_eq!(fleet.metrics().census().lookups, 8);
    fleet.panics(Failpoint::Handler, "cluster=1");
    let crashed = [
        "1/n1:crashed",
        "1/n2:crashed",
        "1/s1:crashed",
        "1/s2:crashed",
    ];
    let second = fleet.collect().await;
    let (first, end) = first.await.unwrap();
    assert_eq!(first, expected(&crashed), "those that waited hear of it");
    assert_eq!(
        second,
        expected(&crashed),
        "and so does the one that met it"
    );
    assert!(
        end - start <= ms(2_002),
        "both have joined the lookups of cluster 2"
    );
    fleet.heal().await;
    fleet.settle(ALL_WELL).await;
}

#[actix_web::test]
async fn a_quarantine_outlives_the_restart_of_its_cluster() {
    let fleet = Fleet::start_paused(&strict());
    fleet.heal().await;
    for _ in 0..4 {
        crash(&fleet).await;
        sleep(ms(100)).await;
    }
    fleet.panics(Failpoint::Handler, "cluster=1");
    fleet.ask().await;
    sleep(ms(100)).await;
    assert_eq!(fleet.collect().await, expected(&["1/n1:quarantined"]));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(fleet.collect().await, expected(&[]));
}

/// One device with this script and these settings.
fn one(script: &str, lookup: &str) -> Fleet {
    Fleet::start_here(&format!(
        "[lookup]\nlatency = \"10ms\"\ntimeout = \"1s\"\nscript = [{script}]\n{lookup}\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\n"
    ))
}

#[actix_web::test]
async fn the_breaker_opens_after_failures_in_a_row_and_one_trial_closes_it() {
    tokio::time::pause();
    let fleet = one(
        r#""fail", "ok", "fail", "refused", "unreachable", "protocol", "ok""#,
        r#"breaker = { failures = 3, open = { min = "10s", max = "1m" } }"#,
    );
    let kinds = [
        "failed",
        "",
        "failed",
        "refused",
        "unreachable",
        "breaker_open",
    ];
    for kind in kinds {
        let device = fleet.collect().await.remove(0);
        assert_eq!(device.split_once(':').map_or("", |(_, kind)| kind), kind);
    }
    let lookups = fleet.metrics().lookups();
    let answer = fleet.ask().await;
    let message = answer.faults().next().unwrap().3.message().to_owned();
    // The clock has not moved, as it answers at once.
    let state = &fleet.tree().clusters[0].nodes[0];
    let since = humantime::format_rfc3339_seconds(state.failing_since.unwrap());
    assert_eq!(
        message,
        format!(
            "unreachable: the simulated lookup failed as told: unreachable, failing since {since}; \
             not asked, failures in a row: 3, again in 10s"
        )
    );
    assert_eq!(fleet.metrics().lookups(), lookups, "it was not asked");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(
        fleet.tree().clusters[0].nodes[0].breaker,
        BreakerState::HalfOpen
    );
    assert_eq!(fleet.collect().await, ["1/n1:protocol"], "the trial");
    let BreakerState::Open(wait) = fleet.tree().clusters[0].nodes[0].breaker else {
        panic!("the trial failed")
    };
    assert_eq!(wait, Duration::from_secs(20), "for twice as long");
    sleep(wait).await;
    assert_eq!(fleet.collect().await, ["1/n1"]);
    let node = &fleet.tree().clusters[0].nodes[0];
    assert_eq!((node.breaker, node.failures), (BreakerState::Closed, 0));
    assert_eq!(fleet.metrics().crashes(), 0, "no crash, no restart");
}

#[actix_web::test]
async fn an_authentication_failure_opens_the_breaker_at_once_also_over_a_crash() {
    tokio::time::pause();
    let fleet = one(r#""auth""#, "retries = 5");
    assert_eq!(fleet.collect().await, ["1/n1:auth"]);
    assert_eq!(fleet.collect().await, ["1/n1:breaker_open"]);
    assert_eq!(fleet.metrics().lookups(), 1, "and it was not retried");
    // What was learned of the device survives the code that learned it.
    fleet.panics(Failpoint::Handler, NODE);
    assert_eq!(fleet.collect().await, ["1/n1:crashed"]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fleet.collect().await, ["1/n1:breaker_open"]);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(fleet.collect().await, ["1/n1:auth"], "the trial");
}

#[actix_web::test]
async fn a_trial_that_is_cut_off_proves_nothing() {
    tokio::time::pause();
    let fleet = one(
        r#""fail", "hang", "ok""#,
        r#"breaker = { failures = 1, open = { min = "10s" } }"#,
    );
    assert_eq!(fleet.collect().await, ["1/n1:failed"]);
    sleep(Duration::from_secs(10)).await;
    let collector = fleet.engine.collector();
    assert!(
        tokio::time::timeout(ms(5), collector.collect())
            .await
            .is_err()
    );
    assert_eq!(fleet.collect().await, ["1/n1"], "the next one is the trial");
}

#[actix_web::test]
async fn crashes_do_not_open_the_breaker_and_failures_do_not_quarantine() {
    tokio::time::pause();
    let fleet = one(r#""panic", "fail""#, "breaker = { failures = 2 }");
    for _ in 0..2 {
        assert_eq!(fleet.collect().await, ["1/n1:crashed"]);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(
            fleet.tree().clusters[0].nodes[0].breaker,
            BreakerState::Closed
        );
        assert_eq!(fleet.collect().await, ["1/n1:failed"]);
    }
    assert!(matches!(
        fleet.tree().clusters[0].nodes[0].breaker,
        BreakerState::Open(_)
    ));
    assert_eq!(fleet.metrics().quarantines(), 0);
}

#[actix_web::test]
async fn a_device_that_is_silent_until_the_deadline_counts_as_failed_and_one_that_waited_does_not()
{
    let fleet = Fleet::start_paused(
        "[lookup]\nscript = [\"hang\"]\ntimeout = \"1h\"\nbreaker = { failures = 2 }\n\
         [collect]\ndeadline = \"1s\"\nmax_concurrent = 1\n[[clusters]]\nid = 1\nnodes = \"1-2\"\n",
    );
    for _ in 0..2 {
        let answer = fleet.ask().await;
        let faults = answer.faults();
        let faults = faults.map(|(.., fault)| (fault.kind(), fault.message()));
        let expected = [
            "no answer before the collect's deadline of 1s",
            "not asked before the collect's deadline of 1s: it waited for `max_concurrent`",
        ];
        let expected = expected.map(|message| (FaultKind::TimedOut, message));
        assert_eq!(faults.collect::<Vec<_>>(), expected);
    }
    // The second one was never asked: the first one had the only place.
    assert_eq!(fleet.tree().clusters[0].nodes[1].failures, 0);
    assert_eq!(
        fleet.collect().await,
        ["1/n1:breaker_open", "1/n2:timed_out"]
    );
    sleep(ms(1)).await;
    assert_eq!(fleet.tree().clusters[0].nodes[1].failures, 1);
}

#[actix_web::test]
async fn retries_are_for_transient_kinds_and_end_with_the_timeout() {
    tokio::time::pause();
    let backoff = r#"retry_backoff = { min = "100ms", max = "100ms" }"#;
    let retrying =
        |script: &str, retries: u32| one(script, &format!("retries = {retries}\n{backoff}"));
    let fleet = retrying(r#""refused", "unreachable", "ok""#, 2);
    let start = Instant::now();
    assert_eq!(fleet.collect().await, ["1/n1"]);
    // Each timer may be up to a millisecond late.
    assert!(
        (ms(230)..=ms(235)).contains(&start.elapsed()),
        "three of 10 ms, two waits"
    );
    assert_eq!(
        (fleet.metrics().retries(), fleet.metrics().lookups()),
        (2, 1)
    );

    let fleet = retrying(r#""refused", "refused", "refused", "ok""#, 2);
    assert_eq!(fleet.collect().await, ["1/n1:refused"], "no retry is left");
    assert_eq!(
        fleet.tree().clusters[0].nodes[0].failures,
        1,
        "one failure for the breaker"
    );

    for kind in ["auth", "protocol", "too_large"] {
        let fleet = retrying(&format!("\"{kind}\", \"ok\""), 2);
        assert_eq!(
            fleet.collect().await,
            [format!("1/n1:{kind}")],
            "never retried"
        );
    }

    let fleet = retrying(r#""refused""#, 1000);
    let start = Instant::now();
    assert_eq!(
        fleet.collect().await,
        ["1/n1:refused"],
        "the last failure, not the timeout"
    );
    assert!(start.elapsed() <= ms(1_000), "{:?}", start.elapsed());
    assert!(start.elapsed() > ms(850), "{:?}", start.elapsed());
}

#[actix_web::test]
async fn the_schedule_asks_each_device_once_in_each_interval_without_any_collect() {
    let fleet = Fleet::start_paused(
        "[lookup]\nlatency = \"10ms\"\n[collect]\nevery = \"60s\"\n\
         [[clusters]]\nid = 1\nnodes = \"1-50\"\nswitches = \"1-50\"\n",
    );
    sleep(Duration::from_secs(600)).await;
    let metrics = fleet.metrics();
    // Of just ten intervals: any longer, and somebody's eleventh time may be in it.
    assert_eq!((metrics.ticks(), metrics.ticks_skipped()), (1000, 0));
    sleep(ms(20)).await;
    assert!(
        (999..=metrics.ticks()).contains(&metrics.lookups()),
        "{}",
        metrics.lookups()
    );
    assert_eq!(metrics.collects(), 0);
    for node in &fleet.tree().clusters[0].nodes {
        assert!(
            node.last_lookup().unwrap() <= Duration::from_secs(61),
            "{node:?}"
        );
    }
}

#[actix_web::test]
async fn a_tick_that_would_overlap_is_skipped_and_counted_and_no_device_is_asked_twice_at_once() {
    let fleet = Fleet::start_paused(
        "[lookup]\nlatency = \"3500ms\"\n[collect]\nevery = \"1s\"\n\
         [[clusters]]\nid = 1\nnodes = \"1-20\"\n",
    );
    let metrics = fleet.metrics();
    for _ in 0..100 {
        sleep(ms(99)).await;
        assert!(metrics.census().lookups <= 20);
    }
    let all = metrics.ticks() + metrics.ticks_skipped();
    assert!((198..=200).contains(&all), "twenty a second: {all}");
    assert!(
        (40..=60).contains(&metrics.ticks()),
        "one in four: {}",
        metrics.ticks()
    );
}

#[actix_web::test]
async fn a_collect_joins_a_scheduled_lookup_and_cancelling_it_does_not_end_that() {
    let fleet = Fleet::start_paused(
        "[lookup]\nlatency = \"900ms\"\n[collect]\nevery = \"1s\"\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\n",
    );
    let metrics = fleet.metrics();
    crate::harness::until("a scheduled lookup runs", || metrics.census().lookups == 1).await;
    let collector = fleet.engine.collector();
    assert!(
        tokio::time::timeout(ms(5), collector.collect())
            .await
            .is_err()
    );
    assert_eq!(metrics.census().lookups, 1, "it goes on");
    let start = Instant::now();
    assert_eq!(fleet.collect().await, ["1/n1"]);
    assert!(
        start.elapsed() < ms(900),
        "joined half-way: {:?}",
        start.elapsed()
    );
    assert_eq!(metrics.lookups(), 1);
}

#[actix_web::test]
async fn what_comes_due_while_the_clusters_actor_is_down_is_skipped_and_counted() {
    let fleet = Fleet::start_paused(
        "[lookup]\nlatency = \"10ms\"\n[collect]\nevery = \"1s\"\n\
         [supervision]\nintensity = 0\nquarantine = \"50s\"\n\
         [[clusters]]\nid = 1\nnodes = \"1-8\"\n",
    );
    sleep(Duration::from_secs(10)).await;
    fleet.panics(Failpoint::Handler, "cluster=1");
    fleet.ask().await;
    sleep(Duration::from_secs(40)).await;
    let metrics = fleet.metrics();
    let (ticks, skipped) = (metrics.ticks(), metrics.ticks_skipped());
    // Offsets are of the wall clock, so one device may be due in the moment of the crash.
    assert!(skipped <= 1, "it cannot know yet: {skipped}");
    assert!(
        (80..=81).contains(&(ticks + skipped)),
        "10 seconds of 8 devices: {ticks}"
    );
    sleep(Duration::from_secs(20)).await;
    let (ticks, skipped) = (metrics.ticks(), metrics.ticks_skipped());
    assert!(
        (396..=404).contains(&skipped),
        "50 seconds of 8 devices: {skipped}"
    );
    assert!(
        (556..=564).contains(&(ticks + skipped)),
        "70 seconds of 8 devices: {ticks}"
    );
}

#[actix_web::test]
async fn a_device_that_is_down_when_its_time_comes_is_skipped() {
    let fleet = Fleet::start_paused(
        "[lookup]\nlatency = \"10ms\"\nscript = [\"panic\"]\n[collect]\nevery = \"1s\"\n\
         [supervision]\nbackoff = { min = \"10s\", max = \"10s\" }\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\n",
    );
    sleep(Duration::from_secs(5)).await;
    let metrics = fleet.metrics();
    assert_eq!((metrics.ticks(), metrics.crashes()), (1, 1));
    assert!(
        (3..=5).contains(&metrics.ticks_skipped()),
        "{}",
        metrics.ticks_skipped()
    );
}

#[actix_web::test]
async fn no_more_lookups_run_than_may_and_queueing_counts_against_the_deadline() {
    let fleet = Fleet::start_paused(
        "[lookup]\nlatency = \"400ms\"\ntimeout = \"410ms\"\n\
         [collect]\ndeadline = \"1s\"\nmax_concurrent = 2\n\
         [[clusters]]\nid = 1\nnodes = \"1-6\"\nswitches = \"1-4\"\n",
    );
    // Two rounds fit into the deadline.
    let devices = fleet.collect().await;
    assert_eq!(devices[..4], ["1/n1", "1/n2", "1/n3", "1/n4"]);
    let late = &devices[4..];
    assert_eq!(late.len(), 6);
    assert!(late.iter().all(|it| it.ends_with(":timed_out")), "{late:?}");
}

#[actix_web::test]
async fn one_cluster_at_its_limit_does_not_hold_up_another() {
    let fleet = Fleet::start_paused(
        "[collect]\ndeadline = \"2s\"\nmax_concurrent = 1\n\
         [[clusters]]\nid = 1\nnodes = \"1-3\"\nlookup = { script = [\"hang\"], timeout = \"1h\" }\n\
         [[clusters]]\nid = 2\nnodes = \"1-3\"\nlookup = { latency = \"1ms\" }\n",
    );
    let expected = [
        "1/n1:timed_out",
        "1/n2:timed_out",
        "1/n3:timed_out",
        "2/n1",
        "2/n2",
        "2/n3",
    ];
    assert_eq!(fleet.collect().await, expected);
}

#[actix_web::test]
async fn a_request_that_joins_a_lookup_has_a_deadline_of_its_own() {
    let fleet = Fleet::start_paused(
        "[lookup]\nscript = [\"hang\"]\ntimeout = \"1500ms\"\n[collect]\ndeadline = \"1s\"\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\n",
    );
    let collector = fleet.engine.collector();
    let first = actix_web::rt::spawn(async move { collector.collect().await.unwrap() });
    // The second joins half-way; the first one's deadline must not end its lookup.
    sleep(ms(600)).await;
    let second = fleet.ask().await;
    let message = |answer: &Collection| answer.faults().next().unwrap().3.message().to_owned();
    let first = message(&first.await.unwrap());
    assert_eq!(first, "no answer before the collect's deadline of 1s");
    let its_own = "no answer within 1s 500ms";
    assert_eq!(
        message(&second),
        its_own,
        "the lookup went on to its timeout"
    );
}
