//! What `/metrics` shows of the process, under the names that all clients of Prometheus use.
//!
//! It is read from `/proc`; what cannot be read is not shown.

use std::fmt;

use procfs::process::{LimitValue, Process, Stat};
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::writer::Families;

pub(crate) fn encode(families: &mut Families<'_>) -> fmt::Result {
    let Ok(process) = Process::myself() else {
        return Ok(());
    };
    if let Ok(stat) = process.stat() {
        times(families, &stat)?;
        let bytes = Some(&Unit::Bytes);
        families.gauge(
            "process_resident_memory",
            "Resident memory size in bytes.",
            bytes,
            [([], stat.rss * procfs::page_size())],
        )?;
        families.gauge(
            "process_virtual_memory",
            "Virtual memory size in bytes.",
            bytes,
            [([], stat.vsize)],
        )?;
        families.gauge(
            "process_threads",
            "Number of OS threads in the process.",
            None,
            [([], stat.num_threads)],
        )?;
    }
    if let Ok(count) = process.fd_count() {
        let help = "Number of open file descriptors.";
        families.gauge("process_open_fds", help, None, [([], count)])?;
    }
    if let Ok(limits) = process.limits() {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let limit = match limits.max_open_files.soft_limit {
            LimitValue::Unlimited => f64::INFINITY,
            LimitValue::Value(limit) => limit as f64,
        };
        let help = "Maximum number of open file descriptors.";
        families.gauge("process_max_fds", help, None, [([], limit)])?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "metrics of seconds are floats")]
fn times(families: &mut Families<'_>, stat: &Stat) -> fmt::Result {
    let ticks = procfs::ticks_per_second() as f64;
    let seconds = Some(&Unit::Seconds);
    let busy = (stat.utime + stat.stime) as f64 / ticks;
    families
        .family(
            "process_cpu",
            "Total user and system CPU time spent in seconds.",
            seconds,
            MetricType::Counter,
        )?
        .encode_counter::<NoLabelSet, _, f64>(&busy, None)?;
    let Ok(boot) = procfs::boot_time_secs() else {
        return Ok(());
    };
    let start = boot as f64 + stat.starttime as f64 / ticks;
    families.gauge(
        "process_start_time",
        "Start time of the process since unix epoch in seconds.",
        seconds,
        [([], start)],
    )
}
