//! Who may do what: the tokens, the certificate and the limits in force.
//!
//! Everything that `[http]` names is read as a whole before anything is put in force: at the start,
//! where a fault ends the service; at a reload, where it refuses the reload; and when one of the
//! files changes, where it is logged and what was in force stays. It does not know what a route is.
//! Entry point: `Access`.

mod client;
mod fault;
mod handshake;
mod rate;
mod shares;
mod tls;
mod tokens;

use std::convert::Infallible;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::config::{Config, ConfigError, ConfigFault, HttpConfig, Rate, Source, Stamp};
use crate::net::files;
pub(crate) use client::client;
use rate::Limiter;
pub(crate) use shares::{ClientShare, ClientShares};
pub(crate) use tls::Material;
pub(crate) use tokens::Tokens;

/// How often the files of tokens and certificates are looked at. A change is taken when it has
/// lasted from one look to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the files with secrets of the fleet may be looked at: nothing waits for what they say.
const EXPOSED_LIMIT: Duration = Duration::from_secs(1);

/// How often it is said that a certificate is about to expire.
const WARN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Who can reach the service.
#[derive(Debug, Clone, Copy)]
pub struct Exposure {
    /// The address that it listens on.
    pub bind: IpAddr,
    /// Whether others than this machine may be let in without a token.
    pub insecure: bool,
}

impl Exposure {
    fn is_public(self) -> bool {
        !self.bind.to_canonical().is_loopback()
    }
}

/// Who may do what; cheap to clone, and every clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Access(Arc<AccessState>);

#[derive(Debug)]
struct AccessState {
    exposure: Exposure,
    in_force: ArcSwap<Policy>,
    limiter: Limiter,
    /// The limiter's time starts here.
    start: Instant,
}

/// What `[http]` says, with all that it names read.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) config: HttpConfig,
    pub(crate) tokens: Tokens,
    /// Whether only this machine can reach the service.
    pub(crate) is_local: bool,
    material: Option<Arc<Material>>,
    /// What the files of certificates looked like before they were read.
    stamps: Vec<Option<Stamp>>,
    /// The files that everybody on this machine could read when the configuration was read.
    exposed: Vec<ExposedFile>,
}

/// A file with a secret that everybody on this machine can read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ExposedFile {
    /// The key of the configuration that names it.
    key: String,
    path: PathBuf,
}

impl Access {
    /// Reads all that the configuration names. Blocks.
    ///
    /// # Errors
    /// Everything that keeps the service from starting: a token or certificate that cannot be read
    /// or used, or a service that everybody can reach and use.
    pub(crate) fn new(
        config: &Config,
        source: &Source,
        exposure: Exposure,
    ) -> Result<Self, ConfigError> {
        let policy = Policy::read(config, source, exposure).map_err(|faults| ConfigError {
            path: source.name(),
            faults,
        })?;
        if exposure.is_public() {
            if policy.tokens.is_empty() {
                warn_of_openness(exposure);
            } else if policy.material.is_none() {
                log::warn!(bind:% = exposure.bind; "tokens cross the network in the clear, `[http]` has no `tls`");
            }
        }
        policy.log();
        warn_of_exposed(&policy.exposed);
        Ok(Self(Arc::new(AccessState {
            exposure,
            in_force: ArcSwap::from_pointee(policy),
            limiter: Limiter::default(),
            start: Instant::now(),
        })))
    }

