//! A front: has clusters that are not here asked by their owners.
//!
//! The deadline is not its: a collect that is closed takes no more outcomes, whatever happens here.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use async_nats::{Client, Message, StatusCode};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::buckets::Buckets;
use super::counts::Counts;
use super::failure::{FailingClusters, Failure};
use super::lock::lock;
use super::rare_log::RareLog;
use super::taken::{LaterOwner, TakenClusters};
use super::wire::{
    ACK, AnswerEnd, Chunk, ClusterRequest, HEARTBEAT, Names, OLDEST_SCHEMA, Roster, WirePlaces,
};
use crate::domain::{ClusterId, Fault, FaultKind, Hold, Sharing, Turn, WorkerState};
use crate::engine::collector::Workers;
use crate::engine::remote::{Elsewhere, RemoteCollect};
use crate::engine::remote_state::{RemoteClusterState, StateQuery};
use crate::nats::claim_obstacle::ClaimObstacle;
use crate::nats::connection::{NatsConnection, NatsError};
use crate::nats::lease::LeaseManager;
use crate::nats::reply_subscription;
use crate::nats::reply_subscription::Inbox;

/// How long a cluster may have no owner, as between two of them, before its devices are unreachable.
pub(super) const NOBODY: Duration = Duration::from_millis(500);

/// Between two looks whether there is an owner.
pub(super) const AGAIN: Duration = Duration::from_millis(25);

/// How long after a reload here the owner of a cluster may not know yet that there is the cluster, or
/// what is in it now: processes do not reload in the same instant.
const RELOADING: Duration = Duration::from_secs(10);

/// The longest wait between two looks while a cluster moves, or its owner is to reload.
const MOVING: Duration = Duration::from_millis(200);

/// How long an owner may be silent before its devices are unreachable. It says that it is there every
/// [`HEARTBEAT`], at once for the first time.
pub(super) const SILENCE: Duration = Duration::from_secs(2);

/// How long an owner may take longer than its front to end a collect whose deadline passes.
const LINGER: Duration = Duration::from_millis(200);

/// How long workers have to say what they have.
const ROSTER: Duration = Duration::from_millis(300);

/// Between two questions what keeps workers from their clusters, once something does.
const STILL: Duration = Duration::from_secs(1);

/// How many of their messages may wait to be read.
const MOST_WORKERS: usize = 1024;

/// So many bytes of a piece are read in the time of one item of work.
pub(super) const BYTES_OF_AN_ITEM: usize = 32;

const _: () = assert!(SILENCE.as_millis() > 3 * HEARTBEAT.as_millis());

/// Has remote collects done by whoever owns their clusters.
#[derive(Debug)]
pub(super) struct RemoteClusters {
    shared: Arc<RemoteConnection>,
    /// Where remote collects are run.
    runtime: Handle,
    /// This process as a worker, while it is one.
    owner: OnceLock<Weak<LeaseManager>>,
    /// The buckets that it uses.
    buckets: OnceLock<Arc<Buckets>>,
}

#[derive(Debug)]
pub(super) struct RemoteConnection {
    pub(super) connection: NatsConnection,
    names: Names,
    /// The newest form of answers that it reads.
    schema: u32,
    inbox: Inbox,
    /// Where what is known comes, so that it does not get in the way of outcomes.
    pub(super) state_queries: Inbox,
    pub(super) counts: Arc<Counts>,
    /// Remote collects under way, to be told that nobody waits for them any more.
    collects: Mutex<HashMap<(u64, ClusterId), oneshot::Sender<Gone>>>,
    /// The latest lease of each cluster that answered.
    fences: Mutex<HashMap<ClusterId, u64>>,
    taken: TakenClusters,
    /// Which clusters cannot be asked.
    failing: FailingClusters,
    /// What keeps workers from taking clusters, as they say.
    claim_obstacle: Mutex<ClaimObstacle>,
    /// Told when a cluster has no owner.
    nobody: Notify,
    unreadable: RareLog,
}

/// Why nobody waits for a remote collect any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    /// Its time is over, which the owner knows by itself.
    Late,
    /// Its caller went.
    Cancelled,
}

