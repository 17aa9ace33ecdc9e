//! The connection to NATS: where, as whom, and which servers will do.

use std::collections::HashMap;
use std::future::{Ready, pending, ready};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ServerAddr};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use super::lock::lock;
use super::tls_files::TlsFiles;
use super::wire::{Names, NatsRole};
use crate::domain::Connectedness;
use crate::net::files;
use crate::net::secret;
use crate::net::web::is_loopback;

/// The oldest server that leases work on, as its first two numbers.
const OLDEST: (u32, u32) = (2, 11);

/// How long it may take to connect at the start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a silent server is asked whether it is there. After two pings without an answer it is
/// taken for gone.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The longest wait between two tries to connect again.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Before the same is said of a connection again, and how much is remembered of what was said.
const SAY_AGAIN: Duration = Duration::from_secs(600);
const MOST_SAID: usize = 64;

/// How many things that a server did not allow may wait to be heard.
const MOST_DENIED: usize = 64;

/// How many messages may wait to be read; more are dropped, and their senders' requests fail.
const WAITING: usize = 65_536;

/// The largest file of credentials or certificates, in bytes.
const MAX_FILE_LEN: u64 = 1 << 20;

/// Where the servers are, and who this is to them.
#[derive(Debug, Clone, Default)]
pub struct NatsSettings {
    /// One or more of them, such as `nats://10.0.0.1:4222,nats://10.0.0.2:4222`; without user
    /// information.
    pub url: String,
    /// Who this is.
    pub credentials: Credentials,
    /// A file of certificates of authorities to trust, PEM; the system's if there is none. With one,
    /// there is no connection without TLS.
    pub ca: Option<PathBuf>,
    /// Files of this process' own certificate and its key, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl NatsSettings {
    /// Those that TLS needs.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.certificate.iter().flat_map(|(own, key)| [own, key]);
        self.ca.iter().chain(own)
    }

    /// The files of credentials and private keys that everybody on this machine can read.
    pub async fn exposed_files(&self) -> Vec<PathBuf> {
        let credentials = match &self.credentials {
            Credentials::None => None,
            Credentials::File(path) => Some(path),
            Credentials::User { password_file, .. } => Some(password_file),
        };
        let key = self.certificate.as_ref().map(|(_, key)| key);
        let mut exposed = Vec::new();
        for path in credentials.into_iter().chain(key) {
            // One that cannot be looked at cannot be read either, which is said elsewhere.
            if files::is_open_to_all(path).await.unwrap_or(false) {
                exposed.push(path.clone());
            }
        }
        exposed
    }

    /// The servers on other machines to whom a password is sent without TLS, unless they ask for it.
    #[must_use]
    pub fn exposed_to(&self) -> Vec<String> {
        let has_password = matches!(self.credentials, Credentials::User { .. });
        let servers = self.url.split(',').map(str::trim);
        let is_exposed = |server: &&str| {
            let addr = server.parse::<ServerAddr>();
            addr.is_ok_and(|addr| !addr.tls_required() && !is_loopback(addr.host()))
        };
        match self.ca {
            None if has_password => servers.filter(is_exposed).map(str::to_owned).collect(),
            None | Some(_) => Vec::new(),
        }
    }
}

/// Who a process is to a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    None,
    /// What `nsc` writes: a file with a JWT and the seed of a key.
    File(PathBuf),
    /// A user, and the file of its password.
    User {
        /// Its name.
        name: String,
        /// The file; a line break at its end is not part of it.
        password_file: PathBuf,
    },
}

/// What to do about a bucket without a configuration, or none.
pub(super) const NOTHING: &str =
    "no configuration is published; `fleetcall publish --config FILE` does that";

