//! The threads that wait for files: each path has one at most, and callers that want the same of a path
//! share it.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use futures::future::{Shared, WeakShared};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::FileError;

/// Jobs that may wait for one path. However many callers share one, it is one.
const MAX_WAITING: usize = 1024;

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

/// Something that is to be done with a path.
struct Job {
    work: Box<dyn FnOnce() + Send>,
    offer: Option<Offer>,
}

/// By which callers that want the same find a job that has not begun.
struct Offer {
    key: u64,
    /// A [`WeakShared`] of its [`ReadOutcome`].
    outcome: Box<dyn Any + Send>,
}

/// What callers that share a job wait for.
type ReadOutcome<T> = oneshot::Receiver<Result<Arc<T>, FileError>>;

impl Job {
    /// What to wait for, if it gives a `T` by this key; `None` if every caller has given it up.
    fn offers<T: 'static>(&self, key: u64) -> Option<Option<Shared<ReadOutcome<T>>>> {
        let offer = self.offer.as_ref().filter(|offer| offer.key == key)?;
        let outcome: &WeakShared<ReadOutcome<T>> = offer.outcome.downcast_ref()?;
        Some(outcome.upgrade())
    }
}

/// What is to be done with one path, one after the other.
#[derive(Default)]
struct FileLine {
    /// When what is being done was begun.
    began: Option<(Instant, SystemTime)>,
    /// Whether the log says that it hangs.
    is_said: bool,
    waiting: VecDeque<Job>,
}

impl FileLine {
    fn hangs_since(&self, limit: Duration) -> Option<SystemTime> {
        let (began, at) = self.began?;
        (began.elapsed() >= limit).then_some(at)
    }

    fn push(&mut self, job: Job) -> Result<(), FileError> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(FileError::Busy);
        }
        self.waiting.push_back(job);
        Ok(())
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
    lines: BTreeMap<PathBuf, FileLine>,
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

impl Pool {
    pub(super) const fn new(most: usize) -> Self {
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
        let work = move || {
            if !sender.is_closed() {
                // The task may give up meanwhile.
                sender.send(work(&owned)).ok();
            }
        };
        self.submit(path, limit, |line| line.push(plain(work)))?;
        match tokio::time::timeout(limit, receiver).await {
            Ok(result) => result.unwrap_or(Err(FileError::Failed)),
            Err(_) => Err(self.silent(path, limit)),
        }
    }

