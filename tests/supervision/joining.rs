//! Requests that share the collect under way.

use std::sync::Arc;
use std::time::Duration;

use fleetcall::engine::collector::{Answer, CollectError, CollectRequest};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::harness::{Fleet, actors, parse};

const JOINING: &str = r#"
[lookup]
latency = "100ms"
[collect]
join = true
max_waiting = 3
[[clusters]]
id = 1
nodes = ["1-3", { ids = "bad", lookup = { script = ["fail"] } }]
"#;

type Asked = JoinHandle<Result<Arc<Answer>, CollectError>>;

/// A request that has begun.
async fn ask(fleet: &Fleet, request: CollectRequest) -> Asked {
    let collector = fleet.engine.collector();
    let asked = actix::spawn(async move {
        let answer = collector.request(&request).await;
        answer.map(|(answer, _place)| answer)
    });
    tokio::task::yield_now().await;
    asked
}

fn whole() -> CollectRequest {
    CollectRequest::default()
}

#[actix_web::test]
async fn requests_share_the_collect_under_way_and_its_answer() {
    let fleet = Fleet::start_paused(JOINING);
    let start = Instant::now();
    let first = ask(&fleet, whole()).await;
    sleep(Duration::from_millis(60)).await;
    let second = ask(&fleet, whole()).await;
    let (first, second) = (
        first.await.unwrap().unwrap(),
        second.await.unwrap().unwrap(),
    );
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(first.summary().failed(), 1);
    assert!(start.elapsed() < Duration::from_millis(110));
    let metrics = fleet.metrics();
    assert_eq!((metrics.collects(), metrics.collects_joined()), (1, 1));
    assert_eq!(metrics.lookups(), 4);
    // Complete answers are for nobody who comes later.
    let third = ask(&fleet, whole()).await.await.unwrap().unwrap();
    assert_ne!(third.id, first.id);
    assert_eq!((metrics.collects(), metrics.lookups()), (2, 8));
    assert_eq!(fleet.metrics().census(), actors(6));
}

#[actix_web::test]
async fn without_join_every_request_is_a_collect_of_its_own() {
    let fleet = Fleet::start_paused(&JOINING.replace("join = true", "join = false"));
    let first = ask(&fleet, whole()).await;
    let second = ask(&fleet, whole()).await;
    let (first, second) = (
        first.await.unwrap().unwrap(),
        second.await.unwrap().unwrap(),
    );
    assert_ne!(first.id, second.id);
    let metrics = fleet.metrics();
    assert_eq!((metrics.collects(), metrics.collects_joined()), (2, 0));
}

#[actix_web::test]
async fn only_requests_that_are_alike_are_joined() {
    let fleet = Fleet::start_paused(JOINING);
    let one = CollectRequest {
        deadline: Some(Duration::from_millis(50)),
        ..whole()
    };
    let first = ask(&fleet, whole()).await;
    let hasty = ask(&fleet, one).await;
    let hasty = hasty.await.unwrap().unwrap();
    assert_eq!(hasty.summary().failed(), 4, "its own deadline holds");
    let first = first.await.unwrap().unwrap();
    assert_eq!(first.summary().failed(), 1);
    let forced = CollectRequest {
        force: true,
        ..whole()
    };
    let first = ask(&fleet, whole()).await;
    let forced = ask(&fleet, forced).await.await.unwrap().unwrap();
    assert_ne!(first.await.unwrap().unwrap().id, forced.id);
    assert_eq!(fleet.metrics().collects_joined(), 0);
}

#[actix_web::test]
async fn what_is_young_enough_for_one_is_not_handed_on_to_a_later_one() {
    let fleet = Fleet::start_paused(JOINING);
    let young = CollectRequest {
        max_age: Some(Duration::from_millis(10)),
        ..whole()
    };
    let first = ask(&fleet, young.clone()).await;
    let second = ask(&fleet, young).await;
    let first = first.await.unwrap().unwrap();
    assert_ne!(first.id, second.await.unwrap().unwrap().id);
    assert_eq!(fleet.metrics().collects_joined(), 0);
}