/// Why a process cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// No server was reached, or none lets this process in.
    #[error("cannot connect to NATS at {url}: {why}")]
    Connect {
        /// What was asked for; there is no secret in it.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// Credentials cannot be read.
    #[error("cannot use the NATS credentials: {0}")]
    Credentials(String),
    /// The server is too old.
    #[error("the NATS server at {url} is version {version}; 2.11 or later is needed")]
    TooOld {
        /// What was asked for.
        url: String,
        /// What answered.
        version: String,
    },
    /// A bucket cannot be used.
    #[error("cannot use the NATS bucket {bucket:?}: {why}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// What went wrong.
        why: String,
    },
    /// A bucket that a configuration is to be taken from has none.
    #[error("cannot use the NATS bucket {bucket:?}: {NOTHING}")]
    Unpublished {
        /// Its name.
        bucket: String,
    },
    /// A configuration is longer than what the server takes.
    #[error(
        "the configuration has {len} bytes, and the NATS server at {url} takes {most}; write ids as \
         node sets, or take devices from lists"
    )]
    TooLong {
        /// What was asked for.
        url: String,
        /// How long it is.
        len: usize,
        /// How long it may be.
        most: usize,
    },
    /// There is no thread to guard leases.
    #[error("cannot start the thread that guards leases: {0}")]
    Thread(std::io::Error),
    /// A bucket has settings that it cannot be used with.
    #[error("the NATS bucket {bucket:?} has other settings than it needs: {faults}")]
    OtherSettings {
        /// Its name.
        bucket: String,
        /// Which ones, and what they should be.
        faults: String,
    },
    /// A bucket has leases of another length.
    #[error(
        "the entries of the NATS bucket {bucket:?} last for {theirs}, and this process says {ours}; \
         all workers need the same --lease"
    )]
    OtherLease {
        /// Its name.
        bucket: String,
        /// How long they last.
        theirs: String,
        /// How long they are to last.
        ours: String,
    },
}

/// A connection; cheap to clone, and every clone is the same.
#[derive(Debug, Clone)]
pub(super) struct NatsConnection {
    pub(super) client: Client,
    pub(super) role: NatsRole,
    history: Arc<ConnectionHistory>,
}

/// What became of a connection.
#[derive(Debug, Default)]
struct ConnectionHistory {
    /// Since when there is none, if there was one before.
    lost: Mutex<Option<Instant>>,
    /// Told when there is one again.
    again: Notify,
    /// What was said of it, and when.
    said: Mutex<HashMap<String, Instant>>,
    denied: Denied,
}

/// Tells what the server does not allow, in its words.
#[derive(Debug)]
struct Denied(broadcast::Sender<String>);

impl Default for Denied {
    fn default() -> Self {
        Self(broadcast::Sender::new(MOST_DENIED))
    }
}

impl ConnectionHistory {
    /// Whether this was not said for long: what goes on is said once, and not with every try.
    fn is_new(&self, what: &str) -> bool {
        let mut said = lock(&self.said);
        said.retain(|_, at| at.elapsed() < SAY_AGAIN);
        if said.contains_key(what) || said.len() >= MOST_SAID {
            return false;
        }
        said.insert(what.to_owned(), Instant::now());
        true
    }
}

