//! Reports that others send in an agent's name: they have no digest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rasn::ber;
use rasn_snmp::v2::{Pdu, Pdus, Report, VarBind, VarBindValue};
use rasn_snmp::v3::{Message, ScopedPdu, ScopedPduData, USMSecurityParameters};

use super::agents::{Snmpd, line};
use super::real::{PRIVATE, are_right};
use super::{ask, v3};
use crate::harness::TestApp;

/// Only what comes in time can have been taken.
const SLOW: &str = "retransmit = \"40s\"";
const FAST: &str = "retransmit = \"200ms\"";

const AUTH: u8 = 1;

/// A message of an agent, or to it.
struct Parts {
    message: Message,
    usm: USMSecurityParameters,
}

impl Parts {
    fn of(bytes: &[u8]) -> Self {
        let message: Message = ber::decode(bytes).unwrap();
        let usm = ber::decode(&message.security_parameters).unwrap();
        Self { message, usm }
    }

    fn has_digest(&self) -> bool {
        self.message.global_data.flags[0] & AUTH != 0
    }

    /// Whether it asks an engine who it is.
    fn is_discovery(&self) -> bool {
        self.usm.authoritative_engine_id.is_empty()
    }

    /// The `usmStats` counter of a report, if it is one that can be read.
    fn report(&self) -> Option<u32> {
        let ScopedPduData::CleartextPdu(scoped) = &self.message.scoped_data else {
            return None;
        };
        let Pdus::Report(report) = &scoped.data else {
            return None;
        };
        report.0.variable_bindings[0].name.get(9).copied()
    }

    /// A report about the same request that anybody could have written.
    fn forged(mut self, counter: u32) -> Vec<u8> {
        let name = vec![1, 3, 6, 1, 6, 3, 15, 1, 1, counter, 0];
        let report = Report(Pdu {
            request_id: 0,
            error_status: 0,
            error_index: 0,
            variable_bindings: vec![VarBind {
                name: rasn::types::ObjectIdentifier::new_unchecked(name.into()),
                value: VarBindValue::Unspecified,
            }],
        });
        self.message.scoped_data = ScopedPduData::CleartextPdu(ScopedPdu {
            engine_id: self.usm.authoritative_engine_id.clone(),
            name: (&[][..]).into(),
            data: Pdus::Report(report),
        });
        self.message.global_data.flags = [0].into();
        self.usm.authentication_parameters = (&[][..]).into();
        self.usm.privacy_parameters = (&[][..]).into();
        self.message.security_parameters = ber::encode(&self.usm).unwrap().into();
        ber::encode(&self.message).unwrap()
    }
}

#[test]
fn the_answer_with_a_digest_wins_over_any_report_without() {
    let agent = Snmpd::start();
    for forged_first in [true, false] {
        for counter in 1..=7 {
            let addr = line(agent.addr, move |bytes, is_request| {
                if is_request || !Parts::of(bytes).has_digest() {
                    return vec![bytes.to_vec()];
                }
                let mut both = vec![Parts::of(bytes).forged(counter), bytes.to_vec()];
                if !forged_first {
                    both.reverse();
                }
                both
            });
            let node = ask(&v3(addr, "private", &format!("{SLOW}\n{PRIVATE}")));
            are_right(&node.node["facts"], &agent);
        }
    }
}

#[test]
fn no_report_wins_over_that_of_an_engine_which_is_asked_who_it_is() {
    let agent = Snmpd::start();
    for counter in 1..=7 {
        let mut is_discovery = true;
        let addr = line(agent.addr, move |bytes, is_request| {
            let parts = Parts::of(bytes);
            if is_request {
                is_discovery = parts.is_discovery();
            }
            let mut all = vec![bytes.to_vec()];
            if !is_request && is_discovery {
                all.insert(0, parts.forged(counter));
            }
            all
        });
        let node = ask(&v3(addr, "private", &format!("{SLOW}\n{PRIVATE}")));
        are_right(&node.node["facts"], &agent);
    }
}

#[test]
fn a_report_that_names_another_engine_costs_one_try() {
    let agent = Snmpd::start();
    // To the question who it is, and to all others.
    for to_all in [false, true] {
        let mut is_discovery = true;
        let addr = line(agent.addr, move |bytes, is_request| {
            let mut parts = Parts::of(bytes);
            if is_request {
                is_discovery = parts.is_discovery();
                return vec![bytes.to_vec()];
            }
            if !is_discovery && !to_all {
                return vec![bytes.to_vec()];
            }
            parts.usm.authoritative_engine_id = (&b"engine-of-another"[..]).into();
            vec![parts.forged(4), bytes.to_vec()]
        });
        let node = ask(&v3(addr, "private", &format!("{FAST}\n{PRIVATE}")));
        are_right(&node.node["facts"], &agent);
    }
}

