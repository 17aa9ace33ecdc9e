//! On what machine, with which versions, and when: what figures mean nothing without.

use std::process::{Command, Stdio};
use std::thread::available_parallelism;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::peer::Peer;
use crate::plan::Plan;

/// Pairs of a name and what it is.
#[derive(Debug)]
pub(crate) struct About {
    facts: Vec<(&'static str, String)>,
    quick: bool,
}

pub(crate) fn about(plan: &Plan) -> About {
    let mut facts = vec![
        (
            "date",
            humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        ),
        ("commit", commit()),
        ("processor", processor()),
        ("kernel", output("uname", &["-sr"])),
        ("Rust", output("rustc", &["--version"])),
    ];
    let python = plan.dir.join("asyncio/bin/python");
    let python = python.to_str().unwrap();
    let erlang = "io:format(\"OTP ~s, erts ~s\", [erlang:system_info(otp_release), erlang:system_info(version)]), halt().";
    let versions: [(Peer, &str, &str, &[&str]); 5] = [
        (Peer::Axum, "axum", "", &[]),
        (Peer::Go, "Go", "go", &["version"]),
        (Peer::Node, "Node.js", "node", &["--version"]),
        (
            Peer::Asyncio,
            "Python",
            python,
            &[
                "-c",
                "import sys, aiohttp; print(sys.version.split()[0] + ', aiohttp ' + aiohttp.__version__)",
            ],
        ),
        (
            Peer::Erlang,
            "Erlang",
            "erl",
            &["-noshell", "-eval", erlang],
        ),
    ];
    for (peer, name, program, arguments) in versions {
        if plan.peers.contains(&peer) {
            let version = if peer == Peer::Axum {
                axum()
            } else {
                output(program, arguments)
            };
            facts.push((name, version));
        }
    }
    About {
        facts,
        quick: plan.quick,
    }
}

impl About {
    pub(crate) fn json(&self) -> Value {
        let facts = self
            .facts
            .iter()
            .map(|(name, it)| ((*name).to_owned(), json!(it)));
        let mut object: Map<String, Value> = facts.collect();
        object.insert("quick".to_owned(), json!(self.quick));
        Value::Object(object)
    }
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let facts: Vec<String> = self
            .facts
            .iter()
            .map(|(name, it)| format!("{name}: {it}"))
            .collect();
        write!(f, "`cargo bench --bench compare`. {}.", facts.join("; "))?;
        write!(f, " Figures are medians, with the least and the most.")?;
        if self.quick {
            write!(f, " **A short run to try it: no figures to quote.**")?;
        }
        Ok(())
    }
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    let cores = available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores")
}

fn commit() -> String {
    let hash = output("git", &["rev-parse", "--short", "HEAD"]);
    let changed = output("git", &["status", "--porcelain"]);
    if changed.is_empty() {
        hash
    } else {
        format!("{hash} with changes")
    }
}

/// As its lock file says.
fn axum() -> String {
    let lock = include_str!("peers/axum/Cargo.lock");
    let (_, rest) = lock.split_once("name = \"axum\"\nversion = \"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |it| String::from_utf8_lossy(&it.stdout).trim().to_owned(),
    )
}
