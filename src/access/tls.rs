//! The service's certificate, and clients' ones: exchanged while connections come in.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;

use super::fault::fault;
use crate::config::{ConfigFault, TlsConfig};
use crate::net::files::{self, FileError, Pending};

/// The largest file of certificates, in bytes; a system's whole store has a fifth of it.
const MAX_FILE_LEN: u64 = 1 << 20;

/// How long before its end one is warned of a certificate.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A certificate with its key, and whom to ask for one.
#[derive(Debug)]
pub(crate) struct Material {
    pub(super) certified: Arc<CertifiedKey>,
    /// `None` asks no client for a certificate.
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
    expires: SystemTime,
}

/// Reads the files, or gives all their faults. Blocks for some seconds at most.
pub(super) fn read(config: &TlsConfig) -> Result<Material, Vec<ConfigFault>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut faults = Vec::new();
    let mut note = |key, why| faults.push(fault(&config.written, key, why));
    // At a time, so that a file system that hangs costs its limit once.
    let (chain, key) = (
        PendingMaterial::begin(&config.certificate),
        PendingMaterial::begin(&config.key),
    );
    let clients = config.client_ca.as_deref().map(PendingMaterial::begin);
    let chain = certificates(chain).map_err(|why| note(".certificate", why));
    let key = private_key(key).map_err(|why| note(".key", why));
    let clients = match clients {
        None => Ok(None),
        Some(file) => client_verifier(file, &provider)
            .map(Some)
            .map_err(|why| note(".client_ca", why)),
    };
    let (Ok(chain), Ok(key), Ok(clients)) = (chain, key, clients) else {
        return Err(faults);
    };
    let expires = chain.first().ok_or(()).and_then(expiry);
    let Ok(expires) = expires else {
        note(
            ".certificate",
            format!(
                "{:?} holds no certificate that can be read",
                config.certificate
            ),
        );
        return Err(faults);
    };
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(certified) => Ok(Material {
            certified: Arc::new(certified),
            clients,
            expires,
        }),
        Err(rustls::Error::InconsistentKeys(_)) => {
            note(
                ".key",
                format!(
                    "{:?} is not the key of the certificate {:?}",
                    config.key, config.certificate
                ),
            );
            Err(faults)
        }
        Err(error) => {
            note(".key", format!("{:?} cannot be used: {error}", config.key));
            Err(faults)
        }
    }
}

/// A file that is being read.
struct PendingMaterial<'a>(&'a Path, Pending<Vec<u8>>);

impl<'a> PendingMaterial<'a> {
    fn begin(path: &'a Path) -> Self {
        Self(path, files::begin_read(path, MAX_FILE_LEN))
    }

    fn wait(self) -> Result<Vec<u8>, String> {
        let Self(path, pending) = self;
        let cannot = |error: FileError| format!("cannot read {path:?}: {error}");
        pending.wait().map_err(cannot)
    }
}

fn certificates(file: PendingMaterial<'_>) -> Result<Vec<CertificateDer<'static>>, String> {
    let path = file.0;
    let pem = file.wait()?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(format!("{path:?} holds no PEM certificate"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("{path:?} is no PEM: {error}")),
    }
}

fn private_key(file: PendingMaterial<'_>) -> Result<PrivateKeyDer<'static>, String> {
    let path = file.0;
    // The parser's error could quote what it read.
    PrivateKeyDer::from_pem_slice(&file.wait()?)
        .map_err(|_| format!("{path:?} holds no private key in PEM, or an encrypted one"))
}

fn client_verifier(
    file: PendingMaterial<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let path = file.0;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("{path:?} cannot be used: {error}"))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| format!("{path:?} cannot be used: {error}"))
}

fn expiry(certificate: &CertificateDer<'_>) -> Result<SystemTime, ()> {
    let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| ())?;
    let seconds = certificate.validity().not_after.timestamp();
    let seconds = u64::try_from(seconds).unwrap_or_default();
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or(())
}

impl Material {
    pub(super) fn log(&self) {
        let expires = humantime::format_rfc3339_seconds(self.expires);
        let client_certificates = self.clients.is_some();
        log::info!(expires:%, client_certificates; "certificate");
    }

    pub(super) fn warn_of_expiry(&self) {
        let expires = humantime::format_rfc3339_seconds(self.expires);
        match self.expires.duration_since(SystemTime::now()) {
            Err(_) => log::error!(expires:%; "the certificate has expired"),
            Ok(left) if left < WARN_BEFORE => {
                let days = left.as_secs() / (24 * 60 * 60);
                log::warn!(expires:%, days; "the certificate expires soon");
            }
            Ok(_) => {}
        }
    }
}
