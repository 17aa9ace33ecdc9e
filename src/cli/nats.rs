//! How a process shares a fleet with others: where NATS is, who this is, and how a worker takes part.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::server::{ServerError, refuse_user_info};
use crate::domain::parse_duration;
use crate::nats::{
    Credentials, Distributed, KeyError, NEWEST_SCHEMA, NatsSettings, Worker, is_worker,
};

/// How long leases last, unless it is said otherwise.
pub(super) const LEASE: &str = "2s";

/// Where NATS is, and who this is to it.
#[derive(Debug, Clone, Args)]
pub(super) struct NatsFlags {
    /// NATS servers to share the fleet through, with commas between them: nats://HOST:4222
    #[arg(long, value_name = "URL", env = "FLEETCALL_NATS")]
    nats: Option<String>,
    /// The file of NATS credentials (JWT and seed) to connect with
    #[arg(
        long,
        value_name = "PATH",
        env = "FLEETCALL_NATS_CREDS",
        conflicts_with = "nats_user"
    )]
    nats_creds: Option<PathBuf>,
    /// The NATS user to connect as
    #[arg(
        long,
        value_name = "NAME",
        env = "FLEETCALL_NATS_USER",
        requires = "nats_password_file"
    )]
    nats_user: Option<String>,
    /// The file of that user's password
    #[arg(
        long,
        value_name = "PATH",
        env = "FLEETCALL_NATS_PASSWORD_FILE",
        requires = "nats_user"
    )]
    nats_password_file: Option<PathBuf>,
    /// A file of certificates of authorities that NATS servers are to have theirs from, PEM
    #[arg(long, value_name = "PATH", env = "FLEETCALL_NATS_CA")]
    nats_ca: Option<PathBuf>,
    /// A file of the certificate to show NATS servers, PEM
    #[arg(
        long,
        value_name = "PATH",
        env = "FLEETCALL_NATS_CERT",
        requires = "nats_key"
    )]
    nats_cert: Option<PathBuf>,
    /// The file of that certificate's key, PEM
    #[arg(
        long,
        value_name = "PATH",
        env = "FLEETCALL_NATS_KEY",
        requires = "nats_cert"
    )]
    nats_key: Option<PathBuf>,
    /// What subjects and buckets begin with: one for each fleet on the same servers
    #[arg(
        long, value_name = "NAME", env = "FLEETCALL_NATS_PREFIX",
        default_value = "fleetcall", value_parser = prefix
    )]
    nats_prefix: String,
}

/// Which form of answers other processes get.
#[derive(Debug, Clone, Args)]
pub(super) struct SchemaFlag {
    /// Answer other processes as releases before did: the newest form of answers to read and write
    #[arg(
        long, value_name = "N", env = "FLEETCALL_NATS_SCHEMA",
        default_value_t = NEWEST_SCHEMA,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(NEWEST_SCHEMA))
    )]
    nats_schema: u32,
}

impl Default for SchemaFlag {
    fn default() -> Self {
        Self {
            nats_schema: NEWEST_SCHEMA,
        }
    }
}

/// How a worker takes part.
#[derive(Debug, Clone, Args)]
pub(super) struct WorkerFlags {
    /// A name that no other worker has [default: the host's name and a random number]
    #[arg(long, value_name = "NAME", env = "FLEETCALL_WORKER_NAME", value_parser = name)]
    name: Option<String>,
    /// How long a worker that is gone keeps its clusters; the same for all workers
    #[arg(
        long, value_name = "DURATION", env = "FLEETCALL_LEASE",
        default_value = LEASE, value_parser = lease
    )]
    lease: Duration,
}

/// Why these flags mean nothing together.
#[derive(Debug, thiserror::Error)]
pub(super) enum NatsFlagsError {
    #[error("a worker needs to know where NATS is: --nats URL")]
    Nowhere,
    #[error("a configuration is published in NATS, so it is to be said where that is: --nats URL")]
    PublishedNowhere,
    #[error(
        "user information in the address of NATS; use --nats-creds, or --nats-user and \
         --nats-password-file"
    )]
    UserInfo,
    #[error("--published-key {number}: {error}")]
    PublishedKey { number: usize, error: KeyError },
    #[error(
        "--published-key takes only what is signed, and --published-unsigned what is not; give one of \
         them"
    )]
    KeyAndUnsigned,
    #[error(
        "processes with --published-key take only what is signed; sign the configuration by --sign-key \
         FILE"
    )]
    Unsigned,
    #[error("the key of --sign-key is {0}, which is none of --published-key")]
    OtherKey(String),
}

fn prefix(text: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if text.is_empty() || text.len() > 64 || !text.chars().all(is_fine) {
        return Err("use 1 to 64 letters, digits, '_' and '-'".to_owned());
    }
    Ok(text.to_owned())
}

fn name(text: &str) -> Result<String, String> {
    if !is_worker(text) {
        return Err("use 1 to 128 letters, digits, '_', '-', and single '.' inside".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn lease(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&duration) {
        return Err("use 1s to 1h".to_owned());
    }
    Ok(duration)
}

impl NatsFlags {
    /// How the process takes part; `None` if it does not.
    pub(super) fn settings(
        &self,
        schema: &SchemaFlag,
        worker: Option<&WorkerFlags>,
    ) -> Result<Option<Distributed>, NatsFlagsError> {
        let Some(url) = &self.nats else {
            return match worker {
                Some(_) => Err(NatsFlagsError::Nowhere),
                None => Ok(None),
            };
        };
        for server in url.split(',') {
            refuse_user_info(server.trim()).map_err(|_: ServerError| NatsFlagsError::UserInfo)?;
        }
        let credentials = match (&self.nats_creds, &self.nats_user, &self.nats_password_file) {
            (Some(path), _, _) => Credentials::File(path.clone()),
            (None, Some(name), Some(file)) => Credentials::User {
                name: name.clone(),
                password_file: file.clone(),
            },
            (None, _, _) => Credentials::None,
        };
        Ok(Some(Distributed {
            nats: NatsSettings {
                url: url.clone(),
                credentials,
                ca: self.nats_ca.clone(),
                certificate: self.nats_cert.clone().zip(self.nats_key.clone()),
            },
            prefix: self.nats_prefix.clone(),
            schema: schema.nats_schema,
            worker: worker.map(|flags| Worker {
                name: flags.name.clone().unwrap_or_else(made_up),
                lease: flags.lease,
            }),
        }))
    }
}

/// A name for people to know the machine by, and for nobody else to have.
fn made_up() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    let short = host.split('.').next().unwrap_or_default();
    let number: u32 = rand::random();
    name(&format!("{short}-{number:08x}")).unwrap_or_else(|_| format!("worker-{number:08x}"))
}
