//! The work that everybody is given, and whether an answer is right.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;

/// As many clusters of as many nodes and switches, each asked for as long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) clusters: usize,
    pub(crate) nodes: usize,
    pub(crate) switches: usize,
    pub(crate) latency: Duration,
}

/// What is wrong with an answer, or why there is none: what stands in its place in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    error_code: u32,
    message: String,
    data: Vec<Cluster>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    cluster_id: usize,
    nodes: Vec<Node>,
    switches: Vec<Switch>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    node_id: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    switch_id: usize,
}

impl Work {
    /// The topology of the old servers.
    pub(crate) fn old(latency: Duration) -> Self {
        Self {
            clusters: 4,
            nodes: 4,
            switches: 4,
            latency,
        }
    }

    /// As many devices, in a hundred clusters, or fewer so that each has ten devices.
    pub(crate) fn of(devices: usize, latency: Duration) -> Self {
        let clusters = (devices / 10).clamp(1, 100);
        let each = devices / clusters / 2;
        let work = Self {
            clusters,
            nodes: each,
            switches: each,
            latency,
        };
        assert_eq!(work.devices(), devices, "cannot be shared out evenly");
        work
    }

    pub(crate) fn devices(self) -> usize {
        self.clusters * (self.nodes + self.switches)
    }

    /// Whether all ids are there, in order, and nothing else.
    pub(crate) fn check(self, body: &[u8]) -> Result<(), Failure> {
        let wrong = |what: &str| Err(Failure(format!("wrong answer: {what}")));
        let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
            return wrong("not the JSON that it should be");
        };
        if answer.error_code != 0 || !answer.message.is_empty() {
            return wrong("it says that something failed");
        }
        let clusters = answer.data.iter().map(|it| it.cluster_id);
        if !clusters.clone().eq(1..=self.clusters) {
            let mut ids: Vec<usize> = clusters.collect();
            ids.sort_unstable();
            return wrong(if ids.into_iter().eq(1..=self.clusters) {
                "not in order"
            } else {
                "other clusters"
            });
        }
        let right = answer.data.iter().all(|cluster| {
            let nodes = cluster.nodes.iter().map(|it| it.node_id);
            let switches = cluster.switches.iter().map(|it| it.switch_id);
            nodes.eq(1..=self.nodes) && switches.eq(1..=self.switches)
        });
        if right {
            Ok(())
        } else {
            wrong("other devices")
        }
    }

    /// The answer as fleetcall writes it.
    pub(crate) fn text(self) -> String {
        let list = |key: &str, count: usize| {
            let devices: Vec<String> = (1..=count)
                .map(|id| format!("{{\"{key}\":{id}}}"))
                .collect();
            devices.join(",")
        };
        let (nodes, switches) = (
            list("node_id", self.nodes),
            list("switch_id", self.switches),
        );
        let mut text = String::from("{\"error_code\":0,\"message\":\"\",\"data\":[");
        for id in 1..=self.clusters {
            let comma = if id == 1 { "" } else { "," };
            write!(
                text,
                "{comma}{{\"cluster_id\":{id},\"nodes\":[{nodes}],\"switches\":[{switches}]}}"
            )
            .unwrap();
        }
        text + "]}"
    }

    /// fleetcall's configuration for it, with these lines of `[collect]`.
    pub(crate) fn config(self, collect: &str) -> String {
        let Self {
            clusters,
            nodes,
            switches,
            latency,
        } = self;
        let mut text = format!(
            "[lookup]\nlatency = \"{}ms\"\n[collect]\n{collect}\n",
            latency.as_millis()
        );
        for id in 1..=clusters {
            write!(
                text,
                "[[clusters]]\nid = {id}\nnodes = \"1-{nodes}\"\nswitches = \"1-{switches}\"\n"
            )
            .unwrap();
        }
        text
    }
}
