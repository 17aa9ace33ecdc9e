//! A collect from its begin to its answer, at once or as it comes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::answer::{Answer, Observation};
use super::selection::Selection;
use super::{Admission, CollectError, CollectRequest, CollectorState, given_up};
use crate::domain::{Collection, Fault, FaultKind, Outcome, Topology};
use crate::engine::gather::{CollectOptions, Gather};
use crate::engine::queue;
use crate::engine::remote::Time;
use crate::telemetry::Gauge;

/// Where its lines in the log say that they come from.
const LOG: &str = "fleetcall::collector";

/// How often it is logged that collects are refused.
const LOG_REFUSED_EVERY: Duration = Duration::from_secs(60);

/// How much before its deadline a collect is closed: what it takes to wake up, and for each device
/// to put its outcome into the answer and the answer on its way. Never more than a tenth of the
/// deadline, so on a fleet too large for its deadline an answer can be late by what is missing.
const CLOSING_TIME: Duration = Duration::from_millis(2);
const CLOSING_TIME_PER_DEVICE: Duration = Duration::from_micros(1);

/// How many clusters are told in one turn that nobody waits for a collect any more.
const CLUSTERS_AT_ONCE: usize = 256;

/// A collect under way; dropped early, it is withdrawn.
#[derive(Debug)]
pub(super) struct CollectInFlight {
    shared: Arc<CollectorState>,
    id: u64,
    gather: Arc<Gather>,
    selection: Arc<Selection>,
    /// The next cluster to be asked.
    next: AtomicUsize,
    began: SystemTime,
    start: Instant,
    /// The longest it may take.
    deadline: Duration,
    /// When it is closed.
    end: Instant,
    /// Whether it was ended, with an answer or without.
    is_over: AtomicBool,
}

/// How a collect is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct CollectMode {
    /// The longest it may take, if that is less than what is configured.
    pub(super) deadline: Option<Duration>,
    /// For a caller that wants to see outcomes as they come.
    pub(super) read: bool,
    /// Whether devices are asked that would not be.
    pub(super) force: bool,
    /// Whose turns it takes, if that is known.
    pub(super) client: Option<IpAddr>,
}

impl CollectInFlight {
    /// A place among the collects that may wait at once.
    pub(super) fn place(
        shared: &CollectorState,
        waiting: usize,
    ) -> Result<Admission, CollectError> {
        if shared.closing.load(Ordering::Acquire) {
            shared.metrics.refused();
            return Err(CollectError::ShuttingDown);
        }
        let Some(place) = shared.metrics.enter_below(Gauge::Collects, waiting) else {
            shared.metrics.refused();
            if let Some(unlogged) = shared.refused.pass(LOG_REFUSED_EVERY) {
                log::warn!(target: LOG, waiting, unlogged; "collect refused, too many are waiting");
            }
            return Err(CollectError::Overloaded { waiting });
        };
        Ok(Admission(place))
    }

    /// What is asked by [`CollectInFlight::ask`]; `read` is for whoever wants to see outcomes as
    /// they come. The deadline counts from `start`.
    pub(super) fn begin(
        shared: &Arc<CollectorState>,
        selection: Selection,
        request: &CollectRequest,
        read: bool,
        start: Instant,
    ) -> Self {
        let how = CollectMode {
            deadline: request.deadline,
            read,
            force: request.force,
            client: request.client,
        };
        Self::of(shared, selection, how, start)
    }

    /// Which devices a request means, in turns.
    pub(super) async fn select(
        shared: &CollectorState,
        request: &CollectRequest,
    ) -> Result<Selection, CollectError> {
        let (routes, scope) = (shared.fleet.routes(), &request.scope);
        if request.check_removals {
            scope.check_removals(&routes.topology).await?;
        }
        Ok(Selection::new(routes, scope).await?)
    }

    /// What is asked by [`CollectInFlight::ask`], of these devices.
    pub(super) fn of(
        shared: &Arc<CollectorState>,
        selection: Selection,
        how: CollectMode,
        start: Instant,
    ) -> Self {
        let CollectMode {
            deadline,
            read,
            force,
            client,
        } = how;
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let longest = selection.routes().settings.deadline;
        let deadline = deadline.unwrap_or(longest).min(longest);
        let devices = u32::try_from(selection.topology().devices()).unwrap_or(u32::MAX);
        let closing = CLOSING_TIME + CLOSING_TIME_PER_DEVICE * devices;
        let gather = Gather::new(
            id,
            Arc::clone(selection.topology()),
            Arc::clone(&selection.routes().fleet_devices),
            CollectOptions {
                read,
                force,
                is_patient: deadline >= longest,
                client,
            },
        );
        Self {
            shared: Arc::clone(shared),
            id,
            gather,
            selection: Arc::new(selection),
            next: AtomicUsize::new(0),
            began: SystemTime::now(),
            start,
            deadline,
            end: start + (deadline - closing.min(deadline / 10)),
            is_over: AtomicBool::new(false),
        }
    }

