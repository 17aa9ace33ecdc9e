//! Asking one service: its session, and the limits of a lookup.
//!
//! It does not know what resources say but for their links. A link is followed on the server of the
//! settings only, once, and not for ever.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::report::{link, text};
use crate::domain::SecretSource;
use crate::lookup::web::{Answer, Request, Web};
use crate::lookup::{Call, LookupError, object, said, secret};

/// Where every service has its root.
const ROOT: &str = "/redfish/v1/";

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// The most resources that a lookup reads. A server with eight GPUs, each a chassis with its own
/// sensors, has about a hundred.
const MAX_RESOURCES: usize = 256;

/// The longest link, in bytes.
const MAX_LINK_LEN: usize = 1024;

/// How long logging out may take: the facts are there, and need not be lost to a slow farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// What has to be left of a lookup's time when its facts are given.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What a session begins with.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: SecretSource,
}

/// A session that has to be ended.
#[derive(Debug)]
pub(super) struct Session(pub(super) Url);

/// What a service answers.
pub(super) type Resource = Map<String, Value>;

/// One lookup's way through one service.
#[derive(Debug)]
pub(super) struct Service<'a> {
    web: &'a Web,
    /// Made for the first request.
    client: OnceCell<Client>,
    call: Call<'a>,
    /// Of its root.
    root: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What has been asked for.
    seen: HashSet<String>,
}

impl<'a> Service<'a> {
    pub(super) fn new(web: &'a Web, call: Call<'a>) -> Result<Self, LookupError> {
        let mut root = web.url(call)?;
        root.set_path(ROOT);
        let headers = vec![
            (ACCEPT, HeaderValue::from_static("application/json")),
            (
                HeaderName::from_static("odata-version"),
                HeaderValue::from_static("4.0"),
            ),
        ];
        Ok(Self {
            web,
            client: OnceCell::new(),
            call,
            root,
            headers,
            seen: HashSet::new(),
        })
    }

    /// The service's root, which anybody may read and no service lacks.
    pub(super) async fn root(&mut self) -> Result<Resource, LookupError> {
        let root = self.get(ROOT).await?;
        // Required by the schema; whatever else answers in JSON has none.
        let root = root.filter(|root| text(root, "RedfishVersion").is_some());
        root.ok_or_else(|| {
            let root = &self.root;
            LookupError::Protocol(format!("there is no Redfish service at {root}"))
        })
    }

    /// A resource; `None` if it does not exist, or has been had before.
    pub(super) async fn get(&mut self, link: &str) -> Result<Option<Resource>, LookupError> {
        let url = self.resolve(link)?;
        let path = url.path().trim_end_matches('/');
        let key = format!("{path}?{}", url.query().unwrap_or_default());
        if self.seen.contains(&key) {
            return Ok(None);
        }
        if self.seen.len() >= MAX_RESOURCES {
            return Err(too_many());
        }
        self.seen.insert(key);
        let path = said(path);
        let answer = self.send(Method::GET, url, Vec::new()).await?;
        let status = answer.status;
        if status == StatusCode::NOT_FOUND || status == StatusCode::GONE {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(LookupError::Protocol(format!("{path} answers {status}")));
        }
        read(&path, &answer.body).map(Some)
    }

    /// The links to the members of the collection to which this resource's `name` links.
    pub(super) async fn members(
        &mut self,
        of: &Resource,
        name: &str,
    ) -> Result<Vec<String>, LookupError> {
        let mut links = Vec::new();
        let mut next = link(of, name).map(str::to_owned);
        while let Some(page) = next {
            let Some(page) = self.get(&page).await? else {
                break;
            };
            let members = page.get("Members").and_then(Value::as_array);
            for member in members.into_iter().flatten() {
                let Some(link) = member.get("@odata.id").and_then(Value::as_str) else {
                    continue;
                };
                if links.len() >= MAX_RESOURCES {
                    return Err(too_many());
                }
                if link.len() > MAX_LINK_LEN {
                    return Err(too_long(link));
                }
                links.push(link.to_owned());
            }
            next = text(&page, "Members@odata.nextLink").map(str::to_owned);
        }
        Ok(links)
    }

