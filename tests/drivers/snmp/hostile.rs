//! Against agents that are silent, broken or hostile.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::agents::{Dice, Mib, Request, answer, mib, nobody, number, responder, variable};
use super::{ask, v2c, v3};
use crate::servers::Node;

const FAST: &str = "retransmit = \"100ms\"\ntimeout = \"1m\"";

#[track_caller]
fn is_fake(node: &Node, ports: usize) {
    assert_eq!(node.fact("hostname"), "fake");
    let found = node.fact("ports").as_array().unwrap();
    assert_eq!(found.len(), ports);
    for (at, port) in found.iter().enumerate() {
        let name = format!("port{}", at + 1);
        // What the agent does not have is absent.
        assert_eq!(*port, serde_json::json!({ "name": name, "up": true }));
    }
}

#[test]
fn silence_is_a_timeout_in_time() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let silent = responder(move |_, _, _| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let times = "timeout = \"3s\"\nretransmit = \"100ms\"";
    for lookup in [v2c(silent, times), v3(silent, "private", times)] {
        asked.store(0, Ordering::Relaxed);
        let node = ask(&lookup);
        node.fails("timed_out", "no answer within 3s");
        // At 0, 100, 300, 700 and 1500 ms, or later on a busy machine.
        let asked = asked.load(Ordering::Relaxed);
        assert!((2..=5).contains(&asked), "{asked}");
    }
}

#[test]
fn nobody_there_is_refused() {
    ask(&v2c(nobody(), FAST)).fails("refused", "127.0.0.1:");
    ask(&v3(nobody(), "private", FAST)).fails("refused", "127.0.0.1:");
    let lookup = v2c(nobody(), FAST).replace("127.0.0.1", "no-such-host.invalid");
    ask(&lookup).fails("unreachable", "cannot ask no-such-host.invalid:");
}

#[test]
fn garbage_and_halves_are_a_protocol_fault() {
    let garbage = responder(|socket, from, _| {
        socket
            .send_to(b"HTTP/1.1 400 Bad Request\r\n\r\n", from)
            .ok();
    });
    ask(&v2c(garbage, FAST)).fails("protocol", "its answer is no SNMP message");
    ask(&v3(garbage, "private", FAST)).fails("protocol", "its answer is no SNMP message");
    let empty = responder(|socket, from, _| {
        socket.send_to(b"", from).ok();
    });
    ask(&v2c(empty, FAST)).fails("protocol", "its answer is no SNMP message");
    let mib = mib(3);
    let half = responder(move |socket, from, bytes| {
        let request = Request::read(bytes);
        let answer = request.answer(0, request.variables(&mib));
        socket.send_to(&answer[..answer.len() / 2], from).ok();
    });
    ask(&v2c(half, FAST)).fails("protocol", "its answer is no SNMP message");
    let echo = responder(|socket, from, bytes| {
        socket.send_to(bytes, from).ok();
    });
    ask(&v2c(echo, FAST)).fails("protocol", "it asks instead of answering");
}

#[test]
fn changed_answers_crash_nothing() {
    for seed in 1..=8 {
        let (mut dice, mib) = (Dice::new(seed), mib(3));
        let addr = responder(move |socket, from, bytes| {
            let request = Request::read(bytes);
            let answer = request.answer(0, request.variables(&mib));
            for _ in 0..20 {
                socket.send_to(&dice.mutate(&answer), from).ok();
            }
        });
        let node = ask(&v2c(addr, "retransmit = \"50ms\"\ntimeout = \"1s\""));
        // Version 2c has no digest, so a change may also be believed.
        let kind = node.node["error"]["kind"].as_str();
        let right = [None, Some("protocol"), Some("auth"), Some("timed_out")];
        assert!(right.contains(&kind), "{seed}: {}", node.node);
    }
}

/// An agent with three ports, in front of whose right answers `first` sends something else.
fn preceded(
    first: impl Fn(&UdpSocket, std::net::SocketAddr, &Request, &Mib) + Send + 'static,
) -> std::net::SocketAddr {
    let mib = mib(3);
    responder(move |socket, from, bytes| {
        let request = Request::read(bytes);
        first(socket, from, &request, &mib);
        let answer = request.answer(0, request.variables(&mib));
        socket.send_to(&answer, from).ok();
    })
}

