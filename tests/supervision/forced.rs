//! Devices that are asked although they are left alone, and those that are reset.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use fleetcall::domain::{
    BreakerState, ChildState, ClusterId, DeviceId, DeviceKind, DeviceState, Hold, Liveness,
};
use fleetcall::supervision::failpoints::{FailAction, Failpoint};
use tokio::time::sleep;

use crate::harness::{ALL_WELL, FLEET, Fleet, children, expected};

const NODE: &str = "cluster=1 node=1";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One node with this script, whose breaker opens for an hour at the second failure in a row.
fn one(script: &str) -> Fleet {
    Fleet::start_paused(&format!(
        "[lookup]\nlatency = \"0s\"\nscript = [{script}]\n\
         breaker = {{ failures = 2, open = {{ min = \"1h\", max = \"10h\" }} }}\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\n"
    ))
}

/// [`FLEET`] where a child is quarantined for an hour at its second exit.
fn strict() -> Fleet {
    let strict = "intensity = 1\nperiod = \"10m\"\nquarantine = \"1h\"";
    Fleet::start_paused(&FLEET.replace("intensity = 1000", strict))
}

fn node(fleet: &Fleet) -> DeviceState {
    fleet.tree().clusters[0].nodes[0].clone()
}

fn child(fleet: &Fleet, path: &str) -> ChildState {
    let mut children = children(&fleet.tree()).into_iter();
    children.find(|(it, _)| it == path).unwrap().1
}

/// Has it crash so often that it is quarantined.
async fn quarantine(fleet: &Fleet, path: &str) {
    fleet.heal().await;
    for _ in 0..2 {
        fleet.panics(Failpoint::Handler, path);
        fleet.collect().await;
        sleep(Duration::from_millis(10)).await;
    }
    assert!(matches!(
        child(fleet, path).liveness,
        Liveness::Quarantined(_)
    ));
}

async fn reset(fleet: &Fleet, kind: DeviceKind, device: u64) -> Option<Vec<Hold>> {
    let collector = fleet.engine.collector();
    let (cluster, device) = (ClusterId::number(1), DeviceId::number(device));
    let cleared = collector.reset(&cluster, kind, &device, "a test").await?;
    Some(cleared.unwrap())
}

#[actix_web::test]
async fn a_device_is_asked_although_its_breaker_is_open_and_the_outcome_decides() {
    let fleet = one(r#""refused", "refused", "auth", "ok""#);
    for kind in [":refused", ":refused", ":breaker_open"] {
        assert_eq!(fleet.collect().await, [format!("1/n1{kind}")]);
    }
    assert_eq!(fleet.force().await, ["1/n1:auth"]);
    let BreakerState::Open(wait) = node(&fleet).breaker else {
        panic!("it failed again");
    };
    assert_eq!(
        wait,
        secs(36_000),
        "by its policy, which auth makes the most"
    );
    assert_eq!(fleet.collect().await, ["1/n1:breaker_open"]);
    // Once in ten seconds.
    sleep(Duration::from_millis(9_900)).await;
    assert_eq!(fleet.force().await, ["1/n1:breaker_open"]);
    assert_eq!(fleet.metrics().lookups(), 3);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(fleet.force().await, ["1/n1"]);
    assert_eq!(node(&fleet).breaker, BreakerState::Closed);
    // One that is not left alone may be asked as often as anybody likes.
    let lookups = fleet.metrics().lookups();
    for _ in 0..3 {
        fleet.force().await;
    }
    assert!(fleet.metrics().lookups() > lookups);
}

#[actix_web::test]
async fn the_schedule_and_others_are_not_forced_with_it() {
    let fleet = one(r#""refused", "refused", "hang", "ok""#);
    for _ in 0..2 {
        fleet.collect().await;
    }
    let forced = fleet.force();
    let plain = async {
        tokio::task::yield_now().await;
        fleet.collect().await
    };
    let (forced, plain) = futures::join!(forced, plain);
    // The second one joined the lookup that the first one had begun.
    assert_eq!([forced, plain], [["1/n1:timed_out"], ["1/n1:timed_out"]]);
    assert_eq!(fleet.metrics().lookups(), 3);
    assert_eq!(fleet.collect().await, ["1/n1:breaker_open"]);
}

/// While it is looked whether a secret that was refused is another one now, the breaker is open.
#[actix_web::test]
async fn a_device_is_asked_by_force_while_its_secret_is_looked_at() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if stream.read(&mut [0; 4096]).unwrap() == 0 {
                continue;
            }
            let refusal =
                "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(refusal.as_bytes()).unwrap();
        }
    });
    let mut token = tempfile::NamedTempFile::new().unwrap();
    token.write_all(b"wrong").unwrap();
    let fleet = Fleet::start_here(&format!(
        "[lookup]\ndriver = \"http\"\nurl = \"http://{addr}/\"\nbearer_token = {{ file = {:?} }}\n\
         breaker = {{ failures = 1, open = {{ min = \"1h\", max = \"1h\" }} }}\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\n",
        token.path()
    ));
    assert_eq!(fleet.collect().await, ["1/n1:auth"]);
    // Both are sent before anything else has its turn on this thread.
    let (plain, forced) = futures::join!(fleet.collect(), fleet.force());
    assert_eq!(plain, ["1/n1:breaker_open"]);
    assert_eq!(forced, ["1/n1:auth"]);
    assert_eq!(fleet.metrics().lookups(), 2);
}

