//! `fleetcall workers`: who has which cluster of a fleet that several processes share.

use std::process::ExitCode;

use clap::Args;

use super::CliError;
use super::server::ServerFlags;
use super::terminal::plain;
use super::tree::{Format, TreeError, ask, checked_json};
use crate::http::v1::workers::{OwnedView, WorkersView};

#[derive(Debug, Clone, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    server: ServerFlags,
    /// How they are printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Format,
}

pub(super) fn show(flags: &Flags) -> Result<ExitCode, CliError> {
    let (url, json) = ask(&flags.server, "/v1/workers").map_err(CliError::Tree)?;
    let text = if flags.format == Format::Json {
        checked_json(&url, &json).map_err(CliError::Tree)?
    } else {
        let view = serde_json::from_str(&json).map_err(|error| {
            let what = error.to_string();
            CliError::Tree(TreeError::Answer { url, what })
        })?;
        text(&view)
    };
    super::print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn text(view: &WorkersView) -> String {
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
    let workers = table(head, workers);
    let clusters = table(["cluster", "worker", "fence", "since", "renewed"], clusters);
    format!("{workers}\n{clusters}")
}

/// Columns as wide as they have to be, whatever a server says.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut all = vec![head.map(str::to_owned)];
    all.extend(rows.map(|row| row.map(|cell| plain(&cell))));
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::text;

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
        let shown = text(&serde_json::from_value(view).unwrap());
        let expected = "\
worker  release  started                   topology          clusters  taken  handed over  lost
a\u{fffd}[2J   0.1.0    2026-11-24T00:00:00.000Z  0123456789abcdef  1         2      1            0

cluster  worker  fence  since                     renewed
edge     nobody  -      -                         -
1        a       17     2026-11-24T00:00:01.000Z  900 ms ago
";
        assert_eq!(shown, expected);
    }
}
