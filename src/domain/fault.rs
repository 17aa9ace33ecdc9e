//! What a device told us, or why it told us nothing.
//!
//! The kinds are a closed set: metrics, JSON and tests rely on it. Nobody matches on messages.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Why a device has no result. The wire names are those of [`FaultKind::as_str`].
///
/// | kind | who says so | asked? |
/// | --- | --- | --- |
/// | `timed_out` | the lookup's timeout, or the collect's deadline | yes |
/// | `refused` `unreachable` `auth` `protocol` `too_large` | a driver that asks over a network | yes |
/// | `failed` | a command or the simulated driver; a driver that lacks something here ([`LocalReason`]) | yes |
/// | `crashed` | the supervision shell: the code that asked panicked | yes |
/// | `restarting` `quarantined` | the supervision shell, at once | no |
/// | `breaker_open` | the device's circuit breaker, at once | no |
/// | `cancelled` | the service is going away | perhaps |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// No answer in time.
    TimedOut,
    /// The device refused the connection.
    Refused,
    /// No way to the device.
    Unreachable,
    /// The device refused our credentials.
    Auth,
    /// The device answered something that its protocol does not allow.
    Protocol,
    /// The device's answer is larger than the limit.
    TooLarge,
    /// The code that asks the device panicked.
    Crashed,
    /// The device's actor crashed before and has not been restarted yet.
    Restarting,
    /// The device's actor crashed too often and is left alone for a while.
    Quarantined,
    /// The device failed too often and is left alone for a while.
    BreakerOpen,
    /// The request was given up before the device answered.
    Cancelled,
    /// The lookup says itself that it failed, or could not be made for a [`LocalReason`].
    Failed,
}

impl FaultKind {
    /// Every kind, in the order of the table above; its position is [`FaultKind::index`].
    pub const ALL: [Self; 12] = [
        Self::TimedOut,
        Self::Refused,
        Self::Unreachable,
        Self::Auth,
        Self::Protocol,
        Self::TooLarge,
        Self::Crashed,
        Self::Restarting,
        Self::Quarantined,
        Self::BreakerOpen,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The kind as it stands in JSON, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Auth => "auth",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Crashed => "crashed",
            Self::Restarting => "restarting",
            Self::Quarantined => "quarantined",
            Self::BreakerOpen => "breaker_open",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether asking again soon may help, so that a retry is worth it.
    ///
    /// A timeout is not: the whole lookup's time is used up. Wrong credentials, an answer that
    /// breaks the protocol or one that is too large will be the same the next time.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        match self {
            Self::Refused | Self::Unreachable | Self::Failed => true,
            Self::TimedOut
            | Self::Auth
            | Self::Protocol
            | Self::TooLarge
            | Self::Crashed
            | Self::Restarting
            | Self::Quarantined
            | Self::BreakerOpen
            | Self::Cancelled => false,
        }
    }

    /// The kind's place in [`FaultKind::ALL`], for tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FaultKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What is missing here, on this machine or in its configuration, so that a device could not be
/// asked. The device is not to blame: its circuit breaker does not count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LocalReason {
    /// No more files may be open.
    OpenFiles,
    /// The system has no memory, or no buffers, to give.
    Memory,
    /// No local port, or no local address, is free to connect from.
    LocalPorts,
    /// No more processes or threads may run, or one that ran a command was killed.
    Processes,
    /// A secret cannot be read or used.
    Secret,
    /// A key, a certificate or a command cannot be read or used.
    File,
    /// What is configured makes no address, name or URL.
    Setup,
    /// The session on a controller that may be ours is another lookup's.
    Session,
}

impl LocalReason {
    /// Every reason; its position is [`LocalReason::index`].
    pub const ALL: [Self; 8] = [
        Self::OpenFiles,
        Self::Memory,
        Self::LocalPorts,
        Self::Processes,
        Self::Secret,
        Self::File,
        Self::Setup,
        Self::Session,
    ];

    /// As it stands in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenFiles => "open_files",
            Self::Memory => "memory",
            Self::LocalPorts => "local_ports",
            Self::Processes => "processes",
            Self::Secret => "secret",
            Self::File => "file",
            Self::Setup => "setup",
            Self::Session => "session",
        }
    }

    /// The reason's place in [`LocalReason::ALL`], for tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A device's failure: its kind, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    kind: FaultKind,
    message: Cow<'static, str>,
    /// Known only to the process that asked.
    #[serde(skip)]
    local: Option<LocalReason>,
    /// The same.
    #[serde(skip)]
    is_unproven: bool,
    /// The same.
    #[serde(skip)]
    is_unasked: bool,
}

/// The longest message of a [`Fault`], in bytes: a device or a panic can make it as long as it
/// likes, an answer of a million devices cannot.
const MAX_MESSAGE_LEN: usize = 300;

