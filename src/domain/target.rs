//! How a device is to be asked: the settings of `[lookup]` after inheritance, valid and complete.
//!
//! These are values only; `drivers` turns them into code that asks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Allow, Backoff, BreakerPolicy, FaultKind, SecretSource, SnmpSettings, Template};

/// Which driver asks a device, with what settings, and for how long at most.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The longest one lookup may take, retries included. Queueing for `max_concurrent` is not
    /// counted: it counts against the collect's deadline.
    pub timeout: Duration,
    /// When a lookup that failed is tried again.
    pub retry: RetryPolicy,
    /// When the device is left alone after failures.
    pub breaker: BreakerPolicy,
    /// The driver and its settings.
    pub driver: DriverSettings,
    /// Where it may ask; `None` is everywhere, as for devices that the configuration lists itself.
    pub allow: Option<Arc<Allow>>,
}

/// When a lookup that failed is tried again, within its timeout.
///
/// Only transient kinds are ([`FaultKind::is_transient`]). A wait that would not end before the
/// timeout is not begun: the last failure is the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many times more than once; 0 is no retry.
    pub retries: u32,
    /// The wait before each retry.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 0,
            backoff: Backoff {
                min: Duration::from_millis(100),
                max: Duration::from_secs(2),
            },
        }
    }
}

/// The settings of each kind of driver.
#[derive(Debug, Clone, PartialEq)]
pub enum DriverSettings {
    /// Asks nobody; behaves as told.
    Simulated(SimulatedSettings),
    /// Connects, and looks at the certificate if there is one.
    Tcp(TcpSettings),
    /// Asks a web server, and looks at its answer.
    Http(HttpSettings),
    /// Scrapes an exposition of Prometheus metrics.
    Prometheus(PrometheusSettings),
    /// Runs a local command.
    Exec(ExecSettings),
    /// Runs a command on the device.
    Ssh(SshSettings),
    /// Asks a management controller.
    Redfish(RedfishSettings),
    /// Asks an SNMP agent.
    Snmp(SnmpSettings),
}

/// Which driver it is, without its settings; a closed set, for the configuration and for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DriverKind {
    /// Asks nobody.
    #[default]
    Simulated,
    /// A port, and its certificate.
    Tcp,
    /// A web server.
    Http,
    /// An exposition of metrics.
    Prometheus,
    /// A local command.
    Exec,
    /// A command on the device.
    Ssh,
    /// A management controller.
    Redfish,
    /// An SNMP agent.
    Snmp,
}

impl DriverKind {
    /// Every driver, in the order of the enum, so that `as usize` is a place in it.
    pub const ALL: [Self; 8] = [
        Self::Simulated,
        Self::Tcp,
        Self::Http,
        Self::Prometheus,
        Self::Exec,
        Self::Ssh,
        Self::Redfish,
        Self::Snmp,
    ];

    /// The driver as the configuration names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Prometheus => "prometheus",
            Self::Exec => "exec",
            Self::Ssh => "ssh",
            Self::Redfish => "redfish",
            Self::Snmp => "snmp",
        }
    }
}

impl DriverSettings {
    /// Whose settings these are.
    #[must_use]
    pub const fn kind(&self) -> DriverKind {
        match self {
            Self::Simulated(_) => DriverKind::Simulated,
            Self::Tcp(_) => DriverKind::Tcp,
            Self::Http(_) => DriverKind::Http,
            Self::Prometheus(_) => DriverKind::Prometheus,
            Self::Exec(_) => DriverKind::Exec,
            Self::Ssh(_) => DriverKind::Ssh,
            Self::Redfish(_) => DriverKind::Redfish,
            Self::Snmp(_) => DriverKind::Snmp,
        }
    }

