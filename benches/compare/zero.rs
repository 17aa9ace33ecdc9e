//! `zero`: lookups that take no time, 32 devices, 64 clients that keep their connections: what the
//! way of a request costs.
//!
//! Every round visits every server once, each time in another order, so that noise hits all alike;
//! ratios are taken within a round.

use std::time::Duration;

use crate::answer::{Failure, Work};
use crate::load::{self, Load};
use crate::peer::Peer;
use crate::plan::Plan;
use crate::server::Server;
use crate::spread::{Spread, percentile};
use crate::table::{Cell, Column, Goal, Row, Table};

const CLIENTS: usize = 64;

struct Measured {
    peer: Peer,
    server: Result<(Server, Vec<u8>), Failure>,
    rounds: Vec<Load>,
    wrong: Option<Failure>,
}

pub(crate) fn measure(plan: &Plan) -> Vec<Table> {
    let work = Work::old(Duration::ZERO);
    let mut all: Vec<Measured> = plan
        .peers(|it| it != Peer::Timers)
        .into_iter()
        .map(|peer| Measured::new(plan, peer, work))
        .collect();
    same_bytes(&all, work);
    let duration = Duration::from_millis(if plan.quick { 1_000 } else { 2_000 });
    let rounds = plan.rounds(5, 2);
    for measured in &mut all {
        measured.visit(Duration::from_millis(300));
        measured.rounds.clear();
    }
    for round in 0..rounds {
        let count = all.len();
        for at in 0..count {
            let measured = &mut all[(at + round) % count];
            eprintln!(
                "zero: round {} of {rounds}, {}",
                round + 1,
                measured.peer.name()
            );
            measured.visit(duration);
        }
    }
    vec![table(plan, &mut all, duration)]
}

impl Measured {
    fn new(plan: &Plan, peer: Peer, work: Work) -> Self {
        let mut wrong = None;
        let server = Server::start(plan, peer, work).and_then(|server| {
            let asked = load::ask_unchecked(&server)?;
            wrong = work.check(&asked.body).err();
            Ok((server, asked.body))
        });
        Self {
            peer,
            server,
            rounds: Vec::new(),
            wrong,
        }
    }

    fn visit(&mut self, duration: Duration) {
        let Ok((server, body)) = &self.server else {
            return;
        };
        // What was wrong once is wrong in another way the next time, so it is only compared if right.
        match load::keep_asking(
            server,
            CLIENTS,
            duration,
            self.wrong.is_none().then_some(body),
        ) {
            Ok(load) => self.rounds.push(load),
            Err(failure) => self.server = Err(failure),
        }
    }

    fn spread(&self, of: impl Fn(&Load) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(of))
    }

    fn median_rate(&self) -> f64 {
        self.spread(|it| it.per_second)
            .map_or(0.0, |it| it.median())
    }

    /// Requests a second to those of another, round by round.
    fn to(&self, other: Option<&Self>) -> Option<Spread> {
        let rounds = self.rounds.iter().zip(&other?.rounds);
        Spread::of(rounds.map(|(ours, theirs)| ours.per_second / theirs.per_second))
    }
}

/// The bare handler is to send exactly what fleetcall sends.
fn same_bytes(all: &[Measured], work: Work) {
    let sent = |peer| {
        let measured = all.iter().find(|it| it.peer == peer)?;
        let (server, _) = measured.server.as_ref().ok()?;
        let asked = load::ask(server, work).ok()?;
        Some((asked.head.bytes, asked.body))
    };
    if let (Some(ours), Some(bare)) = (sent(Peer::Fleetcall), sent(Peer::Bare)) {
        assert_eq!(ours, bare, "the bare handler does not send the same bytes");
    }
}

fn table(plan: &Plan, all: &mut [Measured], duration: Duration) -> Table {
    let percentiles: Vec<[Option<Spread>; 2]> = all
        .iter_mut()
        .map(|it| {
            [50.0, 99.0].map(|percent| {
                let each = it.rounds.iter_mut();
                Spread::of(each.map(|load| percentile(&mut load.latencies, percent)))
            })
        })
        .collect();
    let bare = all.iter().find(|it| it.peer == Peer::Bare);
    let best = all
        .iter()
        .filter(|it| it.peer.is_modern())
        .max_by(|a, b| a.median_rate().total_cmp(&b.median_rate()));
    let mut rows = Vec::new();
    for (measured, [p50, p99]) in all.iter().zip(percentiles) {
        let answer = match (&measured.server, &measured.wrong) {
            (Err(failure), _) | (Ok(_), Some(failure)) => failure.0.clone(),
            (Ok(_), None) => "right".to_owned(),
        };
        rows.push(Row {
            name: measured.peer.title().to_owned(),
            cells: vec![
                measured.spread(|it| it.per_second).into(),
                p50.into(),
                p99.into(),
                measured.spread(|it| it.server_cpu).into(),
                measured.to(bare).into(),
                measured.to(best).into(),
                Cell::Text(answer),
            ],
        });
    }
    for peer in &plan.absent {
        rows.push(Row::without(peer.title(), "not here", 7));
    }
    let client = Spread::of(
        all.iter()
            .flat_map(|it| it.rounds.iter().map(|it| it.client_cpu)),
    );
    Table {
        name: "zero".to_owned(),
        title: "Lookups that take no time: 32 devices, 64 clients".to_owned(),
        text: format!(
            "Keep-alive connections, {} rounds of {} s for each server, every answer \
             compared with the first one if that is right. \
             The clients are one thread, which shares the processors with the servers, and takes \
             {} µs a request.",
            all.iter()
                .map(|it| it.rounds.len())
                .max()
                .unwrap_or_default(),
            duration.as_secs_f64(),
            client.map_or_else(|| "–".to_owned(), |it| it.text(1))
        ),
        columns: vec![
            Column::new("per_second", "requests/s", 0),
            Column::new("p50_ms", "p50, ms", 2),
            Column::new("p99_ms", "p99, ms", 2),
            Column::new("cpu_us", "its processor time a request, µs", 1),
            Column::new("to_bare", "rate to the bare handler", 2),
            Column::new("to_best", "rate to the best peer", 2),
            Column::new("answer", "answers", 0),
        ],
        rows,
        goals: goals(all, bare, best),
        plots: Vec::new(),
    }
}

fn goals(all: &[Measured], bare: Option<&Measured>, best: Option<&Measured>) -> Vec<Goal> {
    let of = |peer| all.iter().find(|it| it.peer == peer);
    let mut goals = Vec::new();
    if let (Some(ours), Some(best)) = (of(Peer::Fleetcall), best)
        && let Some(ratio) = ours.to(Some(best))
    {
        goals.push(Goal {
            text: "with the actors in the path and nothing joined, ahead of every peer",
            seen: format!("{} times {}", ratio.text(2), best.peer.title()),
            met: ratio.median() > 1.0,
        });
    }
    if let Some(joined) = of(Peer::FleetcallJoined)
        && let Some(ratio) = joined.to(bare)
    {
        goals.push(Goal {
            text: "joined, at least 90 % of the bare handler",
            seen: format!("{} times", ratio.text(2)),
            met: ratio.median() >= 0.9,
        });
    }
    goals
}
