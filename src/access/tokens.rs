//! Tokens, kept as digests only.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::fault;
use crate::config::{ConfigFault, TokenConfig};
use crate::domain::Role;
use crate::lookup::secret;

/// The shortest token, in bytes: as many of hexadecimal digits have 64 bits.
const MIN_LEN: usize = 16;

/// The longest token, in bytes; it has to fit into a header.
const MAX_LEN: usize = 4096;

/// The tokens in force.
#[derive(Debug)]
pub(crate) struct Tokens(Vec<Token>);

/// A token that was read; the text itself is not kept.
pub(crate) struct Token {
    /// What log lines call it.
    pub(crate) name: String,
    pub(crate) role: Role,
    digest: [u8; 32],
}

impl std::fmt::Debug for Token {
    /// Without the digest, by which guesses could be tried.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, role, .. } = self;
        write!(f, "Token({name:?}, {role})")
    }
}

impl Tokens {
    /// Reads all of them, or gives all their faults. Blocks.
    pub(super) fn read(configs: &[TokenConfig]) -> Result<Self, Vec<ConfigFault>> {
        let mut tokens: Vec<Token> = Vec::with_capacity(configs.len());
        let mut faults = Vec::new();
        // At a time, so that a file system that hangs costs its limit once.
        let begun = configs.iter().map(|config| secret::begin(&config.token));
        let begun: Vec<_> = begun.collect();
        for (config, reading) in configs.iter().zip(begun) {
            let TokenConfig {
                name,
                role,
                written,
                ..
            } = config;
            let secret = match reading.wait() {
                Ok(secret) => secret,
                Err(error) => {
                    faults.push(fault(written, "", error));
                    continue;
                }
            };
            if let Err(why) = check(secret.expose()) {
                faults.push(fault(written, "", why));
                continue;
            }
            let digest = digest(secret.expose());
            if let Some(other) = tokens.iter().find(|other| other.digest == digest) {
                let why = format!(
                    "the token is that of {:?} too; make another one",
                    other.name
                );
                faults.push(fault(written, "", why));
            }
            tokens.push(Token {
                name: name.clone(),
                role: *role,
                digest,
            });
        }
        if faults.is_empty() {
            Ok(Self(tokens))
        } else {
            Err(faults)
        }
    }

    /// Whose token this is. Takes as long for any token of the same length, whether it is right,
    /// nearly right or wrong: digests are compared, in constant time, with all of them.
    pub(crate) fn find(&self, token: &str) -> Option<&Token> {
        let digest = digest(token);
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.digest.ct_eq(&digest)) {
                found = Some(token);
            }
        }
        found
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Whether it can be a token: RFC 6750's `b64token`, long enough not to be guessed.
fn check(token: &str) -> Result<(), String> {
    let right = "make one by `openssl rand -hex 32`";
    if token.len() < MIN_LEN {
        return Err(format!(
            "the token has less than {MIN_LEN} characters and can be guessed; {right}"
        ));
    }
    if token.len() > MAX_LEN {
        return Err(format!(
            "the token has more than {MAX_LEN} characters; {right}"
        ));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    if !token.chars().all(is_plain) {
        return Err(format!(
            "the token has characters other than letters, digits and -._~+/=; {right}"
        ));
    }
    Ok(())
}
