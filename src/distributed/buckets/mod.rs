//! The buckets that processes share: made, mended and watched over in one place.
//!
//! Whatever goes wrong with a bucket, whoever meets it calls [`Buckets::look`]; one task looks whether
//! each bucket is there and as it should be, makes or mends it if this process may, and tells the
//! others when a bucket is another one than before. It does not know what the entries mean.

mod api;
mod bucket;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_nats::datetime::DateTime;
use async_nats::jetstream::context::{CreateStreamErrorKind, DeleteStreamErrorKind};
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::stream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::lock;
use super::nats::{Connection, NatsError, chain};
use super::wire::Names;
use api::{ApiError, NOT_THERE, context, create, info};
use bucket::{LEASES, age};

pub use api::Found;
pub(super) use api::{existing, make, store};
pub(super) use bucket::Bucket;

/// How long servers may take until buckets can be used: three that start choose a leader first.
pub(super) const STARTING: Duration = Duration::from_secs(10);

/// Between two looks at a bucket that cannot be used.
const AGAIN: Duration = Duration::from_millis(250);

/// Between two looks, however often something goes wrong.
const AT_LEAST: Duration = Duration::from_millis(20);

/// How long a bucket is to be written without a failure before it is said that it can be.
const SETTLED: Duration = Duration::from_millis(250);

/// Before a process tries again what it may not do.
const REFUSED: Duration = Duration::from_secs(30);

/// Several processes that would delete the same bucket do not do so at once.
const JITTER_MS: u64 = 150;

/// How often a bucket is mended without a wait: with more, another process wants other settings, or it
/// cannot be done.
const MOST_MENDED: u32 = 8;

/// How long a bucket is to be left alone before it is mended without a wait again.
const FIGHT: Duration = Duration::from_secs(600);

/// The longest wait until a bucket is mended again.
const LONGEST: Duration = Duration::from_secs(60);

/// What a look at a bucket found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is none, and why none was made.
    Missing(String),
    /// It is there, with these settings that are not as they should be.
    Foreign(String),
    /// The server does not say.
    Silent(String),
}

/// Looks after the buckets of one process.
#[derive(Debug)]
pub(super) struct Buckets {
    connection: Connection,
    /// What makes them where no process may.
    command: String,
    all: Vec<Kept>,
    every: Duration,
    wake: Notify,
}

/// A bucket that is looked after.
#[derive(Debug)]
struct Kept {
    bucket: Bucket,
    /// Counts up whenever the bucket is another one than before.
    remade: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the server made it.
    created: Option<DateTime>,
    /// The largest revision that is known of it, and of those before it.
    last: u64,
    /// When this process was last not allowed to make or mend it.
    refused: Option<Instant>,
    /// When it was last mended, and how often it was.
    mended: Option<(Instant, u32)>,
    trouble: Option<Trouble>,
    /// Why nothing can be written to it, and since when that was not tried without success.
    unwritable: Option<(String, Instant)>,
}

impl Buckets {
    /// `lease` is for the command that makes them.
    pub(super) fn new(
        connection: &Connection,
        names: &Names,
        lease: Option<Duration>,
        all: Vec<Bucket>,
    ) -> Self {
        let mut command = "fleetcall publish --init".to_owned();
        if let Some(lease) = lease {
            command += &format!(" --lease {}", humantime::format_duration(lease));
        }
        command += &names.flag();
        let most = Duration::from_secs(5);
        Self {
            connection: connection.clone(),
            command,
            all: all.into_iter().map(Kept::new).collect(),
            every: lease.unwrap_or(most).min(most),
            wake: Notify::new(),
        }
    }

    /// Makes those that are not there, at the start; servers that are just starting are given
    /// [`STARTING`].
    ///
    /// # Errors
    /// [`NatsError::Bucket`], and [`NatsError::OtherLease`] if its entries last for another time.
    pub(super) async fn open(&self) -> Result<(), NatsError> {
        let until = Instant::now() + STARTING;
        for kept in &self.all {
            let bucket = &kept.bucket;
            let mut is_said = false;
            loop {
                let why = match self.look_at(kept, true).await {
                    Ok(None) => break,
                    Ok(Some(Trouble::Foreign(_))) => {
                        self.log_trouble(kept);
                        break;
                    }
                    Ok(Some(Trouble::Missing(why) | Trouble::Silent(why))) => why,
                    Err(error) => return Err(error),
                };
                if Instant::now() >= until {
                    let command = &self.command;
                    return Err(NatsError::Bucket {
                        bucket: bucket.name.clone(),
                        why: format!("{why}; `{command}` makes it"),
                    });
                }
                if !std::mem::replace(&mut is_said, true) {
                    log::info!(bucket = bucket.name, error = why; "a bucket is not there yet");
                }
                sleep(AGAIN).await;
            }
        }
        Ok(())
    }

