//! From the text of a file to a valid [`Config`], or to all its faults in one pass.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use toml::de::DeTable;

use super::nodeset::NodeSet;
use super::reader::{Faults, Node, Table};
use super::{ClusterConfig, CollectConfig, Config, ConfigFault, GroupConfig};
use crate::domain::{
    Backoff, Behaviour, BreakerPolicy, Cluster, ClusterId, DeviceId, DeviceKind, DriverSettings,
    FaultKind, FaultRates, Id, MAX_DEVICES, RetryPolicy, SimulatedSettings, Step,
    SupervisionPolicy, Target,
};

const LOOKUP_KEYS: [&str; 10] = [
    "driver",
    "timeout",
    "retries",
    "retry_backoff",
    "breaker",
    "latency",
    "jitter",
    "seed",
    "faults",
    "script",
];
const BREAKER_KEYS: [&str; 2] = ["failures", "open"];
const DRIVERS: [&str; 1] = ["simulated"];

/// The shortest duration where zero makes no sense; timers count in milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// More retries than fit into any timeout.
const MAX_RETRIES: u64 = 1000;

/// More failures in a row than anyone waits for.
const MAX_BREAKER_FAILURES: u64 = 1_000_000;

/// More steps than anyone writes by hand; bounds what a generated file can cost.
const MAX_SCRIPT: usize = 100_000;

/// Validates the text of a configuration file.
pub(super) fn validate(text: &str) -> Result<Config, Vec<ConfigFault>> {
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
    let known = ["lookup", "collect", "supervision", "clusters"];
    let root = Table::new(&faults, String::new(), 0, document.get_ref(), &known);
    let lookup = LookupFields::inherit(&root, &LookupFields::default());
    let collect = collect(&root);
    let supervision = supervision(&root);
    let clusters = clusters(&root, &lookup, &faults);
    let sorted = faults.into_sorted();
    if sorted.is_empty() {
        Ok(Config {
            clusters,
            collect,
            supervision,
        })
    } else {
        Err(sorted)
    }
}

