//! Reading secrets, each time that one is needed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{LocalReason, LookupError, Secret, SecretSource};
use crate::net::files::{self, FileError, Pending};

/// The longest secret, in bytes: more than any token has.
const MAX_LEN: u64 = 64 << 10;

/// Reads a secret, until `deadline`. What cannot be read is named in the error, what was read never.
pub(crate) async fn read(source: &SecretSource, deadline: Instant) -> Result<Secret, LookupError> {
    let cannot = |why| LookupError::Local(LocalReason::Secret, why);
    let path = match place(source).map_err(cannot)? {
        SecretPlace::Here(secret) => return Ok(secret),
        SecretPlace::File(path) => path,
    };
    let reason = LocalReason::Secret;
    let bytes = read_file(&doing(&path), &path, MAX_LEN, reason, deadline).await?;
    note_used(&path, &bytes);
    understand(&path, Ok(bytes)).map_err(cannot)
}

/// Reads a file that asking needs, until `deadline`.
pub(crate) async fn read_file(
    doing: &str,
    path: &Path,
    most: u64,
    reason: LocalReason,
    deadline: Instant,
) -> Result<Vec<u8>, LookupError> {
    let read = |limit| files::FLEET.read(path, most, limit);
    wait_for_file(doing, reason, deadline, read).await
}

/// Waits for what a file gives that asking needs, until `deadline`. While it is awaited, the device is
/// not.
pub(crate) async fn wait_for_file<T, F: Future<Output = Result<T, FileError>>>(
    doing: &str,
    reason: LocalReason,
    deadline: Instant,
    read: impl FnOnce(Duration) -> F,
) -> Result<T, LookupError> {
    let cannot = |error: &FileError| {
        let known = match error {
            FileError::Io(error) => LookupError::local_io(doing, error),
            _ => None,
        };
        known.unwrap_or_else(|| LookupError::Local(reason, format!("{doing}: {error}")))
    };
    let limit = deadline.saturating_duration_since(Instant::now());
    let limit = limit.min(files::LIMIT);
    await_file(Some(cannot(&FileError::Silent(limit))));
    let read = read(limit).await;
    await_file(None);
    read.map_err(|error| cannot(&error))
}

/// A file with a secret, and what tells its content apart: a hash with a key that no other process has
/// and that does not outlive this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsedSecret {
    path: PathBuf,
    print: u64,
}

/// Files that a lookup reads.
#[derive(Debug, Default)]
struct LookupFiles {
    /// Those that it has read secrets from.
    used: RefCell<Vec<UsedSecret>>,
    /// While it waits for one: what it fails with if it is given up.
    awaited: RefCell<Option<LookupError>>,
}

tokio::task_local! {
    /// Those of the lookup that runs; none for a check of the configuration and the like.
    static FILES: LookupFiles;
}

fn await_file(error: Option<LookupError>) {
    FILES.try_with(|files| files.awaited.replace(error)).ok();
}

/// What the lookup that runs fails with if it is given up now: set if it waits for a file, and not for
/// its device.
pub(crate) fn awaited() -> Option<LookupError> {
    FILES.try_with(|files| files.awaited.take()).ok()?
}

fn print(bytes: &[u8]) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    KEY.get_or_init(RandomState::new).hash_one(bytes)
}

/// The lookup that runs has read a secret from this file.
pub(crate) fn note_used(path: &Path, bytes: &[u8]) {
    let used = UsedSecret {
        path: path.to_owned(),
        print: print(bytes),
    };
    FILES
        .try_with(|files| files.used.borrow_mut().push(used))
        .ok();
}

/// Runs a lookup, and gives the files, too, that it read secrets from. `awaits_file` says meanwhile
/// whether it waits for one.
pub(crate) async fn using<T>(
    awaits_file: &AtomicBool,
    lookup: impl Future<Output = T>,
) -> (T, Vec<UsedSecret>) {
    let lookup = async {
        let mut lookup = pin!(lookup);
        let result = poll_fn(|context| {
            let polled = lookup.as_mut().poll(context);
            let awaits = polled.is_pending() && FILES.with(|it| it.awaited.borrow().is_some());
            awaits_file.store(awaits, Ordering::Relaxed);
            polled
        });
        let result = result.await;
        (result, FILES.with(|files| files.used.take()))
    };
    FILES.scope(LookupFiles::default(), lookup).await
}

/// How often a file is looked at, whether a secret is another one, at most.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// How long that may take; whoever waits for it is not asked meanwhile.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// The largest file that a secret is read from, in bytes: a private key.
const MAX_FILE_LEN: u64 = 16 << 20;

