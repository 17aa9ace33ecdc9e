//! Sessions on controllers, which always end.
//!
//! A controller has few sessions to give, and keeps one that is not ended for half an hour. So each is
//! opened and ended by a task of its own, which goes on when the lookup is dropped, at whatever point:
//! it sees the answer to a login that its lookup did not wait for. At most one session is open on a
//! controller at a time; the next lookup waits for its end, and says so if that does not come in time.
//!
//! A login without an answer is not dropped for the next lookup: the controller may be making a
//! session for it, and each slow login would leave one. Its connection is probed instead
//! (`Web::keeping`), so that it ends at once when the controller has forgotten it. Entry points:
//! [`RedfishSession::open`] and [`end_all`].

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::Level;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::report::{link, text};
use super::service::{RedfishService, Resource, resolve};
use super::turn::{SessionTurn, Stage};
use crate::domain::{ClusterId, DeviceId, DriverKind, LookupError, SecretSource};
use crate::drivers;
use crate::net::error::said;
use crate::net::open_files;
use crate::net::secret;
use crate::net::web::{Web, WebAnswer, WebRequest};

/// How long a login is waited for after its lookup was given up, and how long a logout may take.
const LIMIT: Duration = Duration::from_secs(10);

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// How many tasks have a session, or are about to.
static OPEN: LazyLock<watch::Sender<usize>> = LazyLock::new(watch::Sender::default);

/// Whether all sessions are to end, and no other is to be opened.
static ENDING: LazyLock<watch::Sender<bool>> = LazyLock::new(watch::Sender::default);

/// How many sessions may have been left on controllers, since the start.
static LEFT: AtomicU64 = AtomicU64::new(0);

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
pub(super) struct RedfishSession {
    token: HeaderValue,
    /// Tells the task that it is not needed any more.
    _needed: oneshot::Sender<Infallible>,
}

