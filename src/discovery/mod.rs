//! Lists of devices that others keep, in the formats of Prometheus' service discovery.
//!
//! It reads a list once, bounded in time and size. It does not know who wants it, what becomes of
//! its devices, or when it is read again. Entry point: [`read`].

mod error;
mod file;
mod format;
#[cfg(fuzzing)]
pub(crate) mod fuzz;

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use tokio::time::Instant;

use crate::domain::{
    DiscoveredDevice, DiscoveredDevices, DiscoveredGroup, Discovery, Id, LookupError, MAX_DEVICES,
    Origin, WebSettings,
};
use crate::net::resolve;
use crate::net::resolve::SrvTarget;
use crate::net::web::{Web, WebAnswer, WebRequest};
use error::DiscoveryError;

/// Reads the list; all of it, or none.
///
/// # Errors
/// Every variant of [`DiscoveryError`].
pub(crate) async fn read(discovery: &Discovery) -> Result<DiscoveredDevices, DiscoveryError> {
    let limit = discovery.timeout;
    let list = async {
        match &discovery.origin {
            Origin::Files(pattern) => file::read(pattern, limit).await,
            Origin::Web(settings) => web(settings, limit).await,
            Origin::Srv(name) => srv(name).await,
        }
    };
    let list = tokio::time::timeout(limit, list).await;
    let list = list.map_err(|_| DiscoveryError::TimedOut(limit))??;
    let devices = list.iter().map(|group| group.devices.len()).sum();
    if devices > MAX_DEVICES {
        return Err(DiscoveryError::TooMany(devices));
    }
    Ok(list)
}

/// The list that a web server answers with.
async fn web(
    settings: &WebSettings,
    timeout: Duration,
) -> Result<DiscoveredDevices, DiscoveryError> {
    let server = |error: LookupError| DiscoveryError::Server(error.to_string());
    // Without braces of its own, as the configuration has filled them in.
    let url = settings.url.expand(&Id::number(0), &Id::number(0), None);
    let url = Url::parse(&url)
        .map_err(|error| DiscoveryError::Server(format!("the URL is none: {error}")))?;
    let shown = url.as_str().split(['?', '#']).next().unwrap_or_default();
    let shown = shown.to_owned();
    let request = WebRequest {
        method: Method::GET,
        url,
        headers: &[(ACCEPT, HeaderValue::from_static("application/json"))],
        body: Vec::new(),
        deadline: Instant::now() + timeout,
    };
    // A new client each time: a list is read seldom, and its certificates may have changed.
    let answer = Web::new(settings.clone(), timeout, None)
        .send(request)
        .await;
    let WebAnswer { status, body, .. } = answer.map_err(server)?;
    if status != StatusCode::OK {
        let why = format!("{shown} answers {status}, not 200 OK");
        return Err(DiscoveryError::Server(why));
    }
    format::parse(&shown, &body)
}

/// The hosts and ports of a name's SRV records, in the order of their names: the order of answers
/// changes from one to the next.
async fn srv(name: &str) -> Result<DiscoveredDevices, DiscoveryError> {
    let records = resolve::srv(name).await;
    let records = records.map_err(|error| DiscoveryError::Server(error.to_string()))?;
    let device = |record: SrvTarget| {
        let id = format::host_id(record.host.trim_end_matches('.'));
        let id = id.map_err(|error| DiscoveryError::Format {
            of: name.to_owned(),
            why: format!("bad target {:?}: {error}", record.host),
        })?;
        let port = NonZeroU16::new(record.port);
        Ok(DiscoveredDevice { id, port })
    };
    let mut devices: Vec<_> = records.into_iter().map(device).collect::<Result<_, _>>()?;
    devices.sort_unstable_by(|a, b| (&a.id, a.port).cmp(&(&b.id, b.port)));
    let labels = BTreeMap::new();
    Ok(vec![DiscoveredGroup { devices, labels }])
}
