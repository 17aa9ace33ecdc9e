//! `one`: a single `GET /test`, 32 devices of 3 s each. The limit is 3 s.

use std::time::Duration;

use crate::answer::{Failure, Work};
use crate::load;
use crate::peer::Peer;
use crate::plan::Plan;
use crate::server::Server;
use crate::spread::Spread;
use crate::table::{Cell, Column, Goal, Row, Table};

const LATENCY: Duration = Duration::from_secs(3);

pub(crate) fn measure(plan: &Plan) -> Vec<Table> {
    let work = Work::old(LATENCY);
    let peers = plan.peers(|it| {
        it.is_seed() || it.is_modern() || matches!(it, Peer::Fleetcall | Peer::FleetcallJoined)
    });
    let mut servers: Vec<Asked> = peers
        .into_iter()
        .map(|it| Asked::new(plan, it, work))
        .collect();
    for round in 0..plan.rounds(3, 1) {
        for asked in &mut servers {
            // The old ones take eight times as long, and always as long.
            if asked.failure.is_none() && (round == 0 || !asked.peer.is_seed()) {
                eprintln!("one: round {}, {}", round + 1, asked.peer.name());
                asked.ask(work);
            }
        }
    }
    let best = servers.iter().filter(|it| it.peer.is_modern());
    let best = best
        .filter_map(|it| Some(it.spread()?.median()))
        .min_by(f64::total_cmp);
    let mut rows: Vec<Row> = servers.iter().map(|it| it.row(best)).collect();
    for peer in &plan.absent {
        rows.push(Row::without(peer.title(), "not here", 4));
    }
    let ours = servers.iter().find(|it| it.peer == Peer::Fleetcall);
    let ours = ours.and_then(Asked::spread);
    let goals = ours.map(|it| Goal {
        text: "within 5 ms of the limit",
        seen: format!("{} ms beyond it", it.text(1)),
        met: it.median() <= 5.0,
    });
    vec![Table {
        name: "one".to_owned(),
        title: "One `GET /test`, 32 devices of 3 s".to_owned(),
        text: "A new connection for each request. Beyond the limit of 3 s, in milliseconds."
            .to_owned(),
        columns: vec![
            Column::new("over_ms", "ms beyond 3 s", 1),
            Column::new("to_limit", "time to the limit", 3),
            Column::new("to_best", "time to the best peer", 3),
            Column::new("answer", "answer", 0),
        ],
        rows,
        goals: goals.into_iter().collect(),
        plots: Vec::new(),
    }]
}

struct Asked {
    peer: Peer,
    server: Option<Server>,
    /// In milliseconds beyond the limit.
    over: Vec<f64>,
    /// Why there is no time; or what is wrong with the answer, whose time counts all the same.
    failure: Option<Failure>,
}

impl Asked {
    fn new(plan: &Plan, peer: Peer, work: Work) -> Self {
        let (server, failure) = match Server::start(plan, peer, work) {
            Ok(server) => (Some(server), None),
            Err(failure) => (None, Some(failure)),
        };
        Self {
            peer,
            server,
            over: Vec::new(),
            failure,
        }
    }

    fn ask(&mut self, work: Work) {
        let Some(server) = &self.server else { return };
        match load::ask_unchecked(server) {
            Ok(asked) => {
                let over = asked.took.as_secs_f64() - LATENCY.as_secs_f64();
                self.over.push(over * 1e3);
                self.failure = work.check(&asked.body).err();
            }
            Err(failure) => self.failure = Some(failure),
        }
    }

    fn spread(&self) -> Option<Spread> {
        Spread::of(self.over.iter().copied())
    }

    fn row(&self, best: Option<f64>) -> Row {
        let limit = LATENCY.as_secs_f64() * 1e3;
        let over = self.spread();
        let took = over.as_ref().map(|it| limit + it.median());
        let right = self.failure.as_ref().map_or("right", |it| &it.0);
        Row {
            name: self.peer.title().to_owned(),
            cells: vec![
                over.into(),
                took.map(|it| it / limit).into(),
                took.and_then(|it| Some(it / (limit + best?))).into(),
                Cell::Text(right.to_owned()),
            ],
        }
    }
}
