//! Fuzzed: resources of a service, and the links in them.

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use serde_json::Value;
use tokio::time::Instant;

use super::report::{MAX_ENTRIES, RedfishReport, ReportPart};
use super::service::{RedfishService, Resource, read};
use super::session::{address, sessions};
use crate::domain::{DeviceKind, LookupError, Template};
use crate::drivers::Call;
use crate::drivers::facts::HealthFact;
use crate::drivers::fuzz::{DEVICE, check, web};
use crate::net::web::Web;

static WEB: LazyLock<Option<Web>> = LazyLock::new(|| {
    let url = Template::parse("https://bmc.example:8443").ok()?;
    Some(Web::new(web(url), Duration::from_secs(10), None))
});

/// Resources, one a line, each taken for whatever it may be.
pub fn redfish(bytes: &[u8]) {
    let mut report = RedfishReport::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let resource = match read("/redfish/v1/it", line) {
            Ok(resource) => resource,
            Err(error) => {
                check(Err(error));
                continue;
            }
        };
        links(line, &resource);
        if let Err(error) = learn(&mut report, &resource) {
            check(Err(error));
            return;
        }
    }
    let facts = report.finish();
    assert!(facts.memory_total_bytes.is_none_or(|bytes| bytes > 0));
    assert!(facts.processors.is_none_or(|count| count > 0));
    let not_ok = facts.not_ok.as_deref().unwrap_or_default();
    assert!(not_ok.iter().all(|part| part.health > HealthFact::Ok));
    let temperatures = facts.temperatures.as_ref().map_or(0, Vec::len);
    assert!(not_ok.len() + temperatures <= MAX_ENTRIES);
    check(Ok(facts));
}

fn learn(report: &mut RedfishReport, resource: &Resource) -> Result<(), LookupError> {
    report.system(resource);
    report.manager(resource);
    report.chassis(resource);
    report.parts(resource, &ReportPart::THERMAL)?;
    report.parts(resource, &ReportPart::POWER)
}

/// No text of a resource, taken for a link, leads to another server.
fn links(body: &[u8], resource: &Resource) {
    let call = Call {
        port: None,
        cluster: &DEVICE,
        kind: DeviceKind::Node,
        device: &DEVICE,
        number: 0,
        deadline: Instant::now(),
        timeout: Duration::ZERO,
    };
    let service = WEB
        .as_ref()
        .and_then(|web| RedfishService::new(web, call).ok());
    let Some(service) = service else {
        return;
    };
    let is_ours = |url: reqwest::Url| {
        assert_eq!(url.as_str().find("https://bmc.example:8443/"), Some(0));
        assert_eq!(url.fragment(), None);
    };
    for text in resource.values().filter_map(Value::as_str) {
        match service.resolve(text) {
            Ok(url) => is_ours(url),
            Err(error) => drop(check(Err(error))),
        }
        let mut headers = HeaderMap::new();
        if let Ok(location) = HeaderValue::from_str(text) {
            headers.insert(LOCATION, location);
        }
        if let Some(session) = address(&service.root, &headers, body) {
            is_ours(session);
        }
    }
    if let Some(Ok(url)) = sessions(resource).map(|link| service.resolve(&link)) {
        is_ours(url);
    }
}
