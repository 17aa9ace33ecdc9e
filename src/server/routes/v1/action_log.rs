//! What the log says of requests that do something with devices: who did what.

use actix_web::HttpRequest;
use log::Level;
use log::kv::Value;

use super::query::Wanted;
use crate::domain::{DeviceKind, Hold};
use crate::server::guard::caller;
use crate::telemetry::event;

/// Who has a roll call made by force.
pub(super) fn log_forced(request: &HttpRequest, wanted: &Wanted) {
    if wanted.request.force {
        let (by, path) = (caller(request), request.path());
        let query = request.query_string();
        log::info!(by, path, query; "roll call by force");
    }
}

/// What somebody has done with a device.
pub(super) fn log_device(
    by: &str,
    cluster: &str,
    kind: DeviceKind,
    device: &str,
    message: &str,
    cleared: &[Hold],
) {
    let words: Vec<&str> = cleared.iter().map(|it| it.as_str()).collect();
    let words = words.join(" ");
    let mut fields = vec![
        ("cluster", Value::from(cluster)),
        (kind.as_str(), Value::from(device)),
        ("by", Value::from(by)),
    ];
    if !words.is_empty() {
        fields.push(("cleared", Value::from(words.as_str())));
    }
    event(Level::Info, module_path!(), message, &fields);
}
