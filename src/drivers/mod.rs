//! Asking one device: a [`Driver`] is called with a [`Call`] and gives facts or a [`LookupError`].
//!
//! It does not know actors, HTTP servers, the configuration file or retries: a lookup is a future
//! that whoever started it may drop at any point, and that leaves nothing behind then. A new driver
//! is a file (or folder) here, an entry in [`Driver`], and its settings in `domain` and `config`.

mod bounds;
mod exec;
mod facts;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod http;
mod prometheus;
mod redfish;
mod simulated;
mod snmp;
mod ssh;
mod tcp;

use std::future::Future;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::Either;
use rustix::io::Errno;
use serde_json::Value;
use tokio::time::Instant;

use crate::domain::{
    ClusterId, DeviceId, DeviceKind, DriverKind, DriverSettings, Facts, Fault, FaultKind,
    LocalReason, Target, Template,
};
use crate::net::secret;

pub(crate) use bounds::refusal;
pub(crate) use facts::changed_facts;
pub(crate) use redfish::{end_all as end_sessions, sessions_left};

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
    /// The lookup, given up at the deadline: the device's fault, unless a file of ours was awaited.
    pub(crate) fn bound(
        self,
        lookup: impl Future<Output = Result<Facts, LookupError>> + 'a,
    ) -> Pin<Box<dyn Future<Output = Result<Facts, LookupError>> + 'a>> {
        let bound = tokio::time::timeout_at(self.deadline, lookup);
        let given_up = move || secret::awaited().unwrap_or(LookupError::TimedOut(self.timeout));
        Box::pin(bound.map(move |ended| ended.unwrap_or_else(|_| Err(given_up()))))
    }

    /// The text for the device that is asked.
    pub(crate) fn expand(&self, template: &Template) -> String {
        template.expand(self.cluster, self.device, self.port)
    }
}

/// Why a lookup gave no facts. What a device says stands in it cut and escaped (`said`), what is
/// secret not at all.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LookupError {
    /// The device did not answer within the timeout given here.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// An earlier session on its controller did not end within the timeout.
    #[error("{0}")]
    SessionTaken(String),
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
    /// The same, though it has accepted these credentials, so that they are perhaps right.
    #[error("{0}")]
    UnprovenAuth(String),
    /// It answers something that it should not.
    #[error("{0}")]
    Protocol(String),
    /// Its answer is larger than this many bytes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// Its answers have more than this many variables, over all of them.
    #[error("the answers have more than {0} variables")]
    TooManyVariables(usize),
    /// It says itself that it failed.
    #[error("{0}")]
    Failed(String),
    /// The list that it is from may not have it asked there.
    #[error("{0}")]
    NotAllowed(String),
    /// What is needed to ask it is missing here.
    #[error("{1}")]
    Local(LocalReason, String),
}

impl LookupError {
    /// The kind under which this stands in answers, metrics and logs.
    pub(crate) fn kind(&self) -> FaultKind {
        match self {
            Self::TimedOut(_) | Self::SessionTaken(_) => FaultKind::TimedOut,
            Self::Simulated | Self::Failed(_) | Self::NotAllowed(_) | Self::Local(..) => {
                FaultKind::Failed
            }
            Self::SimulatedAs(kind) => *kind,
            Self::Refused(_) => FaultKind::Refused,
            Self::Unreachable(_) => FaultKind::Unreachable,
            Self::Auth(_) | Self::UnprovenAuth(_) => FaultKind::Auth,
            Self::Protocol(_) => FaultKind::Protocol,
            Self::TooLarge(_) | Self::TooManyVariables(_) => FaultKind::TooLarge,
        }
    }

    /// The error of this process or machine that an error of the system is, if it is one.
    pub(crate) fn local_io(doing: &str, error: &std::io::Error) -> Option<Self> {
        let (reason, advice) = lack(error)?;
        Some(Self::Local(reason, format!("{doing}: {error}; {advice}")))
    }

    /// What an error of a socket means; `doing` says what failed, such as `cannot connect to x:22`.
    pub(crate) fn io(doing: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        if let Some(error) = Self::local_io(doing, error) {
            return error;
        }
        let text = format!("{doing}: {error}");
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused(text),
            ErrorKind::InvalidData | ErrorKind::InvalidInput => Self::Protocol(text),
            _ => Self::Unreachable(text),
        }
    }
}

impl From<LookupError> for Fault {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Local(reason, message) => Self::local(reason, message),
            LookupError::UnprovenAuth(_) => Self::unproven(error.kind(), error.to_string()),
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}

/// What the system lacks by this error, and what helps; `None` if it is about the other side.
pub(crate) fn lack(error: &std::io::Error) -> Option<(LocalReason, &'static str)> {
    let known = match Errno::from_io_error(error)? {
        Errno::MFILE => (LocalReason::OpenFiles, crate::net::open_files::ADVICE),
        Errno::NFILE => (
            LocalReason::OpenFiles,
            "raise the system's limit on open files (fs.file-max)",
        ),
        Errno::NOMEM | Errno::NOBUFS => (
            LocalReason::Memory,
            "this machine has no memory or buffers left for it",
        ),
        // The latter from a port that was to be any.
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => (
            LocalReason::LocalPorts,
            "no local port or address is free (net.ipv4.ip_local_port_range), or there is no IPv6 here",
        ),
        _ => return None,
    };
    Some(known)
}

