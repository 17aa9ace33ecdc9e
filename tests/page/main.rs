//! The status page in a real Chromium, on the real service.
//!
//! What a browser does is in the scripts beside this file; each is a test of its own, which starts
//! a service for it. `.ci/test` installs what they need.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "nobody uses a test from outside")]
#![allow(
    clippy::disallowed_types,
    reason = "a test of another process has real time only"
)]

#[path = "../api/harness.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod harness;
#[path = "../distributed/nats.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod nats;
mod served;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::TestApp;
use crate::nats::Nats;

/// A script that runs; killed when dropped.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What a script looks at, and what it has done to it.
struct Stage<'a> {
    config: &'a str,
    app: Option<TestApp>,
    /// What the service and its workers share the fleet through, if they do.
    nats: Option<Nats>,
    workers: HashMap<String, TestApp>,
}

impl<'a> Stage<'a> {
    fn new(config: &'a str, nats: Option<Nats>) -> Self {
        let mut stage = Self {
            config,
            app: None,
            nats,
            workers: HashMap::new(),
        };
        stage.start();
        stage
    }

    /// Starts the service; its address.
    fn start(&mut self) -> String {
        let url = self.nats.as_ref().map(Nats::url);
        let arguments = url.as_ref().map(|url| ["--nats", url, "serve"]);
        let arguments = arguments.as_ref().map_or(&[][..], |them| &them[..]);
        let app = TestApp::start_with(self.config, arguments);
        format!("http://{}/", self.app.insert(app).addr)
    }

    fn address(&self) -> String {
        format!("http://{}/", self.app.as_ref().unwrap().addr)
    }

    /// Does what a line of a script orders; `None` if it orders nothing.
    fn order(&mut self, line: &str) -> Option<String> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("kill", "") => self.app = None,
            ("start", "") => return Some(self.start()),
            ("worker", name) => {
                let url = self.nats.as_ref()?.url();
                let arguments = ["--nats", &url, "worker", "--name", name, "--lease", "2s"];
                let worker = TestApp::start_with(self.config, &arguments);
                self.workers.insert(name.to_owned(), worker);
            }
            ("reload", config) => {
                let config: String = serde_json::from_str(config).unwrap();
                let app = self.app.as_ref()?;
                std::fs::write(&app.config, config).unwrap();
                assert_eq!(app.request("POST", "/v1/reload", &[]).status, 200);
            }
            ("kill-worker", name) => drop(self.workers.remove(name)?),
            ("kill-nats", "") => self.nats.as_mut()?.kill(),
            _ => return None,
        }
        Some(String::new())
    }
}

/// Runs a script on a service with this configuration. It may print orders, a line each, and reads a
/// line when that is done: `kill` kills the service, `start` starts it again, wherever it then is; the
/// answer is its address; `reload` has it use the configuration that follows as a JSON string. Where the fleet is shared, `worker NAME` starts a worker, `kill-worker NAME`
/// and `kill-nats` kill.
fn run(script: &str, config: &str) {
    run_on(script, Stage::new(config, None));
}

