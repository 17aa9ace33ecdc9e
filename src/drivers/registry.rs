//! All drivers: which one a target has, and how it is asked.

use std::future::Future;

use futures::future::Either;

use super::call::Call;
use super::exec::Exec;
use super::http::Http;
use super::prometheus::Prometheus;
use super::redfish::Redfish;
use super::simulated::Simulated;
use super::snmp::Snmp;
use super::ssh::Ssh;
use super::tcp::Tcp;
use crate::domain::{DriverSettings, Facts, LookupError, Target};

/// The code that asks devices of one group.
#[derive(Debug)]
pub(crate) enum Driver {
    /// Asks nobody; behaves as told.
    Simulated(Simulated),
    /// Connects.
    Tcp(Tcp),
    /// Asks a web server.
    Http(Box<Http>),
    /// Scrapes an exposition.
    Prometheus(Box<Prometheus>),
    /// Runs a command.
    Exec(Exec),
    /// Runs a command on the device.
    Ssh(Box<Ssh>),
    /// Asks a management controller.
    Redfish(Box<Redfish>),
    /// Asks an SNMP agent.
    Snmp(Box<Snmp>),
}

impl Driver {
    /// The driver for this target.
    pub(crate) fn new(target: &Target) -> Self {
        let (timeout, allow) = (target.timeout, target.allow.clone());
        match target.driver.clone() {
            DriverSettings::Simulated(settings) => Self::Simulated(Simulated::new(settings)),
            DriverSettings::Tcp(settings) => Self::Tcp(Tcp::new(settings, allow)),
            DriverSettings::Http(settings) => {
                Self::Http(Box::new(Http::new(settings, timeout, allow)))
            }
            DriverSettings::Prometheus(settings) => {
                Self::Prometheus(Box::new(Prometheus::new(settings, timeout, allow)))
            }
            DriverSettings::Exec(settings) => Self::Exec(Exec::new(settings, allow)),
            DriverSettings::Ssh(settings) => Self::Ssh(Box::new(Ssh::new(settings, allow))),
            DriverSettings::Redfish(settings) => {
                Self::Redfish(Box::new(Redfish::new(settings, timeout, allow)))
            }
            DriverSettings::Snmp(settings) => Self::Snmp(Box::new(Snmp::new(settings, allow))),
        }
    }

    /// Asks once, until the call's deadline. Panics if the driver has a bug, or was told to.
    pub(crate) fn lookup<'a>(
        &'a self,
        call: Call<'a>,
    ) -> impl Future<Output = Result<Facts, LookupError>> + use<'a> {
        // There may be a million simulated lookups at a time, so theirs is not as large as the
        // largest of all, and it keeps its deadline by the one timer it has.
        match self {
            Self::Simulated(simulated) => Either::Left(simulated.lookup(call)),
            Self::Tcp(tcp) => Either::Right(call.bound(tcp.lookup(call))),
            Self::Http(http) => Either::Right(call.bound(http.lookup(call))),
            Self::Prometheus(prometheus) => Either::Right(call.bound(prometheus.lookup(call))),
            Self::Exec(exec) => Either::Right(call.bound(exec.lookup(call))),
            Self::Ssh(ssh) => Either::Right(call.bound(ssh.lookup(call))),
            Self::Redfish(redfish) => Either::Right(call.bound(redfish.lookup(call))),
            Self::Snmp(snmp) => Either::Right(call.bound(snmp.lookup(call))),
        }
    }
}
