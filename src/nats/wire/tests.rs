//! What other releases write, and what others make up.

use std::time::{Duration, SystemTime};

use super::time::from_ms;
use super::*;
use crate::domain::{ClusterId, Facts, FaultKind};

#[test]
fn what_others_made_up_is_taken_for_no_more_than_it_is() {
    let later = r#"{"d":1,"k":"melted","m":"a kind of later releases","new":[1]}"#;
    let told = serde_json::from_str::<WireOutcome<'_>>(later)
        .unwrap()
        .told();
    assert_eq!(told.outcome.unwrap_err().kind(), FaultKind::Protocol);
    let no_object = r#"{"d":1,"f":[1,2],"a":18446744073709551615,"t":18446744073709551615}"#;
    let told = serde_json::from_str::<WireOutcome<'_>>(no_object)
        .unwrap()
        .told();
    assert_eq!(told.outcome, Ok(Facts::none()));
    for ms in [253_402_300_800_000, u64::MAX] {
        assert_eq!(from_ms(ms), SystemTime::UNIX_EPOCH);
    }
    let order = format!(
        r#"{{"version":1,"cluster":1,"plan":0,"deadline_us":{0},"elapsed_us":{0}}}"#,
        u64::MAX
    );
    let order: ClusterRequest = serde_json::from_str(&order).unwrap();
    assert_eq!(order.places, None);
    assert_eq!(order.elapsed(), Duration::from_micros(u64::MAX));
}

/// These lines do not change: releases wrote them.
#[test]
fn what_the_first_releases_wrote_is_read() {
    let order = r#"{"version":1,"cluster":"rack.7","plan":12297829382473034410,"places":{"runs":[[0,2],[7,1]]},"deadline_us":30000000,"elapsed_us":125}"#;
    let order: ClusterRequest = serde_json::from_str(order).unwrap();
    assert_eq!(order.cluster, ClusterId::name("rack.7").unwrap());
    assert!(!order.force && order.asks());
    assert_eq!(order.places.unwrap().read(8), Some(vec![0, 1, 7]));
    assert_eq!((order.speaks, order.max_age_us), (None, None));
    assert_eq!(order.look, None);
    let chunk = r#"{"version":1,"fence":17,"number":3,"outcomes":[{"d":7,"a":12,"t":3000123},{"d":9,"k":"refused","m":"no"}],"end":"complete"}"#;
    let chunk: Chunk<'_> = serde_json::from_str(chunk).unwrap();
    let told: Vec<_> = chunk.told().unwrap().collect();
    assert_eq!((told[0].place, told[0].outcome.is_ok()), (7, true));
    let fault = told[1].outcome.as_ref().unwrap_err();
    assert_eq!((fault.kind(), fault.message()), (FaultKind::Refused, "no"));
    assert_eq!(chunk.end, Some(AnswerEnd::Complete));
    let lease = r#"{"version":1,"worker":"a","tenure":7,"since_ms":1795633260000}"#;
    assert_eq!(serde_json::from_str::<Lease>(lease).unwrap().worker, "a");
    let roster = r#"{"version":1,"name":"a","release":"0.1.0","since_ms":1,"lease_ms":5000,"taken":1,"handed_over":0,"lost":0,"held":[{"c":1,"f":133,"s":2,"r":310}]}"#;
    let state = serde_json::from_str::<Roster>(roster).unwrap().state();
    assert_eq!(state.holdings[0].fence, 133);
}
