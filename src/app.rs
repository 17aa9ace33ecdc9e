//! The composition root: from a valid configuration to a running service, and to its end.
//!
//! It alone knows every room. `main` and the tests start the service by the same path.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_http::{Request, Response};
use actix_web::body::BoxBody;
use tokio::task::JoinHandle;

use crate::access::{Access, Exposure, Watch};
use crate::config::{Config, ConfigError, Source, Stamp};
use crate::domain::{Scope, millis};
use crate::engine::collector::CollectorHandle;
use crate::engine::fleet::Fleet;
use crate::engine::remote::Elsewhere;
use crate::engine::watchdog::{Watchdog, WatchdogSettings};
use crate::nats::{Distributed, FleetMembership, Link, NatsError, Trust};
use crate::reload::{DiscoveryState, ReloadHandle, unread};
use crate::server::{Answering, Server};
use crate::supervision::failpoints::Failpoints;
use crate::telemetry::Metrics;

/// How long the actors may take to end, after the last answer. Only code that blocks its thread
/// takes any time at all.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// How long sessions that lookups have opened on devices may take to end.
const SESSIONS_LIMIT: Duration = Duration::from_secs(5);

/// How long it may take to tell callers that their collects are cut off.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// How to serve; what is asked, and how, is the [`Config`]'s.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port to listen on; 0 picks a free one.
    pub port: u16,
    /// Let everybody ask who can reach the address, without a token.
    pub insecure: bool,
    /// Indent JSON by two spaces.
    pub debug: bool,
    /// How long collects under way may go on after a stop.
    pub grace: Duration,
    /// Where a reload reads the configuration.
    pub source: Source,
    /// Reload when the file is another than this.
    pub watch: Option<Stamp>,
    /// What is to go wrong, in tests and exercises.
    pub failpoints: Option<Arc<Failpoints>>,
    /// How the threads that run clusters are watched.
    pub watchdog: WatchdogSettings,
    /// How clusters are shared with other processes; `None`: all are asked by this one.
    pub distributed: Option<Distributed>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST.into(),
            port: 11100,
            insecure: false,
            debug: false,
            grace: Duration::from_secs(30),
            source: Source::new(None),
            watch: None,
            failpoints: None,
            watchdog: WatchdogSettings::default(),
            distributed: None,
        }
    }
}