impl RemoteClusters {
    /// Remote collects are run on the runtime that this is called on.
    ///
    /// # Errors
    /// If the server cannot be told where answers go.
    pub(super) async fn new(
        connection: &NatsConnection,
        names: Names,
        schema: u32,
        counts: Arc<Counts>,
    ) -> Result<Self, NatsError> {
        let shared = RemoteConnection {
            connection: connection.clone(),
            inbox: Inbox::open(connection, &names).await?,
            state_queries: Inbox::open(connection, &names).await?,
            names,
            schema,
            counts,
            collects: Mutex::default(),
            fences: Mutex::default(),
            taken: TakenClusters::default(),
            failing: FailingClusters::default(),
            claim_obstacle: Mutex::default(),
            nobody: Notify::new(),
            unreadable: RareLog::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            runtime: Handle::current(),
            owner: OnceLock::new(),
            buckets: OnceLock::new(),
        })
    }

    /// Uses these buckets; once.
    pub(super) fn use_buckets(&self, buckets: &Arc<Buckets>) {
        self.buckets.get_or_init(|| Arc::clone(buckets));
    }

    /// Asks workers what keeps them from taking clusters when one has no owner; for ever.
    pub(super) async fn keep_asking(self: Arc<Self>) {
        let mut is_hindered = false;
        loop {
            if is_hindered {
                sleep(STILL).await;
            } else {
                self.shared.nobody.notified().await;
            }
            let Ok(rosters) = self.shared.rosters().await else {
                continue;
            };
            let now = {
                let mut claim_obstacle = lock(&self.shared.claim_obstacle);
                if !is_hindered {
                    claim_obstacle.begin();
                }
                claim_obstacle.heard(rosters);
                claim_obstacle.why().map(str::to_owned)
            };
            match &now {
                Some(why) if !is_hindered => log::warn!(why; "a worker cannot take clusters"),
                None if is_hindered => log::info!("workers can take clusters again"),
                Some(_) | None => {}
            }
            is_hindered = now.is_some();
        }
    }

    /// This process takes clusters, too; once.
    pub(super) fn work_as(&self, owner: &Arc<LeaseManager>) {
        self.owner.get_or_init(|| Arc::downgrade(owner));
    }

    /// A worker says that it has this lease of the cluster: questions that are open are put to it, too.
    pub(super) fn was_taken(&self, cluster: &ClusterId, fence: u64) {
        self.shared.taken.say(cluster, fence);
    }

    /// Whether there was a later lease of the cluster.
    pub(super) fn is_older(&self, cluster: &ClusterId, fence: u64) -> bool {
        fence < self.shared.fence(cluster)
    }
}

impl Elsewhere for RemoteClusters {
    fn collect(&self, collect: RemoteCollect) {
        let (gone, hears) = oneshot::channel();
        let key = (collect.collect(), collect.cluster().clone());
        lock(&self.shared.collects).insert(key.clone(), gone);
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            shared.run(collect, hears).await;
            lock(&shared.collects).remove(&key);
        });
    }

    fn withdraw(&self, collect: u64, cluster: &ClusterId, fault: &Fault) {
        let gone = match fault.kind() {
            FaultKind::Cancelled => Gone::Cancelled,
            _ => Gone::Late,
        };
        let collect = lock(&self.shared.collects).remove(&(collect, cluster.clone()));
        if let Some(collect) = collect {
            // It may have ended just now.
            collect.send(gone).ok();
        }
    }

    fn look(&self, query: StateQuery) -> BoxFuture<'static, Option<RemoteClusterState>> {
        let shared = Arc::clone(&self.shared);
        async move { shared.look(query).await }.boxed()
    }

    fn reset(
        &self,
        query: StateQuery,
        caller: String,
    ) -> BoxFuture<'static, Result<Vec<Hold>, String>> {
        let shared = Arc::clone(&self.shared);
        async move { shared.reset(query, &caller).await }.boxed()
    }

    fn reserve_force(
        &self,
        query: StateQuery,
    ) -> BoxFuture<'static, Option<Result<bool, Duration>>> {
        let shared = Arc::clone(&self.shared);
        async move { shared.reserve_force(query).await }.boxed()
    }
}

impl Workers for RemoteClusters {
    fn workers(&self) -> BoxFuture<'static, Result<Vec<WorkerState>, String>> {
        let shared = Arc::clone(&self.shared);
        // On the runtime of its timers, whoever asks.
        let asked = self.runtime.spawn(async move { shared.workers().await });
        async move { asked.await.unwrap_or_else(|error| Err(error.to_string())) }.boxed()
    }

    fn obstacles(&self) -> Vec<(&'static str, String)> {
        if !self.shared.connection.is_up() {
            return vec![("disconnected", Failure::Disconnected.to_string())];
        }
        let own = self.buckets.get().and_then(|it| it.obstacle());
        let hindered = lock(&self.shared.claim_obstacle).why().map(str::to_owned);
        // Those of a worker are its own.
        let obstacle = own.or(hindered);
        obstacle.map(|why| ("bucket", why)).into_iter().collect()
    }

    fn sharing(&self) -> Sharing {
        Sharing {
            connection: self.shared.connection.connectedness(),
            sent: self.shared.counts.as_front(),
            worker: self.owner.get().and_then(Weak::upgrade).map(|it| it.work()),
        }
    }
}

