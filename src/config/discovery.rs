//! Lists of devices that others keep: where they are, and which of their devices are meant.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::reader::{Node, Table, list};
use super::{DiscoveryConfig, Members, lookup};
use crate::domain::{Allow, ClusterId, Discovery, Origin, Template, WebSettings, did_you_mean};

/// The keys that say where a list is; one of them says what else may stand beside it.
const ORIGINS: [&str; 3] = ["file", "url", "dns_srv"];
const FILE_KEYS: [&str; 4] = ["file", "every", "labels", "allow"];
const SRV_KEYS: [&str; 4] = ["dns_srv", "every", "timeout", "allow"];
const WEB_KEYS: [&str; 12] = [
    "url",
    "every",
    "timeout",
    "labels",
    "allow",
    "headers",
    "username",
    "password",
    "bearer_token",
    "tls",
    "redirects",
    "max_body_bytes",
];

/// How often files are read if nobody says otherwise.
const FILE_EVERY: Duration = Duration::from_secs(5);
const WEB_EVERY: Duration = Duration::from_secs(60);
const SRV_EVERY: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);

/// The shortest time between two readings: a list is not asked as devices are.
const MIN_EVERY: Duration = Duration::from_millis(100);

/// The lists that a configuration names, each once however many groups take devices from it.
#[derive(Debug)]
pub(super) struct Discoveries<'d> {
    pub(super) found: Vec<DiscoveryConfig>,
    /// Where relative paths start.
    directory: &'d Path,
}

impl<'d> Discoveries<'d> {
    pub(super) fn new(directory: &'d Path) -> Self {
        Self {
            found: Vec::new(),
            directory,
        }
    }

    /// Reads one list's table, for a group of `cluster`; `None` is a fault that was noted, or a
    /// cluster that has one.
    pub(super) fn read(
        &mut self,
        node: &Node<'_, '_>,
        cluster: Option<&ClusterId>,
    ) -> Option<(Members, Option<Arc<Allow>>)> {
        let table = node.as_table()?;
        let mut origins = ORIGINS.iter().filter(|key| table.get(key).is_some());
        let (Some(origin), None) = (origins.next(), origins.next()) else {
            let keys = table.entries();
            let hints = keys.iter().map(|(key, _)| did_you_mean(key, ORIGINS));
            node.fault(format!(
                "a list of devices comes from one of {}; write one, such as {{ file = \
                 \"targets/*.json\" }}{}",
                list(&ORIGINS),
                hints.max_by_key(String::len).unwrap_or_default()
            ));
            return None;
        };
        let discovery = match *origin {
            "file" => self.file(&node.table(&FILE_KEYS)?, cluster),
            "url" => web(&node.table(&WEB_KEYS)?, node, cluster),
            _ => srv(&node.table(&SRV_KEYS)?, cluster),
        };
        let labels = table.get("labels").map_or(Some(Vec::new()), |node| {
            let right = "write a table of labels and the values that they have to have";
            let label = |(name, node): (&str, Node<'_, '_>)| {
                let value = node.text("write a text, as labels are")?;
                Some((name.to_owned(), value.to_owned()))
            };
            let labels: Vec<Option<_>> = node.members(right)?.into_iter().map(label).collect();
            labels.into_iter().collect()
        });
        let allow = match table.get("allow") {
            Some(node) => Some(Arc::new(allow(&node)?)),
            None => None,
        };
        let (discovery, labels) = (discovery?, labels?);
        let known = self.found.iter().position(|it| it.discovery == discovery);
        let discovery = known.unwrap_or_else(|| {
            self.found.push(DiscoveryConfig {
                discovery,
                place: node.place(),
                key: node.key().to_owned(),
            });
            self.found.len() - 1
        });
        Some((Members::Discovered { discovery, labels }, allow))
    }

