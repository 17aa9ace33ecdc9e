//! What changed in a worker's clusters, told to all other processes.
//!
//! Told once: a process that has no connection at that moment learns of it when a device is asked
//! the next time. That a cluster was taken is told as well, without a change.

use std::collections::HashMap;

use std::sync::Arc;

use std::time::Duration;

use async_nats::Client;

use futures::StreamExt as _;

use tokio::time::{sleep, timeout};

use super::front::RemoteClusters;

use super::rare_log::RareLog;

use super::wire::{
    CHUNK_LEN, Changed, LONGEST, Names, VERSION, WireChange, WireOutcome, some_names,
};

use crate::domain::{Change, ClusterId};

use crate::engine::fleet::FleetHandle;

use crate::engine::remote::{RemoteChange, RemoteOutcome};

use crate::nats::connection::NatsConnection;

use crate::nats::lease::LeaseManager;

/// How long a connection may be stuck before something is not told.
const PATIENCE: Duration = Duration::from_secs(1);

/// For how long changes are gathered after some were told.
const TOGETHER: Duration = Duration::from_millis(20);

/// Before a subscription is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Tells what changes in the clusters that are held; for ever.
pub(super) async fn publish_changes(
    owner: Arc<LeaseManager>,
    client: Client,
    names: Names,
    fleet: FleetHandle,
) {
    let event_log = fleet.event_log();
    let mut last = event_log.last();
    let untold = RareLog::default();
    loop {
        event_log.noted(last).await;
        let (changes, next) = {
            let history = event_log.history();
            // Without those that are forgotten, if there were as many.
            let changes = history.since(last).unwrap_or_else(|_| history.all());
            (changes, history.last())
        };
        last = next;
        let mut clusters: HashMap<ClusterId, Vec<Arc<Change>>> = HashMap::new();
        for change in changes {
            let of = clusters.entry(change.cluster.clone()).or_default();
            of.push(change);
        }
        for (cluster, changes) in clusters {
            if let Some(fence) = owner.fence(&cluster) {
                let is_told =
                    publish_changes_of(&cluster, fence, &changes, &client, &names, &fleet).await;
                if !is_told && untold.is_due() {
                    log::warn!(cluster:%; "what changed cannot be told");
                }
            }
            // Leases are renewed on this thread.
            tokio::task::yield_now().await;
        }
        // What happens at once is told at once.
        sleep(TOGETHER).await;
    }
}

/// Whether all of it is told.
async fn publish_changes_of(
    cluster: &ClusterId,
    fence: u64,
    changes: &[Arc<Change>],
    client: &Client,
    names: &Names,
    fleet: &FleetHandle,
) -> bool {
    let Some((plan, happened)) = fleet.remote_changes(cluster, changes) else {
        return true;
    };
    let mut is_told = true;
    let mut rest = happened.iter().peekable();
    while rest.peek().is_some() {
        let mut changes = Vec::new();
        let mut len = 0;
        while let Some(happened) = rest.peek() {
            let mut outcome =
                WireOutcome::aged(happened.place, &happened.outcome, Some(happened.age), None);
            if outcome.len() > LONGEST {
                outcome = outcome.without_facts();
            }
            let facts = some_names(happened.facts.clone());
            if len + outcome.len() > CHUNK_LEN && !changes.is_empty() {
                break;
            }
            len += outcome.len();
            changes.push(WireChange { outcome, facts });
            rest.next();
        }
        let changed = Changed {
            version: VERSION,
            cluster: cluster.clone(),
            fence,
            plan,
            changes,
        };
        let Ok(json) = serde_json::to_vec(&changed) else {
            continue;
        };
        let told = client.publish(names.changes(), json.into());
        is_told &= matches!(timeout(PATIENCE, told).await, Ok(Ok(())));
    }
    is_told
}

/// Hears what changes in clusters that are not here; for ever.
pub(super) async fn follow_changes(
    connection: NatsConnection,
    names: Names,
    front: Arc<RemoteClusters>,
    fleet: FleetHandle,
) {
    let [unreadable, unknown, deaf] = [(); 3].map(|()| RareLog::default());
    let warn = |seldom: &RareLog, what: &str| {
        if seldom.is_due() {
            log::warn!(what; "a worker's changes are passed over");
        }
    };
    loop {
        match connection.client.subscribe(names.changes()).await {
            Ok(mut told) => {
                while let Some(message) = told.next().await {
                    let Ok(changed) = serde_json::from_slice::<Changed<'_>>(&message.payload)
                    else {
                        warn(&unreadable, "they cannot be read");
                        continue;
                    };
                    if changed.version != VERSION || front.is_older(&changed.cluster, changed.fence)
                    {
                        continue;
                    }
                    if changed.changes.is_empty() {
                        front.was_taken(&changed.cluster, changed.fence);
                        continue;
                    }
                    let all = changed.changes.into_iter().map(|said| {
                        let RemoteOutcome {
                            place,
                            outcome,
                            observed,
                        } = said.outcome.told();
                        RemoteChange {
                            place: u32::try_from(place).unwrap_or(u32::MAX),
                            outcome,
                            age: observed.map(|(age, _)| age).unwrap_or_default(),
                            facts: some_names(said.facts),
                        }
                    });
                    let is_known = fleet.apply_remote_changes(&changed.cluster, changed.plan, all);
                    if !is_known {
                        warn(&unknown, "it has another configuration");
                    }
                }
            }
            Err(error) => {
                if deaf.is_due() {
                    log::warn!(error:%; "cannot hear what changes");
                }
            }
        }
        sleep(AGAIN).await;
    }
}
