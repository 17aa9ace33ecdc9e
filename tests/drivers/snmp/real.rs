//! Against Debian's `snmpd`, compared with what its own clients say.

use serde_json::{Value, json};

use super::agents::{Dice, OTHER_PASSWORD, PASSWORD, Snmpd, line, nobody};
use super::{ask, v2c, v3};
use crate::harness::TestApp;

pub const PRIVATE: &str = "auth = \"sha256\"\nauth_password = { env = \"PASSWORD\" }\n\
                       privacy = \"aes128\"\nprivacy_password = { env = \"OTHER_PASSWORD\" }";

/// Whether these are the facts of that agent, but for the ones that change.
#[track_caller]
pub fn are_right(facts: &Value, agent: &Snmpd) {
    assert_eq!(facts["hostname"], "switch-7", "{facts}");
    assert_eq!(facts["location"], "room 4, rack 2");
    assert_eq!(
        facts["description"],
        agent.values("1.3.6.1.2.1.1.1").remove(0)
    );
    assert_eq!(facts["model"], "XS-48");
    assert_eq!(facts["manufacturer"], "Example Networks");
    assert_eq!(facts["serial"], "SN-0042");
    assert_eq!(facts["firmware_version"], "1.2.3");
    let neighbour =
        json!([{ "local_port": "ge-0/0/3", "system_name": "spine-1", "port": "Ethernet1/9" }]);
    assert_eq!(facts["neighbours"], neighbour);
    let ports = facts["ports"].as_array().unwrap();
    let column = |name: &str| -> Vec<String> {
        let text = |port: &Value| match &port[name] {
            Value::String(text) => text.clone(),
            Value::Null => "0".to_owned(),
            other => other.to_string(),
        };
        ports.iter().map(text).collect()
    };
    assert_eq!(column("name"), agent.values("1.3.6.1.2.1.31.1.1.1.1"));
    let is_up = |name: &str| -> Vec<String> {
        let values = agent.values(name).into_iter();
        values.map(|it| (it == "1").to_string()).collect()
    };
    assert_eq!(column("up"), is_up("1.3.6.1.2.1.2.2.1.8"));
    assert_eq!(column("admin_up"), is_up("1.3.6.1.2.1.2.2.1.7"));
    let columns = [
        ("speed_bits_per_second", "5"),
        ("in_discards", "13"),
        ("in_errors", "14"),
        ("out_discards", "19"),
        ("out_errors", "20"),
    ];
    for (name, number) in columns {
        let name_there = format!("1.3.6.1.2.1.2.2.1.{number}");
        assert_eq!(column(name), agent.values(&name_there), "{name}");
    }
}

#[test]
fn an_agent_gives_the_facts_that_its_own_clients_give() {
    let agent = Snmpd::start();
    // The machine's, in hundredths of a second.
    let uptime = || -> f64 {
        let ticks: f64 = agent.values("1.3.6.1.2.1.25.1.1")[0].parse().unwrap();
        ticks / 100.0
    };
    let before = uptime();
    let node = ask(&v2c(agent.addr, ""));
    let right = before..=uptime();
    are_right(&node.node["facts"], &agent);
    let found = node.fact("uptime_seconds").as_f64().unwrap();
    assert!(right.contains(&found), "{found} {right:?}");
}

#[test]
fn each_security_of_version_3_works() {
    let agent = Snmpd::start();
    let auth =
        |digest: &str| format!("auth = \"{digest}\"\nauth_password = {{ env = \"PASSWORD\" }}");
    are_right(&ask(&v3(agent.addr, "plain", "")).node["facts"], &agent);
    for digest in ["sha1", "sha224", "sha384", "sha512"] {
        let node = ask(&v3(agent.addr, digest, &auth(digest)));
        are_right(&node.node["facts"], &agent);
    }
    are_right(
        &ask(&v3(agent.addr, "private", PRIVATE)).node["facts"],
        &agent,
    );
    for bits in ["192", "256"] {
        let privacy = PRIVATE
            .replace("sha256", "sha1")
            .replace("aes128", &format!("aes{bits}"));
        let node = ask(&v3(agent.addr, &format!("private{bits}"), &privacy));
        are_right(&node.node["facts"], &agent);
    }
}

#[test]
fn what_version_3_does_not_accept_is_an_auth_fault() {
    let agent = Snmpd::start();
    let wrong = PRIVATE.replace("\"PASSWORD\"", "\"OTHER_PASSWORD\"");
    ask(&v3(agent.addr, "private", &wrong)).fails("auth", "it does not accept the digest");
    let wrong = PRIVATE.replace("sha256", "sha512");
    ask(&v3(agent.addr, "private", &wrong)).fails("auth", "it does not accept the digest");
    ask(&v3(agent.addr, "nobody", PRIVATE)).fails("auth", "it knows no user \"nobody\"");
    ask(&v3(agent.addr, "nobody", "")).fails("auth", "it knows no user \"nobody\"");
    ask(&v3(agent.addr, "sha1", PRIVATE)).fails("auth", "it does not offer user \"sha1\" such");
    ask(&v3(agent.addr, "private", "")).fails("auth", "it does not let this user read that");
}

