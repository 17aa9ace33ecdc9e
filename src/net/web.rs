//! What all that asks over HTTP shares: one request, bounded in every way.
//!
//! It does not know what an answer means but for 401 and 403. Entry points: [`Web::send`], and
//! [`Web::keeping`] for several requests of one lookup.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode, Url};
use rustls::ClientConfig;
use tokio::time::Instant;

use super::resolve::{ResolveError, Resolver, check_host};
use super::tls::{self, TlsClient};
use crate::domain::{Allow, LocalReason, LookupError, TlsSettings, WebAuth, WebSettings};
use crate::net::secret;

/// How long a connection is kept for the next request of its lookup.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often such a connection is probed while it is silent: a server that was restarted knows nothing of
/// it, says so, and nothing is waited for in vain.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Asks the web servers of one group.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) settings: WebSettings,
    /// What a lookup may take.
    timeout: Duration,
    tls: TlsClient,
    allow: Option<Arc<Allow>>,
    /// Made when it is needed, by this configuration.
    client: Mutex<Option<(Arc<ClientConfig>, Client)>>,
}

/// What is asked of a server.
#[derive(Debug)]
pub(crate) struct WebRequest<'a> {
    pub(crate) method: Method,
    /// On the server of the settings: credentials go there.
    pub(crate) url: Url,
    /// Besides those of the settings.
    pub(crate) headers: &'a [(HeaderName, HeaderValue)],
    /// Empty is none.
    pub(crate) body: Vec<u8>,
    /// When whoever asks gives up.
    pub(crate) deadline: Instant,
}

/// An answer whose body has been read.
#[derive(Debug)]
pub(crate) struct WebAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Web {
    /// A lookup may take `timeout`, and ask where `allow` has it.
    pub(crate) fn new(settings: WebSettings, timeout: Duration, allow: Option<Arc<Allow>>) -> Self {
        let tls = if settings.url.starts_with("https:") {
            settings.tls.clone()
        } else {
            TlsSettings::unused()
        };
        Self {
            settings,
            timeout,
            tls: TlsClient::new(tls),
            allow,
            client: Mutex::new(None),
        }
    }

    /// A client for one lookup, which keeps a connection from one request to the next. It is closed
    /// with the client, so that no lookup leaves an open file behind. Files that it needs are waited for
    /// until `deadline`.
    pub(crate) async fn keeping(&self, deadline: Instant) -> Result<Client, LookupError> {
        let tls = self.tls.config(deadline).await?;
        self.make(&tls, true)
    }

    /// The client of all requests that keep no connection.
    async fn client(&self, deadline: Instant) -> Result<Client, LookupError> {
        let tls = self.tls.config(deadline).await?;
        let mut made = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((by, client)) = &*made
            && Arc::ptr_eq(by, &tls)
        {
            return Ok(client.clone());
        }
        let client = self.make(&tls, false)?;
        *made = Some((tls, client.clone()));
        Ok(client)
    }

    /// `keeps` a connection for the next request.
    fn make(&self, tls: &ClientConfig, keeps: bool) -> Result<Client, LookupError> {
        let most = self.settings.redirects;
        let redirects = Policy::custom(move |attempt| {
            let Some(first) = attempt.previous().first() else {
                return attempt.stop();
            };
            let (from, to) = (first.origin(), attempt.url().origin());
            if attempt.previous().len() > most {
                attempt.error(Redirected("more redirects than allowed"))
            } else if from == to {
                attempt.follow()
            } else {
                attempt.error(Redirected("a redirect to another host, port or scheme"))
            }
        });
        let mut client = Client::builder();
        if keeps {
            client = client
                .tcp_keepalive(PROBE_EVERY)
                .tcp_keepalive_interval(PROBE_EVERY);
        }
        client
            .tls_backend_preconfigured(tls.clone())
            .redirect(redirects)
            // Devices are asked directly, whatever the environment says of proxies.
            .no_proxy()
            // Not for the next lookup: ten thousand devices would hold as many sockets.
            .pool_max_idle_per_host(usize::from(keeps))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .dns_resolver(Resolver(self.allow.clone()))
            // Shared among a name's addresses: one that is silent must not take all of it. Those of the
            // other family are tried beside it after 300 ms anyway.
            .connect_timeout(self.timeout)
            .user_agent(concat!("fleetcall/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                LookupError::Local(LocalReason::Setup, format!("cannot set up HTTP: {error}"))
            })
    }

