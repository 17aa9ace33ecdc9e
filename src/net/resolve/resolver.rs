//! The questions for names, bounded, and handed to the thread that resolves them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::query::{ResolveError, ResolverRoom, SrvTarget};
use super::service::ResolverService;
use crate::domain::{Allow, DnsSettings, HostVerdict, LookupError};
use crate::net::open_files;

/// Names that are asked for at once, in this process; fewer where few files may be open.
const AT_ONCE: usize = 1024;

pub(super) static ROOM: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(open_files::shares().names.min(AT_ONCE))));

/// One for all: a name that two clusters ask for is asked for once. Started by the first name.
static SERVICE: Mutex<Option<Arc<ResolverService>>> = Mutex::new(None);

static SETTINGS: Mutex<Option<Arc<DnsSettings>>> = Mutex::new(None);

/// Resolves by these settings from now on, in this process. Gives whether they are others.
pub(crate) fn configure(settings: DnsSettings) -> bool {
    let mut known = SETTINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let is_other = known.as_deref() != Some(&settings);
    if is_other {
        *known = Some(Arc::new(settings));
    }
    is_other
}

/// Whether `allow`, if there is one, lets a host be asked, at least at some of its addresses.
pub(crate) fn check_host(host: &str, allow: Option<&Allow>) -> Result<HostVerdict, ResolveError> {
    match allow.map_or(HostVerdict::Allowed, |allow| allow.host(host)) {
        HostVerdict::Refused => Err(ResolveError::NotAllowed(host.to_owned())),
        verdict => Ok(verdict),
    }
}

/// As [`check_host`], for a host that another process resolves: its addresses are not seen here.
pub(crate) fn check_unresolved(host: &str, allow: Option<&Allow>) -> Result<(), LookupError> {
    let verdict = check_host(host, allow);
    match verdict.map_err(|error| LookupError::NotAllowed(error.to_string()))? {
        HostVerdict::ByAddress => Err(LookupError::NotAllowed(format!(
            "the name {host} is resolved by the command itself, and `allow` of its list has no such name"
        ))),
        HostVerdict::Allowed | HostVerdict::Refused => Ok(()),
    }
}

/// The addresses of `host:port` that `allow` has, if there is one; the best first, at least one.
pub(crate) async fn resolve(
    address: &str,
    allow: Option<&Allow>,
) -> Result<Vec<SocketAddr>, ResolveError> {
    if let Ok(address) = address.parse::<SocketAddr>() {
        check_host(&address.ip().to_string(), allow)?;
        return Ok(vec![address]);
    }
    let parts = address.rsplit_once(':');
    let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let Some((host, port)) = parts else {
        return Err(ResolveError::no_name(address, &"write host:port"));
    };
    let with_port = |ip: IpAddr| SocketAddr::new(ip, port);
    let addresses = addresses(host, allow).await?;
    Ok(addresses.into_iter().map(with_port).collect())
}

/// The addresses of a host that `allow` has, if there is one; the best first, at least one. What it gives
/// is what is connected to: no name is resolved again behind it.
async fn addresses(host: &str, allow: Option<&Allow>) -> Result<Vec<IpAddr>, ResolveError> {
    let verdict = check_host(host, allow)?;
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let name = host.to_owned();
    let mut found = ask(host, |service, settings, room| async move {
        service.addresses(&name, &settings, room).await
    })
    .await?;
    if let (HostVerdict::ByAddress, Some(allow)) = (verdict, allow)
        && let Some(&first) = found.first()
    {
        found.retain(|&address| allow.has_address(address));
        if found.is_empty() {
            return Err(ResolveError::Outside(host.to_owned(), first));
        }
    }
    Ok(found)
}

/// The targets of an SRV name, such as `_exporter._tcp.example`: by priority, the heaviest first,
/// then by name. None is an error.
pub(crate) async fn srv(name: &str) -> Result<Vec<SrvTarget>, ResolveError> {
    let owned = name.to_owned();
    ask(name, |service, settings, room| async move {
        service.srv(&owned, &settings, room).await
    })
    .await
}

/// Has `work` done by the service's thread; dropping this future ends it there.
async fn ask<T, F>(
    name: &str,
    work: impl FnOnce(Arc<ResolverService>, Arc<DnsSettings>, ResolverRoom) -> F,
) -> Result<T, ResolveError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ResolveError>> + Send + 'static,
{
    let here = |error: &io::Error| ResolveError::here(name, error);
    let service = service().map_err(|error| here(&error))?;
    let settings = settings();
    let runtime = service.runtime.clone();
    // Unlike a task's handle, a set of them ends them when it is dropped.
    let mut task = JoinSet::new();
    task.spawn_on(work(service, settings, Arc::clone(&ROOM)), &runtime);
    match task.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(here(&io::Error::other(error))),
        None => Err(here(&io::Error::other("it has no task"))),
    }
}

fn settings() -> Arc<DnsSettings> {
    let settings = SETTINGS.lock().unwrap_or_else(PoisonError::into_inner);
    settings.as_ref().map(Arc::clone).unwrap_or_default()
}

fn service() -> io::Result<Arc<ResolverService>> {
    let mut service = SERVICE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(service) = &*service {
        return Ok(Arc::clone(service));
    }
    let started = Arc::new(ResolverService::start()?);
    *service = Some(Arc::clone(&started));
    Ok(started)
}

/// The same for HTTP clients.
pub(crate) struct Resolver(pub(crate) Option<Arc<Allow>>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = self.0.clone();
        Box::pin(async move {
            // The port is whoever connects's.
            let with_port = |ip: IpAddr| SocketAddr::new(ip, 0);
            let addresses = addresses(name.as_str(), allow.as_deref()).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(with_port));
            Ok(addresses)
        })
    }
}
