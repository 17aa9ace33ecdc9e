//! A roll call for people: the clusters in numbers, then who failed and why, then all in one line.

use std::fmt::Write as _;
use std::time::Duration;

use super::roll::{ClusterRoll, DeviceRoll, Roll, Tally};
use crate::cli::terminal::{Color, Terminal, columns, cut, cut_middle, fold, pad, plain, wrap};
use crate::domain::{Fault, counted};

/// The table, without a line end; only clusters with failures if `only_failed`.
pub(super) fn text(
    roll: &Roll,
    elapsed: Duration,
    only_failed: bool,
    complete: bool,
    terminal: Terminal,
) -> String {
    let mut table = AnswerTable {
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

struct AnswerTable {
    text: String,
    terminal: Terminal,
}

impl AnswerTable {
    /// The width of a column that others stand beside: of its texts that take no more than their part of
    /// the width of all. Longer ones have lines of their own, see [`AnswerTable::name`].
    fn widest<'a>(&self, texts: impl Iterator<Item = &'a str>, part: usize) -> usize {
        let most = self.terminal.width.map_or(usize::MAX, |width| width / part);
        let fitting = texts.map(columns).filter(|&columns| columns <= most);
        fitting.max().unwrap_or_default()
    }

    /// A name as it stands at the begin of a line, filled up to so many columns. One that is longer is
    /// written whole on lines before that one: cut, it could look like another.
    fn name(&mut self, name: &str, width: usize) -> String {
        if columns(name) <= width {
            return pad(name, width);
        }
        let all = self.terminal.width.unwrap_or(usize::MAX);
        for line in fold(name, all) {
            self.line(line);
        }
        pad("", width)
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
            let name = self.name(name, name_width);
            let (ok, failed) = (format!("{:>7}", tally.ok), format!("{:>7}", tally.failed()));
            let waiting = silent(&tally.unheard().to_string());
            let used = name_width + 27 + waiting.len() + 2;
            let room = self.terminal.width.map(|width| width.saturating_sub(used));
            let slowest = slowest(&cluster.devices, room).unwrap_or_default();
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
            let name = self.name(&name, name_width);
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
        let line = wrap(&line, self.terminal.width);
        self.text.push_str(&self.terminal.paint(color, &line));
    }
}

/// Who took longest, and how long, in so many columns.
fn slowest(devices: &[DeviceRoll], room: Option<usize>) -> Option<String> {
    let took = |device: &DeviceRoll| device.heard.as_ref()?.took;
    let (longest, device) = devices
        .iter()
        .filter_map(|device| Some((took(device)?, device)))
        // The first of those that are alike.
        .rev()
        .max_by_key(|&(took, _)| took)?;
    let (name, longest) = (format!("{} {}", device.kind, device.id), duration(longest));
    Some(match room {
        None => format!("{name}, {longest}"),
        Some(room) => {
            let room_of_name = room.saturating_sub(columns(&longest) + 2);
            cut(
                &format!("{}, {longest}", cut_middle(&name, room_of_name)),
                room,
            )
        }
    })
}

fn duration(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    match millis {
        ..10.0 => format!("{millis:.1} ms"),
        ..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::collect::roll::Heard;
    use crate::domain::{Cluster, DeviceKind, FaultKind, Id, Topology};

    #[test]
    fn devices_with_long_names_are_told_apart_on_eighty_columns() {
        // Alike but for one character, wherever that is.
        let names: Vec<String> = (0..120)
            .map(|at| {
                let character = |place| if place == at { 'x' } else { 'a' };
                (0..120).map(character).collect()
            })
            .collect();
        let ids = names.iter().map(|name| Id::name(name).unwrap());
        let cluster = Id::name(&"c".repeat(100)).unwrap();
        let fleet = Topology::new(vec![Cluster::new(
            cluster.clone(),
            ids.clone().collect(),
            vec![],
        )]);
        let mut roll = Roll::by_name(&fleet);
        for id in ids {
            let fault = Fault::new(FaultKind::Refused, "no ".repeat(100));
            let heard = Heard {
                outcome: Err(fault.into()),
                took: Some(Duration::from_secs(1)),
            };
            roll.hear_of(cluster.clone(), DeviceKind::Node, id, heard);
        }
        let terminal = Terminal {
            width: Some(80),
            is_terminal: true,
            obeys: false,
            has_colors: false,
        };
        let shown = text(&roll, Duration::from_secs(1), false, true, terminal);
        assert!(shown.lines().all(|line| columns(line) <= 80), "{shown}");
        let whole: String = shown.lines().collect();
        for name in &names {
            assert!(whole.contains(name), "{name} is not there: {shown}");
        }
        assert!(
            shown.contains(", 1.0 s\n"),
            "how long the slowest took: {shown}"
        );
    }
}
