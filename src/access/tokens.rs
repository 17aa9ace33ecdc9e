//! Tokens, kept as digests only.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use super::fault::fault;
use crate::config::{ConfigFault, TokenConfig};
use crate::domain::Role;
use crate::net::secret;
use crate::net::secret::Reading;

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
#[derive(Debug, Clone)]
struct Stale {
    since: Instant,
    /// Why, as the log says.
    why: String,
    /// Whether that is too long.
    is_refused: bool,
}

type Digest = [u8; 32];

/// What reading a token gave, or why it cannot be used.
pub(super) type FoundToken = Result<Digest, String>;

impl std::fmt::Debug for Token {
    /// Without the digest, by which guesses could be tried.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, role, .. } = self;
        write!(f, "Token({name:?}, {role})")
    }
}

impl Token {
    fn is_refused(&self) -> bool {
        self.stale.as_ref().is_some_and(|stale| stale.is_refused)
    }

    /// What is taken for it now.
    fn in_force(&self) -> Option<Digest> {
        (!self.is_refused()).then_some(self.digest)
    }
}

/// What becomes of a token.
enum Next {
    /// It has this digest.
    Digest(Digest),
    /// It stays what it is, as it cannot be read or used.
    Unusable(String),
    /// It stays what it is until the next look.
    Unsettled,
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
        looks: [&[FoundToken]; 2],
        for_long: Duration,
    ) -> Option<Self> {
        let [before, now] = looks;
        if before.len() != self.0.len() || now.len() != self.0.len() {
            return None;
        }
        let mut after = self.clone();
        let mut has_changed = false;
        let next = self.next(before, now);
        let looked = configs.iter().zip(before.iter().zip(now)).zip(next);
        for (token, ((config, (before, now)), next)) in after.0.iter_mut().zip(looked) {
            let (key, name) = (&config.written.key, &token.name);
            match next {
                Next::Digest(digest) => {
                    if token.stale.take().is_some() {
                        log::info!(key, token = name; "a token can be used again");
                        has_changed = true;
                    }
                    if token.digest != digest {
                        token.digest = digest;
                        has_changed = true;
                    }
                }
                Next::Unusable(why) => match &mut token.stale {
                    None if *before != Ok(token.digest) => {
                        let stays = humantime::format_duration(for_long);
                        log::error!(key, token = name, fault = why, stays:%; "a token cannot be used, the one of before stays");
                        token.stale = Some(Stale {
                            since: Instant::now(),
                            why,
                            is_refused: false,
                        });
                        has_changed = true;
                    }
                    None => {}
                    Some(stale) => {
                        let is_other =
                            stale.why != why && before.as_ref().err() == now.as_ref().err();
                        let is_late = !stale.is_refused && stale.since.elapsed() >= for_long;
                        if is_late {
                            log::error!(key, token = name, fault = why; "a token is refused from now on, it could not be used for too long");
                            stale.is_refused = true;
                        } else if is_other {
                            log::error!(key, token = name, fault = why; "a token cannot be used for another reason");
                        }
                        if is_late || is_other {
                            stale.why = why;
                            has_changed = true;
                        }
                    }
                },
                Next::Unsettled => {}
            }
        }
        has_changed.then_some(after)
    }

    /// What becomes of each. No two have the same digest in force, so one cannot take that of another
    /// which keeps it; tokens that are exchanged for each other can.
    fn next(&self, before: &[FoundToken], now: &[FoundToken]) -> Vec<Next> {
        let next = before.iter().zip(now).map(|looks| match looks {
            (_, Err(why)) => Next::Unusable(why.clone()),
            (Ok(before), Ok(now)) if before == now => Next::Digest(*now),
            (_, Ok(_)) => Next::Unsettled,
        });
        let mut next: Vec<_> = next.collect();
        // One that stays what it was may be in the way of others, so all are looked at again.
        while let Some((index, instead)) = self.first_in_the_way(&next) {
            if let Some(next) = next.get_mut(index) {
                *next = instead;
            }
        }
        next
    }

    /// The first that cannot have its digest, as another has it, and what becomes of it instead.
    fn first_in_the_way(&self, next: &[Next]) -> Option<(usize, Next)> {
        let all = || self.0.iter().zip(next).enumerate();
        all().find_map(|(index, (token, wanted))| {
            let Next::Digest(digest) = wanted else {
                return None;
            };
            if token.in_force() == Some(*digest) {
                return None;
            }
            let (_, (other, its_next)) = all().find(|(at, (other, its_next))| match its_next {
                // Of two that want the same, the one that has it gets it, or the first.
                Next::Digest(its) => {
                    its == digest && (*at < index || other.in_force() == Some(*its))
                }
                Next::Unusable(_) | Next::Unsettled => other.in_force() == Some(*digest),
            } && *at != index)?;
            let instead = match its_next {
                // It may be about to give it up.
                Next::Unsettled => Next::Unsettled,
                Next::Digest(_) | Next::Unusable(_) => Next::Unusable(is_that_of(other)),
            };
            Some((index, instead))
        })
    }

    /// Whose token this is. Takes as long for any token of the same length, whether it is right,
    /// nearly right or wrong: digests are compared, in constant time, with all of them.
    pub(crate) fn find(&self, token: &str) -> Option<&Token> {
        let digest = digest(token);
        let mut found = None;
        for token in &self.0 {
            // One that is refused may have the digest of one that is not.
            if bool::from(token.digest.ct_eq(&digest)) && !token.is_refused() {
                found = Some(token);
            }
        }
        found
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are in force, and how many are refused.
    pub(super) fn counts(&self) -> (usize, usize) {
        let refused = self.0.iter().filter(|token| token.is_refused()).count();
        (self.0.len() - refused, refused)
    }
}

