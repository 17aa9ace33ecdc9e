//! `fleetcall tree`: the supervision tree of a running service, for a terminal.
//!
//! It asks `/v1/supervision` and draws what comes: the state at a glance, then what has failed,
//! then the clusters.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::time::MissedTickBehavior;

use super::error::CliError;
use super::output;
use super::server::{ServerFlags, block_on};
use super::service::{TreeError, ask, checked_json, parse};
use super::terminal::{Terminal, columns, pad, plain, wrap};
use crate::domain::{ClusterId, DeviceId, counted};
use crate::server::tree::{
    BreakerView, ChildView, ClusterView, DeviceView, DiscoveryView, ErrorView, ExitView, TreeView,
};

/// How often `--watch` draws.
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// Clears the screen and puts the cursor into its corner (ECMA-48, ED and CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

#[derive(Debug, Clone, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    server: ServerFlags,
    /// Show every device, not only those that have failed
    #[arg(long)]
    all: bool,
    /// Draw again every second
    #[arg(long)]
    watch: bool,
    /// How the tree is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: TreeFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum TreeFormat {
    /// For people
    #[default]
    Text,
    /// As the service gives it
    Json,
}

pub(super) fn show(flags: &Flags) -> Result<ExitCode, CliError> {
    // Before a watch, which goes on when a service is away.
    flags
        .server
        .check()
        .map_err(|it| CliError::Tree(it.into()))?;
    if !flags.watch {
        print(flags)?;
        return Ok(ExitCode::SUCCESS);
    }
    let ended = block_on(async {
        tokio::select! {
            end = tokio::signal::ctrl_c() => end.map_err(CliError::Signals),
            end = watch(flags) => end,
        }
    });
    let ended = ended.map_err(|it| CliError::Tree(it.into()))?;
    ended.map(|()| ExitCode::SUCCESS)
}

/// Draws again and again, until that fails or nothing reads it any more.
async fn watch(flags: &Flags) -> Result<(), CliError> {
    let mut draws = tokio::time::interval(DRAW_EVERY);
    draws.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        draws.tick().await;
        let flags = flags.clone();
        let drawn = tokio::task::spawn_blocking(move || draw(&flags)).await;
        // A service that is away for a moment does not end the watch.
        let text = match drawn {
            Ok(drawn) => drawn.unwrap_or_else(|error| plain(&error.to_string())),
            Err(error) => plain(&error.to_string()),
        };
        if !print_screen(&text)? {
            return Ok(());
        }
    }
}

fn print(flags: &Flags) -> Result<bool, CliError> {
    let text = draw(flags).map_err(CliError::Tree)?;
    output::print(text.as_bytes())
}

/// Prints on an empty screen.
fn print_screen(text: &str) -> Result<bool, CliError> {
    let clear = if std::io::stdout().is_terminal() {
        CLEAR
    } else {
        ""
    };
    output::print(format!("{clear}{text}").as_bytes())
}

fn draw(flags: &Flags) -> Result<String, TreeError> {
    let devices = if flags.all { "all" } else { "failures" };
    let path = format!("/v1/supervision?devices={devices}");
    let (url, json) = ask(&flags.server, &path)?;
    if flags.format == TreeFormat::Json {
        return checked_json(&url, &json);
    }
    let tree = parse(&json).map_err(|what| TreeError::Answer { url, what })?;
    let width = Terminal::of(&std::io::stdout()).width;
    Ok(text(&tree, flags.server.base(), flags.all, width))
}

/// How many devices are in which state.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    devices: usize,
    restarting: usize,
    quarantined: usize,
    open: usize,
    half_open: usize,
    failing: usize,
}

