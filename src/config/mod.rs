//! The configuration file: read once, valid or refused with all its faults.
//!
//! Entry point: [`Config::load`]. What is returned holds every invariant that the other rooms rely
//! on; nothing below `app` reads files or the environment. It does not know what a setting does.

mod discovery;
mod dns;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod http;
mod local;
mod lookup;
mod once;
mod reader;
mod secret_files;
mod source;
mod span;
mod validate;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

pub use http::{HttpConfig, Rate, TlsConfig, TokenConfig, Written};
pub(crate) use source::{DEFAULT_PATH, SEARCHED};
pub use source::{Edition, Publication, Source};

use crate::domain::{
    ClusterId, DeviceId, DeviceKind, Discovery, DnsSettings, DriverKind, SecretSource,
    SupervisionPolicy, Target,
};
use crate::net::files;
use crate::net::files::FileError;
pub use crate::net::files::Stamp;

/// The largest configuration file, in bytes; a million ids written one by one fit.
const MAX_FILE_LEN: u64 = 64 << 20;

/// The built-in demonstration: the repository's `config/clusters.toml`.
const DEMONSTRATION: &str = include_str!("../../config/clusters.toml");

/// A valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The clusters in configured order; at least one, ids unique.
    pub clusters: Vec<ClusterConfig>,
    /// The lists that clusters take devices from, each once.
    pub discoveries: Vec<DiscoveryConfig>,
    /// `[collect]`.
    pub collect: CollectConfig,
    /// `[supervision]`.
    pub supervision: SupervisionPolicy,
    /// `[dns]`.
    pub dns: DnsSettings,
    /// `[http]`.
    pub http: HttpConfig,
    /// `[metrics]`.
    pub metrics: MetricsConfig,
}

/// One cluster and how its devices are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterConfig {
    /// Unique among the clusters.
    pub id: ClusterId,
    /// The nodes' groups, then the switches', each in configured order; at least one.
    pub groups: Vec<GroupConfig>,
}

/// A run of devices of one cluster that are asked the same way.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupConfig {
    /// What they are.
    pub kind: DeviceKind,
    /// Which they are.
    pub members: Members,
    /// How they are asked.
    pub target: Target,
}

/// Which devices a group has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// These; at least one, unique within the cluster and kind.
    Listed(Vec<DeviceId>),
    /// Those of a list that others keep.
    Discovered {
        /// Its place in [`Config::discoveries`].
        discovery: usize,
        /// Only those of the list that have all of these labels.
        labels: Vec<(String, String)>,
    },
}

/// A list of devices that others keep, and where the configuration names it first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Where it is, and how it is read.
    pub discovery: Discovery,
    /// Line and column, from 1.
    pub place: (usize, usize),
    /// The key, such as `clusters[2].nodes`.
    pub key: String,
}

/// The settings of a whole collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectConfig {
    /// The longest a collect may take; devices that have not answered by then are `timed_out`.
    pub deadline: Duration,
    /// How often each device is asked by the schedule; `None` is no schedule.
    pub every: Option<Duration>,
    /// Whether requests that are alike share the collect under way.
    pub join: bool,
    /// Lookups in flight per cluster at most; `None` is no limit.
    pub max_concurrent: Option<NonZeroUsize>,
    /// Collects waiting at once at most; one more is refused.
    pub max_waiting: NonZeroUsize,
    /// How many threads clusters are spread over, if there are as many; `None` leaves it to how
    /// many devices there are.
    pub threads: Option<NonZeroUsize>,
}

/// What `/metrics` shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether it shows devices one by one; `None` leaves it to how many there are.
    pub per_device: Option<bool>,
}