impl RedfishSession {
    /// Opens a session, when there is no other one of ours on the controller.
    pub(super) async fn open(
        web: &Arc<Web>,
        service: &RedfishService<'_>,
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
        let turn = SessionTurn::wait_for(service.root.origin().ascii_serialization(), call).await?;
        let Some(open) = OpenSession::count() else {
            return pending().await;
        };
        let task = Task {
            web: Arc::clone(web),
            client: service.client().await?.clone(),
            root: service.root.clone(),
            headers: service.headers.clone(),
            cluster: call.cluster.clone(),
            device: call.device.clone(),
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
    pub(super) async fn ask<T>(
        &self,
        asking: impl Future<Output = Result<T, LookupError>>,
    ) -> Result<T, LookupError> {
        let answer = tokio::select! {
            biased;
            () = ending() => pending().await,
            answer = asking => answer,
        };
        answer.map_err(|error| match error {
            // A session can end early (a restart, an administrator), and the credentials be right.
            LookupError::Auth(text) => {
                LookupError::UnprovenAuth(format!("{text}, though it accepted the login"))
            }
            other => other,
        })
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
    turn: SessionTurn,
    _open: OpenSession,
}

impl Task {
    async fn run(
        mut self,
        url: Url,
        body: Vec<u8>,
        mut tell: oneshot::Sender<Result<HeaderValue, LookupError>>,
        is_needed: oneshot::Receiver<Infallible>,
    ) {
        self.begins(Stage::Login);
        let given_up = async {
            tell.closed().await;
            sleep(LIMIT).await;
        };
        let opened = tokio::select! {
            biased;
            opened = self.log_in(url, body) => opened,
            () = given_up => return self.left("logging in: no answer"),
        };
        let (token, session) = match opened {
            Ok(opened) => opened,
            Err(LoginError { error, may_be_left }) => {
                if may_be_left {
                    self.left(&format!("logging in: {error}"));
                }
                let Self {
                    cluster, device, ..
                } = &self;
                log::debug!(cluster:%, device:%, error:%; "cannot log in to a Redfish service");
                // The lookup may be gone.
                tell.send(Err(error)).ok();
                return;
            }
        };
        self.begins(Stage::Lookup);
        self.headers.push((TOKEN, token.clone()));
        if tell.send(Ok(token)).is_ok() {
            tokio::select! {
                // Dropped, as nothing is ever sent.
                _ = is_needed => {}
                () = ending() => {}
            }
        }
        self.begins(Stage::Logout);
        // The lookup has given its own back.
        let _files = open_files::take(drivers::open_files(DriverKind::Redfish));
        let error = match timeout(LIMIT, self.send(Method::DELETE, session, Vec::new())).await {
            Ok(Ok(WebAnswer { status, .. })) => match status {
                // It ended by itself.
                StatusCode::NOT_FOUND | StatusCode::GONE => return self.ended(),
                status if status.is_success() => return self.ended(),
                status => format!("it answers {status}"),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => LookupError::TimedOut(LIMIT).to_string(),
        };
        self.left(&format!("logging out: {error}"));
    }

    /// Gives the token of a session, and where it is.
    async fn log_in(&mut self, url: Url, body: Vec<u8>) -> Result<(HeaderValue, Url), LoginError> {
        let path = said(url.path());
        let json = HeaderValue::from_static("application/json");
        self.headers.push((CONTENT_TYPE, json));
        let answer = self.send(Method::POST, url, body).await;
        self.headers.retain(|(name, _)| *name != CONTENT_TYPE);
        let WebAnswer {
            status,
            mut headers,
            body,
        } = answer?;
        if !status.is_success() {
            return Err(LoginError {
                error: LookupError::Protocol(format!("logging in at {path}: it answers {status}")),
                may_be_left: false,
            });
        }
        let lacks = |what| LoginError {
            error: LookupError::Protocol(format!("the session that {path} gives {what}")),
            may_be_left: true,
        };
        let mut token = headers.remove(TOKEN).ok_or_else(|| lacks("has no token"))?;
        token.set_sensitive(true);
        // Without its address every lookup would leave one behind, until the controller is full.
        let session = address(&self.root, &headers, &body);
        let session = session.ok_or_else(|| lacks("has no address; write `session = false`"))?;
        Ok((token, session))
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Vec<u8>,
    ) -> Result<WebAnswer, LookupError> {
        let request = WebRequest {
            method,
            url,
            headers: &self.headers,
            body,
            deadline: Instant::now() + LIMIT,
        };
        self.web.send_with(&self.client, request).await
    }

    /// For lookups that wait.
    fn begins(&self, stage: Stage) {
        self.turn.begins(stage, &self.cluster, &self.device);
    }

    /// The session may stay on the controller; a warning says so of the first one.
    fn left(&self, error: &str) {
        LEFT.fetch_add(1, Ordering::Relaxed);
        let Self {
            cluster, device, ..
        } = self;
        let controller = self.turn.controller();
        let is_first = {
            let mut left_on = left_on();
            left_on.len() < MAX_LEFT_ON && left_on.insert(controller.to_owned())
        };
        let level = if is_first { Level::Warn } else { Level::Debug };
        log::log!(level, cluster:%, device:%, controller, error; "a session may be left on a Redfish service");
    }

    /// The session has ended.
    fn ended(&self) {
        let Self {
            cluster, device, ..
        } = self;
        let controller = self.turn.controller();
        if left_on().remove(controller) {
            log::info!(cluster:%, device:%, controller; "sessions on a Redfish service end again");
        }
    }
}

/// Why a login failed.
struct LoginError {
    error: LookupError,
    /// Whether the controller may have made a session all the same.
    may_be_left: bool,
}

impl From<LookupError> for LoginError {
    /// Of a login without an answer.
    fn from(error: LookupError) -> Self {
        // It may have been sent; what the others say is that it was not, or was refused.
        let may_be_left = matches!(
            error,
            LookupError::Unreachable(_) | LookupError::Protocol(_) | LookupError::TooLarge(_)
        );
        Self { error, may_be_left }
    }
}

/// How many sessions may have been left on controllers, as they could not be ended, since the start.
pub(crate) fn sessions_left() -> u64 {
    LEFT.load(Ordering::Relaxed)
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

/// Counts a task among those that have a session.
struct OpenSession;

impl OpenSession {
    /// `None` if no session is to be opened any more.
    fn count() -> Option<Self> {
        // Counted first: whatever ends all sessions looks the other way round.
        OPEN.send_modify(|open| *open += 1);
        let open = Self;
        (!*ENDING.borrow()).then_some(open)
    }
}

impl Drop for OpenSession {
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
pub(crate) struct EndedSessions(());

impl Drop for EndedSessions {
    fn drop(&mut self) {
        ENDING.send_replace(false);
    }
}

/// Ends all sessions of this process, and waits for that up to `limit`. The lookups that had them
/// never end, and are to be dropped.
pub(crate) async fn end_all(limit: Duration) -> EndedSessions {
    ENDING.send_replace(true);
    let mut open = OPEN.subscribe();
    if timeout(limit, open.wait_for(|open| *open == 0))
        .await
        .is_err()
    {
        let sessions = *OPEN.borrow();
        log::warn!(sessions; "sessions are left on Redfish services, which do not answer");
    }
    EndedSessions(())
}
