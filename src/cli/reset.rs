//! `fleetcall reset`: has a running service ask devices again that it leaves alone.
//!
//! Names are looked up in the service's own tree, all of them before anything is done: one that no
//! device has, or several have, is refused.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use super::CliError;
use super::collect::Kind;
use super::server::{ServerFlags, authorized};
use super::terminal::plain;
use super::tree::{TIMEOUT, TreeError, ask, body, parse};
use crate::domain::{ClusterId, DeviceId, DeviceKind};
use crate::http::tree::TreeView;

/// Candidates that an error names.
const SHOWN: usize = 10;

#[derive(Debug, Clone, Args)]
pub(super) struct Flags {
    /// The ids of the devices
    #[arg(value_name = "DEVICE", required = true, value_parser = DeviceId::parse)]
    devices: Vec<DeviceId>,
    /// Only in this cluster
    #[arg(long, value_name = "CLUSTER", value_parser = ClusterId::parse)]
    cluster: Option<ClusterId>,
    /// Only devices of this kind
    #[arg(long, value_name = "KIND", value_enum)]
    kind: Option<Kind>,
    #[command(flatten)]
    server: ServerFlags,
}

/// Why a name does not say which device is meant.
#[derive(Debug, thiserror::Error)]
pub(super) enum NameError {
    #[error("there is no {what} {device} in the fleet of {server}; nothing was reset")]
    Unknown {
        what: String,
        device: DeviceId,
        server: String,
    },
    #[error(
        "{device} may be {candidates}; say which one by --cluster and --kind; nothing was reset"
    )]
    Ambiguous {
        device: DeviceId,
        candidates: String,
    },
}

/// A device of the service's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    cluster: ClusterId,
    kind: DeviceKind,
    id: DeviceId,
}

impl std::fmt::Display for Found {
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
    let (url, json) = ask(&flags.server, "/v1/supervision").map_err(CliError::Tree)?;
    let tree = parse(&json).map_err(|what| CliError::Tree(TreeError::Answer { url, what }))?;
    let find = |device| find(&tree, device, flags);
    let found: Result<Vec<Found>, _> = flags.devices.iter().map(find).collect();
    for device in found.map_err(CliError::Name)? {
        let cleared = post(&flags.server, &device).map_err(CliError::Tree)?;
        let what = if cleared.is_empty() {
            "nothing to clear".to_owned()
        } else {
            format!("cleared {}", cleared.join(", "))
        };
        super::print(plain(&format!("{device}: {what}")).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The only device with this id, as far as the flags say where to look.
fn find(tree: &TreeView, device: &DeviceId, flags: &Flags) -> Result<Found, NameError> {
    let wanted = flags.kind.map(DeviceKind::from);
    let mut candidates: Vec<Found> = Vec::new();
    for cluster in &tree.clusters {
        let id = &cluster.cluster_id;
        if flags.cluster.as_ref().is_some_and(|only| only != id) {
            continue;
        }
        let nodes = cluster
            .nodes
            .iter()
            .map(|it| (DeviceKind::Node, &it.node_id));
        let switches = cluster.switches.iter();
        let switches = switches.map(|it| (DeviceKind::Switch, &it.switch_id));
        for (kind, found) in nodes.chain(switches) {
            if found.as_ref() == Some(device) && wanted.is_none_or(|only| only == kind) {
                candidates.push(Found {
                    cluster: id.clone(),
                    kind,
                    id: device.clone(),
                });
            }
        }
    }
    match candidates.as_slice() {
        [found] => Ok(found.clone()),
        [] => Err(NameError::Unknown {
            what: wanted.map_or_else(|| "device".to_owned(), |kind| kind.to_string()),
            device: device.clone(),
            server: plain(flags.server.base()),
        }),
        several => {
            let names: Vec<String> = several.iter().take(SHOWN).map(Found::to_string).collect();
            let mut names = names.join(", or ");
            if let Some(more) = several.len().checked_sub(SHOWN).filter(|&more| more > 0) {
                names.push_str(&format!(", or one of {more} more"));
            }
            Err(NameError::Ambiguous {
                device: device.clone(),
                candidates: plain(&names),
            })
        }
    }
}

fn post(server: &ServerFlags, device: &Found) -> Result<Vec<String>, TreeError> {
    let Found { cluster, kind, id } = device;
    let list = match kind {
        DeviceKind::Node => "nodes",
        DeviceKind::Switch => "switches",
    };
    // No id has anything in it that a path would not.
    let url = format!("{}/v1/clusters/{cluster}/{list}/{id}/reset", server.base());
    let token = server.token()?;
    let agent = server.agent(TIMEOUT)?;
    let request = authorized(agent.post(&url), token.as_ref());
    let text = body(&url, request.send_empty())?;
    let cleared = serde_json::from_str(&text).map(|Cleared { cleared }| cleared);
    cleared.map_err(|error| TreeError::Answer {
        url,
        what: error.to_string(),
    })
}
