//! The JSON of `/test`, written straight from a [`Collection`]: names and key order are a contract.
//!
//! The domain's types are not the contract; these are.

use serde::Serialize;

use crate::domain::{Collection, DeviceKind, Outcome, Summary};
use crate::engine::collector::CollectError;
use crate::server::body::listing::{Form, Listed, Listing, append, indented};

/// How many failed devices the message names.
const NAMED: usize = 5;

/// A complete answer: `error_code` 0, or 1 if some devices failed.
#[derive(Debug, Clone)]
pub struct TestReport {
    error_code: u8,
    message: String,
}

/// The answer that shows a collection; `summary` is of all that were asked.
#[must_use]
pub fn report(collection: Collection, summary: &Summary) -> Listing<TestReport> {
    let form = TestReport {
        error_code: u8::from(summary.failed() > 0),
        message: message(&collection, summary),
    };
    Listing::new(collection, form)
}

fn message(collection: &Collection, summary: &Summary) -> String {
    let (devices, failed) = (summary.devices(), summary.failed());
    if failed == 0 {
        return String::new();
    }
    let names: Vec<String> = collection
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

impl Form for TestReport {
    fn head(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(b"{\"error_code\":");
        append(text, &self.error_code);
        text.extend_from_slice(b",\"message\":");
        append(text, &self.message);
        text.extend_from_slice(b",\"data\":[");
    }

    fn shows(&self, _: &Outcome) -> bool {
        true
    }

    fn device(&self, text: &mut Vec<u8>, device: &Listed<'_>) {
        text.extend_from_slice(match device.kind {
            DeviceKind::Node => b"{\"node_id\":",
            DeviceKind::Switch => b"{\"switch_id\":",
        });
        append(text, device.id);
        match device.outcome {
            Ok(facts) => {
                if let Some(facts) = facts.json() {
                    text.extend_from_slice(b",\"facts\":");
                    text.extend_from_slice(facts.get().as_bytes());
                }
            }
            Err(fault) => {
                text.extend_from_slice(b",\"error\":");
                append(text, &**fault);
            }
        }
        text.push(b'}');
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

/// The JSON text of a value, indented by two spaces or on one line.
pub(super) fn to_json<T: Serialize>(value: &T, indent: bool) -> Vec<u8> {
    let mut json = Vec::new();
    append(&mut json, value);
    indented(json, indent)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{Cluster, CollectionBuilder, Facts, Fault, FaultKind, Id, Topology};

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
        let summary = collection.summary();
        let json = report(collection, &summary).into_json(false);
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
        let message = message(&collection, &collection.summary());
        assert!(message.starts_with("8 of 8 devices failed: cluster 1 node 1 (failed), "));
        assert!(
            message.ends_with("cluster 1 node 5 (failed) and 3 more"),
            "{message}"
        );
    }
}