    /// The secrets that asking needs.
    #[must_use]
    pub fn secrets(&self) -> Vec<&SecretSource> {
        match self {
            Self::Simulated(_) | Self::Tcp(_) | Self::Ssh(_) => Vec::new(),
            Self::Http(settings) => settings.web.secrets(),
            Self::Prometheus(settings) => settings.web.secrets(),
            Self::Exec(settings) => settings.env.iter().map(|(_, source)| source).collect(),
            Self::Redfish(settings) => settings.web.secrets(),
            Self::Snmp(settings) => settings.secrets(),
        }
    }

    /// The file of a private key that asking needs, besides those secrets.
    #[must_use]
    pub fn key_file(&self) -> Option<&PathBuf> {
        match self {
            Self::Ssh(settings) => Some(&settings.key),
            Self::Simulated(_)
            | Self::Tcp(_)
            | Self::Http(_)
            | Self::Prometheus(_)
            | Self::Exec(_)
            | Self::Redfish(_)
            | Self::Snmp(_) => None,
        }
    }

    /// Whether devices have to be discovered with a port to be asked like this.
    #[must_use]
    pub fn names_port(&self) -> bool {
        match self {
            Self::Simulated(_) => false,
            Self::Tcp(settings) => settings.address.names_port(),
            Self::Http(settings) => settings.web.url.names_port(),
            Self::Prometheus(settings) => settings.web.url.names_port(),
            Self::Exec(settings) => settings.command.iter().any(Template::names_port),
            Self::Ssh(settings) => settings.address.names_port() || settings.command.names_port(),
            Self::Redfish(settings) => settings.web.url.names_port(),
            Self::Snmp(settings) => settings.address.names_port(),
        }
    }
}

impl WebSettings {
    /// The secrets that asking needs.
    #[must_use]
    pub fn secrets(&self) -> Vec<&SecretSource> {
        let mut secrets: Vec<_> = self.headers.iter().map(|(_, source)| source).collect();
        secrets.extend(match &self.auth {
            None => None,
            Some(WebAuth::Basic { password, .. }) => Some(password),
            Some(WebAuth::Bearer(token)) => Some(token),
        });
        secrets
    }
}

/// Whom a TLS client trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whether the server's certificate has to be valid for its name.
    pub verify: bool,
    /// The only authorities to trust; `None` trusts those of the system.
    pub ca: Option<Authorities>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            verify: true,
            ca: None,
        }
    }
}

impl TlsSettings {
    /// For what is asked in the clear: no authority is trusted.
    #[must_use]
    pub fn unused() -> Self {
        Self {
            verify: true,
            ca: Some(Authorities {
                path: PathBuf::new(),
                pem: Arc::default(),
            }),
        }
    }
}

/// Authorities to trust, and where they were read.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities {
    /// The file.
    pub path: PathBuf,
    /// Their certificates, PEM.
    pub pem: Arc<[u8]>,
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, pem } = self;
        write!(f, "Authorities({path:?}, {} bytes)", pem.len())
    }
}

/// The `tcp` driver's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSettings {
    /// `host:port`.
    pub address: Template,
    /// Whether, and how, to shake hands for TLS once connected.
    pub tls: Option<TlsSettings>,
}

/// How the drivers that speak HTTP ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// `http://…` or `https://…`, without user information.
    pub url: Template,
    /// Headers to send.
    pub headers: Vec<(String, SecretSource)>,
    /// What to authenticate with.
    pub auth: Option<WebAuth>,
    /// For `https`.
    pub tls: TlsSettings,
    /// Redirects to follow at most; never to another host, port or scheme.
    pub redirects: usize,
    /// The largest body, decompressed, in bytes.
    pub max_body_bytes: usize,
}

/// How to authenticate to a web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebAuth {
    /// Basic authentication (RFC 7617).
    Basic {
        /// The user's name.
        username: String,
        /// The user's password.
        password: SecretSource,
    },
    /// A bearer token (RFC 6750).
    Bearer(SecretSource),
}