/// What became of one try to have a remote collect done.
enum Tried {
    /// As much as can be was told.
    Done,
    /// Nobody was there, and nothing was told.
    Nobody,
    /// The cluster is about to have another owner, and nothing was told by either.
    Moving,
    /// There is no connection for a moment.
    Reconnecting,
    /// The connection was another one meanwhile, and nothing was told.
    Lost,
    /// Another worker took the cluster meanwhile, and nothing was told.
    Taken,
    /// The owner has other devices, and nothing was told.
    OtherPlan,
    /// Something went wrong; the devices that are left cannot be reached.
    Failed(Failure),
}

impl RemoteConnection {
    async fn run(&self, collect: RemoteCollect, mut gone: oneshot::Receiver<Gone>) {
        let mut nobody: Option<Instant> = None;
        let (mut is_second, mut wait) = (false, AGAIN);
        let reloading = until_reloaded(&collect);
        let mut taken = self.later_owner(collect.cluster());
        loop {
            let tried = match self.connection.down_for() {
                None => self.attempt(&collect, &mut gone, &mut taken, wait).await,
                // It connects again by itself, mostly at once.
                Some(down) if down < NOBODY => Tried::Reconnecting,
                Some(_) => Tried::Failed(Failure::Disconnected),
            };
            let reloads_for =
                reloading.map(|until| until.saturating_duration_since(Instant::now()));
            let reloads_for = reloads_for.unwrap_or_default();
            match tried {
                Tried::Done => return,
                // Up to the collect's deadline, at which nobody waits for this any more.
                Tried::Moving => {
                    nobody = None;
                    wait = (wait * 2).min(MOVING);
                    // The next owner may have taken this order already, too.
                    is_second = true;
                    // It has waited.
                    continue;
                }
                Tried::Reconnecting => nobody = None,
                Tried::Lost => is_second = true,
                Tried::Taken => {
                    is_second = true;
                    continue;
                }
                // The first order counts until its owner hears that it is not wanted.
                Tried::Failed(Failure::Overloaded)
                    if is_second && nobody.get_or_insert_with(Instant::now).elapsed() < NOBODY => {}
                Tried::Nobody | Tried::OtherPlan
                    if nobody.get_or_insert_with(Instant::now).elapsed() < NOBODY => {}
                Tried::Nobody | Tried::OtherPlan if !reloads_for.is_zero() => {
                    wait = (wait * 2).min(MOVING).min(reloads_for);
                }
                Tried::OtherPlan => return self.fail(collect, &Failure::OtherPlan),
                Tried::Nobody => {
                    let cluster = collect.cluster().clone();
                    return self.fail(collect, &Failure::Nobody(cluster));
                }
                Tried::Failed(why) => return self.fail(collect, &why),
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = taken.later_than(self.fence(collect.cluster())) => {}
                _ = &mut gone => return,
            }
        }
    }

    fn fail(&self, mut collect: RemoteCollect, failure: &Failure) {
        let cluster = collect.cluster();
        let is_nobody = matches!(failure, Failure::Nobody(_));
        if is_nobody {
            lock(&self.claim_obstacle).no_owner(cluster);
            self.nobody.notify_one();
        }
        if self.is_new(cluster, failure) {
            match is_nobody {
                true => log::warn!(cluster:%; "no worker has the cluster"),
                false => {
                    log::warn!(cluster:%, why:% = failure; "the cluster's worker cannot be asked")
                }
            }
        }
        self.counts.failed(failure);
        collect.blame(Fault::new(FaultKind::Unreachable, failure.to_string()));
    }

    /// Whether a cluster did not fail so until now.
    pub(super) fn is_new(&self, cluster: &ClusterId, failure: &Failure) -> bool {
        self.failing.is_new(cluster, failure)
    }

