//! The `http` driver: asks a web server, checks its answer, picks facts out of it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::ACCEPT;
use serde_json::Value;

use super::call::Call;
use super::facts::FactSheet;
use crate::domain::{Allow, Facts, HttpSettings, LookupError};
use crate::net::error::said;
use crate::net::web::{Web, WebAnswer};

/// A group of web servers.
#[derive(Debug)]
pub(crate) struct Http {
    web: Web,
    settings: HttpSettings,
}

impl Http {
    pub(super) fn new(
        settings: HttpSettings,
        timeout: Duration,
        allow: Option<Arc<Allow>>,
    ) -> Self {
        let web = Web::new(settings.web.clone(), timeout, allow);
        Self { web, settings }
    }

    pub(super) async fn lookup(&self, call: Call<'_>) -> Result<Facts, LookupError> {
        let headers = [(ACCEPT, "application/json, */*;q=0.5")];
        let answer = self.web.ask(call, &headers).await?;
        look_at(&self.settings, &answer).map(Facts::from)
    }
}

/// Whether the answer is right, and what facts it has.
pub(super) fn look_at(
    settings: &HttpSettings,
    answer: &WebAnswer,
) -> Result<FactSheet, LookupError> {
    let HttpSettings {
        expect_status,
        expect_headers,
        expect_json,
        facts,
        ..
    } = settings;
    let wrong = |what: String| Err(LookupError::Protocol(what));
    let status = answer.status;
    let is_right = if expect_status.is_empty() {
        status.is_success()
    } else {
        expect_status.contains(&status.as_u16())
    };
    if !is_right {
        return wrong(format!("the status is {status}"));
    }
    for (name, expected) in expect_headers {
        match answer
            .headers
            .get(name)
            .map(|it| String::from_utf8_lossy(it.as_bytes()))
        {
            Some(found) if found == *expected => {}
            Some(found) => return wrong(format!("the header {name} is {}", said(&found))),
            None => return wrong(format!("there is no header {name}")),
        }
    }
    let mut values = serde_json::Map::new();
    if !(expect_json.is_empty() && facts.is_empty()) {
        let body: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| LookupError::Protocol(format!("the body is no JSON: {error}")))?;
        for (pointer, expected) in expect_json {
            // A key of the configuration, so any text; a message is one line.
            let shown = pointer.escape_debug();
            match body.pointer(pointer) {
                Some(found) if is_same(found, expected) => {}
                Some(found) => {
                    return wrong(format!("{shown} is {}", said(&found.to_string())));
                }
                None => return wrong(format!("there is no {shown} in the body")),
            }
        }
        for (name, pointer) in facts {
            // What is not there is not known.
            if let Some(found) = body.pointer(pointer) {
                values.insert(name.clone(), found.clone());
            }
        }
    }
    Ok(FactSheet {
        http_status: Some(status.as_u16()),
        values,
        ..FactSheet::default()
    })
}

/// Equal, where JSON's numbers have no kinds: 1 is 1.0.
fn is_same(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => found.total_cmp(&expected).is_eq(),
        _ => found == expected,
    }
}
