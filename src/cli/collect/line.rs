//! A line of a stream of `/v1/report`, as a service writes it.

use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::roll::Heard;
use crate::domain::{ClusterId, DeviceId, DeviceKind, Facts, Fault, FaultKind};

/// What a line says.
#[derive(Debug)]
pub(super) enum Line {
    /// A device has answered.
    Came {
        cluster: ClusterId,
        kind: DeviceKind,
        id: DeviceId,
        heard: Heard,
    },
    /// All have.
    End,
    /// No more will, and why.
    Problem(String),
}

/// What there may be on a line; services that are newer may say more.
#[derive(Debug, Deserialize)]
struct StreamLine {
    cluster_id: Option<ClusterId>,
    node_id: Option<DeviceId>,
    switch_id: Option<DeviceId>,
    outcome: Option<String>,
    duration_ms: Option<f64>,
    facts: Option<Box<RawValue>>,
    error: Option<LineError>,
    summary: Option<IgnoredAny>,
    /// Of a problem that came up meanwhile (RFC 9457).
    detail: Option<String>,
}

#[derive(Debug, Deserialize)]
struct LineError {
    message: String,
}

impl Line {
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let view: StreamLine = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if view.summary.is_some() {
            return Ok(Self::End);
        }
        if let (None, Some(detail)) = (&view.cluster_id, view.detail) {
            return Ok(Self::Problem(detail));
        }
        let (kind, id) = match (view.node_id, view.switch_id) {
            (Some(id), None) => (DeviceKind::Node, id),
            (None, Some(id)) => (DeviceKind::Switch, id),
            (Some(_), Some(_)) | (None, None) => {
                return Err("a line is about neither a node nor a switch".to_owned());
            }
        };
        let cluster = view.cluster_id.ok_or("a line names no cluster")?;
        let outcome = view.outcome.ok_or("a line has no outcome")?;
        let outcome = if outcome == "ok" {
            Ok(view
                .facts
                .map(|facts| Facts::new(&facts, 0))
                .unwrap_or_default())
        } else {
            let message = view.error.map(|error| error.message).unwrap_or_default();
            let known = FaultKind::ALL.into_iter().find(|it| it.as_str() == outcome);
            let fault = match known {
                Some(kind) => Fault::new(kind, message),
                // Of a service that is newer.
                None => Fault::new(FaultKind::Failed, format!("{outcome}: {message}")),
            };
            Err(fault.into())
        };
        let seconds = view.duration_ms.map(|millis| millis / 1000.0);
        let took = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(Self::Came {
            cluster,
            kind,
            id,
            heard: Heard { outcome, took },
        })
    }
}
