//! Beside Prometheus itself, which scrapes the same exporter on the same schedule.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::measure::{ROUNDS, cpu, median, memory};
use crate::servers::Server;
use crate::write_config_with;

const TARGETS: usize = 50;
const WINDOW: Duration = Duration::from_secs(10);

pub(crate) fn beside_prometheus(dir: &Path) {
    println!(
        "\n{TARGETS} targets on one node_exporter, each scraped every second, for {WINDOW:?}: median of {ROUNDS}\n"
    );
    println!(
        "| scraper | scrapes a second | its processor time a scrape | ratio to prometheus | in RAM after |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    let exporter = Server::node_exporter();
    let targets: String = (1..=TARGETS)
        .map(|n| {
            format!(
                "  - targets: ['{}']\n    labels: {{ __param_n: '{n}', n: '{n}' }}\n",
                exporter.addr
            )
        })
        .collect();
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
         scrape_configs:\n- job_name: node\n  static_configs:\n{targets}"
    );
    let url = format!("http://{}/metrics?n={{id}}", exporter.addr);
    let lookup = format!("driver = \"prometheus\"\nurl = {url:?}\n");
    let fleet = write_config_with(dir, &lookup, TARGETS, "every = \"1s\"\n");
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // One at a time, as both want the same two cores, and so does the exporter.
        let prometheus = Server::prometheus(dir, &config);
        theirs.push(Window::of(&prometheus, scrapes_by_prometheus));
        let up = prometheus.get("/api/v1/query?query=sum(up)");
        assert!(up.contains(&format!("\"{TARGETS}\"")), "{up}");
        drop(prometheus);
        let fleetcall = Server::fleetcall(&fleet);
        ours.push(Window::of(&fleetcall, lookups_by_fleetcall));
        let counters = counters(&fleetcall);
        assert_eq!(counters["lookups_failed"], 0, "{counters}");
    }
    let base = median(theirs.iter().map(Window::each));
    for (name, windows) in [("prometheus", &theirs), ("fleetcall", &ours)] {
        let each = median(windows.iter().map(Window::each));
        println!(
            "| {name} | {:.1} | {:.2} ms | {:.2} | {:.0} MiB |",
            median(windows.iter().map(|it| it.scrapes / it.seconds)),
            each * 1e3,
            each / base,
            median(windows.iter().map(|it| it.memory)) / 1024.0,
        );
    }
}

/// What one did in that time.
struct Window {
    seconds: f64,
    scrapes: f64,
    cpu: f64,
    memory: f64,
}

impl Window {
    fn of(server: &Server, scrapes: fn(&Server) -> f64) -> Self {
        // Both give each target its own place within the interval; begin when all had their turn.
        let begun = |_| {
            std::thread::park_timeout(Duration::from_millis(100));
            scrapes(server) >= (2 * TARGETS) as f64
        };
        assert!((0..300).any(begun), "it does not scrape");
        let (start, before, cpu_before) = (Instant::now(), scrapes(server), cpu(server.pid()));
        while let Some(left) = WINDOW.checked_sub(start.elapsed()) {
            std::thread::park_timeout(left + Duration::from_millis(1));
        }
        let used = cpu(server.pid()) - cpu_before;
        Self {
            seconds: start.elapsed().as_secs_f64(),
            scrapes: scrapes(server) - before,
            cpu: used,
            memory: memory(server.pid(), "VmRSS:") as f64,
        }
    }

    fn each(&self) -> f64 {
        self.cpu / self.scrapes
    }
}

/// By its own count of how far apart its scrapes are.
fn scrapes_by_prometheus(server: &Server) -> f64 {
    let page = server.get("/metrics");
    let name = "prometheus_target_interval_length_seconds_count{interval=\"1s\"} ";
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |count| count.parse().unwrap())
}

fn lookups_by_fleetcall(server: &Server) -> f64 {
    counters(server)["lookups"].as_f64().unwrap()
}

fn counters(server: &Server) -> Value {
    let tree: Value =
        serde_json::from_str(&server.get("/v1/supervision?devices=failures")).unwrap();
    tree["counters"].clone()
}
