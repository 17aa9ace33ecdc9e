//! Asking one device: a [`Driver`] is called with a [`Call`] and gives facts or a [`LookupError`].
//!
//! It does not know actors, HTTP, the configuration file, timeouts or retries: a lookup is a
//! future that whoever started it may drop at any point, and that leaves nothing behind then.

mod simulated;

use std::time::Duration;

use crate::domain::{ClusterId, DeviceId, DeviceKind, DriverSettings, Facts, Fault, FaultKind};

use simulated::Simulated;

/// The code that asks devices of one group.
#[derive(Debug)]
pub(crate) enum Driver {
    /// Asks nobody; behaves as told.
    Simulated(Simulated),
}

/// One lookup: whom to ask, and the how-manieth time that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) cluster: &'a ClusterId,
    pub(crate) kind: DeviceKind,
    pub(crate) device: &'a DeviceId,
    /// Counts the lookups of this device from 0, over restarts of its actor.
    pub(crate) number: u32,
}

/// Why a lookup gave no facts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// The device did not answer within the timeout given here.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The simulated driver was told to fail.
    #[error("the simulated lookup failed")]
    Simulated,
    /// The simulated driver was told to fail as a driver of real machines does.
    #[error("the simulated lookup failed as told: {0}")]
    SimulatedAs(FaultKind),
}

impl LookupError {
    /// The kind under which this stands in answers, metrics and logs.
    pub(crate) fn kind(&self) -> FaultKind {
        match self {
            Self::TimedOut(_) => FaultKind::TimedOut,
            Self::Simulated => FaultKind::Failed,
            Self::SimulatedAs(kind) => *kind,
        }
    }
}

impl From<LookupError> for Fault {
    fn from(error: LookupError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl Driver {
    /// The driver for these settings.
    pub(crate) fn new(settings: DriverSettings) -> Self {
        match settings {
            DriverSettings::Simulated(settings) => Self::Simulated(Simulated::new(settings)),
        }
    }

    /// Asks once. Panics if the driver has a bug, or was told to.
    pub(crate) async fn lookup(&self, call: Call<'_>) -> Result<Facts, LookupError> {
        match self {
            Self::Simulated(simulated) => simulated.lookup(call).await,
        }
    }
}
