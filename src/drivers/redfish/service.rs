//! Asking one service, within the limits of a lookup.
//!
//! It does not know what resources say but for their links. A link is followed on the server of the
//! settings only, once, and not for ever.

use std::collections::HashSet;

use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use super::report::{link, text};
use crate::domain::LookupError;
use crate::drivers::Call;
use crate::drivers::output::object;
use crate::net::error::said;
use crate::net::web::{Web, WebAnswer, WebRequest};

/// Where every service has its root.
const ROOT: &str = "/redfish/v1/";

/// The most resources that a lookup reads. A server with eight GPUs, each a chassis with its own
/// sensors, has about a hundred.
const MAX_RESOURCES: usize = 256;

/// The longest link, in bytes.
const MAX_LINK_LEN: usize = 1024;

/// What a service answers.
pub(super) type Resource = Map<String, Value>;

/// One lookup's way through one service.
#[derive(Debug)]
pub(super) struct RedfishService<'a> {
    web: &'a Web,
    /// Made for the first request.
    client: OnceCell<Client>,
    pub(super) call: Call<'a>,
    /// Of its root.
    pub(super) root: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// What has been asked for.
    seen: HashSet<String>,
}

impl<'a> RedfishService<'a> {
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
        let answer = self.send(url).await?;
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

    /// Shows this with all that is asked from now on.
    pub(super) fn show(&mut self, header: (HeaderName, HeaderValue)) {
        self.headers.push(header);
    }

    async fn send(&self, url: Url) -> Result<WebAnswer, LookupError> {
        let request = WebRequest {
            method: Method::GET,
            url,
            headers: &self.headers,
            body: Vec::new(),
            deadline: self.call.deadline,
        };
        self.web.send_with(self.client().await?, request).await
    }

    /// What its requests are sent by.
    pub(super) async fn client(&self) -> Result<&Client, LookupError> {
        let deadline = self.call.deadline;
        let made = self.client.get_or_try_init(|| self.web.keeping(deadline));
        made.await
    }

    /// The URL of a link, which has to be a path on this server.
    pub(super) fn resolve(&self, link: &str) -> Result<Url, LookupError> {
        resolve(&self.root, link)
    }
}

/// The URL of a link, which has to be a path on the server of `root`.
pub(super) fn resolve(root: &Url, link: &str) -> Result<Url, LookupError> {
    let wrong = |what| LookupError::Protocol(format!("the link {} {what}", said(link)));
    if link.len() > MAX_LINK_LEN {
        return Err(too_long(link));
    }
    // `//host`, `/\host` and the like are no paths, as whoever parses URLs knows.
    let url = root.join(link).ok();
    let url = url.filter(|url| link.starts_with('/') && url.origin() == root.origin());
    let mut url = url.ok_or_else(|| wrong("is no path on this server"))?;
    url.set_fragment(None);
    Ok(url)
}

/// The resource at `path`.
pub(super) fn read(path: &str, body: &[u8]) -> Result<Resource, LookupError> {
    object(body)
        .map_err(|error| LookupError::Protocol(format!("{path} is no JSON object: {error}")))
}

fn too_long(link: &str) -> LookupError {
    LookupError::Protocol(format!("the link {} is too long", said(link)))
}

fn too_many() -> LookupError {
    LookupError::Protocol(format!("it has more than {MAX_RESOURCES} resources"))
}
