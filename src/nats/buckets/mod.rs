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
use async_nats::jetstream::kv::Store;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::lock::lock;
use super::wire::Names;
use crate::nats::connection::{NatsConnection, NatsError};
use api::{Info, JetStreamError, create, info};
use bucket::{LEASES, age};

pub use api::BucketFound;
pub(super) use api::{existing, is_still, make, store};
pub(super) use bucket::Bucket;

/// How long servers may take until buckets can be used: three that start choose a leader first.
pub(super) const STARTING: Duration = Duration::from_secs(10);

/// Between two looks, unless a lease is shorter; as long waits what could not be done.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Between two looks at a bucket that cannot be used.
const AGAIN: Duration = Duration::from_millis(250);

/// Between two looks, however often something goes wrong.
const AT_LEAST: Duration = Duration::from_millis(20);

/// How long a bucket is to be written without a failure before it is said that it can be.
const SETTLED: Duration = Duration::from_millis(250);

/// Several processes that would delete the same bucket do not do so at once.
const JITTER_MS: u64 = 150;

/// How often a bucket is mended without a wait: with more, another process wants other settings.
const MOST_MENDED: u32 = 8;

/// How long a bucket is to be left alone before it is mended without a wait again.
const FIGHT: Duration = Duration::from_secs(600);

const MAY_NOT_CHANGE: &str = "this process may not change that";
const MAY_NOT_LOOK: &str = "this process may not look at it";
const IMPOSED: &str = "the server gives these to each new one";
const KEPT: &str = "the server accepts others, and keeps these";

/// What a look at a bucket found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is none, and why none was made.
    Missing(String),
    /// There is none, and another stream has its subjects.
    Occupied(String),
    /// It is there, with these settings that are not as they should be.
    Foreign(String),
    /// The server does not say.
    Silent(String),
}

/// Looks after the buckets of one process.
#[derive(Debug)]
pub(super) struct Buckets {
    connection: NatsConnection,
    /// What makes them where no process may.
    command: String,
    all: Vec<KeptBucket>,
    every: Duration,
    wake: Notify,
}

/// A bucket that is looked after.
#[derive(Debug)]
struct KeptBucket {
    bucket: Bucket,
    /// Counts up whenever the bucket is another one than before.
    remade: watch::Sender<u64>,
    state: Mutex<BucketState>,
}

#[derive(Debug, Default)]
struct BucketState {
    /// When the server made it.
    created: Option<DateTime>,
    /// The largest revision that is known of it, and of those before it.
    last: u64,
    /// When this process was last not allowed to make it.
    not_made: Option<Instant>,
    /// When it could last not be mended, and why.
    not_mended: Option<(Instant, String)>,
    /// The settings that were not as they should be when it was just made, in the server's words.
    imposed: Option<String>,
    /// When it was last mended, and how often it was.
    mended: Option<(Instant, u32)>,
    trouble: Option<Trouble>,
    /// Why nothing can be written to it, and since when that was not tried without success.
    unwritable: Option<(String, Instant)>,
}

