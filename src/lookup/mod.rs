//! Asking one device: a [`Driver`] is called with a [`Call`] and gives facts or a [`LookupError`].
//!
//! It does not know actors, HTTP servers, the configuration file or retries: a lookup is a future
//! that whoever started it may drop at any point, and that leaves nothing behind then. A new driver
//! is a file (or folder) here, an entry in [`Driver`], and its settings in `domain` and `config`.

mod exec;
mod facts;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod http;
mod process;
mod prometheus;
mod redfish;
pub(crate) mod resolve;
pub(crate) mod secret;
mod simulated;
mod snmp;
mod ssh;
mod tcp;
pub(crate) mod tls;
pub(crate) mod web;

use std::future::Future;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::Either;
use serde_json::Value;
use tokio::time::Instant;

use crate::domain::{
    ClusterId, DeviceId, DeviceKind, DriverSettings, Facts, Fault, FaultKind, Template,
};

pub(crate) use facts::changed_facts;

use exec::Exec;
use http::Http;
use prometheus::Prometheus;
use redfish::Redfish;
use simulated::Simulated;
use snmp::Snmp;
use ssh::Ssh;
use tcp::Tcp;

/// The code that asks devices of one group.
#[derive(Debug)]
pub(crate) enum Driver {
    /// Asks nobody; behaves as told.
    Simulated(Simulated),
    /// Connects.
    Tcp(Tcp),
    /// Asks a web server.
    Http(Box<Http>),
    /// Scrapes an exposition.
    Prometheus(Box<Prometheus>),
    /// Runs a command.
    Exec(Exec),
    /// Runs a command on the device.
    Ssh(Box<Ssh>),
    /// Asks a management controller.
    Redfish(Box<Redfish>),
    /// Asks an SNMP agent.
    Snmp(Box<Snmp>),
}

/// One lookup: whom to ask, and the how-manieth time that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) cluster: &'a ClusterId,
    pub(crate) kind: DeviceKind,
    pub(crate) device: &'a DeviceId,
    /// The port that it was discovered with, if it was.
    pub(crate) port: Option<NonZeroU16>,
    /// Counts the lookups of this device from 0, over restarts of its actor.
    pub(crate) number: u32,
    /// When whoever asks gives up.
    pub(crate) deadline: Instant,
    /// How long that was from the first attempt; what an error says.
    pub(crate) timeout: Duration,
}

impl<'a> Call<'a> {
    /// The lookup, given up at the deadline.
    fn bound(
        self,
        lookup: impl Future<Output = Result<Facts, LookupError>> + 'a,
    ) -> Pin<Box<dyn Future<Output = Result<Facts, LookupError>> + 'a>> {
        let bound = tokio::time::timeout_at(self.deadline, lookup);
        Box::pin(bound.map(move |ended| ended.unwrap_or(Err(LookupError::TimedOut(self.timeout)))))
    }
    /// The text for the device that is asked.
    fn expand(&self, template: &Template) -> String {
        template.expand(self.cluster, self.device, self.port)
    }
}

/// Why a lookup gave no facts. What a device says stands in it cut and escaped (`said`), what is
/// secret not at all.
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
    /// Whoever is there does not take connections.
    #[error("{0}")]
    Refused(String),
    /// Its name is unknown, no way leads to it, or it went away while it answered.
    #[error("{0}")]
    Unreachable(String),
    /// It does not accept our credentials.
    #[error("{0}")]
    Auth(String),
    /// It answers something that it should not.
    #[error("{0}")]
    Protocol(String),
    /// Its answer is larger than this many bytes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// Its answers have more than this many variables, over all of them.
    #[error("the answers have more than {0} variables")]
    TooManyVariables(usize),
    /// It says itself that it failed, or what is needed to ask it is missing here.
    #[error("{0}")]
    Failed(String),
}

