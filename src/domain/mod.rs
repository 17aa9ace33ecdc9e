//! The pure room: what a fleet is, what a roll call's answer is, when a failed actor comes back.
//!
//! Nothing here knows actors, sockets, files or the clock: where time matters it is an argument.
//! Start with [`Topology`] (what is asked), [`Collection`] (what came back), [`SupervisionPolicy`]
//! (what happens after a crash) and [`BreakerPolicy`] (what happens after failures).

mod access;
mod allow;
mod breaker;
mod collection;
mod device;
mod discovery;
mod dns;
mod duration;
mod fault;
mod flapping;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod history;
mod ids;
mod local;
mod lookup_error;
mod nodeset;
mod outcome;
mod restart;
mod scope;
mod secret;
mod slots;
mod snmp;
mod supervision;
mod target;
mod template;
mod turn;
mod words;
mod workers;

pub use access::Role;
pub use allow::{Allow, AllowError, HostVerdict};
pub use breaker::{Breaker, BreakerPolicy, BreakerState};
pub use collection::{Collection, CollectionBuilder, Outcomes, Summary};
pub use device::{Cluster, DeviceKind, MAX_DEVICES, Topology};
pub use discovery::{DiscoveredDevice, DiscoveredDevices, DiscoveredGroup, Discovery, Origin};
pub use dns::DnsSettings;
pub(crate) use duration::millis;
pub use duration::parse_duration;
pub use fault::{Facts, Fault, FaultKind, LocalReason};
pub use flapping::{FLAPPING_CHANGES, FLAPPING_WITHIN, Flapping, Flaps, Swing};
pub use history::{Change, Event, HISTORY_LEN, History, HistoryError};
pub use ids::{ClusterId, DeviceId, Id, IdError, MAX_NAME_LEN};
pub use local::LocalResource;
pub(crate) use lookup_error::LookupError;
pub use nodeset::NodeSet;
pub use outcome::Outcome;
pub use restart::{Backoff, Decision, RestartHistory, SupervisionPolicy};
pub use scope::{Places, Scope, ScopeError};
pub use secret::{Secret, SecretSource};
pub use snmp::{
    SnmpAuth, SnmpCipher, SnmpDigest, SnmpPrivacy, SnmpSecurity, SnmpSettings, SnmpUser,
};
pub(crate) use supervision::THREAD_ENDED;
pub use supervision::{
    ChildState, ClusterState, DeviceState, FORCED_EVERY, Failing, Hold, LastExit, LastLookup,
    Liveness, SupervisionTree, TreeFilter,
};
pub use target::{
    Authorities, Behaviour, DriverKind, DriverSettings, ExecOutput, ExecSettings, FaultRates,
    HostKeys, HttpSettings, PrometheusSettings, RedfishSettings, RetryPolicy, SimulatedSettings,
    SshSettings, Step, Target, TcpSettings, TlsSettings, WebAuth, WebSettings,
};
pub use template::{Template, TemplateError};
#[cfg(test)]
pub(crate) use turn::seen;
pub use turn::{ITEMS_PER_TURN, Turn};
pub(crate) use turn::{drop_in_turns, drop_some, poll_give_way};
pub(crate) use words::{Candidates, counted, did_you_mean, first_of};
pub use workers::{
    Connectedness, Holding, Moves, OrdersAnswered, OrdersSent, Renewals, Sharing, Work, WorkerState,
};