impl Buckets {
    /// `lease` is for the command that makes them.
    pub(super) fn new(
        connection: &NatsConnection,
        names: &Names,
        lease: Option<Duration>,
        all: Vec<Bucket>,
    ) -> Self {
        let mut command = "fleetcall publish --init".to_owned();
        if let Some(lease) = lease {
            command += &format!(" --lease {}", humantime::format_duration(lease));
        }
        command += &names.flag();
        let every = lease.map_or(LOOK_EVERY, |lease| lease.min(LOOK_EVERY));
        Self {
            connection: connection.clone(),
            command,
            all: all.into_iter().map(KeptBucket::new).collect(),
            every,
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
                    Ok(Some(trouble)) => trouble,
                    Err(error) => return Err(error),
                };
                if Instant::now() >= until {
                    let (bucket, command) = (bucket.name.clone(), &self.command);
                    return Err(match why {
                        Trouble::Foreign(faults) => NatsError::OtherSettings { bucket, faults },
                        Trouble::Occupied(why) => NatsError::Bucket { bucket, why },
                        Trouble::Missing(why) | Trouble::Silent(why) => NatsError::Bucket {
                            bucket,
                            why: format!("{why}; `{command}` makes it"),
                        },
                    });
                }
                let (Trouble::Foreign(why)
                | Trouble::Missing(why)
                | Trouble::Occupied(why)
                | Trouble::Silent(why)) = why;
                if !std::mem::replace(&mut is_said, true) {
                    log::info!(bucket = bucket.name, error = why; "a bucket cannot be used yet");
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

    fn kept(&self, name: &str) -> Option<&KeptBucket> {
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

    /// Whether a bucket is there and has its settings, by what the server says now: with others its
    /// entries may be from elsewhere. One that is another than before changes [`Buckets::remade`] first,
    /// and what is wrong is mended soon, and not before this is answered.
    pub(super) async fn has_its_settings(&self, name: &str) -> bool {
        let Some(kept) = self.kept(name) else {
            return false;
        };
        let has_them = match info(&self.connection, name).await {
            Ok(info) => {
                kept.saw(&info);
                kept.bucket.faults(&info.settings).is_empty()
            }
            Err(_) => false,
        };
        if !has_them {
            self.look();
        }
        has_them
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
                self.all.iter().for_each(KeptBucket::forget);
                futures::future::join_all(self.all.iter().map(|kept| self.look_again(kept))).await;
            }
            sleep(AT_LEAST).await;
        }
    }

    async fn look_again(&self, kept: &KeptBucket) {
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
        // Where another process wants other settings that was said.
        if kind(&before) != kind(&after) && !kept.is_fought_over() {
            match &after {
                Some(_) => self.log_trouble(kept),
                None => log::info!(bucket = kept.bucket.name; "a bucket can be used again"),
            }
        }
    }

    /// Looks whether it is there and as it should be, and makes or mends it if not.
    async fn look_at(
        &self,
        kept: &KeptBucket,
        is_start: bool,
    ) -> Result<Option<Trouble>, NatsError> {
        let trouble = match info(&self.connection, &kept.bucket.name).await {
            Ok(info) => {
                let theirs = Bucket::max_age_of(&info.settings);
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
            Err(JetStreamError::Missing) => self.make(kept).await,
            Err(error) => Some(Trouble::Silent(error.why(MAY_NOT_LOOK))),
        };
        lock(&kept.state).trouble.clone_from(&trouble);
        Ok(trouble)
    }

    /// Makes one that is not there; why not, if not.
    async fn make(&self, kept: &KeptBucket) -> Option<Trouble> {
        const MAY_NOT: &str = "it is not there, and this process may not make it";
        let not_made = lock(&kept.state).not_made;
        if not_made.is_some_and(|at| at.elapsed() < self.every) {
            return Some(Trouble::Missing(MAY_NOT.to_owned()));
        }
        let first = kept.bucket.first(lock(&kept.state).last);
        let why = match create(&self.connection, &kept.bucket, first).await {
            Ok(info) => {
                log::info!(bucket = kept.bucket.name; "a bucket was made");
                kept.saw(&info);
                let faults = kept.bucket.faults(&info.settings).join("; ");
                let imposed = (!faults.is_empty()).then_some(faults);
                lock(&kept.state).imposed.clone_from(&imposed);
                return imposed.map(|faults| Trouble::Foreign(format!("{faults} ({IMPOSED})")));
            }
            Err(JetStreamError::Denied) => {
                lock(&kept.state).not_made = Some(Instant::now());
                return Some(Trouble::Missing(MAY_NOT.to_owned()));
            }
            Err(JetStreamError::Occupied(why)) => return Some(Trouble::Occupied(why)),
            Err(error) => error.why(MAY_NOT),
        };
        match info(&self.connection, &kept.bucket.name).await {
            // Another process made it just now; the next look tells what it is like.
            Ok(_) => {
                self.look();
                None
            }
            Err(_) => {
                let why = format!("it is not there, and cannot be made: {why}");
                Some(Trouble::Missing(why))
            }
        }
    }

    /// Gives one its settings, if it has others; which ones they are, if that cannot be done.
    async fn mend(&self, kept: &KeptBucket, info: &Info, begins_again: bool) -> Option<Trouble> {
        let bucket = &kept.bucket;
        let faults = bucket.faults(&info.settings);
        let begins_again = begins_again && bucket.is_renewed;
        if faults.is_empty() && !begins_again {
            lock(&kept.state).imposed = None;
            return None;
        }
        let faults = faults.join("; ");
        // Revisions that begin again are no trouble if they must be: fronts notice it by themselves.
        let trouble =
            |why: &str| (!faults.is_empty()).then(|| Trouble::Foreign(format!("{faults} ({why})")));
        let not_mended = lock(&kept.state).not_mended.clone();
        if let Some((at, why)) = not_mended
            && at.elapsed() < self.every
        {
            return trouble(&why);
        }
        if !kept.may_mend(self.every) {
            return trouble("another process gives it these again and again");
        }
        let failed = |why: String| {
            let trouble = trouble(&why);
            lock(&kept.state).not_mended = Some((Instant::now(), why));
            trouble
        };
        // One whose revisions begin again is made anew, whatever else can be changed, and so is one whose
        // entries may be from elsewhere: with its settings mended they would look like any other.
        if !begins_again && !bucket.is_suspect(&info.settings) {
            match api::update(&self.connection, bucket, &info.settings).await {
                Ok(info) if bucket.faults(&info.settings).is_empty() => {
                    kept.note_mended();
                    if !kept.is_fought_over() {
                        log::info!(bucket = bucket.name, faults; "a bucket has its settings again");
                    }
                    kept.saw(&info);
                    return None;
                }
                Err(JetStreamError::Denied) => return failed(MAY_NOT_CHANGE.to_owned()),
                Err(JetStreamError::Silent(why)) => return failed(why),
                Err(JetStreamError::Refused(why)) if !bucket.is_renewed => return failed(why),
                // Bounds, which are not worth what is in it.
                Ok(_) if !bucket.is_renewed => return failed(KEPT.to_owned()),
                // What cannot be changed is made anew.
                Ok(_) | Err(_) => {}
            }
        }
        // One that is made anew would have them again.
        if !begins_again && lock(&kept.state).imposed.as_ref() == Some(&faults) {
            return failed(IMPOSED.to_owned());
        }
        sleep(Duration::from_millis(rand::random::<u64>() % JITTER_MS)).await;
        match api::info(&self.connection, &bucket.name).await {
            Ok(now)
                if now.created == info.created
                    && (begins_again || !bucket.faults(&now.settings).is_empty()) => {}
            // Another process did it.
            Ok(_) | Err(_) => {
                self.look();
                return trouble("it is another one already");
            }
        }
        match api::delete(&self.connection, &bucket.name).await {
            Ok(()) | Err(JetStreamError::Missing) => {}
            Err(JetStreamError::Denied) => return failed(MAY_NOT_CHANGE.to_owned()),
            Err(error) => {
                let why = error.why(MAY_NOT_CHANGE);
                return failed(format!("it cannot be deleted: {why}"));
            }
        }
        kept.note_mended();
        let faults = match faults.as_str() {
            "" => "its revisions begin again",
            faults => faults,
        };
        if !kept.is_fought_over() {
            log::info!(bucket = bucket.name, faults; "a bucket was deleted, to be made with its settings");
        }
        self.make(kept).await
    }

    fn log_trouble(&self, kept: &KeptBucket) {
        let (bucket, why) = (&kept.bucket.name, self.message(kept));
        log::warn!(bucket, why; "a bucket cannot be used");
    }

    /// What is said of a bucket that cannot be used.
    fn message(&self, kept: &KeptBucket) -> Option<String> {
        let (name, command) = (&kept.bucket.name, &self.command);
        let state = lock(&kept.state);
        match &state.trouble {
            Some(Trouble::Missing(why)) => Some(format!(
                "the NATS bucket {name} cannot be used: {why}; `{command}` makes it"
            )),
            Some(Trouble::Foreign(why)) if state.imposed.is_some() => {
                Some(format!("the NATS bucket {name} has other settings: {why}"))
            }
            Some(Trouble::Foreign(why)) => Some(format!(
                "the NATS bucket {name} has other settings: {why}; if it is deleted, `{command}` makes it"
            )),
            Some(Trouble::Occupied(why) | Trouble::Silent(why)) => {
                Some(format!("the NATS bucket {name} cannot be used: {why}"))
            }
            None => {
                let (why, _) = state.unwritable.as_ref()?;
                Some(format!("the NATS bucket {name} cannot be written: {why}"))
            }
        }
    }
}

impl KeptBucket {
    fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            remade: watch::channel(0).0,
            state: Mutex::default(),
        }
    }

