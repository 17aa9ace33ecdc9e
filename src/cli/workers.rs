//! `fleetcall workers`: who has which cluster of a fleet that several processes share.

use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::output::print;
use super::server::ServerFlags;
use super::service::{TreeError, ask, checked_json};
use super::terminal::{INDENT, Terminal, columns, pad, plain, wrap};
use super::tree::TreeFormat;
use crate::server::routes::v1::workers::{OwnedView, WorkersView};

#[derive(Debug, Clone, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    server: ServerFlags,
    /// How they are printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: TreeFormat,
}

pub(super) fn show(flags: &Flags) -> Result<ExitCode, CliError> {
    let (url, json) = ask(&flags.server, "/v1/workers").map_err(CliError::Tree)?;
    let text = if flags.format == TreeFormat::Json {
        checked_json(&url, &json).map_err(CliError::Tree)?
    } else {
        let view = serde_json::from_str(&json).map_err(|error| {
            let what = error.to_string();
            CliError::Tree(TreeError::Answer { url, what })
        })?;
        text(&view, Terminal::of(&std::io::stdout()).width)
    };
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// On lines of at most so many columns.
fn text(view: &WorkersView, width: Option<usize>) -> String {
    let workers = view.workers.iter().map(|it| {
        [
            it.name.clone(),
            it.release.clone(),
            it.started_at.clone(),
            it.topology.clone(),
            it.clusters.to_string(),
            it.taken.to_string(),
            it.handed_over.to_string(),
            it.lost.to_string(),
        ]
    });
    let head = [
        "worker",
        "release",
        "started",
        "topology",
        "clusters",
        "taken",
        "handed over",
        "lost",
    ];
    // Those that nobody has first: that is what people look for.
    let (nobodys, owned): (Vec<_>, Vec<_>) =
        view.clusters.iter().partition(|it| it.worker.is_none());
    let clusters = nobodys.into_iter().chain(owned).map(|it| {
        let OwnedView {
            cluster_id,
            worker,
            fence,
            since,
            renewed_ms,
        } = it;
        let number =
            |number: &Option<u64>| number.map_or_else(|| "-".to_owned(), |it| it.to_string());
        let renewed = renewed_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms ago"));
        [
            cluster_id.to_string(),
            worker.clone().unwrap_or_else(|| "nobody".to_owned()),
            number(fence),
            since.clone().unwrap_or_else(|| "-".to_owned()),
            renewed,
        ]
    });
    let workers = table(head, workers, width);
    let head = ["cluster", "worker", "fence", "since", "renewed"];
    let clusters = table(head, clusters, width);
    format!("{workers}\n{clusters}")
}

/// Columns as wide as they have to be, whatever a server says. Those that a line has no room for stand
/// on more lines, further in.
fn table<const N: usize>(
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    width: Option<usize>,
) -> String {
    let mut all = vec![head.map(str::to_owned)];
    all.extend(rows.map(|row| row.map(|cell| plain(&cell))));
    let widest = |column: usize| all.iter().map(|row| columns(&row[column])).max();
    let widths: [usize; N] = std::array::from_fn(|column| widest(column).unwrap_or_default());
    // Before which columns a line ends.
    let (mut breaks, mut used) = (Vec::new(), 0);
    for (column, needed) in widths.iter().enumerate() {
        if column > 0 && width.is_some_and(|width| used + needed > width) {
            breaks.push(column);
            used = INDENT;
        }
        used += needed + 2;
    }
    let mut text = String::new();
    for row in &all {
        let mut line = String::new();
        for (column, (cell, needed)) in row.iter().zip(widths).enumerate() {
            if breaks.contains(&column) {
                text.push_str(&format!("{}\n", wrap(line.trim_end(), width)));
                line = " ".repeat(INDENT);
            }
            line.push_str(&format!("{}  ", pad(cell, needed)));
        }
        text.push_str(&format!("{}\n", wrap(line.trim_end(), width)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_that_nobody_has_stand_first() {
        let view = serde_json::json!({
            "time": "2026-11-25T00:00:00.000Z",
            "workers": [{
                "name": "a\u{1b}[2J", "release": "0.1.0", "started_at": "2026-11-24T00:00:00.000Z",
                "lease_ms": 5000, "topology": "0123456789abcdef", "clusters": 1, "taken": 2, "handed_over": 1, "lost": 0,
            }],
            "clusters": [
                {"cluster_id": 1, "worker": "a", "fence": 17, "since": "2026-11-24T00:00:01.000Z",
                 "renewed_ms": 900},
                {"cluster_id": "edge"},
            ],
        });
        let view: WorkersView = serde_json::from_value(view).unwrap();
        let shown = text(&view, None);
        let expected = "\
worker  release  started                   topology          clusters  taken  handed over  lost
a\u{fffd}[2J   0.1.0    2026-11-24T00:00:00.000Z  0123456789abcdef  1         2      1            0

cluster  worker  fence  since                     renewed
edge     nobody  -      -                         -
1        a       17     2026-11-24T00:00:01.000Z  900 ms ago
";
        assert_eq!(shown, expected);
        let expected = "\
worker  release  started                   topology          clusters  taken
    handed over  lost
a\u{fffd}[2J   0.1.0    2026-11-24T00:00:00.000Z  0123456789abcdef  1         2
    1            0

";
        assert!(text(&view, Some(80)).starts_with(expected));
    }
}
