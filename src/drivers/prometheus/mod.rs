//! The `prometheus` driver: scrapes an exposition, and makes facts of what node_exporter says.

#[cfg(fuzzing)]
pub(super) mod fuzz;
mod parse;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::ACCEPT;
use serde_json::Value;

use crate::domain::{Allow, Facts, LookupError, PrometheusSettings};
use crate::drivers::Call;
use crate::drivers::facts::{FactSheet, whole};
use crate::net::web::{Web, WebAnswer};
use parse::{Sample, parse};

/// What we read, best first (Prometheus' own scraper asks alike).
const ACCEPTED: &str =
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.9,*/*;q=0.1";

/// The most series of the metrics that the configuration names, over all of them: a metric with a
/// label for each client would otherwise fill an answer.
const MAX_METRICS: usize = 1_000;

/// The longest name of a series, labels included, in bytes.
const MAX_SERIES_LEN: usize = 4096;

/// A group of exporters.
#[derive(Debug)]
pub(crate) struct Prometheus {
    web: Web,
    metrics: Vec<String>,
}

impl Prometheus {
    pub(super) fn new(
        settings: PrometheusSettings,
        timeout: Duration,
        allow: Option<Arc<Allow>>,
    ) -> Self {
        let PrometheusSettings { web, metrics } = settings;
        let web = Web::new(web, timeout, allow);
        Self { web, metrics }
    }

    pub(super) async fn lookup(&self, call: Call<'_>) -> Result<Facts, LookupError> {
        let answer = self.web.ask(call, &[(ACCEPT, ACCEPTED)]).await?;
        self.read(&answer).map(Facts::from)
    }

    fn read(&self, answer: &WebAnswer) -> Result<FactSheet, LookupError> {
        if !answer.status.is_success() {
            return Err(LookupError::Protocol(format!(
                "the status is {}",
                answer.status
            )));
        }
        let text = std::str::from_utf8(&answer.body)
            .map_err(|error| LookupError::Protocol(format!("the exposition: {error}")))?;
        let mut facts = FactSheet::default();
        let (mut now, mut boot, mut count, mut has_long) = (None, None, 0_usize, false);
        let parsed = parse(text, |sample| {
            if self.metrics.iter().any(|name| name == sample.name) {
                count += 1;
                let series = series(&sample);
                has_long |= series.len() > MAX_SERIES_LEN;
                if count <= MAX_METRICS && !has_long {
                    facts.metrics.insert(series, number(sample.value));
                }
            }
            match sample.name {
                "node_time_seconds" => now = Some(sample.value),
                "node_boot_time_seconds" => boot = Some(sample.value),
                _ => learn(&mut facts, &sample),
            }
        });
        parsed.map_err(|(line, what)| {
            LookupError::Protocol(format!("line {line} of the exposition: {what}"))
        })?;
        if has_long {
            return Err(LookupError::Protocol(format!(
                "a series of the metrics that are asked for has more than {MAX_SERIES_LEN} bytes"
            )));
        }
        if count > MAX_METRICS {
            return Err(LookupError::Protocol(format!(
                "the metrics that are asked for have {count} series, at most {MAX_METRICS}"
            )));
        }
        let uptime = now.zip(boot).map(|(now, boot): (f64, f64)| now - boot);
        facts.uptime_seconds = uptime.filter(|uptime| uptime.is_finite());
        for list in [&mut facts.network_up, &mut facts.network_down]
            .into_iter()
            .flatten()
        {
            list.sort_unstable();
        }
        Ok(facts)
    }
}

/// What node_exporter says of a machine.
fn learn(facts: &mut FactSheet, sample: &Sample<'_>) {
    let value = Some(sample.value).filter(|value| value.is_finite());
    let bytes = || whole(sample.value);
    let text = |label| sample.label(label).map(str::to_owned);
    match sample.name {
        "node_uname_info" => {
            facts.hostname = text("nodename");
            facts.kernel_release = text("release");
        }
        "node_load1" => facts.load_1m = value,
        "node_load5" => facts.load_5m = value,
        "node_load15" => facts.load_15m = value,
        "node_memory_MemTotal_bytes" => facts.memory_total_bytes = bytes(),
        "node_memory_MemAvailable_bytes" => facts.memory_available_bytes = bytes(),
        "node_filesystem_size_bytes" if sample.label("mountpoint") == Some("/") => {
            facts.root_filesystem_size_bytes = bytes();
        }
        "node_filesystem_avail_bytes" if sample.label("mountpoint") == Some("/") => {
            facts.root_filesystem_available_bytes = bytes();
        }
        "node_network_up" => {
            let Some(device) = text("device").filter(|device| device != "lo") else {
                return;
            };
            facts.network_up.get_or_insert_default();
            facts.network_down.get_or_insert_default();
            let list = if sample.value > 0.0 {
                &mut facts.network_up
            } else {
                &mut facts.network_down
            };
            list.get_or_insert_default().push(device);
        }
        _ => {}
    }
}

/// The sample's name with its labels, as an exposition writes it.
fn series(sample: &Sample<'_>) -> String {
    if sample.labels.is_empty() {
        return sample.name.to_owned();
    }
    let label = |(name, value): &(&str, String)| format!("{name}={value:?}");
    let labels: Vec<String> = sample.labels.iter().map(label).collect();
    format!("{}{{{}}}", sample.name, labels.join(","))
}

/// JSON has no infinities: those are texts, as Prometheus' own API has all values.
fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(
        || {
            Value::from(if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            })
        },
        Value::Number,
    )
}
