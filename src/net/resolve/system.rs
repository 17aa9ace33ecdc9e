//! What this machine says of names: `/etc/resolv.conf` and `/etc/hosts`, read anew when they change.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};

use crate::domain::DnsSettings;
use crate::net::files::{self, FileError, Stamp};

/// Answers that are kept at most, by their TTL; a name of both families has two.
const CACHED_ANSWERS: u64 = 32 << 10;

/// Questions that wait on one TCP connection at most; more are asked a moment later.
const QUESTIONS_A_CONNECTION: usize = 512;

/// The largest file that is read, in bytes.
const MAX_FILE_LEN: u64 = 16 << 20;

/// How long one of them may take: names wait for it.
const LIMIT: Duration = Duration::from_secs(1);

/// Where the system's files are.
#[derive(Debug, Clone)]
pub(super) struct ResolverFiles {
    pub(super) resolv_conf: PathBuf,
    pub(super) hosts: PathBuf,
}

impl Default for ResolverFiles {
    fn default() -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
        }
    }
}

/// How names are resolved for the time being.
#[derive(Debug, Clone)]
pub(super) struct System {
    settings: Arc<DnsSettings>,
    resolv_conf: Option<Stamp>,
    hosts_file: Option<Stamp>,
    pub(super) hosts: Arc<Hosts>,
    /// Why the file could not be read the last time, if so: it is read again at the next look.
    hosts_error: Option<String>,
    pub(super) servers: Arc<Servers>,
}

/// Whom to ask, with what they have answered.
pub(super) struct Servers {
    /// Why there is nobody to ask, if so.
    pub(super) nobody: Option<String>,
    pub(super) resolver: TokioResolver,
    search: Vec<Name>,
    /// A name with so many dots is asked for as it stands first.
    ndots: usize,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers")
            .field("nobody", &self.nobody)
            .field("search", &self.search)
            .field("ndots", &self.ndots)
            .finish_non_exhaustive()
    }
}

