//! A report that comes in lines while devices answer, each with the time when it came.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::time::timeout;

use crate::answer::Failure;
use crate::client::Client;
use crate::load::{PATIENCE, no_answer, runtime};
use crate::server::Server;

const REQUEST: &[u8] =
    b"GET /v1/report HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n";

/// What one device came to.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    cluster_id: usize,
    node_id: Option<usize>,
    switch_id: Option<usize>,
    pub(crate) outcome: String,
}

impl Line {
    /// Cluster, whether it is a node, and its id there.
    pub(crate) fn device(&self) -> (usize, bool, usize) {
        let id = self.node_id.or(self.switch_id).unwrap();
        (self.cluster_id, self.node_id.is_some(), id)
    }
}

#[derive(Debug, Deserialize)]
struct Last {
    summary: Summary,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Summary {
    pub(crate) asked: usize,
    pub(crate) failed: usize,
}

#[derive(Debug)]
pub(crate) struct Streamed {
    /// The first byte of the first device.
    pub(crate) first: Duration,
    /// The summary, at the end.
    pub(crate) last: Duration,
    /// Each device as it came, and when.
    pub(crate) devices: Vec<(Duration, Line)>,
    pub(crate) summary: Summary,
}

/// Asks all devices.
pub(crate) fn report(server: &Server) -> Result<Streamed, Failure> {
    let mut body: Vec<u8> = Vec::new();
    // Until when, and up to where.
    let mut pieces: Vec<(Instant, usize)> = Vec::new();
    let (head, start) = runtime()
        .block_on(async {
            let mut client = Client::connect(server.port).await?;
            let start = Instant::now();
            let exchange = client.exchange(REQUEST, |at, piece| {
                body.extend_from_slice(piece);
                pieces.push((at, body.len()));
            });
            let head = timeout(PATIENCE, exchange).await??;
            Ok((head, start))
        })
        .map_err(no_answer)?;
    if head.status != 200 {
        return Err(Failure(format!("status {}", head.status)));
    }
    let wrong = |_| Failure("wrong answer: not the lines that it should be".to_owned());
    let mut lines = lines(&body, &pieces, start);
    let (last, summary) = lines.pop().ok_or(Failure("an empty stream".to_owned()))?;
    let summary = serde_json::from_slice::<Last>(summary)
        .map_err(wrong)?
        .summary;
    let devices = lines
        .into_iter()
        .map(|(came, line)| Ok((came, serde_json::from_slice(line)?)))
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    Ok(Streamed {
        first: pieces[0].0 - start,
        last,
        devices,
        summary,
    })
}

/// Each line that says something, with the time when its end came.
fn lines<'a>(
    body: &'a [u8],
    pieces: &[(Instant, usize)],
    start: Instant,
) -> Vec<(Duration, &'a [u8])> {
    let (mut end, mut piece) = (0, 0);
    let mut lines = Vec::new();
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        end += line.len();
        while pieces[piece].1 < end {
            piece += 1;
        }
        // An empty one says only that the stream lives.
        if line != b"\n" {
            lines.push((pieces[piece].0 - start, line));
        }
    }
    lines
}