    /// Asks the devices, in turns, beside others who do so; each once. What is known and no older than
    /// `max_age` is not asked. Dropped, it leaves the rest to the others.
    pub(super) async fn ask(&self, max_age: Option<Duration>) {
        let time = Time {
            start: self.start,
            deadline: self.deadline,
            max_age,
        };
        // However long that takes, the answer is not late.
        let until = (&self.next, self.end);
        self.selection.send(&self.gather, time, until).await;
        // Only now it is true for whoever reads it.
        log::debug!(target: LOG, collect = self.id; "collecting");
    }

    /// Whether each cluster is asked, or about to be.
    pub(super) fn is_asked(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.selection.topology().clusters().len()
    }

    /// Whether its answer is still open, and of the fleet as it is now.
    pub(super) fn may_be_joined(&self) -> bool {
        !self.is_settled()
            && Instant::now() < self.end
            && !self.is_over.load(Ordering::Acquire)
            && std::ptr::eq(self.selection.routes(), &**self.shared.fleet.peek())
    }

    /// Whether every device has an outcome.
    pub(super) fn is_settled(&self) -> bool {
        self.gather.builder().is_complete()
    }

    /// Waits until every device has an outcome, or the deadline passes, which is part of the answer.
    pub(super) async fn settle(&self) -> Result<(), CollectError> {
        let shared = &self.shared;
        let heard = shared.signal().notified();
        tokio::select! {
            biased;
            () = self.gather.settled() => Ok(()),
            () = tokio::time::sleep_until(self.end) => Ok(()),
            () = given_up(heard, &shared.cut_off) => {
                self.abandon("the service is shutting down");
                Err(CollectError::ShuttingDown)
            }
        }
    }

    /// Closes the answer and lets go of the devices that are not in it; once, and not if it was
    /// given up.
    pub(super) fn finish(&self, is_shared: bool) -> Result<Answer, CollectError> {
        if self.is_over.swap(true, Ordering::AcqRel) {
            return Err(CollectError::ShuttingDown);
        }
        let collection = self.gather.complete().unwrap_or_else(|| {
            let text = humantime::format_duration(self.deadline);
            let fault = Fault::new(
                FaultKind::TimedOut,
                format!("no answer before the collect's deadline of {text}"),
            );
            self.end(&Arc::new(fault))
        });
        let summary = collection.summary();
        self.shared.metrics.collected(&summary);
        let clusters = collection.topology().clusters().len();
        let duration = self.start.elapsed();
        let duration_ms = self.duration_ms();
        let (collect, devices, failed) = (self.id, summary.devices(), summary.failed());
        if failed == 0 {
            log::info!(target: LOG, collect, clusters, devices, failed, duration_ms; "collected");
        } else {
            let kinds: Vec<String> = summary
                .by_kind()
                .map(|(kind, count)| format!("{kind}={count}"))
                .collect();
            let faults = kinds.join(" ");
            log::info!(target: LOG, collect, clusters, devices, failed, duration_ms, faults; "collected");
        }
        Ok(Answer {
            collection,
            selection: Arc::clone(&self.selection),
            summary,
            is_shared,
            id: self.id,
            started: self.began,
            duration,
            topology: self.selection.routes().version,
            demonstration: self.selection.routes().is_demonstration(),
            changes: self.shared.fleet.event_log().last(),
        })
    }

    fn end(&self, fault: &Arc<Fault>) -> Collection {
        let clusters = self.selection.topology().clusters().len();
        let open: Vec<usize> = (0..clusters)
            .filter(|&place| !self.gather.is_cluster_complete(place))
            .collect();
        if fault.kind() == FaultKind::TimedOut && queue::is_used() {
            self.answer_queued(&open);
        }
        let collection = self.gather.close(fault);
        match Handle::try_current() {
            // Many are told in turns. Those that are not take the time that their lookups may.
            Ok(runtime) if open.len() > CLUSTERS_AT_ONCE => {
                let selection = Arc::clone(&self.selection);
                let (collect, fault) = (self.id, Arc::clone(fault));
                runtime.spawn(async move {
                    for clusters in open.chunks(CLUSTERS_AT_ONCE) {
                        for &place in clusters {
                            selection.withdraw(place, collect, &fault);
                        }
                        tokio::task::yield_now().await;
                    }
                });
            }
            _ => {
                for place in open {
                    self.selection.withdraw(place, self.id, fault);
                }
            }
        }
        collection
    }

