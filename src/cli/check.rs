//! `fleetcall check`: whether a service would start, and what would be wrong with it.

use std::process::ExitCode;

use actix_web::rt::System;
use clap::Args;

use super::error::CliError;
use super::flags::{ConfigFlag, ExposureFlags, LogFlags};
use super::nats::{NatsFlags, SchemaFlag};
use super::output::{complain, of_them_simulated, print_line};
use super::terminal::plain_lines;
use crate::access::Exposure;
use crate::app::{self, Readiness};
use crate::domain::counted;

/// A service with these flags would start if the configuration is valid.
#[derive(Debug, Args)]
pub(super) struct CheckFlags {
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    exposure: ExposureFlags,
    #[command(flatten)]
    pub(super) log: LogFlags,
    #[command(flatten)]
    nats: NatsFlags,
}

pub(super) fn check(flags: &CheckFlags) -> Result<ExitCode, CliError> {
    let source = flags.config.source();
    let (config, name) = source.load().map_err(CliError::Config)?;
    let ExposureFlags { bind, insecure } = flags.exposure;
    let exposure = Exposure { bind, insecure };
    app::check_access(&config, &source, exposure).map_err(CliError::Config)?;
    let (clusters, devices) = (config.clusters.len(), config.devices());
    let Readiness {
        lists,
        secrets,
        simulated,
    } = System::new().block_on(app::check_readiness(config));
    let (clusters, devices) = (counted(clusters, "cluster"), counted(devices, "device"));
    let mut line = format!("{name}: valid, {clusters}, {devices}");
    if !lists.is_empty() {
        let discovered: usize = lists.iter().map(|list| list.devices).sum();
        let lists = counted(lists.len(), "list");
        line.push_str(&format!(", and {discovered} in {lists}"));
    }
    line.push_str(&of_them_simulated(simulated));
    print_line(&line)?;
    let distributed = flags.nats.settings(&SchemaFlag::default(), None);
    let distributed = distributed.map_err(CliError::Nats)?;
    for server in distributed.iter().flat_map(|it| it.nats.exposed_to()) {
        complain(&format!(
            "warning: {server}: the NATS password crosses the network in the clear; use tls:// or --nats-ca"
        ));
    }
    if let Some(it) = &distributed {
        for path in System::new().block_on(it.nats.exposed_files()) {
            complain(&format!(
                "warning: {}: everybody on this machine can read this secret, take the others' right to \
                 (chmod o-r)",
                path.display()
            ));
        }
    }
    // The service starts all the same, so this is no fault of the configuration.
    for why in secrets {
        complain(&format!("warning: {why}; lookups that need it fail"));
    }
    for list in &lists {
        if let Some(error) = &list.error {
            complain(&plain_lines(&format!(
                "warning: {}: the list {} cannot be read: {error}; the service starts without its devices, \
                 and a reload is refused",
                list.key, list.origin
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}