impl LookupError {
    /// The kind under which this stands in answers, metrics and logs.
    pub(crate) fn kind(&self) -> FaultKind {
        match self {
            Self::TimedOut(_) => FaultKind::TimedOut,
            Self::Simulated | Self::Failed(_) => FaultKind::Failed,
            Self::SimulatedAs(kind) => *kind,
            Self::Refused(_) => FaultKind::Refused,
            Self::Unreachable(_) => FaultKind::Unreachable,
            Self::Auth(_) => FaultKind::Auth,
            Self::Protocol(_) => FaultKind::Protocol,
            Self::TooLarge(_) | Self::TooManyVariables(_) => FaultKind::TooLarge,
        }
    }

    /// What an error of a socket means; `doing` says what failed, such as `cannot connect to x:22`.
    fn io(doing: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let text = format!("{doing}: {error}");
        // EMFILE and ENFILE: that is nothing to blame the device for.
        if matches!(error.raw_os_error(), Some(23 | 24)) {
            return Self::Failed(text);
        }
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused(text),
            ErrorKind::InvalidData | ErrorKind::InvalidInput => Self::Protocol(text),
            _ => Self::Unreachable(text),
        }
    }
}

impl From<LookupError> for Fault {
    fn from(error: LookupError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

/// What a device said, for a message: short, on one line, without control characters.
fn said(text: &str) -> String {
    const MOST: usize = 100;
    let cut: String = text.trim().chars().take(MOST).collect();
    let more = if text.trim().chars().count() > MOST {
        "…"
    } else {
        ""
    };
    format!("{cut:?}{more}")
}

/// The JSON object that this is; the error says why it is none. `serde_json`'s own would quote a
/// text that stands in its place, however long.
fn object(json: &[u8]) -> Result<serde_json::Map<String, Value>, String> {
    let kind = match serde_json::from_slice(json).map_err(|error| error.to_string())? {
        Value::Object(object) => return Ok(object),
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
    };
    Err(format!("it is {kind}"))
}

impl Driver {
    /// The driver for these settings; a lookup is dropped after `timeout`.
    pub(crate) fn new(settings: DriverSettings, timeout: Duration) -> Self {
        match settings {
            DriverSettings::Simulated(settings) => Self::Simulated(Simulated::new(settings)),
            DriverSettings::Tcp(settings) => Self::Tcp(Tcp::new(settings)),
            DriverSettings::Http(settings) => Self::Http(Box::new(Http::new(settings, timeout))),
            DriverSettings::Prometheus(settings) => {
                Self::Prometheus(Box::new(Prometheus::new(settings, timeout)))
            }
            DriverSettings::Exec(settings) => Self::Exec(Exec::new(settings)),
            DriverSettings::Ssh(settings) => Self::Ssh(Box::new(Ssh::new(settings))),
            DriverSettings::Redfish(settings) => {
                Self::Redfish(Box::new(Redfish::new(settings, timeout)))
            }
            DriverSettings::Snmp(settings) => Self::Snmp(Box::new(Snmp::new(settings))),
        }
    }

    /// Asks once, until the call's deadline. Panics if the driver has a bug, or was told to.
    pub(crate) fn lookup<'a>(
        &'a self,
        call: Call<'a>,
    ) -> impl Future<Output = Result<Facts, LookupError>> + use<'a> {
        // There may be a million simulated lookups at a time, so theirs is not as large as the
        // largest of all, and it keeps its deadline by the one timer it has.
        match self {
            Self::Simulated(simulated) => Either::Left(simulated.lookup(call)),
            Self::Tcp(tcp) => Either::Right(call.bound(tcp.lookup(call))),
            Self::Http(http) => Either::Right(call.bound(http.lookup(call))),
            Self::Prometheus(prometheus) => Either::Right(call.bound(prometheus.lookup(call))),
            Self::Exec(exec) => Either::Right(call.bound(exec.lookup(call))),
            Self::Ssh(ssh) => Either::Right(call.bound(ssh.lookup(call))),
            Self::Redfish(redfish) => Either::Right(call.bound(redfish.lookup(call))),
            Self::Snmp(snmp) => Either::Right(call.bound(snmp.lookup(call))),
        }
    }
}
