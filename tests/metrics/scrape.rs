//! Reads `/metrics`, and waits for what it is to say.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

pub use crate::harness::eventually;
use crate::harness::{Answer, TestApp, send, stderr, stdout};

/// The samples of one scrape: each series, as it is written, with its value.
#[derive(Debug)]
pub struct Samples(pub BTreeMap<String, f64>);

impl Samples {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        };
        let samples: Vec<(String, f64)> = lines.map(sample).collect();
        let count = samples.len();
        let samples = Self(samples.into_iter().collect());
        assert_eq!(samples.0.len(), count, "a series stands there twice");
        samples
    }

    #[track_caller]
    pub fn of(&self, series: &str) -> f64 {
        let value = self.0.get(series);
        *value.unwrap_or_else(|| panic!("no {series} in {:#?}", self.0.keys()))
    }

    /// Whether there is any series of this name.
    pub fn has(&self, name: &str) -> bool {
        self.count(name) > 0
    }

    pub fn count(&self, name: &str) -> usize {
        let names = self
            .0
            .keys()
            .map(|series| series.split('{').next().unwrap());
        names.filter(|found| *found == name).count()
    }
}

pub fn text(app: &TestApp) -> String {
    let answer = app.request("GET", "/metrics", &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

pub fn scrape(app: &TestApp) -> Samples {
    Samples::parse(&text(app))
}

/// Scrapes until this is so.
#[track_caller]
pub fn scrape_until(app: &TestApp, what: &str, is_so: impl Fn(&Samples) -> bool) -> Samples {
    let samples = || Some(scrape(app)).filter(&is_so);
    eventually(what, samples)
}

/// Asks this path until the answer has this status.
#[track_caller]
pub fn answer_until(addr: SocketAddr, path: &str, status: u16) -> Answer {
    let answer = || Some(send(addr, "GET", path, &[])).filter(|answer| answer.status == status);
    eventually(&format!("{path} answers {status}"), answer)
}

/// `promtool` finds nothing to say of what this one shows.
pub fn is_well_formed(app: &TestApp) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is not installed; .ci/test installs it");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text(app).as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = stdout(&output) + &stderr(&output);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