impl Default for CollectConfig {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            every: None,
            join: false,
            max_concurrent: None,
            max_waiting: const { NonZeroUsize::new(1024).unwrap() },
            threads: None,
        }
    }
}

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named.
    pub path: PathBuf,
    /// Every fault, in the order of the file; never empty.
    pub faults: Vec<ConfigFault>,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// Line and column, from 1; `None` if the file as a whole is at fault.
    pub place: Option<(usize, usize)>,
    /// The key, such as `clusters[2].nodes[0].ids` (positions from 0); empty if there is none.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl std::fmt::Display for ConfigError {
    /// One line for each fault: `path:line:column: key: message`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.path.display())?;
            if let Some((line, column)) = fault.place {
                write!(f, "{line}:{column}:")?;
            }
            if !fault.key.is_empty() {
                write!(f, " {}:", fault.key)?;
            }
            write!(f, " {}", fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The text of the regular file at `path`. Blocks for some seconds at most.
fn read(path: &Path) -> Result<String, ConfigError> {
    let bytes = read_file(path, MAX_FILE_LEN).map_err(|why| of_file(path, why))?;
    text(path, bytes)
}

/// As [`read`]; it may be a pipe too, such as a shell's `<(…)`.
fn read_at_start(path: &Path) -> Result<String, ConfigError> {
    let cannot = |error: FileError| of_file(path, format!("cannot read the file: {error}"));
    if !files::is_pipe(path).map_err(cannot)? {
        return read(path);
    }
    let bytes = read_pipe(path, PIPE_LIMIT);
    text(
        path,
        bytes.map_err(|why| of_file(path, format!("cannot read the file: {why}")))?,
    )
}

/// How long a command may take to write a configuration into a pipe to its end.
const PIPE_LIMIT: Duration = Duration::from_secs(60);

/// Reads a pipe to its end, which is to come within `limit`; a thread of its own waits for that.
fn read_pipe(path: &Path, limit: Duration) -> Result<Vec<u8>, String> {
    let (sender, receiver) = sync_channel(1);
    let owned = path.to_owned();
    let read = move || {
        let pipe = std::fs::File::open(owned).map_err(FileError::from);
        let bytes = pipe.and_then(|pipe| files::read_up_to(pipe, MAX_FILE_LEN));
        // It may have been given up.
        sender.send(bytes).ok();
    };
    let thread = std::thread::Builder::new().name("pipe".to_owned());
    thread.spawn(read).map_err(|error| error.to_string())?;
    match receiver.recv_timeout(limit) {
        Ok(bytes) => bytes.map_err(|error| error.to_string()),
        Err(RecvTimeoutError::Timeout) => {
            let limit = humantime::format_duration(limit);
            Err(format!(
                "it is a pipe, and was not written to its end within {limit}"
            ))
        }
        Err(RecvTimeoutError::Disconnected) => Err(FileError::Failed.to_string()),
    }
}

/// A fault of a file as a whole.
fn of_file(path: &Path, message: String) -> ConfigError {
    ConfigError {
        path: path.to_owned(),
        faults: vec![ConfigFault {
            place: None,
            key: String::new(),
            message,
        }],
    }
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, ConfigError> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&b| b == b'\n').count() + 1;
        of_file(
            path,
            format!("line {line} is not UTF-8 text; a configuration is a TOML file"),
        )
    })
}

impl Config {
    /// Reads and validates the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, is not UTF-8, is no TOML, or breaks a rule; all faults at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(path, &read(path)?)
    }

    /// The built-in demonstration: the Python servers' topology, simulated.
    ///
    /// # Panics
    /// Never in a build that passed its tests.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test loads this very text")]
    pub fn demonstration() -> Self {
        Self::parse(Path::new("the demonstration"), DEMONSTRATION).expect("it is valid")
    }

    /// Validates a configuration that has been read; `path` is for messages, and its folder for the
    /// relative paths of discovered files.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let directory = path.parent().unwrap_or(Path::new(""));
        validate::validate(text, directory).map_err(|faults| ConfigError {
            path: path.to_owned(),
            faults,
        })
    }

    /// Every secret that asking its devices, and for its lists, needs.
    #[must_use]
    pub fn secrets(&self) -> Vec<&SecretSource> {
        let groups = self.clusters.iter().flat_map(|cluster| &cluster.groups);
        let of_groups = groups.flat_map(|group| group.target.driver.secrets());
        let of_lists = self
            .discoveries
            .iter()
            .flat_map(|list| list.discovery.secrets());
        of_groups.chain(of_lists).collect()
    }

    /// How many devices it lists itself, in all clusters together.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.listed(|_| true)
    }

    /// How many of these are simulated.
    #[must_use]
    pub fn simulated(&self) -> usize {
        self.listed(|target| target.driver.kind() == DriverKind::Simulated)
    }

    fn listed(&self, counts: impl Fn(&Target) -> bool) -> usize {
        let groups = self.clusters.iter().flat_map(|cluster| &cluster.groups);
        let listed = |group: &GroupConfig| match &group.members {
            Members::Listed(ids) => ids.len(),
            Members::Discovered { .. } => 0,
        };
        groups.filter(|it| counts(&it.target)).map(listed).sum()
    }
}

/// Reads a file that may be anything, up to `limit` bytes.
fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let read = files::begin_read(path, limit).wait();
    read.map_err(|error| format!("cannot read the file: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_read_to_its_end_which_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let error = read_pipe(&path, Duration::ZERO).unwrap_err();
        let expected = "it is a pipe, and was not written to its end within 0s";
        assert_eq!(error, expected);
        let other = dir.path().join("other");
        let made = std::process::Command::new("mkfifo").arg(&other).status();
        assert!(made.unwrap().success());
        let to = other.clone();
        let writing = std::thread::spawn(move || std::fs::write(to, "text"));
        assert_eq!(read_pipe(&other, PIPE_LIMIT).unwrap(), b"text");
        writing.join().unwrap().unwrap();
        // Ends the thread that waits.
        std::fs::write(&path, "").unwrap();
    }
}
