//! The settings of a whole fleet.

use std::time::Duration;

use crate::domain::SupervisionPolicy;

/// The settings that are not those of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FleetSettings {
    /// Lookups in flight per cluster at most.
    pub(crate) max_concurrent: Option<usize>,
    /// How often the schedule asks each device, if there is one.
    pub(crate) every: Option<Duration>,
    pub(crate) policy: SupervisionPolicy,
    /// The longest a collect may take.
    pub(crate) deadline: Duration,
    /// Collects that may wait at once.
    pub(crate) max_waiting: usize,
    /// Whether requests share the collect under way.
    pub(crate) join: bool,
    /// How many threads new clusters are spread over, if there are as many; `None` leaves it to
    /// how many devices there are.
    pub(crate) threads: Option<usize>,
    /// Whether metrics show devices one by one; `None` leaves it to how many there are.
    pub(crate) per_device: Option<bool>,
}

impl FleetSettings {
    /// The keys of the configuration that are not what they were before.
    pub(super) fn changed(&self, before: &Self) -> impl Iterator<Item = &'static str> {
        let Self {
            max_concurrent,
            every,
            policy,
            deadline,
            max_waiting,
            join,
            threads,
            per_device,
        } = *self;
        let changed = [
            ("collect.deadline", deadline != before.deadline),
            ("collect.every", every != before.every),
            ("collect.join", join != before.join),
            (
                "collect.max_concurrent",
                max_concurrent != before.max_concurrent,
            ),
            ("collect.max_waiting", max_waiting != before.max_waiting),
            ("collect.threads", threads != before.threads),
            ("metrics.per_device", per_device != before.per_device),
            ("supervision", policy != before.policy),
        ];
        let changed = changed.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| key)
    }
}
