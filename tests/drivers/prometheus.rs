//! The `prometheus` driver, against Debian's `prometheus-node-exporter` and broken ones.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::harness::send;
use crate::servers::{answers, ask, http, nobody, request, server, wait_for};

/// A real node_exporter, killed when dropped.
pub struct NodeExporter {
    child: Child,
    pub addr: SocketAddr,
}

impl NodeExporter {
    pub fn start() -> Self {
        let addr = nobody();
        let mut child = Command::new("prometheus-node-exporter")
            .arg(format!("--web.listen-address={addr}"))
            .arg("--web.max-requests=0")
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-node-exporter is not installed; .ci/test installs it");
        wait_for(&mut child, addr);
        Self { child, addr }
    }
}

impl Drop for NodeExporter {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn url(addr: SocketAddr, more: &str) -> String {
    format!("driver = \"prometheus\"\nurl = \"http://{addr}/metrics\"\ntimeout = \"2m\"\n{more}")
}

fn text(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_real_node_exporter_gives_the_facts_that_the_machine_itself_gives() {
    let exporter = NodeExporter::start();
    let uptime = || -> f64 {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        uptime.split(' ').next().unwrap().parse().unwrap()
    };
    let before = uptime();
    let node = ask(&url(
        exporter.addr,
        "metrics = [\"node_procs_running\", \"node_network_mtu_bytes\", \"nothing\"]",
    ));
    assert_eq!(node.fact("hostname"), text("uname", &["-n"]).as_str());
    assert_eq!(node.fact("kernel_release"), text("uname", &["-r"]).as_str());
    let found = node.fact("uptime_seconds").as_f64().unwrap();
    // It is reckoned from the time of day, which may have been set since the boot.
    let right = before - 60.0..=uptime() + 60.0;
    assert!(right.contains(&found), "{found} {right:?}");
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(node.fact("memory_total_bytes"), total * 1024);
    assert!(node.fact("memory_available_bytes").as_f64().unwrap() > 0.0);
    for load in ["load_1m", "load_5m", "load_15m"] {
        assert!(node.fact(load).as_f64().unwrap() >= 0.0);
    }
    let metrics = node.fact("metrics").as_object().unwrap();
    assert!(metrics["node_procs_running"].as_f64().unwrap() >= 1.0);
    assert!(
        metrics.contains_key("node_network_mtu_bytes{device=\"lo\"}"),
        "{metrics:?}"
    );
    // The exporter's own client sees the same samples.
    let scraped = send(exporter.addr, "GET", "/metrics", &[]).body;
    for (name, line) in [
        ("memory_total_bytes", "node_memory_MemTotal_bytes "),
        ("root_filesystem_size_bytes", "node_filesystem_size_bytes{"),
    ] {
        let is_it = |it: &&str| {
            it.starts_with(line) && (!line.ends_with('{') || it.contains("mountpoint=\"/\""))
        };
        let Some(sample) = scraped.lines().find(is_it) else {
            // A container may hide its root from the exporter; then we must not know it either.
            assert!(node.node["facts"][name].is_null(), "{name}");
            continue;
        };
        let value: f64 = sample.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(node.fact(name).as_f64(), Some(value), "{sample}");
    }
    let up: Vec<&str> = scraped
        .lines()
        .filter(|line| line.starts_with("node_network_up{") && line.ends_with(" 1"))
        .filter_map(|line| line.split('"').nth(1))
        .filter(|device| *device != "lo")
        .collect();
    if let Some(found) = node.node["facts"]["network_up"].as_array() {
        let mut up = up;
        up.sort_unstable();
        assert_eq!(found, &up);
    } else {
        assert!(up.is_empty(), "{up:?}");
    }
}

#[test]
fn openmetrics_and_gzip_are_read() {
    let open = "# TYPE node_load1 gauge\nnode_load1 0.5\nx_total{a=\"b,c}\"} 3 # {trace_id=\"1\"} 1\n# EOF\n";
    let headers = "Content-Type: application/openmetrics-text; version=1.0.0\r\n";
    let addr = answers(http("200 OK", headers, open.as_bytes()));
    let node = ask(&url(addr, "metrics = [\"x_total\"]"));
    assert_eq!(node.fact("load_1m"), 0.5);
    assert_eq!(node.fact("metrics")["x_total{a=\"b,c}\"}"], 3.0);
    let zipped = Command::new("sh")
        .args([
            "-c",
            "printf 'node_load1 0.25\\nnode_boot_time_seconds 10\\n' | gzip",
        ])
        .output()
        .unwrap()
        .stdout;
    let addr = server(move |mut stream| {
        let head = request(&mut stream).to_lowercase();
        assert!(head.contains("accept-encoding: gzip"), "{head}");
        assert!(
            head.contains("accept: application/openmetrics-text"),
            "{head}"
        );
        stream
            .write_all(&http("200 OK", "Content-Encoding: gzip\r\n", &zipped))
            .ok();
    });
    let node = ask(&url(addr, ""));
    assert_eq!(node.fact("load_1m"), 0.25);
    assert!(
        node.node["facts"]["uptime_seconds"].is_null(),
        "half of what it takes is not zero"
    );
}

#[test]
fn what_is_no_exposition_is_a_protocol_fault_with_its_line() {
    let page = answers(http("200 OK", "", b"<html><body>login</body></html>"));
    ask(&url(page, "")).fails("protocol", "line 1 of the exposition: no metric's name");
    let cut = answers(http("200 OK", "", b"node_load1 1\nnode_load5{a=\"b"));
    ask(&url(cut, "")).fails(
        "protocol",
        "line 2 of the exposition: a value without its closing",
    );
    let binary = answers(http("200 OK", "", b"node_load1 1\n\xff\xfe"));
    ask(&url(binary, "")).fails("protocol", "the exposition: invalid utf-8");
    ask(&url(
        answers(http("500 Internal Server Error", "", b"")),
        "",
    ))
    .fails("protocol", "the status is 500");
    let many: String = (0..2_000).map(|n| format!("m{{n=\"{n}\"}} 1\n")).collect();
    let many = answers(http("200 OK", "", many.as_bytes()));
    ask(&url(many, "metrics = [\"m\"]")).fails("protocol", "have 2000 series, at most 1000");
    assert_eq!(ask(&url(many, "")).node["error"], serde_json::Value::Null);
}

#[test]
fn what_is_no_number_is_no_fact_and_floods_are_refused() {
    let addr = answers(http(
        "200 OK",
        "",
        b"node_load1 NaN\nnode_time_seconds 5\nnode_boot_time_seconds -Inf\n",
    ));
    assert_eq!(ask(&url(addr, "")).node["facts"], serde_json::Value::Null);
    let labels: String = (0..200_000).map(|n| format!("l{n}=\"1\",")).collect();
    let flood = answers(http("200 OK", "", format!("m{{{labels}}} 1\n").as_bytes()));
    ask(&url(flood, "metrics = [\"m\"]"))
        .fails("protocol", "line 1 of the exposition: more labels than");
    let long = format!("m{{l=\"{}\"}} 1\n", "x".repeat(10_000));
    let long = answers(http("200 OK", "", long.as_bytes()));
    ask(&url(long, "metrics = [\"m\"]")).fails("protocol", "has more than 4096 bytes");
}

#[test]
fn infinities_are_texts_as_json_has_none() {
    let addr = answers(http("200 OK", "", b"a +Inf\nb -Inf\nc NaN\nd 1e3\n"));
    let node = ask(&url(addr, "metrics = [\"a\", \"b\", \"c\", \"d\"]"));
    let expected = serde_json::json!({"a": "+Inf", "b": "-Inf", "c": "NaN", "d": 1000.0});
    assert_eq!(node.fact("metrics"), &expected);
}