    fn file(&self, table: &Table<'_, '_>, cluster: Option<&ClusterId>) -> Option<Discovery> {
        let right = "write the path of a JSON file, such as \"targets/edge.json\", or a pattern for \
                     several, such as \"targets/*.json\"";
        let every = every(table, FILE_EVERY);
        let node = table.get("file")?;
        let pattern = PathBuf::from(filled(&node, right, cluster)?);
        let name = pattern.file_name().and_then(|name| name.to_str());
        let folder = pattern.parent().and_then(Path::to_str).unwrap_or_default();
        let is_json = pattern.extension().is_some_and(|it| it == "json");
        let Some(name) = name.filter(|_| is_json) else {
            node.fault(format!("its name does not end in .json; {right}"));
            return None;
        };
        if folder.contains(['*', '?', '[']) {
            node.fault(format!("only the file's name may be a pattern; {right}"));
            return None;
        }
        if let Err(error) = glob::Pattern::new(name) {
            node.fault(format!("{name:?} is no pattern: {error}; {right}"));
            return None;
        }
        Some(Discovery {
            every: every?,
            timeout: TIMEOUT,
            origin: Origin::Files(self.directory.join(pattern)),
        })
    }
}

fn web(
    table: &Table<'_, '_>,
    node: &Node<'_, '_>,
    cluster: Option<&ClusterId>,
) -> Option<Discovery> {
    let (every, timeout) = (every(table, WEB_EVERY), timeout(table));
    let web = lookup::web(table, node)?;
    let url = of_cluster(&table.get("url")?, &web.url, cluster)?;
    Some(Discovery {
        every: every?,
        timeout: timeout?,
        origin: Origin::Web(Box::new(WebSettings { url, ..web })),
    })
}

fn srv(table: &Table<'_, '_>, cluster: Option<&ClusterId>) -> Option<Discovery> {
    let right = "write a name that has SRV records, such as \"_node-exporter._tcp.example\"";
    let (every, timeout) = (every(table, SRV_EVERY), timeout(table));
    let node = table.get("dns_srv")?;
    let name = filled(&node, right, cluster)?;
    let is_label = |label: &str| {
        let is_right = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(is_right)
    };
    // The dot at its end is DNS's way to say that nothing follows.
    if !name
        .strip_suffix('.')
        .unwrap_or(&name)
        .split('.')
        .all(is_label)
    {
        node.fault(format!("{name:?} is no name in DNS; {right}"));
        return None;
    }
    Some(Discovery {
        every: every?,
        timeout: timeout?,
        origin: Origin::Srv(name),
    })
}

/// The hosts and networks that devices of a list may be on.
fn allow(node: &Node<'_, '_>) -> Option<Allow> {
    let right = "write an array of networks and hosts, such as [\"10.0.0.0/8\", \"*.example\"]";
    let nodes = node.array(right)?;
    if nodes.is_empty() {
        node.fault(format!("nothing is allowed; {right}, or leave it out"));
        return None;
    }
    let mut allow = Allow::default();
    let mut is_right = true;
    for node in nodes {
        let added = node.text(right).map(|text| allow.add(text));
        if let Some(Err(error)) = &added {
            node.fault(error.to_string());
        }
        is_right &= matches!(added, Some(Ok(())));
    }
    is_right.then_some(allow)
}

fn every(table: &Table<'_, '_>, default: Duration) -> Option<Duration> {
    let node = table.get("every");
    node.map_or(Some(default), |node| node.duration(MIN_EVERY))
}

fn timeout(table: &Table<'_, '_>) -> Option<Duration> {
    let node = table.get("timeout");
    node.map_or(Some(TIMEOUT), |node| node.duration(MIN_EVERY))
}

/// A text in which `{cluster}` may stand.
fn filled(node: &Node<'_, '_>, right: &str, cluster: Option<&ClusterId>) -> Option<String> {
    let template = Template::parse(node.text(right)?)
        .map_err(|error| node.fault(error.to_string()))
        .ok()?;
    of_cluster(node, &template, cluster)?;
    cluster.map(|cluster| template.expand(cluster, cluster, None))
}

fn of_cluster(
    node: &Node<'_, '_>,
    template: &Template,
    cluster: Option<&ClusterId>,
) -> Option<Template> {
    if template.names_device() {
        node.fault("a list is of many devices, so only {cluster} may stand in here");
        return None;
    }
    cluster.map(|cluster| template.of_cluster(cluster))
}