    /// Sends one request; the answer may have any status but 401 and 403.
    pub(crate) async fn send(&self, request: WebRequest<'_>) -> Result<WebAnswer, LookupError> {
        let client = self.client(request.deadline).await?;
        self.send_with(&client, request).await
    }

    /// As [`Web::send`], with the client of one lookup.
    pub(crate) async fn send_with(
        &self,
        client: &Client,
        request: WebRequest<'_>,
    ) -> Result<WebAnswer, LookupError> {
        let settings = &self.settings;
        let WebRequest {
            method,
            url,
            headers,
            body,
            deadline,
        } = request;
        // Without its query, in which people write tokens.
        let shown = url.as_str().split(['?', '#']).next().unwrap_or_default();
        let shown = shown.to_owned();
        // An address needs no resolver. Redirects lead to no other host.
        check_host(url.host_str().unwrap_or_default(), self.allow.as_deref())
            .map_err(|error| error.explain(&format!("cannot ask {shown}")))?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value.clone());
        }
        // The configuration's replace ours.
        for (name, source) in &settings.headers {
            let mut value = HeaderValue::from_str(secret::read(source, deadline).await?.expose())
                .map_err(|_| bad_header(name))?;
            value.set_sensitive(true);
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad_header(name))?;
            map.insert(key, value);
        }
        let mut request = client.request(method, url).headers(map);
        if !body.is_empty() {
            request = request.body(body);
        }
        request = match &settings.auth {
            None => request,
            Some(WebAuth::Basic { username, password }) => {
                let password = secret::read(password, deadline).await?;
                request.basic_auth(username, Some(password.expose()))
            }
            Some(WebAuth::Bearer(token)) => {
                let token = secret::read(token, deadline).await?;
                let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
                let mut value = value.map_err(|_| bad_header("Authorization"))?;
                value.set_sensitive(true);
                request.header(reqwest::header::AUTHORIZATION, value)
            }
        };
        let response = request.send().await;
        let mut response = response.map_err(|error| explain(&shown, self.timeout, &error))?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(LookupError::Auth(format!("{shown} answers {status}")));
        }
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        // Counted after decompression, piece by piece: a bomb ends here.
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|it| explain(&shown, self.timeout, &it))?
        {
            if body.len() + piece.len() > settings.max_body_bytes {
                return Err(LookupError::TooLarge(settings.max_body_bytes));
            }
            body.extend_from_slice(&piece);
        }
        Ok(WebAnswer {
            status,
            headers,
            body,
        })
    }
}

fn bad_header(name: &str) -> LookupError {
    let text = format!("the secret for {name} has characters that no header can have");
    LookupError::Local(LocalReason::Secret, text)
}

/// Why a redirect is not followed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Redirected(&'static str);

/// What a failed request means, in a lookup that may take `timeout`.
fn explain(url: &str, timeout: Duration, error: &reqwest::Error) -> LookupError {
    let mut io = None;
    let mut deepest: &dyn std::error::Error = error;
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return LookupError::Protocol(format!("{url}: {}", tls::explain(error)));
        }
        if let Some(error) = error.downcast_ref::<ResolveError>() {
            return error.explain(&format!("cannot ask {url}"));
        }
        if let Some(error) = error.downcast_ref::<Redirected>() {
            return LookupError::Protocol(format!("{url}: {error}"));
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            if let Some(error) = tls::cause(error) {
                return LookupError::Protocol(format!("{url}: {}", tls::explain(error)));
            }
            io = Some(error);
        }
        deepest = error;
        source = error.source();
    }
    // Ours: it ends when the lookup does, and either may be seen first.
    if error.is_timeout() && io.is_none_or(|it| it.raw_os_error().is_none()) {
        return LookupError::TimedOut(timeout);
    }
    if let Some(error) = io {
        return LookupError::io(&format!("cannot ask {url}"), error);
    }
    let text = format!("cannot ask {url}: {deepest}");
    if error.is_connect() {
        LookupError::Unreachable(text)
    } else {
        LookupError::Protocol(text)
    }
}

/// Whether a host is this machine whatever a name server says.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|it| it.to_canonical().is_loopback())
}