impl Count {
    fn of(cluster: &ClusterView) -> Self {
        let devices = || cluster.nodes.iter().chain(&cluster.switches);
        let in_state = |state| devices().filter(|it| it.child.state == state).count();
        let breakers = |state| devices().filter(|it| it.breaker.state == state).count();
        Self {
            devices: cluster.devices,
            restarting: in_state("restarting"),
            quarantined: in_state("quarantined"),
            open: breakers("open"),
            half_open: breakers("half_open"),
            failing: devices().filter(|it| is_failing(it)).count(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            // A server can claim any number.
            devices: self.devices.saturating_add(other.devices),
            restarting: self.restarting + other.restarting,
            quarantined: self.quarantined + other.quarantined,
            open: self.open + other.open,
            half_open: self.half_open + other.half_open,
            failing: self.failing + other.failing,
        }
    }

    fn running(self) -> usize {
        let down = self.restarting + self.quarantined;
        self.devices.saturating_sub(down)
    }
}

/// On lines of at most so many columns.
pub(super) fn text(tree: &TreeView, server: &str, all: bool, width: Option<usize>) -> String {
    let mut lines = Lines {
        text: String::new(),
        width,
    };
    let counts: Vec<Count> = tree.clusters.iter().map(Count::of).collect();
    let total = counts.iter().copied().fold(Count::default(), Count::and);
    let Count {
        devices,
        restarting,
        quarantined,
        open,
        half_open,
        failing,
    } = total;
    let (clusters, running) = (tree.clusters.len(), total.running());
    let time = &tree.time;
    lines.add(&format!("fleetcall at {server}, {time}"));
    let half_open = match half_open {
        0 => String::new(),
        half_open => format!(", half-open: {half_open}"),
    };
    lines.add(&format!(
        "clusters: {clusters}, devices: {devices}, of them {running} running, {restarting} restarting, \
         {quarantined} quarantined; breakers open: {open}{half_open}; failing: {failing}"
    ));
    let counters: Vec<String> = tree
        .counters
        .iter()
        .filter(|(_, value)| value.as_u64() != Some(0))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    lines.add(&counters.join(" "));
    let unread = |list: &&DiscoveryView| all || list.error.is_some() || list.refused > 0;
    let lists: Vec<&DiscoveryView> = tree.discoveries.iter().filter(unread).collect();
    if !lists.is_empty() {
        lines.add("");
    }
    for list in lists {
        lines.list(list);
    }
    let mut shown: Vec<(u8, String, &ChildView, Option<&DeviceView>)> = Vec::new();
    shown.push((
        rank(&tree.supervisor, None),
        "supervisor".to_owned(),
        &tree.supervisor,
        None,
    ));
    for cluster in &tree.clusters {
        let id = &cluster.cluster_id;
        let name = format!("cluster {id}");
        shown.push((rank(&cluster.child, None), name, &cluster.child, None));
        for device in cluster.nodes.iter().chain(&cluster.switches) {
            let rank = rank(&device.child, Some(device));
            shown.push((rank, device_name(id, device), &device.child, Some(device)));
        }
    }
    // Stable, so that those that are alike stay in configured order.
    shown.sort_by_key(|&(rank, ..)| rank);
    shown.retain(|&(rank, ..)| all || rank < PLAIN);
    if !shown.is_empty() {
        lines.add("");
    }
    let names = shown.iter().map(|(_, name, ..)| name.as_str());
    let width = lines.widest(names, width.map_or(usize::MAX, |width| width / 2));
    for (_, name, child, device) in &shown {
        lines.child(name, width, child, *device);
    }
    lines.add("");
    let ids: Vec<String> = tree
        .clusters
        .iter()
        .map(|it| it.cluster_id.to_string())
        .collect();
    let width = lines
        .widest(ids.iter().map(String::as_str), MOST_OF_ID)
        .max(12);
    lines.add(&format!(
        "{:<width$} {:<12} {:>8} {:>8} {:>10} {:>11} {:>8}",
        "cluster", "state", "devices", "running", "restarting", "quarantined", "breakers"
    ));
    for ((cluster, id), count) in tree.clusters.iter().zip(&ids).zip(&counts) {
        let id = pad(lines.name(id, width), width);
        let state = &cluster.child.state;
        lines.add(&format!(
            "{id} {state:<12} {:>8} {:>8} {:>10} {:>11} {:>8}",
            count.devices,
            count.running(),
            count.restarting,
            count.quarantined,
            count.open + count.half_open
        ));
    }
    if total.open + total.half_open > 0 || restarting > 0 || quarantined > 0 {
        lines.add("");
        lines.add(&format!(
            "to ask one now: fleetcall collect --server {server} --force --device ID"
        ));
        lines.add(&format!(
            "to clear its breaker and quarantine: fleetcall reset --server {server} ID"
        ));
    }
    lines.text.truncate(lines.text.trim_end().len());
    lines.text
}

/// The columns of a cluster's id at a terminal: the numbers beside it are to fit into eighty.
const MOST_OF_ID: usize = 16;

/// The rank of a child that never failed.
const PLAIN: u8 = 6;

/// What needs a look comes first.
fn rank(child: &ChildView, device: Option<&DeviceView>) -> u8 {
    let breaker = device.map(|device| &device.breaker);
    match child.state.as_str() {
        "quarantined" => 0,
        "restarting" => 1,
        _ if breaker.is_some_and(|breaker| breaker.state != "closed") => 2,
        _ if breaker.is_some_and(|breaker| breaker.failures > 0) => 3,
        _ if device.is_some_and(is_failing) => 4,
        _ if child.last_exit.is_some() => 5,
        _ => PLAIN,
    }
}

/// Also for reasons that count for no breaker, such as a secret that is not there.
fn is_failing(device: &DeviceView) -> bool {
    device.error.is_some() || device.failing_since.is_some()
}

fn device_name(cluster: &ClusterId, device: &DeviceView) -> String {
    let name = |kind: &str, id: &DeviceId| format!("cluster {cluster} {kind} {id}");
    match (&device.node_id, &device.switch_id) {
        (Some(node), _) => name("node", node),
        (None, Some(switch)) => name("switch", switch),
        (None, None) => format!("cluster {cluster} device without an id"),
    }
}

struct Lines {
    text: String,
    /// Columns; `None` does not end.
    width: Option<usize>,
}

impl Lines {
    /// Whatever the server says, it is one line, or as many as the width takes, and nothing that the
    /// terminal obeys.
    fn add(&mut self, line: &str) {
        self.text.push_str(&wrap(&plain(line), self.width));
        self.text.push('\n');
    }