#[actix_web::test]
async fn who_began_it_may_go_and_the_others_have_their_answer() {
    let fleet = Fleet::start_paused(JOINING);
    let first = ask(&fleet, whole()).await;
    let second = ask(&fleet, whole()).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(second.await.unwrap().unwrap().summary().failed(), 1);
    let third = ask(&fleet, whole()).await;
    let fourth = ask(&fleet, whole()).await;
    for asked in [third, fourth] {
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
    }
    let metrics = fleet.metrics();
    assert_eq!((metrics.collects(), metrics.collects_cancelled()), (1, 1));
    assert_eq!(metrics.census().collects, 0);
}

#[actix_web::test]
async fn joined_requests_count_among_those_that_may_wait() {
    let fleet = Fleet::start_paused(JOINING);
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(ask(&fleet, whole()).await);
    }
    let refused = ask(&fleet, whole()).await.await.unwrap();
    assert_eq!(
        refused.unwrap_err(),
        CollectError::Overloaded { waiting: 3 }
    );
    for asked in asked {
        asked.await.unwrap().unwrap();
    }
}

#[actix_web::test]
async fn a_request_after_a_reload_joins_none_before() {
    let fleet = Fleet::start_paused(JOINING);
    let before = ask(&fleet, whole()).await;
    fleet.engine.apply(parse(&JOINING.replace("1-3", "1-5")));
    let after = ask(&fleet, whole()).await;
    assert_eq!(before.await.unwrap().unwrap().summary().devices(), 4);
    assert_eq!(after.await.unwrap().unwrap().summary().devices(), 6);
    assert_eq!(fleet.metrics().collects_joined(), 0);
}

#[actix_web::test]
async fn when_it_is_given_up_all_hear() {
    let fleet = Fleet::start_paused(JOINING);
    let first = ask(&fleet, whole()).await;
    let second = ask(&fleet, whole()).await;
    fleet.engine.collector().cut_off();
    for asked in [first, second] {
        let answer = asked.await.unwrap();
        assert_eq!(answer.unwrap_err(), CollectError::ShuttingDown);
    }
    let metrics = fleet.metrics();
    assert_eq!((metrics.collects(), metrics.collects_cancelled()), (0, 1));
}

#[actix_web::test]
async fn a_joined_answer_is_not_later_than_its_deadline() {
    let config = JOINING
        .replace("join = true", "join = true\ndeadline = \"1s\"")
        .replace("\"fail\"", "\"hang\"");
    let fleet = Fleet::start_paused(&config);
    let start = Instant::now();
    let first = ask(&fleet, whole()).await;
    sleep(Duration::from_millis(900)).await;
    let second = ask(&fleet, whole()).await;
    let answer = second.await.unwrap().unwrap();
    assert!(start.elapsed() <= Duration::from_secs(1));
    assert_eq!(answer.summary().failed(), 1);
    assert!(Arc::ptr_eq(&answer, &first.await.unwrap().unwrap()));
}

/// A server keeps the request of a connection that it closes, and does not look at it any more.
#[actix_web::test]
async fn one_that_joined_needs_nobody_to_go_on_who_was_there_before() {
    let fleet = Fleet::start_paused(JOINING);
    let collector = fleet.engine.collector();
    let request = whole();
    let first = collector.request(&request);
    tokio::pin!(first);
    assert!(futures::poll!(first.as_mut()).is_pending());
    let start = Instant::now();
    let second = ask(&fleet, whole()).await.await.unwrap().unwrap();
    assert_eq!(second.summary().failed(), 1);
    assert!(start.elapsed() < Duration::from_millis(110));
    let metrics = fleet.metrics();
    assert_eq!((metrics.collects(), metrics.collects_joined()), (1, 1));
    assert_eq!(metrics.lookups(), 4);
    assert!(Arc::ptr_eq(&second, &first.await.unwrap().0));
}
