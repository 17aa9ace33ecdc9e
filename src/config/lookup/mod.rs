//! `[lookup]` and its kin: how devices are asked, inherited field by field.
//!
//! What all drivers share is here; each driver's own settings are in a file of its own, which a new
//! driver adds, with an entry in [`DriverKind`]. Entry point: [`Lookup::inherit`].

mod exec;
mod network;
mod redfish;
mod simulated;
mod snmp;
mod ssh;

pub(super) use exec::secret;

use std::cell::OnceCell;
use std::time::Duration;

use super::reader::{Node, SHORTEST, Table, list};
use super::span::SpanFields;
use crate::domain::{
    Backoff, BreakerPolicy, DriverKind, DriverSettings, RetryPolicy, Target, WebSettings,
    did_you_mean,
};
use exec::ExecFields;
use network::NetworkFields;
use redfish::RedfishFields;
use simulated::SimulatedFields;
use snmp::SnmpFields;
use ssh::SshFields;

/// What every driver has.
const COMMON_KEYS: [&str; 5] = ["driver", "timeout", "retries", "retry_backoff", "breaker"];
const BREAKER_KEYS: [&str; 2] = ["failures", "open"];

/// The largest list of devices if nobody says otherwise, in bytes; one of a million devices fits.
const MAX_LIST_BYTES: usize = 64 << 20;

/// More retries than fit into any timeout.
const MAX_RETRIES: u64 = 1000;

/// More failures in a row than anyone waits for.
const MAX_BREAKER_FAILURES: u64 = 1_000_000;

/// The keys that a driver has beside the common ones.
const fn keys(driver: DriverKind) -> &'static [&'static str] {
    match driver {
        DriverKind::Simulated => &simulated::KEYS,
        DriverKind::Tcp => &network::TCP_KEYS,
        DriverKind::Http => &network::HTTP_KEYS,
        DriverKind::Prometheus => &network::PROMETHEUS_KEYS,
        DriverKind::Exec => &exec::KEYS,
        DriverKind::Ssh => &ssh::KEYS,
        DriverKind::Redfish => &redfish::KEYS,
        DriverKind::Snmp => &snmp::KEYS,
    }
}

/// How the devices of one place are asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup {
    fields: LookupFields,
    /// Made once, so that what is missing is said once.
    target: OnceCell<Option<Target>>,
}

/// `[lookup]` as far as one place writes it; what it leaves out is inherited, field by field.
#[derive(Debug, Clone, Default)]
struct LookupFields {
    driver: Option<DriverKind>,
    timeout: Option<Duration>,
    retries: Option<u32>,
    retry_backoff: SpanFields,
    breaker_failures: Option<u32>,
    breaker_open: SpanFields,
    simulated: SimulatedFields,
    network: NetworkFields,
    exec: ExecFields,
    ssh: SshFields,
    redfish: RedfishFields,
    snmp: SnmpFields,
}

impl Lookup {
    /// The `lookup` of a table, completed by what is written further out.
    pub(super) fn inherit(table: &Table<'_, '_>, outer: &Self) -> Self {
        let fields = table.get("lookup").and_then(|node| {
            let own = LookupFields::read(&node, outer.fields.driver)?;
            let merged = own.clone().or(&outer.fields);
            merged.check(&own, &node);
            Some(merged)
        });
        Self {
            fields: fields.unwrap_or_else(|| outer.fields.clone()),
            target: OnceCell::new(),
        }
    }

    /// How the devices at `node` are asked; if something is missing for that, `node` is at fault.
    pub(super) fn target(&self, node: &Node<'_, '_>) -> Option<Target> {
        self.target
            .get_or_init(|| self.fields.resolve(node))
            .clone()
    }
}

/// How a web server is asked for something that is no device's, by the settings in a table that has
/// a `url`.
pub(super) fn web(table: &Table<'_, '_>, node: &Node<'_, '_>) -> Option<WebSettings> {
    let fields = NetworkFields::read(table);
    // One that is wrong has a fault of its own.
    let has_url = fields.has_url();
    has_url.then(|| fields.web(node, "http", MAX_LIST_BYTES))?
}

