//! Sessions on controllers, which always end.
//!
//! A controller has few sessions to give, and keeps one that is not ended for half an hour. So each is
//! opened and ended by a task of its own, which goes on when the lookup is dropped, at whatever point:
//! it sees the answer to a login that its lookup did not wait for. At most one session is open on a
//! controller at a time; the next lookup waits for its end. Entry points: [`Session::open`] and
//! [`end_all`].

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::{Future, pending};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::Level;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, Url};
use serde_json::json;
use tokio::sync::{OwnedMutexGuard, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::report::{link, text};
use super::service::{Resource, Service, resolve};
use crate::domain::{ClusterId, DeviceId, DriverKind, SecretSource};
use crate::lookup::web::{Answer, Request, Web};
use crate::lookup::{self, LookupError, said, secret};
use crate::open_files;

/// How long a login is waited for after its lookup was given up, and how long a logout may take.
const LIMIT: Duration = Duration::from_secs(10);

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// How many tasks have a session, or are about to.
static OPEN: LazyLock<watch::Sender<usize>> = LazyLock::new(watch::Sender::default);

/// Whether all sessions are to end, and no other is to be opened.
static ENDING: LazyLock<watch::Sender<bool>> = LazyLock::new(watch::Sender::default);

/// By their addresses, the controllers on which a session is, or is waited for.
static CONTROLLERS: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>> =
    Mutex::new(BTreeMap::new());

/// By their addresses, the controllers on which sessions may have been left since the last one that
/// ended.
static LEFT_ON: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// How many controllers that remembers: lists of devices may name ever others.
const MAX_LEFT_ON: usize = 10_000;

/// What a session begins with.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: SecretSource,
}

/// A session of a lookup; when it is dropped, its task logs out.
#[derive(Debug)]
pub(super) struct Session {
    token: HeaderValue,
    /// Tells the task that it is not needed any more.
    _needed: oneshot::Sender<Infallible>,
}

impl Session {
    /// Opens a session, when there is no other one of ours on the controller.
    pub(super) async fn open(
        web: &Arc<Web>,
        service: &Service<'_>,
        login: &Login,
        root: &Resource,
    ) -> Result<Self, LookupError> {
        // Asked for before the password is sent to whatever is there.
        let sessions = sessions(root).ok_or_else(|| {
            LookupError::Protocol("it has no sessions; write `session = false`".to_owned())
        })?;
        let url = service.resolve(&sessions)?;
        let call = service.call;
        let password = secret::read(&login.password, call.deadline).await?;
        let body = json!({"UserName": login.username, "Password": password.expose()});
        let turn = Turn::wait_for(service.root.origin().ascii_serialization()).await;
        let Some(open) = Open::count() else {
            return pending().await;
        };
        let task = Task {
            web: Arc::clone(web),
            client: service.client().await?.clone(),
            root: service.root.clone(),
            headers: service.headers.clone(),
            cluster: call.cluster.clone(),
            device: call.device.clone(),
            give_up_at: call.deadline + LIMIT,
            turn,
            _open: open,
        };
        let (tell, opened) = oneshot::channel();
        let (needed, is_needed) = oneshot::channel();
        tokio::spawn(task.run(url, body.to_string().into(), tell, is_needed));
        let token = opened.await.unwrap_or_else(|_| {
            let text = "the task that logs in ended without an answer".to_owned();
            Err(LookupError::Failed(text))
        })?;
        Ok(Self {
            token,
            _needed: needed,
        })
    }

    /// What each request of the session shows.
    pub(super) fn header(&self) -> (HeaderName, HeaderValue) {
        (TOKEN, self.token.clone())
    }

    /// Asks within the session. Never ends if all sessions are to: what is answered after a logout
    /// says nothing of the controller.
    pub(super) async fn ask<T>(&self, asking: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = ending() => pending().await,
            answer = asking => answer,
        }
    }
}