#[expect(
    clippy::print_stdout,
    reason = "what a script measures is for whoever reads the test's output"
)]
fn run_on(script: &str, mut stage: Stage<'_>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let child = Command::new("node")
        .arg(root.join("tests/page").join(script))
        .arg(stage.address())
        .env("PAGE_TESTS", root.join("target/page-tests/"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node, which .ci/test installs");
    let mut script = Script(child);
    let mut answers = script.0.stdin.take().unwrap();
    let orders = BufReader::new(script.0.stdout.take().unwrap());
    for line in orders.lines().map_while(Result::ok) {
        match stage.order(&line) {
            Some(answer) => writeln!(answers, "{answer}").unwrap(),
            None => println!("{line}"),
        }
    }
    let status = script.0.wait().unwrap();
    assert!(status.success(), "what the script says is above");
}

#[test]
fn cells_fill_in_while_devices_answer() {
    run(
        "live.mjs",
        r#"
        [lookup]
        latency = "5ms"
        [[clusters]]
        id = "core"
        nodes = ["db[1-3]", { ids = "late", lookup = { latency = "300ms" } }]
        switches = ["1", { ids = "2", lookup = { script = ["refused"] } }]
        [[clusters]]
        id = "edge"
        nodes = [{ ids = "silent", lookup = { script = ["hang"], timeout = "1h" } }]
        switches = "tor[1-2]"
        [collect]
        deadline = "1h"
        "#,
    );
}

#[test]
fn a_crash_appears_and_heals() {
    run(
        "crash.mjs",
        r#"
        [lookup]
        latency = "1ms"
        [supervision]
        backoff = { min = "1ms", max = "2ms" }
        [[clusters]]
        id = 1
        nodes = ["1-2", { ids = "3", lookup = { script = ["ok", "panic", "ok"] } }]
        switches = "1"
        "#,
    );
}

#[test]
fn devices_that_are_simulated_are_said_to_be() {
    run(
        "demonstration.mjs",
        "[[clusters]]\nid = 1\nnodes = \"1-2\"\n",
    );
}

#[test]
fn what_is_left_alone_is_a_second_fact_and_can_be_reset() {
    run(
        "held.mjs",
        r#"
        [lookup]
        latency = "1ms"
        breaker = { failures = 1, open = { min = "1h", max = "1h" } }
        [supervision]
        intensity = 0
        quarantine = "1h"
        [[clusters]]
        id = 1
        nodes = [
            "1",
            { ids = "refused", lookup = { script = ["refused", "ok", "ok"] } },
            { ids = "crashes", lookup = { script = ["panic", "ok", "ok"] } },
        ]
        switches = [{ ids = "locked", lookup = { script = ["auth", "ok", "ok"] } }]
        "#,
    );
}

#[test]
fn a_lost_connection_is_said_and_recovers() {
    run(
        "lost.mjs",
        "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-3\"\n",
    );
}

#[test]
fn an_event_source_makes_one_roll_call() {
    run(
        "events.mjs",
        "[lookup]\nlatency = \"1ms\"\n[[clusters]]\nid = 1\nnodes = \"1-3\"\n",
    );
}

#[test]
fn who_has_which_cluster_is_shown_where_the_fleet_is_shared() {
    run_on(
        "workers.mjs",
        Stage::new(
            r#"
            [lookup]
            latency = "1ms"
            [[clusters]]
            id = 1
            nodes = "1-3"
            [[clusters]]
            id = "a-rack-with-a-long-name.in.a-rather-deep.domain.example"
            switches = "1-2"
            "#,
            Some(Nats::start()),
        ),
    );
}

#[test]
fn what_a_device_says_stays_text() {
    run(
        "hostile.mjs",
        r#"
        [lookup]
        driver = "exec"
        [[clusters]]
        id = 1
        nodes = [
            { ids = "facts", lookup = { command = ["echo", '{{"<b>name</b>": "<img src=x onerror=alert(1)>", "list": [{{"a": 1}}, 2]}}'] } },
            { ids = "error", lookup = { output = "nagios", command = ["sh", "-c", "echo '<img src=x onerror=alert(2)><script>alert(3)</script>'; exit 2"] } },
        ]
        "#,
    );
}

#[test]
fn the_page_of_the_interface_needs_no_script() {
    run("docs.mjs", "[[clusters]]\nid = 1\nnodes = \"1\"\n");
}

/// Every outcome that a script can name.
const MANY_OUTCOMES: &str = r#"
    [lookup]
    latency = "2ms"
    [supervision]
    intensity = 0
    backoff = { min = "10m", max = "10m" }
    [[clusters]]
    id = "core"
    nodes = ["ok[1-20]", { ids = "failed", lookup = { script = ["fail"] } }, { ids = "refused", lookup = { script = ["refused"] } }, { ids = "unreachable", lookup = { script = ["unreachable"] } }]
    switches = [{ ids = "auth", lookup = { script = ["auth"] } }, { ids = "protocol", lookup = { script = ["protocol"] } }, { ids = "too_large", lookup = { script = ["too_large"] } }]
    [[clusters]]
    id = "a-cluster-with-a-long-name.in.a-rather-deep.domain.example"
    nodes = [{ ids = "hangs", lookup = { script = ["hang"], timeout = "20ms" } }, { ids = "crashes", lookup = { script = ["panic"] } }, "a-node-with-a-long-name-[1-3].in.a-rather-deep.domain.example"]
    "#;

#[test]
fn nothing_keeps_people_out_in_light_and_dark() {
    run("looks.mjs", MANY_OUTCOMES);
}

#[test]
fn the_keyboard_alone_gets_everywhere() {
    run("keyboard.mjs", MANY_OUTCOMES);
}

#[test]
fn a_token_is_asked_for_and_sent() {
    run(
        "token.mjs",
        r#"
        allow_inline_secrets = true
        [http]
        tokens = [
            { name = "viewer", role = "read", token = "read-0123456789abcdef0123456789abcdef" },
            { name = "ops", role = "admin", token = "admin-0123456789abcdef0123456789abcdef" },
        ]
        [lookup]
        latency = "1ms"
        [[clusters]]
        id = 1
        nodes = "1-3"
        "#,
    );
}

#[test]
fn ten_thousand_devices_stay_smooth() {
    run(
        "many.mjs",
        r#"
        [lookup]
        latency = "1ms"
        timeout = "1h"
        [collect]
        deadline = "1h"
        [[clusters]]
        id = "big"
        nodes = "n[00001-06000]"
        switches = "1-1000"
        [[clusters]]
        id = "small"
        nodes = ["1-2990", { ids = "x[1-10]", lookup = { script = ["refused"] } }]
        "#,
    );
}

/// Writes the pictures of the README: `cargo nextest run --test page pictures --run-ignored only`.
#[test]
#[ignore = "writes docs/images"]
fn pictures() {
    run(
        "pictures.mjs",
        r#"
        [lookup]
        latency = "40ms"
        jitter = "30ms"
        [supervision]
        backoff = { min = "10ms", max = "20ms" }
        [[clusters]]
        id = "core"
        nodes = ["db[1-6]", { ids = "db7", lookup = { script = ["ok", "panic"] } }]
        switches = "spine[1-2]"
        [[clusters]]
        id = "edge"
        nodes = [
            "web[01-36]",
            { ids = "web37", lookup = { latency = "900ms", jitter = "0s" } },
            { ids = "web38", lookup = { script = ["hang"], timeout = "1s" } },
            { ids = "web39", lookup = { script = ["refused"] } },
        ]
        switches = ["tor[1-4]", { ids = "tor5", lookup = { script = ["auth"] } }]
        [[clusters]]
        id = 3
        nodes = ["1-8", { ids = "9", lookup = { script = ["unreachable"] } }]
        switches = "1-2"
        "#,
    );
}