impl LookupFields {
    /// `inherited` is the driver if it is not written here.
    fn read(node: &Node<'_, '_>, inherited: Option<DriverKind>) -> Option<Self> {
        let mut known = COMMON_KEYS.to_vec();
        for key in DriverKind::ALL.iter().flat_map(|&driver| keys(driver)) {
            if !known.contains(key) {
                known.push(key);
            }
        }
        // What is written here may be for another driver that is named further in.
        let own = node.as_table().and_then(|it| it.get("driver"));
        let own = own.and_then(|it| find_driver(it.as_str()?));
        let likely = own.or(inherited).unwrap_or_default();
        let table = node.table_of(&known, &[&COMMON_KEYS[..], keys(likely)].concat())?;
        let driver = table
            .get("driver")
            .and_then(|node| Self::read_driver(&node));
        if let Some(driver) = driver {
            let right = [&COMMON_KEYS[..], keys(driver)].concat();
            for (key, node) in table.entries() {
                // Unknown ones have been reported.
                if known.contains(&key) && !right.contains(&key) {
                    let driver = driver.as_str();
                    node.fault(format!(
                        "the driver {driver:?} has no such setting; it has {}",
                        list(&right)
                    ));
                }
            }
        }
        let count = |key, range| {
            let number = table.get(key).and_then(|node| node.integer(range));
            number.and_then(|number| u32::try_from(number).ok())
        };
        let span = |node: Option<Node<'_, '_>>| node.map(|node| SpanFields::read(&node));
        let breaker = table.get("breaker");
        let breaker = breaker.and_then(|node| node.table(&BREAKER_KEYS));
        let failures = breaker.as_ref().and_then(|table| table.get("failures"));
        let failures = failures.and_then(|node| node.integer(0..=MAX_BREAKER_FAILURES));
        let timeout = table.get("timeout");
        Some(Self {
            driver,
            timeout: timeout.and_then(|node| node.duration(SHORTEST)),
            retries: count("retries", 0..=MAX_RETRIES),
            retry_backoff: span(table.get("retry_backoff")).unwrap_or_default(),
            breaker_failures: failures.and_then(|number| u32::try_from(number).ok()),
            breaker_open: span(breaker.and_then(|table| table.get("open"))).unwrap_or_default(),
            simulated: SimulatedFields::read(&table),
            network: NetworkFields::read(&table),
            exec: ExecFields::read(&table),
            ssh: SshFields::read(&table),
            redfish: RedfishFields::read(&table),
            snmp: SnmpFields::read(&table),
        })
    }

    fn read_driver(node: &Node<'_, '_>) -> Option<DriverKind> {
        let names = DriverKind::ALL.map(|driver| format!("{:?}", driver.as_str()));
        let right = format!("this build has {}", names.join(", "));
        let name = node.text(&right)?;
        let found = find_driver(name);
        if found.is_none() {
            let hint = did_you_mean(name, DriverKind::ALL.map(DriverKind::as_str));
            node.fault(format!("there is no driver {name:?}; {right}{hint}"));
        }
        found
    }

    fn or(self, outer: &Self) -> Self {
        Self {
            driver: self.driver.or(outer.driver),
            timeout: self.timeout.or(outer.timeout),
            retries: self.retries.or(outer.retries),
            retry_backoff: self.retry_backoff.or(outer.retry_backoff),
            breaker_failures: self.breaker_failures.or(outer.breaker_failures),
            breaker_open: self.breaker_open.or(outer.breaker_open),
            simulated: self.simulated.or(&outer.simulated),
            network: self.network.or(&outer.network),
            exec: self.exec.or(&outer.exec),
            ssh: self.ssh.or(&outer.ssh),
            redfish: self.redfish.or(&outer.redfish),
            snmp: self.snmp.or(&outer.snmp),
        }
    }

    /// Notes what contradicts itself with what is inherited, where it is written; what is
    /// inherited unchanged was reported there.
    fn check(&self, own: &Self, node: &Node<'_, '_>) {
        self.simulated.check(&own.simulated, node);
        let Some(table) = node.as_table() else {
            return;
        };
        let retry = table.get("retry_backoff");
        let default = RetryPolicy::default().backoff;
        self.retry_backoff.resolve(default, retry.as_ref());
        let breaker = table.get("breaker");
        let open = breaker.and_then(|node| node.as_table()?.get("open"));
        self.breaker_open.resolve(breaker_open(), open.as_ref());
    }

    /// The settings with the defaults of what nobody wrote.
    fn resolve(&self, node: &Node<'_, '_>) -> Option<Target> {
        let (retry, breaker) = (RetryPolicy::default(), BreakerPolicy::default());
        let open = self.breaker_open.resolve(breaker_open(), None);
        let driver = match self.driver.unwrap_or_default() {
            DriverKind::Simulated => DriverSettings::Simulated(self.simulated.resolve()),
            DriverKind::Tcp => DriverSettings::Tcp(self.network.tcp(node)?),
            DriverKind::Http => DriverSettings::Http(self.network.http(node)?),
            DriverKind::Prometheus => DriverSettings::Prometheus(self.network.prometheus(node)?),
            DriverKind::Exec => DriverSettings::Exec(self.exec.resolve(node)?),
            DriverKind::Ssh => {
                let (address, username) = self.network.login();
                let (output, max) = self.exec.output();
                let settings = self.ssh.resolve(node, address, username, output, max)?;
                DriverSettings::Ssh(settings)
            }
            DriverKind::Redfish => {
                DriverSettings::Redfish(self.redfish.resolve(&self.network, node)?)
            }
            DriverKind::Snmp => DriverSettings::Snmp(self.snmp.resolve(&self.network, node)?),
        };
        Some(Target {
            timeout: self.timeout.unwrap_or(Duration::from_secs(10)),
            retry: RetryPolicy {
                retries: self.retries.unwrap_or(retry.retries),
                backoff: self.retry_backoff.resolve(retry.backoff, None),
            },
            breaker: BreakerPolicy {
                failures: self.breaker_failures.unwrap_or(breaker.failures),
                open_min: open.min,
                open_max: open.max,
            },
            driver,
            allow: None,
        })
    }
}

fn find_driver(name: &str) -> Option<DriverKind> {
    DriverKind::ALL.into_iter().find(|it| it.as_str() == name)
}

/// How long a breaker stays open if nobody says so.
fn breaker_open() -> Backoff {
    let BreakerPolicy {
        open_min, open_max, ..
    } = BreakerPolicy::default();
    Backoff {
        min: open_min,
        max: open_max,
    }
}
