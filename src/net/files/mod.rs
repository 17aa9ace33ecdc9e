//! Reading files that may be anything, may change meanwhile, and may hang.
//!
//! A file system that does not answer (NFS, FUSE) holds the thread that asks it, for ever, and no
//! signal ends that. So nothing here is done on the caller's thread: each path has a thread of its
//! own, at most one at a time, which is detached. No caller waits longer than its limit, and neither
//! does the end of the process, as it would for the blocking pool of a runtime. While a path hangs,
//! further callers are told so at once; when it answers again, the next caller is served.
//!
//! There are two pools. The files that the process itself needs (configuration, tokens, certificates,
//! the system's files) are as many as the configuration names, so each that hangs may keep a thread.
//! Those of the fleet (secrets of devices, lists) can be any number, so their threads are bounded, and
//! however many hang, the others are not held up.
//!
//! Nothing of what files contain stands in an error. Entry points: [`read`] for tasks and [`begin`] for
//! threads that may wait, both for the process itself; [`FLEET`] for the rest.

mod error;
mod pool;

use std::fs::{FileType, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;

pub(crate) use error::FileError;
pub(crate) use pool::Pending;
use pool::Pool;
#[cfg(test)]
pub(crate) use pool::hang;

/// How long a file may take, unless the caller has less time.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Threads for the fleet's files at most. With more paths than that, paths wait for each other.
const MAX_THREADS: usize = 64;

/// For what the process itself needs.
pub(crate) static OWN: Pool = Pool::new(usize::MAX);

/// For what devices and lists need.
pub(crate) static FLEET: Pool = Pool::new(MAX_THREADS);

/// What a file looked like: another stamp is another file, or another content.
///
/// Symbolic links are followed all the way, so that replacing one (as Kubernetes does with a whole
/// folder of them) changes the stamp, as renaming another file over it and writing into it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<[i128; 5]>);

impl Stamp {
    /// Whether there was a file.
    pub(crate) fn is_there(self) -> bool {
        self.0.is_some()
    }

    fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        let nanos = |secs: i64, nanos: i64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        Self(metadata.map(|it| {
            [
                it.dev().into(),
                it.ino().into(),
                it.len().into(),
                nanos(it.mtime(), it.mtime_nsec()),
                nanos(it.ctime(), it.ctime_nsec()),
            ]
        }))
    }
}

/// As [`Pool::read`], for a file of the process itself.
///
/// # Errors
/// Every variant of [`FileError`].
pub(crate) async fn read(path: &Path, most: u64, limit: Duration) -> Result<Vec<u8>, FileError> {
    OWN.read(path, most, limit).await
}

/// As [`read`], for a thread that may wait.
pub(crate) fn begin_read(path: &Path, most: u64) -> Pending<Vec<u8>> {
    begin(path, LIMIT, move |path| read_regular(path, most))
}

/// What the file looks like now.
///
/// # Errors
/// If its file system does not answer.
pub(crate) async fn stamp(path: &Path, limit: Duration) -> Result<Stamp, FileError> {
    OWN.run(path, limit, |path| Ok(Stamp::of(path))).await
}

/// As [`stamp`], for a thread that may wait.
pub(crate) fn begin_stamp(path: &Path) -> Pending<Stamp> {
    begin(path, LIMIT, |path| Ok(Stamp::of(path)))
}

/// As [`Pool::begin_look_at_access`], for a task and a file of the process itself.
///
/// # Errors
/// If there is no file, or its file system does not answer.
pub(crate) async fn is_open_to_all(path: &Path) -> Result<bool, FileError> {
    OWN.run(path, LIMIT, all_can_read).await
}

fn all_can_read(path: &Path) -> Result<bool, FileError> {
    let path = std::fs::canonicalize(path)?;
    let lets = |path: &Path, right: u32| -> Result<bool, FileError> {
        Ok(std::fs::metadata(path)?.permissions().mode() & right != 0)
    };
    if !lets(&path, 0o004)? {
        return Ok(false);
    }
    for folder in path.ancestors().skip(1) {
        if !lets(folder, 0o001)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Pool {
    /// Reads a regular file of up to `most` bytes, within `limit`; one reading for all callers that ask
    /// before it begins.
    ///
    /// # Errors
    /// Every variant of [`FileError`].
    pub(crate) async fn read(
        &'static self,
        path: &Path,
        most: u64,
        limit: Duration,
    ) -> Result<Vec<u8>, FileError> {
        let read = move |path: &Path| read_regular(path, most);
        let bytes = self.share(path, most, limit, read).await?;
        Ok(Arc::unwrap_or_clone(bytes))
    }

    /// Whether others than its owner and its group can read the file, as far as its folders let them.
    pub(crate) fn begin_look_at_access(
        &'static self,
        path: &Path,
        limit: Duration,
    ) -> Pending<bool> {
        self.begin(path, limit, all_can_read)
    }
}

/// Does `work` for a file of the process itself, as [`Pool::share`] does.
///
/// # Errors
/// Those of `work`; those of [`FileError`] that say that it did not come to an end.
pub(crate) async fn share<T: Send + Sync + 'static>(
    path: &Path,
    limit: Duration,
    work: impl FnOnce(&Path) -> Result<T, FileError> + Send + 'static,
) -> Result<Arc<T>, FileError> {
    OWN.share(path, 0, limit, work).await
}

/// Does `work` on the thread of `path`, for a thread, which may wait for it up to `limit`; several may
/// be begun before the first is waited for.
pub(crate) fn begin<T: Send + 'static>(
    path: &Path,
    limit: Duration,
    work: impl FnOnce(&Path) -> Result<T, FileError> + Send + 'static,
) -> Pending<T> {
    OWN.begin(path, limit, work)
}