impl NatsConnection {
    /// As one of this role, whom servers answer at subjects of its own.
    ///
    /// # Errors
    /// As [`NatsError`] says, but for buckets.
    pub(super) async fn open(
        settings: &NatsSettings,
        names: &Names,
        role: NatsRole,
    ) -> Result<Self, NatsError> {
        let url = &settings.url;
        let cannot = |why: String| NatsError::Connect {
            url: url.clone(),
            why,
        };
        let servers: Vec<ServerAddr> = url
            .split(',')
            .map(|it| it.trim().parse())
            .collect::<Result<_, std::io::Error>>()
            .map_err(|error| cannot(error.to_string()))?;
        for server in settings.exposed_to() {
            log::warn!(server; "the NATS password crosses the network in the clear");
        }
        for path in settings.exposed_files().await {
            let path = path.display();
            log::warn!(path:%; "everybody on this machine can read this secret, take the others' right to (chmod o-r)");
        }
        let history = Arc::<ConnectionHistory>::default();
        let trusts_system = settings.ca.is_none() && servers.iter().any(ServerAddr::tls_required);
        let tls_files = TlsFiles::read(settings.files(), trusts_system);
        let tls_files = tls_files.await.map_err(cannot)?;
        let changed = tls_files.clone();
        let options = ConnectOptions::new()
            .name("fleetcall")
            .custom_inbox_prefix(names.inbox(role))
            .connection_timeout(CONNECT_TIMEOUT / 2)
            .ping_interval(PING_EVERY)
            .subscription_capacity(WAITING)
            .reconnect_delay_callback(move |attempts| {
                tokio::spawn(changed.clone().refresh());
                let doubled = u32::try_from(attempts.min(8)).unwrap_or(8);
                (Duration::from_millis(10) * 2_u32.pow(doubled)).min(LONGEST_WAIT)
            })
            .event_callback(note_events(Arc::clone(&history)));
        let options = tls(options, settings, &tls_files);
        let options = authenticate(options, &settings.credentials).await?;
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, options.connect(servers));
        let client = match connect.await {
            Ok(connected) => connected.map_err(|error| cannot(chain(&error)))?,
            Err(_) => return Err(cannot("no answer in 10 s".to_owned())),
        };
        let version = client.server_info().version;
        if !is_new_enough(&version) {
            let url = url.clone();
            return Err(NatsError::TooOld { url, version });
        }
        log::info!(version, url; "connected to NATS");
        Ok(Self {
            client,
            history,
            role,
        })
    }

    /// Whether messages reach the server now.
    pub(super) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// For how long messages have not reached the server; `None` if they do.
    pub(super) fn down_for(&self) -> Option<Duration> {
        if self.is_up() {
            return None;
        }
        let lost = lock(&self.history.lost).map(|at| at.elapsed());
        Some(lost.unwrap_or_default())
    }

    /// Resolves when there is a connection again after one that is lost from now on.
    pub(super) fn again(&self) -> Notified<'_> {
        self.history.again.notified()
    }

    /// Resolves when the server says, from now on, that something with these words is not allowed.
    pub(super) async fn denied(&self, words: &str) {
        let mut denied = self.history.denied.0.subscribe();
        loop {
            match denied.recv().await {
                Ok(what) if what.contains(words) => return,
                // Of those that were missed one waits as for a server that is silent.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => pending().await,
            }
        }
    }

    /// How it does, and what went through it.
    pub(super) fn connectedness(&self) -> Connectedness {
        let counted = self.client.statistics();
        Connectedness {
            is_up: self.is_up(),
            reconnects: counted.connects.load(Ordering::Relaxed).saturating_sub(1),
            received: counted.in_bytes.load(Ordering::Relaxed),
            sent: counted.out_bytes.load(Ordering::Relaxed),
        }
    }
}

fn tls(options: ConnectOptions, settings: &NatsSettings, files: &TlsFiles) -> ConnectOptions {
    let mut options = options;
    if let Some(ca) = &settings.ca {
        let ca = files.of(ca);
        options = options.add_root_certificates(ca).require_tls(true);
    } else if let Some(system) = files.of_system() {
        options = options.add_root_certificates(system);
    }
    if let Some((certificate, key)) = &settings.certificate {
        let (certificate, key) = (files.of(certificate), files.of(key));
        options = options.add_client_certificate(certificate, key);
    }
    options
}

async fn authenticate(
    options: ConnectOptions,
    credentials: &Credentials,
) -> Result<ConnectOptions, NatsError> {
    match credentials {
        Credentials::None => Ok(options),
        Credentials::File(path) => {
            let cannot = |why: &dyn std::fmt::Display| {
                NatsError::Credentials(format!("{}: {why}", path.display()))
            };
            let read = files::read(path, MAX_FILE_LEN, files::LIMIT).await;
            let text = String::from_utf8(read.map_err(|error| cannot(&error))?);
            let text = text.map_err(|_| cannot(&"it is not UTF-8 text"))?;
            options.credentials(&text).map_err(|error| cannot(&error))
        }
        Credentials::User {
            name,
            password_file,
        } => {
            let read = files::read(password_file, MAX_FILE_LEN, files::LIMIT).await;
            let password = secret::understand(password_file, read);
            let password = password.map_err(NatsError::Credentials)?;
            Ok(options.user_and_password(name.clone(), password.expose().to_owned()))
        }
    }
}

