//! How much is done for a request between two turns, counted on a large fleet: for each path and each
//! parameter, whatever is written there.
//!
//! Counted are the devices that are looked at and what is allocated, as whatever costs something for
//! each device does one or the other. No time is measured.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use actix_http::{HttpService, Request, Response};
use actix_service::{Service as _, ServiceFactory as _, fn_service};
use actix_web::body::{BoxBody, MessageBody as _};
use actix_web::http::Method;
use actix_web::test::TestRequest;
use tokio::io::AsyncWriteExt as _;

use super::state::MAX_LISTS;
use crate::app::Engine;
use crate::config::{Config, Source};
use crate::domain::{Cluster, Holding, Id, Moves, WorkerState, seen};
use crate::server::body::list::with_list;
use crate::server::routes::v1::workers::Owners;

/// Devices of the fleet. What looks at all of them at once is far beyond what may be done in a turn.
const DEVICES: usize = 20_000;

/// Devices that may be looked at in a turn.
const MOST_SEEN: usize = 8_000;

/// Allocations that may be made in a turn.
const MOST_ALLOCATIONS: u64 = 12_000;

/// The most that was done in one turn.
#[derive(Debug, Default)]
struct Most {
    seen: Cell<usize>,
    allocations: Cell<u64>,
}

impl Most {
    /// Does what is done in one turn.
    fn turn<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = seen::count();
        let mut done = None;
        let info = allocation_counter::measure(|| done = Some(work()));
        self.seen.set(self.seen.get().max(seen::count() - before));
        self.allocations
            .set(self.allocations.get().max(info.count_total));
        done.unwrap()
    }

    async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| self.turn(|| work.as_mut().poll(context))).await
    }

    /// Takes a body as a connection does that always has room.
    async fn of_body(&self, body: BoxBody) -> Vec<u8> {
        let (mut body, mut taken) = (pin!(body), Vec::new());
        poll_fn(|context| {
            self.turn(|| {
                loop {
                    match body.as_mut().poll_next(context) {
                        Poll::Ready(Some(piece)) => taken.extend_from_slice(&piece.unwrap()),
                        Poll::Ready(None) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
        })
        .await;
        taken
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let (seen, allocations) = (self.seen.get(), self.allocations.get());
        assert!(
            seen <= MOST_SEEN && allocations <= MOST_ALLOCATIONS,
            "{what}: {seen} devices and {allocations} allocations in one turn"
        );
    }
}

fn fleet(text: &str) -> (Engine, Config) {
    let text = format!(
        "[lookup]\nlatency = \"0ms\"\n[collect]\ndeadline = \"5m\"\nmax_waiting = 64\n{text}"
    );
    let config = Config::parse(Path::new("cost"), &text).unwrap();
    let engine = Engine::start(config.clone(), Source::new(None), 1, None);
    (engine, config)
}

fn one_cluster() -> String {
    format!("[[clusters]]\nid = 1\nnodes = \"n[1-{DEVICES}]\"\n")
}

/// As many clusters as devices.
fn many_clusters() -> String {
    let cluster = |it: usize| format!("[[clusters]]\nid = \"n{it}\"\nnodes = \"n1\"\n");
    (1..=DEVICES).map(cluster).collect()
}

fn request(method: &Method, path: &str, accept: &str) -> Request {
    let request = TestRequest::with_uri(path).method(method.clone());
    request.insert_header(("accept", accept)).to_request()
}

/// Filters that mean much, or nothing, or are much to read.
fn filters() -> Vec<String> {
    let list = |parts: Vec<String>| parts.join(",");
    vec![
        "n7".to_owned(),
        "x7".to_owned(),
        format!("n[1-{DEVICES}]"),
        "n[1-999999]".to_owned(),
        "n[1-20000]!n[5000-99999]".to_owned(),
        "n[1-9]!x[1-9]".to_owned(),
        // What is one id, and looks like many others.
        "n1-n2".to_owned(),
        "n".repeat(60),
        "n7,".repeat(1900) + "n7",
        list((1..300).map(|it| format!("n[{it}-{}]", it + 999)).collect()),
        list((10..20).map(|it| format!("n[1-9][0-{it}]")).collect()),
        list((2..20).map(|it| format!("n[1-{DEVICES}/{it}]")).collect()),
        list((1..900).map(|it| format!("n{it}")).collect()),
    ]
}

async fn ask(
    serverless: &impl AsyncFn(Request) -> Response<BoxBody>,
    method: &Method,
    path: &str,
    accept: &str,
) -> (u16, Vec<u8>) {
    let most = Most::default();
    let response = most.of(serverless(request(method, path, accept))).await;
    let status = response.status().as_u16();
    let body = most.of_body(response.into_body()).await;
    most.check(&format!("{method} {path:.80} {accept}"));
    (status, body)
}

/// Asks in all ways, and gives how many were answered with a roll call.
async fn ask_all(text: &str, cluster: &str, device: &str) -> usize {
    let (engine, config) = fleet(text);
    let serverless = engine.serverless(&config).await.unwrap();
    let (get, post) = (Method::GET, Method::POST);
    let mut whole = 0;
    let known = format!("/v1/clusters/{cluster}");
    let node = format!("{known}/nodes/{device}");
    for path in ["/test", "/v1/report"] {
        let (status, body) = ask(&serverless, &get, path, "*/*").await;
        assert_eq!(status, 200, "{path}");
        assert!(body.len() > 20 * DEVICES, "{path}");
        whole += 1;
    }
    let forms = ["*/*", "application/x-ndjson", "text/event-stream"];
    for query in [
        "kind=node",
        "kind=switch",
        "outcome=ok",
        "outcome=failed",
        "deadline=4m",
        "max_age=1h",
        "strict=true",
    ] {
        for accept in forms {
            let path = format!("/v1/report?{query}");
            let (status, _) = ask(&serverless, &get, &path, accept).await;
            let expected = if query == "kind=switch" { 404 } else { 200 };
            assert_eq!(status, expected, "{path}");
            whole += usize::from(status == 200);
        }
    }
    for (place, filter) in filters().into_iter().enumerate() {
        for name in ["cluster", "device", "exclude"] {
            let query = format!("{name}={filter}&outcome=failed");
            let query = query.replace('[', "%5B").replace(']', "%5D");
            let path = format!("/v1/report?{query}&max_age=1h");
            let (status, _) = ask(&serverless, &get, &path, "*/*").await;
            assert!(matches!(status, 200 | 404), "{status} {path}");
            whole += usize::from(status == 200);
            if place < 3 {
                let path = format!("/v1/report?{query}");
                let (again, _) = ask(&serverless, &get, &path, forms[1]).await;
                assert_eq!(again, status, "{path}");
            }
        }
    }
    for (method, path, expected) in [
        (&post, "/v1/collect?force=true", 200),
        (&post, &*format!("{known}/collect"), 200),
        (&post, &*format!("{known}/collect?device={device}"), 200),
        (&post, "/v1/clusters/x/collect", 404),
        (&post, &*format!("{node}/collect"), 200),
        (&post, &*format!("{node}x/collect"), 404),
        (&post, &*format!("{node}/reset"), 200),
        (&post, &*format!("{node}x/reset"), 404),
        (&get, "/v1/clusters", 200),
        (&get, &*known, 200),
        (&get, "/v1/clusters/x", 404),
        (&get, &*node, 200),
        (&get, &*format!("{node}x"), 404),
        (&get, &*format!("{known}/switches/{device}"), 404),
        (&get, "/v1/changes", 200),
        (&get, "/v1/changes?since=0", 200),
        (&get, "/v1/workers", 404),
        (&get, "/v1/supervision", 200),
        (&get, "/v1/supervision?devices=failures", 200),
        (&get, "/metrics", 200),
        (&get, "/openapi.json", 200),
        (&get, "/", 200),
    ] {
        let (status, _) = ask(&serverless, method, path, "*/*").await;
        assert_eq!(status, expected, "{method} {path}");
    }
    // What they say depends on how fast the threads of the clusters are.
    for path in ["/healthz", "/readyz"] {
        ask(&serverless, &get, path, "*/*").await;
    }
    whole
}

#[actix_web::test]
async fn no_request_looks_at_all_devices_of_a_cluster_at_once() {
    assert!(ask_all(&one_cluster(), "1", "n7").await > 20);
}

#[actix_web::test]
async fn no_request_looks_at_all_clusters_at_once() {
    assert!(ask_all(&many_clusters(), "n7", "n1").await > 20);
}

#[actix_web::test]
async fn as_many_changes_as_are_known_are_written_in_turns() {
    let (engine, config) = fleet("[[clusters]]\nid = 1\nnodes = \"1\"\n");
    let serverless = engine.serverless(&config).await.unwrap();
    let other = format!("[[clusters]]\nid = 1\nnodes = \"n[1-{DEVICES}]\"\n");
    engine.apply(Config::parse(Path::new("cost"), &other).unwrap());
    let (status, body) = ask(&serverless, &Method::GET, "/v1/changes", "*/*").await;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(body["changes"].as_array().unwrap().len(), 10_000);
}

#[actix_web::test]
async fn the_owners_of_many_clusters_are_written_in_turns() {
    let cluster = |it| Cluster::new(Id::number(it), Vec::new(), Vec::new());
    let clusters: Vec<Cluster> = (0..DEVICES as u64).map(cluster).collect();
    let holding = |cluster: &Cluster| Holding {
        cluster: cluster.id().clone(),
        fence: 1,
        since: SystemTime::UNIX_EPOCH,
        renewed: Duration::ZERO,
    };
    let worker = WorkerState {
        name: "a".to_owned(),
        release: "1".to_owned(),
        started: SystemTime::UNIX_EPOCH,
        lease: Duration::ZERO,
        topology: 1,
        moves: Moves::default(),
        holdings: clusters.iter().map(holding).collect(),
    };
    let workers = [worker];
    let most = Most::default();
    let json = most.of(async {
        let owners = Owners::of(&workers).await;
        let clusters = clusters.iter().map(|it| owners.view(it.id()));
        with_list(&serde_json::json!({"clusters": []}), clusters).await
    });
    let json = json.await;
    most.check("owners");
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["clusters"].as_array().unwrap().len(), DEVICES);
}

/// What a client asks, and how many devices are looked at when it hangs up as soon as that begins, on
/// a connection of this thread.
async fn hang_up(
    serverless: Rc<impl AsyncFn(Request) -> Response<BoxBody> + 'static>,
    asked: &str,
) -> usize {
    let answering = fn_service(move |request: Request| {
        let serverless = Rc::clone(&serverless);
        async move { Ok::<_, actix_web::Error>(serverless(request).await) }
    });
    let service = HttpService::build()
        .h1_allow_half_closed(false)
        .h1(answering);
    let service = service.new_service(()).await.unwrap();
    let (mut client, server) = tokio::io::duplex(64 << 10);
    client.write_all(asked.as_bytes()).await.unwrap();
    let before = seen::count();
    let mut connection = Box::pin(service.call((server, None)));
    poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Ready(_) => panic!("it is answered, and closed"),
        Poll::Pending if seen::count() == before => Poll::Pending,
        Poll::Pending => Poll::Ready(()),
    })
    .await;
    drop(client);
    connection.await.ok();
    seen::count() - before
}

