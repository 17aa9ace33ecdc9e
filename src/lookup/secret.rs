//! Reading secrets, each time that one is needed.

use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt as _;

use super::LookupError;
use crate::domain::{Secret, SecretSource};

/// The longest secret, in bytes: more than any token has.
const MAX_LEN: u64 = 64 << 10;

/// Reads a secret. What cannot be read is named in the error, what was read never.
pub(super) async fn read(source: &SecretSource) -> Result<Secret, LookupError> {
    match source {
        SecretSource::Inline(secret) => Ok(secret.clone()),
        SecretSource::Env(name) => std::env::var(name).map(Secret::new).map_err(|error| {
            let why = match error {
                std::env::VarError::NotPresent => "is not set",
                std::env::VarError::NotUnicode(_) => "is not UTF-8 text",
            };
            LookupError::Failed(format!("the secret's environment variable {name} {why}"))
        }),
        SecretSource::File(path) => file(path).await,
        SecretSource::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => file(&PathBuf::from(directory).join(name)).await,
            None => Err(LookupError::Failed(format!(
                "no credential {name}: systemd has set no CREDENTIALS_DIRECTORY"
            ))),
        },
    }
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

async fn file(path: &Path) -> Result<Secret, LookupError> {
    let cannot = |why: &dyn std::fmt::Display| {
        LookupError::Failed(format!(
            "cannot read the secret in {}: {why}",
            path.display()
        ))
    };
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await.map_err(|e| cannot(&e))?;
    let mut file = file.take(MAX_LEN + 1);
    file.read_to_string(&mut text)
        .await
        .map_err(|e| cannot(&e))?;
    if text.len() as u64 > MAX_LEN {
        return Err(cannot(&"it is larger than 64 KiB"));
    }
    let end = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(end.strip_suffix('\r').unwrap_or(end)))
}
