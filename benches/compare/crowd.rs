//! `crowd`: 100, 1,000 and 10,000 clients that ask at once, and what happens above the limit.

use std::time::Duration;

use crate::answer::{Failure, Work};
use crate::load::{self, Crowd};
use crate::peer::Peer;
use crate::plan::Plan;
use crate::server::Server;
use crate::spread::Spread;
use crate::table::{Cell, Column, Goal, Row, Table};

const LATENCY: Duration = Duration::from_secs(1);
const SIZES: [usize; 3] = [100, 1_000, 10_000];

/// `max_waiting` of the server that is asked for more.
const LIMIT: usize = 1_000;
const BEYOND: usize = 1_500;

type Rounds = Result<Vec<Crowd>, Failure>;

pub(crate) fn measure(plan: &Plan) -> Vec<Table> {
    let peers = plan.peers(|it| {
        it.is_seed() || it.is_modern() || matches!(it, Peer::Fleetcall | Peer::FleetcallJoined)
    });
    let all: Vec<(Peer, Vec<Rounds>)> = peers
        .into_iter()
        .map(|peer| {
            // The old ones take thirty clients at a time, so the larger crowds would take minutes.
            let sizes = match plan.quick {
                _ if peer.is_seed() => &SIZES[..1],
                true => &SIZES[..2],
                false => &SIZES,
            };
            let each = sizes.iter().map(|&clients| crowds(plan, peer, clients));
            (peer, each.collect())
        })
        .collect();
    let mut tables = vec![table(plan, &all)];
    if plan.peers.contains(&Peer::Fleetcall) {
        tables.push(beyond(plan));
    }
    tables
}

fn crowds(plan: &Plan, peer: Peer, clients: usize) -> Rounds {
    let work = Work::old(LATENCY);
    let server = Server::start(plan, peer, work)?;
    let rounds = if peer.is_seed() { 1 } else { plan.rounds(3, 1) };
    // An old server that answers wrongly would do so in another way each time.
    let body = load::ask(&server, work)?.body;
    (0..rounds)
        .map(|round| {
            eprintln!(
                "crowd: {clients} clients, round {}, {}",
                round + 1,
                peer.name()
            );
            load::crowd(&server, clients, &body)
        })
        .collect()
}

/// Milliseconds beyond the lookup until the last answer.
fn over(rounds: &[Crowd]) -> Option<Spread> {
    let answered = rounds.iter().filter(|it| it.right > 0);
    Spread::of(answered.map(|it| (it.last.as_secs_f64() - LATENCY.as_secs_f64()) * 1e3))
}

fn table(plan: &Plan, all: &[(Peer, Vec<Rounds>)]) -> Table {
    let columns = [
        ("over_100_ms", "100 clients"),
        ("over_1000_ms", "1,000 clients"),
        ("over_10000_ms", "10,000 clients"),
    ];
    let mut columns: Vec<Column> = columns
        .map(|(key, title)| Column::new(key, format!("{title}: ms beyond 1 s"), 0))
        .into();
    columns.push(Column::new(
        "to_best",
        "1,000 clients: time to the best peer",
        3,
    ));
    columns.push(Column::new("refused", "refused", 0));
    columns.push(Column::new("lost", "lost or wrong", 0));
    let limit = LATENCY.as_secs_f64() * 1e3;
    let at_thousand = |rounds: &[Rounds]| {
        let rounds = rounds.get(1)?.as_ref().ok()?;
        Some(limit + over(rounds)?.median())
    };
    let best = all.iter().filter(|(peer, _)| peer.is_modern());
    let best = best
        .filter_map(|(_, it)| at_thousand(it))
        .min_by(f64::total_cmp);
    let mut rows = Vec::new();
    for (peer, sizes) in all {
        let mut cells: Vec<Cell> = sizes
            .iter()
            .map(|rounds| match rounds {
                Ok(rounds) => over(rounds).into(),
                Err(failure) => Cell::Text(failure.0.clone()),
            })
            .collect();
        cells.resize(SIZES.len(), Cell::Empty);
        cells.push(at_thousand(sizes).and_then(|it| Some(it / best?)).into());
        for count in [|it: &Crowd| it.refused, |it: &Crowd| it.lost] {
            let each = sizes.iter().flatten().flatten();
            cells.push(Cell::Number(each.map(count).sum::<usize>() as f64));
        }
        rows.push(Row {
            name: peer.title().to_owned(),
            cells,
        });
    }
    for peer in &plan.absent {
        rows.push(Row::without(peer.title(), "not here", columns.len()));
    }
    Table {
        name: "crowd".to_owned(),
        title: "Many clients at once, 32 devices of 1 s".to_owned(),
        text: "The clients connect first, then all ask at once; time of the last answer, in milliseconds \
               beyond one lookup. The old servers are asked by 100 clients only, once. fleetcall has \
               `max_waiting = 20000`."
            .to_owned(),
        columns,
        rows,
        goals: goals(all),
        plots: Vec::new(),
    }
}

