//! Reading secrets, each time that one is needed.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::LookupError;
use crate::domain::{Secret, SecretSource};

/// The longest secret, in bytes: more than any token has.
const MAX_LEN: u64 = 64 << 10;

/// Reads a secret. What cannot be read is named in the error, what was read never.
pub(super) async fn read(source: &SecretSource) -> Result<Secret, LookupError> {
    let read = match source {
        SecretSource::Inline(_) | SecretSource::Env(_) => read_now(source),
        SecretSource::File(_) | SecretSource::Credential(_) => {
            let source = source.clone();
            let read = tokio::task::spawn_blocking(move || read_now(&source)).await;
            read.unwrap_or_else(|error| Err(format!("cannot read a secret: {error}")))
        }
    };
    read.map_err(LookupError::Failed)
}

/// As [`read`], where one may wait for a disk. Blocks.
pub(crate) fn read_now(source: &SecretSource) -> Result<Secret, String> {
    match source {
        SecretSource::Inline(secret) => Ok(secret.clone()),
        SecretSource::Env(name) => std::env::var(name).map(Secret::new).map_err(|error| {
            let why = match error {
                std::env::VarError::NotPresent => "is not set",
                std::env::VarError::NotUnicode(_) => "is not UTF-8 text",
            };
            format!("the secret's environment variable {name} {why}")
        }),
        SecretSource::File(path) => file(path),
        SecretSource::Credential(name) => match credential(name) {
            Some(path) => file(&path),
            None => Err(format!(
                "no credential {name}: systemd has set no CREDENTIALS_DIRECTORY"
            )),
        },
    }
}

/// The file that a secret is read from, if it is one.
pub(crate) fn path(source: &SecretSource) -> Option<PathBuf> {
    match source {
        SecretSource::File(path) => Some(path.clone()),
        SecretSource::Credential(name) => credential(name),
        SecretSource::Inline(_) | SecretSource::Env(_) => None,
    }
}

fn credential(name: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    Some(PathBuf::from(directory).join(name))
}

/// Why those of these secrets that cannot be read now cannot be, each once.
pub(crate) async fn unreadable(sources: &[&SecretSource]) -> Vec<String> {
    let mut why: Vec<String> = Vec::new();
    for source in sources {
        if let Err(error) = read(source).await {
            let error = error.to_string();
            if !why.contains(&error) {
                why.push(error);
            }
        }
    }
    why
}

fn file(path: &Path) -> Result<Secret, String> {
    let cannot = |why: &dyn std::fmt::Display| {
        format!("cannot read the secret in {}: {why}", path.display())
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| cannot(&e))?;
    let read = file.take(MAX_LEN + 1).read_to_string(&mut text);
    read.map_err(|e| cannot(&e))?;
    if text.len() as u64 > MAX_LEN {
        return Err(cannot(&"it is larger than 64 KiB"));
    }
    let end = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(end.strip_suffix('\r').unwrap_or(end)))
}