/// What a device said, for a message: short, on one line, without control characters.
pub(crate) fn said(text: &str) -> String {
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
pub(crate) fn object(json: &[u8]) -> Result<serde_json::Map<String, Value>, String> {
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

/// How many files a lookup of this driver has open at a time: its sockets, where a name's next address
/// may be tried beside the first; a command's pipes, and the socket and the handle of its scope.
pub(crate) const fn open_files(driver: DriverKind) -> u32 {
    match driver {
        DriverKind::Simulated => 0,
        DriverKind::Snmp => 1,
        DriverKind::Tcp | DriverKind::Http | DriverKind::Prometheus | DriverKind::Redfish => 2,
        DriverKind::Exec | DriverKind::Ssh => 4,
    }
}

impl Driver {
    /// The driver for this target.
    pub(crate) fn new(target: &Target) -> Self {
        let (timeout, allow) = (target.timeout, target.allow.clone());
        match target.driver.clone() {
            DriverSettings::Simulated(settings) => Self::Simulated(Simulated::new(settings)),
            DriverSettings::Tcp(settings) => Self::Tcp(Tcp::new(settings, allow)),
            DriverSettings::Http(settings) => {
                Self::Http(Box::new(Http::new(settings, timeout, allow)))
            }
            DriverSettings::Prometheus(settings) => {
                Self::Prometheus(Box::new(Prometheus::new(settings, timeout, allow)))
            }
            DriverSettings::Exec(settings) => Self::Exec(Exec::new(settings, allow)),
            DriverSettings::Ssh(settings) => Self::Ssh(Box::new(Ssh::new(settings, allow))),
            DriverSettings::Redfish(settings) => {
                Self::Redfish(Box::new(Redfish::new(settings, timeout, allow)))
            }
            DriverSettings::Snmp(settings) => Self::Snmp(Box::new(Snmp::new(settings, allow))),
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

#[cfg(test)]
impl<'a> Call<'a> {
    /// The first one of a node, which begins now.
    fn within(id: &'a DeviceId, timeout: Duration) -> Self {
        Self {
            cluster: id,
            kind: DeviceKind::Node,
            device: id,
            port: None,
            number: 0,
            deadline: Instant::now() + timeout,
            timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::domain::SecretSource;
    use crate::net::files;

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_hangs_is_no_silence_of_the_device() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s3cr3t").unwrap();
        let id = DeviceId::number(1);
        let call = Call::within(&id, Duration::from_millis(1999));
        let source = SecretSource::File(path.clone());
        // Its timer is the first to end it.
        let lookup = || async {
            secret::read(&source, call.deadline + Duration::from_secs(1)).await?;
            std::future::pending().await
        };
        let awaits_file = AtomicBool::default();
        let release = files::hang(&files::FLEET, &path);
        // Cut off from outside.
        let cut_off = secret::using(&awaits_file, call.bound(lookup()));
        assert!(cut_off.now_or_never().is_none());
        assert!(awaits_file.load(Ordering::Relaxed));
        // By its own deadline.
        let (ended, _) = secret::using(&awaits_file, call.bound(lookup())).await;
        assert!(!awaits_file.load(Ordering::Relaxed));
        let fault = Fault::from(ended.unwrap_err());
        assert_eq!(fault.local_reason(), Some(LocalReason::Secret));
        let message = fault.message();
        assert!(message.ends_with("did not answer within 3s"), "{message}");
        drop(release);
    }

    #[test]
    fn what_is_missing_here_is_told_from_what_a_device_does() {
        for (errno, reason) in [
            (Errno::MFILE, LocalReason::OpenFiles),
            (Errno::NFILE, LocalReason::OpenFiles),
            (Errno::NOMEM, LocalReason::Memory),
            (Errno::NOBUFS, LocalReason::Memory),
            (Errno::ADDRNOTAVAIL, LocalReason::LocalPorts),
            (Errno::ADDRINUSE, LocalReason::LocalPorts),
        ] {
            let fault = Fault::from(LookupError::io("cannot connect", &errno.into()));
            assert_eq!(fault.local_reason(), Some(reason), "{errno}");
            assert_eq!(fault.kind(), FaultKind::Failed);
            assert!(fault.message().contains("; "), "{}", fault.message());
        }
        for (errno, kind) in [
            (Errno::CONNREFUSED, FaultKind::Refused),
            (Errno::NETUNREACH, FaultKind::Unreachable),
            (Errno::HOSTUNREACH, FaultKind::Unreachable),
            (Errno::CONNRESET, FaultKind::Unreachable),
        ] {
            let fault = Fault::from(LookupError::io("cannot connect", &errno.into()));
            assert_eq!((fault.kind(), fault.local_reason()), (kind, None));
        }
    }
}
