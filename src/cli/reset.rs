//! `fleetcall reset`: has a running service ask devices again that it leaves alone.
//!
//! Names are looked up in the service's own tree, all of them before anything is done: one that no
//! device has, or several have, is refused.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, StatusCode};
use serde::Deserialize;

use super::collect::{Kind, NamedSet, joined, named_set, whole_topology};
use super::error::{CliError, NameError};
use super::output::print_line;
use super::server::{ServerFlags, TIMEOUT, block_on};
use super::service::{TreeError, body, get, parse};
use super::terminal::plain;
use crate::domain::{ClusterId, DeviceId, DeviceKind, Scope};
use crate::server::tree::TreeView;

/// Candidates that an error names.
const SHOWN: usize = 10;

/// How often one device is tried while the service says that this client asks too often.
const MOST_TRIES: u32 = 30;

/// How long to wait then if the service does not say, and at most.
const WAIT: Duration = Duration::from_secs(1);
const MOST_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Args)]
pub(super) struct Flags {
    /// The devices: node sets, such as "web[01-40]"
    #[arg(value_name = "DEVICE", required = true, value_parser = named_set)]
    devices: Vec<NamedSet>,
    /// Only in clusters of this node set, in each of which a device may have the name; may be repeated
    #[arg(long, value_name = "SET", value_parser = named_set)]
    cluster: Vec<NamedSet>,
    /// Only devices of this kind
    #[arg(long, value_name = "KIND", value_enum)]
    kind: Option<Kind>,
    #[command(flatten)]
    server: ServerFlags,
}

/// A device of the service's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FoundDevices {
    cluster: ClusterId,
    kind: DeviceKind,
    id: DeviceId,
}

impl std::fmt::Display for FoundDevices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cluster, kind, id } = self;
        write!(f, "cluster {cluster} {kind} {id}")
    }
}

/// What the service says of a reset.
#[derive(Debug, Deserialize)]
struct Cleared {
    cleared: Vec<String>,
}

pub(super) fn reset(flags: &Flags) -> Result<ExitCode, CliError> {
    let server = &flags.server;
    let client = server.client().map_err(|it| CliError::Tree(it.into()))?;
    let done = block_on(async {
        let url = format!("{}/v1/supervision", server.base());
        let json = get(&client, &url).await.map_err(CliError::Tree)?;
        let tree = parse(&json).map_err(|what| CliError::Tree(TreeError::Answer { url, what }))?;
        for device in find(&tree, flags).await.map_err(CliError::Name)? {
            let cleared = clear(&client, server.base(), &device).await;
            let cleared = cleared.map_err(CliError::Tree)?;
            let what = if cleared.is_empty() {
                "nothing to clear".to_owned()
            } else {
                format!("cleared {}", cleared.join(", "))
            };
            print_line(&plain(&format!("{device}: {what}")))?;
        }
        Ok(ExitCode::SUCCESS)
    });
    done.map_err(|it| CliError::Tree(it.into()))?
}

/// The devices that are meant, in configured order: one for each id, or one in each cluster if the
/// flags say which clusters.
async fn find(tree: &TreeView, flags: &Flags) -> Result<Vec<FoundDevices>, NameError> {
    let topology = whole_topology(tree);
    let scope = Scope {
        clusters: joined(&flags.cluster),
        kind: flags.kind.map(DeviceKind::from),
        devices: joined(&flags.devices),
        exclude: None,
    };
    scope.check_removals(&topology).await?;
    let part = scope.part(&topology).await?;
    let found = part.clusters().iter().flat_map(|cluster| {
        (0..cluster.len()).map(|place| {
            let (kind, id) = cluster.device(place);
            FoundDevices {
                cluster: cluster.id().clone(),
                kind,
                id: id.clone(),
            }
        })
    });
    let found: Vec<FoundDevices> = found.collect();
    let key = |it: &FoundDevices| {
        let cluster = (!flags.cluster.is_empty()).then(|| it.cluster.clone());
        (cluster, it.id.clone())
    };
    let mut alike: HashMap<_, Vec<&FoundDevices>> = HashMap::new();
    for it in &found {
        alike.entry(key(it)).or_default().push(it);
    }
    let alike = |it: &FoundDevices| alike.get(&key(it)).map_or(&[][..], Vec::as_slice);
    let Some(first) = found.iter().find(|it| alike(it).len() > 1) else {
        return Ok(found);
    };
    let candidates = alike(first);
    let names: Vec<String> = candidates
        .iter()
        .take(SHOWN)
        .map(|it| it.to_string())
        .collect();
    let mut names = names.join(", or ");
    let more = candidates.len().saturating_sub(SHOWN);
    if more > 0 {
        names.push_str(&format!(", or one of {more} more"));
    }
    Err(NameError::Ambiguous {
        device: first.id.clone(),
        candidates: plain(&names),
    })
}

/// Has the service reset one device; what was cleared.
async fn clear(
    client: &Client,
    base: &str,
    device: &FoundDevices,
) -> Result<Vec<String>, TreeError> {
    let FoundDevices { cluster, kind, id } = device;
    let list = kind.plural();
    // No id has anything in it that a path would not.
    let url = format!("{base}/v1/clusters/{cluster}/{list}/{id}/reset");
    let mut tries = 0;
    let response = loop {
        let response = client.post(&url).timeout(TIMEOUT).send().await;
        tries += 1;
        match &response {
            Ok(refused)
                if refused.status() == StatusCode::TOO_MANY_REQUESTS && tries < MOST_TRIES =>
            {
                let secs = refused.headers().get(RETRY_AFTER);
                let secs = secs.and_then(|it| it.to_str().ok()?.parse().ok());
                let wait = secs.map_or(WAIT, Duration::from_secs);
                tokio::time::sleep(wait.min(MOST_WAIT)).await;
            }
            Ok(_) | Err(_) => break response,
        }
    };
    let text = body(&url, response).await?;
    let cleared = serde_json::from_str(&text).map(|Cleared { cleared }| cleared);
    cleared.map_err(|error| TreeError::Answer {
        url,
        what: error.to_string(),
    })
}
