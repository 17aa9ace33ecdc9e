//! What `/metrics` shows of a fleet that several processes share; nothing in a process alone.
//!
//! Each process shows what it has and what it does itself: who has which cluster of all is the sum
//! of what all workers show.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::writer::Families;
use crate::domain::{Connectedness, Holding, OrdersSent, Sharing, Work};

/// With `shows_clusters` there are series for each cluster that a worker has.
pub(crate) fn encode(
    families: &mut Families<'_>,
    sharing: &Sharing,
    shows_clusters: bool,
) -> fmt::Result {
    connection(families, sharing.connection)?;
    orders(families, &sharing.sent)?;
    match &sharing.worker {
        Some(work) => worker(families, work, shows_clusters),
        None => Ok(()),
    }
}

fn connection(families: &mut Families<'_>, connection: Connectedness) -> fmt::Result {
    families.gauge(
        "fleetcall_nats_up",
        "Whether this process has a connection to NATS.",
        None,
        [([], u32::from(connection.is_up))],
    )?;
    families.counters([(
        "fleetcall_nats_reconnects",
        "Times this process connected to NATS again.",
        connection.reconnects,
    )])?;
    for (name, help, bytes) in [
        (
            "fleetcall_nats_received",
            "Bytes that came from NATS servers.",
            connection.received,
        ),
        (
            "fleetcall_nats_sent",
            "Bytes that went to NATS servers.",
            connection.sent,
        ),
    ] {
        families
            .family(name, help, Some(&Unit::Bytes), MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&bytes, None)?;
    }
    Ok(())
}

fn orders(families: &mut Families<'_>, sent: &OrdersSent) -> fmt::Result {
    let orders = [("collect", sent.collects), ("look", sent.looks)];
    families.counter(
        "fleetcall_orders_sent",
        "Orders to workers to ask devices of a cluster, or to say what is known of them; those that were sent again included.",
        orders.map(|(order, count)| ([("order", order)], count)),
    )?;
    families.counters([(
        "fleetcall_order_pieces_received",
        "Pieces of workers' answers to orders.",
        sent.pieces,
    )])?;
    let failed = sent.failed.iter();
    families.counter(
        "fleetcall_orders_failed",
        "Clusters' parts of roll calls with devices that are unreachable because of the cluster's worker, by why.",
        failed.map(|&(reason, count)| ([("reason", reason)], count)),
    )
}

fn worker(families: &mut Families<'_>, work: &Work, shows_clusters: bool) -> fmt::Result {
    let state = &work.state;
    families
        .family(
            "fleetcall_worker",
            "The name of this worker; always 1.",
            None,
            MetricType::Info,
        )?
        .encode_info(&[("worker", state.name.as_str())])?;
    families.gauge(
        "fleetcall_lease_duration",
        "How long leases of clusters last that are not renewed.",
        Some(&Unit::Seconds),
        [([], state.lease.as_secs_f64())],
    )?;
    families.gauge(
        "fleetcall_leases",
        "Clusters that this worker has a lease for.",
        None,
        [([], state.holdings.len())],
    )?;
    families.counters([
        (
            "fleetcall_leases_taken",
            "Clusters that this worker took.",
            state.moves.taken,
        ),
        (
            "fleetcall_leases_handed_over",
            "Clusters that this worker handed over to others.",
            state.moves.handed_over,
        ),
        (
            "fleetcall_leases_lost",
            "Clusters that this worker lost: it did not renew their leases in time, or others had them.",
            state.moves.lost,
        ),
    ])?;
    let renewals = [("ok", work.renewals.ok), ("failed", work.renewals.failed)];
    families.counter(
        "fleetcall_lease_renewals",
        "Tries to renew a lease by what came of them; those that failed are made again.",
        renewals.map(|(outcome, count)| ([("outcome", outcome)], count)),
    )?;
    let answered = [
        ("complete", work.answered.complete),
        ("looked", work.answered.looked),
        ("refused", work.answered.refused),
        ("unwanted", work.answered.unwanted),
        ("misdirected", work.answered.misdirected),
    ];
    families.counter(
        "fleetcall_orders_answered",
        "Orders by what came of them: all devices were answered for, what is known was said, it was not taken, the front gave it up, or it was to be answered where no process may be.",
        answered.map(|(outcome, count)| ([("outcome", outcome)], count)),
    )?;
    families.counters([(
        "fleetcall_order_pieces_sent",
        "Pieces of answers to orders.",
        work.answered.pieces,
    )])?;
    if shows_clusters {
        leases(families, &state.holdings)?;
    }
    Ok(())
}

/// Each lease.
fn leases(families: &mut Families<'_>, holdings: &[Holding]) -> fmt::Result {
    let since = |it: &Holding| it.since.duration_since(UNIX_EPOCH);
    let seconds = Some(&Unit::Seconds);
    lease_gauge(
        families,
        "fleetcall_lease_fence",
        "The number of the lease of a cluster that this worker has: later owners have larger ones.",
        None,
        holdings,
        |it| it.fence,
    )?;
    lease_gauge(
        families,
        "fleetcall_lease_acquired_timestamp",
        "When this worker took a cluster that it has.",
        seconds,
        holdings,
        |it| since(it).unwrap_or_default().as_secs_f64(),
    )?;
    lease_gauge(
        families,
        "fleetcall_lease_age",
        "How long ago the lease of a cluster that this worker has was renewed.",
        seconds,
        holdings,
        |it| Duration::as_secs_f64(&it.renewed),
    )
}

fn lease_gauge<V: EncodeGaugeValue>(
    families: &mut Families<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    holdings: &[Holding],
    value: impl Fn(&Holding) -> V,
) -> fmt::Result {
    let mut family = families.family(name, help, unit, MetricType::Gauge)?;
    for holding in holdings {
        let cluster = holding.cluster.to_string();
        let labels = [("cluster", cluster.as_str())];
        let value = value(holding);
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}