impl Fault {
    /// A fault of `kind`; a `message` over 300 bytes is cut.
    #[must_use]
    pub fn new(kind: FaultKind, message: impl Into<Cow<'static, str>>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE_LEN {
            let end = message.floor_char_boundary(MAX_MESSAGE_LEN);
            message = Cow::Owned(format!("{}…", &message[..end]));
        }
        Self {
            kind,
            message,
            local: None,
            is_unproven: false,
            is_unasked: false,
        }
    }

    /// A fault of `kind` that others may have made it seem to have.
    #[must_use]
    pub fn unproven(kind: FaultKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            is_unproven: true,
            ..Self::new(kind, message)
        }
    }

    /// The kind by which a circuit breaker opens: an unproven one is a failure like any other.
    #[must_use]
    pub fn breaker_kind(&self) -> FaultKind {
        if self.is_unproven {
            FaultKind::Failed
        } else {
            self.kind
        }
    }

    /// A fault of kind `failed` for want of something here.
    #[must_use]
    pub fn local(reason: LocalReason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            local: Some(reason),
            ..Self::new(FaultKind::Failed, message)
        }
    }

    /// The same fault, of a device whose lookup still waited to begin when the collect was closed.
    #[must_use]
    pub fn unasked(self) -> Self {
        Self {
            is_unasked: true,
            ..self
        }
    }

    /// Whether its device's lookup still waited to begin, and may do so for others.
    #[must_use]
    pub fn is_unasked(&self) -> bool {
        self.is_unasked
    }

    /// What was missing here, if that is why; `None` if the device failed, or another process asked.
    #[must_use]
    pub fn local_reason(&self) -> Option<LocalReason> {
        self.local
    }

    /// What went wrong, by kind.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// What went wrong, in words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// What a driver learned about a device; the simulated one learns nothing.
///
/// Kept as the JSON that answers show: a tenth of what a tree of values takes, and written out as it
/// is. Cloning is cheap: several requests that joined one lookup share its facts.
#[derive(Debug, Clone, Default)]
pub struct Facts(Option<Arc<KnownFacts>>);

#[derive(Debug)]
struct KnownFacts {
    json: Box<RawValue>,
    /// Tells apart what does not change from one lookup to the next by itself.
    steady: u64,
}

impl Facts {
    /// Facts as a driver found them: something with the JSON of an object. An empty one is no
    /// facts, and so is what has no such JSON. `steady` is a fingerprint of those of them that do
    /// not change by themselves, as times and counters do.
    #[must_use]
    pub fn new(facts: &impl Serialize, steady: u64) -> Self {
        let json = serde_json::value::to_raw_value(facts).ok();
        let json = json.filter(|json| json.get().starts_with('{') && json.get() != "{}");
        Self(json.map(|json| Arc::new(KnownFacts { json, steady })))
    }

    /// No facts.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// The facts as JSON, or `None` if there are none.
    #[must_use]
    pub fn json(&self) -> Option<&RawValue> {
        self.0.as_ref().map(|known| &*known.json)
    }

    /// The fingerprint of those that do not change by themselves; none if there are none.
    #[must_use]
    pub fn steady(&self) -> Option<u64> {
        self.0.as_ref().map(|known| known.steady)
    }

    /// The facts by their names; none is empty.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        let json = self.json().map(RawValue::get).unwrap_or_default();
        serde_json::from_str(json).unwrap_or_default()
    }

    /// Whether these are the facts of the same lookup, not facts that are alike.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether they differ in something that does not change by itself.
    #[must_use]
    pub fn differ(&self, other: &Self) -> bool {
        self.steady() != other.steady()
    }
}

impl PartialEq for Facts {
    fn eq(&self, other: &Self) -> bool {
        self.json().map(RawValue::get) == other.json().map(RawValue::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_the_place_in_all() {
        for (place, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), place, "{kind}");
        }
    }

    #[test]
    fn index_of_a_reason_is_the_place_in_all() {
        for (place, reason) in LocalReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place, "{reason:?}");
        }
    }

    #[test]
    fn facts_are_the_json_of_an_object_and_nothing_else() {
        let facts = Facts::new(&serde_json::json!({"b": 1.5, "a": [0, null]}), 7);
        assert_eq!(facts.json().unwrap().get(), r#"{"b":1.5,"a":[0,null]}"#);
        assert_eq!(facts.to_map()["b"], serde_json::json!(1.5));
        assert!(facts.is(&facts.clone()) && !facts.is(&Facts::default()));
        assert!(!facts.differ(&Facts::new(&serde_json::json!({"b": 2}), 7)));
        assert!(facts.differ(&Facts::default()));
        let empty = Facts::new(&serde_json::json!({}), 7);
        for none in [empty, Facts::new(&[1], 7), Facts::default()] {
            assert!(none.json().is_none() && none.to_map().is_empty());
        }
    }

    #[test]
    fn what_is_unproven_is_shown_and_opens_a_breaker_as_any_other_failure() {
        let proven = Fault::new(FaultKind::Auth, "no");
        let unproven = Fault::unproven(FaultKind::Auth, "no");
        assert_eq!(unproven.kind(), FaultKind::Auth);
        assert_eq!(proven.breaker_kind(), FaultKind::Auth);
        assert_eq!(unproven.breaker_kind(), FaultKind::Failed);
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let fault = Fault::new(FaultKind::Crashed, "ä".repeat(200));
        assert_eq!(fault.message(), format!("{}…", "ä".repeat(150)));
    }
}