#[actix_web::test]
async fn an_actor_in_quarantine_is_started_for_a_trial() {
    let fleet = strict();
    quarantine(&fleet, NODE).await;
    assert_eq!(fleet.collect().await, expected(&["1/n1:quarantined"]));
    // The trial fails: back at once.
    fleet.panics(Failpoint::Handler, NODE);
    assert_eq!(fleet.force().await, expected(&["1/n1:crashed"]));
    assert_eq!(fleet.metrics().quarantines(), 2);
    assert_eq!(fleet.force().await, expected(&["1/n1:quarantined"]));
    sleep(secs(10)).await;
    assert_eq!(fleet.force().await, expected(&[]), "the trial went well");
    assert_eq!(child(&fleet, NODE).liveness, Liveness::Running);
    // A clean slate: one restart passes again.
    fleet.panics(Failpoint::Handler, NODE);
    fleet.collect().await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(fleet.collect().await, expected(&[]));
    fleet.settle(ALL_WELL).await;
}

#[actix_web::test]
async fn an_actor_in_backoff_is_started_at_once() {
    let config = FLEET.replace("min = \"1ms\", max = \"2ms\"", "min = \"1h\", max = \"1h\"");
    let fleet = Fleet::start_paused(&config);
    fleet.heal().await;
    for path in [NODE, "cluster=1 switch=2", "cluster=1"] {
        fleet.panics(Failpoint::Handler, path);
        fleet.collect().await;
        assert!(matches!(
            child(&fleet, path).liveness,
            Liveness::Restarting(Some(_))
        ));
        assert_eq!(fleet.force().await, expected(&[]), "{path}");
        assert_eq!(child(&fleet, path).restarts, 1, "{path}");
    }
    fleet.settle(ALL_WELL).await;
}

#[actix_web::test]
async fn a_cluster_in_quarantine_is_started_for_a_trial_with_its_devices() {
    let fleet = strict();
    quarantine(&fleet, NODE).await;
    quarantine_cluster(&fleet).await;
    assert_eq!(fleet.force().await, expected(&[]));
    assert_eq!(child(&fleet, "cluster=1").liveness, Liveness::Running);
    fleet.settle(ALL_WELL).await;
}

