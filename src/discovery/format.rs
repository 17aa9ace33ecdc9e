//! The JSON of Prometheus' file and HTTP service discovery: `[{"targets": ["web01:9100"],
//! "labels": {"rack": "r1"}}]`. See
//! <https://prometheus.io/docs/prometheus/latest/http_sd/#http_sd-format>.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use reqwest::Url;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::DiscoveryError;
use crate::domain::{DeviceId, DiscoveredDevice, DiscoveredDevices, DiscoveredGroup, MAX_DEVICES};

/// Bad targets that an error names; the rest is counted.
const SHOWN: usize = 3;

/// The longest that a message quotes of what is wrong, in bytes.
const MAX_QUOTED: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(default)]
    targets: Targets,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// As many as a fleet may have; more are not read, however short they are.
#[derive(Default)]
struct Targets(Vec<String>);

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Some;

        impl<'de> Visitor<'de> for Some {
            type Value = Targets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {MAX_DEVICES} targets")
            }

            fn visit_unit<E: Error>(self) -> Result<Targets, E> {
                Ok(Targets::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut targets: A) -> Result<Targets, A::Error> {
                let mut all = Vec::new();
                while let Option::Some(target) = targets.next_element()? {
                    if all.len() == MAX_DEVICES {
                        return Err(A::Error::invalid_length(MAX_DEVICES + 1, &self));
                    }
                    all.push(target);
                }
                Ok(Targets(all))
            }
        }

        deserializer.deserialize_any(Some)
    }
}

/// Reads a list; `of` is what messages call it.
pub(super) fn parse(of: &str, json: &[u8]) -> Result<DiscoveredDevices, DiscoveryError> {
    let fault = |why| DiscoveryError::Format {
        of: of.to_owned(),
        why,
    };
    let groups: Option<Vec<Group>> = serde_json::from_slice(json).map_err(|error| {
        // What it quotes can be as long as the list.
        let error = cut(&error.to_string(), MAX_QUOTED).replace(char::is_control, "?");
        fault(format!(
            "this is no list of targets: {error}; it should look like [{{\"targets\": \
             [\"web01:9100\"], \"labels\": {{}}}}]"
        ))
    })?;
    // As Prometheus reads it, null is nothing.
    let groups = groups.unwrap_or_default();
    let (mut bad, mut more) = (Vec::new(), 0);
    let mut list = Vec::with_capacity(groups.len());
    for Group { targets, labels } in groups {
        let Targets(targets) = targets;
        let labels = labels.unwrap_or_default();
        let mut devices = Vec::with_capacity(targets.len());
        for target in &targets {
            match device(target) {
                Ok(device) => devices.push(device),
                Err(why) if bad.len() < SHOWN => {
                    bad.push(format!("{:?}: {why}", cut(target, 100)));
                }
                Err(_) => more += 1,
            }
        }
        list.push(DiscoveredGroup { devices, labels });
    }
    if bad.is_empty() {
        return Ok(list);
    }
    let more = match more {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
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
    let id = host_id(host)?;
    Ok(DiscoveredDevice { id, port })
}

/// The largest integer that stands for no address that a machine may have: 0.255.255.255. Zero does:
/// it is 0.0.0.0, by which the system connects to itself.
const MAX_NUMBER: u64 = (1 << 24) - 1;

/// A host as an id. Other spellings of an address (`127.1`, `0x7f.1`, `2130706433`) are none: what looks
/// at ids would not know them, and what connects does.
pub(super) fn host_id(host: &str) -> Result<DeviceId, String> {
    let id = DeviceId::parse(host).map_err(|error| error.to_string())?;
    let is_small = host.parse::<u64>().is_ok_and(|it| it <= MAX_NUMBER);
    if is_small && !host.starts_with('0') {
        return Ok(id);
    }
    if host.ends_with('.') {
        return Err("a dot at its end; write it without".to_owned());
    }
    // As browsers, and the clients of HTTP, read hosts.
    let url = Url::parse(&format!("http://{host}/"));
    let read = url.as_ref().ok().and_then(Url::host_str);
    match read.and_then(|read| read.parse::<Ipv4Addr>().ok()) {
        Some(address) if address.to_string() != host => {
            Err(format!("another spelling of {address}; write that"))
        }
        Some(_) | None => Ok(id),
    }
}

/// The text, its middle left out if it is longer than `most` bytes: serde says where at the end.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let half = most / 2;
    let (start, end) = (
        text.floor_char_boundary(half),
        text.ceil_char_boundary(text.len() - half),
    );
    format!("{}…{}", &text[..start], &text[end..])
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
        for nothing in ["[]", "null", r#"[{"targets": null, "labels": null}]"#] {
            assert!(ids(nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn other_spellings_of_an_address_are_refused() {
        for (host, address) in [
            ("127.1", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("0X7F000001", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("010.0.0.1", "8.0.0.1"),
            ("10.0.1", "10.0.0.1"),
            ("0", "0.0.0.0"),
            ("00", "0.0.0.0"),
        ] {
            let error = device(&format!("{host}:80")).unwrap_err();
            assert_eq!(error, format!("another spelling of {address}; write that"));
        }
        for host in ["10.0.0.1.", "web01.", "2130706433."] {
            let error = device(host).unwrap_err();
            assert_eq!(error, "a dot at its end; write it without", "{host}");
        }
        assert!(device("::ffff:10.0.0.1").is_err() && device("[::1]:80").is_err());
        for host in [
            "7",
            "16777215",
            "10.0.0.1",
            "web01",
            "Web01.example",
            "1.2.3.4.5x",
            "10-0",
        ] {
            assert!(device(host).is_ok(), "{host}");
        }
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

    #[test]
    fn what_a_list_says_is_quoted_in_part_only_and_counted() {
        let control = parse("x", b"[{\"targ\\ts\x7f\": []}]")
            .unwrap_err()
            .to_string();
        assert!(!control.contains(char::is_control), "{control:?}");
        let long = format!("[\"{}\"]", "A".repeat(1 << 20));
        let error = parse("x", long.as_bytes()).unwrap_err().to_string();
        assert!(
            error.len() < 500 && error.contains("line 1 column"),
            "{error}"
        );
        let many = format!("[{{\"targets\": [{}\"\"]}}]", "\"\",".repeat(5_000));
        let error = parse("x", many.as_bytes()).unwrap_err().to_string();
        assert!(error.ends_with("; and 4998 more"), "{error}");
        let more = format!("[{{\"targets\": [{}\"\"]}}]", "\"\",".repeat(MAX_DEVICES));
        let error = parse("x", more.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("at most"), "{error}");
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
