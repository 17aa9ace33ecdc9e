//! The JSON of `/test`, written straight from a [`Collection`]: names and key order are a contract.
//!
//! The domain's types are not the contract; these are.

use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::collector::CollectError;
use crate::domain::{Cluster, Collection, DeviceId, DeviceKind, Outcome, Outcomes, Summary};

/// How many failed devices the message names.
const NAMED: usize = 5;

/// A complete answer: `error_code` 0, or 1 if some devices failed.
#[derive(Debug)]
pub struct Report<'a> {
    collection: &'a Collection,
    summary: &'a Summary,
}

impl<'a> Report<'a> {
    /// The answer to show; `summary` is the collection's.
    #[must_use]
    pub fn new(collection: &'a Collection, summary: &'a Summary) -> Self {
        Self {
            collection,
            summary,
        }
    }

    /// The JSON text, indented by two spaces or on one line.
    #[must_use]
    pub fn to_json(&self, indent: bool) -> Vec<u8> {
        to_json(self, indent)
    }

    fn message(&self) -> String {
        let (devices, failed) = (self.summary.devices(), self.summary.failed());
        if failed == 0 {
            return String::new();
        }
        let names: Vec<String> = self
            .collection
            .faults()
            .take(NAMED)
            .map(|(cluster, kind, device, fault)| {
                format!(
                    "cluster {} {kind} {device} ({})",
                    cluster.id(),
                    fault.kind()
                )
            })
            .collect();
        let more = match failed.saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "{failed} of {devices} devices failed: {}{more}",
            names.join(", ")
        )
    }
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 3)?;
        report.serialize_field("error_code", &u8::from(self.summary.failed() > 0))?;
        report.serialize_field("message", &self.message())?;
        report.serialize_field("data", &Clusters(self.collection))?;
        report.end()
    }
}

/// No answer at all: `error_code` 2, `data` null.
#[derive(Debug, Serialize)]
pub struct NoReport {
    error_code: u8,
    message: String,
    data: (),
}

impl NoReport {
    /// What to show for `error`.
    #[must_use]
    pub fn new(error: &CollectError) -> Self {
        Self::because(error.to_string())
    }

    /// What to show if a request is refused for this reason.
    pub(crate) fn because(message: String) -> Self {
        Self {
            error_code: 2,
            message,
            data: (),
        }
    }

    /// The JSON text, indented by two spaces or on one line.
    #[must_use]
    pub fn to_json(&self, indent: bool) -> Vec<u8> {
        to_json(self, indent)
    }
}

#[expect(
    clippy::expect_used,
    reason = "string keys, and a Vec takes everything"
)]
pub(super) fn to_json<T: Serialize>(value: &T, indent: bool) -> Vec<u8> {
    let json = serde_json::to_vec(value).expect("these types have a JSON form");
    if !indent {
        return json;
    }
    // Facts are JSON already, which a serializer that indents passes on as it is.
    let value: serde_json::Value = serde_json::from_slice(&json).expect("this is JSON");
    serde_json::to_vec_pretty(&value).expect("a value has a JSON form")
}

struct Clusters<'a>(&'a Collection);

impl Serialize for Clusters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let clusters = self.0.clusters();
        serializer
            .collect_seq(clusters.map(|(cluster, outcomes)| ClusterView { cluster, outcomes }))
    }
}

struct ClusterView<'a> {
    cluster: &'a Cluster,
    outcomes: Outcomes<'a>,
}

impl Serialize for ClusterView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let devices = |kind| Devices { of: self, kind };
        let mut view = serializer.serialize_struct("Cluster", 3)?;
        view.serialize_field("cluster_id", self.cluster.id())?;
        view.serialize_field("nodes", &devices(DeviceKind::Node))?;
        view.serialize_field("switches", &devices(DeviceKind::Switch))?;
        view.end()
    }
}

struct Devices<'a> {
    of: &'a ClusterView<'a>,
    kind: DeviceKind,
}

impl Serialize for Devices<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (nodes, all) = (self.of.cluster.nodes(), self.of.cluster.len());
        let (skip, take) = match self.kind {
            DeviceKind::Node => (0, nodes),
            DeviceKind::Switch => (nodes, all - nodes),
        };
        let outcomes = self.of.outcomes.iter().enumerate().skip(skip).take(take);
        serializer.collect_seq(outcomes.map(|(index, outcome)| {
            let (kind, id) = self.of.cluster.device(index);
            Device { kind, id, outcome }
        }))
    }
}

struct Device<'a> {
    kind: DeviceKind,
    id: &'a DeviceId,
    outcome: &'a Outcome,
}

impl Serialize for Device<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut view = serializer.serialize_map(None)?;
        let key = match self.kind {
            DeviceKind::Node => "node_id",
            DeviceKind::Switch => "switch_id",
        };
        view.serialize_entry(key, self.id)?;
        match self.outcome {
            Ok(facts) => {
                if let Some(facts) = facts.json() {
                    view.serialize_entry("facts", facts)?;
                }
            }
            Err(fault) => view.serialize_entry("error", &**fault)?,
        }
        view.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{CollectionBuilder, Facts, Fault, FaultKind, Id, Topology};

    #[test]
    fn facts_and_errors_stand_after_the_id() {
        let ids = |ids: &[u64]| ids.iter().copied().map(Id::number).collect();
        let cluster = Cluster::new(Id::name("edge").unwrap(), ids(&[7, 8]), ids(&[9]));
        let builder = Arc::new(CollectionBuilder::new(Arc::new(Topology::new(vec![
            cluster,
        ]))));
        let facts = serde_json::json!({"uptime_seconds": 5});
        builder.answer(0, 0, Ok(Facts::new(&facts, 0)));
        builder.answer(0, 2, Ok(Facts::default()));
        let collection = builder.close(&Arc::new(Fault::new(FaultKind::TimedOut, "too late")));
        let json = Report::new(&collection, &collection.summary()).to_json(false);
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"error_code":1,"message":"1 of 3 devices failed: cluster edge node 8 (timed_out)","#
                .to_owned()
                + r#""data":[{"cluster_id":"edge","nodes":["#
                + r#"{"node_id":7,"facts":{"uptime_seconds":5}},"#
                + r#"{"node_id":8,"error":{"kind":"timed_out","message":"too late"}}],"#
                + r#""switches":[{"switch_id":9}]}]}"#
        );
    }

    #[test]
    fn the_message_names_the_first_five() {
        let nodes = (1..=8).map(Id::number).collect();
        let cluster = Cluster::new(Id::number(1), nodes, Vec::new());
        let builder = Arc::new(CollectionBuilder::new(Arc::new(Topology::new(vec![
            cluster,
        ]))));
        let collection = builder.close(&Arc::new(Fault::new(FaultKind::Failed, "")));
        let message = Report::new(&collection, &collection.summary()).message();
        assert!(message.starts_with("8 of 8 devices failed: cluster 1 node 1 (failed), "));
        assert!(
            message.ends_with("cluster 1 node 5 (failed) and 3 more"),
            "{message}"
        );
    }
}