/// What opens one session, and ends it.
struct Task {
    web: Arc<Web>,
    client: Client,
    root: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
    cluster: ClusterId,
    device: DeviceId,
    /// When a login is not waited for any more.
    give_up_at: Instant,
    turn: Turn,
    _open: Open,
}

impl Task {
    async fn run(
        mut self,
        url: Url,
        body: Vec<u8>,
        tell: oneshot::Sender<Result<HeaderValue, LookupError>>,
        is_needed: oneshot::Receiver<Infallible>,
    ) {
        let limit = self.give_up_at;
        let (token, session) = match timeout_at(limit, self.log_in(url, body)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                let Self {
                    cluster, device, ..
                } = &self;
                log::debug!(cluster:%, device:%, error:%; "cannot log in to a Redfish service");
                // The lookup may be gone.
                tell.send(Err(error)).ok();
                return;
            }
            Err(_) => {
                return self.left("logging in: no answer");
            }
        };
        self.headers.push((TOKEN, token.clone()));
        if tell.send(Ok(token)).is_ok() {
            tokio::select! {
                // Dropped, as nothing is ever sent.
                _ = is_needed => {}
                () = ending() => {}
            }
        }
        // The lookup has given its own back.
        let _files = open_files::take(lookup::open_files(DriverKind::Redfish));
        let error = match timeout(LIMIT, self.send(Method::DELETE, session, Vec::new())).await {
            Ok(Ok(answer)) if answer.status.is_success() => return self.ended(),
            Ok(Ok(answer)) => format!("it answers {}", answer.status),
            Ok(Err(error)) => error.to_string(),
            Err(_) => LookupError::TimedOut(LIMIT).to_string(),
        };
        self.left(&format!("logging out: {error}"));
    }

    /// Gives the token of a session, and where it is.
    async fn log_in(&mut self, url: Url, body: Vec<u8>) -> Result<(HeaderValue, Url), LookupError> {
        let path = said(url.path());
        let json = HeaderValue::from_static("application/json");
        self.headers.push((CONTENT_TYPE, json));
        let answer = self.send(Method::POST, url, body).await;
        self.headers.retain(|(name, _)| *name != CONTENT_TYPE);
        let Answer {
            status,
            mut headers,
            body,
        } = answer?;
        if !status.is_success() {
            return Err(LookupError::Protocol(format!(
                "logging in at {path}: it answers {status}"
            )));
        }
        let lacks = |what| LookupError::Protocol(format!("the session that {path} gives {what}"));
        let mut token = headers.remove(TOKEN).ok_or_else(|| lacks("has no token"))?;
        token.set_sensitive(true);
        // Without its address every lookup would leave one behind, until the controller is full.
        let session = address(&self.root, &headers, &body);
        let session = session.ok_or_else(|| lacks("has no address; write `session = false`"))?;
        Ok((token, session))
    }

    async fn send(&self, method: Method, url: Url, body: Vec<u8>) -> Result<Answer, LookupError> {
        let request = Request {
            method,
            url,
            headers: &self.headers,
            body,
            deadline: Instant::now() + LIMIT,
        };
        self.web.send_with(&self.client, request).await
    }

    /// The session may stay on the controller; a warning says so of the first one.
    fn left(&self, error: &str) {
        let Self {
            cluster, device, ..
        } = self;
        let controller = &self.turn.controller;
        let is_first = {
            let mut left_on = left_on();
            left_on.len() < MAX_LEFT_ON && left_on.insert(controller.clone())
        };
        let level = if is_first { Level::Warn } else { Level::Debug };
        log::log!(level, cluster:%, device:%, controller, error; "a session may be left on a Redfish service");
    }

    /// The session has ended.
    fn ended(&self) {
        let Self {
            cluster, device, ..
        } = self;
        let controller = &self.turn.controller;
        if left_on().remove(controller) {
            log::info!(cluster:%, device:%, controller; "sessions on a Redfish service end again");
        }
    }
}

