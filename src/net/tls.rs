//! TLS for all drivers: whom to trust.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::time::Instant;

use crate::domain::{LocalReason, LookupError, TlsSettings};
use crate::net::authorities;

/// What a TLS client does by its settings, made when it is needed, and anew when the system's
/// authorities are others.
#[derive(Debug)]
pub(crate) struct TlsClient {
    settings: TlsSettings,
    made: Mutex<Option<MadeConfig>>,
}

#[derive(Debug)]
struct MadeConfig {
    system: Option<Arc<RootCertStore>>,
    config: Arc<ClientConfig>,
}

impl TlsClient {
    pub(crate) const fn new(settings: TlsSettings) -> Self {
        Self {
            settings,
            made: Mutex::new(None),
        }
    }

    /// Waits for the system's authorities until `deadline`, if it trusts these.
    pub(crate) async fn config(&self, deadline: Instant) -> Result<Arc<ClientConfig>, LookupError> {
        let system = match trusts_system(&self.settings) {
            true => Some(authorities::of_system(deadline).await?),
            false => None,
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made
            && made.system.as_ref().map(Arc::as_ptr) == system.as_ref().map(Arc::as_ptr)
        {
            return Ok(Arc::clone(&made.config));
        }
        let config = Arc::new(config(&self.settings, system.clone())?);
        let made = made.insert(MadeConfig { system, config });
        Ok(Arc::clone(&made.config))
    }
}

/// What a TLS client does by these settings, for a thread that may wait. Blocks for some seconds at most.
pub(crate) fn client_now(settings: &TlsSettings) -> Result<ClientConfig, LookupError> {
    let system = match trusts_system(settings) {
        true => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(authorities::of_system_now()?);
            Some(Arc::new(roots))
        }
        false => None,
    };
    config(settings, system)
}

fn trusts_system(settings: &TlsSettings) -> bool {
    settings.verify && settings.ca.is_none()
}

fn config(
    settings: &TlsSettings,
    system: Option<Arc<RootCertStore>>,
) -> Result<ClientConfig, LookupError> {
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
        None => system.unwrap_or_else(|| Arc::new(RootCertStore::empty())),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&ca.pem) {
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
pub(crate) fn cause(error: &std::io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    let deeper = || inner.downcast_ref::<std::io::Error>().and_then(cause);
    inner.downcast_ref::<rustls::Error>().or_else(deeper)
}

/// What a failed handshake means, in words of an operator.
pub(crate) fn explain(error: &rustls::Error) -> String {
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