    /// Has a remote collect done, if there is an owner. One that says that the cluster moves may
    /// not be the only one who has the order, so the next one is waited for so long. One that says
    /// nothing may hang: a worker that takes the cluster meanwhile is asked at once, which does no
    /// harm, as asking a device changes nothing there.
    async fn attempt(
        &self,
        collect: &RemoteCollect,
        gone: &mut oneshot::Receiver<Gone>,
        taken: &mut LaterOwner,
        wait: Duration,
    ) -> Tried {
        let mut answers = self.inbox.place();
        taken.begin();
        let client = &self.connection.client;
        let mut again = pin!(self.connection.again());
        if let Err(why) = self.order(collect, &answers, client).await {
            return Tried::Failed(Failure::NotSent(why));
        }
        let mut reading = self.reading(collect.cluster());
        let mut has_told = false;
        let mut moves: Option<Instant> = None;
        let mut turn = Turn::default();
        loop {
            let until = moves.unwrap_or_else(|| Instant::now() + SILENCE);
            let message = tokio::select! {
                message = timeout_at(until, answers.messages.recv()) => message,
                // Whatever was on its way is lost.
                () = &mut again, if !has_told => return Tried::Lost,
                () = taken.later_than(reading.fence), if !has_told => return Tried::Taken,
                why = &mut *gone => {
                    if why == Ok(Gone::Late) {
                        // The owner is about to end it, too, and learns of its devices by that.
                        let rest = async { while answers.messages.recv().await.is_some() {} };
                        timeout(LINGER, rest).await.ok();
                    }
                    if reading.skipped && !has_told {
                        self.forget_fence(collect.cluster());
                    }
                    // What else it sends is answered by the inbox.
                    return Tried::Done;
                }
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => return Tried::Failed(Failure::TooFast),
                Err(_) if moves.is_some() => return Tried::Moving,
                Err(_) => {
                    if reading.skipped && !has_told {
                        self.forget_fence(collect.cluster());
                    }
                    return Tried::Failed(Failure::Silent);
                }
            };
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                return Tried::Nobody;
            }
            self.counts.piece_received();
            // However fast pieces come.
            turn.spend(message.payload.len() / BYTES_OF_AN_ITEM).await;
            let end = reading.read(&message).and_then(|chunk| {
                let Some(chunk) = chunk else {
                    return Ok(None);
                };
                // An owner answers.
                moves = None;
                for told in chunk.told().ok_or(Failure::NoColumns)? {
                    has_told = true;
                    if !collect.tell(told) {
                        return Err(Failure::NotAsked);
                    }
                }
                Ok(chunk.end)
            });
            match end {
                Ok(None) => {}
                Ok(Some(AnswerEnd::Complete)) => {
                    self.note_fence(collect.cluster(), reading.fence);
                    lock(&self.claim_obstacle).has_owner(collect.cluster());
                    return if collect.is_settled() {
                        self.failing.answered(collect.cluster());
                        Tried::Done
                    } else {
                        Tried::Failed(Failure::LeftOut)
                    };
                }
                // Perhaps it is about to be where it is looked for.
                Ok(Some(AnswerEnd::NotHere)) if !has_told => return Tried::Nobody,
                Ok(Some(AnswerEnd::Moving)) if !has_told => {
                    moves = Some(Instant::now() + wait);
                    continue;
                }
                // Perhaps one of both is about to have the other's.
                Ok(Some(AnswerEnd::OtherPlan)) if !has_told => return Tried::OtherPlan,
                Ok(Some(end)) => return Tried::Failed(Failure::of(end)),
                Err(why) => return Tried::Failed(why),
            }
            self.acknowledge(message).await;
        }
    }

    /// Says that a piece was read.
    pub(super) async fn acknowledge(&self, chunk: Message) {
        let reply = chunk.reply.filter(|it| self.names.is_answerable(it));
        if let Some(reply) = reply {
            // If it is lost the connection is, and then the owner is silent.
            let read = self.connection.client.publish(reply, ACK.into());
            timeout(SILENCE, read).await.ok();
        }
    }

    /// Asks all workers what they have.
    async fn workers(&self) -> Result<Vec<WorkerState>, String> {
        let mut workers: BTreeMap<String, WorkerState> = BTreeMap::new();
        for roster in self.rosters().await? {
            let state = roster.state();
            match workers.entry(state.name.clone()) {
                Entry::Vacant(place) => drop(place.insert(state)),
                Entry::Occupied(mut place) => place.get_mut().holdings.extend(state.holdings),
            }
        }
        Ok(workers.into_values().collect())
    }

    /// Asks all workers, and takes what comes within [`ROSTER`].
    async fn rosters(&self) -> Result<Vec<Roster>, String> {
        if !self.connection.is_up() {
            return Err("there is no connection to NATS".to_owned());
        }
        let mut answers = self.inbox.place_for(MOST_WORKERS);
        let (to, reply) = (self.names.roster(), answers.subject.clone());
        let client = &self.connection.client;
        let published = client.publish_with_reply(to, reply, Vec::new().into());
        match timeout(SILENCE, published).await {
            Ok(published) => published.map_err(|error| error.to_string())?,
            Err(_) => return Err("the connection to NATS is stuck".to_owned()),
        }
        let mut rosters = Vec::new();
        let until = Instant::now() + ROSTER;
        while let Ok(Some(message)) = timeout_at(until, answers.messages.recv()).await {
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                break;
            }
            match serde_json::from_slice::<Roster>(&message.payload) {
                Ok(roster) => rosters.push(roster),
                Err(error) if self.unreadable.is_due() => {
                    log::warn!(error:%; "a worker sends what cannot be read");
                }
                Err(_) => {}
            }
        }
        Ok(rosters)
    }

    async fn order(
        &self,
        collect: &RemoteCollect,
        answers: &reply_subscription::ReplySubscription,
        client: &Client,
    ) -> Result<(), String> {
        let places = collect.places().map(|it| WirePlaces::new(&it));
        let mut order = ClusterRequest::new(collect.cluster().clone(), collect.plan_id(), places);
        order.speaks = (self.schema > OLDEST_SCHEMA).then_some(self.schema);
        order.set_time(collect.time());
        order.force = collect.is_forced();
        self.send(&order, answers, client).await
    }

    /// What reads an answer for a cluster.
    pub(super) fn reading(&self, cluster: &ClusterId) -> ChunkReader {
        ChunkReader::new(self.schema, self.fence(cluster))
    }

    /// Sends an order to whoever has its cluster.
    pub(super) async fn send(
        &self,
        order: &ClusterRequest,
        answers: &reply_subscription::ReplySubscription,
        client: &Client,
    ) -> Result<(), String> {
        let json = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        let (to, reply) = (self.names.orders(&order.cluster), answers.subject.clone());
        let published = client.publish_with_reply(to, reply, json.into());
        match timeout(SILENCE, published).await {
            Ok(Ok(())) => {
                self.counts.order_sent(!order.asks());
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the connection to NATS is stuck".to_owned()),
        }
    }

    fn fence(&self, cluster: &ClusterId) -> u64 {
        lock(&self.fences).get(cluster).copied().unwrap_or_default()
    }

    /// Only pieces of older leases came: the bucket is another one, whose numbers begin anew.
    pub(super) fn forget_fence(&self, cluster: &ClusterId) {
        lock(&self.fences).remove(cluster);
    }

    /// What tells that another worker took a cluster; for one question.
    pub(super) fn later_owner(&self, cluster: &ClusterId) -> LaterOwner {
        self.taken.question(cluster)
    }

    fn note_fence(&self, cluster: &ClusterId, fence: u64) {
        let mut fences = lock(&self.fences);
        let known = fences.entry(cluster.clone()).or_default();
        *known = fence.max(*known);
    }
}