impl Options {
    fn exposure(&self) -> Exposure {
        Exposure {
            bind: self.bind,
            insecure: self.insecure,
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
    /// The configuration says who may ask, and that cannot be held.
    #[error("{0}")]
    Config(ConfigError),
    /// Other processes cannot be reached.
    #[error("{0}")]
    Nats(#[from] NatsError),
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

/// The actors without a server: what asks, and what it counts. Dropping it ends them.
#[derive(Debug)]
pub struct Engine {
    fleet: Fleet,
    collector: CollectorHandle,
    reload: ReloadHandle,
}

impl Engine {
    /// Starts all actors: the supervisor on this thread, the clusters on `threads` others, or on
    /// this one too if that is 0. A reload reads `source`. Lists of devices are read by
    /// [`ReloadHandle::discover`].
    ///
    /// # Panics
    /// Outside of an actix `System`, or if a thread cannot be started.
    #[must_use]
    pub fn start(
        config: Config,
        source: Source,
        threads: usize,
        failpoints: Option<Arc<Failpoints>>,
    ) -> Self {
        Self::begin(config, source, threads, failpoints, None)
    }

    /// What one roll call of the devices of `scope` needs: no schedule is followed, the lists that can
    /// hold any of them are read once, and no other is.
    ///
    /// # Panics
    /// As [`Engine::start`].
    pub async fn for_one_roll_call(config: Config, scope: &Scope, threads: usize) -> Self {
        let config = config.for_one_roll_call(scope);
        let engine = Self::start(config, Source::new(None), threads, None);
        engine.reload.discover_once().await;
        engine
    }

    /// As [`Engine::start`]; with somebody to ask clusters elsewhere, none is here until it is taken.
    fn begin(
        config: Config,
        source: Source,
        threads: usize,
        failpoints: Option<Arc<Failpoints>>,
        elsewhere: Option<Arc<dyn Elsewhere>>,
    ) -> Self {
        let metrics = Metrics::default();
        // Only lists make it needed again.
        let kept = (!config.discoveries.is_empty()).then(|| config.clone());
        let fleet = Fleet::start(unread(config), threads, &metrics, failpoints, elsewhere);
        let collector = CollectorHandle::new(fleet.handle(), metrics.clone());
        let reload = ReloadHandle::new(kept, source, fleet.handle(), metrics);
        Self {
            fleet,
            collector,
            reload,
        }
    }

    /// Its actors' front.
    #[must_use]
    pub fn collector(&self) -> CollectorHandle {
        self.collector.clone()
    }

    /// Changes its configuration.
    #[must_use]
    pub fn reload(&self) -> ReloadHandle {
        self.reload.clone()
    }

    /// Changes its configuration to one that was read already and takes devices from no list.
    /// Blocks for as long as that takes.
    pub fn apply(&self, config: Config) -> crate::reload::Difference {
        self.fleet.handle().reload(unread(config))
    }

    /// What a thread of the server answers requests with, without the server: for measuring.
    /// Nothing watches the threads.
    ///
    /// # Errors
    /// As [`App::start`] with [`AppError::Config`].
    ///
    /// # Panics
    /// Outside of an actix `System`.
    pub async fn serverless(
        &self,
        config: &Config,
    ) -> Result<impl AsyncFn(Request) -> Response<BoxBody> + use<>, ConfigError> {
        let Options { source, debug, .. } = Options::default();
        let exposure = Options::default().exposure();
        let access = Access::new(config, &source, exposure)?;
        let watchdog = Watchdog::start(&self.fleet.handle(), WatchdogSettings::default());
        let handles = (self.collector(), self.reload(), watchdog.handle(), None);
        Ok(Answering::new(handles, access, debug).serverless().await)
    }

    /// Ends the sessions that its lookups have opened on devices, before it is dropped.
    pub async fn end_sessions(&self) {
        drop(crate::drivers::end_sessions(SESSIONS_LIMIT).await);
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.collector.metrics().clone()
    }
}

/// A running service. Dropping it ends everything at once.
#[derive(Debug)]
pub struct App {
    server: Server,
    watching: Option<JoinHandle<()>>,
    membership: Option<FleetMembership>,
    /// Watches the files of tokens and certificates.
    _access: Watch,
    _watchdog: Watchdog,
    engine: Engine,
    grace: Duration,
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

impl App {
    /// Reads tokens and certificates, starts all actors, reads the lists that devices are taken
    /// from, and listens.
    ///
    /// # Errors
    /// [`AppError::Config`] if a token or certificate cannot be used, or everybody could ask.
    /// [`AppError::Bind`] if the address is taken, not this machine's, or not allowed.
    /// [`AppError::Nats`] if clusters are to be shared with other processes, and cannot be.
    ///
    /// # Panics
    /// Outside of an actix `System`.
    pub async fn start(config: Config, mut options: Options) -> Result<Self, AppError> {
        let access = Self::access(&config, &options)?;
        let link = match options.distributed.take() {
            Some(settings) => Some(Link::connect(settings).await?),
            None => None,
        };
        Self::begin(config, access, options, link).await
    }

    /// As [`App::start`], with the configuration that was published for the processes that it is to
    /// share a fleet with, as far as it is trusted.
    ///
    /// # Errors
    /// As [`App::start`]; [`AppError::Config`] also if it is a bad one, and [`AppError::Nats`] if there
    /// is none.
    ///
    /// # Panics
    /// Outside of an actix `System`.
    pub async fn start_published(
        settings: Distributed,
        trust: Trust,
        mut options: Options,
    ) -> Result<Self, AppError> {
        if trust == Trust::All {
            log::warn!(
                "whoever may write the published configuration can run commands here and read files and variables, as it is not signed"
            );
        }
        let (link, publication) = Link::connect_published(settings, trust).await?;
        options.source = Source::published(publication.clone());
        let exposure = options.exposure();
        let started = publication.start(|| {
            let (config, name) = options.source.load()?;
            let access = Access::new(&config, &options.source, exposure)?;
            Ok((config, name, access))
        });
        let (config, name, access) = started.map_err(AppError::Config)?;
        log_configured(&config, &name);
        Self::begin(config, access, options, Some(link)).await
    }

    fn access(config: &Config, options: &Options) -> Result<Access, AppError> {
        Access::new(config, &options.source, options.exposure()).map_err(AppError::Config)
    }

    async fn begin(
        config: Config,
        access: Access,
        options: Options,
        link: Option<Link>,
    ) -> Result<Self, AppError> {
        let threads = available_parallelism().map_or(1, NonZeroUsize::get);
        let elsewhere = link.as_ref().map(Link::elsewhere);
        let engine = Engine::begin(
            config,
            options.source,
            threads,
            options.failpoints,
            elsewhere,
        );
        engine.reload.guard(access.clone());
        engine.reload.discover().await;
        engine.reload.note_demonstration();
        let address = SocketAddr::new(options.bind, options.port);
        let watchdog = Watchdog::start(&engine.fleet.handle(), options.watchdog);
        let workers = link.as_ref().map(Link::workers);
        let handles = (
            engine.collector(),
            engine.reload(),
            watchdog.handle(),
            workers,
        );
        let server = Server::start(address, handles, access.clone(), options.debug)
            .map_err(|source| AppError::Bind { address, source })?;
        // Only now, so that nobody waits for a worker that does not come up.
        let membership = match link {
            Some(link) => {
                let (fleet, collector) = (engine.fleet.handle(), engine.collector());
                let joins = link.join(fleet, collector, engine.reload(), watchdog.handle());
                Some(joins.await?)
            }
            None => None,
        };
        let watch = |seen| actix_web::rt::spawn(engine.reload().watch(seen));
        let watching = options.watch.map(watch);
        log::info!(addr:% = server.addr(); "listening");
        Ok(Self {
            server,
            watching,
            membership,
            _access: access.watch(),
            _watchdog: watchdog,
            engine,
            grace: options.grace,
        })
    }

    /// Where it listens, with the port that was picked.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Its actors.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Serves until `stop` resolves, then refuses new requests and waits for those under way, up
    /// to the grace period or until `force` resolves; then ends the actors.
    pub async fn run_until(mut self, stop: impl Future, force: impl Future) -> Ended {
        tokio::select! {
            _ = stop => {}
            () = self.server.ended() => {
                log::error!("the HTTP server ended");
                return Ended::Failed;
            }
        }
        if let Some(watching) = self.watching.take() {
            watching.abort();
        }
        self.engine.reload.stop();
        if let Some(mut membership) = self.membership.take() {
            // A second signal that comes meanwhile is heard below.
            tokio::select! {
                () = membership.leave() => {}
                () = tokio::time::sleep(self.grace) => {}
            }
        }
        let collector = self.engine.collector();
        collector.close();
        let waiting = collector.waiting();
        log::info!(waiting, grace_ms = millis(self.grace); "stopping");
        let mut forced = false;
        let mut force = std::pin::pin!(force);
        let mut drained = std::pin::pin!(self.server.stop());
        let ended = tokio::select! {
            () = &mut drained => Ended::Drained,
            () = tokio::time::sleep(self.grace) => Ended::CutOff,
            _ = &mut force => {
                forced = true;
                Ended::CutOff
            }
        };
        let waiting = collector.waiting();
        if ended == Ended::CutOff {
            // Those that wait hear it, if they still listen.
            collector.cut_off();
            tokio::time::timeout(FLUSH_LIMIT, drained).await.ok();
        }
        // By the threads that opened them, so before these end.
        let _no_sessions = if forced {
            None
        } else {
            tokio::select! {
                ended = crate::drivers::end_sessions(SESSIONS_LIMIT) => Some(ended),
                _ = force => {
                    forced = true;
                    None
                }
            }
        };
        if !forced && !self.engine.fleet.shut_down(SHUTDOWN_LIMIT).await {
            log::warn!(limit_ms = millis(SHUTDOWN_LIMIT); "an actor does not end, its thread is blocked");
        }
        let metrics = collector.metrics();
        let (collects, restarts) = (metrics.collects(), metrics.restarts());
        let drained = ended == Ended::Drained;
        log::info!(drained, waiting, collects, restarts; "stopped");
        ended
    }
}

/// Says in the log what will be served.
pub(crate) fn log_configured(config: &Config, name: &str) {
    let (clusters, devices) = (config.clusters.len(), config.devices());
    let simulated = config.simulated();
    log::info!(config = name, clusters, devices, simulated; "configured");
}

/// Whether a service with this configuration would start on such an address, as far as tokens and
/// certificates are concerned.
///
/// # Errors
/// As [`App::start`] with [`AppError::Config`].
pub fn check_access(
    config: &Config,
    source: &Source,
    exposure: Exposure,
) -> Result<(), ConfigError> {
    Access::new(config, source, exposure).map(|_| ())
}

/// What a valid configuration needs from outside, as far as it is there now.
#[derive(Debug)]
pub struct Readiness {
    /// The lists that devices are taken from.
    pub lists: Vec<DiscoveryState>,
    /// Why secrets cannot be read, if so; what was read never stands there.
    pub secrets: Vec<String>,
    /// How many devices are simulated, those of lists included.
    pub simulated: usize,
}

/// Reads the secrets and the lists that a configuration names, and asks none of the devices.
///
/// # Panics
/// Outside of an actix `System`.
pub async fn check_readiness(config: Config) -> Readiness {
    let secrets = crate::net::secret::unreadable(&config.secrets()).await;
    if config.discoveries.is_empty() {
        return Readiness {
            lists: Vec::new(),
            secrets,
            simulated: config.simulated(),
        };
    }
    let engine = Engine::for_one_roll_call(config, &Scope::default(), 1).await;
    let (simulated, _) = engine.collector.simulated();
    Readiness {
        lists: engine.reload.discoveries(),
        secrets,
        simulated,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::FutureExt as _;
    use futures::future::{BoxFuture, ready};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::domain::{ClusterId, Fault, FaultKind, Hold};
    use crate::engine::remote::{Lease, RemoteCollect};
    use crate::engine::remote_state::{RemoteClusterState, StateQuery};

    #[actix::test]
    async fn health_needs_none_of_the_threads_that_answer_requests() {
        let config =
            Config::parse(Path::new("x"), "[[clusters]]\nid = 1\nnodes = \"1\"\n").unwrap();
        let source = Source::new(None);
        let exposure = Options::default().exposure();
        let access = Access::new(&config, &source, exposure).unwrap();
        let engine = Engine::start(config, source, 1, None);
        let watchdog = Watchdog::start(&engine.fleet.handle(), WatchdogSettings::default());
        let handles = (engine.collector(), engine.reload(), watchdog.handle(), None);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // There is none.
        let server = Server::start_on(0, address, handles, access, false).unwrap();
        let ask = async |path: &str| {
            let mut stream = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok();
            String::from_utf8(answer).unwrap()
        };
        for path in ["/healthz", "/readyz", "/healthz?verbose"] {
            let answer = ask(path).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        }
        assert_eq!(ask("/test").await, "");
    }

    #[derive(Debug)]
    struct Nowhere;

    impl Elsewhere for Nowhere {
        fn collect(&self, _: RemoteCollect) {}

        fn withdraw(&self, _: u64, _: &ClusterId, _: &Fault) {}

        fn look(&self, _: StateQuery) -> BoxFuture<'static, Option<RemoteClusterState>> {
            ready(None).boxed()
        }

        fn reset(&self, _: StateQuery, _: String) -> BoxFuture<'static, Result<Vec<Hold>, String>> {
            ready(Err(String::new())).boxed()
        }

        fn reserve_force(
            &self,
            _: StateQuery,
        ) -> BoxFuture<'static, Option<Result<bool, Duration>>> {
            ready(None).boxed()
        }
    }

    #[derive(Debug)]
    struct Held(AtomicBool);

    impl Lease for Held {
        fn holds(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// As after a pause: nothing was told that it is over.
    #[actix::test]
    async fn no_device_is_asked_when_the_lease_is_over() {
        let text = "[lookup]\nlatency = \"0s\"\nscript = [\"refused\"]\n\
                    [[clusters]]\nid = 1\nnodes = \"1-3\"\n";
        let config = Config::parse(Path::new("x"), text).unwrap();
        let elsewhere = Some(Arc::new(Nowhere) as Arc<dyn Elsewhere>);
        let engine = Engine::begin(config, Source::new(None), 0, None, elsewhere);
        let (fleet, collector) = (engine.fleet.handle(), engine.collector());
        let cluster = ClusterId::parse("1").unwrap();
        let why = Fault::new(FaultKind::Unreachable, "over");
        let take = |holds| {
            let held = Arc::new(Held(AtomicBool::new(holds)));
            let lease = Arc::clone(&held) as Arc<dyn Lease>;
            fleet.take(&[(cluster.clone(), lease)]);
            held
        };
        let kinds = async || {
            let collection = collector.collect().await.unwrap();
            let faults = collection.faults();
            faults
                .map(|(_, _, _, fault)| fault.kind())
                .collect::<Vec<_>>()
        };
        let held = take(true);
        assert_eq!(kinds().await, [FaultKind::Refused; 3]);
        held.0.store(false, Ordering::Relaxed);
        assert_eq!(kinds().await, [FaultKind::Unreachable; 3]);
        assert_eq!(
            collector.changes(None).1,
            3,
            "that says nothing of the devices"
        );
        fleet.stop_clusters(std::slice::from_ref(&cluster), why);
        take(true);
        assert_eq!(kinds().await, [FaultKind::Refused; 3], "it is held again");
    }
}
