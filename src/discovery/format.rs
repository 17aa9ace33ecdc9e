//! The JSON of Prometheus' file and HTTP service discovery: `[{"targets": ["web01:9100"],
//! "labels": {"rack": "r1"}}]`. See
//! <https://prometheus.io/docs/prometheus/latest/http_sd/#http_sd-format>.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::Deserialize;

use super::DiscoveryError;
use crate::domain::{DeviceId, DeviceList, DiscoveredDevice, TargetGroup};

/// Bad targets that an error names; the rest is counted.
const SHOWN: usize = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Reads a list; `of` is what messages call it.
pub(super) fn parse(of: &str, json: &[u8]) -> Result<DeviceList, DiscoveryError> {
    let fault = |why| DiscoveryError::Format {
        of: of.to_owned(),
        why,
    };
    let groups: Vec<Group> = serde_json::from_slice(json).map_err(|error| {
        fault(format!(
            "this is no list of targets: {error}; it should look like [{{\"targets\": \
             [\"web01:9100\"], \"labels\": {{}}}}]"
        ))
    })?;
    let mut bad = Vec::new();
    let mut list = Vec::with_capacity(groups.len());
    for Group { targets, labels } in groups {
        let mut devices = Vec::with_capacity(targets.len());
        for target in &targets {
            match device(target) {
                Ok(device) => devices.push(device),
                Err(why) => bad.push(format!("{:?}: {why}", cut(target))),
            }
        }
        list.push(TargetGroup { devices, labels });
    }
    if bad.is_empty() {
        return Ok(list);
    }
    let more = match bad.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    bad.truncate(SHOWN);
    Err(fault(format!("bad targets: {}{more}", bad.join("; "))))
}

/// A target: `host` or `host:port`. The host is the device's id.
pub(super) fn device(target: &str) -> Result<DiscoveredDevice, String> {
    if target.starts_with('[') {
        return Err("an IPv6 address cannot be an id; list a name".to_owned());
    }
    let (host, port) = match target.split_once(':') {
        None => (target, None),
        Some((host, port)) => {
            let port = port.parse::<NonZeroU16>();
            let port = port.map_err(|_| "write host or host:port".to_owned())?;
            (host, Some(port))
        }
    };
    let id = DeviceId::parse(host).map_err(|error| error.to_string())?;
    Ok(DiscoveredDevice { id, port })
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(json: &str) -> Vec<String> {
        let list = parse("x", json.as_bytes()).unwrap();
        let text = |device: &DiscoveredDevice| match device.port {
            Some(port) => format!("{}:{port}", device.id),
            None => device.id.to_string(),
        };
        list.iter()
            .flat_map(|group| group.devices.iter().map(text))
            .collect()
    }

    #[test]
    fn targets_stand_in_the_order_of_the_list() {
        let json = r#"[
            {"targets": ["web02.example:9100", "10.0.0.7"], "labels": {"rack": "r1"}},
            {"targets": ["7:22"]},
            {"targets": []}
        ]"#;
        assert_eq!(ids(json), ["web02.example:9100", "10.0.0.7", "7:22"]);
        assert!(ids("[]").is_empty());
    }

    #[test]
    fn groups_are_told_apart_by_their_labels() {
        let json = r#"[{"targets": ["a"], "labels": {"rack": "r1", "role": "web"}}]"#;
        let list = parse("x", json.as_bytes()).unwrap();
        let has = |labels: &[(&str, &str)]| {
            let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
            list[0].has(&labels.iter().map(owned).collect::<Vec<_>>())
        };
        assert!(has(&[]));
        assert!(has(&[("rack", "r1")]));
        assert!(has(&[("rack", "r1"), ("role", "web")]));
        assert!(!has(&[("rack", "r2")]));
        assert!(!has(&[("rack", "r1"), ("zone", "z")]));
    }

    #[test]
    fn one_bad_target_is_no_list_and_all_are_counted() {
        let json = r#"[{"targets": ["ok", "a/b", "web:0", "web:http", "[::1]:9100", ""]}]"#;
        let error = parse("targets/x.json", json.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "targets/x.json: bad targets: \"a/b\": '/' cannot stand in an id: use letters, digits, \
             '.', '_' and '-'; \"web:0\": write host or host:port; \"web:http\": write host or \
             host:port; and 2 more"
        );
    }

    #[test]
    fn what_is_no_list_says_where_and_what_would_be_right() {
        for json in [
            "",
            "{}",
            "[1]",
            r#"[{"targets": "a"}]"#,
            r#"[{"labels": {}}]"#,
            r#"[{"targets": [], "label": {}}]"#,
            r#"[{"targets": [], "labels": {"a": 1}}]"#,
            "[{\"targets\": [\"a\"",
        ] {
            let error = parse("x", json.as_bytes()).unwrap_err().to_string();
            assert!(
                error.starts_with("x: this is no list of targets: "),
                "{error}"
            );
            assert!(
                error.contains("line 1 column") || json.is_empty(),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_target_makes_it_panic(target in "\\PC{0,20}|[a-z0-9:.\\[\\]-]{0,20}") {
            if let Ok(device) = device(&target) {
                let text = match device.port {
                    Some(port) => format!("{}:{port}", device.id),
                    None => device.id.to_string(),
                };
                // Leading zeros of a port are lost, and nothing else.
                let (host, port) = target.split_once(':').unwrap_or((&target, ""));
                prop_assert_eq!(text.split(':').next(), Some(host));
                prop_assert_eq!(device.port.is_some(), !port.is_empty());
            }
        }
    }
}