#[actix_web::test]
async fn work_ends_when_its_client_hangs_up() {
    let (engine, config) = fleet(&one_cluster());
    let serverless = Rc::new(engine.serverless(&config).await.unwrap());
    for (method, path) in [
        (Method::GET, format!("/v1/report?device=n%5B1-{DEVICES}%5D")),
        (Method::GET, "/v1/report?exclude=n7".to_owned()),
        (Method::GET, "/v1/report?device=x7".to_owned()),
        (Method::GET, "/v1/report?max_age=1h".to_owned()),
        (Method::POST, "/v1/clusters/1/nodes/x/collect".to_owned()),
        (Method::GET, "/v1/clusters/1/nodes/x".to_owned()),
    ] {
        let before = seen::count();
        let response = serverless(request(&method, &path, "*/*")).await;
        drop(response);
        let whole = seen::count() - before;
        assert!(whole >= DEVICES, "{path}: {whole} devices");
        let asked =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        let seen = hang_up(Rc::clone(&serverless), &asked).await;
        assert!(
            seen <= MOST_SEEN,
            "{path}: {seen} devices, and {whole} for a client that stays"
        );
    }
    // What they asked for is given up.
    assert_eq!(engine.metrics().census().collects, 0);
}

#[actix_web::test]
async fn lists_that_are_not_read_are_bounded() {
    let (engine, config) = fleet("[[clusters]]\nid = 1\nnodes = \"1\"\n");
    let serverless = engine.serverless(&config).await.unwrap();
    let ask = async |client: u8| {
        let request = TestRequest::with_uri("/v1/changes");
        let peer = SocketAddr::from(([192, 0, 2, client], 1));
        serverless(request.peer_addr(peer).to_request()).await
    };
    let mut unread = Vec::new();
    for client in [1, 2] {
        for _ in 0..MAX_LISTS / 2 {
            let answer = ask(client).await;
            assert_eq!(answer.status(), 200);
            unread.push(answer);
        }
        assert_eq!(ask(client).await.status(), 429, "it has its half");
    }
    assert_eq!(ask(3).await.status(), 503, "all places are taken");
    drop(unread.remove(0));
    assert_eq!(ask(3).await.status(), 200);
}
