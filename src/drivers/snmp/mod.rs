//! The `snmp` driver: asks an SNMP agent for what the schema of facts has, in version 2c or 3.
//!
//! Nothing is held for a device between lookups but its engine's id and clock, which spares
//! discovery the next time, and the keys that the engine accepted. [`transport`] is the socket, [`session`] sends again and lets pass,
//! [`usm`] and [`keys`] are the security of version 3, [`message`] the bytes, [`walk`] reads
//! tables, [`mibs`] knows what they mean. None of them knows the timeout: it drops the lookup.

#[cfg(fuzzing)]
pub(super) mod fuzz;
mod keys;
mod message;
mod mibs;
mod session;
mod transport;
mod usm;
mod walk;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, timeout};

use crate::domain::{
    Allow, Facts, LocalReason, LookupError, Secret, SecretSource, SnmpDigest, SnmpSecurity,
    SnmpSettings, SnmpUser,
};
use crate::drivers::Call;
use crate::net::resolve::resolve;
use crate::net::secret;
use session::{Security, SnmpSession};
use transport::Transport;
use usm::{AuthKey, User, UsmCredentials, UsmEngine};

/// The shortest password that RFC 3414 allows, in characters.
const MIN_PASSWORD_LEN: usize = 8;

/// A group of agents.
#[derive(Debug)]
pub(crate) struct Snmp {
    settings: SnmpSettings,
    allow: Option<Arc<Allow>>,
    /// Of version 3, by address, so as many as the group has devices at most.
    agents: Mutex<HashMap<String, Agent>>,
    /// Making a key of a password takes milliseconds: the last one is kept, with its password.
    auth_key: KeptEngine,
    privacy_key: KeptEngine,
}

/// What is known of an agent from the lookups before.
struct Agent {
    /// Taken by the lookup that runs, and put back if it succeeds: an engine that has changed may
    /// ignore what is meant for the one before.
    engine: Option<UsmEngine>,
    /// What it last gave facts for.
    accepted: UsmCredentials,
}

// Keys are secret.
impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let engine = &self.engine;
        f.debug_struct("Agent")
            .field("engine", engine)
            .finish_non_exhaustive()
    }
}

impl Snmp {
    pub(super) fn new(settings: SnmpSettings, allow: Option<Arc<Allow>>) -> Self {
        Self {
            settings,
            allow,
            agents: Mutex::default(),
            auth_key: KeptEngine::default(),
            privacy_key: KeptEngine::default(),
        }
    }

    /// Asks a name's addresses one after the other, the best first, while nobody is there: that one
    /// refuses, no way leads there, or nothing at all comes within its share of the time.
    pub(super) async fn lookup(&self, call: Call<'_>) -> Result<Facts, LookupError> {
        let address = call.expand(&self.settings.address);
        let agents = resolve(&address, self.allow.as_deref()).await;
        let agents = agents.map_err(|error| error.explain(&format!("cannot ask {address}")))?;
        let mut nobody = None;
        for (place, &agent) in agents.iter().enumerate() {
            let heard = Arc::new(AtomicBool::new(false));
            let mut asking = pin!(self.ask(&address, agent, Arc::clone(&heard), call.deadline));
            let left = u32::try_from(agents.len() - place).unwrap_or(u32::MAX);
            let share = call.deadline.saturating_duration_since(Instant::now()) / left;
            // An agent that is slow looks like nobody until something comes; then it has all the time.
            let result = match timeout(share, &mut asking).await {
                Ok(result) => result,
                Err(_) if left == 1 || heard.load(Ordering::Relaxed) => asking.await,
                Err(_) => continue,
            };
            match result {
                Err(error @ (LookupError::Refused(_) | LookupError::Unreachable(_))) => {
                    nobody = Some(error);
                }
                result => return result,
            }
        }
        Err(nobody.unwrap_or_else(|| {
            LookupError::Unreachable(format!("cannot ask {address}: the name has no address"))
        }))
    }

    /// Asks one agent; `heard` says when anything has come from there.
    async fn ask(
        &self,
        address: &str,
        agent: SocketAddr,
        heard: Arc<AtomicBool>,
        deadline: Instant,
    ) -> Result<Facts, LookupError> {
        let (security, user, was_accepted) = match &self.settings.security {
            SnmpSecurity::Community(source) => {
                let community = secret::read(source, deadline).await?;
                (Security::Community(community), None, false)
            }
            SnmpSecurity::User(user) => {
                let credentials = self.credentials(user, deadline).await?;
                let (mut engine, mut was_accepted) = (None, false);
                if let Some(agent) = self.agents().get_mut(address) {
                    engine = agent.engine.take();
                    was_accepted = agent.accepted == credentials;
                }
                let user = User::new(credentials.clone(), engine);
                let security = Security::User(Box::new(user));
                (security, Some(credentials), was_accepted)
            }
        };
        let transport = Transport::open(agent, heard).await?;
        let mut session = SnmpSession::new(transport, security, self.settings.retransmit);
        match mibs::gather(&mut session).await {
            Ok(facts) => {
                if let Some(accepted) = user {
                    let engine = session.engine().cloned();
                    let agent = Agent { engine, accepted };
                    self.agents().insert(address.to_owned(), agent);
                }
                Ok(facts.into())
            }
            Err(LookupError::Auth(what)) if was_accepted && !session.is_proven() => {
                Err(LookupError::UnprovenAuth(format!(
                    "{what} (it says so without a digest, and has accepted the same before)"
                )))
            }
            Err(error) => Err(error),
        }
    }

    fn agents(&self) -> std::sync::MutexGuard<'_, HashMap<String, Agent>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn credentials(
        &self,
        user: &SnmpUser,
        deadline: Instant,
    ) -> Result<UsmCredentials, LookupError> {
        let name = user.name.as_str().into();
        let Some(auth) = &user.auth else {
            return Ok(UsmCredentials { name, auth: None });
        };
        let read = password(&auth.password, "auth_password", deadline).await?;
        let master = self.auth_key.of(auth.digest, read);
        let mut key = AuthKey {
            digest: auth.digest,
            master,
            privacy: None,
        };
        if let Some(privacy) = &auth.privacy {
            let read = password(&privacy.password, "privacy_password", deadline).await?;
            let master = self.privacy_key.of(auth.digest, read);
            key.privacy = Some((privacy.cipher, master));
        }
        let auth = Some(key);
        Ok(UsmCredentials { name, auth })
    }
}

async fn password(
    source: &SecretSource,
    setting: &str,
    deadline: Instant,
) -> Result<Secret, LookupError> {
    let password = secret::read(source, deadline).await?;
    if password.expose().chars().count() < MIN_PASSWORD_LEN {
        let text =
            format!("the `{setting}` has fewer than {MIN_PASSWORD_LEN} characters (RFC 3414)");
        return Err(LookupError::Local(LocalReason::Secret, text));
    }
    Ok(password)
}

/// The key of the password that was used last.
#[derive(Default)]
struct KeptEngine(Mutex<Option<(Secret, Arc<[u8]>)>>);

impl KeptEngine {
    fn of(&self, digest: SnmpDigest, password: Secret) -> Arc<[u8]> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((known, key)) if *known == password => Arc::clone(key),
            _ => {
                let key: Arc<[u8]> = keys::master(digest, password.expose()).into();
                *kept = Some((password, Arc::clone(&key)));
                key
            }
        }
    }
}

// Keys are secret.
impl std::fmt::Debug for KeptEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}
