//! How long it takes until all is well again, and what callers see of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::nats::Nats;
use crate::party::{Fleet, Party, agent};
use crate::spread;

/// How long all has to be well before it counts.
const WELL: Duration = Duration::from_secs(1);

/// From one request to the next one: 20 a second, whatever becomes of those before.
const PACE: Duration = Duration::from_millis(50);

/// So many that none is still waiting for its answer when it is its turn again.
const CLIENTS: u32 = 16;

/// How long a worker is stopped without an end, in milliseconds: by a machine that is moved, or swaps.
const PAUSES: [u64; 4] = [500, 750, 1_000, 1_500];

/// As installed.
const INSTALLED: &str = "2s";

/// An answer: when it was there, and how it was.
#[derive(Clone, Copy, PartialEq)]
enum Was {
    Whole,
    Degraded,
    Lost,
}

struct Scene {
    nats: Nats,
    config: String,
    fleet: Fleet,
    front: Party,
    lease: &'static str,
    workers: Vec<(usize, Party)>,
    /// One that was stopped without an end, killed before the next round.
    hanging: Option<Party>,
}

pub fn measure(is_quick: bool) {
    println!("### Failover\n");
    println!(
        "Three workers, 24 clusters of 8 nodes, lookups of 0 ms, 20 requests a second to a front. Until all is well: from the event to"
    );
    println!(
        "the last answer with a device that is `unreachable`. Lost: no answer, or not every device in it.\n"
    );
    println!(
        "| event | lease | rounds | well after s, median | worst | answers | degraded | lost |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for lease in [INSTALLED, "5s"] {
        let (kills, rounds) = if is_quick { (1, 1) } else { (20, 10) };
        let mut scene = Scene::new(lease);
        scene.row("kill -9 of a worker", kills, |scene| {
            scene.lose(Signal::KILL)
        });
        scene.row("a worker hangs", kills, |scene| scene.hang());
        scene.row("a worker is stopped", rounds, |scene| {
            scene.lose(Signal::TERM)
        });
        scene.row("a worker joins", rounds, |scene| scene.join());
        scene.row("kill -9 of NATS, started at once", rounds, |scene| {
            scene.nats.kill();
            scene.nats.restart();
        });
        for pause in PAUSES {
            let event = format!("a worker pauses for {pause} ms");
            scene.row(&event, rounds, |scene| {
                let (_, worker) = &scene.workers[0];
                worker.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(pause));
                worker.signal(Signal::CONT);
            });
        }
    }
    println!();
}

impl Scene {
    fn new(lease: &'static str) -> Self {
        let fleet = Fleet {
            clusters: 24,
            nodes: 8,
        };
        let (config, nats) = (fleet.config(), Nats::start());
        let front = Party::front(&nats, &config, &[]);
        let mut scene = Self {
            nats,
            config,
            fleet,
            front,
            lease,
            workers: Vec::new(),
            hanging: None,
        };
        (0..3).for_each(|_| scene.join());
        scene.front.until_well(&agent());
        scene
    }

    fn join(&mut self) {
        let next = self
            .workers
            .iter()
            .map(|(number, _)| number + 1)
            .max()
            .unwrap_or_default();
        let name = format!("w{next}");
        // What is measured is what users have who say nothing.
        let lease = ["--lease", self.lease];
        let more = if self.lease == INSTALLED {
            &[]
        } else {
            &lease[..]
        };
        let worker = Party::worker(&self.nats, &self.config, &name, more);
        worker.logged(1, "cluster taken");
        self.workers.push((next, worker));
    }

    fn lose(&mut self, signal: Signal) {
        let (_, worker) = self.workers.remove(0);
        worker.signal(signal);
        worker.ended();
    }

    /// As on a host that is frozen: its connections stay, and it says nothing.
    fn hang(&mut self) {
        let (_, worker) = self.workers.remove(0);
        worker.signal(Signal::STOP);
        self.hanging = Some(worker);
    }

    /// So that each round begins alike: three workers, and all well.
    fn tidy(&mut self) {
        self.hanging = None;
        while self.workers.len() < 3 {
            self.join();
        }
        while self.workers.len() > 3 {
            self.lose(Signal::TERM);
        }
        self.front.until_well(&agent());
        std::thread::sleep(WELL);
        self.front.until_well(&agent());
    }

    fn row(&mut self, event: &str, rounds: usize, happen: impl Fn(&mut Self)) {
        let mut until_well = Vec::new();
        let mut counts = [0; 3];
        for _ in 0..rounds {
            self.tidy();
            let (seen, began) = self.under_load(&happen);
            let bad = seen
                .iter()
                .filter(|(_, was)| *was != Was::Whole)
                .map(|(at, _)| *at)
                .max();
            until_well
                .push(bad.map_or(0.0, |at| at.saturating_duration_since(began).as_secs_f64()));
            for (_, was) in &seen {
                counts[*was as usize] += 1;
            }
        }
        let (median, worst) = spread(&mut until_well);
        let [whole, degraded, lost] = counts;
        let (lease, all) = (self.lease, whole + degraded + lost);
        println!(
            "| {event} | {lease} | {rounds} | {median:.2} | {worst:.2} | {all} | {degraded} | {lost} |"
        );
    }

    fn under_load(&mut self, happen: impl Fn(&mut Self)) -> (Vec<(Instant, Was)>, Instant) {
        let over = AtomicBool::new(false);
        let (addr, devices) = (self.front.addr, self.fleet.devices());
        std::thread::scope(|scope| {
            let start = Instant::now();
            let asking: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let over = &over;
                    scope.spawn(move || {
                        let (agent, mut seen) = (agent(), Vec::new());
                        for turn in 0.. {
                            let at = start + PACE * (client + turn * CLIENTS);
                            std::thread::sleep(at.saturating_duration_since(Instant::now()));
                            if over.load(Ordering::Relaxed) {
                                break;
                            }
                            let was = ask(&agent, addr, devices);
                            seen.push((Instant::now(), was));
                        }
                        seen
                    })
                })
                .collect();
            let began = Instant::now();
            happen(self);
            let agent = agent();
            let mut well_since = Instant::now();
            while well_since.elapsed() < WELL {
                if self
                    .front
                    .get(&agent, "/test")
                    .is_none_or(|(status, _)| status != 200)
                {
                    well_since = Instant::now();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            // A lease that is over is noticed by its owner first.
            if began.elapsed() < Duration::from_secs(3) {
                std::thread::sleep(Duration::from_secs(1));
            }
            over.store(true, Ordering::Relaxed);
            let seen = asking.into_iter().flat_map(|it| it.join().unwrap());
            (seen.collect(), began)
        })
    }
}

fn ask(agent: &ureq::Agent, addr: SocketAddr, devices: usize) -> Was {
    let answer = agent.get(format!("http://{addr}/test")).call();
    let answer = answer.ok().and_then(|answer| {
        let status = answer.status().as_u16();
        Some((status, answer.into_body().read_to_string().ok()?))
    });
    match answer {
        Some((200 | 202, body)) if body.matches("node_id").count() != devices => Was::Lost,
        Some((200, _)) => Was::Whole,
        Some((202, _)) => Was::Degraded,
        Some(_) | None => Was::Lost,
    }
}
