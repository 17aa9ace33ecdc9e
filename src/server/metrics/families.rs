//! What `/metrics` shows of the service: each family with its type, help and labels.
//!
//! Labels are of closed sets, ids of the configuration and its keys; never what a device, a client
//! or an error says. `docs/metrics.md` has the table, and a test holds it against this.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use actix_web::web;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::devices::{self, DeviceSummary};
use super::writer::Families;
use crate::domain::{DriverKind, FaultKind, LocalReason};
use crate::drivers;
use crate::engine::collector::RemoteSnapshot;
use crate::engine::watchdog::WatchdogHandle;
use crate::reload::DiscoveryState;
use crate::server::metrics::{distributed, process};
use crate::server::state::ServerState;
use crate::server::traffic::Traffic;
use crate::telemetry::{self, Metrics};

/// The kinds of fault that a lookup ends with; the others are those of devices that were not asked
/// or of lookups that did not end.
const LOOKUP_FAULTS: [FaultKind; 7] = [
    FaultKind::TimedOut,
    FaultKind::Refused,
    FaultKind::Unreachable,
    FaultKind::Auth,
    FaultKind::Protocol,
    FaultKind::TooLarge,
    FaultKind::Failed,
];

/// Everything there is to show, read when it is written.
pub(crate) fn registry(state: &web::Data<ServerState>, remote: Option<RemoteSnapshot>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ServiceFamilies {
        state: state.clone(),
        remote: remote.map(Arc::new),
    }));
    registry
}

#[derive(Debug)]
struct ServiceFamilies {
    state: web::Data<ServerState>,
    remote: Option<Arc<RemoteSnapshot>>,
}

impl Collector for ServiceFamilies {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        let ServerState {
            collector,
            reload,
            watchdog,
            workers,
            traffic,
            ..
        } = &**self.state;
        let metrics = collector.metrics();
        let snapshot = collector.snapshot(self.remote.clone());
        let summary = DeviceSummary::of(&snapshot);
        families.build()?;
        families.collects(metrics)?;
        families.lookups(metrics, &summary)?;
        families.actors(metrics)?;
        families.threads(watchdog)?;
        families.lists(metrics, &reload.discoveries())?;
        families.requests(traffic)?;
        families.log()?;
        families.sessions()?;
        devices::encode(&mut families, &snapshot, &summary)?;
        if let Some(workers) = workers {
            let shows_clusters = devices::shows_clusters(&snapshot);
            distributed::encode(&mut families, &workers.sharing(), shows_clusters)?;
        }
        process::encode(&mut families)
    }
}

