//! How much is done between two turns for many collects together, and whose turn it is. Everything runs
//! on this thread, whose clock stands still as long as anything can be done. No time is measured.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use actix_http::{Request, Response};
use actix_web::body::BoxBody;
use actix_web::test::TestRequest;
use tokio::task::{JoinHandle, yield_now};

use crate::app::Engine;
use crate::config::{Config, Source};
use crate::domain::{ITEMS_PER_TURN, seen};

/// Devices that do not answer: more than are asked in a turn.
const SLOW: usize = 1_100;

/// Devices that answer at once.
const QUICK: usize = 100;

/// Everything on this thread.
fn fleet(nodes: &str) -> (Engine, Config) {
    let text = format!(
        "[http]\nrate = {{ per_second = 1000, burst = 1000 }}\n\
         [lookup]\nlatency = \"1m\"\ntimeout = \"3m\"\n[collect]\ndeadline = \"2m\"\n\
         [[clusters]]\nid = 1\nnodes = [{nodes}]\n"
    );
    let config = Config::parse(Path::new("crowd"), &text).unwrap();
    let engine = Engine::start(config.clone(), Source::new(None), 0, None);
    (engine, config)
}

/// Has a client ask; `answered` is done when it has the head of its answer.
fn ask(
    serverless: &Rc<impl AsyncFn(Request) -> Response<BoxBody> + 'static>,
    client: u8,
    path: &str,
    answered: impl FnOnce() + 'static,
) -> JoinHandle<()> {
    let request = TestRequest::with_uri(path);
    let peer = SocketAddr::from(([192, 0, 2, client], 1));
    let request = request.peer_addr(peer).to_request();
    let serverless = Rc::clone(serverless);
    actix_web::rt::spawn(async move {
        assert_eq!(serverless(request).await.status(), 200);
        answered();
    })
}

/// Goes on until this is so, and gives the most devices that were told something in one turn.
async fn most_until(mut is_so: impl FnMut() -> bool) -> usize {
    let (mut before, mut most) = (seen::count(), 0);
    while !is_so() {
        yield_now().await;
        let now = seen::count();
        most = most.max(now - before);
        before = now;
    }
    most
}

#[actix_web::test]
async fn collects_that_hang_up_together_cost_a_look_at_each_device() {
    const COLLECTS: usize = 300;
    const FIRST: usize = 20;
    tokio::time::pause();
    let quick = format!("{{ ids = \"q[1-{QUICK}]\", lookup = {{ latency = \"0ms\" }} }}");
    let (engine, config) = fleet(&format!("{quick}, \"n[1-{SLOW}]\""));
    let serverless = Rc::new(engine.serverless(&config).await.unwrap());
    let census = || engine.metrics().census();
    let told = |devices: usize| {
        let before = seen::count();
        let mut more = 10;
        move || {
            // Those that were told last do what that means.
            more -= usize::from(seen::count() - before >= devices);
            more == 0
        }
    };
    let mut asked: Vec<_> = (0..FIRST + COLLECTS)
        .map(|_| ask(&serverless, 1, "/v1/report", || panic!("it is answered")))
        .collect();
    let most = most_until(told((FIRST + COLLECTS) * (QUICK + SLOW))).await;
    assert!(
        most <= 3 * ITEMS_PER_TURN,
        "{most} devices are asked at once"
    );
    // As long as others wait for the lookups, no device hears of those that go.
    let before = seen::count();
    for asked in asked.drain(..FIRST) {
        asked.abort();
    }
    let mut turns = 0;
    most_until(|| {
        turns += 1;
        census().collects == COLLECTS && turns > 100 * COLLECTS
    })
    .await;
    assert_eq!((seen::count() - before, census().lookups), (0, SLOW));
    // Together they cost one message for each device whose lookup runs.
    for asked in asked {
        asked.abort();
    }
    let most = most_until(|| census().lookups + census().collects == 0).await;
    assert!(
        most <= 2 * ITEMS_PER_TURN,
        "{most} devices are told at once"
    );
    assert_eq!(seen::count() - before, SLOW);
}

#[actix_web::test]
async fn requests_of_another_client_are_answered_between_turns() {
    const DEVICES: usize = 4_000;
    const COLLECTS: usize = 20;
    tokio::time::pause();
    for path in ["/test", "/v1/report"] {
        let (engine, config) = fleet(&format!(
            "{{ ids = \"n[1-{DEVICES}]\", lookup = {{ latency = \"0ms\" }} }}"
        ));
        let serverless = Rc::new(engine.serverless(&config).await.unwrap());
        let order: Rc<RefCell<Vec<u8>>> = Rc::default();
        let has_answer = |client: u8| {
            let order = Rc::clone(&order);
            move || order.borrow_mut().push(client)
        };
        let before = seen::count();
        let mut asked: Vec<_> = (0..COLLECTS)
            .map(|_| ask(&serverless, 1, path, has_answer(1)))
            .collect();
        most_until(|| seen::count() - before > COLLECTS * ITEMS_PER_TURN).await;
        asked.push(ask(&serverless, 2, path, has_answer(2)));
        for asked in asked {
            asked.await.unwrap();
        }
        assert_eq!(order.borrow().len(), COLLECTS + 1);
        assert_eq!(
            order.borrow()[0],
            2,
            "{path}: who came last has one collect"
        );
    }
}
