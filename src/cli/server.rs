//! Asking a running service: where it is, whom to trust, and what to show it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::terminal::plain;
use crate::domain::{Authorities, Secret, SecretSource, TlsSettings};
use crate::files;
use crate::lookup::{authorities, secret};

/// The largest file of authorities, in bytes; a system's whole store has a fifth of it.
const MAX_CA_BYTES: u64 = 1 << 20;

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
}

impl ServerError {
    /// Whether the command line has to be another one.
    pub(super) fn is_usage(&self) -> bool {
        match self {
            Self::Address(_) | Self::UserInfo => true,
            Self::Token(_) | Self::Authorities { .. } | Self::System(_) => false,
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

    /// As [`TrustFlags::token`].
    ///
    /// # Errors
    /// If its file cannot be read.
    pub(super) fn token(&self) -> Result<Option<Secret>, ServerError> {
        self.trust.token()
    }

    /// A client that trusts whom it should, and gives up after `timeout`.
    ///
    /// # Errors
    /// If the file of authorities cannot be read or holds none.
    pub(super) fn agent(&self, timeout: Duration) -> Result<ureq::Agent, ServerError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        if self.server.starts_with("https:") {
            tls = tls.root_certs(self.trust.roots()?);
        }
        Ok(ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .tls_config(tls.build())
            // What a service says of a refusal is for the caller.
            .http_status_as_error(false)
            // Nothing of a service is elsewhere, and nobody else is to see the token.
            .max_redirects(0)
            .build()
            .into())
    }
}

impl TrustFlags {
    /// The token to show, if there is one. It is read each time, so that a new one is used at once.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub(super) fn token(&self) -> Result<Option<Secret>, ServerError> {
        let source = match &self.token_file {
            Some(path) => SecretSource::File(path.clone()),
            None if std::env::var_os(TOKEN).is_none_or(|it| it.is_empty()) => return Ok(None),
            None => SecretSource::Env(TOKEN.to_owned()),
        };
        let token = secret::read_now(&source).map_err(ServerError::Token)?;
        let is_plain = |c: char| c.is_ascii_graphic();
        if token.expose().is_empty() || !token.expose().chars().all(is_plain) {
            let why = "the token is empty, or has characters that no token has";
            return Err(ServerError::Token(why.to_owned()));
        }
        Ok(Some(token))
    }

    /// Whom to trust, for TLS.
    ///
    /// # Errors
    /// If the file of authorities cannot be read or holds none.
    pub(super) fn tls(&self) -> Result<TlsSettings, ServerError> {
        let Some(path) = &self.ca else {
            return Ok(TlsSettings::default());
        };
        // It says what is wrong with them.
        self.roots()?;
        let pem = authorities(path)?;
        Ok(TlsSettings {
            ca: Some(Authorities {
                path: path.clone(),
                pem: pem.into(),
            }),
            ..TlsSettings::default()
        })
    }

    fn roots(&self) -> Result<RootCerts, ServerError> {
        let Some(path) = &self.ca else {
            let found = authorities::of_system_now();
            let found = found.map_err(|error| ServerError::System(error.to_string()))?;
            let certificates = found.iter();
            let certificates = certificates.map(|it| Certificate::from_der(it).to_owned());
            return Ok(RootCerts::Specific(Arc::new(certificates.collect())));
        };
        let cannot = |why: String| ServerError::Authorities {
            path: path.display().to_string(),
            why,
        };
        let mut certificates = Vec::new();
        let pem = authorities(path)?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| cannot(error.to_string()))?;
            certificates.push(Certificate::from_der(&certificate).to_owned());
        }
        if certificates.is_empty() {
            return Err(cannot("it holds no PEM certificate".to_owned()));
        }
        Ok(RootCerts::Specific(Arc::new(certificates)))
    }
}

/// What a file of authorities holds.
fn authorities(path: &Path) -> Result<Vec<u8>, ServerError> {
    let pem = files::begin_read(path, MAX_CA_BYTES).wait();
    pem.map_err(|error| ServerError::Authorities {
        path: path.display().to_string(),
        why: error.to_string(),
    })
}

/// Puts the token, if there is one, where the service looks for it.
pub(super) fn authorized<B>(
    request: ureq::RequestBuilder<B>,
    token: Option<&Secret>,
) -> ureq::RequestBuilder<B> {
    match token {
        Some(token) => request.header("Authorization", format!("Bearer {}", token.expose())),
        None => request,
    }
}