    /// The width of a column: of its texts that take no more than `most`, if the width ends.
    fn widest<'a>(&self, texts: impl Iterator<Item = &'a str>, most: usize) -> usize {
        let most = self.width.map_or(usize::MAX, |_| most);
        let fitting = texts.map(columns).filter(|&columns| columns <= most);
        fitting.max().unwrap_or_default()
    }

    /// A name as it stands at the begin of a line. One that is longer than its column has a line of its
    /// own before that.
    fn name<'a>(&mut self, name: &'a str, width: usize) -> &'a str {
        if columns(name) <= width {
            return name;
        }
        self.add(name);
        ""
    }

    fn list(&mut self, list: &DiscoveryView) {
        let DiscoveryView {
            origin,
            key,
            devices,
            read_at,
            error,
            refused,
        } = list;
        let read = match read_at {
            Some(time) => format!("{}, read {time}", counted(*devices, "device")),
            None => "never read".to_owned(),
        };
        self.add(&format!("list {origin} ({key})  {read}"));
        if let Some(error) = error {
            self.add(&format!("    cannot be read: {error}"));
        }
        if *refused > 0 {
            let entries = if *refused == 1 {
                "entry is"
            } else {
                "entries are"
            };
            self.add(&format!("    {refused} {entries} refused by `allow`"));
        }
    }

    fn child(&mut self, name: &str, width: usize, child: &ChildView, device: Option<&DeviceView>) {
        let mut state = child.state.clone();
        if let Some(millis) = child.again_in_ms {
            write!(state, ", again in {}", duration(millis)).ok();
        }
        if let Some(BreakerView {
            state: breaker,
            failures,
            again_in_ms,
        }) = device.map(|device| &device.breaker)
        {
            match (breaker.as_str(), again_in_ms) {
                ("open", Some(millis)) => {
                    write!(state, ", breaker open for {}", duration(*millis)).ok();
                }
                ("half_open", _) => state.push_str(", breaker half-open"),
                _ => {}
            }
            if *failures > 0 {
                write!(state, ", failures in a row: {failures}").ok();
            }
        }
        if child.restarts > 0 {
            write!(state, ", restarts: {}", child.restarts).ok();
        }
        let name = pad(self.name(name, width), width);
        self.add(&format!("{name}  {state}"));
        if let Some(device) = device
            && let Some(ErrorView { kind, message }) = &device.error
        {
            let since = device.failing_since.as_ref();
            let since = since.map_or_else(String::new, |it| format!(", failing since {it}"));
            self.add(&format!("    {kind}: {message}{since}"));
        }
        if let Some(ExitView {
            reason,
            message,
            at,
            time,
            uptime_ms,
        }) = &child.last_exit
        {
            let message = match message.as_str() {
                "" => String::new(),
                message => format!(" {message:?}"),
            };
            let at = match at.as_str() {
                "" => String::new(),
                at => format!(" at {at}"),
            };
            let uptime = duration(*uptime_ms);
            self.add(&format!(
                "    last exit: {reason}{message}{at}, {time}, after {uptime}"
            ));
        }
    }
}

