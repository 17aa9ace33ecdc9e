//! Why a command fails, and its exit code then.

use std::path::PathBuf;
use std::process::ExitCode;

use super::collect::ServiceError;
use super::nats::NatsFlagsError;
use super::service::TreeError;
use super::terminal::plain;
use crate::app::AppError;
use crate::config::ConfigError;
use crate::domain::{DeviceId, ScopeError};
use crate::engine::collector::CollectError;
use crate::nats::{KeyError, NatsError};

/// Why a command failed, as far as it can.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("{0}")]
    Config(ConfigError),
    #[error("fleetcall: {0}")]
    App(AppError),
    #[error("fleetcall: no answer: {0}")]
    Collect(CollectError),
    #[error("fleetcall: cannot open the log: {0}")]
    Log(std::io::Error),
    #[error("fleetcall: cannot watch for signals: {0}")]
    Signals(std::io::Error),
    #[error("fleetcall: {0}")]
    Tree(TreeError),
    #[error("fleetcall: {0}")]
    Server(ServiceError),
    #[error("fleetcall: {0}")]
    Name(NameError),
    #[error(
        "fleetcall: --force needs --server: only a running service leaves devices alone that it can be \
         forced to ask"
    )]
    ForceHere,
    #[error("fleetcall: {0}")]
    Init(InitError),
    #[error("fleetcall: {0}")]
    Nats(NatsFlagsError),
    #[error("fleetcall: {0}")]
    Key(KeyError),
    #[error("fleetcall: {0}")]
    Idle(IdleFlag),
    #[error("fleetcall: there is no command {name:?}; there are {known}")]
    NoCommand { name: String, known: String },
    #[error("fleetcall: cannot write to standard output: {0}")]
    Output(std::io::Error),
}

impl CliError {
    pub(super) fn of_start(error: AppError) -> Self {
        match error {
            AppError::Config(error) => Self::Config(error),
            AppError::Bind { .. } | AppError::Nats(_) => Self::App(error),
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Tree(TreeError::Server(error)) | Self::Server(ServiceError::Trust(error))
                if error.is_usage() =>
            {
                ExitCode::from(2)
            }
            Self::Config(_) | Self::App(AppError::Nats(NatsError::Unpublished { .. })) => {
                ExitCode::from(78)
            }
            Self::NoCommand { .. }
            | Self::Nats(_)
            | Self::Name(_)
            | Self::ForceHere
            | Self::Idle(_) => ExitCode::from(2),
            Self::App(_)
            | Self::Collect(_)
            | Self::Log(_)
            | Self::Signals(_)
            | Self::Tree(_)
            | Self::Server(_)
            | Self::Init(_)
            | Self::Key(_)
            | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}

/// A flag that would do nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{flag} does nothing {place} --{other}")]
pub(super) struct IdleFlag {
    pub(super) flag: String,
    pub(super) place: &'static str,
    pub(super) other: &'static str,
}

/// Why there is no configuration written.
#[derive(Debug, thiserror::Error)]
pub(super) enum InitError {
    #[error("{} is there already; --force overwrites it, `fleetcall init -` prints instead", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: {error}", .path.display())]
    Write {
        path: PathBuf,
        error: std::io::Error,
    },
}

/// Why names do not say which devices are meant.
#[derive(Debug, thiserror::Error)]
pub(super) enum NameError {
    #[error("nothing was reset: {}", plain(&.0.to_string()))]
    Scope(#[from] ScopeError),
    #[error(
        "{device} may be {candidates}; say which one by --cluster and --kind; nothing was reset"
    )]
    Ambiguous {
        device: DeviceId,
        candidates: String,
    },
}
