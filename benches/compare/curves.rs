//! `curves`: what a collect takes of time, processor time and memory, from 10 to 1,000,000 devices.

use std::time::Duration;

use crate::answer::{Failure, Work};
use crate::load;
use crate::peer::Peer;
use crate::plan::Plan;
use crate::plot::{self, Line};
use crate::server::{self, Server};
use crate::spread::{Spread, number};
use crate::table::{Cell, Column, Row, Table};

const LATENCY: Duration = Duration::from_secs(1);
const PEERS: [Peer; 3] = [Peer::Fleetcall, Peer::Axum, Peer::Timers];

/// What some collects took.
struct Cost {
    /// Milliseconds beyond the lookup.
    over: Spread,
    /// Milliseconds of processor time.
    cpu: Spread,
    /// KiB a device.
    memory: Spread,
}

/// A figure, as a table and as a plot.
struct Figure {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    digits: usize,
    of: fn(&Cost) -> &Spread,
}

const FIGURES: [Figure; 3] = [
    Figure {
        name: "curve-time",
        title: "Time of a collect beyond 1 s, by number of devices",
        unit: "ms beyond 1 s",
        digits: 1,
        of: |it| &it.over,
    },
    Figure {
        name: "curve-processor",
        title: "Processor time of a collect, by number of devices",
        unit: "ms of processor time",
        digits: 1,
        of: |it| &it.cpu,
    },
    Figure {
        name: "curve-memory",
        title: "Memory at its peak, by number of devices",
        unit: "KiB a device",
        digits: 2,
        of: |it| &it.memory,
    },
];

/// What so many devices cost each peer.
type Costs = (usize, Vec<(Peer, Result<Cost, Failure>)>);

pub(crate) fn measure(plan: &Plan) -> Vec<Table> {
    let sizes: &[usize] = if plan.quick {
        &[10, 100, 1_000, 10_000, 100_000]
    } else {
        &[
            10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000,
        ]
    };
    let peers = PEERS.into_iter().filter(|it| plan.peers.contains(it));
    let peers: Vec<Peer> = peers.collect();
    let mut costs: Vec<Costs> = Vec::new();
    for &devices in sizes {
        let work = Work::of(devices, LATENCY);
        let each = peers.iter().map(|&peer| {
            eprintln!("curves: {devices} devices, {}", peer.name());
            (peer, cost(plan, peer, work))
        });
        costs.push((devices, each.collect()));
    }
    let tables = FIGURES
        .iter()
        .map(|figure| table(plan, figure, &peers, &costs));
    tables.collect()
}

/// The first collect, which sets up what is set up once, counts for memory only.
fn cost(plan: &Plan, peer: Peer, work: Work) -> Result<Cost, Failure> {
    let (mut over, mut cpu, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    let rounds = plan.rounds(3, 1);
    let ms = |took: f64| (took - LATENCY.as_secs_f64()) * 1e3;
    let a_device = |kib: f64| kib / work.devices() as f64;
    if peer == Peer::Timers {
        for _ in 0..rounds {
            let waited = server::timers(work);
            over.push(ms(waited.seconds));
            cpu.push(waited.cpu_seconds * 1e3);
            memory.push(a_device(waited.peak_kib as f64));
        }
    } else {
        let server = Server::start(plan, peer, work)?;
        let right = load::ask(&server, work)?.body;
        for _ in 0..rounds {
            let before = server.cpu_of_threads();
            let asked = load::ask_unchecked(&server)?;
            cpu.push((server.cpu_of_threads() - before) * 1e3);
            over.push(ms(asked.took.as_secs_f64()));
            if asked.body != right {
                return Err(Failure("wrong answer: another one".to_owned()));
            }
        }
        memory.push(a_device(server.peak_kib()));
    }
    let spread = |values| Spread::of(values).ok_or(Failure("not measured".to_owned()));
    Ok(Cost {
        over: spread(over)?,
        cpu: spread(cpu)?,
        memory: spread(memory)?,
    })
}

fn table(plan: &Plan, figure: &Figure, peers: &[Peer], costs: &[Costs]) -> Table {
    let key = |peer| match peer {
        Peer::Axum => "axum",
        Peer::Timers => "timers",
        _ => "fleetcall",
    };
    let row = |(devices, costs): &Costs| Row {
        name: number(*devices as f64, 0),
        cells: costs
            .iter()
            .map(|(_, cost)| match cost {
                Ok(cost) => Cell::Spread((figure.of)(cost).clone()),
                Err(failure) => Cell::Text(failure.0.clone()),
            })
            .collect(),
    };
    let lines = peers.iter().enumerate().map(|(at, &peer)| Line {
        name: peer.title().replace(['*', '`'], ""),
        points: costs
            .iter()
            .filter_map(|(devices, costs)| {
                let cost = costs[at].1.as_ref().ok()?;
                Some((*devices as f64, (figure.of)(cost).median()))
            })
            .collect(),
    });
    let file = format!("{}.svg", figure.name);
    let lines: Vec<Line> = lines.collect();
    plot::draw(&plan.dir.join(&file), figure.title, figure.unit, &lines);
    Table {
        name: figure.name.to_owned(),
        title: figure.title.to_owned(),
        text: format!(
            "In {}. The bare timers have no actors, supervision, HTTP or JSON.",
            figure.unit
        ),
        columns: peers
            .iter()
            .map(|&peer| Column::new(key(peer), peer.title(), figure.digits))
            .collect(),
        rows: costs.iter().map(row).collect(),
        goals: Vec::new(),
        plots: vec![file],
    }
}
