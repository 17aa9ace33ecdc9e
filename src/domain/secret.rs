//! Secrets, and where they come from. A secret cannot print itself.

use std::fmt;
use std::path::PathBuf;

/// A password, a token: a text that stands in no log, error, metric or answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Keeps a text secret.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever it is meant for and nobody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Where a secret is read, each time that it is needed, so that a new one is used at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `{ env = "NAME" }`: a variable of this process's environment.
    Env(String),
    /// `{ file = "PATH" }`: a file; one newline at its end is not part of it.
    File(PathBuf),
    /// `{ systemd_credential = "NAME" }`: a file below `$CREDENTIALS_DIRECTORY` (systemd.exec(5)).
    Credential(String),
    /// Written in the configuration itself, which `allow_inline_secrets` has to allow.
    Inline(Secret),
}

impl SecretSource {
    /// The file that it is read from, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Env(_) | Self::Credential(_) | Self::Inline(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_cannot_print_itself() {
        let source = SecretSource::Inline(Secret::new("hunter2"));
        assert_eq!(
            format!("{source:?} {source:#?}").matches("hunter2").count(),
            0
        );
    }
}
