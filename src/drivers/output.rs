//! What commands print and services answer, made facts or a message of.

use serde_json::Value;

use super::facts::FactSheet;
use crate::domain::LookupError;
use crate::net::error::said;

/// What it says of its failure: its first line, of the errors if there is one.
pub(super) fn words(stdout: &str, stderr: &str) -> String {
    let line = |text: &str| {
        text.lines()
            .map(str::trim)
            .find(|it| !it.is_empty())
            .map(said)
    };
    let words = line(stderr).or_else(|| line(stdout));
    words.map(|words| format!(": {words}")).unwrap_or_default()
}

pub(super) fn json(stdout: &str) -> Result<FactSheet, LookupError> {
    let mut facts = FactSheet::default();
    for (index, line) in stdout.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let object = object(line.as_bytes()).map_err(|error| {
            LookupError::Protocol(format!("line {} is no JSON object: {error}", index + 1))
        })?;
        facts.values.extend(object);
    }
    Ok(facts)
}

pub(super) fn key_value(stdout: &str) -> Result<FactSheet, LookupError> {
    let mut facts = FactSheet::default();
    for (index, line) in stdout.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| {
            LookupError::Protocol(format!(
                "line {} is no KEY=VALUE: {}",
                index + 1,
                said(line)
            ))
        })?;
        facts
            .values
            .insert(key.trim().to_owned(), value.trim().into());
    }
    Ok(facts)
}

/// The JSON object that this is; the error says why it is none. `serde_json`'s own would quote a
/// text that stands in its place, however long.
pub(super) fn object(json: &[u8]) -> Result<serde_json::Map<String, Value>, String> {
    let kind = match serde_json::from_slice(json).map_err(|error| error.to_string())? {
        Value::Object(object) => return Ok(object),
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
    };
    Err(format!("it is {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_object_is_not_repeated() {
        let long = format!("{:?}", "x".repeat(1 << 20));
        let error = json(&format!("{{}}\n{long}")).unwrap_err().to_string();
        assert_eq!(error, "line 2 is no JSON object: it is a text");
    }
}
