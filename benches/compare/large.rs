//! `large`: one collect over 10,000, 100,000 and 1,000,000 devices of 1 s, in a hundred clusters.

use std::collections::HashSet;
use std::time::Duration;

use crate::answer::{Failure, Work};
use crate::load;
use crate::peer::Peer;
use crate::plan::Plan;
use crate::server::{self, Server};
use crate::spread::{Spread, number};
use crate::stream;
use crate::table::{Cell, Column, Goal, Row, Table};

const LATENCY: Duration = Duration::from_secs(1);

/// Who takes longer is asked once.
const SLOW: Duration = Duration::from_secs(20);

/// One process, from its start.
#[derive(Debug, Default)]
struct Round {
    /// Seconds beyond the lookup.
    first: f64,
    again: Option<f64>,
    first_byte: Option<f64>,
    /// KiB.
    at_rest: Option<f64>,
    peak: f64,
    streamed: Option<Streamed>,
}

/// Seconds beyond the lookup, and KiB.
#[derive(Debug)]
struct Streamed {
    first: f64,
    last: f64,
    peak: f64,
}

struct Measured {
    peer: Peer,
    rounds: Vec<Round>,
    failure: Option<Failure>,
}

pub(crate) fn measure(plan: &Plan) -> Vec<Table> {
    let sizes: &[usize] = if plan.quick {
        &[10_000, 100_000]
    } else {
        &[10_000, 100_000, 1_000_000]
    };
    let mut tables = Vec::new();
    for &devices in sizes {
        let work = Work::of(devices, LATENCY);
        let mut all: Vec<Measured> = plan
            .peers(|it| it.is_modern() || matches!(it, Peer::Timers | Peer::Fleetcall))
            .into_iter()
            .map(|peer| Measured {
                peer,
                rounds: Vec::new(),
                failure: None,
            })
            .collect();
        for round in 0..plan.rounds(3, 1) {
            for measured in &mut all {
                if measured.failure.is_none() && !measured.is_slow() {
                    eprintln!(
                        "large: {devices} devices, round {}, {}",
                        round + 1,
                        measured.peer.name()
                    );
                    match once(plan, measured.peer, work) {
                        Ok(round) => measured.rounds.push(round),
                        Err(failure) => measured.failure = Some(failure),
                    }
                }
            }
        }
        tables.push(table(devices, &all));
        tables.extend(streamed(devices, &all));
    }
    tables
}

fn once(plan: &Plan, peer: Peer, work: Work) -> Result<Round, Failure> {
    if peer == Peer::Timers {
        let waited = server::timers(work);
        return Ok(Round {
            first: waited.seconds - LATENCY.as_secs_f64(),
            peak: waited.peak_kib as f64,
            ..Round::default()
        });
    }
    let over = |took: Duration| took.as_secs_f64() - LATENCY.as_secs_f64();
    let server = Server::start(plan, peer, work)?;
    let at_rest = server.memory_kib();
    let asked = load::ask(&server, work)?;
    let mut round = Round {
        first: over(asked.took),
        first_byte: Some(over(asked.first_byte)),
        at_rest: Some(at_rest),
        ..Round::default()
    };
    if asked.took < SLOW {
        let again = load::ask_unchecked(&server)?;
        if again.body != asked.body {
            return Err(Failure("wrong answer: another one".to_owned()));
        }
        round.again = Some(over(again.took));
    }
    round.peak = server.peak_kib();
    if peer == Peer::Fleetcall {
        let report = stream::report(&server)?;
        let devices: HashSet<_> = report.devices.iter().map(|(_, it)| it.device()).collect();
        let right = report.devices.iter().all(|(_, it)| it.outcome == "ok");
        if !right || devices.len() != work.devices() || report.devices.len() != devices.len() {
            return Err(Failure(
                "wrong answer: a stream of other devices".to_owned(),
            ));
        }
        round.streamed = Some(Streamed {
            first: over(report.first),
            last: over(report.last),
            peak: server.peak_kib(),
        });
    }
    Ok(round)
}

impl Measured {
    fn is_slow(&self) -> bool {
        self.rounds.iter().any(|it| it.first > SLOW.as_secs_f64())
    }

