//! Names, for all drivers that open sockets themselves.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fleetcall::app::Engine;
use fleetcall::config::{Config, Source};
use fleetcall::supervision::failpoints::{FailAction, Failpoint, Failpoints};
use socket2::{Domain, Socket, Type};

use crate::harness::{PATIENCE, TestApp};
use crate::names::{A, Dns, NXDOMAIN, Reply, SERVFAIL};
use crate::servers::{Node, answers, ask_with, http, nobody, server, wait_for_end};
use crate::snmp::agents::{Request, mib, responder};

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A server that knows these addresses for every name.
fn knows(addresses: &[&str]) -> Dns {
    let addresses = ips(addresses);
    Dns::start(move |_, _| Reply::Addresses(addresses.clone()))
}

/// One roll call by each driver that resolves names, of the host `name` with this port each.
fn ask_all(dns: &str, name: &str, timeout: &str, [tcp, web, udp]: [u16; 3]) -> [Node; 3] {
    let lookups = [
        format!("driver = \"tcp\"\naddress = \"{name}:{tcp}\""),
        format!("driver = \"http\"\nurl = \"http://{name}:{web}/\""),
        format!("driver = \"snmp\"\naddress = \"{name}:{udp}\"\ncommunity = \"public\""),
    ];
    lookups.map(|lookup| {
        let lookup = format!("{lookup}\ntimeout = \"{timeout}\"\n");
        let top = format!("allow_inline_secrets = true\n{dns}");
        ask_with(&top, &lookup, |_| {})
    })
}

fn agent() -> SocketAddr {
    responder(|socket, from, bytes| {
        let request = Request::read(bytes);
        let answer = request.answer(0, request.variables(&mib(1)));
        socket.send_to(&answer, from).ok();
    })
}

/// Servers of all kinds on 127.0.0.1.
fn well() -> [u16; 3] {
    let web = answers(http("200 OK", "", b""));
    [server(wait_for_end).port(), web.port(), agent().port()]
}

#[test]
fn names_are_asked_for_at_the_configured_servers() {
    let dns = knows(&["127.0.0.1"]);
    for node in ask_all(&dns.config(""), "web01.example", "1m", well()) {
        assert!(node.node["error"].is_null(), "{}", node.node);
    }
    assert!(dns.asked().contains(&("web01.example".to_owned(), A)));
}

#[test]
fn what_the_servers_say_has_its_kind() {
    let dns = Dns::start(|name, _| match name {
        "unknown.example" => Reply::Code(NXDOMAIN),
        "broken.example" => Reply::Code(SERVFAIL),
        "empty.example" => Reply::Addresses(Vec::new()),
        _ => Reply::Silent,
    });
    // Who answers has all the time there is; who is silent has little.
    let (patient, impatient) = (
        dns.config(""),
        dns.config("timeout = \"100ms\"\nattempts = 2"),
    );
    for (config, name, message) in [
        (
            &patient,
            "unknown.example",
            "the name unknown.example is unknown",
        ),
        (
            &patient,
            "broken.example",
            "the DNS servers failed for the name broken.example: SERVFAIL",
        ),
        (
            &patient,
            "empty.example",
            "the name empty.example has no address",
        ),
        (
            &impatient,
            "silent.example",
            "the DNS servers did not answer for the name silent.example",
        ),
    ] {
        for node in ask_all(config, name, "1m", [1; 3]) {
            node.fails("unreachable", message);
        }
    }
}

#[test]
fn a_silent_server_takes_no_longer_than_the_lookup_may() {
    let dns = Dns::start(|_, _| Reply::Silent);
    let patient = dns.config("timeout = \"1h\"");
    for node in ask_all(&patient, "silent.example", "500ms", [1; 3]) {
        node.fails("timed_out", "no answer within 500ms");
    }
}