fn collect(root: &Table<'_, '_>) -> CollectConfig {
    let mut config = CollectConfig::default();
    let known = ["deadline", "every", "max_concurrent", "max_waiting"];
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
    config.max_concurrent = positive("max_concurrent");
    config.max_waiting = positive("max_waiting").unwrap_or(config.max_waiting);
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

/// `{ min = …, max = … }` as far as one place writes it.
#[derive(Debug, Clone, Copy, Default)]
struct SpanFields {
    min: Option<Duration>,
    max: Option<Duration>,
}

impl SpanFields {
    fn read(node: &Node<'_, '_>) -> Self {
        let Some(table) = node.table(&["min", "max"]) else {
            return Self::default();
        };
        let duration = |key| table.get(key).and_then(|node| node.duration(SHORTEST));
        Self {
            min: duration("min"),
            max: duration("max"),
        }
    }

    fn or(self, outer: Self) -> Self {
        Self {
            min: self.min.or(outer.min),
            max: self.max.or(outer.max),
        }
    }

    /// With the default of what nobody wrote; a default gives way to what somebody wrote. If that
    /// contradicts itself, `node` is at fault.
    fn resolve(self, default: Backoff, node: Option<&Node<'_, '_>>) -> Backoff {
        let (min, max) = match (self.min, self.max) {
            (Some(min), Some(max)) => (min, max),
            (Some(min), None) => (min, default.max.max(min)),
            (None, Some(max)) => (default.min.min(max), max),
            (None, None) => (default.min, default.max),
        };
        if max < min
            && let Some(node) = node
        {
            let format = humantime::format_duration;
            node.fault(format!(
                "`max` ({}) is shorter than `min` ({}), inherited values included; write the \
                 longer one as `max`",
                format(max),
                format(min)
            ));
        }
        Backoff { min, max }
    }
}

fn clusters(
    root: &Table<'_, '_>,
    inherited: &LookupFields,
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
        let lookup = LookupFields::inherit(&table, inherited);
        let total_before = total;
        let mut devices = Devices {
            lookup: &lookup,
            total: &mut total,
            groups: Vec::new(),
        };
        let faults_before = faults.count();
        let nodes = devices.read(&table, "nodes", DeviceKind::Node);
        let switches = devices.read(&table, "switches", DeviceKind::Switch);
        let groups = devices.groups;
        // Devices that could not be read, or that there is no room for, have faults of their own.
        let is_empty = nodes.is_empty() && switches.is_empty() && total == total_before;
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
            clusters.push(ClusterConfig {
                cluster: Cluster::new(id, nodes, switches),
                groups,
            });
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
struct Devices<'a> {
    lookup: &'a LookupFields,
    /// Devices of all clusters so far.
    total: &'a mut u64,
    /// The runs of devices read so far.
    groups: Vec<GroupConfig>,
}

impl Devices<'_> {
    fn read(&mut self, cluster: &Table<'_, '_>, key: &str, kind: DeviceKind) -> Vec<DeviceId> {
        let mut list = IdList {
            kind,
            ids: Vec::new(),
            seen: HashMap::new(),
        };
        let Some(node) = cluster.get(key) else {
            return list.ids;
        };
        let right = "write a node set such as \"1-4\" or \"web[01-40]\", an array of ids, or \
                     [[clusters.nodes]] sections";
        let lookup = self.lookup;
        if node.as_str().is_some() {
            self.group(&mut list, lookup, |list, room| list.read_one(&node, room));
        } else if let Some(elements) = node.array(right) {
            for element in elements {
                if element.is_table() {
                    self.long_form(&mut list, &element);
                } else {
                    self.group(&mut list, lookup, |list, room| {
                        list.read_one(&element, room)
                    });
                }
            }
        }
        list.ids
    }

    fn long_form(&mut self, list: &mut IdList, node: &Node<'_, '_>) {
        let Some(table) = node.table(&["ids", "lookup"]) else {
            return;
        };
        let lookup = LookupFields::inherit(&table, self.lookup);
        match table.get("ids") {
            Some(ids) => self.group(list, &lookup, |list, room| match ids.elements() {
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
        lookup: &LookupFields,
        read: impl FnOnce(&mut IdList, u64) -> u64,
    ) {
        let before = list.ids.len();
        let room = (MAX_DEVICES as u64).saturating_sub(*self.total);
        *self.total = self.total.saturating_add(read(list, room));
        let added = list.ids.len() - before;
        let target = lookup.resolve();
        let start = self.groups.last().map_or(0, |group| group.devices.end);
        match self.groups.last_mut() {
            Some(last) if last.target == target => last.devices.end += added,
            _ if added == 0 => {}
            _ => self.groups.push(GroupConfig {
                devices: start..start + added,
                target,
            }),
        }
    }
}

/// The ids of one kind of device of one cluster.
struct IdList {
    kind: DeviceKind,
    ids: Vec<DeviceId>,
    /// Where each was first written.
    seen: HashMap<DeviceId, ()>,
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
                Ok(set) => match set.ids() {
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
            if self.seen.insert(id.clone(), ()).is_some() {
                twice.push(id);
            } else {
                self.ids.push(id);
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

/// How long a breaker stays open if nobody says so.
fn breaker_open() -> Backoff {
    let BreakerPolicy {
        open_min, open_max, ..
    } = BreakerPolicy::default();
    Backoff {
        min: open_min,
        max: open_max,
    }
}

/// `[lookup]` as far as one place writes it; what it leaves out is inherited, field by field.
#[derive(Debug, Clone, Default)]
struct LookupFields {
    timeout: Option<Duration>,
    retries: Option<u32>,
    retry_backoff: SpanFields,
    breaker_failures: Option<u32>,
    breaker_open: SpanFields,
    latency: Option<Duration>,
    jitter: Option<Duration>,
    seed: Option<u64>,
    faults: FaultFields,
    script: Option<Vec<Step>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct FaultFields {
    fail: Option<f64>,
    hang: Option<f64>,
    panic: Option<f64>,
}

impl FaultFields {
    fn or(self, outer: Self) -> Self {
        Self {
            fail: self.fail.or(outer.fail),
            hang: self.hang.or(outer.hang),
            panic: self.panic.or(outer.panic),
        }
    }

    fn is_empty(self) -> bool {
        self.fail.is_none() && self.hang.is_none() && self.panic.is_none()
    }

    fn rates(self) -> FaultRates {
        FaultRates {
            fail: self.fail.unwrap_or_default(),
            hang: self.hang.unwrap_or_default(),
            panic: self.panic.unwrap_or_default(),
        }
    }
}

impl LookupFields {
    /// The `lookup` of a table, completed by what is written further out.
    fn inherit(table: &Table<'_, '_>, outer: &Self) -> Self {
        let Some(node) = table.get("lookup") else {
            return outer.clone();
        };
        let Some(own) = Self::read(&node) else {
            return outer.clone();
        };
        let writes_faults = !own.faults.is_empty();
        let merged = own.or(outer);
        // Reported where they are written; what is inherited unchanged was reported there.
        if let Some(table) = node.as_table() {
            let retry = table.get("retry_backoff");
            let default = RetryPolicy::default().backoff;
            merged.retry_backoff.resolve(default, retry.as_ref());
            let breaker = table.get("breaker");
            let open = breaker.and_then(|node| node.as_table()?.get("open"));
            merged.breaker_open.resolve(breaker_open(), open.as_ref());
        }
        let FaultRates { fail, hang, panic } = merged.faults.rates();
        if writes_faults && fail + hang + panic > 1.0 {
            node.fault(format!(
                "the probabilities of `faults`, with those inherited, are fail = {fail}, hang = \
                 {hang} and panic = {panic}; together they can be at most 1"
            ));
        }
        merged
    }

    fn read(node: &Node<'_, '_>) -> Option<Self> {
        let table = node.table(&LOOKUP_KEYS)?;
        if let Some(node) = table.get("driver") {
            let right = format!(
                "this build has {}",
                DRIVERS.map(|d| format!("{d:?}")).join(", ")
            );
            if let Some(driver) = node.text(&right)
                && !DRIVERS.contains(&driver)
            {
                node.fault(format!("there is no driver {driver:?}; {right}"));
            }
        }
        let duration = |key, min| table.get(key).and_then(|node| node.duration(min));
        let count = |key, range| {
            let number = table.get(key).and_then(|node| node.integer(range));
            number.and_then(|number| u32::try_from(number).ok())
        };
        let span = |node: Option<Node<'_, '_>>| node.map(|node| SpanFields::read(&node));
        let breaker = table.get("breaker");
        let breaker = breaker.and_then(|node| node.table(&BREAKER_KEYS));
        let failures = breaker.as_ref().and_then(|table| table.get("failures"));
        let failures = failures.and_then(|node| node.integer(0..=MAX_BREAKER_FAILURES));
        let fields = Self {
            timeout: duration("timeout", SHORTEST),
            retries: count("retries", 0..=MAX_RETRIES),
            retry_backoff: span(table.get("retry_backoff")).unwrap_or_default(),
            breaker_failures: failures.and_then(|number| u32::try_from(number).ok()),
            breaker_open: span(breaker.and_then(|table| table.get("open"))).unwrap_or_default(),
            latency: duration("latency", Duration::ZERO),
            jitter: duration("jitter", Duration::ZERO),
            seed: table
                .get("seed")
                .and_then(|node| node.integer(0..=u64::MAX)),
            faults: table
                .get("faults")
                .map(|node| Self::read_faults(&node))
                .unwrap_or_default(),
            script: table
                .get("script")
                .and_then(|node| Self::read_script(&node)),
        };
        if let Some(script) = table.get("script")
            && table.get("faults").is_some()
        {
            script.fault("`script` and `faults` exclude each other; write one of them");
        }
        Some(fields)
    }

    fn read_faults(node: &Node<'_, '_>) -> FaultFields {
        let Some(table) = node.table(&["fail", "hang", "panic"]) else {
            return FaultFields::default();
        };
        let rate = |key| table.get(key).and_then(|node| node.probability());
        FaultFields {
            fail: rate("fail"),
            hang: rate("hang"),
            panic: rate("panic"),
        }
    }

    fn read_script(node: &Node<'_, '_>) -> Option<Vec<Step>> {
        let right = "write an array of \"ok\", \"fail\", \"hang\", \"panic\", or the kind of a \
                     failure such as \"refused\"";
        let nodes = node.array(right)?;
        if nodes.is_empty() {
            node.fault(format!("the script is empty; {right}"));
            return None;
        }
        if nodes.len() > MAX_SCRIPT {
            node.fault(format!(
                "the script has {} steps, at most {MAX_SCRIPT}",
                nodes.len()
            ));
            return None;
        }
        let step = |node: &Node<'_, '_>| match node.text("write \"ok\"")? {
            "ok" => Some(Step::Ok),
            "fail" => Some(Step::Fail(FaultKind::Failed)),
            "hang" => Some(Step::Hang),
            "panic" => Some(Step::Panic),
            other => {
                let kind = Step::FAULTS.into_iter().find(|kind| kind.as_str() == other);
                if kind.is_none() {
                    node.fault(format!("{other:?} is no step; {right}"));
                }
                kind.map(Step::Fail)
            }
        };
        // Every bad step is reported, so no short cut at the first one.
        let steps: Vec<Option<Step>> = nodes.iter().map(step).collect();
        steps.into_iter().collect()
    }

    /// These fields, and those of `outer` where they are silent. A script and probabilities
    /// exclude each other, so either hides what is inherited of the other.
    fn or(self, outer: &Self) -> Self {
        let inherit_script = self.script.is_none() && self.faults.is_empty();
        let inherit_faults = self.script.is_none();
        Self {
            timeout: self.timeout.or(outer.timeout),
            retries: self.retries.or(outer.retries),
            retry_backoff: self.retry_backoff.or(outer.retry_backoff),
            breaker_failures: self.breaker_failures.or(outer.breaker_failures),
            breaker_open: self.breaker_open.or(outer.breaker_open),
            latency: self.latency.or(outer.latency),
            jitter: self.jitter.or(outer.jitter),
            seed: self.seed.or(outer.seed),
            faults: if inherit_faults {
                self.faults.or(outer.faults)
            } else {
                self.faults
            },
            script: if inherit_script {
                outer.script.clone()
            } else {
                self.script
            },
        }
    }

    /// The settings with the defaults of what nobody wrote.
    fn resolve(&self) -> Target {
        let behaviour = match &self.script {
            Some(script) => Behaviour::Script(script.clone()),
            None => Behaviour::Random(self.faults.rates()),
        };
        let (retry, breaker) = (RetryPolicy::default(), BreakerPolicy::default());
        let open = self.breaker_open.resolve(breaker_open(), None);
        Target {
            timeout: self.timeout.unwrap_or(Duration::from_secs(10)),
            retry: RetryPolicy {
                retries: self.retries.unwrap_or(retry.retries),
                backoff: self.retry_backoff.resolve(retry.backoff, None),
            },
            breaker: BreakerPolicy {
                failures: self.breaker_failures.unwrap_or(breaker.failures),
                open_min: open.min,
                open_max: open.max,
            },
            driver: DriverSettings::Simulated(SimulatedSettings {
                latency: self.latency.unwrap_or(Duration::from_secs(3)),
                jitter: self.jitter.unwrap_or_default(),
                seed: self.seed.unwrap_or_default(),
                behaviour,
            }),
        }
    }
}
