//! Text on its way to standard error: a bounded queue, and the one thread that writes it.
//!
//! A thread that logs never waits for the reader of the log. What does not fit into the queue is
//! dropped, counted, and said in one line as soon as there is room again. The queue is bounded in
//! bytes alone, since a line takes up nothing but its bytes. It knows nothing of records.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// The most bytes that wait to be written, beside as many that are being written: what 30,000
/// failed lookups say at debug level.
pub(super) const CAPACITY: usize = 8 << 20;

/// The buffer that is kept for the next lines, in bytes; a larger one is given back.
const KEPT: usize = 64 << 10;

/// How often the line that says how many were dropped is tried again, after it could not be written
/// and while nothing else is logged.
const SAY_AGAIN: Duration = Duration::from_secs(1);

/// The queue's entrance; every clone is of the same queue.
#[derive(Debug, Clone)]
pub struct LogWriter(Arc<WriterState>);

#[derive(Debug)]
struct WriterState {
    queue: Mutex<LineQueue>,
    capacity: usize,
    /// There is something to write.
    filled: Condvar,
    /// All is written.
    emptied: Condvar,
    /// Lines that were dropped, since the start.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct LineQueue {
    text: Vec<u8>,
    /// Lines that were dropped behind this text. While there are any, so is all that comes: their
    /// number stands where they would have stood.
    dropped: u64,
    /// Whether the thread has text in its hands.
    is_writing: bool,
}

impl LogWriter {
    /// Starts the thread that writes to `out`. The line that says how many were dropped is
    /// `dropped_line`'s.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(super) fn start(
        out: OwnedFd,
        capacity: usize,
        dropped_line: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(WriterState {
            queue: Mutex::default(),
            capacity,
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let writing = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || writing.write(File::from(out), dropped_line))?;
        Ok(Self(shared))
    }

    /// Puts whole lines into the queue, or drops them if there is no room; never waits for the
    /// reader.
    pub(crate) fn push(&self, text: &[u8]) {
        let mut queue = self.0.queue();
        if queue.dropped > 0 || text.len() > self.0.capacity - queue.text.len() {
            let lines = lines(text);
            queue.dropped += lines;
            self.0.dropped.fetch_add(lines, Ordering::Relaxed);
            return;
        }
        let was_empty = queue.text.is_empty();
        queue.text.extend_from_slice(text);
        drop(queue);
        if was_empty {
            self.0.filled.notify_one();
        }
    }

    /// Waits until all is written, or for as long as `limit`; whether all is.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let queue = self.0.queue();
        let is_busy = |queue: &mut LineQueue| queue.is_writing || !queue.text.is_empty();
        // What is not written by then is lost with the process.
        let waited = self.0.emptied.wait_timeout_while(queue, limit, is_busy);
        let (_queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// Lines that were dropped, since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Write for LogWriter {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl WriterState {
    fn queue(&self) -> MutexGuard<'_, LineQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is text, or for as long as `limit`.
    fn wait_for_text<'a>(
        &self,
        queue: MutexGuard<'a, LineQueue>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, LineQueue> {
        let is_empty = |queue: &mut LineQueue| queue.text.is_empty();
        match limit {
            None => {
                let waited = self.filled.wait_while(queue, is_empty);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
            Some(limit) => {
                let waited = self.filled.wait_timeout_while(queue, limit, is_empty);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Writes what comes, for ever: all that waits in one go.
    fn write(&self, mut out: File, dropped_line: impl Fn(u64) -> Vec<u8>) {
        let mut text = Vec::new();
        // Lines that were dropped, which the log has not said yet.
        let mut unsaid = 0;
        loop {
            let mut queue = self.queue();
            queue.is_writing = false;
            if queue.text.is_empty() {
                self.emptied.notify_all();
            }
            let mut queue = self.wait_for_text(queue, (unsaid > 0).then_some(SAY_AGAIN));
            text.clear();
            text.shrink_to(KEPT);
            std::mem::swap(&mut text, &mut queue.text);
            unsaid += std::mem::take(&mut queue.dropped);
            queue.is_writing = true;
            drop(queue);
            if let Err(rest) = write_all(&mut out, &text) {
                // A full disk may have room again. If the reader is gone for good, this costs one
                // call for all that waits.
                let lost = lines(rest);
                self.dropped.fetch_add(lost, Ordering::Relaxed);
                unsaid += lost;
            } else if unsaid > 0 && write_all(&mut out, &dropped_line(unsaid)).is_ok() {
                unsaid = 0;
            }
        }
    }
}

/// Writes all, however long that takes; an error gives what could not be written.
fn write_all<'a>(out: &mut File, text: &'a [u8]) -> Result<(), &'a [u8]> {
    let mut rest = text;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(rest),
            Ok(written) => rest = &rest[written..],
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                // The other end, or a shell, has made it so.
                ErrorKind::WouldBlock => wait(out).map_err(|_| rest)?,
                _ => return Err(rest),
            },
        }
    }
    Ok(())
}