/// Until when a reload of this process may be ahead of that of the cluster's owner; `None` if no
/// reload brought the remote collect's devices. Not until the very deadline, at which they would
/// count as silent.
fn until_reloaded(collect: &RemoteCollect) -> Option<Instant> {
    let until = collect.reloaded()? + RELOADING;
    let time = collect.time();
    let end = time.start.checked_add(time.deadline.saturating_sub(LINGER));
    Some(end.map_or(until, |end| end.min(until)))
}

/// An answer that comes in pieces.
pub(super) struct ChunkReader {
    /// The newest form that is read.
    schema: u32,
    /// The lease of whoever answers; pieces of older ones are not read.
    fence: u64,
    /// The number of the next piece.
    next: u64,
    /// Whether pieces of older leases came.
    skipped: bool,
}

impl ChunkReader {
    fn new(schema: u32, fence: u64) -> Self {
        Self {
            schema,
            fence,
            next: 0,
            skipped: false,
        }
    }

    /// The lease of whoever answers, or of whoever answered last before.
    pub(super) fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether pieces of older leases came.
    pub(super) fn has_skipped(&self) -> bool {
        self.skipped
    }

    /// Reads a piece, unless it is of an older lease.
    pub(super) fn read<'m>(&mut self, message: &'m Message) -> Result<Option<Chunk<'m>>, Failure> {
        let chunk: Chunk<'_> =
            serde_json::from_slice(&message.payload).map_err(Failure::Unreadable)?;
        if !(OLDEST_SCHEMA..=self.schema).contains(&chunk.version) {
            return Err(Failure::OtherForm {
                theirs: chunk.version,
                ours: self.schema,
            });
        }
        if chunk.fence < self.fence {
            // One that had the cluster before, and does not know yet that it lost it.
            self.skipped = true;
            return Ok(None);
        }
        if chunk.fence > self.fence {
            (self.fence, self.next) = (chunk.fence, 0);
        }
        if chunk.number != self.next {
            return Err(Failure::PieceLost);
        }
        self.next += 1;
        Ok(Some(chunk))
    }
}