fn duration(millis: u64) -> String {
    // Below ten seconds the milliseconds matter, above they are noise.
    let rounded = if millis < 10_000 {
        millis
    } else {
        millis / 1000 * 1000
    };
    humantime::format_duration(Duration::from_millis(rounded)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a cluster whose only node is in this state.
    fn drawn(state: &str, devices: usize) -> String {
        let child = serde_json::json!({"state": state, "restarts": 0});
        let mut node = child.clone();
        node["node_id"] = 1.into();
        node["breaker"] = serde_json::json!({"state": "closed", "failures": 0});
        let mut cluster = child.clone();
        cluster["cluster_id"] = 1.into();
        cluster["devices"] = devices.into();
        cluster["nodes"] = vec![node].into();
        cluster["switches"] = serde_json::json!([]);
        let tree = serde_json::json!({
            "time": "now", "supervisor": child, "counters": {"a\nb": 1},
            "clusters": [cluster.clone(), cluster],
        });
        let tree = parse(&tree.to_string()).unwrap();
        text(&tree, "http://server", true, None)
    }

    #[test]
    fn counts_that_contradict_each_other_are_drawn() {
        let text = drawn("quarantined", 0);
        assert!(text.contains("devices: 0, of them 0 running"), "{text}");
        let text = drawn("restarting", usize::MAX);
        assert!(text.contains("0 quarantined"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let long = "in-row-17.".repeat(12);
        let down = serde_json::json!({
            "state": "quarantined", "again_in_ms": 1000, "restarts": 3,
            "last_exit": {"reason": "panic", "message": "no ".repeat(50), "at": "a/b.rs:1", "time": "now",
                "uptime_ms": 1},
        });
        let mut node = down.clone();
        node["node_id"] = long.clone().into();
        node["breaker"] =
            serde_json::json!({"state": "open", "failures": 3, "again_in_ms": 600_000});
        node["error"] = serde_json::json!({"kind": "crashed", "message": "why ".repeat(50)});
        node["failing_since"] = "then".into();
        let mut cluster = down.clone();
        cluster["cluster_id"] = long.clone().into();
        cluster["devices"] = 1.into();
        cluster["nodes"] = vec![node].into();
        cluster["switches"] = serde_json::json!([]);
        let tree = serde_json::json!({
            "time": "now", "supervisor": down, "counters": {"a": 1}, "clusters": [cluster],
            "discoveries": [{"origin": long, "key": "k", "devices": 1, "error": "how ".repeat(50)}],
        });
        let tree = parse(&tree.to_string()).unwrap();
        for width in [40, 80, 81, 200] {
            let drawn = text(&tree, "http://server", true, Some(width));
            let too_wide: Vec<_> = drawn.lines().filter(|it| columns(it) > width).collect();
            assert!(too_wide.is_empty(), "{width}: {too_wide:#?}");
            let whole = |text: &str| text.split_whitespace().collect::<String>();
            let expected = text(&tree, "http://server", true, None);
            assert_eq!(whole(&drawn), whole(&expected), "{width}");
        }
    }

    #[test]
    fn nothing_that_a_server_says_steers_the_terminal() {
        let text = drawn("\u{1b}[2J\u{9b}1m\rgone", 1);
        assert!(text.contains("\u{fffd}[2J\u{fffd}1m\u{fffd}gone"), "{text}");
        assert!(text.contains("a\u{fffd}b=1"), "{text}");
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text:?}"
        );
    }
}