/// Reads each of them. Blocks for some seconds at most.
pub(super) fn look(configs: &[TokenConfig]) -> Vec<FoundToken> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Written;
    use crate::domain::{Secret, SecretSource};

    const LONG: Duration = Duration::from_secs(60);

    fn configs(names: &[&str]) -> Vec<TokenConfig> {
        let config = |name: &&str| TokenConfig {
            name: (*name).to_owned(),
            role: Role::Read,
            token: SecretSource::Inline(Secret::new(text(name))),
            written: Written {
                place: (1, 1),
                key: "http.tokens".to_owned(),
            },
        };
        names.iter().map(config).collect()
    }

    fn text(name: &str) -> String {
        format!("token-of-0123456789-{name}")
    }

    fn found(names: &[&str]) -> Vec<FoundToken> {
        let found = |name: &&str| match *name {
            "" => Err("it is gone".to_owned()),
            name => Ok(digest(&text(name))),
        };
        names.iter().map(found).collect()
    }

    /// What `tokens` are after the files were seen twice like this.
    fn seen_twice(tokens: &Tokens, files: &[&str], for_long: Duration) -> Tokens {
        let configs = configs(&["a", "b", "c"]);
        let files = found(files);
        let after = tokens.after(&configs, [&files, &files], for_long);
        after.unwrap_or_else(|| tokens.clone())
    }

    /// Whose the tokens `a`, `b` and `c` are.
    fn owners(tokens: &Tokens) -> [Option<&str>; 3] {
        ["a", "b", "c"].map(|it| tokens.find(&text(it)).map(|token| &token.name[..]))
    }

    fn tokens() -> Tokens {
        Tokens::read(&configs(&["a", "b", "c"])).unwrap()
    }

    #[test]
    fn tokens_that_are_exchanged_for_each_other_are_all_taken() {
        let after = seen_twice(&tokens(), &["b", "a", "c"], LONG);
        assert_eq!(owners(&after), [Some("b"), Some("a"), Some("c")]);
        let after = seen_twice(&after, &["c", "a", "b"], LONG);
        assert_eq!(owners(&after), [Some("b"), Some("c"), Some("a")]);
        assert!(after.0.iter().all(|token| token.stale.is_none()));
    }

    #[test]
    fn tokens_are_exchanged_once_both_are_settled() {
        let (old, new) = (found(&["b", "b", "c"]), found(&["b", "a", "c"]));
        let configs = configs(&["a", "b", "c"]);
        assert!(tokens().after(&configs, [&old, &new], LONG).is_none());
    }

    #[test]
    fn no_two_have_the_same_token() {
        // "a" wants what "b" keeps, so it keeps what "c" wants.
        let after = seen_twice(&tokens(), &["b", "b", "a"], LONG);
        assert_eq!(owners(&after), [Some("a"), Some("b"), Some("c")]);
        let is_stale = after.0.iter().map(|token| token.stale.is_some());
        assert_eq!(is_stale.collect::<Vec<_>>(), [true, false, true]);
        // Of two that want a new one, the first gets it.
        let after = seen_twice(&tokens(), &["new", "new", "c"], LONG);
        assert_eq!(after.find(&text("new")).unwrap().name, "a");
        assert_eq!(owners(&after), [None, Some("b"), Some("c")]);
        // One that cannot be read keeps its own.
        let after = seen_twice(&tokens(), &["b", "", "c"], LONG);
        assert_eq!(owners(&after), [Some("a"), Some("b"), Some("c")]);
    }

    #[test]
    fn a_token_that_is_refused_is_in_nobodys_way() {
        let gone = ["a", "b", ""];
        let stale = seen_twice(&tokens(), &gone, Duration::ZERO);
        let refused = seen_twice(&stale, &gone, Duration::ZERO);
        assert_eq!(owners(&refused), [Some("a"), Some("b"), None]);
        let after = seen_twice(&refused, &["c", "b", ""], LONG);
        assert_eq!(owners(&after), [None, Some("b"), Some("a")]);
        // When it comes back with what another has, it stays refused.
        let after = seen_twice(&after, &["c", "b", "c"], LONG);
        assert_eq!(owners(&after), [None, Some("b"), Some("a")]);
        let after = seen_twice(&after, &["a", "b", "c"], LONG);
        assert_eq!(owners(&after), [Some("a"), Some("b"), Some("c")]);
    }
}