    /// How often it was mended lately.
    fn times_mended(&self) -> u32 {
        lock(&self.state).mended.map_or(0, |(_, times)| times)
    }

    /// Whether it was mended again and again.
    fn is_fought_over(&self) -> bool {
        self.times_mended() > MOST_MENDED
    }

    /// Whether it may be mended now: processes that undo each other's work do so once in so long.
    fn may_mend(&self, every: Duration) -> bool {
        let last = lock(&self.state).mended.map(|(last, _)| last);
        self.times_mended() < MOST_MENDED || last.is_none_or(|last| last.elapsed() >= every)
    }

    /// It was mended just now.
    fn note_mended(&self) {
        let times = self.times_mended().saturating_add(1);
        lock(&self.state).mended = Some((Instant::now(), times));
        if times == MOST_MENDED + 1 {
            let bucket = &self.bucket.name;
            log::warn!(bucket; "another process gives a bucket other settings again and again");
        }
    }

    /// Forgets what is over. A process that has no more to write does not learn that it can: after a
    /// lease without a failure nothing is known of that.
    fn forget(&self) {
        let lease = self.bucket.max_age;
        let is_over = |at: &Instant| !lease.is_zero() && at.elapsed() >= lease;
        let mut state = lock(&self.state);
        if state.unwritable.take_if(|(_, at)| is_over(at)).is_some() {
            log::info!(bucket = self.bucket.name; "nothing failed to be written to a bucket for a lease");
        }
        let is_old = |(last, _): &mut (Instant, u32)| last.elapsed() >= FIGHT;
        if let Some((_, times)) = state.mended.take_if(is_old)
            && times > MOST_MENDED
        {
            log::info!(bucket = self.bucket.name; "a bucket keeps its settings again");
        }
    }