#[test]
fn what_is_no_answer_to_the_request_is_let_pass() {
    // Slow to send again, so that only what came in time can have been taken.
    let slow = "retransmit = \"30s\"\ntimeout = \"29s\"";
    let false_answer = |id: i32, request: &Request| {
        let names = request.names.iter().cloned();
        let variables = names.map(|mut name| {
            name.push(99);
            variable(name, number(1))
        });
        answer(id, 0, variables.collect())
    };
    let other_id = preceded(move |socket, from, request, _| {
        for id in [request.id.wrapping_sub(1), request.id.wrapping_add(1), 0] {
            socket.send_to(&false_answer(id, request), from).ok();
        }
    });
    is_fake(&ask(&v2c(other_id, slow)), 3);
    let other_port = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other_source = preceded(move |_, from, request, _| {
        other_port
            .send_to(&false_answer(request.id, request), from)
            .ok();
    });
    is_fake(&ask(&v2c(other_source, slow)), 3);
    let doubled = preceded(|socket, from, request, mib| {
        let answer = request.answer(0, request.variables(mib));
        socket.send_to(&answer, from).ok();
    });
    is_fake(&ask(&v2c(doubled, slow)), 3);
    let garbage = preceded(|socket, from, _, _| {
        socket.send_to(b"garbage", from).ok();
    });
    is_fake(&ask(&v2c(garbage, slow)), 3);
    // The answer before, once more, ahead of each right one.
    let before = Mutex::new(Vec::new());
    let late = preceded(move |socket, from, request, mib| {
        let mut before = before.lock().unwrap();
        socket.send_to(&before, from).ok();
        *before = request.answer(0, request.variables(mib));
    });
    is_fake(&ask(&v2c(late, slow)), 3);
}

#[test]
fn a_walk_ends_when_names_do_not_increase() {
    let circle = responder(|socket, from, bytes| {
        let request = Request::read(bytes);
        let mib = Mib::new();
        let variables = if request.repetitions.is_some() {
            let name = |last: u32| [&request.names[0][..], &[last]].concat();
            let names = if request.names[0].last() == Some(&7) {
                vec![request.names[0].clone()]
            } else {
                vec![name(7)]
            };
            let names = names.into_iter();
            names.map(|name| variable(name, number(1))).collect()
        } else {
            request.variables(&mib)
        };
        socket.send_to(&request.answer(0, variables), from).ok();
    });
    ask(&v2c(circle, FAST)).fails("protocol", "the names of its answers do not increase");
}

#[test]
fn a_walk_ends_when_there_is_no_end_of_variables() {
    let endless = responder(|socket, from, bytes| {
        let request = Request::read(bytes);
        let mut variables = request.variables(&Mib::new());
        if request.repetitions.is_some() {
            let column = request.names[0][..12].to_vec();
            let next = request.names[0].get(12).map_or(0, |last| last + 1);
            let name = |last: u32| [&column[..], &[last]].concat();
            variables = (next..next + 2_000)
                .map(|last| variable(name(last), number(1)))
                .collect();
        }
        socket.send_to(&request.answer(0, variables), from).ok();
    });
    ask(&v2c(endless, "timeout = \"2m\""))
        .fails("too_large", "the answers have more than 100000 variables");
    let nothing = responder(|socket, from, bytes| {
        let request = Request::read(bytes);
        let variables = match request.repetitions {
            Some(_) => Vec::new(),
            None => request.variables(&Mib::new()),
        };
        socket.send_to(&request.answer(0, variables), from).ok();
    });
    ask(&v2c(nothing, FAST)).fails("protocol", "its answer is empty");
}

#[test]
fn an_agent_that_can_say_little_at_once_is_asked_for_less() {
    let mib_of_big = mib(30);
    let too_big = responder(move |socket, from, bytes| {
        let request = Request::read(bytes);
        let variables = request.variables(&mib_of_big);
        let is_bulk = request.repetitions.is_some();
        let answer = if is_bulk && variables.len() > 5 {
            request.answer(1, Vec::new())
        } else {
            request.answer(0, variables)
        };
        socket.send_to(&answer, from).ok();
    });
    is_fake(&ask(&v2c(too_big, FAST)), 30);
    // As one behind a line that loses all packets of more than some size.
    let mib_of_lost = mib(30);
    let lost = responder(move |socket, from, bytes| {
        let request = Request::read(bytes);
        let variables = request.variables(&mib_of_lost);
        if request.repetitions.is_none() || variables.len() <= 30 {
            socket.send_to(&request.answer(0, variables), from).ok();
        }
    });
    let patient = "retransmit = \"20ms\"\ntimeout = \"2m\"";
    is_fake(&ask(&v2c(lost, patient)), 30);
}

#[test]
fn what_an_agent_does_not_let_us_read_is_an_auth_fault() {
    for (status, kind, message) in [
        (16, "auth", "it does not let this user read that"),
        (6, "auth", "it does not let this user read that"),
        (5, "protocol", "it answers with error status 5"),
    ] {
        let addr = responder(move |socket, from, bytes| {
            let answer = Request::read(bytes).answer(status, Vec::new());
            socket.send_to(&answer, from).ok();
        });
        ask(&v2c(addr, FAST)).fails(kind, message);
    }
}
