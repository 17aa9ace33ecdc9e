//! From the text of a file to a valid [`Config`], or to all its faults in one pass.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::Path;

use toml::de::DeTable;

use super::discovery::Discoveries;
use super::dns;
use super::http;
use super::lookup::Lookup;
use super::reader::{Faults, Node, SHORTEST, Table};
use super::span::SpanFields;
use super::{
    ClusterConfig, CollectConfig, Config, ConfigFault, GroupConfig, Members, MetricsConfig,
};
use crate::domain::{
    ClusterId, DeviceId, DeviceKind, Id, MAX_DEVICES, NodeSet, SupervisionPolicy, Target,
};

/// Validates the text of a configuration file; relative paths in it start at `directory`.
pub(super) fn validate(text: &str, directory: &Path) -> Result<Config, Vec<ConfigFault>> {
    let faults = Faults::new(text);
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let at = error.span().map_or(0, |span| span.start);
        let mut message = error.message().replace('\n', "; ");
        if message == "duplicate key" {
            let key = error.span().and_then(|span| text.get(span));
            let key = key.unwrap_or_default().trim();
            message = format!("duplicate key {key:?}; write it once in this table");
        }
        faults.note_syntax(at, message);
    }
    let known = [
        "lookup",
        "collect",
        "supervision",
        "dns",
        "http",
        "clusters",
        "metrics",
        "allow_inline_secrets",
    ];
    let root = Table::root(&faults, document.get_ref(), &known);
    let allow = root.get("allow_inline_secrets");
    let allow = allow.and_then(|node| node.boolean("write true or false"));
    faults.allow_inline_secrets.set(allow.unwrap_or_default());
    let lookup = Lookup::inherit(&root, &Lookup::default());
    let collect = collect(&root);
    let supervision = supervision(&root);
    let dns = dns::read(&root);
    let http = http::read(&root);
    let metrics = metrics(&root);
    let mut discoveries = Discoveries::new(directory);
    let clusters = clusters(&root, &lookup, &mut discoveries, &faults);
    let sorted = faults.into_sorted();
    if sorted.is_empty() {
        Ok(Config {
            clusters,
            discoveries: discoveries.found,
            collect,
            supervision,
            dns,
            http,
            metrics,
        })
    } else {
        Err(sorted)
    }
}

fn collect(root: &Table<'_, '_>) -> CollectConfig {
    let mut config = CollectConfig::default();
    let known = [
        "deadline",
        "every",
        "join",
        "max_concurrent",
        "max_waiting",
        "threads",
    ];
    let Some(table) = root.get("collect").and_then(|node| node.table(&known)) else {
        return config;
    };
    let positive = |key| {
        let number = table.get(key)?.integer(1..=u64::from(u32::MAX))?;
        usize::try_from(number).ok().and_then(NonZeroUsize::new)
    };
    if let Some(deadline) = table
        .get("deadline")
        .and_then(|node| node.duration(SHORTEST))
    {
        config.deadline = deadline;
    }
    let every = table.get("every");
    config.every = every.and_then(|node| node.duration(SHORTEST));
    let right = "true or false: whether requests share the collect under way";
    let join = table.get("join").and_then(|node| node.boolean(right));
    config.join = join.unwrap_or(config.join);
    config.max_concurrent = positive("max_concurrent");
    config.max_waiting = positive("max_waiting").unwrap_or(config.max_waiting);
    config.threads = positive("threads");
    config
}

fn supervision(root: &Table<'_, '_>) -> SupervisionPolicy {
    let mut policy = SupervisionPolicy::default();
    let known = ["intensity", "period", "backoff", "quarantine"];
    let Some(table) = root.get("supervision").and_then(|node| node.table(&known)) else {
        return policy;
    };
    let duration = |key, default| {
        let node = table.get(key);
        node.and_then(|node| node.duration(SHORTEST))
            .unwrap_or(default)
    };
    if let Some(intensity) = table
        .get("intensity")
        .and_then(|node| node.integer(0..=1000))
    {
        policy.intensity = u32::try_from(intensity).unwrap_or(u32::MAX);
    }
    policy.period = duration("period", policy.period);
    policy.quarantine = duration("quarantine", policy.quarantine);
    if let Some(node) = table.get("backoff") {
        policy.backoff = SpanFields::read(&node).resolve(policy.backoff, Some(&node));
    }
    policy
}

fn metrics(root: &Table<'_, '_>) -> MetricsConfig {
    let table = root.get("metrics");
    let table = table.and_then(|node| node.table(&["per_device"]));
    let per_device = table.and_then(|table| table.get("per_device"));
    let right = "write true or false, or leave it out";
    MetricsConfig {
        per_device: per_device.and_then(|node| node.boolean(right)),
    }
}

