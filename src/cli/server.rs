//! Asking a running service: where it is, whom to trust, and what to show it.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::terminal::plain;
use crate::domain::{Authorities, Secret, SecretSource, TlsSettings};
use crate::net::files;
use crate::net::web::is_loopback;
use crate::net::{secret, tls};

/// How long it may take to connect, and what is no roll call to be answered.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that says nothing for so long is looked after.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The largest file of authorities, in bytes; a system's whole store has a fifth of it.
const MAX_CA_BYTES: u64 = 1 << 20;

/// What is said of an answer that does not come in time.
pub(super) const TOO_LONG: &str = "it takes too long";

/// The variable that a token may stand in; not a flag, since everybody sees flags.
const TOKEN: &str = "FLEETCALL_TOKEN";

/// Which service to ask, and how.
#[derive(Debug, Clone, Args)]
pub(super) struct ServerFlags {
    /// The service to ask
    #[arg(
        long,
        value_name = "URL",
        env = "FLEETCALL_SERVER",
        default_value = "http://127.0.0.1:11100"
    )]
    pub(super) server: String,
    #[command(flatten)]
    trust: TrustFlags,
}

/// What to show a service, and whom to believe that it is one.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TrustFlags {
    /// The file of the token to show it [default: the variable FLEETCALL_TOKEN, or none]
    #[arg(long, value_name = "PATH", env = "FLEETCALL_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// A file of certificates of authorities to trust, PEM [default: the system's]
    #[arg(long, value_name = "PATH", env = "FLEETCALL_CA")]
    ca: Option<PathBuf>,
}

/// Why a service cannot even be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    #[error(
        "--server {0:?} is no address of a service; write one such as \"http://127.0.0.1:11100\""
    )]
    Address(String),
    #[error("{0}")]
    Token(String),
    #[error(
        "user information in the address of a service; show it a token by --token-file instead"
    )]
    UserInfo,
    #[error("cannot use the authorities in {path}: {why}")]
    Authorities { path: String, why: String },
    #[error("{0}; or name some by --ca")]
    System(String),
    #[error("cannot set up HTTP: {0}")]
    Client(reqwest::Error),
    #[error("cannot set up a runtime: {0}")]
    Runtime(std::io::Error),
}

impl ServerError {
    /// Whether the command line has to be another one.
    pub(super) fn is_usage(&self) -> bool {
        match self {
            Self::Address(_) | Self::UserInfo => true,
            Self::Token(_)
            | Self::Authorities { .. }
            | Self::System(_)
            | Self::Client(_)
            | Self::Runtime(_) => false,
        }
    }
}

/// The address of a service.
///
/// # Errors
/// If it is none, or has a user's name or password in it, which is not shown.
pub(super) fn address(server: &str) -> Result<Url, ServerError> {
    refuse_user_info(server)?;
    let bad = || ServerError::Address(plain(server));
    let url = Url::parse(server).map_err(|_| bad())?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    // Nothing that is secret or would be lost.
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_web && is_bare {
        Ok(url)
    } else {
        Err(bad())
    }
}

/// Refuses a user's name or password in an address.
///
/// # Errors
/// If there is one.
pub(super) fn refuse_user_info(server: &str) -> Result<(), ServerError> {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(ServerError::UserInfo);
    }
    Ok(())
}

impl ServerFlags {
    /// The address of the service, to put a path behind it.
    pub(super) fn base(&self) -> &str {
        self.server.trim_end_matches('/')
    }

    /// As [`address`].
    ///
    /// # Errors
    /// If it is no address of a service.
    pub(super) fn check(&self) -> Result<(), ServerError> {
        address(&self.server).map(|_| ())
    }

    /// As [`TrustFlags::client`].
    ///
    /// # Errors
    /// As there, and if this is no address of a service.
    pub(super) fn client(&self) -> Result<Client, ServerError> {
        self.trust.client(&address(&self.server)?)
    }
}

impl TrustFlags {
    /// A client that shows the token to the service at this address, and trusts whom it should. Both are
    /// read each time, so that new ones are used at once. Blocks for some seconds at most.
    ///
    /// # Errors
    /// If the token or the authorities cannot be read, or are none.
    pub(super) fn client(&self, url: &Url) -> Result<Client, ServerError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = self.token()? {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let mut value = value.map_err(|_| bad_token())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let settings = match url.scheme() {
            "https" => self.tls()?,
            _ => TlsSettings::unused(),
        };
        let tls = tls::client_now(&settings).map_err(|error| match &self.ca {
            None => ServerError::System(error.to_string()),
            Some(path) => cannot_trust(path, &error),
        })?;
        let mut client = Client::builder();
        if is_loopback(url.host_str().unwrap_or_default()) {
            // `HTTP_PROXY` is for others, and a proxy would see the token.
            client = client.no_proxy();
        }
        client
            .tls_backend_preconfigured(tls)
            .default_headers(headers)
            // Nothing of a service is elsewhere, and no other server is to see the token.
            .redirect(Policy::none())
            .connect_timeout(TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .user_agent(concat!("fleetcall/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ServerError::Client)
    }

    fn token(&self) -> Result<Option<Secret>, ServerError> {
        let source = match &self.token_file {
            Some(path) => SecretSource::File(path.clone()),
            None if std::env::var_os(TOKEN).is_none_or(|it| it.is_empty()) => return Ok(None),
            None => SecretSource::Env(TOKEN.to_owned()),
        };
        let token = secret::read_now(&source).map_err(ServerError::Token)?;
        let is_plain = |c: char| c.is_ascii_graphic();
        if token.expose().is_empty() || !token.expose().chars().all(is_plain) {
            return Err(bad_token());
        }
        Ok(Some(token))
    }

    /// Whom to trust, for TLS.
    fn tls(&self) -> Result<TlsSettings, ServerError> {
        let Some(path) = &self.ca else {
            return Ok(TlsSettings::default());
        };
        let pem = files::begin_read(path, MAX_CA_BYTES).wait();
        let pem = pem.map_err(|error| cannot_trust(path, &error))?;
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            certificate.map_err(|error| cannot_trust(path, &error))?;
            count += 1;
        }
        if count == 0 {
            return Err(cannot_trust(path, &"it holds no PEM certificate"));
        }
        Ok(TlsSettings {
            ca: Some(Authorities {
                path: path.clone(),
                pem: pem.into(),
            }),
            ..TlsSettings::default()
        })
    }
}

fn bad_token() -> ServerError {
    let why = "the token is empty, or has characters that no token has";
    ServerError::Token(why.to_owned())
}

fn cannot_trust(path: &Path, why: &dyn std::fmt::Display) -> ServerError {
    ServerError::Authorities {
        path: path.display().to_string(),
        why: why.to_string(),
    }
}

/// Runs what asks a service, on this thread.
///
/// # Errors
/// If the process lacks what a runtime needs.
pub(super) fn block_on<F: Future>(asking: F) -> Result<F::Output, ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServerError::Runtime)?;
    let output = runtime.block_on(asking);
    // A name that is still looked up is not waited for.
    runtime.shutdown_background();
    Ok(output)
}

/// The body of an answer; `None` if it is longer than `limit`.
///
/// # Errors
/// If it does not come.
pub(super) async fn read(
    mut response: Response,
    limit: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    // Counted after decompression, piece by piece.
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

/// Why a service cannot be asked: the cause that says most.
pub(super) fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return TOO_LONG.to_owned();
    }
    let mut deepest: &dyn std::error::Error = error;
    let mut source = error.source();
    while let Some(error) = source {
        deepest = error;
        source = error.source();
    }
    plain(&deepest.to_string())
}
