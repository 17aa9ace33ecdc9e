//! The settings of the `snmp` driver: whom to ask, and with what security.
//!
//! A password without its protocol, or privacy without authentication, cannot be said here.

use std::time::Duration;

use super::{SecretSource, Template};

/// The `snmp` driver's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnmpSettings {
    /// `host:port`, over UDP.
    pub address: Template,
    /// The version, and what authenticates us there.
    pub security: SnmpSecurity,
    /// How long the first answer is waited for before the request is sent again; each further
    /// wait is twice as long as the one before.
    pub retransmit: Duration,
}

/// The version of SNMP, and what it authenticates with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnmpSecurity {
    /// Version 2c: the community.
    Community(SecretSource),
    /// Version 3: a user of the user-based security model (RFC 3414).
    User(SnmpUser),
}

impl SnmpSettings {
    /// The secrets that asking needs.
    #[must_use]
    pub fn secrets(&self) -> Vec<&SecretSource> {
        match &self.security {
            SnmpSecurity::Community(community) => vec![community],
            SnmpSecurity::User(user) => {
                let auth = user.auth.iter();
                auth.flat_map(|auth| {
                    let privacy = auth.privacy.as_ref().map(|it| &it.password);
                    std::iter::once(&auth.password).chain(privacy)
                })
                .collect()
            }
        }
    }
}

/// A user, with as much security as is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnmpUser {
    /// From 1 to 32 bytes.
    pub name: String,
    /// `None` is noAuthNoPriv.
    pub auth: Option<SnmpAuth>,
}

/// How messages are authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnmpAuth {
    /// With what digest.
    pub digest: SnmpDigest,
    /// At least 8 characters.
    pub password: SecretSource,
    /// `None` is authNoPriv.
    pub privacy: Option<SnmpPrivacy>,
}

/// How messages are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnmpPrivacy {
    /// With what cipher.
    pub cipher: SnmpCipher,
    /// At least 8 characters.
    pub password: SecretSource,
}

/// The digests that authenticate.
///
/// | digest | message authentication | RFC |
/// | --- | --- | --- |
/// | `sha1` | HMAC-SHA-96 | 3414 |
/// | `sha224` `sha256` `sha384` `sha512` | HMAC-SHA-2, 128 to 384 bits | 7860 |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnmpDigest {
    /// SHA-1.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl SnmpDigest {
    /// Every digest, from the weakest.
    pub const ALL: [Self; 5] = [
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
    ];

    /// The digest as a configuration names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// The ciphers that encrypt, all in CFB mode.
///
/// AES-128 is RFC 3826. The longer ones never became a standard; their keys are made longer as in
/// draft-blumenthal-aes-usm-04, which is what net-snmp does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnmpCipher {
    /// AES with a key of 128 bits.
    Aes128,
    /// AES with a key of 192 bits.
    Aes192,
    /// AES with a key of 256 bits.
    Aes256,
}

impl SnmpCipher {
    /// Every cipher, from the weakest.
    pub const ALL: [Self; 3] = [Self::Aes128, Self::Aes192, Self::Aes256];

    /// The cipher as a configuration names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes128 => "aes128",
            Self::Aes192 => "aes192",
            Self::Aes256 => "aes256",
        }
    }
}
