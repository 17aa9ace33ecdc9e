//! The hot paths, each to be run so many times, on one thread and with a clock that only moves when
//! nothing else can be done.
//!
//! What a path needs is started with it and ends with it; the harness takes that off again. It does
//! not know how instructions are counted.

use std::hint::black_box;
use std::path::Path as File;
use std::time::Duration;

use actix_web::body::to_bytes;
use actix_web::rt::System;
use actix_web::test::TestRequest;
use fleetcall::app::Engine;
use fleetcall::config::{Config, Source};
use fleetcall::engine::collector::CollectorHandle;
use fleetcall::server::view::report;
use futures::future::join_all;

/// One hot path.
#[derive(Debug)]
pub(crate) struct Path {
    /// As it is named in the baseline and on the command line.
    pub name: &'static str,
    /// What the instructions are counted for.
    pub per: &'static str,
    /// How many of those there are in a round.
    pub in_a_round: u64,
    /// How many rounds are counted; as many before them are not.
    pub rounds: u64,
    /// Runs that many rounds.
    pub run: fn(u64),
}

/// What must not cost more at one size than at another, as it would if the cost grew with the
/// square of the size.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The path at the larger size.
    pub large: &'static str,
    /// The same at the smaller size.
    pub small: &'static str,
    /// What its return would mean.
    pub against: &'static str,
}

/// All paths, cheap ones first.
pub(crate) const PATHS: [Path; 12] = [
    Path {
        name: "json-32",
        per: "answer",
        in_a_round: 1,
        rounds: 50,
        run: |rounds| json(FOUR_BY_EIGHT, rounds),
    },
    Path {
        name: "json-10000",
        per: "device",
        in_a_round: 10_000,
        rounds: 2,
        run: |rounds| json(TEN_THOUSAND, rounds),
    },
    Path {
        name: "collect-32",
        per: "collect",
        in_a_round: 1,
        rounds: 50,
        run: |rounds| collects(FOUR_BY_EIGHT, rounds),
    },
    Path {
        name: "collect-1000",
        per: "device",
        in_a_round: 1_000,
        rounds: 5,
        run: |rounds| collects(THOUSAND, rounds),
    },
    Path {
        name: "collect-10000",
        per: "device",
        in_a_round: 10_000,
        rounds: 1,
        run: |rounds| collects(TEN_THOUSAND, rounds),
    },
    Path {
        name: "waiting-100",
        per: "collect",
        in_a_round: 100,
        rounds: 5,
        run: |rounds| waiting(100, rounds),
    },
    Path {
        name: "waiting-1000",
        per: "collect",
        in_a_round: 1_000,
        rounds: 1,
        run: |rounds| waiting(1_000, rounds),
    },
    Path {
        name: "get-test-32",
        per: "request",
        in_a_round: 1,
        rounds: 50,
        run: |rounds| requests(FOUR_BY_EIGHT, 1, rounds),
    },
    Path {
        name: "get-test-joined",
        per: "request",
        in_a_round: 16,
        // No more than one client may ask at a time.
        rounds: 2,
        run: |rounds| requests(&format!("collect.join = true\n{FOUR_BY_EIGHT}"), 16, rounds),
    },
    Path {
        name: "start-1000",
        per: "device",
        in_a_round: 1_000,
        rounds: 3,
        run: starts,
    },
    Path {
        name: "restart",
        per: "crash",
        in_a_round: 1,
        rounds: 30,
        run: restarts,
    },
    Path {
        name: "reload-1000",
        per: "reload",
        in_a_round: 1,
        rounds: 3,
        run: reloads,
    },
];

/// What guards against the known cliffs.
pub(crate) const GUARDS: [Guard; 2] = [
    Guard {
        large: "collect-10000",
        small: "collect-1000",
        against: "gathering is quadratic in the devices",
    },
    Guard {
        large: "waiting-1000",
        small: "waiting-100",
        against: "an actor's context is quadratic in the collects that wait",
    },
];

/// The default fleet, at zero latency.
const FOUR_BY_EIGHT: &str = r#"
lookup = { latency = "0s" }
clusters = [
  { id = 1, nodes = "1-4", switches = "1-4" },
  { id = 2, nodes = "1-4", switches = "1-4" },
  { id = 3, nodes = "1-4", switches = "1-4" },
  { id = 4, nodes = "1-4", switches = "1-4" },
]
"#;

const THOUSAND: &str = r#"
lookup = { latency = "0s" }
clusters = [{ id = 1, nodes = "1-500", switches = "1-500" }]
"#;

const TEN_THOUSAND: &str = r#"
lookup = { latency = "0s" }
clusters = [{ id = 1, nodes = "1-5000", switches = "1-5000" }]
"#;

