//! That clusters were taken, told to all other processes.

use std::time::Duration;

use async_nats::Client;
use tokio::time::timeout;

use crate::domain::ClusterId;
use crate::nats::wire::{Changed, Names, VERSION};

/// How long a connection may be stuck before it is not told.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells that clusters were taken, with these leases.
pub(super) async fn tell_taken(taken: &[(ClusterId, u64)], client: &Client, names: &Names) {
    let told = async {
        for (cluster, fence) in taken {
            let changed = Changed {
                version: VERSION,
                cluster: cluster.clone(),
                fence: *fence,
                // There are no places.
                plan: 0,
                changes: Vec::new(),
            };
            let json = serde_json::to_vec(&changed).unwrap_or_default();
            // Those who do not hear it wait for the owner before as long as for any that is silent.
            client.publish(names.changes(), json.into()).await.ok();
        }
    };
    timeout(PATIENCE, told).await.ok();
}
