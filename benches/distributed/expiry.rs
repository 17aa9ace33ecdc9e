//! How soon it is known that a lease ran out, by the two means that servers have for it: an age of
//! all entries of a bucket, which fleetcall takes, and a time to live of each key, with markers
//! (NATS ADR-43, ADR-48; servers from 2.11 on).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL};
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap, HeaderValue};
use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::nats::Nats;
use crate::spread;

const LEASE: Duration = Duration::from_secs(2);

/// How long after the end of a lease something is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
enum Means {
    /// All entries of the bucket have the same age.
    Age,
    /// Each key has its own time to live, and the server says that it is over.
    Markers,
}

pub fn measure(is_quick: bool) {
    println!("### Expiry\n");
    println!(
        "Leases of 2 s, each renewed once, then left alone. Since it was renewed: until another worker gets it that tries every 10 ms; until a watcher of the bucket hears that it is over.\n"
    );
    println!("| means | leases | free after s, median | worst | heard after s, median | worst |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let leases = if is_quick { 2 } else { 20 };
    for (name, means) in [
        ("age of entries (`max_age`)", Means::Age),
        ("time to live of keys, and markers", Means::Markers),
    ] {
        let row = runtime.block_on(row(means, leases));
        println!("| {name} | {leases} | {} | {} |", row.free, row.heard);
    }
    println!();
}

struct Row {
    free: String,
    heard: String,
}

async fn row(means: Means, leases: usize) -> Row {
    let nats = Nats::start();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let jetstream = jetstream::new(client.clone());
    let free = {
        let store = bucket(&client, &jetstream, means, "free").await;
        let tried = (0..leases).map(|at| time_until_free(&jetstream, &store, means, at));
        join_all(tried).await
    };
    let store = bucket(&client, &jetstream, means, "heard").await;
    Row {
        free: shown(free),
        heard: shown(times_until_heard(&jetstream, &store, means, leases).await),
    }
}

fn shown(times: Vec<Option<Duration>>) -> String {
    let seconds: Option<Vec<f64>> = times
        .into_iter()
        .map(|it| it.map(|it| it.as_secs_f64()))
        .collect();
    seconds.map_or_else(
        || "never | never".to_owned(),
        |mut seconds| {
            let (median, worst) = spread(&mut seconds);
            format!("{median:.2} | {worst:.2}")
        },
    )
}

/// Made by hand, since the client's own settings have markers only if all of fleetcall is built for
/// them.
async fn bucket(client: &Client, jetstream: &Context, means: Means, name: &str) -> Store {
    let mut stream = json!({
        "name": format!("KV_{name}"),
        "subjects": [format!("$KV.{name}.>")],
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "num_replicas": 1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_consumers": -1,
        "max_msgs_per_subject": 1,
        "deny_delete": true,
        "allow_rollup_hdrs": true,
        "allow_direct": true,
        "duplicate_window": 1_000_000_000,
    });
    match means {
        Means::Age => stream["max_age"] = json!(u64::try_from(LEASE.as_nanos()).unwrap()),
        Means::Markers => {
            stream["allow_msg_ttl"] = json!(true);
            stream["subject_delete_marker_ttl"] = json!(1_000_000_000);
        }
    }
    let said = client
        .request(
            format!("$JS.API.STREAM.CREATE.KV_{name}"),
            stream.to_string().into(),
        )
        .await
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&said.payload).unwrap();
    assert!(said.get("error").is_none(), "{said}");
    jetstream.get_key_value(name).await.unwrap()
}

/// As an owner does it; when it was written for the last time, by a clock that began before.
async fn lease(jetstream: &Context, store: &Store, means: Means, at: usize) -> Instant {
    // Not all at the same moment.
    sleep(Duration::from_millis(137) * u32::try_from(at).unwrap()).await;
    let mut revision = 0;
    let mut written = Instant::now();
    for _ in 0..2 {
        let mut headers = HeaderMap::new();
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            HeaderValue::from(revision),
        );
        if matches!(means, Means::Markers) {
            headers.insert(NATS_MESSAGE_TTL, HeaderValue::from(LEASE.as_secs()));
        }
        let subject = format!("$KV.{}.{at}", store.name);
        written = Instant::now();
        let publish = jetstream.publish_with_headers(subject, headers, "own".into());
        revision = publish.await.unwrap().await.unwrap().sequence;
        sleep(Duration::from_millis(500)).await;
    }
    written
}

async fn time_until_free(
    jetstream: &Context,
    store: &Store,
    means: Means,
    at: usize,
) -> Option<Duration> {
    let written = lease(jetstream, store, means, at).await;
    sleep((LEASE * 3 / 4).saturating_sub(written.elapsed())).await;
    while written.elapsed() < LEASE + PATIENCE {
        if store.create(at.to_string(), "other".into()).await.is_ok() {
            return Some(written.elapsed());
        }
        sleep(Duration::from_millis(10)).await;
    }
    None
}

async fn times_until_heard(
    jetstream: &Context,
    store: &Store,
    means: Means,
    leases: usize,
) -> Vec<Option<Duration>> {
    let mut entries = store.watch(">").await.unwrap();
    let listening = async {
        let mut heard = HashMap::new();
        while heard.len() < leases {
            // Longer than any two of them are apart.
            let Ok(Some(Ok(entry))) = timeout(LEASE + PATIENCE, entries.next()).await else {
                break;
            };
            if entry.operation != jetstream::kv::Operation::Put {
                heard.insert(entry.key, Instant::now());
            }
        }
        heard
    };
    let leased = join_all((0..leases).map(|at| lease(jetstream, store, means, at)));
    let (heard, written) = futures::join!(listening, leased);
    let each = written.into_iter().enumerate();
    each.map(|(at, written)| Some(heard.get(&at.to_string())?.duration_since(written)))
        .collect()
}