#[test]
fn a_password_that_is_too_short_is_a_fault_of_the_lookup() {
    let short = PRIVATE.replace("\"PASSWORD\"", "\"SHORT\"");
    ask(&v3(nobody(), "private", &short)).fails("failed", "the `auth_password` has fewer than 8");
    let short = PRIVATE.replace("OTHER_PASSWORD", "SHORT");
    ask(&v3(nobody(), "private", &short)).fails("failed", "the `privacy_password` has fewer");
}

#[test]
fn a_wrong_community_or_privacy_password_is_silence() {
    let agent = Snmpd::start();
    let lookup = v2c(agent.addr, "timeout = \"1s\"").replace("COMMUNITY", "PASSWORD");
    ask(&lookup).fails("timed_out", "no answer within 1s");
    // AES decrypts anything to something; what that is `snmpd` cannot read, and drops.
    let wrong = PRIVATE.replace("OTHER_PASSWORD", "PASSWORD");
    let lookup = v3(agent.addr, "private", &format!("{wrong}\ntimeout = \"1s\""));
    ask(&lookup).fails("timed_out", "no answer within 1s");
}

#[test]
fn an_agent_that_restarts_is_met_again() {
    let mut agent = Snmpd::start();
    let secrets = PRIVATE
        .replace("{ env = \"PASSWORD\" }", "\"correct horse\"")
        .replace("{ env = \"OTHER_PASSWORD\" }", "\"battery staple\"");
    let config = format!(
        "allow_inline_secrets = true\n[lookup]\n{}\n[[clusters]]\nid = 1\nswitches = [1]\n",
        v3(agent.addr, "private", &secrets)
    );
    let app = TestApp::start(&config);
    let facts = || app.get().json()["data"][0]["switches"][0]["facts"].clone();
    are_right(&facts(), &agent);
    // Its clock is another one: it says that we are not in time.
    agent.restart(false);
    are_right(&facts(), &agent);
    // It is another engine: it does not know the one that we ask.
    agent.restart(true);
    are_right(&facts(), &agent);
    are_right(&facts(), &agent);
}

#[test]
fn a_new_password_is_used_at_the_next_lookup() {
    let agent = Snmpd::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    let auth = format!("auth = \"sha1\"\nauth_password = {{ file = {file:?} }}");
    let config = format!(
        "[lookup]\n{}\n[[clusters]]\nid = 1\nswitches = [1]\n",
        v3(agent.addr, "sha1", &auth)
    );
    std::fs::write(&file, PASSWORD).unwrap();
    let app = TestApp::start(&config);
    let switch = || app.get().json()["data"][0]["switches"][0].clone();
    are_right(&switch()["facts"], &agent);
    // The key of the one before is kept, and must not be used.
    std::fs::write(&file, OTHER_PASSWORD).unwrap();
    assert_eq!(switch()["error"]["kind"], "auth");
}

#[test]
fn a_line_that_loses_and_doubles_three_of_ten_is_no_fault() {
    let agent = Snmpd::start();
    for (seed, is_v3) in [(1, false), (2, true)] {
        let mut dice = Dice::new(seed);
        let bad = line(agent.addr, move |bytes, _| match dice.roll(10) {
            0..3 => vec![],
            3..6 => vec![bytes.to_vec(), bytes.to_vec()],
            _ => vec![bytes.to_vec()],
        });
        let fast = "retransmit = \"50ms\"\ntimeout = \"2m\"";
        let node = if is_v3 {
            ask(&v3(bad, "private", &format!("{fast}\n{PRIVATE}")))
        } else {
            ask(&v2c(bad, fast))
        };
        are_right(&node.node["facts"], &agent);
    }
}

#[test]
fn changed_copies_of_protected_answers_are_told_from_the_answers() {
    let agent = Snmpd::start();
    let mut dice = Dice::new(3);
    let bad = line(agent.addr, move |bytes, is_request| {
        if is_request {
            return vec![bytes.to_vec()];
        }
        // Discovery is not protected, so its report comes alone.
        let is_protected = bytes.len() > 150;
        let copies = if is_protected { 5 } else { 0 };
        let mut all: Vec<Vec<u8>> = (0..copies).map(|_| dice.mutate(bytes)).collect();
        all.push(bytes.to_vec());
        all
    });
    let node = ask(&v3(bad, "private", PRIVATE));
    are_right(&node.node["facts"], &agent);
}