    /// A handle of a bucket that is there. It is good for one that is made anew, too.
    ///
    /// # Errors
    /// [`NatsError::Bucket`].
    pub(super) async fn store(&self, name: &str) -> Result<Store, NatsError> {
        store(&self.connection, name).await
    }

    /// Something of a bucket went wrong: they are looked at soon.
    pub(super) fn look(&self) {
        self.wake.notify_one();
    }

    /// Nothing can be written to a bucket, as the server says.
    pub(super) fn failed(&self, name: &str, why: String) {
        if let Some(kept) = self.kept(name) {
            let mut state = lock(&kept.state);
            if state.unwritable.is_none() {
                log::warn!(bucket = name, why; "a bucket cannot be written");
            }
            state.unwritable = Some((why, Instant::now()));
        }
        self.look();
    }

    /// Something was written to a bucket.
    pub(super) fn wrote(&self, name: &str) {
        let Some(kept) = self.kept(name) else {
            return;
        };
        let mut state = lock(&kept.state);
        // Some of what is written at once may fail, and some not.
        if state
            .unwritable
            .take_if(|(_, at)| at.elapsed() >= SETTLED)
            .is_some()
        {
            log::info!(bucket = name; "a bucket can be written again");
        }
    }

    /// Something was not written to a bucket, perhaps because another process was first: if nothing
    /// could be written to it until now, that lasts.
    pub(super) fn not_wrote(&self, name: &str) {
        if let Some(kept) = self.kept(name)
            && let Some((_, at)) = &mut lock(&kept.state).unwritable
        {
            *at = Instant::now();
        }
        self.look();
    }

    fn kept(&self, name: &str) -> Option<&Kept> {
        self.all.iter().find(|it| it.bucket.name == name)
    }

    /// Changes whenever a bucket is another one than before, whose revisions may have begun anew.
    pub(super) fn remade(&self, name: &str) -> watch::Receiver<u64> {
        match self.kept(name) {
            Some(kept) => kept.remade.subscribe(),
            None => watch::channel(0).1,
        }
    }

    /// Whether a bucket was made about so long ago, or what it is like is not known.
    pub(super) fn is_younger(&self, name: &str, age: Duration) -> bool {
        let created = self.kept(name).and_then(|it| lock(&it.state).created);
        let created = created.map(|it| {
            Duration::from_millis(u64::try_from(it.unix_timestamp()).unwrap_or_default() * 1000)
        });
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        created.is_none_or(|it| now.unwrap_or_default().saturating_sub(it) < age)
    }

    /// What keeps this process from its buckets, if something does.
    pub(super) fn obstacle(&self) -> Option<String> {
        self.all.iter().find_map(|kept| self.message(kept))
    }

    /// The revisions of this bucket are at least as large: the next one's begin after them.
    pub(super) fn knows(&self, name: &str, revision: u64) {
        if let Some(kept) = self.kept(name) {
            let mut state = lock(&kept.state);
            state.last = state.last.max(revision);
        }
    }