    fn spread(&self, of: impl Fn(&Round) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(of))
    }

    fn first(&self) -> Option<f64> {
        Some(self.spread(|it| Some(it.first))?.median())
    }
}

fn table(devices: usize, all: &[Measured]) -> Table {
    let columns = vec![
        Column::new("over_ms", "ms beyond 1 s", 0),
        Column::new("to_best", "that to the best peer's", 2),
        Column::new("again_ms", "asked again, ms beyond 1 s", 0),
        Column::new("first_byte_ms", "first byte, ms beyond 1 s", 0),
        Column::new("rest_mib", "memory before, MiB", 1),
        Column::new("peak_mib", "at its peak, MiB", 1),
        Column::new("device_kib", "a device, KiB", 2),
    ];
    let best = all.iter().filter(|it| it.peer.is_modern());
    let best = best.filter_map(Measured::first).min_by(f64::total_cmp);
    let row = |it: &Measured| {
        if let Some(failure) = &it.failure {
            return Row::without(it.peer.title(), &failure.0, columns.len());
        }
        let first = it.first();
        Row {
            name: it.peer.title().to_owned(),
            cells: vec![
                it.spread(|it| Some(it.first * 1e3)).into(),
                first.and_then(|first| Some(first / best?)).into(),
                it.spread(|it| Some(it.again? * 1e3)).into(),
                it.spread(|it| Some(it.first_byte? * 1e3)).into(),
                it.spread(|it| Some(it.at_rest? / 1024.0)).into(),
                it.spread(|it| Some(it.peak / 1024.0)).into(),
                it.spread(|it| Some(it.peak / devices as f64)).into(),
            ],
        }
    };
    Table {
        name: format!("large-{devices}"),
        title: format!(
            "One collect over {} devices of 1 s",
            number(devices as f64, 0)
        ),
        text:
            "Each round is a new process: its first answer, then another one. Memory is all of the \
               process, at its peak over both."
                .to_owned(),
        rows: all.iter().map(row).collect(),
        columns,
        goals: if devices == 1_000_000 {
            goals(all)
        } else {
            Vec::new()
        },
        plots: Vec::new(),
    }
}

fn goals(all: &[Measured]) -> Vec<Goal> {
    let of = |peer| all.iter().find(|it: &&Measured| it.peer == peer);
    let mut goals = Vec::new();
    let Some(ours) = of(Peer::Fleetcall) else {
        return goals;
    };
    if let (Some(ours), Some(axum)) = (ours.first(), of(Peer::Axum).and_then(Measured::first)) {
        goals.push(Goal {
            text: "at 1,000,000 devices, over no more than axum's without actors",
            seen: format!("{ours:.2} s and {axum:.2} s"),
            met: ours <= axum,
        });
    }
    if let Some(peak) = ours.spread(|it| Some(it.peak / 1e6)) {
        goals.push(Goal {
            text: "at most 1.5 KiB a device at peak, all told",
            seen: format!("{} KiB", peak.text(2)),
            met: peak.median() <= 1.5,
        });
    }
    goals
}

/// What only fleetcall does.
fn streamed(devices: usize, all: &[Measured]) -> Option<Table> {
    let ours = all.iter().find(|it| it.peer == Peer::Fleetcall)?;
    let spread = |of: fn(&Streamed) -> f64| -> Cell {
        ours.spread(|it| it.streamed.as_ref().map(of)).into()
    };
    Some(Table {
        name: format!("streamed-{devices}"),
        title: format!("The same as a stream of lines, {} devices", number(devices as f64, 0)),
        text: "`GET /v1/report` with `Accept: application/x-ndjson`, of the same process, after `/test`."
            .to_owned(),
        columns: vec![
            Column::new("first_ms", "first line, ms beyond 1 s", 1),
            Column::new("last_ms", "last line, ms beyond 1 s", 0),
            Column::new("peak_mib", "memory at its peak, MiB", 1),
        ],
        rows: vec![Row {
            name: ours.peer.title().to_owned(),
            cells: vec![
                spread(|it| it.first * 1e3),
                spread(|it| it.last * 1e3),
                spread(|it| it.peak / 1024.0),
            ],
        }],
        goals: Vec::new(),
        plots: Vec::new(),
    })
}