#[test]
fn slow_names_delay_no_others() {
    // So many names are without an answer until all the others have been connected to: if these
    // waited for those, all would time out.
    let dns = Dns::start(|name, _| {
        let addresses = ips(&["127.0.0.1"]);
        match name.starts_with("slow") {
            true => Reply::Held(addresses),
            false => Reply::Addresses(addresses),
        }
    });
    let (release, connected) = (dns.release(), AtomicUsize::new(0));
    let device = server(move |stream| {
        if connected.fetch_add(1, Ordering::SeqCst) == 14 {
            release();
        }
        wait_for_end(stream);
    });
    let port = device.port();
    let text = format!(
        "{}[lookup]\ndriver = \"tcp\"\naddress = \"{{id}}.example:{port}\"\ntimeout = \"2m\"\n[collect]\ndeadline = \"2m\"\n\
         [[clusters]]\nid = 1\nnodes = \"slow[1-500]\"\n\
         [[clusters]]\nid = 2\nnodes = \"good[1-10]\"\n\
         switches = [{{ ids = \"s[1-5]\", lookup = {{ address = \"127.0.0.1:{port}\" }} }}]\n",
        dns.config("timeout = \"2m\"")
    );
    let app = TestApp::start(&text);
    let mut failed = app.get().devices();
    failed.retain(|device| device.contains(':'));
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_question_that_is_lost_is_asked_again() {
    let dns = Dns::start(|_, before| match before {
        0 => Reply::Silent,
        _ => Reply::Addresses(ips(&["127.0.0.1"])),
    });
    for node in ask_all(&dns.config(""), "lost.example", "1m", well()) {
        assert!(node.node["error"].is_null(), "{}", node.node);
    }
}

#[test]
fn one_server_of_two_is_enough() {
    let (dead, good) = (Dns::start(|_, _| Reply::Silent), knows(&["127.0.0.1"]));
    let both = format!("[dns]\nservers = [\"{}\", \"{}\"]\n", dead.addr, good.addr);
    for node in ask_all(&both, "web01.example", "1m", well()) {
        assert!(node.node["error"].is_null(), "{}", node.node);
    }
}

#[test]
fn one_family_of_two_is_enough() {
    let dns = Dns::start(|_, _| Reply::SilentOnV6(ips(&["127.0.0.1"])));
    for node in ask_all(
        &dns.config("timeout = \"1h\""),
        "web01.example",
        "1m",
        well(),
    ) {
        assert!(node.node["error"].is_null(), "{}", node.node);
    }
}

#[test]
fn an_answer_that_does_not_fit_is_fetched_over_tcp() {
    let dns = Dns::start(|_, _| Reply::Truncated(ips(&["127.0.0.1"])));
    for node in ask_all(&dns.config(""), "large.example", "1m", well()) {
        assert!(node.node["error"].is_null(), "{}", node.node);
    }
}

#[test]
fn the_next_address_is_tried_when_one_refuses() {
    let dns = knows(&["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"]);
    for node in ask_all(&dns.config(""), "many.example", "1m", well()) {
        assert!(node.node["error"].is_null(), "{}", node.node);
    }
    let port = nobody().port();
    for node in ask_all(&dns.config(""), "many.example", "1m", [port; 3]) {
        node.fails("refused", "");
    }
}

/// Keeps 127.0.0.2 silent on a port over TCP: its queue of connections is full.
fn silent_tcp(port: u16) -> (Socket, Vec<Socket>) {
    let addr: SocketAddr = ([127, 0, 0, 2], port).into();
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&addr.into()).unwrap();
    listener.listen(0).unwrap();
    let fill = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        // It is under way, or stands.
        socket.connect(&addr.into()).ok();
        socket
    };
    let filling = (0..8).map(fill).collect();
    let more = TcpStream::connect_timeout(&addr, Duration::from_millis(200));
    assert!(more.is_err(), "it still takes connections");
    (listener, filling)
}

#[test]
fn an_address_that_is_silent_leaves_time_for_the_next() {
    let ports = well();
    let _tcp = silent_tcp(ports[0]);
    let _web = silent_tcp(ports[1]);
    let _udp = UdpSocket::bind(("127.0.0.2", ports[2])).unwrap();
    let dns = knows(&["127.0.0.2", "127.0.0.1"]);
    for node in ask_all(&dns.config(""), "half.example", "10s", ports) {
        assert!(node.node["error"].is_null(), "{}", node.node);
    }
}

#[test]
fn localhost_needs_no_server() {
    let dns = Dns::start(|_, _| Reply::Silent);
    for node in ask_all(&dns.config(""), "localhost", "1m", well()) {
        assert!(node.node["error"].is_null(), "{}", node.node);
    }
    assert_eq!(dns.asked(), []);
}

#[test]
fn other_servers_are_asked_after_a_reload() {
    let (silent, good) = (Dns::start(|_, _| Reply::Silent), knows(&["127.0.0.1"]));
    let port = server(wait_for_end).port();
    let fleet = format!(
        "[lookup]\ndriver = \"tcp\"\naddress = \"web01.example:{port}\"\nbreaker = {{ failures = 0 }}\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\n"
    );
    let impatient = silent.config("timeout = \"50ms\"\nattempts = 1");
    let app = TestApp::start(&format!("{impatient}{fleet}"));
    assert_eq!(app.get().devices(), ["1/n1:unreachable"]);
    std::fs::write(&app.config, good.config("") + &fleet).unwrap();
    app.signal("HUP");
    let line = app.wait_for_log(|line| line["message"] == "reloaded");
    assert_eq!(line["settings_changed"], true);
    assert_eq!(line["devices_kept"], 1);
    assert_eq!(app.get().devices(), ["1/n1"]);
}

/// The actors in this process: only so a thread can be made to end.
#[actix::test]
async fn names_resolve_when_the_thread_that_asked_first_has_ended() {
    let dns = knows(&["127.0.0.1"]);
    let port = server(wait_for_end).port();
    let text = format!(
        "{}[lookup]\ndriver = \"tcp\"\naddress = \"web01.example:{port}\"\n\
         [supervision]\nbackoff = {{ min = \"1ms\", max = \"2ms\" }}\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\n",
        dns.config("")
    );
    let config = Config::parse(Path::new("test"), &text).unwrap();
    let failpoints = Arc::new(Failpoints::default());
    let engine = Engine::start(config, Source::new(None), 1, Some(Arc::clone(&failpoints)));
    let collect = async || {
        let collector = engine.collector();
        let answer = tokio::time::timeout(PATIENCE, collector.collect()).await;
        answer
            .expect("an answer in time")
            .unwrap()
            .summary()
            .failed()
    };
    for _ in 0..3 {
        assert_eq!(collect().await, 0);
        let asked = dns.asked().len();
        failpoints.arm(Failpoint::Handler, FailAction::EndThread, "cluster=1", 1);
        assert_eq!(collect().await, 1);
        // It comes back a moment later.
        let healed = async {
            while collect().await != 0 {
                // The thread is replaced from this one, which must be let.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let healed = tokio::time::timeout(PATIENCE, healed).await;
        healed.expect("the cluster comes back");
        assert!(dns.asked().len() > asked, "nobody was asked");
    }
}
