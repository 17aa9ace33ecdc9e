//! TLS for all drivers: whom to trust.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::LookupError;
use crate::domain::{LocalReason, TlsSettings};
use crate::files::{self, FileError};

/// Where they are in most systems; what a message names.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs";

/// The system's authorities, read until there are some: a reload does not change them, a restart does.
static SYSTEM_ROOTS: Mutex<Option<Arc<RootCertStore>>> = Mutex::new(None);

/// The system's authorities. Blocks for some seconds at most.
fn system_roots() -> Result<Arc<RootCertStore>, LookupError> {
    let mut known = SYSTEM_ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(roots) = &*known {
        return Ok(Arc::clone(roots));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system_certificates().map_err(|error| {
        LookupError::Local(
            LocalReason::File,
            format!("cannot read the system's certificates: {error}"),
        )
    })?);
    let roots = Arc::new(roots);
    if !roots.is_empty() {
        *known = Some(Arc::clone(&roots));
    }
    Ok(roots)
}

/// As the system has them; the log says what cannot be read of them. Blocks for some seconds at most.
pub(crate) fn system_certificates() -> Result<Vec<CertificateDer<'static>>, FileError> {
    let load = |_: &Path| Ok(rustls_native_certs::load_native_certs());
    let found = files::begin(Path::new(SYSTEM_CERTIFICATES), files::LIMIT, load).wait()?;
    for error in &found.errors {
        log::warn!(error:%; "cannot read some of the system's certificates");
    }
    Ok(found.certs)
}

/// What a TLS client does by these settings.
pub(crate) fn client(settings: &TlsSettings) -> Result<ClientConfig, LookupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            LookupError::Local(LocalReason::Setup, format!("cannot set up TLS: {error}"))
        })?;
    if !settings.verify {
        let verifier = Arc::new(TrustAnybody(provider));
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        return Ok(builder.with_no_client_auth());
    }
    let roots = match &settings.ca {
        None => system_roots()?,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| {
                    LookupError::Local(LocalReason::File, format!("bad `ca` file: {error}"))
                })?;
                roots.add(certificate).map_err(|error| {
                    LookupError::Local(LocalReason::File, format!("bad `ca` file: {error}"))
                })?;
            }
            Arc::new(roots)
        }
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The TLS error that an error of a socket wraps, however deep.
pub(super) fn cause(error: &std::io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    let deeper = || inner.downcast_ref::<std::io::Error>().and_then(cause);
    inner.downcast_ref::<rustls::Error>().or_else(deeper)
}

/// What a failed handshake means, in words of an operator.
pub(super) fn explain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name".to_owned()
            }
            CertificateError::UnknownIssuer => {
                "its certificate is from an authority that is not trusted here".to_owned()
            }
            other => format!("its certificate is not valid: {other}"),
        },
        other => format!("the TLS handshake failed: {other}"),
    }
}

/// `verify = false`: takes any certificate; signatures are checked all the same.
#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