fn goals(all: &[(Peer, Vec<Rounds>)]) -> Vec<Goal> {
    let Some((_, sizes)) = all.iter().find(|(peer, _)| *peer == Peer::Fleetcall) else {
        return Vec::new();
    };
    let mut goals = Vec::new();
    if let Some(Ok(thousand)) = sizes.get(1)
        && let Some(over) = over(thousand)
    {
        goals.push(Goal {
            text: "the last of 1,000 answers within 100 ms of one lookup",
            seen: format!("{} ms beyond it", over.text(0)),
            met: over.median() <= 100.0,
        });
    }
    let each = sizes.iter().flatten().flatten();
    let not_served = each.map(|it| it.refused + it.lost).sum::<usize>();
    goals.push(Goal {
        text: "nothing refused below the configured limit",
        seen: format!("{not_served} refused or lost"),
        met: not_served == 0 && sizes.iter().all(Result::is_ok),
    });
    goals
}

/// More clients than may wait.
fn beyond(plan: &Plan) -> Table {
    let work = Work::old(LATENCY);
    let rounds: Rounds = (|| {
        let config = work.config(&format!("max_waiting = {LIMIT}\n"));
        let server = Server::fleetcall(plan, &config)?;
        let body = load::ask(&server, work)?.body;
        let rounds = 0..plan.rounds(3, 1);
        rounds
            .map(|_| load::crowd(&server, BEYOND, &body))
            .collect()
    })();
    let name = format!("**fleetcall**, {BEYOND} clients, `max_waiting = {LIMIT}`");
    let row = match &rounds {
        Err(failure) => Row::without(name, &failure.0, 5),
        Ok(rounds) => {
            let spread = |of: fn(&Crowd) -> f64| Spread::of(rounds.iter().map(of));
            Row {
                name,
                cells: vec![
                    spread(|it| it.right as f64).into(),
                    over(rounds).into(),
                    spread(|it| it.refused as f64).into(),
                    spread(|it| it.last_refusal.as_secs_f64() * 1e3).into(),
                    spread(|it| it.lost as f64).into(),
                ],
            }
        }
    };
    Table {
        name: "crowd-beyond".to_owned(),
        title: "More clients at once than may wait".to_owned(),
        text: "Those for whom there is no room are told at once, with 503 and `Retry-After`; the others \
               are answered as ever."
            .to_owned(),
        columns: vec![
            Column::new("right", "answered", 0),
            Column::new("over_ms", "the last of them, ms beyond 1 s", 0),
            Column::new("refused", "refused", 0),
            Column::new("refused_ms", "the last of them after, ms", 0),
            Column::new("lost", "lost or wrong", 0),
        ],
        rows: vec![row],
        goals: Vec::new(),
        plots: Vec::new(),
    }
}