    /// Says of the devices of these clusters whose lookups wait for room here that they were not asked.
    fn answer_queued(&self, clusters: &[usize]) {
        let deadline = humantime::format_duration(self.deadline);
        let mut faults = BTreeMap::new();
        for &cluster in clusters {
            for device in 0..self.selection.topology().clusters()[cluster].len() {
                if !self.gather.builder().lacks(cluster, device) {
                    continue;
                }
                let what = self.selection.queued(cluster, device);
                if what > 0 {
                    let fault = faults.entry(what);
                    let fault = fault.or_insert_with(|| Arc::new(queue::fault(what, &deadline)));
                    self.gather.answer(cluster, device, Err(Arc::clone(fault)));
                }
            }
        }
    }

    fn duration_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends it without an answer, unless it has ended.
    fn abandon(&self, why: &'static str) {
        if self.is_over.swap(true, Ordering::AcqRel) {
            return;
        }
        drop(self.end(&Arc::new(Fault::new(FaultKind::Cancelled, why))));
        self.shared.metrics.cancelled();
        let (collect, duration_ms) = (self.id, self.duration_ms());
        log::info!(target: LOG, collect, duration_ms, why; "collect cancelled");
    }
}

impl Drop for CollectInFlight {
    fn drop(&mut self) {
        self.abandon("its caller went away");
    }
}

/// A collect whose outcomes are seen as they come. Dropping it cancels the request.
///
/// Its memory is that of the answer, however slow the reader is.
#[derive(Debug)]
pub struct AnswerStream {
    id: u64,
    gather: Arc<Gather>,
    selection: Arc<Selection>,
    /// Outcomes read so far.
    read: usize,
    /// Ends the collect when it is time, whoever reads.
    driver: JoinHandle<()>,
    answer: oneshot::Receiver<Result<Answer, CollectError>>,
    /// Kept by the reader, so that answers which nobody reads are bounded.
    _place: Option<Admission>,
}

impl AnswerStream {
    pub(super) fn new(in_flight: CollectInFlight, place: Option<Admission>) -> Self {
        let id = in_flight.id;
        let gather = Arc::clone(&in_flight.gather);
        let selection = Arc::clone(&in_flight.selection);
        let (sender, answer) = oneshot::channel();
        let driver = actix::spawn(async move {
            let settled = in_flight.settle().await;
            let answer = settled.and_then(|()| in_flight.finish(false));
            // The reader may have gone.
            sender.send(answer).ok();
        });
        Self {
            id,
            gather,
            selection,
            read: 0,
            driver,
            answer,
            _place: place,
        }
    }

    /// Which collect it is, counted from 1.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The devices that the answer is for.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        self.selection.topology()
    }

    /// The next outcomes in the order in which they come, at least one and up to `most`, each by
    /// its place in the topology (cluster, device). Empty when all were given. Cancel-safe.
    pub async fn next(&mut self, most: usize) -> Vec<(usize, usize)> {
        if self.read == self.topology().devices() {
            return Vec::new();
        }
        self.gather.arrived(self.read).await;
        let builder = self.gather.builder();
        let come: Vec<_> = (self.read..)
            .take(most)
            .map_while(|nth| builder.arrived(nth))
            .collect();
        self.read += come.len();
        come
    }

    /// A device's outcome, if it has come, and how it came by that.
    ///
    /// # Panics
    /// If there is no such device.
    #[must_use]
    pub fn outcome(
        &self,
        cluster: usize,
        device: usize,
    ) -> Option<(&Outcome, Option<Observation>)> {
        let outcome = self.gather.builder().outcome(cluster, device)?;
        let observation = self.selection.observation(cluster, device, outcome);
        Some((outcome, observation))
    }

    /// The whole answer, when all have come.
    ///
    /// # Errors
    /// [`CollectError::ShuttingDown`], if it was given up.
    pub async fn finish(mut self) -> Result<Answer, CollectError> {
        let answer = (&mut self.answer).await;
        // Its driver ends without an answer only if its thread does.
        answer.unwrap_or(Err(CollectError::ShuttingDown))
    }
}

impl Drop for AnswerStream {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
