//! `fleetcall publish`, and which published configurations a process takes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::System;
use clap::Args;
use clap::builder::BoolishValueParser;

use super::error::CliError;
use super::flags::{ConfigFlag, LogFlags};
use super::nats::{LEASE, NatsFlags, NatsFlagsError, SchemaFlag, lease};
use super::output::{complain, of_them_simulated, print, print_line};
use crate::app::AppError;
use crate::config::{Config, Source};
use crate::domain::counted;
use crate::nats::{self, BucketFound, NatsError, PublicKey, SigningKey, Trust};

/// Whether the configuration is a published one, and which of those are taken.
#[derive(Debug, Clone, Args)]
pub(super) struct PublishedFlags {
    /// Take the configuration from NATS, as `fleetcall publish` puts it there, and each later one
    #[arg(
        long, env = "FLEETCALL_PUBLISHED",
        value_parser = BoolishValueParser::new(), conflicts_with_all = ["config", "watch"]
    )]
    pub(super) published: bool,
    #[command(flatten)]
    pub(super) trust: TrustFlags,
}

/// Which published configurations are taken.
#[derive(Debug, Clone, Args)]
pub(super) struct TrustFlags {
    /// Take only published configurations that are signed by this key; may be repeated, or have commas
    #[arg(
        long,
        value_name = "PUBLIC",
        env = "FLEETCALL_PUBLISHED_KEY",
        value_delimiter = ','
    )]
    published_key: Vec<String>,
    /// Let published configurations that are not signed run commands and read files and variables
    #[arg(
        long, env = "FLEETCALL_PUBLISHED_UNSIGNED",
        value_parser = BoolishValueParser::new()
    )]
    published_unsigned: bool,
}

impl TrustFlags {
    /// # Errors
    /// If a key is none, or the flags contradict each other.
    pub(super) fn trust(&self) -> Result<Trust, NatsFlagsError> {
        match (self.published_key.as_slice(), self.published_unsigned) {
            ([], false) => Ok(Trust::Harmless),
            ([], true) => Ok(Trust::All),
            (_, true) => Err(NatsFlagsError::KeyAndUnsigned),
            (keys, false) => {
                let keys = keys.iter().zip(1..).map(|(key, number)| {
                    PublicKey::parse(key.trim())
                        .map_err(|error| NatsFlagsError::PublishedKey { number, error })
                });
                keys.collect::<Result<_, _>>().map(Trust::Signed)
            }
        }
    }
}

/// What is put into NATS.
#[derive(Debug, Clone, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    config: ConfigFlag,
    /// Make the buckets that are not there, for a fleet whose processes may not; without --config
    /// nothing is published
    #[arg(long)]
    init: bool,
    /// How long leases last in buckets that --init makes: what workers are started with
    #[arg(
        long, value_name = "DURATION", env = "FLEETCALL_LEASE",
        default_value = LEASE, value_parser = lease
    )]
    lease: Duration,
    /// Sign the configuration with the key in this file: the seed of an account's nkey
    #[arg(long, value_name = "PATH", env = "FLEETCALL_SIGN_KEY")]
    sign_key: Option<PathBuf>,
    /// Make a key to sign with, write it to this file, and print its public key, which processes are to
    /// have as --published-key; nothing is published
    #[arg(long, value_name = "PATH", conflicts_with = "init")]
    new_key: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustFlags,
    #[command(flatten)]
    nats: NatsFlags,
    #[command(flatten)]
    pub(super) log: LogFlags,
}

impl Flags {
    /// What to sign with, and which configurations the processes take that this one is for.
    fn signing(&self) -> Result<(Option<SigningKey>, Trust), CliError> {
        let key = self.sign_key.as_deref().map(SigningKey::read);
        let key = key.transpose().map_err(CliError::Key)?;
        let trust = match (self.trust.trust().map_err(CliError::Nats)?, &key) {
            (Trust::Signed(_), None) => return Err(CliError::Nats(NatsFlagsError::Unsigned)),
            (Trust::Signed(keys), Some(key)) if !keys.contains(&key.public()) => {
                let key = key.public().to_string();
                return Err(CliError::Nats(NatsFlagsError::OtherKey(key)));
            }
            (Trust::Harmless | Trust::All, Some(key)) => Trust::Signed(vec![key.public()]),
            (trust, _) => trust,
        };
        Ok((key, trust))
    }
}

fn failed(error: NatsError) -> CliError {
    CliError::App(AppError::Nats(error))
}

/// A configuration that is valid, and what is said of it.
struct Checked {
    text: String,
    said: String,
}

fn check(source: &Source, trust: &Trust) -> Result<Checked, CliError> {
    let text = source.text().map_err(CliError::Config)?;
    let name = source.name();
    let config = Config::parse(&name, &text).map_err(CliError::Config)?;
    let local = config.refuse_local(&name);
    match trust {
        Trust::Harmless => local.map_err(CliError::Config)?,
        Trust::All if local.is_err() => complain(
            "warning: it runs commands, or reads files or variables, and is not signed: only \
             processes with --published-unsigned take it",
        ),
        Trust::All | Trust::Signed(_) => {}
    }
    let clusters = counted(config.clusters.len(), "cluster");
    let devices = counted(config.devices(), "device");
    let simulated = of_them_simulated(config.simulated());
    Ok(Checked {
        text,
        said: format!("{clusters}, {devices}{simulated}"),
    })
}

/// Puts the configuration where the processes are that share a fleet.
pub(super) fn publish(flags: &Flags) -> Result<ExitCode, CliError> {
    if let Some(path) = &flags.new_key {
        let key = SigningKey::create(path).map_err(CliError::Key)?;
        print(key.public().to_string().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let distributed = flags.nats.settings(&SchemaFlag::default(), None);
    let Some(distributed) = distributed.map_err(CliError::Nats)? else {
        return Err(CliError::Nats(NatsFlagsError::PublishedNowhere));
    };
    let (key, trust) = flags.signing()?;
    let mut configuration = None;
    if !flags.init || flags.config.config.is_some() {
        configuration = Some(check(&flags.config.source(), &trust)?);
    }
    let system = System::new();
    let mut exit = ExitCode::SUCCESS;
    if flags.init {
        let made = system.block_on(nats::init(&distributed, flags.lease));
        for (bucket, found) in made.map_err(failed)? {
            let said = match found {
                Ok(BucketFound::Made) => "made".to_owned(),
                Ok(BucketFound::There) => "there".to_owned(),
                Ok(BucketFound::InMemory(lost)) => {
                    format!("there, in memory: a restart of NATS loses {lost}")
                }
                Ok(BucketFound::Foreign(faults)) => {
                    exit = ExitCode::FAILURE;
                    format!("there, with other settings: {faults}")
                }
                Err(error) => {
                    exit = ExitCode::FAILURE;
                    complain(&format!("fleetcall: {error}"));
                    continue;
                }
            };
            print_line(&format!("{bucket}: {said}"))?;
        }
    }
    if let Some(Checked { text, said }) = configuration {
        let published = nats::publish(&distributed, text, key.as_ref(), &trust);
        let (version, serial) = system.block_on(published).map_err(failed)?;
        let signed = match (serial, &key) {
            (Some(serial), Some(key)) => format!(", serial {serial}, signed by {}", key.public()),
            _ => String::new(),
        };
        print_line(&format!("version {version}{signed}: {said}"))?;
    }
    Ok(exit)
}
