//! Fuzzed: expositions, and what is made of them.

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::parse::{Sample, parse};
use super::{MAX_METRICS, MAX_SERIES_LEN, Prometheus};
use crate::domain::{PrometheusSettings, Template};
use crate::drivers::fuzz::{check, web};
use crate::net::web::WebAnswer;

static DRIVER: LazyLock<Option<Prometheus>> = LazyLock::new(|| {
    let url = Template::parse("http://{id}:9100/metrics").ok()?;
    let metrics = ["up", "node_load1", "http_requests_total", "a"].map(str::to_owned);
    let (web, metrics) = (web(url), metrics.into());
    Some(Prometheus::new(
        PrometheusSettings { web, metrics },
        Duration::from_secs(10),
        None,
    ))
});

/// An exposition: what is read of it reads the same when it is written again.
pub fn exposition(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let mut samples = 0;
        let parsed = parse(text, |sample| {
            samples += 1;
            assert!(sample.labels.len() <= super::parse::MAX_LABELS);
            again(&sample);
        });
        let lines = text.lines().count();
        assert!(samples <= lines, "{samples} samples on {lines} lines");
        if let Err((line, what)) = parsed {
            assert!((1..=lines).contains(&line), "line {line} of {lines}");
            assert!(!what.is_empty());
        }
    }
    let answer = WebAnswer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: bytes.to_vec(),
    };
    let Some(driver) = &*DRIVER else {
        return;
    };
    let read = driver.read(&answer);
    if let Ok(facts) = &read {
        assert!(facts.metrics.len() <= MAX_METRICS);
        let is_short = |series: &String| series.len() <= MAX_SERIES_LEN;
        assert!(facts.metrics.keys().all(is_short));
    }
    check(read);
}

fn again(sample: &Sample<'_>) {
    let escape = |text: &str| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        text.replace('\n', "\\n")
    };
    let labels = sample.labels.iter();
    let labels = labels.map(|(name, value)| format!("{name}=\"{}\"", escape(value)));
    let labels: Vec<String> = labels.collect();
    let (name, labels, value) = (sample.name, labels.join(","), sample.value);
    // As Go writes it.
    let number = value.to_string().replace("inf", "Inf");
    let mut count = 0;
    let parsed = parse(&format!("{name}{{{labels}}} {number}"), |again| {
        count += 1;
        assert_eq!((again.name, &again.labels), (name, &sample.labels));
        assert!(again.value == value || (again.value.is_nan() && value.is_nan()));
    });
    assert_eq!((parsed, count), (Ok(()), 1));
}
