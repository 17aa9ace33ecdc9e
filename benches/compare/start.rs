//! `start`: from nothing to the first answer, and a reload of one changed device, at 100,000.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::answer::{Failure, Work};
use crate::client::{Client, TEST};
use crate::load::{self, PATIENCE, no_answer, runtime};
use crate::peer::Peer;
use crate::plan::Plan;
use crate::server::{self, Server};
use crate::spread::Spread;
use crate::table::{Column, Row, Table};

const DEVICES: usize = 100_000;
const LATENCY: Duration = Duration::from_secs(1);

/// When a collect is under way in every cluster.
const UNDER_WAY: Duration = Duration::from_millis(300);

const RELOAD: &[u8] = b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

pub(crate) fn measure(plan: &Plan) -> Vec<Table> {
    let mut tables = vec![starts(plan)];
    if plan.peers.contains(&Peer::Fleetcall) {
        tables.push(reloads(plan));
    }
    tables
}

fn starts(plan: &Plan) -> Table {
    let work = Work::of(DEVICES, LATENCY);
    let columns = vec![
        Column::new("listening_ms", "listens after, ms", 0),
        Column::new("first_ms", "first answer after, ms beyond 1 s", 0),
    ];
    // Milliseconds until it listens, and until the first answer beyond the lookup.
    type Starts = Result<Vec<(f64, f64)>, Failure>;
    let peers = plan.peers(|it| it.is_modern() || it == Peer::Fleetcall);
    let mut all: Vec<(Peer, Starts)> = peers.into_iter().map(|it| (it, Ok(Vec::new()))).collect();
    for round in 0..plan.rounds(5, 1) {
        for (peer, starts) in &mut all {
            let Ok(times) = starts else { continue };
            eprintln!("start: round {}, {}", round + 1, peer.name());
            match start(plan, *peer, work) {
                Ok(time) => times.push(time),
                Err(failure) => *starts = Err(failure),
            }
        }
    }
    let row = |(peer, starts): &(Peer, Starts)| match starts {
        Err(failure) => Row::without(peer.title(), &failure.0, columns.len()),
        Ok(times) => Row {
            name: peer.title().to_owned(),
            cells: vec![
                Spread::of(times.iter().map(|it| it.0)).into(),
                Spread::of(times.iter().map(|it| it.1)).into(),
            ],
        },
    };
    Table {
        name: "start".to_owned(),
        title: "From nothing to the first answer, 100,000 devices of 1 s".to_owned(),
        text: "From when its process is begun. fleetcall reads its configuration and starts a supervised \
               actor for each device before it listens; the peers know no devices until they are asked."
            .to_owned(),
        rows: all.iter().map(row).collect(),
        columns,
        goals: Vec::new(),
        plots: Vec::new(),
    }
}

fn start(plan: &Plan, peer: Peer, work: Work) -> Result<(f64, f64), Failure> {
    let server = Server::start(plan, peer, work)?;
    let asked = load::ask(&server, work)?;
    let first = asked.end - server.begun;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok((ms(server.listening), ms(first) - ms(LATENCY)))
}

/// In milliseconds: reloads; collects beyond the lookup; and collects with a reload under way.
#[derive(Default)]
struct Reloads {
    took: Vec<f64>,
    calm: Vec<f64>,
    disturbed: Vec<f64>,
}

fn reloads(plan: &Plan) -> Table {
    let mut reloads = Reloads::default();
    let failure = reload(plan, &mut reloads).err();
    let Reloads {
        took,
        calm,
        disturbed,
    } = reloads;
    let name = Peer::Fleetcall.title();
    let mut rows = vec![Row {
        name: name.to_owned(),
        cells: vec![
            Spread::of(took).into(),
            Spread::of(calm).into(),
            Spread::of(disturbed).into(),
        ],
    }];
    if let Some(failure) = failure {
        rows.push(Row::without(name, &failure.0, 3));
    }
    Table {
        name: "reload".to_owned(),
        title: "A reload of one changed device, 100,000 devices of 1 s".to_owned(),
        text: "`POST /v1/reload`, until it answers, with nothing else to do. Beside that, a collect alone, \
               and one in which a reload falls after 0.3 s."
            .to_owned(),
        columns: vec![
            Column::new("reload_ms", "reloaded after, ms", 0),
            Column::new("calm_ms", "a collect, ms beyond 1 s", 0),
            Column::new("disturbed_ms", "one with a reload in it, ms beyond 1 s", 0),
        ],
        rows,
        goals: Vec::new(),
        plots: Vec::new(),
    }
}

fn reload(plan: &Plan, reloads: &mut Reloads) -> Result<(), Failure> {
    let work = Work::of(DEVICES, LATENCY);
    let config = work.config(server::UNLIMITED);
    // The last node of the first cluster may take a second longer.
    let nodes = format!("nodes = \"1-{}\"\n", work.nodes);
    let (last, before) = (work.nodes, work.nodes - 1);
    let changed = format!(
        "nodes = [\"1-{before}\", {{ ids = \"{last}\", lookup = {{ timeout = \"11s\" }} }}]\n"
    );
    let changed = config.replacen(&nodes, &changed, 1);
    let server = Server::fleetcall(plan, &config)?;
    load::ask(&server, work)?;
    for round in 0..plan.rounds(5, 1) {
        eprintln!("start: reload {}", round + 1);
        write(plan, &changed);
        reloads.took.push(alone(&server)?);
        reloads.calm.push(under_way(&server, work, false)?);
        write(plan, &config);
        reloads.disturbed.push(under_way(&server, work, true)?);
    }
    Ok(())
}

fn write(plan: &Plan, config: &str) {
    std::fs::write(server::config_file(plan), config).unwrap();
}

/// Milliseconds.
fn alone(server: &Server) -> Result<f64, Failure> {
    runtime().block_on(async {
        let start = Instant::now();
        post(server.port).await?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    })
}

async fn post(port: u16) -> Result<(), Failure> {
    let mut body = Vec::new();
    let mut client = Client::connect(port).await.map_err(no_answer)?;
    client.get(RELOAD, &mut body).await.map_err(no_answer)?;
    let difference: Value = serde_json::from_slice(&body).unwrap_or_default();
    if difference["devices_changed"] == 1 && difference["devices_kept"] == DEVICES - 1 {
        Ok(())
    } else {
        Err(Failure(format!("wrong reload: {difference}")))
    }
}

/// Milliseconds beyond the lookup.
fn under_way(server: &Server, work: Work, with_reload: bool) -> Result<f64, Failure> {
    let mut body = Vec::new();
    let took = runtime().block_on(async {
        let mut client = Client::connect(server.port).await.map_err(no_answer)?;
        let start = Instant::now();
        let ask = async {
            let head = timeout(PATIENCE, client.get(TEST, &mut body)).await;
            head.map_err(std::io::Error::from)
                .flatten()
                .map_err(no_answer)?;
            Ok(start.elapsed())
        };
        let reload = async {
            if with_reload {
                sleep(UNDER_WAY).await;
                post(server.port).await?;
            }
            Ok(())
        };
        let (took, ()) = futures::try_join!(ask, reload)?;
        Ok(took)
    })?;
    work.check(&body)?;
    Ok((took.as_secs_f64() - LATENCY.as_secs_f64()) * 1e3)
}
