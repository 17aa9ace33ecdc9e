//! A roll call for people: the clusters in numbers, then who failed and why, then all in one line.

use std::fmt::Write as _;
use std::time::Duration;

use super::roll::{ClusterRoll, DeviceRoll, Roll, Tally};
use crate::cli::terminal::{Color, Terminal, columns, cut, pad, plain};
use crate::domain::{Fault, counted};

/// The table, without a line end; only clusters with failures if `only_failed`.
pub(super) fn text(
    roll: &Roll,
    elapsed: Duration,
    only_failed: bool,
    complete: bool,
    terminal: Terminal,
) -> String {
    let mut table = Table {
        text: String::new(),
        terminal,
    };
    let counted = roll.clusters.iter().map(|it| (it, Tally::of(&it.devices)));
    let shown: Vec<_> = counted
        .filter(|(_, tally)| !only_failed || tally.failed() > 0)
        .collect();
    if !shown.is_empty() {
        table.clusters(&shown, complete);
        table.text.push('\n');
    }
    if roll.tally.failed() > 0 {
        table.failures(roll);
        table.text.push('\n');
    }
    table.total(&roll.tally, elapsed);
    table.text
}

struct Table {
    text: String,
    terminal: Terminal,
}

impl Table {
    /// A column that others stand beside takes no more than its part of the width.
    fn widest<'a>(&self, texts: impl Iterator<Item = &'a str>, part: usize) -> usize {
        let most = self.terminal.width.map_or(usize::MAX, |width| width / part);
        texts.map(columns).max().unwrap_or_default().min(most)
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// What is left of the width after so many columns, at least enough to see that there is more.
    fn cut_rest(&self, text: &str, used: usize) -> String {
        match self.terminal.width {
            None => text.to_owned(),
            Some(width) => cut(text, width.saturating_sub(used)),
        }
    }

    fn clusters(&mut self, clusters: &[(&ClusterRoll, Tally)], complete: bool) {
        let names: Vec<String> = clusters.iter().map(|(it, _)| it.id.to_string()).collect();
        let heading = "cluster";
        let name_width = self.widest(names.iter().map(String::as_str).chain([heading]), 3);
        let silent = |text: &str| {
            if complete {
                String::new()
            } else {
                format!("  {text:>7}")
            }
        };
        let head = format!(
            "{}  {:>7}  {:>7}  {:>7}{}  slowest",
            pad(&cut(heading, name_width), name_width),
            "devices",
            "ok",
            "failed",
            silent("waiting")
        );
        let head = self.cut_rest(&head, 0);
        let head = self.terminal.paint(Color::Bold, &head);
        self.line(&head);
        for ((cluster, tally), name) in clusters.iter().zip(&names) {
            let name = pad(&cut(name, name_width), name_width);
            let (ok, failed) = (format!("{:>7}", tally.ok), format!("{:>7}", tally.failed()));
            let waiting = silent(&tally.unheard().to_string());
            let used = name_width + 27 + waiting.len() + 2;
            let slowest = slowest(&cluster.devices).unwrap_or_default();
            let slowest = self.cut_rest(&slowest, used);
            let failed = if tally.failed() > 0 {
                self.terminal.paint(Color::Red, &failed)
            } else {
                failed
            };
            let ok = if tally.ok > 0 {
                self.terminal.paint(Color::Green, &ok)
            } else {
                ok
            };
            self.line(&format!(
                "{name}  {:>7}  {ok}  {failed}{waiting}  {slowest}",
                tally.asked
            ));
        }
    }

    fn failures(&mut self, roll: &Roll) {
        let failures: Vec<(String, &Fault)> = roll
            .clusters
            .iter()
            .flat_map(|cluster| {
                let failed = cluster
                    .devices
                    .iter()
                    .filter_map(|it| Some((it, it.fault()?)));
                failed.map(|(it, fault)| {
                    (
                        format!("cluster {} {} {}", cluster.id, it.kind, it.id),
                        fault,
                    )
                })
            })
            .collect();
        let name_width = self.widest(failures.iter().map(|(name, _)| name.as_str()), 2);
        let kinds = failures.iter().map(|(_, fault)| fault.kind().as_str());
        let kind_width = self.widest(kinds, 4);
        for (name, fault) in failures {
            let name = pad(&cut(&name, name_width), name_width);
            let kind = pad(&cut(fault.kind().as_str(), kind_width), kind_width);
            let used = name_width + 2 + kind_width + 2;
            let message = self.cut_rest(&plain(fault.message()), used);
            let kind = self.terminal.paint(Color::Red, &kind);
            self.line(&format!("{name}  {kind}  {message}"));
        }
    }

    fn total(&mut self, tally: &Tally, elapsed: Duration) {
        let mut line = format!("{}: {} ok", counted(tally.asked, "device"), tally.ok);
        if tally.failed() > 0 {
            let kinds = tally
                .by_kind()
                .map(|(kind, count)| format!("{kind} {count}"));
            let kinds: Vec<String> = kinds.collect();
            write!(line, ", {} failed ({})", tally.failed(), kinds.join(", ")).ok();
        }
        if tally.unheard() > 0 {
            write!(line, ", {} had not answered", tally.unheard()).ok();
        }
        write!(line, ", in {}", duration(elapsed)).ok();
        let color = if tally.failed() > 0 {
            Color::Red
        } else if tally.unheard() > 0 {
            Color::Yellow
        } else {
            Color::Green
        };
        self.text.push_str(&self.terminal.paint(color, &line));
    }
}

/// Who took longest, and how long.
fn slowest(devices: &[DeviceRoll]) -> Option<String> {
    let took = |device: &DeviceRoll| device.heard.as_ref()?.took;
    let (longest, device) = devices
        .iter()
        .filter_map(|device| Some((took(device)?, device)))
        // The first of those that are alike.
        .rev()
        .max_by_key(|&(took, _)| took)?;
    Some(format!(
        "{} {}, {}",
        device.kind,
        device.id,
        duration(longest)
    ))
}

fn duration(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    match millis {
        ..10.0 => format!("{millis:.1} ms"),
        ..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1000.0),
    }
}
