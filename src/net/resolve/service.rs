//! The thread on which all names are resolved, and how one is.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, timeout};

use super::order;
use super::query::{ResolveError, ResolverRoom, SrvTarget, place};
use super::system::{ResolverFiles, Servers, System};
use crate::domain::DnsSettings;
use crate::net::error::lack;

/// How often the system's files are looked at, when names are asked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long the addresses of one family wait for those of the other (RFC 8305, section 3): there
/// are servers that never answer for one of them.
const OTHER_FAMILY: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct ResolverService {
    pub(super) runtime: Handle,
    files: ResolverFiles,
    /// With when it was looked at.
    system: Mutex<Option<(Instant, System)>>,
    /// Held by whoever looks.
    turn: tokio::sync::Mutex<()>,
}

impl ResolverService {
    /// Starts the thread, which runs as long as the process.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let service = Self::new(runtime.handle().clone(), ResolverFiles::default());
        let thread = std::thread::Builder::new().name("dns".to_owned());
        thread.spawn(move || runtime.block_on(std::future::pending::<()>()))?;
        Ok(service)
    }

    fn new(runtime: Handle, files: ResolverFiles) -> Self {
        Self {
            runtime,
            files,
            system: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// The addresses of a host, the best first; at least one. Takes a place in `room` to ask.
    pub(super) async fn addresses(
        &self,
        host: &str,
        settings: &Arc<DnsSettings>,
        room: ResolverRoom,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let (name, system) = self.begin(host, settings).await?;
        let mut addresses = system.host(&name);
        if addresses.is_empty() {
            // Not before: those of the hosts file wait for nobody.
            let _place = place(room)
                .await
                .map_err(|error| ResolveError::here(host, &error))?;
            let servers = &system.servers;
            let ask = |name| both_families(Arc::clone(servers), name);
            addresses = search(host, &name, servers, "address", ask).await?;
        }
        let mut seen = HashSet::new();
        addresses.retain(|&address| seen.insert(address));
        order::sort(&mut addresses);
        Ok(addresses)
    }

    /// The targets of an SRV name, in the order in which [`super::srv`] gives them.
    pub(super) async fn srv(
        &self,
        host: &str,
        settings: &Arc<DnsSettings>,
        room: ResolverRoom,
    ) -> Result<Vec<SrvTarget>, ResolveError> {
        let (name, system) = self.begin(host, settings).await?;
        let _place = place(room)
            .await
            .map_err(|error| ResolveError::here(host, &error))?;
        let servers = &system.servers;
        let ask = |name| targets(Arc::clone(servers), name);
        let mut targets = search(host, &name, servers, "SRV record", ask).await?;
        targets.sort_by(|a, b| {
            let key = |it: &SrvTarget| (it.priority, std::cmp::Reverse(it.weight));
            key(a)
                .cmp(&key(b))
                .then_with(|| a.host.cmp(&b.host))
                .then(a.port.cmp(&b.port))
        });
        targets.dedup();
        Ok(targets)
    }

    async fn begin(
        &self,
        host: &str,
        settings: &Arc<DnsSettings>,
    ) -> Result<(Name, System), ResolveError> {
        let name =
            Name::from_str_relaxed(host).map_err(|error| ResolveError::no_name(host, &error))?;
        let system = self.system(settings).await;
        Ok((
            name,
            system.map_err(|error| ResolveError::here(host, &error))?,
        ))
    }

    /// How names are resolved now; looks at the system's files if that was a while ago.
    async fn system(&self, settings: &Arc<DnsSettings>) -> io::Result<System> {
        if let Some(system) = self.fresh(settings) {
            return Ok(system);
        }
        let known = self.lock().as_ref().map(|(_, system)| system.clone());
        let _turn = match (self.turn.try_lock(), &known) {
            (Ok(turn), _) => turn,
            // Whoever looks may have to wait for a file system, others need not.
            (Err(_), Some(known)) if known.is_by(settings) => return Ok(known.clone()),
            (Err(_), _) => self.turn.lock().await,
        };
        if let Some(system) = self.fresh(settings) {
            return Ok(system);
        }
        let system = System::read(known.as_ref(), settings, &self.files).await?;
        *self.lock() = Some((Instant::now(), system.clone()));
        Ok(system)
    }

    fn fresh(&self, settings: &DnsSettings) -> Option<System> {
        let system = self.lock();
        let (at, system) = system.as_ref()?;
        (at.elapsed() < LOOK_EVERY && system.is_by(settings)).then(|| system.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, System)>> {
        self.system.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks by `ask` for the candidates of a name, until one has something.
async fn search<T, F: Future<Output = Result<Vec<T>, NetError>>>(
    host: &str,
    name: &Name,
    servers: &Servers,
    what: &'static str,
    ask: impl Fn(Name) -> F,
) -> Result<Vec<T>, ResolveError> {
    // What a server could not tell outweighs that another name is unknown.
    let mut worst = None;
    for candidate in servers.candidates(name) {
        let error = match ask(candidate).await {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => ResolveError::Nothing(host.to_owned(), what),
            Err(error) => explain(host, &error, servers, what),
        };
        match error {
            ResolveError::Unknown(_) => worst = worst.or(Some(error)),
            ResolveError::Nothing(..) => worst = worst.filter(is_failure).or(Some(error)),
            ResolveError::Failed(..) => worst = Some(error),
            // Who is silent, or not there, is so for the next one too.
            ResolveError::Silent(_)
            | ResolveError::NotAllowed(_)
            | ResolveError::Outside(..)
            | ResolveError::NoServer(..)
            | ResolveError::NoName { .. }
            | ResolveError::Here(..) => return Err(error),
        }
    }
    Err(worst.unwrap_or_else(|| ResolveError::Unknown(host.to_owned())))
}

fn is_failure(error: &ResolveError) -> bool {
    matches!(error, ResolveError::Failed(..))
}

async fn targets(servers: Arc<Servers>, name: Name) -> Result<Vec<SrvTarget>, NetError> {
    let found = servers.resolver.lookup(name, RecordType::SRV).await?;
    let target = |data: &RData| match data {
        // A lone dot says that there is no such service (RFC 2782).
        RData::SRV(srv) if !srv.target.is_root() => Some(SrvTarget {
            host: srv.target.to_utf8().trim_end_matches('.').to_lowercase(),
            port: srv.port,
            priority: srv.priority,
            weight: srv.weight,
        }),
        _ => None,
    };
    let records = found.answers().iter();
    Ok(records.filter_map(|it| target(&it.data)).collect())
}

async fn family(servers: &Servers, name: Name, kind: RecordType) -> Result<Vec<IpAddr>, NetError> {
    let found = servers.resolver.lookup(name, kind).await?;
    let records = found.answers().iter();
    Ok(records.filter_map(|it| it.data.ip_addr()).collect())
}

/// The addresses of both families. Once there are some of one, the other has [`OTHER_FAMILY`].
async fn both_families(servers: Arc<Servers>, name: Name) -> Result<Vec<IpAddr>, NetError> {
    let v6 = Box::pin(family(&servers, name.clone(), RecordType::AAAA));
    let v4 = Box::pin(family(&servers, name, RecordType::A));
    let (first, other) = match select(v6, v4).await {
        Either::Left((v6, v4)) => (v6, Either::Left(v4)),
        Either::Right((v4, v6)) => (v4, Either::Right(v6)),
    };
    match first {
        Ok(mut found) if !found.is_empty() => {
            if let Ok(Ok(more)) = timeout(OTHER_FAMILY, other).await {
                found.extend(more);
            }
            Ok(found)
        }
        nothing => match (nothing, other.await) {
            (_, Ok(found)) if !found.is_empty() => Ok(found),
            (Ok(none), Ok(_)) => Ok(none),
            // That there is none in one family says nothing of the other, which could not be had.
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
            (Err(first), Err(other)) => Err(if is_none(&first) { other } else { first }),
        },
    }
}

/// Whether a server said that there is no such record, though there is such a name.
fn is_none(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::NoRecordsFound(it)) if it.response_code == ResponseCode::NoError)
}

/// What an error of the library means.
fn explain(host: &str, error: &NetError, servers: &Servers, what: &'static str) -> ResolveError {
    let host = host.to_owned();
    let code = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => none.response_code,
        NetError::Dns(DnsError::ResponseCode(code)) => *code,
        NetError::NoConnections if servers.nobody.is_some() => {
            let why = servers.nobody.clone().unwrap_or_default();
            return ResolveError::NoServer(host, why);
        }
        NetError::Io(error) if lack(error).is_some() => return ResolveError::here(&host, error),
        NetError::Timeout => return ResolveError::Silent(host),
        NetError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            return ResolveError::Silent(host);
        }
        other => return ResolveError::Failed(host, other.to_string()),
    };
    match code {
        ResponseCode::NXDomain => ResolveError::Unknown(host),
        ResponseCode::NoError => ResolveError::Nothing(host, what),
        ResponseCode::ServFail => ResolveError::Failed(host, "SERVFAIL".to_owned()),
        ResponseCode::Refused => ResolveError::Failed(host, "REFUSED".to_owned()),
        other => ResolveError::Failed(host, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::path::Path;

    use hickory_resolver::proto::op::Message;
    use hickory_resolver::proto::rr::Record;
    use hickory_resolver::proto::rr::rdata::SRV;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::net::resolve::resolver::{ROOM, configure, srv};

    /// A DNS server that answers every question with these.
    fn server(targets: &[(&str, u16, u16, u16)]) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let data = targets.iter().map(|&(host, port, priority, weight)| {
            let host = Name::from_ascii(host).unwrap();
            RData::SRV(SRV::new(priority, weight, port, host))
        });
        let data: Vec<RData> = data.collect();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let question = Message::from_vec(&buffer[..len]).unwrap();
                let name = question.queries[0].name().clone();
                let answers = data.iter().cloned();
                let answers = answers.map(|data| Record::from_rdata(name.clone(), 60, data));
                let mut message = question.into_response();
                message.insert_answers(answers.collect());
                socket.send_to(&message.to_vec().unwrap(), from).ok();
            }
        });
        addr
    }

    #[tokio::test]
    async fn srv_targets_come_in_a_fixed_order() {
        let addr = server(&[
            ("c.example.", 1, 20, 5),
            ("b.example.", 2, 10, 1),
            ("B.example.", 2, 10, 1),
            ("z.example.", 3, 10, 9),
            ("a.example.", 4, 10, 1),
            ("a.example.", 1, 10, 1),
            (".", 0, 0, 0),
        ]);
        configure(DnsSettings {
            servers: vec![addr],
            ..DnsSettings::default()
        });
        let found = srv("_exporter._tcp.example").await.unwrap();
        let found: Vec<_> = found.iter().map(|it| (it.host.as_str(), it.port)).collect();
        let expected = [
            ("z.example", 3),
            ("a.example", 1),
            ("a.example", 4),
            ("b.example", 2),
            ("c.example", 1),
        ];
        assert_eq!(found, expected);
        let addr = server(&[(".", 0, 0, 0)]);
        configure(DnsSettings {
            servers: vec![addr],
            ..DnsSettings::default()
        });
        let error = srv("_none._tcp.example").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the name _none._tcp.example has no SRV record"
        );
    }

    fn service(dir: &Path) -> ResolverService {
        let files = ResolverFiles {
            resolv_conf: dir.join("resolv.conf"),
            hosts: dir.join("hosts"),
        };
        ResolverService::new(Handle::current(), files)
    }

    async fn ask(service: &ResolverService, host: &str) -> Result<Vec<IpAddr>, String> {
        let settings = Arc::default();
        let found = service.addresses(host, &settings, Arc::clone(&ROOM)).await;
        found.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn without_servers_there_are_clear_faults_and_the_hosts_file() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path());
        let found = ask(&service, "localhost").await.unwrap();
        assert!(found.contains(&Ipv4Addr::LOCALHOST.into()), "{found:?}");
        let error = ask(&service, "web01.example").await.unwrap_err();
        let start = "there is no DNS server to ask for the name web01.example: ";
        assert!(error.starts_with(start), "{error}");
        assert!(error.contains("resolv.conf: No such file"), "{error}");
        let error = ask(&service, &"a".repeat(64)).await.unwrap_err();
        assert!(error.contains("a\" is no name: "), "{error}");
    }

    #[tokio::test]
    async fn changes_of_the_systems_files_are_seen_within_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path());
        let system = async || service.system(&Arc::default()).await.unwrap();
        let later = || service.lock().as_mut().unwrap().0 -= LOOK_EVERY;
        assert!(system().await.servers.nobody.is_some());
        std::fs::write(
            dir.path().join("resolv.conf"),
            "nameserver 192.0.2.53\nsearch a.example b.example\noptions ndots:2\n",
        )
        .unwrap();
        std::fs::write(
            dir.path().join("hosts"),
            "192.0.2.1 WEB01 # one\n2001:db8::1 web01\n",
        )
        .unwrap();
        assert!(
            system().await.servers.nobody.is_some(),
            "looked at all the time"
        );
        later();
        let first = system().await;
        assert_eq!(first.servers.nobody, None);
        let mut found = ask(&service, "Web01").await.unwrap();
        found.sort();
        let expected: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(found, expected);
        let candidates = |name: &str| -> Vec<String> {
            let name = Name::from_ascii(name).unwrap();
            let names = first.servers.candidates(&name);
            names.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            candidates("x.y"),
            ["x.y.a.example.", "x.y.b.example.", "x.y."]
        );
        assert_eq!(candidates("x.y.z")[..2], ["x.y.z.", "x.y.z.a.example."]);
        assert_eq!(candidates("x."), ["x."]);
        // What is as before keeps its cached answers.
        std::fs::write(dir.path().join("hosts"), "").unwrap();
        later();
        let second = system().await;
        assert!(Arc::ptr_eq(&first.servers, &second.servers));
        assert!(second.host(&Name::from_ascii("web01").unwrap()).is_empty());
        std::fs::remove_file(dir.path().join("resolv.conf")).unwrap();
        later();
        assert!(system().await.servers.nobody.is_some());
    }

    #[tokio::test]
    async fn the_hosts_file_waits_for_nobody() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hosts"), "192.0.2.1 web01\n").unwrap();
        let service = service(dir.path());
        let (settings, full) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let found = service.addresses("web01", &settings, Arc::clone(&full));
        assert_eq!(found.await.unwrap(), [Ipv4Addr::new(192, 0, 2, 1)]);
        // Not before: a paused clock does not wait for the thread that reads the file.
        tokio::time::pause();
        let other = service.addresses("web02", &settings, full);
        let waits = timeout(Duration::from_secs(60), other).await;
        assert!(waits.is_err(), "{waits:?}");
    }
}