    /// Begins a session, which all that is asked from now on is part of.
    pub(super) async fn log_in(
        &mut self,
        login: &Login,
        root: &Resource,
    ) -> Result<Session, LookupError> {
        // Asked for before the password is sent to whoever is there.
        let sessions = sessions(root).ok_or_else(|| {
            LookupError::Protocol("it has no sessions; write `session = false`".to_owned())
        })?;
        let url = self.resolve(&sessions)?;
        let path = said(url.path());
        let password = secret::read(&login.password, self.call.deadline).await?;
        let body = json!({"UserName": login.username, "Password": password.expose()});
        self.headers
            .push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        let answer = self.send(Method::POST, url, body.to_string().into()).await;
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
        self.headers.push((TOKEN, token));
        let session = self.session(&headers, &body);
        // Without its address every lookup would leave one behind, until the controller is full.
        session.ok_or_else(|| lacks("has no address"))
    }

    /// Where the session of this answer is, by its `Location`, or else by its body.
    pub(super) fn session(&self, headers: &HeaderMap, body: &[u8]) -> Option<Session> {
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
        let session = |link: String| self.resolve(&link).ok().map(Session);
        location
            .and_then(session)
            .or_else(|| body().and_then(session))
    }

    /// Ends a session. If that fails, the controller does so by itself when its time has passed:
    /// what was learned is not less true for that.
    pub(super) async fn log_out(self, session: Session) {
        let Call {
            cluster,
            device,
            deadline,
            ..
        } = self.call;
        // What was learned has to be out in time.
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = FAREWELL.min(left.saturating_sub(LAST_WORDS));
        let farewell = self.send(Method::DELETE, session.0, Vec::new());
        let error = match tokio::time::timeout(limit, farewell).await {
            Ok(Ok(answer)) if answer.status.is_success() => return,
            Ok(Ok(answer)) => format!("it answers {}", answer.status),
            Ok(Err(error)) => error.to_string(),
            Err(_) => LookupError::TimedOut(limit).to_string(),
        };
        log::debug!(cluster:%, device:%, error; "cannot log out of a Redfish service");
    }

    async fn send(&self, method: Method, url: Url, body: Vec<u8>) -> Result<Answer, LookupError> {
        let request = Request {
            method,
            url,
            headers: &self.headers,
            body,
            deadline: self.call.deadline,
        };
        let client = self.client.get_or_try_init(async || self.web.keeping());
        self.web.send_with(client.await?, request).await
    }

    /// The URL of a link, which has to be a path on this server.
    pub(super) fn resolve(&self, link: &str) -> Result<Url, LookupError> {
        let wrong = |what| LookupError::Protocol(format!("the link {} {what}", said(link)));
        if link.len() > MAX_LINK_LEN {
            return Err(too_long(link));
        }
        // `//host`, `/\host` and the like are no paths, as whoever parses URLs knows.
        let url = self.root.join(link).ok();
        let url = url.filter(|url| link.starts_with('/') && url.origin() == self.root.origin());
        let mut url = url.ok_or_else(|| wrong("is no path on this server"))?;
        url.set_fragment(None);
        Ok(url)
    }
}

/// The resource at `path`.
pub(super) fn read(path: &str, body: &[u8]) -> Result<Resource, LookupError> {
    object(body)
        .map_err(|error| LookupError::Protocol(format!("{path} is no JSON object: {error}")))
}

/// Where to log in: old services have their sessions at places of their own.
pub(super) fn sessions(root: &Resource) -> Option<String> {
    let links = root.get("Links").and_then(Value::as_object);
    let sessions = links.and_then(|links| link(links, "Sessions"));
    sessions.map(str::to_owned).or_else(|| {
        let service = link(root, "SessionService")?;
        Some(format!("{}/Sessions", service.trim_end_matches('/')))
    })
}

fn too_long(link: &str) -> LookupError {
    LookupError::Protocol(format!("the link {} is too long", said(link)))
}

fn too_many() -> LookupError {
    LookupError::Protocol(format!("it has more than {MAX_RESOURCES} resources"))
}