async fn quarantine_cluster(fleet: &Fleet) {
    for _ in 0..2 {
        fleet.panics(Failpoint::Handler, "cluster=1");
        fleet.collect().await;
        sleep(Duration::from_millis(10)).await;
    }
    assert!(matches!(
        child(fleet, "cluster=1").liveness,
        Liveness::Quarantined(_)
    ));
}

#[actix_web::test]
async fn one_that_cannot_be_built_when_it_is_forced_answers_all_the_same() {
    let fleet = strict();
    quarantine(&fleet, NODE).await;
    for act in [FailAction::Error, FailAction::Panic] {
        fleet.failpoints.arm(Failpoint::New, act, NODE, 1);
        let answer = fleet.force().await;
        assert!(answer[0].starts_with("1/n1:"), "{answer:?}");
        assert_eq!(answer[1..], expected(&[])[1..]);
        assert_eq!(fleet.failpoints.left(Failpoint::New, NODE), 0);
        sleep(secs(10)).await;
    }
    assert_eq!(fleet.force().await, expected(&[]));
}

#[actix_web::test]
async fn a_reset_closes_the_breaker_and_asks_nobody() {
    let fleet = one(r#""refused", "refused", "refused", "ok""#);
    for _ in 0..2 {
        fleet.collect().await;
    }
    let since = node(&fleet).failing_since;
    assert!(since.is_some());
    let lookups = fleet.metrics().lookups();
    assert_eq!(reset(&fleet, DeviceKind::Node, 9).await, None);
    assert_eq!(reset(&fleet, DeviceKind::Switch, 1).await, None);
    let cleared = reset(&fleet, DeviceKind::Node, 1).await;
    assert_eq!(cleared, Some(vec![Hold::Breaker]));
    assert_eq!(fleet.metrics().lookups(), lookups);
    let state = node(&fleet);
    assert_eq!((state.breaker, state.failures), (BreakerState::Closed, 0));
    assert_eq!(state.failing_since, since, "it has not answered yet");
    assert_eq!(reset(&fleet, DeviceKind::Node, 1).await, Some(vec![]));
    assert_eq!(fleet.collect().await, ["1/n1:refused"]);
    assert_eq!(fleet.collect().await, ["1/n1"], "one failure opens nothing");
}

#[actix_web::test]
async fn a_reset_ends_backoff_and_quarantine_and_forgets_what_led_there() {
    let fleet = strict();
    quarantine(&fleet, NODE).await;
    let cleared = reset(&fleet, DeviceKind::Node, 1).await;
    assert_eq!(cleared, Some(vec![Hold::Quarantine]));
    assert_eq!(fleet.collect().await, expected(&[]));
    // It is not on trial: one restart passes again, and then it is quarantined as before.
    fleet.panics(Failpoint::Handler, NODE);
    fleet.collect().await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(fleet.collect().await, expected(&[]));
    fleet.panics(Failpoint::Handler, NODE);
    fleet.collect().await;
    assert_eq!(fleet.collect().await, expected(&["1/n1:quarantined"]));
    reset(&fleet, DeviceKind::Node, 1).await;
    // Of a device whose cluster's actor is down, that is started, too.
    quarantine_cluster(&fleet).await;
    let cleared = reset(&fleet, DeviceKind::Switch, 2).await;
    assert_eq!(cleared, Some(vec![Hold::Quarantine]));
    assert_eq!(fleet.collect().await, expected(&[]));
    fleet.settle(ALL_WELL).await;
    let config = FLEET.replace("min = \"1ms\", max = \"2ms\"", "min = \"1h\", max = \"1h\"");
    let fleet = Fleet::start_here(&config);
    fleet.heal().await;
    fleet.panics(Failpoint::Handler, NODE);
    assert_eq!(fleet.collect().await, expected(&["1/n1:crashed"]));
    let cleared = reset(&fleet, DeviceKind::Node, 1).await;
    assert_eq!(cleared, Some(vec![Hold::Backoff]));
    assert_eq!(fleet.collect().await, expected(&[]));
}