/// Waits until something can be written.
fn wait(out: &File) -> Result<(), Errno> {
    match poll(&mut [PollFd::new(out, PollFlags::OUT)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

fn lines(text: &[u8]) -> u64 {
    text.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, PipeReader, Read as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn to_pipe(capacity: usize, is_blocking: bool) -> (LogWriter, PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, !is_blocking).unwrap();
        let dropped_line = |lines| format!("dropped {lines}\n").into_bytes();
        let log = LogWriter::start(writer.into(), capacity, dropped_line).unwrap();
        (log, reader)
    }

    /// Fills the pipe, then the queue, until so many lines are dropped; returns how many there were
    /// in all. Each says which it is.
    fn overfill(log: &LogWriter, most: u64) -> u64 {
        let number = (0..).find(|number| {
            log.push(format!("{number:060}\n").as_bytes());
            log.dropped() >= most
        });
        number.unwrap() + 1
    }

    #[test]
    fn what_does_not_fit_is_dropped_counted_and_said_where_it_would_stand() {
        for is_blocking in [true, false] {
            let (log, reader) = to_pipe(256 << 10, is_blocking);
            let pushed = overfill(&log, 100);
            let mut come = BufReader::new(reader).lines().map(Result::unwrap);
            let (mut next, mut dropped) = (0, 0);
            while next < pushed {
                let line = come.next().unwrap();
                match line.strip_prefix("dropped ") {
                    Some(count) => {
                        let count: u64 = count.parse().unwrap();
                        (next, dropped) = (next + count, dropped + count);
                    }
                    None => {
                        assert_eq!(line.parse::<u64>().unwrap(), next);
                        next += 1;
                    }
                }
            }
            assert_eq!((next, dropped, log.dropped()), (pushed, 100, 100));
            assert!(pushed * 61 > 256 << 10);
            log.push(b"again\n");
            assert_eq!(come.next().unwrap(), "again");
        }
    }

    #[test]
    fn flush_waits_for_all_that_is_written_and_no_longer_than_it_may() {
        let (log, mut reader) = to_pipe(1 << 20, true);
        log.push(b"one\ntwo\n");
        assert!(log.flush(PATIENCE));
        let mut come = [0; 8];
        reader.read_exact(&mut come).unwrap();
        assert_eq!(&come, b"one\ntwo\n");
        overfill(&log, 1);
        assert!(!log.flush(Duration::from_millis(1)));
        drop(reader);
        assert!(log.flush(PATIENCE));
    }

    #[test]
    fn without_a_reader_lines_are_counted_and_hold_up_nothing() {
        let (log, reader) = to_pipe(1 << 20, true);
        drop(reader);
        for count in 1..=3 {
            log.push(b"unread\n");
            assert!(log.flush(PATIENCE));
            assert_eq!(log.dropped(), count);
        }
    }

    #[test]
    fn lines_that_were_lost_are_said_when_there_is_a_reader_though_nothing_else_is_logged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        // One that is there already, so that neither end waits for the other.
        let first = File::options().read(true).write(true).open(&path).unwrap();
        let writer = File::options().write(true).open(&path).unwrap();
        drop(first);
        let dropped_line = |lines| format!("dropped {lines}\n").into_bytes();
        let log = LogWriter::start(writer.into(), CAPACITY, dropped_line).unwrap();
        log.push(b"one\ntwo\n");
        assert!(log.flush(PATIENCE));
        assert_eq!(log.dropped(), 2);
        let mut said = String::new();
        let reader = File::open(&path).unwrap();
        BufReader::new(reader).read_line(&mut said).unwrap();
        assert_eq!(said, "dropped 2\n");
    }

    #[test]
    fn nothing_is_lost_while_the_reader_keeps_up() {
        const THREADS: usize = 4;
        const EACH: usize = 20_000;
        let (log, reader) = to_pipe(CAPACITY, true);
        let threads = (0..THREADS).map(|thread| {
            let log = log.clone();
            std::thread::spawn(move || {
                for number in 0..EACH {
                    log.push(format!("{thread} {number}\n").as_bytes());
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        let mut next = [0; THREADS];
        for line in BufReader::new(reader).lines().take(THREADS * EACH) {
            let line = line.unwrap();
            let (thread, number) = line.split_once(' ').unwrap();
            let next = &mut next[thread.parse::<usize>().unwrap()];
            assert_eq!(number.parse::<usize>().unwrap(), *next);
            *next += 1;
        }
        assert_eq!((next, log.dropped()), ([EACH; THREADS], 0));
        threads.into_iter().for_each(|it| it.join().unwrap());
    }
}