impl Families<'_> {
    fn build(&mut self) -> fmt::Result {
        let mut build = self.family(
            "fleetcall_build",
            "What runs here; always 1.",
            None,
            MetricType::Info,
        )?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }

    fn log(&mut self) -> fmt::Result {
        self.counter(
            "fleetcall_log_lines_dropped",
            "Lines of the log that could not be written, as its reader did not keep up or is gone.",
            [([], telemetry::lines_dropped())],
        )
    }

    fn sessions(&mut self) -> fmt::Result {
        self.counter(
            "fleetcall_redfish_sessions_left",
            "Sessions that may have been left on Redfish services, as they could not be ended.",
            [([], drivers::sessions_left())],
        )
    }

    fn requests(&mut self, traffic: &Traffic) -> fmt::Result {
        let mut family = self.family(
            "fleetcall_http_requests",
            "Requests that were answered, by the pattern of their path and the status of the answer.",
            None,
            MetricType::Counter,
        )?;
        for (path, code, count) in traffic.answers() {
            let labels = [("path", path.to_owned()), ("code", code.to_string())];
            let mut sample = family.encode_family(&labels)?;
            sample.encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
        self.counter(
            "fleetcall_http_requests_denied",
            "Requests and connections that were refused, by the reason.",
            traffic
                .denials()
                .map(|(denial, count)| ([("reason", denial.as_str())], count)),
        )
    }

    fn collects(&mut self, metrics: &Metrics) -> fmt::Result {
        let partial = metrics.collects_partial();
        // Read second, so that it is not less.
        let complete = metrics.collects().saturating_sub(partial);
        let outcomes = [
            ("complete", complete),
            ("partial", partial),
            ("cancelled", metrics.collects_cancelled()),
            ("refused", metrics.collects_refused()),
        ];
        self.counter(
            "fleetcall_collects",
            "Roll calls by what came of them: every device answered, some failed, the caller went away, or it was refused.",
            outcomes.map(|(outcome, count)| ([("outcome", outcome)], count)),
        )?;
        self.counter(
            "fleetcall_collect_faults",
            "Devices that failed, summed over all roll calls.",
            FaultKind::ALL.map(|kind| ([("kind", kind.as_str())], metrics.faults(kind))),
        )?;
        self.gauge(
            "fleetcall_collects_in_flight",
            "Roll calls under way, answers that are being sent included.",
            None,
            [([], metrics.census().collects)],
        )?;
        self.gauge(
            "fleetcall_mailbox_messages",
            "Parts of roll calls that wait in the mailboxes of clusters' actors.",
            None,
            [([("actor", "cluster")], metrics.mailboxes())],
        )
    }

    fn lookups(&mut self, metrics: &Metrics, summary: &DeviceSummary) -> fmt::Result {
        let drivers = DriverKind::ALL.into_iter();
        let is_used = |driver: &DriverKind| {
            summary.drivers[*driver as usize] || metrics.latency(*driver).count > 0
        };
        let drivers: Vec<_> = drivers.filter(is_used).collect();
        let outcomes = [None].into_iter().chain(LOOKUP_FAULTS.map(Some));
        let lookups = drivers.iter().flat_map(|&driver| {
            outcomes.clone().map(move |fault| {
                let outcome = fault.map_or("ok", FaultKind::as_str);
                let labels = [("driver", driver.as_str()), ("outcome", outcome)];
                (labels, metrics.lookups_by(driver, fault))
            })
        });
        self.counter(
            "fleetcall_lookups_local_failures",
            "Lookups that failed for want of something on this machine, by what it was.",
            LocalReason::ALL.map(|reason| {
                (
                    [("reason", reason.as_str())],
                    metrics.local_failures(reason),
                )
            }),
        )?;
        self.counter(
            "fleetcall_lookups",
            "Lookups that ended, by driver and by what came of them; retries are part of theirs.",
            lookups,
        )?;
        let mut durations = self.family(
            "fleetcall_lookup_duration",
            "How long lookups took that ended by themselves, retries included.",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for driver in drivers {
            let latency = metrics.latency(driver);
            let labels = [("driver", driver.as_str())];
            durations
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(
                    latency.sum.as_secs_f64(),
                    latency.count,
                    &latency.buckets,
                    None,
                )?;
        }
        self.gauge(
            "fleetcall_lookups_in_flight",
            "Lookups under way.",
            None,
            [([], metrics.census().lookups)],
        )?;
        let counters = [
            (
                "fleetcall_collects_joined",
                "Requests that joined a collect under way.",
                metrics.collects_joined(),
            ),
            (
                "fleetcall_lookups_joined",
                "Requests that joined a lookup of their device under way.",
                metrics.lookups_joined(),
            ),
            (
                "fleetcall_lookup_retries",
                "Times a lookup was tried again after a transient failure.",
                metrics.retries(),
            ),
            (
                "fleetcall_scheduled_lookups",
                "Lookups that the schedule began.",
                metrics.ticks(),
            ),
            (
                "fleetcall_scheduled_lookups_skipped",
                "Times a device was not asked though it was its time in the schedule.",
                metrics.ticks_skipped(),
            ),
        ];
        self.counters(counters)
    }

    fn actors(&mut self, metrics: &Metrics) -> fmt::Result {
        let counted = metrics.counters();
        let count = |name: &str| {
            let found = counted.iter().find(|(known, _)| *known == name);
            found.map_or(0, |&(_, count)| count)
        };
        self.counters([
            (
                "fleetcall_actor_crashes",
                "Actors that failed.",
                metrics.crashes(),
            ),
            (
                "fleetcall_actor_restarts",
                "Actors that run again after a failure.",
                metrics.restarts(),
            ),
            (
                "fleetcall_actor_quarantines",
                "Times an actor was quarantined.",
                metrics.quarantines(),
            ),
            (
                "fleetcall_breakers_opened",
                "Times a device's circuit breaker opened, for the first time or again.",
                metrics.breakers_opened(),
            ),
            (
                "fleetcall_breakers_closed",
                "Times a device's circuit breaker closed.",
                count("breakers_closed"),
            ),
        ])?;
        let refused = count("reloads_refused");
        let outcomes = [("applied", count("reloads")), ("refused", refused)];
        self.counter(
            "fleetcall_reloads",
            "Reloads of the configuration by what came of them.",
            outcomes.map(|(outcome, count)| ([("outcome", outcome)], count)),
        )
    }

    fn threads(&mut self, watchdog: &WatchdogHandle) -> fmt::Result {
        let threads = watchdog.threads();
        let mut up = self.family(
            "fleetcall_thread_up",
            "Whether roll calls finish on a thread that runs clusters.",
            None,
            MetricType::Gauge,
        )?;
        for (thread, health) in threads.iter().enumerate() {
            let labels = [("thread", thread.to_string())];
            let value = u32::from(health.trouble.is_none());
            up.encode_family(&labels)?.encode_gauge(&value)?;
        }
        let mut took = self.family(
            "fleetcall_thread_roll_call",
            "How long the watchdog's last roll call took there, or the one under way has taken if that is longer.",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (thread, health) in threads.iter().enumerate() {
            let labels = [("thread", thread.to_string())];
            let seconds = health.took.as_secs_f64();
            took.encode_family(&labels)?.encode_gauge(&seconds)?;
        }
        Ok(())
    }

    fn lists(&mut self, metrics: &Metrics, lists: &[DiscoveryState]) -> fmt::Result {
        let counted = metrics.counters();
        let count = |name: &str| {
            let found = counted.iter().find(|(known, _)| *known == name);
            found.map_or(0, |&(_, count)| count)
        };
        let failed = count("discoveries_failed");
        let ok = count("discoveries").saturating_sub(failed);
        self.counter(
            "fleetcall_discovery_reads",
            "Times a list of devices was read, or could not be.",
            [("ok", ok), ("failed", failed)]
                .map(|(outcome, count)| ([("outcome", outcome)], count)),
        )?;
        let up = |list: &DiscoveryState| Some(if list.error.is_none() { 1.0 } else { 0.0 });
        #[expect(clippy::cast_precision_loss, reason = "there are at most a million")]
        let devices = |list: &DiscoveryState| Some(list.devices as f64);
        #[expect(
            clippy::cast_precision_loss,
            reason = "there are at most some millions"
        )]
        let refused = |list: &DiscoveryState| Some(list.refused as f64);
        let read_at = |list: &DiscoveryState| {
            let since = list.read_at?.duration_since(UNIX_EPOCH);
            Some(since.unwrap_or_default().as_secs_f64())
        };
        self.list_gauge(
            "fleetcall_discovery_up",
            "Whether a list of devices could be read the last time.",
            None,
            lists,
            up,
        )?;
        self.list_gauge(
            "fleetcall_discovery_devices",
            "Devices of a list as it was last read.",
            None,
            lists,
            devices,
        )?;
        self.list_gauge(
            "fleetcall_discovery_refused",
            "Entries of a list that its `allow` refuses.",
            None,
            lists,
            refused,
        )?;
        self.list_gauge(
            "fleetcall_discovery_last_success_timestamp",
            "When a list of devices was last read well.",
            Some(&Unit::Seconds),
            lists,
            read_at,
        )
    }

    fn list_gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        lists: &[DiscoveryState],
        value: impl Fn(&DiscoveryState) -> Option<f64>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, unit, MetricType::Gauge)?;
        for list in lists {
            if let Some(value) = value(list) {
                let labels = [("list", list.key.as_str())];
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}