/// The `http` driver's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// How to ask.
    pub web: WebSettings,
    /// Status codes that are right; empty is every 2xx.
    pub expect_status: Vec<u16>,
    /// Headers that the answer has to have with just this value.
    pub expect_headers: Vec<(String, String)>,
    /// JSON pointers (RFC 6901) into the body, and the value that has to be there.
    pub expect_json: Vec<(String, serde_json::Value)>,
    /// Names of facts, and where in the body they are.
    pub facts: Vec<(String, String)>,
}

/// The `prometheus` driver's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusSettings {
    /// How to ask.
    pub web: WebSettings,
    /// Metrics to give as facts besides those that the schema has.
    pub metrics: Vec<String>,
}

/// The `exec` driver's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSettings {
    /// The program and its arguments; no shell reads them.
    pub command: Vec<Template>,
    /// The whole environment of the program, but for `PATH`.
    pub env: Vec<(String, SecretSource)>,
    /// What the program prints.
    pub output: ExecOutput,
    /// The most it may print, in bytes.
    pub max_output_bytes: usize,
}

/// The `ssh` driver's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshSettings {
    /// `host:port`.
    pub address: Template,
    /// Whom to log in as.
    pub username: String,
    /// The file of the private key; not protected by a passphrase.
    pub key: PathBuf,
    /// Which host keys are right.
    pub host_keys: HostKeys,
    /// What the device's shell runs.
    pub command: Template,
    /// What the command prints: [`ExecOutput::Json`] or [`ExecOutput::KeyValue`].
    pub output: ExecOutput,
    /// The most it may print, in bytes.
    pub max_output_bytes: usize,
}

/// Which host keys an ssh client trusts; there is no way to trust any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeys {
    /// This one: its type and itself in base64, as in a `.pub` file.
    Pinned(String),
    /// Those of a `known_hosts` file (sshd(8)).
    KnownHosts(PathBuf),
}

/// The `redfish` driver's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedfishSettings {
    /// How to ask; the URL is the server's, with nothing or `/redfish/v1` for its path.
    pub web: WebSettings,
    /// Whether a username logs in, and out again, instead of going along with each request.
    pub session: bool,
}

/// What a command prints, and how its exit code is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecOutput {
    /// JSON objects, one a line, whose members are facts; exit code 0 is success.
    Json,
    /// `KEY=VALUE` lines; exit code 0 is success.
    KeyValue,
    /// A Nagios plugin: 0 ok, 1 warning, 2 critical, 3 unknown.
    Nagios,
}

/// The simulated driver's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedSettings {
    /// How long a lookup takes; a failing or panicking one takes as long.
    pub latency: Duration,
    /// A lookup takes from `latency - jitter` to `latency + jitter`, evenly spread, at least 0.
    pub jitter: Duration,
    /// Decides jitter and faults, together with the device and the number of its lookup.
    pub seed: u64,
    /// What comes of a lookup.
    pub behaviour: Behaviour,
}

/// What comes of simulated lookups.
#[derive(Debug, Clone, PartialEq)]
pub enum Behaviour {
    /// Each lookup draws its fault by these probabilities.
    Random(FaultRates),
    /// The device's lookups do this in turn, and start over after the last; not empty.
    Script(Vec<Step>),
}

/// Probabilities of the faults of a simulated lookup, each from 0 to 1, together at most 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FaultRates {
    /// It fails: a `failed` fault.
    pub fail: f64,
    /// It never ends: a `timed_out` fault, when the timeout passes.
    pub hang: f64,
    /// It panics: a `crashed` fault, and its actor is restarted.
    pub panic: f64,
}

/// What one simulated lookup does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It succeeds.
    Ok,
    /// It fails with this kind; one of [`Step::FAULTS`].
    Fail(FaultKind),
    /// It never ends.
    Hang,
    /// It panics.
    Panic,
}

impl Step {
    /// The kinds that a script may name: those that a driver of real machines gives, and `failed`.
    pub const FAULTS: [FaultKind; 6] = [
        FaultKind::Failed,
        FaultKind::Refused,
        FaultKind::Unreachable,
        FaultKind::Auth,
        FaultKind::Protocol,
        FaultKind::TooLarge,
    ];
}
