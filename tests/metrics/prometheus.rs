//! A real Prometheus, with the repository's alert rules, that scrapes a fleetcall.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Answer, TestApp, run, send, stderr, stdout};
use crate::scrape::eventually;
use crate::shown::expressions;

const FLEET: &str = r#"
    [lookup]
    latency = "1ms"
    [[clusters]]
    id = "edge"
    nodes = ["1-3", { ids = "fails", lookup = { script = ["fail"] } }]
    switches = { file = "switches.json" }
"#;

/// A fleetcall alone whose every metric has a value.
pub fn fleetcall() -> TestApp {
    let app = fleetcall_with(&[]);
    assert_eq!(app.get().status, 202);
    app
}

/// With these arguments.
pub fn fleetcall_with(arguments: &[&str]) -> TestApp {
    let (dir, path) = crate::harness::config_file(FLEET);
    let list = r#"[{"targets": ["tor1"]}]"#;
    std::fs::write(dir.path().join("switches.json"), list).unwrap();
    TestApp::start_on(dir, path, arguments)
}

/// Debian's `prometheus`, killed when dropped.
struct Prometheus {
    child: Child,
    addr: SocketAddr,
    _dir: TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let dir = TempDir::new().unwrap();
        let rules = config("prometheus/fleetcall.rules.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{rules:?}]\n\
             scrape_configs:\n  - job_name: fleetcall\n    static_configs: [{{targets: [\"{target}\"]}}]\n"
        );
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, text).unwrap();
        // Free until a moment ago: it takes no port that is open already.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={addr}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is not installed; .ci/test installs it");
        let prometheus = Self {
            child,
            addr,
            _dir: dir,
        };
        eventually("Prometheus is ready", || {
            std::net::TcpStream::connect(addr).ok()?;
            (send(addr, "GET", "/-/ready", &[]).status == 200).then_some(())
        });
        prometheus
    }

    fn api(&self, path: &str) -> Answer {
        send(self.addr, "GET", &format!("/api/v1/{path}"), &[])
    }

    fn query(&self, expression: &str) -> Value {
        let answer = self.api(&format!("query?query={}", percent_encoded(expression)));
        let json = answer.json();
        assert_eq!(json["status"], "success", "{expression}: {json}");
        json["data"]["result"].clone()
    }

    /// The value of an expression with one result, when that is there.
    fn value(&self, expression: &str) -> String {
        let result = || {
            let result = self.query(expression);
            Some(result[0]["value"][1].as_str()?.to_owned())
        };
        eventually(expression, result)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub fn config(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(file)
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_real_prometheus_scrapes_it_and_answers_for_it() {
    let app = fleetcall();
    let prometheus = Prometheus::start(app.addr);
    // Its own view of the scrape; it asks for OpenMetrics, and parses strictly.
    assert_eq!(prometheus.value("up{job='fleetcall'} == 1"), "1");
    let targets = prometheus.api("targets").json();
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!(
        (&target["health"], &target["lastError"]),
        (&"up".into(), &"".into())
    );
    for (expression, value) in [
        ("sum(fleetcall_up)", "4"),
        ("count(fleetcall_up)", "5"),
        ("count(fleetcall_up{kind='switch'})", "1"),
        ("sum(fleetcall_devices{state='down'})", "1"),
        ("fleetcall_collects_total{outcome='partial'}", "1"),
        ("sum(fleetcall_lookups_total)", "5"),
        ("fleetcall_lookup_duration_seconds_count", "5"),
        ("fleetcall_lookup_duration_seconds_bucket{le='+Inf'}", "5"),
        ("min(fleetcall_thread_up)", "1"),
        ("count(fleetcall_last_success_timestamp_seconds)", "4"),
        (
            "time() - max(fleetcall_last_success_timestamp_seconds) < bool 120",
            "1",
        ),
        ("process_resident_memory_bytes > bool 1000000", "1"),
    ] {
        assert_eq!(prometheus.value(expression), value, "{expression}");
    }
    let metadata = |name: &str| {
        let json = prometheus
            .api(&format!("targets/metadata?metric={name}"))
            .json();
        json["data"][0]["type"].as_str().map(str::to_owned)
    };
    for (name, kind) in [
        ("fleetcall_up", "gauge"),
        ("fleetcall_lookups", "counter"),
        ("fleetcall_lookup_duration_seconds", "histogram"),
        ("fleetcall_build", "info"),
    ] {
        assert_eq!(metadata(name).as_deref(), Some(kind), "{name}");
    }
    // The rules are loaded and evaluated without an error.
    let healthy = || {
        let rules = prometheus.api("rules").json();
        let groups = rules["data"]["groups"].as_array()?.clone();
        let mut rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap());
        let all_well = groups.len() == 2 && rules.all(|rule| rule["health"] == "ok");
        all_well.then_some(())
    };
    eventually("all rules are evaluated", healthy);
    // So is whatever the dashboard asks.
    for expression in expressions() {
        let expression = expression
            .replace("$__rate_interval", "1m")
            .replace("$job", "fleetcall")
            .replace("$instance", ".*")
            .replace("$cluster", ".*");
        prometheus.query(&expression);
    }
}

#[test]
fn the_alert_rules_pass_their_own_tests() {
    for arguments in [
        ["check", "rules", "fleetcall.rules.yml"],
        ["test", "rules", "fleetcall.test.yml"],
    ] {
        let mut promtool = Command::new("promtool");
        promtool.args(arguments).current_dir(config("prometheus"));
        let output = run(&mut promtool);
        let said = stdout(&output) + &stderr(&output);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("SUCCESS"), "{said}");
    }
}
