//! Whether a list may have a device asked, as far as its id says so: before names are resolved.
//!
//! Lookups look at the addresses that names lead to, and at the host once more: what is known here is
//! for the list, which is told at once. Entry point: [`refusal`].

use std::num::NonZeroU16;

use reqwest::Url;

use crate::domain::{ClusterId, DeviceId, DriverSettings, Target, Template};
use crate::net::resolve::{check_host, check_unresolved};

/// Why `allow` of a list never lets this device be asked, if so.
pub(crate) fn refusal(
    target: &Target,
    cluster: &ClusterId,
    device: &DeviceId,
    port: Option<NonZeroU16>,
) -> Option<String> {
    let allow = Some(target.allow.as_deref()?);
    let expand = |template: &Template| template.expand(cluster, device, port);
    let host_of = |template: &Template| host(&expand(template)).to_owned();
    let resolved = |host: &str| check_host(host, allow).err().map(|it| it.to_string());
    let unresolved = |host: &str| check_unresolved(host, allow).err().map(|it| it.to_string());
    let web = |template: &Template| {
        // What is no URL fails as such.
        let url = Url::parse(&expand(template)).ok()?;
        resolved(url.host_str()?)
    };
    match &target.driver {
        DriverSettings::Simulated(_) => None,
        DriverSettings::Tcp(settings) => resolved(&host_of(&settings.address)),
        DriverSettings::Snmp(settings) => resolved(&host_of(&settings.address)),
        DriverSettings::Http(settings) => web(&settings.web.url),
        DriverSettings::Prometheus(settings) => web(&settings.web.url),
        DriverSettings::Redfish(settings) => web(&settings.web.url),
        DriverSettings::Ssh(settings) => unresolved(&host_of(&settings.address)),
        // Which of its arguments is the host is not known.
        DriverSettings::Exec(_) => unresolved(&device.to_string()),
    }
}

/// The host of `host:port`.
fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}
