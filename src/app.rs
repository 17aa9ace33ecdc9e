//! The composition root: from a valid configuration to a running service, and to its end.
//!
//! It alone knows every room. `main` and the tests start the service by the same path.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::task::JoinHandle;

use crate::actors::drill::Drill;
use crate::actors::fleet::{Fleet, FleetSpec};
use crate::collector::{CollectError, CollectorHandle};
use crate::config::{ClusterConfig, Config, GroupConfig};
use crate::domain::Collection;
use crate::http;
use crate::lookup::Driver;
use crate::telemetry::Metrics;

/// How to serve; what is asked, and how, is the [`Config`]'s.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port to listen on; 0 picks a free one.
    pub port: u16,
    /// Indent JSON by two spaces.
    pub debug: bool,
    /// How long collects under way may go on after a stop.
    pub grace: Duration,
    /// What is to go wrong, in tests and exercises.
    pub drill: Option<Arc<Drill>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST.into(),
            port: 11100,
            debug: false,
            grace: Duration::from_secs(30),
            drill: None,
        }
    }
}

/// Why the service could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The address or port cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said; part of the message.
        source: std::io::Error,
    },
}

/// How a service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every collect under way was answered.
    Drained,
    /// The grace period passed, or a second signal came, with collects under way.
    CutOff,
    /// The server ended by itself, which it should not.
    Failed,
}

/// A running service. Dropping it ends everything at once.
#[derive(Debug)]
pub struct App {
    addr: SocketAddr,
    server: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
    collector: CollectorHandle,
    metrics: Metrics,
    grace: Duration,
    _fleet: Fleet,
}

impl App {
    /// Starts all actors and listens.
    ///
    /// # Errors
    /// [`AppError::Bind`] if the address is taken, not this machine's, or not allowed.
    ///
    /// # Panics
    /// Outside of an actix `System`.
    pub fn start(config: Config, options: Options) -> Result<Self, AppError> {
        let (fleet, collector, metrics) = start_fleet(config, options.drill);
        let address = SocketAddr::new(options.bind, options.port);
        let (server, addr) = http::serve(address, collector.clone(), options.debug)
            .map_err(|source| AppError::Bind { address, source })?;
        let handle = server.handle();
        let serving = actix_web::rt::spawn(server);
        log::info!(addr:%; "listening");
        Ok(Self {
            addr,
            server: handle,
            serving,
            collector,
            metrics,
            grace: options.grace,
            _fleet: fleet,
        })
    }

    /// Where it listens, with the port that was picked.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Its actors' front.
    #[must_use]
    pub fn collector(&self) -> CollectorHandle {
        self.collector.clone()
    }

    /// Serves until `stop` resolves, then refuses new requests and waits for those under way, up
    /// to the grace period or until `force` resolves.
    pub async fn run_until(self, stop: impl Future, force: impl Future) -> Ended {
        let mut serving = self.serving;
        tokio::select! {
            _ = stop => {}
            result = &mut serving => {
                log::error!(result:?; "the HTTP server ended");
                return Ended::Failed;
            }
        }
        self.collector.close();
        let waiting = self.collector.waiting();
        log::info!(waiting, grace_ms = millis(self.grace); "stopping");
        let ended = tokio::select! {
            () = self.server.stop(true) => Ended::Drained,
            () = tokio::time::sleep(self.grace) => Ended::CutOff,
            _ = force => Ended::CutOff,
        };
        let (collects, restarts) = (self.metrics.collects(), self.metrics.restarts());
        let drained = ended == Ended::Drained;
        let waiting = self.collector.waiting();
        log::info!(drained, waiting, collects, restarts; "stopped");
        ended
    }
}

/// Makes one roll call without serving.
///
/// # Errors
/// As [`CollectorHandle::collect`].
///
/// # Panics
/// Outside of an actix `System`.
pub async fn collect_once(config: Config) -> Result<Collection, CollectError> {
    let (_fleet, collector, _) = start_fleet(config, None);
    collector.collect().await
}

fn start_fleet(config: Config, drill: Option<Arc<Drill>>) -> (Fleet, CollectorHandle, Metrics) {
    let metrics = Metrics::default();
    let collect = config.collect;
    let targets = |ClusterConfig { cluster, groups }| {
        let target = |GroupConfig { devices, target }| {
            (devices.end, Driver::new(target.driver), target.timeout)
        };
        (cluster, groups.into_iter().map(target).collect())
    };
    let fleet = Fleet::start(FleetSpec {
        clusters: config.clusters.into_iter().map(targets).collect(),
        max_concurrent: collect.max_concurrent.map(NonZeroUsize::get),
        max_waiting: collect.max_waiting.get(),
        policy: config.supervision,
        arbiters: available_parallelism().map_or(1, NonZeroUsize::get),
        metrics: metrics.clone(),
        drill,
    });
    let max_waiting = collect.max_waiting.get();
    let collector = CollectorHandle::new(&fleet, collect.deadline, max_waiting, metrics.clone());
    (fleet, collector, metrics)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
