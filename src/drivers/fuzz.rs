//! Fuzzed: what devices answer, of the drivers that are one file; the others have a `fuzz` module
//! of their own.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::facts::FactSheet;
use super::{exec, http, output, ssh, tcp};
use crate::domain::fuzz::check_message;
use crate::domain::{Facts, HttpSettings, Id, LookupError, Template, TlsSettings, WebSettings};
use crate::net::web::WebAnswer;

pub use super::prometheus::fuzz::exposition;
pub use super::redfish::fuzz::redfish;
pub use super::snmp::fuzz::{snmp_message, snmp_user, snmp_walk};

/// What came of reading an answer: facts that are JSON, or a failure that can be shown.
pub(super) fn check(result: Result<FactSheet, LookupError>) -> Option<Facts> {
    match result {
        Ok(sheet) => {
            let facts = Facts::from(sheet);
            // Unless there is nothing to say, facts are JSON that whoever asks can read.
            if let Some(json) = facts.json() {
                let read = serde_json::from_str(json.get());
                assert!(matches!(read, Ok(Value::Object(_))), "{json}: {read:?}");
            }
            Some(facts)
        }
        Err(error) => {
            check_message(&error.to_string());
            None
        }
    }
}

/// What a command printed: its exit status, its errors up to a zero byte, and its output.
pub fn command_output(bytes: &[u8]) {
    let Some((status, text)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let (errors, output) = text.split_once('\0').unwrap_or(("", &text));
    // As wait(2) has it: the exit code in the second byte.
    let status = ExitStatus::from_raw(i32::from(*status) << 8);
    check(output::json(output));
    check(output::key_value(output));
    check(exec::nagios(status, output, errors));
    if let Err(error) = exec::success(status, output, errors) {
        check_message(&error.to_string());
    }
    check_message(&ssh::connection_failed("host:22", errors).to_string());
}

/// An answer in JSON, behind a line with a pointer to what of it is a fact.
pub fn http_answer(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let pointer = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let body = &bytes[end + 1..];
    // The configuration's, so nobody's attempt to fill an answer.
    if pointer.len() > 200 {
        return;
    }
    let Ok(url) = Template::parse("http://{id}") else {
        return;
    };
    let mut settings = HttpSettings {
        web: web(url),
        expect_status: Vec::new(),
        expect_headers: Vec::new(),
        expect_json: Vec::new(),
        facts: vec![("fact".to_owned(), pointer.clone())],
    };
    let answer = WebAnswer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: body.to_vec(),
    };
    let found = check(http::look_at(&settings, &answer));
    let found = found.and_then(|facts| facts.to_map().get("values")?.get("fact").cloned());
    let body = serde_json::from_slice(body).ok();
    let there = body
        .as_ref()
        .and_then(|body: &Value| body.pointer(&pointer));
    assert_eq!(found.as_ref(), there);
    // What is there is what is expected, and the whole body is not.
    if let (Some(found), Some(body)) = (found, body) {
        settings.expect_json = vec![(pointer.clone(), found)];
        assert!(check(http::look_at(&settings, &answer)).is_some());
        if !pointer.is_empty() {
            settings.expect_json = vec![(pointer, body)];
            assert!(check(http::look_at(&settings, &answer)).is_none());
        }
    }
}

/// A server's certificate, in DER.
pub fn certificate(bytes: &[u8]) {
    let mut facts = FactSheet::default();
    if tcp::read_certificate(bytes, 0, &mut facts).is_some() {
        assert!(facts.tls_subject.is_some() && facts.tls_days_left.is_some());
        check(Ok(facts));
    }
}

/// Settings that ask no system for its certificates.
pub(super) fn web(url: Template) -> WebSettings {
    WebSettings {
        url,
        headers: Vec::new(),
        auth: None,
        tls: TlsSettings {
            verify: false,
            ca: None,
        },
        redirects: 0,
        max_body_bytes: usize::MAX,
    }
}

/// Whom the fuzzed calls ask.
pub(super) static DEVICE: std::sync::LazyLock<Id> = std::sync::LazyLock::new(|| Id::number(1));