/// What files with secrets hold, as of the last look; `None` if they could not be read.
#[derive(Debug, Default)]
pub(crate) struct SecretFiles(Mutex<HashMap<PathBuf, (Instant, Option<u64>)>>);

impl SecretFiles {
    /// Whether one of these files holds another secret now than it did then. Takes a second at most, for
    /// each of them.
    pub(crate) async fn have_changed(&self, used: &[UsedSecret]) -> bool {
        for UsedSecret { path, print: then } in used {
            let now = match self.known(path) {
                Some(now) => now,
                None => {
                    // Callers that ask at the same time share it.
                    let bytes = files::FLEET.read(path, MAX_FILE_LEN, LOOK_LIMIT).await;
                    let now = bytes.ok().map(|bytes| print(&bytes));
                    self.lock().insert(path.clone(), (Instant::now(), now));
                    now
                }
            };
            if now.is_some_and(|now| now != *then) {
                return true;
            }
        }
        false
    }

    /// What was found of a file, if that was a moment ago.
    fn known(&self, path: &Path) -> Option<Option<u64>> {
        let (at, found) = *self.lock().get(path)?;
        (at.elapsed() < LOOK_EVERY).then_some(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, (Instant, Option<u64>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As [`read`], where one may wait for a file. Blocks for some seconds at most.
pub(crate) fn read_now(source: &SecretSource) -> Result<Secret, String> {
    begin(source).wait()
}

/// A secret that is being read.
#[derive(Debug)]
pub(crate) enum Reading {
    /// It was there, or cannot be.
    Done(Result<Secret, String>),
    /// It is in this file.
    File(PathBuf, Pending<Vec<u8>>),
}

/// Begins to read a secret, so that several can be read at a time.
pub(crate) fn begin(source: &SecretSource) -> Reading {
    match place(source) {
        Ok(SecretPlace::Here(secret)) => Reading::Done(Ok(secret)),
        Ok(SecretPlace::File(path)) => {
            let pending = files::begin_read(&path, MAX_LEN);
            Reading::File(path, pending)
        }
        Err(why) => Reading::Done(Err(why)),
    }
}

impl Reading {
    /// Waits for it, for some seconds at most. Blocks.
    pub(crate) fn wait(self) -> Result<Secret, String> {
        match self {
            Self::Done(secret) => secret,
            Self::File(path, pending) => understand(&path, pending.wait()),
        }
    }
}

enum SecretPlace {
    Here(Secret),
    File(PathBuf),
}

/// Where a secret is; the error says why it is nowhere.
fn place(source: &SecretSource) -> Result<SecretPlace, String> {
    match source {
        SecretSource::Inline(secret) => Ok(SecretPlace::Here(secret.clone())),
        SecretSource::Env(name) => {
            let secret = std::env::var(name).map_err(|error| {
                let why = match error {
                    std::env::VarError::NotPresent => "is not set",
                    std::env::VarError::NotUnicode(_) => "is not UTF-8 text",
                };
                format!("the secret's environment variable {name} {why}")
            })?;
            Ok(SecretPlace::Here(Secret::new(secret)))
        }
        SecretSource::File(path) => Ok(SecretPlace::File(path.clone())),
        SecretSource::Credential(name) => match credential(name) {
            Some(path) => Ok(SecretPlace::File(path)),
            None => Err(format!(
                "no credential {name}: systemd has set no CREDENTIALS_DIRECTORY"
            )),
        },
    }
}

fn credential(name: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|it| !it.is_empty())?;
    Some(PathBuf::from(directory).join(name))
}

/// Why those of these secrets that cannot be read now cannot be, each once.
pub(crate) async fn unreadable(sources: &[&SecretSource]) -> Vec<String> {
    let deadline = Instant::now() + files::LIMIT;
    let reads = sources.iter().map(|source| read(source, deadline));
    let mut why: Vec<String> = Vec::new();
    for read in futures::future::join_all(reads).await {
        if let Err(error) = read {
            let error = error.to_string();
            if !why.contains(&error) {
                why.push(error);
            }
        }
    }
    why
}

fn doing(path: &Path) -> String {
    format!("cannot read the secret in {}", path.display())
}

/// The secret that a file holds.
pub(crate) fn understand(path: &Path, read: Result<Vec<u8>, FileError>) -> Result<Secret, String> {
    let cannot = |why: &dyn std::fmt::Display| format!("{}: {why}", doing(path));
    let bytes = read.map_err(|error| cannot(&error.cause()))?;
    let text = String::from_utf8(bytes).map_err(|_| cannot(&"it is not UTF-8 text"))?;
    let end = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(end.strip_suffix('\r').unwrap_or(end)))
}
