//! `faults`: 17,750 devices, of which one in a hundred hangs and one in a hundred crashes the code
//! that asks it, beside the same devices without that.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::answer::Failure;
use crate::peer::Peer;
use crate::plan::Plan;
use crate::server::Server;
use crate::spread::{Spread, percentile};
use crate::stream::{self, Streamed};
use crate::table::{Cell, Column, Goal, Row, Table};

const CLUSTERS: usize = 71;
/// In a cluster, half of them switches.
const DEVICES: usize = 250;
const DEADLINE: Duration = Duration::from_secs(3);

/// How many nodes of a cluster hang, and how many of its switches crash: one in a hundred over two
/// clusters.
fn trouble(cluster: usize) -> usize {
    2 + cluster % 2
}

/// The healthy ones in one collect, in milliseconds.
struct Round {
    p50: f64,
    p99: f64,
    /// The end of the stream.
    end: f64,
    failed: usize,
    lost: usize,
}

pub(crate) fn measure(plan: &Plan) -> Vec<Table> {
    if !plan.peers.contains(&Peer::Fleetcall) {
        return Vec::new();
    }
    let mut well = Vec::new();
    let mut troubled = Vec::new();
    let failure = run(plan, &mut well, &mut troubled).err();
    vec![table(&well, &troubled, failure.as_ref())]
}

fn run(plan: &Plan, well: &mut Vec<Round>, troubled: &mut Vec<Round>) -> Result<(), Failure> {
    let calm = Server::fleetcall(plan, &config("ok", "ok"))?;
    let storm = Server::fleetcall(plan, &config("hang", "panic"))?;
    let rounds = plan.rounds(5, 2);
    for round in 0..rounds {
        eprintln!("faults: round {} of {rounds}", round + 1);
        well.push(once(&stream::report(&calm)?, "ok", "ok")?);
        troubled.push(once(&stream::report(&storm)?, "timed_out", "crashed")?);
    }
    Ok(())
}

/// Breakers and quarantine would spare the troubled ones from being asked again.
fn config(nodes: &str, switches: &str) -> String {
    let mut text = format!(
        "[lookup]\nlatency = \"1s\"\njitter = \"200ms\"\nbreaker = {{ failures = 1000000 }}\n\
         [collect]\ndeadline = \"{}s\"\n\
         [supervision]\nintensity = 1000\nbackoff = {{ min = \"1ms\", max = \"1ms\" }}\n",
        DEADLINE.as_secs()
    );
    let half = DEVICES / 2;
    for id in 1..=CLUSTERS {
        let last = half - trouble(id);
        let group = |step| {
            format!(
                "[\"1-{last}\", {{ ids = \"{}-{half}\", lookup = {{ script = [\"{step}\"] }} }}]",
                last + 1
            )
        };
        writeln!(
            text,
            "[[clusters]]\nid = {id}\nnodes = {}\nswitches = {}",
            group(nodes),
            group(switches)
        )
        .unwrap();
    }
    text
}

/// Finds every device once, with the outcome that it should have.
fn once(report: &Streamed, nodes: &str, switches: &str) -> Result<Round, Failure> {
    let mut came = HashMap::new();
    for (at, line) in &report.devices {
        if came
            .insert(line.device(), (at, line.outcome.as_str()))
            .is_some()
        {
            return Err(Failure("wrong answer: a device twice".to_owned()));
        }
    }
    let mut healthy = Vec::new();
    let mut lost = 0;
    for cluster in 1..=CLUSTERS {
        let last = DEVICES / 2 - trouble(cluster);
        for (is_node, id) in (1..=DEVICES / 2).flat_map(|id| [(true, id), (false, id)]) {
            let troubled = if is_node { nodes } else { switches };
            let right = if id > last { troubled } else { "ok" };
            match came.remove(&(cluster, is_node, id)) {
                Some((at, "ok")) if id <= last => healthy.push(at.as_secs_f64() * 1e3),
                _ if id <= last => lost += 1,
                Some((_, outcome)) if outcome == right => {}
                _ => return Err(Failure(format!("wrong answer: not {right}"))),
            }
        }
    }
    if !came.is_empty() || report.summary.asked != CLUSTERS * DEVICES {
        return Err(Failure("wrong answer: other devices".to_owned()));
    }
    Ok(Round {
        p50: percentile(&mut healthy, 50.0),
        p99: percentile(&mut healthy, 99.0),
        end: report.last.as_secs_f64() * 1e3,
        failed: report.summary.failed,
        lost,
    })
}

fn table(well: &[Round], troubled: &[Round], failure: Option<&Failure>) -> Table {
    let columns = vec![
        Column::new("p50_ms", "p50 of the healthy, ms", 1),
        Column::new("p99_ms", "p99 of the healthy, ms", 1),
        Column::new("p99_to_well", "p99 to that without faults", 4),
        Column::new("end_ms", "the collect ends after, ms", 1),
        Column::new("failed", "devices failed", 0),
        Column::new("lost", "healthy ones lost", 0),
    ];
    let ratio = Spread::of(
        well.iter()
            .zip(troubled)
            .map(|(well, it)| it.p99 / well.p99),
    );
    let row = |name: &str, rounds: &[Round], ratio: Option<Spread>| {
        let spread = |of: fn(&Round) -> f64| Cell::from(Spread::of(rounds.iter().map(of)));
        Row {
            name: name.to_owned(),
            cells: vec![
                spread(|it| it.p50),
                spread(|it| it.p99),
                ratio.into(),
                spread(|it| it.end),
                spread(|it| it.failed as f64),
                spread(|it| it.lost as f64),
            ],
        }
    };
    let mut rows = vec![
        row("**fleetcall**, all healthy", well, None),
        row(
            "**fleetcall**, 1 % hang and 1 % crash",
            troubled,
            ratio.clone(),
        ),
    ];
    if let Some(failure) = failure {
        rows.push(Row::without("**fleetcall**", &failure.0, columns.len()));
    }
    let mut goals = Vec::new();
    if let (Some(end), Some(ratio)) = (Spread::of(troubled.iter().map(|it| it.end)), ratio) {
        let deadline = DEADLINE.as_secs_f64() * 1e3;
        goals.push(Goal {
            text: "the collect ends at its deadline",
            seen: format!("of {deadline} ms, after {} ms", end.text(1)),
            met: end.median() <= deadline,
        });
        let lost = troubled.iter().map(|it| it.lost).sum::<usize>();
        goals.push(Goal {
            text: "no healthy device is lost",
            seen: format!("{lost} lost"),
            met: lost == 0,
        });
        goals.push(Goal {
            text: "the p99 of the healthy ones moves by less than 10 %",
            seen: format!("by {:.2} %", (ratio.median() - 1.0) * 1e2),
            met: (ratio.median() - 1.0).abs() < 0.1,
        });
    }
    Table {
        name: "faults".to_owned(),
        title: "17,750 devices, some of which hang or crash the code that asks them".to_owned(),
        text: "Healthy ones answer after 0.8 to 1.2 s. When each device came in the streamed report. The \
               peers have neither deadlines nor faults, so they are not here."
            .to_owned(),
        columns,
        rows,
        goals,
        plots: Vec::new(),
    }
}