/// Its devices wake the actors that wait for them one after the other.
const ONE_AFTER_THE_OTHER: &str = r#"
collect = { max_waiting = 1000 }
[[clusters]]
id = 1
nodes = [
  { ids = "1", lookup = { latency = "100ms" } },
  { ids = "2", lookup = { latency = "200ms" } },
  { ids = "3", lookup = { latency = "300ms" } },
  { ids = "4", lookup = { latency = "400ms" } },
]
"#;

const CRASHING: &str = r#"
lookup = { latency = "0s", script = ["panic"], breaker = { failures = 0 } }
supervision = { intensity = 1000, period = "1s", backoff = { min = "1ms", max = "2ms" } }
clusters = [{ id = 1, nodes = "1" }]
"#;

/// Longer than [`CRASHING`]'s longest backoff.
const RESTARTED: Duration = Duration::from_millis(10);

fn json(config: &str, rounds: u64) {
    alone(async {
        let engine = start(config);
        let answer = engine.collector().collect().await.unwrap();
        let summary = answer.summary();
        for _ in 0..rounds {
            black_box(report(answer.clone(), &summary).into_json(false));
        }
    });
}

fn collects(config: &str, rounds: u64) {
    alone(async {
        let engine = start(config);
        for _ in 0..rounds {
            well(&engine.collector()).await;
        }
    });
}

/// So many collects wait at once, each in a task of its own, as a server's do.
fn waiting(collects: usize, rounds: u64) {
    alone(async {
        let engine = start(ONE_AFTER_THE_OTHER);
        for _ in 0..rounds {
            let ask = |_| {
                let collector = engine.collector();
                actix_web::rt::spawn(async move { well(&collector).await })
            };
            let asked: Vec<_> = (0..collects).map(ask).collect();
            for answer in asked {
                answer.await.unwrap();
            }
        }
    });
}

/// So many requests at once.
fn requests(config: &str, at_once: usize, rounds: u64) {
    alone(async {
        let engine = start(config);
        let serverless = engine.serverless(&parse(config)).await.unwrap();
        for _ in 0..rounds {
            let ask = |_| async {
                let request = TestRequest::get().uri("/test").to_request();
                let answer = serverless(request).await;
                assert_eq!(answer.status(), 200);
                let body = to_bytes(answer.into_body()).await.unwrap();
                assert!(body.starts_with(b"{\"error_code\":0,"));
            };
            join_all((0..at_once).map(ask)).await;
        }
        let joined = engine.metrics().collects_joined();
        assert_eq!(joined, rounds * (at_once as u64 - 1));
    });
}

/// A fleet from nothing to all actors up, and its end.
fn starts(rounds: u64) {
    alone(async {
        let config = parse(THOUSAND);
        for _ in 0..rounds {
            let engine = Engine::start(config.clone(), Source::new(None), 0, None);
            settle().await;
            assert_eq!(engine.metrics().census().actors, 1_002);
            drop(engine);
            settle().await;
        }
    });
}

/// A collect of the device, its crash, the verdict, and the restart.
fn restarts(rounds: u64) {
    alone(async {
        let engine = start(CRASHING);
        for _ in 0..rounds {
            black_box(engine.collector().collect().await.unwrap());
            tokio::time::sleep(RESTARTED).await;
        }
        let metrics = engine.metrics();
        assert_eq!((metrics.crashes(), metrics.restarts()), (rounds, rounds));
    });
}

/// The configuration read, compared and applied, with another latency of the last device.
fn reloads(rounds: u64) {
    alone(async {
        let other = |latency: u64| {
            format!(
                "lookup = {{ latency = \"0s\" }}\n\
                 [[clusters]]\nid = 1\nswitches = \"1-500\"\n\
                 nodes = [\"1-499\", {{ ids = \"500\", lookup = {{ latency = \"{latency}ms\" }} }}]\n"
            )
        };
        let engine = start(&other(1));
        for round in 0..rounds {
            let difference = engine.apply(parse(&other(2 + round % 2)));
            assert_eq!(
                (difference.devices_changed, difference.devices_kept),
                (1, 999)
            );
            settle().await;
        }
        well(&engine.collector()).await;
    });
}

/// Every actor runs on this thread.
fn start(config: &str) -> Engine {
    Engine::start(parse(config), Source::new(None), 0, None)
}

fn parse(config: &str) -> Config {
    Config::parse(File::new("instructions"), config).unwrap()
}

/// Runs it on an arbiter whose clock only moves when there is nothing else to do.
fn alone(work: impl Future<Output = ()>) {
    System::new().block_on(async {
        tokio::time::pause();
        work.await;
    });
}

/// Lets all others do what they can do now: the clock of [`alone`] moves when they have.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn well(collector: &CollectorHandle) {
    let answer = collector.collect().await.unwrap();
    assert!(answer.faults().next().is_none());
    black_box(answer);
}
