//! What a front asks of the owner of a cluster.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::places::WirePlaces;
use super::protocol::VERSION;
use super::time::micros;
use crate::domain::ClusterId;
use crate::engine::remote::Time;

/// From a front to a cluster's owner: ask these devices.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::nats) struct ClusterRequest {
    pub(in crate::nats) version: u32,
    pub(in crate::nats) cluster: ClusterId,
    /// Tells the places' devices.
    pub(in crate::nats) plan: u64,
    /// Whom of the cluster's plan to ask; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) places: Option<WirePlaces>,
    /// The longest that the collect may take, and how long ago it began.
    pub(in crate::nats) deadline_us: u64,
    pub(in crate::nats) elapsed_us: u64,
    /// How old what is known of a device may be for it not to be asked; absent asks all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) max_age_us: Option<u64>,
    /// The newest form of pieces that the front reads; absent is the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) speaks: Option<u32>,
    /// Nobody is to be asked; what is known of the devices is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) look: Option<WireStateQuery>,
    /// Devices are asked although their breaker is open or their actor is down, each once in 10 s.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::nats) force: bool,
    /// No device is to be asked; the one at the only place is to be reset, for this caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::nats) reset: Option<String>,
    /// No device is to be asked; the right to ask the one at the only place by force is wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::nats) reserve: bool,
}

/// What is wanted of what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::nats) struct WireStateQuery {
    /// Whether the facts of last lookups are, too.
    pub(in crate::nats) facts: bool,
}

impl ClusterRequest {
    /// For all who have these places in the plan, without a time.
    pub(in crate::nats) fn new(cluster: ClusterId, plan: u64, places: Option<WirePlaces>) -> Self {
        Self {
            version: VERSION,
            cluster,
            plan,
            places,
            deadline_us: 0,
            elapsed_us: 0,
            max_age_us: None,
            speaks: None,
            look: None,
            force: false,
            reset: None,
            reserve: false,
        }
    }

    /// Whether devices are to be asked for it.
    pub(in crate::nats) fn asks(&self) -> bool {
        self.look.is_none() && self.reset.is_none() && !self.reserve
    }

    pub(in crate::nats) fn deadline(&self) -> Duration {
        Duration::from_micros(self.deadline_us)
    }

    pub(in crate::nats) fn elapsed(&self) -> Duration {
        Duration::from_micros(self.elapsed_us)
    }

    pub(in crate::nats) fn set_time(&mut self, time: Time) {
        self.deadline_us = micros(time.deadline);
        self.elapsed_us = micros(time.start.elapsed());
        self.max_age_us = time.max_age.map(micros);
    }

    pub(in crate::nats) fn max_age(&self) -> Option<Duration> {
        self.max_age_us.map(Duration::from_micros)
    }
}