/// Whether others than its owner may read the file. Blocks.
///
/// # Errors
/// If there is no file, or its file system does not answer.
pub(crate) fn is_open_to_others(path: &Path) -> Result<bool, FileError> {
    let is_open = |path: &Path| Ok(std::fs::metadata(path)?.mode() & 0o044 != 0);
    begin(path, LIMIT, is_open).wait()
}

/// Whether the file is a pipe. Blocks.
///
/// # Errors
/// If there is no file, or its file system does not answer.
pub(crate) fn is_pipe(path: &Path) -> Result<bool, FileError> {
    let is_pipe = |path: &Path| Ok(std::fs::metadata(path)?.file_type().is_fifo());
    begin(path, LIMIT, is_pipe).wait()
}

/// Reads a file while it is a regular one: a pipe that comes between the look and the opening is
/// refused without a wait, a terminal does not become ours.
fn read_regular(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    require_regular(&std::fs::metadata(path)?)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    require_regular(&file.metadata()?)?;
    read_up_to(file, most)
}

/// Reads to the end, which is to come before so many bytes.
pub(crate) fn read_up_to(from: impl io::Read, most: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(FileError::TooLarge(most));
    }
    Ok(bytes)
}

/// Refuses what could be waited for, for ever.
pub(crate) fn require_regular(metadata: &Metadata) -> Result<(), FileError> {
    let other = |kind: FileType| {
        if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a pipe"
        } else if kind.is_socket() {
            "a socket"
        } else {
            "a device"
        }
    };
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(FileError::NotRegular(other(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A path of its own for each test: the pools are shared.
    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn kind(read: Result<Vec<u8>, FileError>) -> String {
        read.unwrap_err().to_string()
    }

    #[test]
    fn only_regular_files_are_read_also_through_links() {
        let dir = dir();
        let at = |name: &str| dir.path().join(name);
        let read = |name: &str| begin_read(&at(name), 1024).wait();
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        assert_eq!(read("link").unwrap(), b"text");
        let made = std::process::Command::new("mkfifo")
            .arg(at("pipe"))
            .status();
        assert!(made.unwrap().success());
        std::os::unix::fs::symlink("pipe", at("to a pipe")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("zero")).unwrap();
        for (name, what) in [
            ("pipe", "a pipe"),
            ("to a pipe", "a pipe"),
            ("socket", "a socket"),
            ("zero", "a device"),
            (".", "a directory"),
        ] {
            let expected = format!("it is {what}, not a regular file");
            assert_eq!(kind(read(name)), expected, "{name}");
        }
        assert!(kind(read("none")).starts_with("No such file"));
        std::fs::write(at("file"), [b'x'; 1025]).unwrap();
        assert_eq!(kind(read("file")), "it is larger than 1 KiB");
        std::fs::write(at("file"), [b'x'; 1024]).unwrap();
        assert_eq!(read("file").unwrap().len(), 1024);
    }

    #[tokio::test]
    async fn what_the_process_itself_needs_is_read_however_many_files_of_the_fleet_hang() {
        let dir = dir();
        let at = |name: &str| dir.path().join(name);
        let hang = |name: usize| hang(&FLEET, &at(&name.to_string()));
        let _held: Vec<_> = (0..MAX_THREADS).map(hang).collect();
        std::fs::write(at("token"), "text").unwrap();
        let error = FLEET.read(&at("token"), 10, Duration::ZERO).await;
        assert!(matches!(error, Err(FileError::Busy)), "{error:?}");
        assert_eq!(begin_read(&at("token"), 10).wait().unwrap(), b"text");
        assert_eq!(read(&at("token"), 10, PATIENCE).await.unwrap(), b"text");
        assert!(stamp(&at("token"), PATIENCE).await.unwrap().is_there());
    }

    #[test]
    fn any_number_of_files_of_the_process_may_hang() {
        let dir = dir();
        let at = |name: &str| dir.path().join(name);
        let hang = |name: usize| hang(&OWN, &at(&name.to_string()));
        let _held: Vec<_> = (0..2 * MAX_THREADS).map(hang).collect();
        std::fs::write(at("token"), "text").unwrap();
        assert_eq!(begin_read(&at("token"), 10).wait().unwrap(), b"text");
    }
}
