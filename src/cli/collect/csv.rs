//! A roll call for spreadsheets: comma-separated values as [RFC 4180] has them.
//!
//! [RFC 4180]: https://www.rfc-editor.org/rfc/rfc4180

use serde_json::value::RawValue;

use super::roll::{DeviceRoll, Roll};
use crate::cli::terminal::plain;
use crate::domain::ClusterId;

/// A header, then a row for each device that has answered, in configured order; `for_terminal`
/// leaves out what would steer it.
pub(super) fn text(roll: &Roll, shows: impl Fn(&DeviceRoll) -> bool, for_terminal: bool) -> String {
    let mut text = "cluster,kind,device,outcome,duration_ms,error,facts\r\n".to_owned();
    for cluster in &roll.clusters {
        for device in cluster.devices.iter().filter(|it| shows(it)) {
            if let Some(row) = row(&cluster.id, device) {
                let fields = row.map(|it| field(&if for_terminal { plain(&it) } else { it }));
                text.push_str(&fields.join(","));
                text.push_str("\r\n");
            }
        }
    }
    text
}

fn row(cluster: &ClusterId, device: &DeviceRoll) -> Option<[String; 7]> {
    let heard = device.heard.as_ref()?;
    let facts = heard.outcome.as_ref().ok().and_then(|facts| facts.json());
    let fault = heard.outcome.as_ref().err();
    let took = heard.took.map(|took| took.as_secs_f64() * 1000.0);
    Some([
        cluster.to_string(),
        device.kind.to_string(),
        device.id.to_string(),
        fault.map_or("ok", |fault| fault.kind().as_str()).to_owned(),
        took.map(|millis| format!("{millis:.3}"))
            .unwrap_or_default(),
        fault.map_or("", |fault| fault.message()).to_owned(),
        facts.map_or("", RawValue::get).to_owned(),
    ])
}

/// Quoted where it has to be. What a spreadsheet would take for a formula gets an apostrophe in
/// front, as devices choose their texts (OWASP, CSV injection).
fn field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let apostrophe = if is_formula { "'" } else { "" };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{apostrophe}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{apostrophe}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_have_to_be() {
        for (text, expected) in [
            ("web01", "web01"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("", ""),
        ] {
            assert_eq!(field(text), expected);
        }
    }

    #[test]
    fn no_field_is_a_formula() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("=a,\"b\"", "\"'=a,\"\"b\"\"\""),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
        ] {
            assert_eq!(field(text), expected);
        }
    }
}