    /// Takes note of a bucket that is there; whether it is another one, whose revisions begin again.
    fn saw(&self, info: &Info) -> bool {
        let mut state = lock(&self.state);
        let before = state.created.replace(info.created);
        let last = info.state.last_seq;
        let is_other = before.is_some_and(|it| it != info.created);
        let begins_again = is_other && last < state.last;
        state.last = state.last.max(last);
        if is_other {
            self.remade.send_modify(|times| *times += 1);
        }
        if before != Some(info.created) && self.bucket.is_in_memory(&info.settings) {
            let (bucket, lost) = (&self.bucket.name, self.bucket.lost);
            log::warn!(bucket, lost; "a bucket is in memory, which a restart of NATS loses");
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
        let kept = KeptBucket::new(Bucket::leases(&Names::new("fleetcall"), lease));
        let failed = || lock(&kept.state).unwritable = Some(("full".to_owned(), Instant::now()));
        let is_unwritable = || {
            kept.forget();
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

    /// However long others go on, it is mended within the same time once they leave off.
    #[tokio::test(start_paused = true)]
    async fn a_bucket_that_is_fought_over_is_mended_once_in_a_lease() {
        let lease = Duration::from_secs(2);
        let kept = KeptBucket::new(Bucket::leases(&Names::new("fleetcall"), lease));
        for _ in 0..MOST_MENDED {
            assert!(kept.may_mend(lease));
            kept.note_mended();
            assert!(!kept.is_fought_over());
        }
        for _ in 0..100 {
            assert!(!kept.may_mend(lease));
            tokio::time::advance(lease - AGAIN).await;
            assert!(!kept.may_mend(lease));
            tokio::time::advance(AGAIN).await;
            assert!(kept.may_mend(lease));
            kept.note_mended();
            assert!(kept.is_fought_over());
        }
        tokio::time::advance(FIGHT).await;
        kept.forget();
        assert!(kept.may_mend(lease));
        assert!(!kept.is_fought_over());
    }
}
