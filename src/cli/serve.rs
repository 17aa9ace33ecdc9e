//! `fleetcall serve` and `fleetcall worker`: the service, up to the signal that ends it.

use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::System;
use clap::Args;
use clap::builder::BoolishValueParser;
use tokio::signal::unix::{SignalKind, signal};

use super::error::CliError;
use super::flags::{ConfigFlag, ExposureFlags, LogFlags, grace};
use super::nats::{NatsFlags, NatsFlagsError, SchemaFlag, WorkerFlags};
use super::publish::PublishedFlags;
use crate::app::{self, App, AppError, Ended, Options};
use crate::config::{Config, SEARCHED};
use crate::nats::{Distributed, Trust};
use crate::net::open_files;

#[derive(Debug, Args)]
pub(super) struct ServeFlags {
    #[command(flatten)]
    config: ConfigFlag,
    /// Reload when the configuration file changes
    #[arg(
        long, env = "FLEETCALL_WATCH",
        value_parser = BoolishValueParser::new()
    )]
    watch: bool,
    #[command(flatten)]
    exposure: ExposureFlags,
    /// Port to listen on; 0 picks a free one and logs it
    #[arg(
        long,
        value_name = "N",
        env = "FLEETCALL_PORT",
        default_value_t = 11100
    )]
    port: u16,
    /// How long collects under way may go on after SIGINT or SIGTERM
    #[arg(
        long, value_name = "DURATION", env = "FLEETCALL_GRACE",
        default_value = "30s", value_parser = grace
    )]
    grace: Duration,
    #[command(flatten)]
    pub(super) log: LogFlags,
    #[command(flatten)]
    nats: NatsFlags,
    #[command(flatten)]
    schema: SchemaFlag,
    #[command(flatten)]
    published: PublishedFlags,
}

pub(super) fn serve(
    flags: &ServeFlags,
    worker: Option<&WorkerFlags>,
) -> Result<ExitCode, CliError> {
    let distributed = flags.nats.settings(&flags.schema, worker);
    let distributed = distributed.map_err(CliError::Nats)?;
    open_files::raise();
    // A fleet that is shared, or asked by a worker, is never a made-up one by default.
    let source = match &distributed {
        None => flags.config.source().or_demonstration(),
        Some(_) => flags.config.source(),
    };
    // Before it is read, so that no change is missed in between.
    let stamp = source.stamp();
    let start = match (distributed, flags.published.published) {
        (None, true) => return Err(CliError::Nats(NatsFlagsError::PublishedNowhere)),
        (Some(distributed), true) => {
            let trust = flags.published.trust.trust().map_err(CliError::Nats)?;
            Start::Published(distributed, trust)
        }
        (distributed, false) => {
            let (config, name) = source.load().map_err(CliError::Config)?;
            app::log_configured(&config, &name);
            if source.is_demonstration() {
                let looked_for = SEARCHED.join(", ");
                log::warn!(looked_for; "there is no configuration, so a simulated demonstration is served");
            }
            Start::Configured(Box::new(config), distributed)
        }
    };
    let ServeFlags {
        exposure: ExposureFlags { bind, insecure },
        port,
        log: LogFlags { debug, .. },
        grace,
        ..
    } = *flags;
    let options = Options {
        bind,
        port,
        insecure,
        debug,
        grace,
        source,
        watch: stamp.filter(|_| flags.watch),
        ..Options::default()
    };
    System::new().block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Signals)?;
        let hangup = signal(SignalKind::hangup()).map_err(CliError::Signals)?;
        let app = tokio::select! {
            app = start.start(options) => app.map_err(CliError::of_start)?,
            // Lists of devices may take their time to be read.
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        };
        actix_web::rt::spawn(app.engine().reload().follow(hangup));
        let (second, force) = tokio::sync::oneshot::channel();
        let (first, stop) = tokio::sync::oneshot::channel();
        actix_web::rt::spawn(async move {
            for stage in [first, second] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                // Nobody listens only if the service has ended.
                stage.send(()).ok();
            }
        });
        Ok(match app.run_until(stop, force).await {
            Ended::Drained => ExitCode::SUCCESS,
            Ended::CutOff | Ended::Failed => ExitCode::FAILURE,
        })
    })
}

/// What a service starts with.
enum Start {
    Configured(Box<Config>, Option<Distributed>),
    Published(Distributed, Trust),
}

impl Start {
    async fn start(self, options: Options) -> Result<App, AppError> {
        match self {
            Self::Published(distributed, trust) => {
                App::start_published(distributed, trust, options).await
            }
            Self::Configured(config, distributed) => {
                let options = Options {
                    distributed,
                    ..options
                };
                App::start(*config, options).await
            }
        }
    }
}
