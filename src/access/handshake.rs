//! Handshakes by the certificates that are in force.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};

use super::Access;

impl Access {
    /// What a TLS server does, by whatever certificate is in force at each handshake; `None` if
    /// there is no encryption.
    pub(crate) fn server_config(&self) -> Result<Option<ServerConfig>, rustls::Error> {
        if self.policy().material.is_none() {
            return Ok(None);
        }
        HandshakeConfig::server_config(self.clone()).map(Some)
    }
}

/// Answers handshakes by what is in force at that moment.
#[derive(Debug)]
struct HandshakeConfig {
    access: Access,
    provider: Arc<CryptoProvider>,
}

impl HandshakeConfig {
    fn server_config(access: Access) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let this = Arc::new(Self {
            access,
            provider: Arc::clone(&provider),
        });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::clone(&this) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(this);
        // A session that is resumed shows no certificate again, though it may not be valid any more.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn clients(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.access.policy().material.as_ref()?.clients.clone()
    }
}

impl ResolvesServerCert for HandshakeConfig {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let policy = self.access.policy();
        Some(Arc::clone(&policy.material.as_ref()?.certified))
    }
}

impl ClientCertVerifier for HandshakeConfig {
    fn offer_client_auth(&self) -> bool {
        self.clients().is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.clients().is_some()
    }

    /// None, as they could not be exchanged: a client sends the certificate that it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.clients() {
            Some(clients) => clients.verify_client_cert(certificate, intermediates, now),
            // Asked for before a reload that asks for none.
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
