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

use std::collections::{BTreeMap, VecDeque};
use std::fs::{FileType, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a file may take, unless the caller has less time.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Threads for the fleet's files at most. With more paths than that, paths wait for each other.
const MAX_THREADS: usize = 64;

/// Callers that may wait for one path.
const MAX_WAITING: usize = 1 << 16;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The system refuses it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Reading it could wait for ever, or have an effect.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// It has more bytes than it may.
    #[error("it is larger than {}", size(*.0))]
    TooLarge(u64),
    /// Nothing came in time.
    #[error("its file system did not answer within {}", rounded(*.0))]
    Silent(Duration),
    /// Another caller waited for it in vain, and it still hangs.
    #[error("it is still being read, since {}: its file system does not answer", humantime::format_rfc3339_seconds(*.0))]
    StillRead(SystemTime),
    /// Too many others are being read, or too many callers wait for this one.
    #[error("too many files are being read, and do not come to an end")]
    Busy,
    /// The code that reads has a bug.
    #[error("the code that reads it failed")]
    Failed,
}

/// What a caller has left is not the same twice, which is nothing to say.
fn rounded(limit: Duration) -> humantime::FormattedDuration {
    let step_ms = if limit < Duration::from_millis(100) {
        1
    } else {
        100
    };
    let steps = (limit.as_micros() + step_ms * 500) / (step_ms * 1000);
    let ms = u64::try_from(steps * step_ms).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(ms))
}

fn size(bytes: u64) -> String {
    if bytes >= 1 << 20 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}

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

/// Reads a regular file of up to `most` bytes, within `limit`.
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

fn require_regular(metadata: &Metadata) -> Result<(), FileError> {
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

/// Does `work` on the thread of `path`, for a thread, which may wait for it up to `limit`; several may
/// be begun before the first is waited for.
pub(crate) fn begin<T: Send + 'static>(
    path: &Path,
    limit: Duration,
    work: impl FnOnce(&Path) -> Result<T, FileError> + Send + 'static,
) -> Pending<T> {
    OWN.begin(path, limit, work)
}

/// Work that was begun for a thread, which may wait for it.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    pool: &'static Pool,
    path: PathBuf,
    until: Instant,
    limit: Duration,
    result: Result<Receiver<Result<T, FileError>>, FileError>,
}

impl<T> Pending<T> {
    /// Waits until its limit has passed since it was begun. Blocks.
    ///
    /// # Errors
    /// As [`Pool::run`].
    pub(crate) fn wait(self) -> Result<T, FileError> {
        let left = self.until.saturating_duration_since(Instant::now());
        match self.result?.recv_timeout(left) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(self.pool.silent(&self.path, self.limit)),
            Err(RecvTimeoutError::Disconnected) => Err(FileError::Failed),
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// What is to be done with one path, one after the other.
#[derive(Default)]
struct Line {
    /// When what is being done was begun.
    began: Option<(Instant, SystemTime)>,
    /// Whether the log says that it hangs.
    is_said: bool,
    waiting: VecDeque<Job>,
}

impl Line {
    fn hangs_since(&self, limit: Duration) -> Option<SystemTime> {
        let (began, at) = self.began?;
        (began.elapsed() >= limit).then_some(at)
    }
}

/// The paths that something is to be done with, and the threads that do it.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Threads at most.
    most: usize,
    paths: Mutex<Paths>,
}

struct Paths {
    lines: BTreeMap<PathBuf, Line>,
    /// Those that no thread has taken up.
    ready: VecDeque<PathBuf>,
    threads: usize,
}

impl std::fmt::Debug for Paths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paths")
            .field("ready", &self.ready)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// For what the process itself needs.
static OWN: Pool = Pool::new(usize::MAX);

/// For what devices and lists need.
pub(crate) static FLEET: Pool = Pool::new(MAX_THREADS);

impl Pool {
    const fn new(most: usize) -> Self {
        let paths = Paths {
            lines: BTreeMap::new(),
            ready: VecDeque::new(),
            threads: 0,
        };
        Self {
            most,
            paths: Mutex::new(paths),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Paths> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`read`].
    ///
    /// # Errors
    /// Every variant of [`FileError`].
    pub(crate) async fn read(
        &'static self,
        path: &Path,
        most: u64,
        limit: Duration,
    ) -> Result<Vec<u8>, FileError> {
        self.run(path, limit, move |path| read_regular(path, most))
            .await
    }

    /// Does `work` on the thread of `path`, for a task, which waits for it up to `limit`. It is not
    /// begun if the task has given up before.
    ///
    /// # Errors
    /// Those of `work`; those of [`FileError`] that say that it did not come to an end.
    pub(crate) async fn run<T: Send + 'static>(
        &'static self,
        path: &Path,
        limit: Duration,
        work: impl FnOnce(&Path) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let (sender, receiver) = oneshot::channel();
        let owned = path.to_owned();
        let job = move || {
            if !sender.is_closed() {
                // The task may give up meanwhile.
                sender.send(work(&owned)).ok();
            }
        };
        self.submit(path, limit, Box::new(job))?;
        match tokio::time::timeout(limit, receiver).await {
            Ok(result) => result.unwrap_or(Err(FileError::Failed)),
            Err(_) => Err(self.silent(path, limit)),
        }
    }

