//! What came of one device, as it travels.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::time::micros;
use crate::domain::{Facts, Fault, FaultKind, Outcome};
use crate::engine::collector::Observation;
use crate::engine::remote::RemoteOutcome;

/// What came of one device.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::nats) struct WireOutcome<'a> {
    #[serde(rename = "d")]
    place: u32,
    /// How long ago a lookup gave this, if one did.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    age_us: Option<u64>,
    /// How long it took, if no deadline cut it off.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    took_us: Option<u64>,
    #[serde(rename = "f", borrow, default, skip_serializing_if = "Option::is_none")]
    facts: Option<&'a RawValue>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    steady: Option<u64>,
    #[serde(rename = "k", borrow, default, skip_serializing_if = "Option::is_none")]
    kind: Option<Cow<'a, str>>,
    #[serde(rename = "m", borrow, default, skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
}

impl<'a> WireOutcome<'a> {
    pub(in crate::nats) fn new(
        place: u32,
        outcome: &'a Outcome,
        observation: Option<Observation>,
    ) -> Self {
        let age = observation.map(|it| it.at.elapsed().unwrap_or_default());
        let took = observation.and_then(|it| it.took);
        Self::aged(place, outcome, age, took)
    }

    /// As [`WireOutcome::new`], by how long ago it was.
    pub(in crate::nats) fn aged(
        place: u32,
        outcome: &'a Outcome,
        age: Option<Duration>,
        took: Option<Duration>,
    ) -> Self {
        let (facts, fault) = match outcome {
            Ok(facts) => (Some(facts), None),
            Err(fault) => (None, Some(fault)),
        };
        let json = facts.and_then(Facts::json);
        Self {
            place,
            age_us: age.map(micros),
            took_us: took.map(micros),
            facts: json,
            steady: json.and(facts).and_then(Facts::steady),
            kind: fault.map(|it| Cow::Borrowed(it.kind().as_str())),
            message: fault.map(|it| Cow::Borrowed(it.message())),
        }
    }

    /// What is said of a device whose facts are too long to travel.
    pub(in crate::nats) fn too_large(place: u32) -> Self {
        Self {
            place,
            age_us: None,
            took_us: None,
            facts: None,
            steady: None,
            kind: Some(Cow::Borrowed(FaultKind::TooLarge.as_str())),
            message: Some(Cow::Borrowed(
                "its facts are too long to travel between processes",
            )),
        }
    }

    /// The same without facts.
    pub(in crate::nats) fn without_facts(self) -> Self {
        Self {
            facts: None,
            steady: None,
            ..self
        }
    }

    /// About how long it is, in bytes.
    pub(in crate::nats) fn len(&self) -> usize {
        let facts = self.facts.map_or(0, |it| it.get().len());
        80 + facts + self.message.as_ref().map_or(0, |it| it.len())
    }

    /// As it is taken up by the front; a kind that is not known here is `protocol`.
    pub(in crate::nats) fn told(&self) -> RemoteOutcome {
        let outcome = match &self.kind {
            None => Ok(self.facts.map_or(Facts::none(), |facts| {
                Facts::new(&facts, self.steady.unwrap_or_default())
            })),
            Some(kind) => {
                let known = FaultKind::ALL.iter().find(|it| it.as_str() == kind);
                let message = self.message.as_deref().unwrap_or_default().to_owned();
                let kind = known.copied().unwrap_or(FaultKind::Protocol);
                Err(Arc::new(Fault::new(kind, message)))
            }
        };
        let took = self.took_us.map(Duration::from_micros);
        let age = self.age_us.map(Duration::from_micros);
        RemoteOutcome {
            place: self.place as usize,
            outcome,
            observed: age.map(|age| (age, took)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn through(outcome: &Outcome, observation: Option<Observation>) -> RemoteOutcome {
        let json = serde_json::to_string(&WireOutcome::new(7, outcome, observation)).unwrap();
        serde_json::from_str::<WireOutcome<'_>>(&json)
            .unwrap()
            .told()
    }

    #[test]
    fn outcomes_come_out_as_they_went_in() {
        let facts = Facts::new(&serde_json::json!({"model": "x\"1"}), 99);
        for outcome in [
            Ok(Facts::none()),
            Ok(facts),
            Err(Arc::new(Fault::new(FaultKind::Auth, "wrong \"key\"\n"))),
        ] {
            let took = Some(Duration::from_micros(1500));
            let at = SystemTime::now();
            let told = through(&outcome, Some(Observation { at, took }));
            assert_eq!((told.place, &told.outcome), (7, &outcome));
            assert_eq!(told.observed.unwrap().1, took);
            let steady = |it: &Outcome| it.as_ref().ok().and_then(Facts::steady);
            assert_eq!(steady(&told.outcome), steady(&outcome));
            assert!(through(&outcome, None).observed.is_none());
        }
    }
}