/// An error with what caused it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Notes and logs what happens to a connection.
fn note_events(
    history: Arc<ConnectionHistory>,
) -> impl Fn(Event) -> Ready<()> + Send + Sync + 'static {
    move |event| {
        note_event(&event, &history);
        ready(())
    }
}

fn note_event(event: &Event, history: &ConnectionHistory) {
    let is_new = || history.is_new(&event.to_string());
    match event {
        Event::Connected => {
            let lost = lock(&history.lost).take();
            if let Some(lost) = lost {
                history.again.notify_waiters();
                let lost_ms = u64::try_from(lost.elapsed().as_millis()).unwrap_or(u64::MAX);
                log::info!(lost_ms; "connected to NATS again");
            }
        }
        Event::Disconnected => {
            let mut lost = lock(&history.lost);
            if lost.is_none() {
                *lost = Some(Instant::now());
                log::warn!("the connection to NATS is lost");
            }
        }
        Event::SlowConsumer(_) if history.is_new("slow") => {
            log::error!("messages from NATS were dropped, too many are waiting");
        }
        Event::ServerError(error) => {
            // An error is that nothing waits for it.
            history.denied.0.send(error.to_string()).ok();
            if is_new() {
                log::error!(error:%; "the NATS server refuses something");
            }
        }
        Event::ClientError(error) if is_new() => {
            log::warn!(error:%; "the NATS connection has an error");
        }
        Event::SlowConsumer(_) | Event::ClientError(_) => {}
        Event::LameDuckMode => log::info!("the NATS server is about to stop"),
        Event::Draining | Event::Closed => log::debug!(event:%; "the NATS connection ends"),
    }
}

/// `2.15.1`, or `2.15.1-beta.2`.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, NatsSettings, is_new_enough};

    #[test]
    fn a_password_is_exposed_without_tls_to_other_machines() {
        let settings = |url: &str| NatsSettings {
            url: url.to_owned(),
            credentials: Credentials::User {
                name: "me".to_owned(),
                password_file: "file".into(),
            },
            ..NatsSettings::default()
        };
        for fine in [
            "nats://127.0.0.1:4222",
            "nats://localhost",
            "LOCALHOST:4222",
            "nats://[::1]:4222",
            "nats://[::ffff:127.0.0.1]",
            "127.8.8.8",
            "tls://nats.example:4222",
        ] {
            assert_eq!(settings(fine).exposed_to(), Vec::<String>::new(), "{fine}");
        }
        let all = "nats://127.0.0.1, nats://nats.example:4222,10.0.0.1,tls://10.0.0.2,\
                   nats://localhost.example,nats://[2001:db8::1]:4222";
        assert_eq!(
            settings(all).exposed_to(),
            [
                "nats://nats.example:4222",
                "10.0.0.1",
                "nats://localhost.example",
                "nats://[2001:db8::1]:4222"
            ]
        );
        for fine in [
            NatsSettings {
                ca: Some("ca".into()),
                ..settings(all)
            },
            NatsSettings {
                credentials: Credentials::File("file".into()),
                ..settings(all)
            },
        ] {
            assert_eq!(fine.exposed_to(), Vec::<String>::new());
        }
    }

    #[test]
    fn servers_from_2_11_on_will_do() {
        for good in ["2.11.0", "2.15.1", "2.12.0-beta.1", "3.0.0"] {
            assert!(is_new_enough(good), "{good}");
        }
        for bad in ["2.9.10", "2.10.29", "1.4.1", "", "nonsense"] {
            assert!(!is_new_enough(bad), "{bad}");
        }
    }
}