    /// Looks after them, for ever.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            let has_trouble = self.all.iter().any(|it| lock(&it.state).trouble.is_some());
            let wait = if has_trouble { AGAIN } else { self.every };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.wake.notified() => {}
                () = self.connection.again() => {}
            }
            if self.connection.is_up() {
                self.all.iter().for_each(Kept::forget_unwritable);
                futures::future::join_all(self.all.iter().map(|kept| self.look_again(kept))).await;
            }
            sleep(AT_LEAST).await;
        }
    }

    async fn look_again(&self, kept: &Kept) {
        let before = lock(&kept.state).trouble.clone();
        // Of another lease is said at the start only.
        let Ok(after) = self.look_at(kept, false).await else {
            return;
        };
        if !self.connection.is_up() {
            // It is that, and not the bucket.
            lock(&kept.state).trouble = before;
            return;
        }
        let kind = |it: &Option<Trouble>| it.as_ref().map(std::mem::discriminant);
        if kind(&before) != kind(&after) {
            match &after {
                Some(_) => self.log_trouble(kept),
                None => log::info!(bucket = kept.bucket.name; "a bucket can be used again"),
            }
        }
    }

    /// Looks whether it is there and as it should be, and makes or mends it if not.
    async fn look_at(&self, kept: &Kept, is_start: bool) -> Result<Option<Trouble>, NatsError> {
        let trouble = match info(&self.connection, &kept.bucket).await {
            Ok(info) => {
                let theirs = info.config.max_age;
                let ours = kept.bucket.max_age;
                if is_start && theirs != ours && LEASES.contains(&theirs) && kept.bucket.is_renewed
                {
                    return Err(NatsError::OtherLease {
                        bucket: kept.bucket.name.clone(),
                        theirs: age(theirs),
                        ours: age(ours),
                    });
                }
                let begins_again = kept.saw(&info);
                self.mend(kept, &info, begins_again).await
            }
            Err(ApiError::Missing) => self.make(kept).await.map(Trouble::Missing),
            Err(ApiError::Refused(why) | ApiError::Silent(why)) => Some(Trouble::Silent(why)),
        };
        lock(&kept.state).trouble.clone_from(&trouble);
        Ok(trouble)
    }

    /// Makes one that is not there; why not, if not.
    async fn make(&self, kept: &Kept) -> Option<String> {
        const MAY_NOT: &str = "it is not there, and this process may not make it";
        if kept.is_refused() {
            return Some(MAY_NOT.to_owned());
        }
        let first = kept.bucket.first(lock(&kept.state).last);
        match create(&self.connection, &kept.bucket, first).await {
            Ok(info) => {
                log::info!(bucket = kept.bucket.name; "a bucket was made");
                kept.saw(&info);
                None
            }
            // As it is to those who may not.
            Err(ApiError::Silent(_)) => {
                lock(&kept.state).refused = Some(Instant::now());
                Some(MAY_NOT.to_owned())
            }
            Err(ApiError::Missing) => Some(NOT_THERE.to_owned()),
            Err(ApiError::Refused(why)) => match info(&self.connection, &kept.bucket).await {
                // Another process made it just now; the next look tells what it is like.
                Ok(_) => {
                    self.look();
                    None
                }
                Err(_) => Some(format!("it is not there, and cannot be made: {why}")),
            },
        }
    }

    /// Gives one its settings, if it has others; which ones they are, if that cannot be done.
    async fn mend(&self, kept: &Kept, info: &stream::Info, begins_again: bool) -> Option<Trouble> {
        let bucket = &kept.bucket;
        let faults = bucket.faults(&info.config);
        if faults.is_empty() && !(begins_again && bucket.is_renewed) {
            return None;
        }
        let faults = faults.join("; ");
        // Revisions that begin again are no trouble if they must be: fronts notice it by themselves.
        let trouble =
            |why: &str| (!faults.is_empty()).then(|| Trouble::Foreign(format!("{faults} ({why})")));
        if kept.is_refused() {
            return trouble("this process may not change that");
        }
        if !kept.may_mend() {
            let before = lock(&kept.state).trouble.clone();
            return match before {
                // That could not be changed.
                Some(Trouble::Foreign(why)) if !faults.is_empty() && why.starts_with(&faults) => {
                    Some(Trouble::Foreign(why))
                }
                _ => trouble("another process gives it these again and again"),
            };
        }
        if !faults.is_empty() {
            let settings = stream::Config {
                num_replicas: info.config.num_replicas,
                first_sequence: info.config.first_sequence,
                metadata: info.config.metadata.clone(),
                placement: info.config.placement.clone(),
                compression: info.config.compression.clone(),
                ..bucket.settings(1, None)
            };
            let updated = context(&self.connection).update_stream(settings).await;
            match updated {
                Ok(info) if bucket.faults(&info.config).is_empty() => {
                    log::info!(bucket = bucket.name, faults; "a bucket has its settings again");
                    kept.saw(&info);
                    return None;
                }
                Ok(_) if !bucket.is_renewed => return trouble("they cannot be changed"),
                Err(error) if error.kind() == CreateStreamErrorKind::TimedOut => {
                    lock(&kept.state).refused = Some(Instant::now());
                    return trouble("this process may not change that");
                }
                Err(error) if !bucket.is_renewed => return trouble(&chain(&error)),
                // What cannot be changed is made anew.
                Ok(_) | Err(_) => {}
            }
        }
        sleep(Duration::from_millis(rand::random::<u64>() % JITTER_MS)).await;
        match api::info(&self.connection, bucket).await {
            Ok(now) if now.created == info.created => {}
            // Another process did it.
            Ok(_) | Err(_) => {
                self.look();
                return trouble("it is another one already");
            }
        }
        let deleted = context(&self.connection)
            .delete_stream(bucket.stream())
            .await;
        if let Err(error) = deleted {
            if error.kind() == DeleteStreamErrorKind::Request {
                lock(&kept.state).refused = Some(Instant::now());
            }
            return trouble(&format!("it cannot be deleted: {}", chain(&error)));
        }
        let faults = match faults.as_str() {
            "" => "its revisions begin again",
            faults => faults,
        };
        log::info!(bucket = bucket.name, faults; "a bucket was deleted, to be made with its settings");
        self.make(kept).await.map(Trouble::Missing)
    }

    fn log_trouble(&self, kept: &Kept) {
        let (bucket, why) = (&kept.bucket.name, self.message(kept));
        log::warn!(bucket, why; "a bucket cannot be used");
    }

    /// What is said of a bucket that cannot be used.
    fn message(&self, kept: &Kept) -> Option<String> {
        let (name, command) = (&kept.bucket.name, &self.command);
        let state = lock(&kept.state);
        match &state.trouble {
            Some(Trouble::Missing(why)) => Some(format!(
                "the NATS bucket {name} cannot be used: {why}; `{command}` makes it"
            )),
            Some(Trouble::Foreign(why)) => {
                Some(format!("the NATS bucket {name} has other settings: {why}"))
            }
            Some(Trouble::Silent(why)) => {
                Some(format!("the NATS bucket {name} cannot be used: {why}"))
            }
            None => {
                let (why, _) = state.unwritable.as_ref()?;
                Some(format!("the NATS bucket {name} cannot be written: {why}"))
            }
        }
    }
}

