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
use crate::domain::{Candidates, ClusterId, DeviceId, DeviceKind, did_you_mean};
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
    #[error("there is no cluster {cluster} in the fleet of {server}; nothing was reset; {known}")]
    NoCluster {
        cluster: ClusterId,
        server: String,
        /// Those that there are, and the one that was probably meant.
        known: String,
    },
    #[error("there is no {what} {device} in {whence}; nothing was reset{meant}")]
    Unknown {
        what: String,
        device: DeviceId,
        /// Where it was looked for.
        whence: String,
        /// The one that was probably meant.
        meant: String,
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
    let server = plain(flags.server.base());
    let is_meant = |id: &ClusterId| flags.cluster.as_ref().is_none_or(|only| only == id);
    let ids = || tree.clusters.iter().map(|cluster| &cluster.cluster_id);
    if let Some(cluster) = &flags.cluster
        && !ids().any(is_meant)
    {
        let mut there = Candidates::new(&cluster.to_string());
        for id in ids() {
            there.see(id);
        }
        return Err(NameError::NoCluster {
            cluster: cluster.clone(),
            server,
            known: plain(&format!("{}{}", there.known(), there.did_you_mean())),
        });
    }
    let clusters = tree.clusters.iter().filter(|it| is_meant(&it.cluster_id));
    let devices = || {
        let devices = clusters.clone().flat_map(|cluster| {
            let nodes = cluster.nodes.iter().map(|it| &it.node_id);
            let nodes = nodes.map(|id| (DeviceKind::Node, id));
            let switches = cluster.switches.iter().map(|it| &it.switch_id);
            let switches = switches.map(|id| (DeviceKind::Switch, id));
            let devices = nodes.chain(switches);
            devices.filter_map(|(kind, id)| Some((&cluster.cluster_id, kind, id.as_ref()?)))
        });
        devices.filter(|(_, kind, _)| wanted.is_none_or(|only| only == *kind))
    };
    let candidates = devices().filter(|(_, _, id)| *id == device);
    let candidates: Vec<Found> = candidates
        .map(|(cluster, kind, id)| Found {
            cluster: cluster.clone(),
            kind,
            id: id.clone(),
        })
        .collect();
    match candidates.as_slice() {
        [found] => Ok(found.clone()),
        [] => {
            let ids = devices().map(|(_, _, id)| id.to_string());
            Err(NameError::Unknown {
                what: wanted.map_or_else(|| "device".to_owned(), |kind| kind.to_string()),
                device: device.clone(),
                whence: match &flags.cluster {
                    Some(cluster) => format!("cluster {cluster} of {server}"),
                    None => format!("the fleet of {server}"),
                },
                meant: plain(&did_you_mean(&device.to_string(), ids)),
            })
        }
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