fn left_on() -> MutexGuard<'static, BTreeSet<String>> {
    LEFT_ON.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the session of this answer is, by its `Location`, or else by its body.
pub(super) fn address(root: &Url, headers: &HeaderMap, body: &[u8]) -> Option<Url> {
    let location = headers.get(LOCATION).and_then(|it| it.to_str().ok());
    let location = location.map(|location| match Url::parse(location) {
        // Controllers write the name that they know themselves by; only the path counts.
        Ok(url) => url.path().to_owned(),
        Err(_) => location.to_owned(),
    });
    let body = || {
        let body: Resource = serde_json::from_slice(body).ok()?;
        text(&body, "@odata.id").map(str::to_owned)
    };
    // One that cannot be followed, such as a relative one, is none.
    let session = |link: String| resolve(root, &link).ok();
    location
        .and_then(session)
        .or_else(|| body().and_then(session))
}

/// Where to log in: old services have their sessions at places of their own.
pub(super) fn sessions(root: &Resource) -> Option<String> {
    let links = root.get("Links").and_then(serde_json::Value::as_object);
    let sessions = links.and_then(|links| link(links, "Sessions"));
    sessions.map(str::to_owned).or_else(|| {
        let service = link(root, "SessionService")?;
        Some(format!("{}/Sessions", service.trim_end_matches('/')))
    })
}

/// The right to have a session on a controller, which one task has at a time.
struct Turn {
    controller: String,
    lock: Arc<tokio::sync::Mutex<()>>,
    /// `None` while it waits.
    held: Option<OwnedMutexGuard<()>>,
}

impl Turn {
    async fn wait_for(controller: String) -> Self {
        let lock = Arc::clone(controllers().entry(controller.clone()).or_default());
        let mut turn = Self {
            controller,
            lock: Arc::clone(&lock),
            held: None,
        };
        turn.held = Some(lock.lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut controllers = controllers();
        self.held = None;
        // That of the list and this one: nothing else waits for it.
        if Arc::strong_count(&self.lock) == 2 {
            controllers.remove(&self.controller);
        }
    }
}

fn controllers() -> MutexGuard<'static, BTreeMap<String, Arc<tokio::sync::Mutex<()>>>> {
    CONTROLLERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a task among those that have a session.
struct Open;

impl Open {
    /// `None` if no session is to be opened any more.
    fn count() -> Option<Self> {
        // Counted first: whatever ends all sessions looks the other way round.
        OPEN.send_modify(|open| *open += 1);
        let open = Self;
        (!*ENDING.borrow()).then_some(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// Resolves when all sessions are to end.
async fn ending() {
    // The sender is never dropped.
    ENDING
        .subscribe()
        .wait_for(|is_ending| *is_ending)
        .await
        .ok();
}

/// Lets no session be opened until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Ended(());

impl Drop for Ended {
    fn drop(&mut self) {
        ENDING.send_replace(false);
    }
}

/// Ends all sessions of this process, and waits for that up to `limit`. The lookups that had them
/// never end, and are to be dropped.
pub(crate) async fn end_all(limit: Duration) -> Ended {
    ENDING.send_replace(true);
    let mut open = OPEN.subscribe();
    if timeout(limit, open.wait_for(|open| *open == 0))
        .await
        .is_err()
    {
        let sessions = *OPEN.borrow();
        log::warn!(sessions; "sessions are left on Redfish services, which do not answer");
    }
    Ended(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_has_a_controller_and_none_is_kept() {
        let name = || "http://one.example".to_owned();
        let first = Turn::wait_for(name()).await;
        let mut second = Box::pin(Turn::wait_for(name()));
        let mut dropped = Box::pin(Turn::wait_for(name()));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut dropped).is_pending());
        let other = Turn::wait_for("http://other.example".to_owned()).await;
        drop((first, dropped));
        drop((second.await, other));
        assert!(!controllers().contains_key(&name()));
    }
}
