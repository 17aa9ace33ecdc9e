//! Which published configurations a process takes.
//!
//! Whoever may write the bucket would otherwise decide what commands run where they are taken, and
//! whom local secrets are sent to. So what is not signed may take nothing from the machine that it is
//! used on, unless that is allowed; and where a key is given, only what it signed is taken.
//!
//! The largest serial that a process has taken is known as long as it runs. What it knows at its
//! start is what the bucket keeps: it takes the largest serial of that. So one who may write the
//! bucket can have a process that starts take any configuration that was ever signed by a key that it
//! has, and none else; another key takes them all back.

use super::signature::{PublicKey, Signature};
use crate::config::Edition;

/// Which published configurations a process takes.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Trust {
    /// Those that take nothing from the machine that they are used on: no command, file, variable or
    /// credential. Signatures are not looked at.
    #[default]
    Harmless,
    /// All.
    All,
    /// Those that were signed by one of these keys.
    Signed(Vec<PublicKey>),
}

impl Trust {
    /// Whether a configuration may run commands, and read files, variables and credentials.
    #[must_use]
    pub fn allows_local(&self) -> bool {
        match self {
            Self::Harmless => false,
            Self::All | Self::Signed(_) => true,
        }
    }

    /// An entry of a bucket, and whether it may be taken.
    pub(super) fn edition(&self, bucket: &str, version: u64, entry: String) -> Edition {
        let signature = Signature::parse(&entry);
        let keys = match self {
            Self::Signed(keys) => keys,
            Self::Harmless | Self::All => {
                let text_at = signature.map_or(0, |it| it.text_at);
                return Edition {
                    version,
                    entry,
                    text_at,
                    ..Edition::default()
                };
            }
        };
        let verified = signature.and_then(|it| {
            let serial = it.verify(keys, bucket, &entry)?;
            Ok((it.text_at, serial))
        });
        match verified {
            Ok((text_at, serial)) => Edition {
                version,
                entry,
                text_at,
                serial: Some(serial),
                refused: None,
            },
            Err(why) => Edition {
                version,
                refused: Some(why.to_string()),
                ..Edition::default()
            },
        }
    }
}