    /// What is in force at this moment.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.0.in_force.load_full()
    }

    /// As [`Access::policy`], for whoever only looks: it writes nothing that other threads read.
    pub(crate) fn peek(&self) -> impl Deref<Target = Arc<Policy>> + use<> {
        self.0.in_force.load()
    }

    /// Reads all that another configuration names. Blocks.
    ///
    /// # Errors
    /// As [`Access::new`]; also if it asks for what only a restart can do.
    pub(crate) fn prepare(
        &self,
        config: &Config,
        source: &Source,
    ) -> Result<Policy, Vec<ConfigFault>> {
        let before = self.policy();
        let tls = &config.http.tls;
        let mut faults = Vec::new();
        if before.config.tls.is_some() != tls.is_some() {
            let written = tls.as_ref().map(|tls| &tls.written);
            faults.push(ConfigFault {
                place: written.map(|written| written.place),
                key: "http.tls".to_owned(),
                message: "encryption is switched on or off by a restart, not by a reload"
                    .to_owned(),
            });
        }
        match Policy::read(config, source, self.0.exposure) {
            Ok(policy) if faults.is_empty() => Ok(policy),
            Ok(_) => Err(faults),
            Err(more) => {
                faults.extend(more);
                Err(faults)
            }
        }
    }

    /// From now on this is in force; gives the keys of the configuration that changed.
    pub(crate) fn put_in_force(&self, policy: Policy) -> Vec<&'static str> {
        let before = self.policy();
        if policy.tokens.is_empty() && !before.tokens.is_empty() {
            warn_of_openness(self.0.exposure);
        }
        let needs_restart = |config: &HttpConfig| (config.max_connections, config.request_timeout);
        if needs_restart(&before.config) != needs_restart(&policy.config) {
            log::warn!(
                "`max_connections` and `request_timeout` of [http] are used from the next start on"
            );
        }
        policy.log();
        let is_new = |it: &&ExposedFile| !before.exposed.contains(it);
        warn_of_exposed(policy.exposed.iter().filter(is_new));
        let changed = policy.config.changed(&before.config);
        self.0.in_force.store(Arc::new(policy));
        changed
    }

    /// Whether this client may ask now; else how long it has to wait.
    pub(crate) fn admit(&self, policy: &Policy, client: IpAddr) -> Result<(), Duration> {
        let rate = match policy.config.rate {
            Some(rate) => rate,
            None if policy.may_be_many(client) => return Ok(()),
            None => Rate::default(),
        };
        self.0.limiter.admit(client, rate, self.0.start.elapsed())
    }

    /// One of `all` for this client, which has at most half of them, unless it may be many; until
    /// what is given is dropped.
    pub(crate) fn share(
        &self,
        shares: &Arc<ClientShares>,
        client: IpAddr,
        all: usize,
    ) -> Option<ClientShare> {
        if self.peek().may_be_many(client) {
            return Some(ClientShare::unlimited());
        }
        shares.take(client, (all / 2).max(1))
    }

    /// Follows the files of tokens and certificates, on a thread of its own, since a disk may hang;
    /// until what it gives is dropped.
    pub(crate) fn watch(&self) -> Watch {
        let (alive, ended) = channel();
        let access = self.clone();
        let thread = std::thread::Builder::new().name("access".to_owned());
        if let Err(error) = thread.spawn(move || access.follow(&ended)) {
            log::error!(error:%; "cannot start a thread, changed tokens and certificates wait for a reload");
        }
        Watch { _alive: alive }
    }

    fn follow(&self, ended: &Receiver<Infallible>) {
        let mut last = FileStamps::default();
        // A certificate that could not be used; said once.
        let mut refused: Option<Vec<Option<Stamp>>> = None;
        let mut warned = Instant::now();
        while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            let before = self.policy();
            if warned.elapsed() > WARN_EVERY {
                warned = Instant::now();
                before.warn_of_expiry();
            }
            let config = &before.config;
            let now = FileStamps {
                tokens: tokens::look(&config.tokens),
                stamps: stamps(config),
            };
            let looks = [&last.tokens[..], &now.tokens];
            let tokens = before
                .tokens
                .after(&config.tokens, looks, config.stale_tokens);
            let is_settled = last.stamps == now.stamps && now.stamps.iter().all(Option::is_some);
            let is_new = now.stamps != before.stamps && refused.as_ref() != Some(&now.stamps);
            let material = match &config.tls {
                Some(config) if is_new && is_settled => {
                    let read = tls::read(config);
                    if let Err(faults) = &read {
                        for ConfigFault { key, message, .. } in faults {
                            log::error!(key, fault = message; "a changed certificate cannot be used, the one of before stays");
                        }
                        refused = Some(now.stamps.clone());
                    }
                    read.ok().map(Arc::new)
                }
                Some(_) | None => None,
            };
            if tokens.is_some() || material.is_some() {
                let mut policy = Policy::clone(&before);
                if let Some(tokens) = tokens {
                    policy.tokens = tokens;
                }
                if let Some(material) = material {
                    policy.material = Some(material);
                    policy.stamps = now.stamps.clone();
                }
                let policy = Arc::new(policy);
                let in_force = &self.0.in_force;
                let replaced = in_force.compare_and_swap(&before, Arc::clone(&policy));
                // Unless a reload was faster.
                if Arc::ptr_eq(&replaced, &before) {
                    policy.log();
                }
            }
            last = now;
        }
    }
}

/// What the files of tokens and certificates looked like at some time.
#[derive(Default)]
struct FileStamps {
    tokens: Vec<tokens::FoundToken>,
    stamps: Vec<Option<Stamp>>,
}

/// Ends the following of files when it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    _alive: Sender<Infallible>,
}