impl System {
    /// What `known` is now; what has not changed of it stays, with all cached answers.
    pub(super) async fn read(
        known: Option<&Self>,
        settings: &Arc<DnsSettings>,
        files: &ResolverFiles,
    ) -> io::Result<Self> {
        let is_read = settings.servers.is_empty();
        // Before the files are read, so that no change is missed in between.
        let (resolv_conf, hosts_file) = futures::join!(
            async {
                match is_read {
                    true => Some(files::stamp(&files.resolv_conf, LIMIT).await.ok()),
                    false => None,
                }
            },
            async { files::stamp(&files.hosts, LIMIT).await.ok() },
        );
        // A file system that does not answer leaves all as it was, if there was something.
        let is_same = |known: Option<Stamp>, now: Option<Stamp>| now.is_none() || known == now;
        let servers = match known {
            Some(it)
                if it.settings == *settings
                    && it.servers.nobody.is_none()
                    && resolv_conf.is_none_or(|now| is_same(it.resolv_conf, now)) =>
            {
                Arc::clone(&it.servers)
            }
            _ => {
                let servers = Servers::new(settings, &files.resolv_conf).await?;
                let known = known.and_then(|it| it.servers.nobody.as_ref());
                match &servers.nobody {
                    Some(error) if Some(error) != known => {
                        log::warn!(error; "no usable DNS servers");
                    }
                    None if known.is_some() => log::info!("there are usable DNS servers"),
                    Some(_) | None => {}
                }
                Arc::new(servers)
            }
        };
        let mut hosts_error = None;
        let said = known.and_then(|it| it.hosts_error.as_ref());
        let path = files.hosts.display();
        let hosts = match known {
            Some(it) if it.hosts_error.is_none() && is_same(it.hosts_file, hosts_file) => {
                Arc::clone(&it.hosts)
            }
            _ => match files::read(&files.hosts, MAX_FILE_LEN, LIMIT).await {
                Ok(bytes) => {
                    let mut hosts = Hosts::default();
                    hosts.read_hosts_conf(&bytes[..])?;
                    Arc::new(hosts)
                }
                Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                    Arc::default()
                }
                Err(error) => {
                    let error = error.cause();
                    if said != Some(&error) {
                        log::warn!(path:%, error; "cannot read the hosts file");
                    }
                    hosts_error = Some(error);
                    known.map(|it| Arc::clone(&it.hosts)).unwrap_or_default()
                }
            },
        };
        if said.is_some() && hosts_error.is_none() {
            log::info!(path:%; "the hosts file can be read");
        }
        let stamp = |now: Option<Stamp>, known: Option<Stamp>| now.or(known);
        Ok(Self {
            settings: Arc::clone(settings),
            resolv_conf: stamp(resolv_conf.flatten(), known.and_then(|it| it.resolv_conf)),
            hosts_file: stamp(hosts_file, known.and_then(|it| it.hosts_file)),
            hosts,
            hosts_error,
            servers,
        })
    }

    /// Whether it was made by these settings.
    pub(super) fn is_by(&self, settings: &DnsSettings) -> bool {
        *self.settings == *settings
    }

    /// What the hosts file has of a name, in both families.
    pub(super) fn host(&self, name: &Name) -> Vec<IpAddr> {
        let of = |kind| {
            let query = Query::query(name.to_lowercase(), kind);
            self.hosts.lookup_static_host(&query)
        };
        [RecordType::AAAA, RecordType::A]
            .into_iter()
            .filter_map(of)
            .flat_map(|found| {
                let records = found.answers().iter();
                records
                    .filter_map(|it| it.data.ip_addr())
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

impl Servers {
    async fn new(settings: &DnsSettings, resolv_conf: &Path) -> io::Result<Self> {
        let mut nobody = None;
        let (config, mut options) = if settings.servers.is_empty() {
            let parsed = files::read(resolv_conf, MAX_FILE_LEN, LIMIT)
                .await
                .map_err(|error| error.cause())
                .and_then(|bytes| parse_resolv_conf(bytes).map_err(|error| error.to_string()));
            match parsed {
                Ok((config, mut options)) => {
                    // There as everywhere it is the attempts in all, here those after the first.
                    options.attempts = options.attempts.saturating_sub(1);
                    // `timeout:0` would leave a server no time at all.
                    options.timeout = options.timeout.max(Duration::from_secs(1));
                    (config, options)
                }
                Err(error) => {
                    nobody = Some(format!("{}: {error}", resolv_conf.display()));
                    Default::default()
                }
            }
        } else {
            let servers = settings.servers.iter().map(|server| {
                let mut ways = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                for way in &mut ways {
                    way.port = server.port();
                }
                NameServerConfig::new(server.ip(), true, ways)
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            let mut options = ResolverOpts::default();
            // As for the system's: those after the first.
            options.attempts = 1;
            (config, options)
        };
        if let Some(timeout) = settings.timeout {
            options.timeout = timeout;
        }
        if let Some(attempts) = settings.attempts {
            options.attempts = attempts.saturating_sub(1);
        }
        options.cache_size = CACHED_ANSWERS;
        options.max_active_requests = QUESTIONS_A_CONNECTION;
        // It is looked into here, and only when it changes.
        options.use_hosts_file = ResolveHosts::Never;
        let ndots = options.ndots;
        let mut search = config.search().to_vec();
        if search.is_empty() {
            search.extend(config.domain().cloned());
        }
        let provider = TokioRuntimeProvider::default();
        let resolver = TokioResolver::builder_with_config(config, provider)
            .with_options(options)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self {
            nobody,
            resolver,
            search,
            ndots,
        })
    }

    /// What to ask for, one after the other: `name` as it stands, and within the search domains.
    pub(super) fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut whole = name.clone();
        whole.set_fqdn(true);
        if name.is_fqdn() || name.is_localhost() {
            return vec![whole];
        }
        let within = self
            .search
            .iter()
            .filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut names: Vec<Name> = within.collect();
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let at = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(at, whole);
        names
    }
}
