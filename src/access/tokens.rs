//! Tokens, kept as digests only.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use super::fault;
use crate::config::{ConfigFault, TokenConfig};
use crate::domain::Role;
use crate::lookup::secret::{self, Reading};

/// The shortest token, in bytes: as many of hexadecimal digits have 64 bits.
const MIN_LEN: usize = 16;

/// The longest token, in bytes; it has to fit into a header.
const MAX_LEN: usize = 4096;

/// The tokens in force, in the order of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Tokens(Vec<Token>);

/// A token that was read; the text itself is not kept.
#[derive(Clone)]
pub(crate) struct Token {
    /// What log lines call it.
    pub(crate) name: String,
    pub(crate) role: Role,
    digest: Digest,
    /// Since when it cannot be read or used any more, if so.
    stale: Option<Stale>,
}

/// A token whose file cannot be read or used.
#[derive(Debug, Clone, Copy)]
struct Stale {
    since: Instant,
    /// Whether that is too long.
    is_refused: bool,
}

type Digest = [u8; 32];

/// What reading a token gave, or why it cannot be used.
type Found = Result<Digest, String>;

impl std::fmt::Debug for Token {
    /// Without the digest, by which guesses could be tried.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, role, .. } = self;
        write!(f, "Token({name:?}, {role})")
    }
}

impl Tokens {
    /// Reads all of them, or gives all their faults. Blocks for some seconds at most.
    pub(super) fn read(configs: &[TokenConfig]) -> Result<Self, Vec<ConfigFault>> {
        let mut tokens: Vec<Token> = Vec::with_capacity(configs.len());
        let mut faults = Vec::new();
        for (config, found) in configs.iter().zip(look(configs)) {
            let TokenConfig {
                name,
                role,
                written,
                ..
            } = config;
            let digest = match found {
                Ok(digest) => digest,
                Err(why) => {
                    faults.push(fault(written, "", why));
                    continue;
                }
            };
            if let Some(other) = tokens.iter().find(|other| other.digest == digest) {
                faults.push(fault(written, "", is_that_of(other)));
            }
            tokens.push(Token {
                name: name.clone(),
                role: *role,
                digest,
                stale: None,
            });
        }
        if faults.is_empty() {
            Ok(Self(tokens))
        } else {
            Err(faults)
        }
    }

    /// What these are after two looks, the last one now: what was found twice counts. One that cannot
    /// be read or used stays, `for_long` at most. `None` if nothing changes; the log says what does.
    pub(super) fn after(
        &self,
        configs: &[TokenConfig],
        looks: [&[Found]; 2],
        for_long: Duration,
    ) -> Option<Self> {
        let mut after = self.clone();
        let mut has_changed = false;
        for (index, config) in configs.iter().enumerate() {
            let [Some(before), Some(now)] = looks.map(|look| look.get(index)) else {
                continue;
            };
            let others = after.0.iter().enumerate();
            let other = others.filter(|(at, _)| *at != index);
            let other = other.map(|(_, other)| other);
            let now = match now {
                Ok(digest) => match other.clone().find(|other| other.digest == *digest) {
                    Some(other) => Err(is_that_of(other)),
                    None => Ok(*digest),
                },
                Err(why) => Err(why.clone()),
            };
            let Some(token) = after.0.get_mut(index) else {
                continue;
            };
            let (key, name) = (&config.written.key, &token.name);
            match now {
                Ok(digest) => {
                    let is_settled = before.as_ref() == Ok(&digest);
                    if is_settled && token.stale.take().is_some() {
                        log::info!(key, token = name; "a token can be used again");
                        has_changed = true;
                    }
                    if is_settled && token.digest != digest {
                        token.digest = digest;
                        has_changed = true;
                    }
                }
                Err(why) => match &mut token.stale {
                    None if before.is_err() || *before != Ok(token.digest) => {
                        let stays = humantime::format_duration(for_long);
                        log::error!(key, token = name, fault = why, stays:%; "a token cannot be used, the one of before stays");
                        token.stale = Some(Stale {
                            since: Instant::now(),
                            is_refused: false,
                        });
                        has_changed = true;
                    }
                    Some(stale) if !stale.is_refused && stale.since.elapsed() >= for_long => {
                        log::error!(key, token = name, fault = why; "a token is refused from now on, it could not be used for too long");
                        stale.is_refused = true;
                        has_changed = true;
                    }
                    None | Some(_) => {}
                },
            }
        }
        has_changed.then_some(after)
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
        found.filter(|token| token.stale.is_none_or(|stale| !stale.is_refused))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Reads each of them. Blocks for some seconds at most.
pub(super) fn look(configs: &[TokenConfig]) -> Vec<Found> {
    // At a time, so that a file system that hangs costs its limit once.
    let begun = configs.iter().map(|config| secret::begin(&config.token));
    let begun: Vec<_> = begun.collect();
    let found = |reading: Reading| {
        let secret = reading.wait()?;
        check(secret.expose())?;
        Ok(digest(secret.expose()))
    };
    begun.into_iter().map(found).collect()
}

fn is_that_of(other: &Token) -> String {
    let name = &other.name;
    format!("the token is that of {name:?} too; make another one")
}

fn digest(token: &str) -> Digest {
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