impl Policy {
    fn read(all: &Config, source: &Source, exposure: Exposure) -> Result<Self, Vec<ConfigFault>> {
        let config = &all.http;
        // Before they are read, so that no change is missed in between.
        let stamps = stamps(config);
        let mut faults = Vec::new();
        if config.tokens.is_empty() && exposure.is_public() && !exposure.insecure {
            let bind = exposure.bind;
            faults.push(ConfigFault {
                place: None,
                key: "http.tokens".to_owned(),
                message: format!(
                    "there is no token, and everybody who reaches {bind} could ask the fleet and reload \
                     its configuration; write tokens = [{{ name = \"grafana\", role = \"read\", token = \
                     {{ file = \"PATH\" }} }}] in [http], listen on 127.0.0.1 (--bind), or allow it by \
                     --insecure"
                ),
            });
        }
        let mut read_tls = |tls| tls::read(tls).map_err(|more| faults.extend(more)).ok();
        let material = config.tls.as_ref().and_then(&mut read_tls).map(Arc::new);
        let tokens = Tokens::read(&config.tokens).map_err(|more| faults.extend(more));
        match tokens {
            Ok(tokens) if faults.is_empty() => Ok(Self {
                config: config.clone(),
                tokens,
                is_local: !exposure.is_public(),
                material,
                stamps,
                exposed: exposed_files(all, source),
            }),
            _ => {
                faults.sort_by_key(|fault| fault.place);
                Err(faults)
            }
        }
    }

    /// Whether an address stands for more than one client: that of a proxy, or of this machine.
    fn may_be_many(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        match &self.config.proxies {
            None => client.is_loopback(),
            Some(proxies) if proxies.is_empty() => false,
            Some(proxies) => {
                client.is_loopback() || proxies.iter().any(|proxy| proxy.contains(&client))
            }
        }
    }

    fn log(&self) {
        let (tokens, refused) = self.tokens.counts();
        let refused = Some(refused).filter(|&refused| refused > 0);
        let tls = self.material.is_some();
        log::info!(tokens, refused, tls; "access");
        if let Some(material) = &self.material {
            material.log();
        }
        self.warn_of_expiry();
    }

    fn warn_of_expiry(&self) {
        if let Some(material) = &self.material {
            material.warn_of_expiry();
        }
    }
}

/// What the files of certificates look like; `None` is one whose file system does not answer. Blocks
/// for some seconds at most.
fn stamps(config: &HttpConfig) -> Vec<Option<Stamp>> {
    let paths = config.tls.iter().flat_map(|tls| {
        let client_ca = tls.client_ca.iter();
        client_ca.chain([&tls.certificate, &tls.key])
    });
    // At a time, so that a file system that hangs costs its limit once.
    let begun: Vec<_> = paths.map(|path| files::begin_stamp(path)).collect();
    begun.into_iter().map(|stamp| stamp.wait().ok()).collect()
}

/// There is no token.
fn warn_of_openness(exposure: Exposure) {
    log::warn!(bind:% = exposure.bind; "everybody who reaches this address may ask the fleet and reload its configuration");
}

/// Which files with secrets everybody on this machine can read: of tokens and private keys, of lookups and
/// lists, and the configuration itself. Blocks for some seconds at most.
fn exposed_files(config: &Config, source: &Source) -> Vec<ExposedFile> {
    let http = &config.http;
    let of = |key: &str, path: &PathBuf| (key.to_owned(), path.clone());
    let tokens = http.tokens.iter();
    let tokens = tokens.filter_map(|it| Some(of(&it.written.key, it.token.file()?)));
    let key = http.tls.iter().map(|tls| of("http.tls.key", &tls.key));
    let itself = source.file().filter(|_| config.has_inline_secrets());
    let itself = itself.map(|path| of("allow_inline_secrets", path));
    let own = tokens.chain(key).chain(itself).map(|(key, path)| {
        let look = files::OWN.begin_look_at_access(&path, files::LIMIT);
        (key, path, look)
    });
    let of_fleet = config.secret_files().into_iter().map(|(key, path)| {
        let look = files::FLEET.begin_look_at_access(&path, EXPOSED_LIMIT);
        (key, path, look)
    });
    let begun: Vec<_> = own.chain(of_fleet).collect();
    let exposed = begun.into_iter().filter_map(|(key, path, look)| {
        // One that cannot be looked at cannot be read either, which is said elsewhere.
        let is_exposed = look.wait().unwrap_or(false);
        is_exposed.then_some(ExposedFile { key, path })
    });
    exposed.collect()
}

fn warn_of_exposed<'a>(files: impl IntoIterator<Item = &'a ExposedFile>) {
    for ExposedFile { key, path } in files {
        let path = path.display();
        log::warn!(key, path:%; "everybody on this machine can read this secret, take the others' right to (chmod o-r)");
    }
}