    /// As [`Pool::run`], shared by all callers that want a `T` of this path by the same `key`: those
    /// that come before it has begun get what it gives, those that come later share the next one. So
    /// what a caller gets was read after it asked, and however many ask, one at most is waiting.
    ///
    /// # Errors
    /// As [`Pool::run`].
    pub(crate) async fn share<T: Send + Sync + 'static>(
        &'static self,
        path: &Path,
        key: u64,
        limit: Duration,
        work: impl FnOnce(&Path) -> Result<T, FileError> + Send + 'static,
    ) -> Result<Arc<T>, FileError> {
        let owned = path.to_owned();
        let outcome = self.submit(path, limit, |line| {
            let mut waiting = line.waiting.iter().enumerate();
            let found = waiting.find_map(|(at, job)| Some((at, job.offers::<T>(key)?)));
            if let Some((_, Some(outcome))) = found {
                return Ok(outcome);
            }
            if let Some((given_up, None)) = found {
                line.waiting.remove(given_up);
            }
            let (sender, receiver) = oneshot::channel();
            let outcome = receiver.shared();
            let work = move || {
                if !sender.is_closed() {
                    // All callers may give up meanwhile.
                    sender.send(work(&owned).map(Arc::new)).ok();
                }
            };
            let offer = outcome.downgrade().map(|outcome| Offer {
                key,
                outcome: Box::new(outcome),
            });
            line.push(Job {
                work: Box::new(work),
                offer,
            })?;
            Ok(outcome)
        })?;
        match tokio::time::timeout(limit, outcome).await {
            Ok(result) => result.unwrap_or(Err(FileError::Failed)),
            Err(_) => Err(self.silent(path, limit)),
        }
    }

    pub(super) fn begin<T: Send + 'static>(
        &'static self,
        path: &Path,
        limit: Duration,
        work: impl FnOnce(&Path) -> Result<T, FileError> + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = sync_channel(1);
        let owned = path.to_owned();
        let work = move || {
            // The thread may have given up.
            sender.send(work(&owned)).ok();
        };
        let submitted = self.submit(path, limit, |line| line.push(plain(work)));
        Pending {
            pool: self,
            path: path.to_owned(),
            until: Instant::now() + limit,
            limit,
            result: submitted.map(|()| receiver),
        }
    }

    /// Has `add` add to what is to be done with `path`, unless that hangs.
    fn submit<T>(
        &'static self,
        path: &Path,
        limit: Duration,
        add: impl FnOnce(&mut FileLine) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
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
            return add(line);
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
        let mut line = FileLine::default();
        let added = add(&mut line)?;
        lines.insert(path.to_owned(), line);
        ready.push_back(path.to_owned());
        Ok(added)
    }

    /// Takes up paths until none is left, for one job each: however many come for one path, the others
    /// have their turn.
    fn work(&self) {
        let mut held = self.lock();
        while let Some(path) = held.ready.pop_front() {
            if let Some(work) = held.next_job(&path) {
                drop(held);
                // Its caller is told, as the sender is gone; others wait for this thread.
                catch_unwind(AssertUnwindSafe(work)).ok();
                held = self.lock();
                if let Some(since) = held.end_job(&path) {
                    drop(held);
                    let since = humantime::format_rfc3339_seconds(since);
                    log::info!(path:% = path.display(), since:%; "a file system answers again");
                    held = self.lock();
                }
            }
            let line = held.lines.get(&path);
            if line.is_some_and(|line| !line.waiting.is_empty()) {
                held.ready.push_back(path);
            } else {
                held.lines.remove(&path);
            }
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

/// A job that is not shared.
fn plain(work: impl FnOnce() + Send + 'static) -> Job {
    Job {
        work: Box::new(work),
        offer: None,
    }
}

impl Paths {
    fn next_job(&mut self, path: &Path) -> Option<Box<dyn FnOnce() + Send>> {
        let line = self.lines.get_mut(path)?;
        let job = line.waiting.pop_front()?;
        line.began = Some((Instant::now(), SystemTime::now()));
        Some(job.work)
    }

    /// Gives since when the path hung, if the log said so.
    fn end_job(&mut self, path: &Path) -> Option<SystemTime> {
        let line = self.lines.get_mut(path)?;
        let began = line.began.take();
        let was_said = std::mem::take(&mut line.is_said);
        began.filter(|_| was_said).map(|(_, at)| at)
    }
}

/// Begins to hang at `path`; it ends when what is given is dropped.
#[cfg(test)]
pub(crate) fn hang(pool: &'static Pool, path: &Path) -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (began, begun) = std::sync::mpsc::channel();
    let patience = Duration::from_secs(60);
    drop(pool.begin(path, patience, move |_| {
        began.send(()).ok();
        released.recv().ok();
        Ok(())
    }));
    assert!(begun.recv_timeout(patience).is_ok());
    release
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::super::read_regular;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn pool(most: usize) -> &'static Pool {
        Box::leak(Box::new(Pool::new(most)))
    }

    /// Begins a reading that counts the readings of this counter; each gives how many came before it.
    fn count(pool: &'static Pool, path: &Path, readings: &Arc<AtomicUsize>) -> Counted {
        let (path, readings) = (path.to_owned(), Arc::clone(readings));
        let mut counted = Box::pin(async move {
            let read = move |_: &Path| Ok(readings.fetch_add(1, Ordering::SeqCst));
            let before = pool.share(&path, 0, PATIENCE, read).await?;
            Ok(*before)
        });
        assert!((&mut counted).now_or_never().is_none());
        counted
    }

    type Counted = Pin<Box<dyn Future<Output = Result<usize, FileError>>>>;

    #[tokio::test]
    async fn callers_that_wait_share_one_reading_that_begins_after_they_asked() {
        let (pool, dir, readings) = (pool(2), dir(), Arc::default());
        let release = hang(pool, dir.path());
        let mut callers: Vec<_> = (0..10_000)
            .map(|_| count(pool, dir.path(), &readings))
            .collect();
        // Those that give up take nothing from the others.
        callers.drain(..5_000);
        drop(release);
        for caller in callers {
            assert_eq!(caller.await.unwrap(), 0);
        }
        // It may have changed since.
        let release = hang(pool, dir.path());
        let later = count(pool, dir.path(), &readings);
        drop(release);
        assert_eq!(later.await.unwrap(), 1);
        assert_eq!(readings.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_caller_that_comes_while_a_file_is_read_gets_the_next_reading() {
        let pool = pool(2);
        let dir = dir();
        let (began, begun) = channel();
        let (release, released) = channel::<()>();
        let slow = move |_: &Path| {
            began.send(()).unwrap();
            released.recv().ok();
            Ok(0)
        };
        let first = pool.share::<usize>(dir.path(), 0, PATIENCE, slow);
        let mut first = Box::pin(first);
        assert!((&mut first).now_or_never().is_none());
        begun.recv_timeout(PATIENCE).unwrap();
        let readings = Arc::new(AtomicUsize::new(7));
        let second = count(pool, dir.path(), &readings);
        drop(release);
        assert_eq!((*first.await.unwrap(), second.await.unwrap()), (0, 7));
    }

    #[tokio::test]
    async fn a_reading_that_all_callers_have_given_up_is_not_begun_and_takes_no_room() {
        let (pool, dir, readings) = (pool(2), dir(), Arc::default());
        let release = hang(pool, dir.path());
        for _ in 0..2 * MAX_WAITING {
            drop(count(pool, dir.path(), &readings));
        }
        let waiting = pool.lock().lines[dir.path()].waiting.len();
        assert_eq!(waiting, 1);
        let last = count(pool, dir.path(), &readings);
        drop(release);
        assert_eq!(last.await.unwrap(), 0);
        assert_eq!(readings.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn the_same_secret_is_read_once_for_all_that_wait_for_it() {
        let pool = pool(2);
        let dir = dir();
        let path = dir.path().join("secret");
        std::fs::write(&path, "old").unwrap();
        let release = hang(pool, &path);
        let read = |most| {
            let mut read = Box::pin(pool.read(&path, most, PATIENCE));
            assert!((&mut read).now_or_never().is_none());
            read
        };
        let callers: Vec<_> = (0..1000).map(|_| read(10)).collect();
        let cut_off = read(2);
        assert_eq!(pool.lock().lines[&path].waiting.len(), 2);
        std::fs::write(&path, "new").unwrap();
        drop(release);
        for caller in callers {
            assert_eq!(caller.await.unwrap(), b"new");
        }
        assert!(matches!(cut_off.await, Err(FileError::TooLarge(2))));
    }

    #[test]
    fn a_path_that_is_wanted_again_and_again_leaves_the_others_their_turn() {
        let pool = pool(1);
        let dir = dir();
        let at = |name: &str| dir.path().join(name);
        let (done, order) = channel();
        let job = |name: &'static str| {
            let done = done.clone();
            move |_: &Path| {
                done.send(name).unwrap();
                Ok(())
            }
        };
        let release = hang(pool, &at("busy"));
        let all = [
            pool.begin(&at("busy"), PATIENCE, job("busy")),
            pool.begin(&at("busy"), PATIENCE, job("busy again")),
            pool.begin(&at("other"), PATIENCE, job("other")),
        ];
        drop(release);
        for pending in all {
            pending.wait().unwrap();
        }
        let order: Vec<_> = order.try_iter().collect();
        assert_eq!(order, ["other", "busy", "busy again"]);
    }

    #[tokio::test]
    async fn a_path_that_hangs_has_one_thread_and_is_read_again_when_it_does_not() {
        let pool = pool(2);
        let dir = dir();
        let path = dir.path().join("file");
        std::fs::write(&path, "text").unwrap();
        let release = hang(pool, &path);
        let short = Duration::from_millis(20);
        // Who comes early waits; who comes late is told at once.
        let error = pool.run(&path, short, |_| Ok(())).await.unwrap_err();
        assert!(
            matches!(error, FileError::Silent(_) | FileError::StillRead(_)),
            "{error}"
        );
        let late = pool.begin(&path, Duration::ZERO, |_| Ok(()));
        let error = late.wait().unwrap_err();
        assert!(matches!(error, FileError::StillRead(_)), "{error}");
        // Others are not held up.
        let other = dir.path().join("other");
        std::fs::write(&other, "other").unwrap();
        assert_eq!(pool.read(&other, 10, PATIENCE).await.unwrap(), b"other");
        // One that has time waits, and is served by the same thread.
        let waiting = pool.begin(&path, PATIENCE, read_ten);
        drop(release);
        assert_eq!(waiting.wait().unwrap(), b"text");
        assert_eq!(pool.read(&path, 10, PATIENCE).await.unwrap(), b"text");
    }

    fn read_ten(path: &Path) -> Result<Vec<u8>, FileError> {
        read_regular(path, 10)
    }

    #[test]
    fn work_that_panics_is_told_and_holds_nobody_up() {
        let pool = pool(2);
        let dir = dir();
        let broken = pool.begin(dir.path(), PATIENCE, |_| -> Result<(), FileError> {
            panic!("on purpose")
        });
        let next = pool.begin(dir.path(), PATIENCE, |_| Ok(7));
        assert!(matches!(broken.wait(), Err(FileError::Failed)));
        assert_eq!(next.wait().unwrap(), 7);
    }

    #[tokio::test]
    async fn what_its_caller_gave_up_is_not_begun() {
        let pool = pool(2);
        let dir = dir();
        let path = dir.path().join("file");
        let release = hang(pool, &path);
        let (began, begun) = channel();
        let given_up = pool.run(&path, Duration::from_millis(20), move |_| {
            began.send(()).unwrap();
            Ok(())
        });
        given_up.await.unwrap_err();
        let next = pool.begin(&path, PATIENCE, |_| Ok(()));
        drop(release);
        next.wait().unwrap();
        assert!(begun.try_recv().is_err());
    }

    #[test]
    fn paths_that_hang_have_so_many_threads_at_most() {
        let pool = pool(2);
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
}
