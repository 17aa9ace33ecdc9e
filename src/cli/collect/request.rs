//! Which devices a roll call asks, and how long.

use std::time::Duration;

use super::flags::{Flags, NamedSet, joined};
use crate::domain::{DeviceKind, Scope};

/// Whom to ask, and how long.
#[derive(Debug)]
pub(super) struct RollRequest {
    pub(super) scope: Scope,
    pub(super) deadline: Option<Duration>,
    /// Whether devices are asked that the service leaves alone.
    pub(super) force: bool,
    /// The sets of the scope as one text each; empty is none.
    pub(super) clusters: String,
    pub(super) devices: String,
    pub(super) exclude: String,
}

impl RollRequest {
    pub(super) fn new(flags: &Flags) -> Self {
        let texts = |sets: &[NamedSet]| {
            let texts: Vec<&str> = sets.iter().map(|it| it.text.as_str()).collect();
            texts.join(",")
        };
        let kind = flags.kind.map(DeviceKind::from);
        Self {
            scope: Scope {
                clusters: joined(&flags.cluster),
                kind,
                devices: joined(&flags.device),
                exclude: joined(&flags.exclude),
            },
            deadline: flags.deadline,
            force: flags.force,
            clusters: texts(&flags.cluster),
            devices: texts(&flags.device),
            exclude: texts(&flags.exclude),
        }
    }

    /// As `/v1/report` takes it.
    pub(super) fn query(&self) -> impl Iterator<Item = (&'static str, String)> {
        let set = |key, text: &str| (!text.is_empty()).then(|| (key, text.to_owned()));
        let clusters = set("cluster", &self.clusters);
        let devices = set("device", &self.devices);
        let exclude = set("exclude", &self.exclude);
        let kind = self.scope.kind.map(|kind| ("kind", kind.to_string()));
        let deadline = self
            .deadline
            .map(|deadline| ("deadline", humantime::format_duration(deadline).to_string()));
        let force = self.force.then(|| ("force", "true".to_owned()));
        [clusters, devices, exclude, kind, deadline, force]
            .into_iter()
            .flatten()
    }
}
