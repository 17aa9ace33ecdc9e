//! Many clients, all on one thread.

use std::io::{ErrorKind, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use procfs::process::Process;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::answer::{Failure, Work};
use crate::client::{Client, Head, TEST};
use crate::server::Server;

/// How long anybody may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How much longer than they ask clients wait for their last answers under load, where everybody who
/// answers does so within milliseconds.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// Connections that are opened at once, and how long until the next ones are.
const OPENING: usize = 50;
const ACCEPTING: Duration = Duration::from_millis(5);

/// One answer to `GET /test`.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) took: Duration,
    pub(crate) end: Instant,
    pub(crate) first_byte: Duration,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// Clients that ask one request after the other.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) per_second: f64,
    /// In milliseconds.
    pub(crate) latencies: Vec<f64>,
    /// Processor time of the server, and of this program, for a request, in microseconds.
    pub(crate) server_cpu: f64,
    pub(crate) client_cpu: f64,
}

/// Clients that ask at once.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    /// When the last right answer was there.
    pub(crate) last: Duration,
    pub(crate) right: usize,
    /// Answers that ask to come again: 503 with `Retry-After`.
    pub(crate) refused: usize,
    pub(crate) last_refusal: Duration,
    /// No answer, or a wrong one.
    pub(crate) lost: usize,
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Asks once, and checks the answer.
pub(crate) fn ask(server: &Server, work: Work) -> std::result::Result<Asked, Failure> {
    let asked = ask_unchecked(server)?;
    work.check(&asked.body)?;
    Ok(asked)
}

/// Asks once: the answer may be wrong.
pub(crate) fn ask_unchecked(server: &Server) -> std::result::Result<Asked, Failure> {
    let mut body = Vec::new();
    let (asked, start, end) = runtime().block_on(async {
        let mut client = match Client::connect(server.port).await {
            Ok(client) => client,
            Err(error) => return (Err(error), Instant::now(), Instant::now()),
        };
        let start = Instant::now();
        let asked = timeout(PATIENCE, client.get(TEST, &mut body)).await;
        let end = Instant::now();
        (asked.unwrap_or_else(|late| Err(late.into())), start, end)
    });
    let head = asked.map_err(no_answer)?;
    if head.status != 200 {
        return Err(Failure(format!("status {}", head.status)));
    }
    Ok(Asked {
        took: end - start,
        end,
        first_byte: head.first - start,
        head,
        body,
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "so that it can be named where errors are mapped"
)]
pub(crate) fn no_answer(error: std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::TimedOut => Failure(format!("no answer in {} s", PATIENCE.as_secs())),
        // What this program found.
        ErrorKind::Other => Failure(error.to_string()),
        _ => Failure(format!("no answer: {error}")),
    }
}

/// Some peers have room for 128 connections that wait to be accepted. One for which there is none is
/// tried again by the system after a second, so they are given time.
async fn open(port: u16, clients: usize) -> Result<Vec<Client>> {
    let mut open = Vec::with_capacity(clients);
    while open.len() < clients {
        let batch = OPENING.min(clients - open.len());
        open.extend(try_join_all((0..batch).map(|_| Client::connect(port))).await?);
        if batch == OPENING {
            sleep(ACCEPTING).await;
        }
    }
    Ok(open)
}

/// So many clients ask `GET /test` for that long; each answer must be `body`, if that is known.
pub(crate) fn keep_asking(
    server: &Server,
    clients: usize,
    duration: Duration,
    body: Option<&Vec<u8>>,
) -> std::result::Result<Load, Failure> {
    let body: Option<Arc<[u8]>> = body.map(|it| it.as_slice().into());
    let this = Process::myself().unwrap();
    let ours = || this.schedstat().unwrap().sum_exec_runtime as f64 / 1e3;
    let load = async {
        let clients = open(server.port, clients).await?;
        let (server_before, ours_before) = (server.cpu(), ours());
        let start = Instant::now();
        let until = start + duration;
        let mut asking = JoinSet::new();
        for client in clients {
            asking.spawn(ask_until(client, until, body.clone()));
        }
        let mut latencies = Vec::new();
        while let Some(joined) = asking.join_next().await {
            latencies.append(&mut joined.map_err(std::io::Error::other)??);
        }
        let requests = latencies.len() as f64;
        Ok(Load {
            per_second: requests / start.elapsed().as_secs_f64(),
            latencies,
            server_cpu: (server.cpu() - server_before) * 1e6 / requests,
            client_cpu: (ours() - ours_before) / requests,
        })
    };
    let load = runtime().block_on(async { timeout(duration + LAST_ANSWERS, load).await });
    load.map_err(|_| Failure("hangs".to_owned()))?
        .map_err(no_answer)
}

async fn ask_until(
    mut client: Client,
    until: Instant,
    right: Option<Arc<[u8]>>,
) -> Result<Vec<f64>> {
    let mut latencies = Vec::new();
    let mut body = Vec::new();
    loop {
        let start = Instant::now();
        if start >= until {
            return Ok(latencies);
        }
        let head = client.get(TEST, &mut body).await?;
        if head.status != 200 || right.as_ref().is_some_and(|right| *body != **right) {
            return Err(std::io::Error::other("wrong answer: not always the same"));
        }
        latencies.push(start.elapsed().as_secs_f64() * 1e3);
    }
}

/// So many clients connect, then all ask at once; each answer must be `body`, or ask to come again.
pub(crate) fn crowd(
    server: &Server,
    clients: usize,
    body: &[u8],
) -> std::result::Result<Crowd, Failure> {
    let body: Arc<[u8]> = body.into();
    let crowd = async {
        let clients = open(server.port, clients).await.map_err(no_answer)?;
        let start = Instant::now();
        let mut asking = JoinSet::new();
        for mut client in clients {
            let right = Arc::clone(&body);
            asking.spawn(async move {
                let mut body = Vec::with_capacity(right.len());
                let head = timeout(PATIENCE, client.get(TEST, &mut body)).await;
                let end = start.elapsed();
                let Ok(Ok(head)) = head else {
                    return (end, None);
                };
                let right = head.status == 200 && *body == *right;
                let refused = head.status == 503 && head.retry_after;
                (end, (right || refused).then_some(right))
            });
        }
        let mut crowd = Crowd::default();
        while let Some(joined) = asking.join_next().await {
            match joined.unwrap() {
                (end, Some(true)) => {
                    crowd.right += 1;
                    crowd.last = crowd.last.max(end);
                }
                (end, Some(false)) => {
                    crowd.refused += 1;
                    crowd.last_refusal = crowd.last_refusal.max(end);
                }
                (_, None) => crowd.lost += 1,
            }
        }
        Ok(crowd)
    };
    runtime().block_on(crowd)
}