#[test]
fn a_report_of_a_sender_that_has_not_seen_the_request_is_none() {
    let agent = Snmpd::start();
    // Before every answer, those about who the agent is included, and in place of all of them.
    for is_silent in [false, true] {
        let addr = line(agent.addr, move |bytes, is_request| {
            if is_request {
                return vec![bytes.to_vec()];
            }
            let forged = |counter| {
                let mut parts = Parts::of(bytes);
                let id = &mut parts.message.global_data.message_id;
                *id = (i64::try_from(id.clone()).unwrap() ^ 1).into();
                parts.usm.authoritative_engine_id = (&b"engine-of-another"[..]).into();
                parts.forged(counter)
            };
            let mut all: Vec<_> = (1..=7).map(forged).collect();
            if !is_silent {
                all.push(bytes.to_vec());
            }
            all
        });
        let timeout = if is_silent { "timeout = \"3s\"" } else { "" };
        let node = ask(&v3(
            addr,
            "private",
            &format!("{FAST}\n{PRIVATE}\n{timeout}"),
        ));
        match is_silent {
            false => are_right(&node.node["facts"], &agent),
            true => node.fails("timed_out", "no answer within 3s"),
        }
    }
}

/// A service that asks one agent through a line whose answers become what `fate` says.
fn service(
    agent: &Snmpd,
    more: &str,
    fate: impl FnMut(&[u8], bool) -> Vec<Vec<u8>> + Send + 'static,
) -> TestApp {
    let addr = line(agent.addr, fate);
    let secrets = PRIVATE
        .replace("{ env = \"PASSWORD\" }", "\"correct horse\"")
        .replace("{ env = \"OTHER_PASSWORD\" }", "\"battery staple\"");
    TestApp::start(&format!(
        "allow_inline_secrets = true\n[lookup]\n{}\n[[clusters]]\nid = 1\nswitches = [1]\n",
        v3(addr, "private", &format!("{secrets}\n{more}"))
    ))
}

#[test]
fn a_report_without_a_digest_opens_no_breaker_of_an_engine_that_has_authenticated() {
    let agent = Snmpd::start();
    for counter in [1, 3, 5, 6] {
        let forges = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&forges);
        // In place of the answer, and not beside it.
        let app = service(&agent, FAST, move |bytes, is_request| {
            let parts = Parts::of(bytes);
            let is_forged = !is_request && told.load(Ordering::Relaxed) && parts.has_digest();
            let bytes = bytes.to_vec();
            vec![if is_forged {
                parts.forged(counter)
            } else {
                bytes
            }]
        });
        assert_eq!(app.get().devices(), ["1/s1"]);
        for _ in 0..2 {
            forges.store(true, Ordering::Relaxed);
            let answer = app.get();
            assert_eq!(answer.devices(), ["1/s1:auth"]);
            assert!(answer.body.contains("without a digest"), "{}", answer.body);
            forges.store(false, Ordering::Relaxed);
            assert_eq!(app.get().devices(), ["1/s1"]);
        }
    }
}

#[test]
fn at_first_contact_a_report_is_all_there_is() {
    let agent = Snmpd::start();
    let app = service(&agent, FAST, |bytes, is_request| {
        let parts = Parts::of(bytes);
        let is_forged = !is_request && parts.has_digest();
        let bytes = bytes.to_vec();
        vec![if is_forged { parts.forged(5) } else { bytes }]
    });
    assert_eq!(app.get().devices(), ["1/s1:auth"]);
    assert_eq!(app.get().devices(), ["1/s1:breaker_open"]);
}

#[test]
fn an_engine_that_is_another_one_and_silent_is_met_at_the_next_lookup() {
    let mut agent = Snmpd::start();
    let mut is_discovery = true;
    let more = format!("{FAST}\ntimeout = \"2s\"");
    let app = service(&agent, &more, move |bytes, is_request| {
        let parts = Parts::of(bytes);
        if is_request {
            is_discovery = parts.is_discovery();
        }
        // It ignores what is meant for another engine than itself.
        if !is_request && !is_discovery && parts.report() == Some(4) {
            return Vec::new();
        }
        vec![bytes.to_vec()]
    });
    let facts = || app.get().json()["data"][0]["switches"][0]["facts"].clone();
    crate::harness::until("it answers", || !facts().is_null());
    agent.restart(true);
    assert_eq!(app.get().devices(), ["1/s1:timed_out"]);
    crate::harness::until("it answers", || !facts().is_null());
    are_right(&facts(), &agent);
}

#[test]
fn a_clock_that_is_told_without_a_digest_is_used_for_one_try() {
    let mut agent = Snmpd::start();
    let told = Arc::new(Mutex::new(0));
    let count = Arc::clone(&told);
    let app = service(&agent, FAST, move |bytes, is_request| {
        let parts = Parts::of(bytes);
        if is_request || parts.report() != Some(2) {
            return vec![bytes.to_vec()];
        }
        *count.lock().unwrap() += 1;
        vec![parts.forged(2)]
    });
    let facts = || app.get().json()["data"][0]["switches"][0]["facts"].clone();
    are_right(&facts(), &agent);
    let before = *told.lock().unwrap();
    agent.restart(false);
    are_right(&facts(), &agent);
    assert_eq!(*told.lock().unwrap(), before + 1);
    // It is kept, as the answer was authentic.
    are_right(&facts(), &agent);
    assert_eq!(*told.lock().unwrap(), before + 1);
}