fn clusters(
    root: &Table<'_, '_>,
    inherited: &Lookup,
    discoveries: &mut Discoveries<'_>,
    faults: &Faults<'_>,
) -> Vec<ClusterConfig> {
    let right = "write each cluster as a [[clusters]] section";
    let nodes = match root.get("clusters") {
        Some(node) => match node.array(right) {
            Some(nodes) => nodes,
            None => return Vec::new(),
        },
        None => Vec::new(),
    };
    if nodes.is_empty() {
        faults.note_whole("there is no cluster; write at least one [[clusters]] section");
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut total = 0;
    let mut clusters = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let Some(table) = node.table(&["id", "lookup", "nodes", "switches"]) else {
            continue;
        };
        let id = cluster_id(&table);
        if let Some((at, id)) = &id
            && let Some(first) = seen.insert(id.to_string(), index)
        {
            at.fault(format!(
                "the id {id} is that of clusters[{first}] already; ids are unique"
            ));
        }
        let lookup = Lookup::inherit(&table, inherited);
        let total_before = total;
        let mut devices = Devices {
            cluster: id.as_ref().map(|(_, id)| id),
            lookup: &lookup,
            discoveries,
            total: &mut total,
            groups: Vec::new(),
        };
        let faults_before = faults.count();
        devices.read(&table, DeviceKind::Node);
        devices.read(&table, DeviceKind::Switch);
        let groups = devices.groups;
        // Devices that could not be read, or that there is no room for, have faults of their own.
        let is_empty = groups.is_empty() && total == total_before;
        if is_empty && faults.count() == faults_before {
            table.fault(
                "the cluster has no devices; write `nodes` or `switches`, such as nodes = \"1-4\"",
            );
        }
        if total > MAX_DEVICES as u64 && total_before <= MAX_DEVICES as u64 {
            table.fault(format!(
                "with this cluster there are {total} devices; at most {MAX_DEVICES} are possible \
                 in all clusters together"
            ));
        }
        if let Some((_, id)) = id {
            clusters.push(ClusterConfig { id, groups });
        }
    }
    clusters
}

fn cluster_id<'a, 't>(table: &Table<'a, 't>) -> Option<(Node<'a, 't>, ClusterId)> {
    let Some(node) = table.get("id") else {
        table.fault("the cluster has no `id`; write an integer or a name, such as id = 1");
        return None;
    };
    let id = match (node.as_integer(), node.as_str()) {
        (Some(Ok(number)), _) => Some(Id::number(number)),
        (Some(Err(())), _) => {
            node.fault("out of range; write an integer from 0 or a name");
            None
        }
        (None, Some(name)) => Id::name(name)
            .map_err(|error| node.fault(error.to_string()))
            .ok(),
        (None, None) => {
            node.text("write an integer or a name");
            None
        }
    };
    id.map(|id| (node, id))
}

/// Reads the devices of one cluster, first its nodes, then its switches.
struct Devices<'a, 'd> {
    /// Without one the configuration is at fault.
    cluster: Option<&'a ClusterId>,
    lookup: &'a Lookup,
    discoveries: &'a mut Discoveries<'d>,
    /// Devices of all clusters so far.
    total: &'a mut u64,
    /// The runs of devices read so far.
    groups: Vec<GroupConfig>,
}

impl Devices<'_, '_> {
    fn read(&mut self, cluster: &Table<'_, '_>, kind: DeviceKind) {
        let mut list = IdList {
            kind,
            ids: Vec::new(),
            seen: HashSet::new(),
            is_port_refused: false,
        };
        let Some(node) = cluster.get(kind.plural()) else {
            return;
        };
        let right = "write a node set such as \"1-4\" or \"web[01-40]\", an array of ids, a table \
                     such as { file = \"targets/*.json\" }, or [[clusters.nodes]] sections";
        let lookup = self.lookup;
        if node.as_str().is_some() {
            self.group(&mut list, &node, lookup, |list, room| {
                list.read_one(&node, room)
            });
        } else if node.is_table() {
            self.discovered(kind, &node, &node, lookup);
        } else if let Some(elements) = node.array(right) {
            for element in elements {
                if element.is_table() {
                    self.long_form(&mut list, &element);
                } else {
                    self.group(&mut list, &element, lookup, |list, room| {
                        list.read_one(&element, room)
                    });
                }
            }
        }
    }