    fn begin<T: Send + 'static>(
        &'static self,
        path: &Path,
        limit: Duration,
        work: impl FnOnce(&Path) -> Result<T, FileError> + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = sync_channel(1);
        let owned = path.to_owned();
        let job = move || {
            // The thread may have given up.
            sender.send(work(&owned)).ok();
        };
        Pending {
            pool: self,
            path: path.to_owned(),
            until: Instant::now() + limit,
            limit,
            result: self.submit(path, limit, Box::new(job)).map(|()| receiver),
        }
    }

    fn submit(&'static self, path: &Path, limit: Duration, job: Job) -> Result<(), FileError> {
        let mut held = self.lock();
        let Paths {
            lines,
            ready,
            threads,
        } = &mut *held;
        if let Some(line) = lines.get_mut(path) {
            if let Some(since) = line.hangs_since(limit) {
                return Err(FileError::StillRead(since));
            }
            if line.waiting.len() >= MAX_WAITING {
                return Err(FileError::Busy);
            }
            line.waiting.push_back(job);
            return Ok(());
        }
        let hanging = lines.values().filter(|it| it.hangs_since(limit).is_some());
        if *threads == self.most && hanging.count() == self.most {
            return Err(FileError::Busy);
        }
        if *threads < self.most {
            let thread = std::thread::Builder::new().name("files".to_owned());
            match thread.spawn(|| self.work()) {
                Ok(_) => *threads += 1,
                Err(error) if *threads == 0 => return Err(error.into()),
                // One of the others comes to it.
                Err(_) => {}
            }
        }
        let mut line = Line::default();
        line.waiting.push_back(job);
        lines.insert(path.to_owned(), line);
        ready.push_back(path.to_owned());
        Ok(())
    }

    /// Takes up paths until none is left.
    fn work(&self) {
        let mut held = self.lock();
        while let Some(path) = held.ready.pop_front() {
            while let Some(job) = held.next_job(&path) {
                drop(held);
                // Its caller is told, as the sender is gone; others wait for this thread.
                catch_unwind(AssertUnwindSafe(job)).ok();
                held = self.lock();
                if let Some(since) = held.end_job(&path) {
                    drop(held);
                    let since = humantime::format_rfc3339_seconds(since);
                    log::info!(path:% = path.display(), since:%; "a file system answers again");
                    held = self.lock();
                }
            }
            held.lines.remove(&path);
        }
        held.threads -= 1;
    }

    /// What to tell a caller that waited in vain; the log is told once.
    fn silent(&self, path: &Path, limit: Duration) -> FileError {
        let mut held = self.lock();
        let line = held.lines.get_mut(path);
        let Some(line) = line.filter(|line| line.began.is_some()) else {
            // No thread has come to it.
            return FileError::Busy;
        };
        let is_new = !std::mem::replace(&mut line.is_said, true);
        drop(held);
        if is_new {
            let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            log::warn!(path:% = path.display(), limit_ms; "a file system does not answer");
        }
        FileError::Silent(limit)
    }
}