impl Kept {
    fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            remade: watch::channel(0).0,
            state: Mutex::default(),
        }
    }

    /// Whether this process was not allowed to make or mend it a short time ago.
    fn is_refused(&self) -> bool {
        let refused = lock(&self.state).refused;
        refused.is_some_and(|at| at.elapsed() < REFUSED)
    }

    /// Whether it may be mended now: two processes that undo each other's work do so ever less often.
    fn may_mend(&self) -> bool {
        let mut state = lock(&self.state);
        let recent = state.mended.filter(|(last, _)| last.elapsed() < FIGHT);
        let times = recent.map_or(0, |(_, times)| times);
        let waits = times.checked_sub(MOST_MENDED);
        let wait = waits.map_or(Duration::ZERO, |it| {
            LONGEST.min(Duration::from_secs(1 << it.min(6)))
        });
        let may = recent.is_none_or(|(last, _)| last.elapsed() >= wait);
        if may {
            state.mended = Some((Instant::now(), times.saturating_add(1)));
        }
        may
    }

    /// A process that has no more to write does not learn that it can: after a lease without a failure
    /// nothing is known of that.
    fn forget_unwritable(&self) {
        let lease = self.bucket.max_age;
        let is_over = |at: &Instant| !lease.is_zero() && at.elapsed() >= lease;
        let mut state = lock(&self.state);
        if state.unwritable.take_if(|(_, at)| is_over(at)).is_some() {
            log::info!(bucket = self.bucket.name; "nothing failed to be written to a bucket for a lease");
        }
    }

    /// Takes note of a bucket that is there; whether it is another one, whose revisions begin again.
    fn saw(&self, info: &stream::Info) -> bool {
        let mut state = lock(&self.state);
        let before = state.created.replace(info.created);
        let last = info.state.last_sequence;
        let is_other = before.is_some_and(|it| it != info.created);
        let begins_again = is_other && last < state.last;
        state.last = state.last.max(last);
        if is_other {
            self.remade.send_modify(|times| *times += 1);
        }
        begins_again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_to_which_nothing_is_written_any_more_is_not_unwritable_for_ever() {
        let lease = Duration::from_secs(2);
        let kept = Kept::new(Bucket::leases(&Names::new("fleetcall"), lease));
        let failed = || lock(&kept.state).unwritable = Some(("full".to_owned(), Instant::now()));
        let is_unwritable = || {
            kept.forget_unwritable();
            lock(&kept.state).unwritable.is_some()
        };
        failed();
        tokio::time::advance(lease / 2).await;
        failed();
        tokio::time::advance(lease / 2).await;
        assert!(is_unwritable(), "it was tried again");
        tokio::time::advance(lease / 2).await;
        assert!(!is_unwritable());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_mended_ever_less_often() {
        let kept = Kept::new(Bucket::configurations(&Names::new("fleetcall")));
        for _ in 0..MOST_MENDED {
            assert!(kept.may_mend());
        }
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(!kept.may_mend());
            tokio::time::advance(Duration::from_secs(wait) - AGAIN).await;
            assert!(!kept.may_mend(), "{wait}");
            tokio::time::advance(AGAIN).await;
            assert!(kept.may_mend(), "{wait}");
        }
        tokio::time::advance(FIGHT).await;
        for _ in 0..MOST_MENDED {
            assert!(kept.may_mend());
        }
    }
}