    fn long_form(&mut self, list: &mut IdList, node: &Node<'_, '_>) {
        let Some(table) = node.table(&["ids", "lookup"]) else {
            return;
        };
        let lookup = Lookup::inherit(&table, self.lookup);
        match table.get("ids") {
            Some(ids) if ids.is_table() => self.discovered(list.kind, node, &ids, &lookup),
            Some(ids) => self.group(list, node, &lookup, |list, room| match ids.elements() {
                Some(elements) => elements
                    .iter()
                    .map(|element| list.read_one(element, room))
                    .sum(),
                None => list.read_one(&ids, room),
            }),
            None => table.fault("the group has no `ids`; write them, such as ids = \"web[01-40]\""),
        }
    }

    /// Reads ids by `read`, which gets how many there is room for and gives how many were written.
    fn group(
        &mut self,
        list: &mut IdList,
        node: &Node<'_, '_>,
        lookup: &Lookup,
        read: impl FnOnce(&mut IdList, u64) -> u64,
    ) {
        let room = (MAX_DEVICES as u64).saturating_sub(*self.total);
        *self.total = self.total.saturating_add(read(list, room));
        let mut added = std::mem::take(&mut list.ids);
        // Without one the configuration is at fault, so nobody sees the groups.
        let Some(target) = lookup.target(node) else {
            return;
        };
        if target.driver.names_port() && !std::mem::replace(&mut list.is_port_refused, true) {
            node.fault(
                "{port} is the port that a device was discovered with, and these are written \
                 here; write the port in the place of {port}",
            );
        }
        match self.groups.last_mut() {
            Some(GroupConfig {
                kind,
                members: Members::Listed(ids),
                target: last,
            }) if *kind == list.kind && *last == target => ids.append(&mut added),
            _ if added.is_empty() => {}
            _ => self.groups.push(GroupConfig {
                kind: list.kind,
                members: Members::Listed(added),
                target,
            }),
        }
    }

    /// Reads the `from` of a group at `node` whose devices others list.
    fn discovered(
        &mut self,
        kind: DeviceKind,
        node: &Node<'_, '_>,
        from: &Node<'_, '_>,
        lookup: &Lookup,
    ) {
        let members = self.discoveries.read(from, self.cluster);
        let target = lookup.target(node);
        if let (Some((members, allow)), Some(target)) = (members, target) {
            let target = Target { allow, ..target };
            self.groups.push(GroupConfig {
                kind,
                members,
                target,
            });
        }
    }
}

/// The ids of one kind of device of one cluster.
struct IdList {
    kind: DeviceKind,
    /// Those of the group that is being read.
    ids: Vec<DeviceId>,
    /// Those of all groups.
    seen: HashSet<DeviceId>,
    /// Whether it was said that there is no port; once is enough.
    is_port_refused: bool,
}

impl IdList {
    /// Reads an integer or a node set; expands it if there is room. Gives how many ids it holds.
    fn read_one(&mut self, node: &Node<'_, '_>, room: u64) -> u64 {
        let ids = match (node.as_integer(), node.as_str()) {
            (Some(Ok(number)), _) => vec![Id::number(number)],
            (Some(Err(())), _) => {
                node.fault("out of range; write an integer from 0 or a name");
                return 0;
            }
            (None, Some(text)) => match NodeSet::parse(text) {
                Ok(set) if set.len() > MAX_DEVICES as u64 => {
                    node.fault(format!(
                        "{text:?} holds {} ids; at most {MAX_DEVICES} are possible",
                        set.len()
                    ));
                    return 0;
                }
                // The total is reported once, for the file as a whole.
                Ok(set) if set.len() > room => return set.len(),
                Ok(set) => match set.doubt().map_or_else(|| set.ids(), Err) {
                    Ok(ids) if ids.is_empty() => {
                        node.fault(format!(
                            "{text:?} takes away all that it holds; leave at least one id"
                        ));
                        return 0;
                    }
                    Ok(ids) => ids,
                    Err(error) => {
                        node.fault(format!("{text:?}: {error}"));
                        return 0;
                    }
                },
                Err(error) => {
                    node.fault(format!("{text:?} is no node set: {error}"));
                    return 0;
                }
            },
            (None, None) => {
                node.text("write an integer or a node set such as \"web[01-40]\"");
                return 0;
            }
        };
        let count = ids.len() as u64;
        let mut twice = Vec::new();
        for id in ids {
            if self.seen.insert(id.clone()) {
                self.ids.push(id);
            } else {
                twice.push(id);
            }
        }
        if let Some(first) = twice.first() {
            let more = match twice.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more of this set"),
            };
            node.fault(format!(
                "{} {first} stands in this cluster already{more}; list each once",
                self.kind
            ));
        }
        count
    }
}