impl Paths {
    fn next_job(&mut self, path: &Path) -> Option<Job> {
        let line = self.lines.get_mut(path)?;
        let job = line.waiting.pop_front()?;
        line.began = Some((Instant::now(), SystemTime::now()));
        Some(job)
    }

    /// Gives since when the path hung, if the log said so.
    fn end_job(&mut self, path: &Path) -> Option<SystemTime> {
        let line = self.lines.get_mut(path)?;
        let began = line.began.take();
        let was_said = std::mem::take(&mut line.is_said);
        began.filter(|_| was_said).map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A path of its own for each test: the pools are shared.
    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    /// Begins to hang at `path`; it ends when what is given is dropped.
    fn hang(pool: &'static Pool, path: &Path) -> Sender<()> {
        let (release, released) = channel::<()>();
        let (began, begun) = channel();
        drop(pool.begin(path, PATIENCE, move |_| {
            began.send(()).unwrap();
            released.recv().ok();
            Ok(())
        }));
        begun.recv_timeout(PATIENCE).unwrap();
        release
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
    async fn a_path_that_hangs_has_one_thread_and_is_read_again_when_it_does_not() {
        let dir = dir();
        let path = dir.path().join("file");
        std::fs::write(&path, "text").unwrap();
        let release = hang(&OWN, &path);
        let short = Duration::from_millis(20);
        // Who comes early waits; who comes late is told at once.
        let error = OWN.run(&path, short, |_| Ok(())).await.unwrap_err();
        assert!(
            matches!(error, FileError::Silent(_) | FileError::StillRead(_)),
            "{error}"
        );
        let late = begin(&path, Duration::ZERO, |_| Ok(()));
        let error = late.wait().unwrap_err();
        assert!(matches!(error, FileError::StillRead(_)), "{error}");
        // Others are not held up.
        let other = dir.path().join("other");
        std::fs::write(&other, "other").unwrap();
        assert_eq!(read(&other, 10, PATIENCE).await.unwrap(), b"other");
        // One that has time waits, and is served by the same thread.
        let waiting = begin(&path, PATIENCE, read_ten);
        drop(release);
        assert_eq!(waiting.wait().unwrap(), b"text");
        assert_eq!(read(&path, 10, PATIENCE).await.unwrap(), b"text");
    }

    fn read_ten(path: &Path) -> Result<Vec<u8>, FileError> {
        read_regular(path, 10)
    }

    #[test]
    fn work_that_panics_is_told_and_holds_nobody_up() {
        let dir = dir();
        let broken = begin(dir.path(), PATIENCE, |_| -> Result<(), FileError> {
            panic!("on purpose")
        });
        let next = begin(dir.path(), PATIENCE, |_| Ok(7));
        assert!(matches!(broken.wait(), Err(FileError::Failed)));
        assert_eq!(next.wait().unwrap(), 7);
    }

    #[tokio::test]
    async fn what_its_caller_gave_up_is_not_begun() {
        let dir = dir();
        let path = dir.path().join("file");
        let release = hang(&OWN, &path);
        let (began, begun) = channel();
        let given_up = OWN.run(&path, Duration::from_millis(20), move |_| {
            began.send(()).unwrap();
            Ok(())
        });
        given_up.await.unwrap_err();
        let next = begin(&path, PATIENCE, |_| Ok(()));
        drop(release);
        next.wait().unwrap();
        assert!(begun.try_recv().is_err());
    }

    #[test]
    fn paths_that_hang_have_so_many_threads_at_most() {
        let pool: &Pool = Box::leak(Box::new(Pool::new(2)));
        let dir = dir();
        let at = |name: &str| dir.path().join(name);
        let ok = |_: &Path| Ok(());
        let (first, _second) = (hang(pool, &at("1")), hang(pool, &at("2")));
        let refused = pool.begin(&at("3"), Duration::ZERO, ok).wait().unwrap_err();
        assert!(matches!(refused, FileError::Busy), "{refused}");
        let waiting = pool.begin(&at("3"), PATIENCE, ok);
        drop(first);
        waiting.wait().unwrap();
        assert!(pool.lock().threads <= 2);
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
