//! The settings of the drivers that ask over a network: `tcp`, `http`, `prometheus`; `address`
//! and `username` also for `snmp`.

use std::path::Path;

use crate::config::file::read_file;
use crate::config::reader::{Node, Table};
use crate::domain::{
    Authorities, HttpSettings, PrometheusSettings, SecretSource, TcpSettings, Template,
    TlsSettings, WebAuth, WebSettings,
};

use super::exec::{bytes, secret, secrets};

pub(super) const TCP_KEYS: [&str; 2] = ["address", "tls"];
pub(super) const HTTP_KEYS: [&str; 12] = [
    "url",
    "headers",
    "username",
    "password",
    "bearer_token",
    "tls",
    "redirects",
    "max_body_bytes",
    "expect_status",
    "expect_headers",
    "expect_json",
    "facts",
];
pub(super) const PROMETHEUS_KEYS: [&str; 9] = [
    "url",
    "headers",
    "username",
    "password",
    "bearer_token",
    "tls",
    "redirects",
    "max_body_bytes",
    "metrics",
];
const TLS_KEYS: [&str; 2] = ["verify", "ca"];

/// The largest file of authorities, in bytes; a system's whole store has a fifth of it.
const MAX_CA_BYTES: u64 = 1 << 20;

/// As many redirects as browsers follow.
const MAX_REDIRECTS: u64 = 20;

/// As far as one place writes them.
#[derive(Debug, Clone, Default)]
pub(super) struct NetworkFields {
    address: Option<Template>,
    url: Option<Template>,
    headers: Option<Vec<(String, SecretSource)>>,
    username: Option<String>,
    password: Option<SecretSource>,
    bearer_token: Option<SecretSource>,
    tls: TlsFields,
    redirects: Option<usize>,
    max_body_bytes: Option<usize>,
    expect_status: Option<Vec<u16>>,
    expect_headers: Option<Vec<(String, String)>>,
    expect_json: Option<Vec<(String, serde_json::Value)>>,
    facts: Option<Vec<(String, String)>>,
    metrics: Option<Vec<String>>,
}

/// `tls = true`, or a table.
#[derive(Debug, Clone, Default)]
struct TlsFields {
    is_on: Option<bool>,
    verify: Option<bool>,
    ca: Option<Authorities>,
}

impl TlsFields {
    fn or(self, outer: &Self) -> Self {
        Self {
            is_on: self.is_on.or(outer.is_on),
            verify: self.verify.or(outer.verify),
            ca: self.ca.or_else(|| outer.ca.clone()),
        }
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings {
            verify: self.verify.unwrap_or(true),
            ca: self.ca.clone(),
        }
    }
}

impl NetworkFields {
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        let text = |key, right| table.get(key).and_then(|node| node.text(right));
        let username = text("username", "write a user's name").map(str::to_owned);
        let redirects = table.get("redirects");
        let redirects = redirects.and_then(|node| node.integer(0..=MAX_REDIRECTS));
        Self {
            address: table.get("address").and_then(|node| address(&node)),
            url: table.get("url").and_then(|node| url(&node)),
            headers: table.get("headers").and_then(|node| headers(&node)),
            username,
            password: table.get("password").and_then(|node| secret(&node)),
            bearer_token: table.get("bearer_token").and_then(|node| secret(&node)),
            tls: table.get("tls").map(|node| tls(&node)).unwrap_or_default(),
            redirects: redirects.and_then(|number| usize::try_from(number).ok()),
            max_body_bytes: table.get("max_body_bytes").and_then(|node| bytes(&node)),
            expect_status: table.get("expect_status").and_then(|node| statuses(&node)),
            expect_headers: table
                .get("expect_headers")
                .and_then(|node| expected_headers(&node)),
            expect_json: table
                .get("expect_json")
                .and_then(|node| expectations(&node)),
            facts: table.get("facts").and_then(|node| facts(&node)),
            metrics: table.get("metrics").and_then(|node| metrics(&node)),
        }
    }

    pub(super) fn or(self, outer: &Self) -> Self {
        fn or<T: Clone>(own: Option<T>, outer: &Option<T>) -> Option<T> {
            own.or_else(|| outer.clone())
        }
        // One way to authenticate hides the other one that is inherited. Another URL than the one
        // that credentials were written for hides them all: they are not that server's business.
        let is_elsewhere = self.url.is_some() && outer.url.is_some();
        let own_basic = is_elsewhere || self.username.is_some() || self.password.is_some();
        let own_bearer = is_elsewhere || self.bearer_token.is_some();
        Self {
            address: or(self.address, &outer.address),
            url: or(self.url, &outer.url),
            headers: or(
                self.headers,
                if is_elsewhere { &None } else { &outer.headers },
            ),
            username: or(
                self.username,
                if own_bearer { &None } else { &outer.username },
            ),
            password: or(
                self.password,
                if own_bearer { &None } else { &outer.password },
            ),
            bearer_token: or(
                self.bearer_token,
                if own_basic {
                    &None
                } else {
                    &outer.bearer_token
                },
            ),
            tls: self.tls.or(&outer.tls),
            redirects: or(self.redirects, &outer.redirects),
            max_body_bytes: or(self.max_body_bytes, &outer.max_body_bytes),
            expect_status: or(self.expect_status, &outer.expect_status),
            expect_headers: or(self.expect_headers, &outer.expect_headers),
            expect_json: or(self.expect_json, &outer.expect_json),
            facts: or(self.facts, &outer.facts),
            metrics: or(self.metrics, &outer.metrics),
        }
    }

    pub(super) fn has_url(&self) -> bool {
        self.url.is_some()
    }

    /// Where and as whom to log in.
    pub(super) fn login(&self) -> (Option<Template>, Option<String>) {
        (self.address.clone(), self.username.clone())
    }

    pub(super) fn tcp(&self, node: &Node<'_, '_>) -> Option<TcpSettings> {
        let address = self.address(node, "tcp", 22)?;
        let is_on = self.tls.is_on.unwrap_or_default();
        Some(TcpSettings {
            address,
            tls: is_on.then(|| self.tls.settings()),
        })
    }

    /// The address, which `driver` needs; `port` is the one that most devices have.
    pub(super) fn address(&self, node: &Node<'_, '_>, driver: &str, port: u16) -> Option<Template> {
        if self.address.is_none() {
            node.fault(format!(
                "the driver {driver:?} needs an `address`, such as \"{{id}}.example:{port}\"; \
                 write it in the `lookup` of the group, of the cluster, or in [lookup]"
            ));
        }
        self.address.clone()
    }

    /// The name of a user, if one is written.
    pub(super) fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    pub(super) fn http(&self, node: &Node<'_, '_>) -> Option<HttpSettings> {
        Some(HttpSettings {
            web: self.web(node, "http", 1 << 20)?,
            expect_status: self.expect_status.clone().unwrap_or_default(),
            expect_headers: self.expect_headers.clone().unwrap_or_default(),
            expect_json: self.expect_json.clone().unwrap_or_default(),
            facts: self.facts.clone().unwrap_or_default(),
        })
    }

    pub(super) fn prometheus(&self, node: &Node<'_, '_>) -> Option<PrometheusSettings> {
        Some(PrometheusSettings {
            web: self.web(node, "prometheus", 16 << 20)?,
            metrics: self.metrics.clone().unwrap_or_default(),
        })
    }

    /// What the drivers over HTTP share; `max_body` is the default of `max_body_bytes`.
    pub(super) fn web(
        &self,
        node: &Node<'_, '_>,
        driver: &str,
        max_body: usize,
    ) -> Option<WebSettings> {
        let Some(url) = self.url.clone() else {
            let such = match driver {
                "redfish" => "https://{id}-bmc.example",
                _ => "http://{id}.example:9100/metrics",
            };
            node.fault(format!(
                "the driver {driver:?} needs a `url`, such as {such:?}; write it in the `lookup` \
                 of the group, of the cluster, or in [lookup]"
            ));
            return None;
        };
        let auth = match (&self.username, &self.password, &self.bearer_token) {
            (None, None, None) => None,
            (None, None, Some(token)) => Some(WebAuth::Bearer(token.clone())),
            (Some(username), Some(password), None) => Some(WebAuth::Basic {
                username: username.clone(),
                password: password.clone(),
            }),
            (Some(_), None, None) | (None, Some(_), None) => {
                node.fault("`username` and `password` belong together; write both");
                return None;
            }
            (_, _, Some(_)) => {
                node.fault("`bearer_token` excludes `username` and `password`; write one of them");
                return None;
            }
        };
        Some(WebSettings {
            url,
            headers: self.headers.clone().unwrap_or_default(),
            auth,
            tls: self.tls.settings(),
            redirects: self.redirects.unwrap_or(3),
            max_body_bytes: self.max_body_bytes.unwrap_or(max_body),
        })
    }
}

fn template(node: &Node<'_, '_>, right: &str) -> Option<Template> {
    let text = node.text(right)?;
    Template::parse(text)
        .map_err(|error| node.fault(error.to_string()))
        .ok()
}

fn address(node: &Node<'_, '_>) -> Option<Template> {
    let right = "write host:port, such as \"{id}.example:22\" or \"[2001:db8::1]:22\"";
    let template = template(node, right)?;
    let text = template.to_string();
    let port = text
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && is_port(port));
    match port {
        Some(_) => Some(template),
        _ => {
            node.fault(format!("{text:?} is no address; {right}"));
            None
        }
    }
}

fn url(node: &Node<'_, '_>) -> Option<Template> {
    let right = "write an http:// or https:// URL, such as \"http://{id}.example:9100/metrics\"";
    let template = template(node, right)?;
    let text = template.to_string();
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    // Messages do not show it: people write secrets into URLs.
    if host.is_some_and(|host| host.contains('@')) {
        node.fault("user information in a URL; write `username` and `password` instead");
        return None;
    }
    let is_right = host.is_some_and(|host| {
        // Behind an IPv6 address's bracket, or behind a name.
        let port = host
            .rsplit_once(']')
            .map_or(host, |(_, port)| port)
            .rsplit_once(':');
        let has_host = !host.is_empty() && !host.starts_with(':');
        has_host && port.is_none_or(|(_, port)| is_port(port))
    });
    if !is_right || text.contains(|c: char| c.is_whitespace()) {
        node.fault(format!("this is no such URL; {right}"));
        return None;
    }
    Some(template)
}

/// A port, or what stands for one.
fn is_port(text: &str) -> bool {
    text == "{port}" || text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn headers(node: &Node<'_, '_>) -> Option<Vec<(String, SecretSource)>> {
    let right = "write a table of headers and their values";
    let headers = secrets(node, right, is_token)?;
    for (name, source) in &headers {
        let lower = name.to_ascii_lowercase();
        let is_telling = ["auth", "token", "key", "cookie", "secret", "password"]
            .iter()
            .any(|word| lower.contains(word));
        let is_inline = matches!(source, SecretSource::Inline(_));
        if is_telling && is_inline && !node.allows_inline_secrets() {
            node.fault(format!(
                "{name:?} looks like a secret, and stands in the file itself; write {{ env = \
                 \"NAME\" }}, {{ file = \"PATH\" }} or {{ systemd_credential = \"NAME\" }}, or allow \
                 it by `allow_inline_secrets = true` at the top"
            ));
        }
    }
    Some(headers)
}

/// A header's name (RFC 9110, section 5.6.2).
fn is_token(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

fn tls(node: &Node<'_, '_>) -> TlsFields {
    let right = "write true, false, or a table with the keys `verify`, `ca`";
    if !node.is_table() {
        let is_on = node.boolean(right);
        return TlsFields {
            is_on,
            ..TlsFields::default()
        };
    }
    let Some(table) = node.table(&TLS_KEYS) else {
        return TlsFields::default();
    };
    let verify = table.get("verify");
    TlsFields {
        is_on: Some(true),
        verify: verify.and_then(|node| node.boolean("write true or false")),
        ca: table.get("ca").and_then(|node| authorities(&node)),
    }
}

/// Read here, so that a missing or empty file is a fault of the configuration.
fn authorities(node: &Node<'_, '_>) -> Option<Authorities> {
    let path = node.text("write the path of a file of PEM certificates")?;
    let read = read_file(Path::new(path), MAX_CA_BYTES);
    match read {
        Ok(pem)
            if pem
                .windows(27)
                .any(|it| it == b"-----BEGIN CERTIFICATE-----") =>
        {
            Some(Authorities {
                path: path.into(),
                pem: pem.into(),
            })
        }
        Ok(_) => {
            node.fault(format!("{path:?} holds no PEM certificate"));
            None
        }
        Err(error) => {
            node.fault(format!("{path:?}: {error}"));
            None
        }
    }
}

fn statuses(node: &Node<'_, '_>) -> Option<Vec<u16>> {
    let right = "write an array of status codes, such as [200, 204]";
    let status = |node: &Node<'_, '_>| {
        let status = node.integer(100..=599)?;
        if matches!(status, 401 | 403) {
            node.fault("401 and 403 always mean that our credentials are not accepted (`auth`)");
            return None;
        }
        u16::try_from(status).ok()
    };
    let statuses: Vec<Option<u16>> = node.array(right)?.iter().map(status).collect();
    statuses.into_iter().collect()
}

fn expected_headers(node: &Node<'_, '_>) -> Option<Vec<(String, String)>> {
    let right = "write a table of headers and their values";
    let headers = texts_by_name(node, right)?;
    for (name, _) in &headers {
        if !is_token(name) {
            node.fault(format!("{name:?} cannot be such a name; {right}"));
        }
    }
    Some(headers)
}

fn texts_by_name(node: &Node<'_, '_>, right: &str) -> Option<Vec<(String, String)>> {
    let member = |(name, node): (&str, Node<'_, '_>)| {
        let text = node.text("write a text")?;
        Some((name.to_owned(), text.to_owned()))
    };
    let members: Vec<Option<_>> = node.members(right)?.into_iter().map(member).collect();
    members.into_iter().collect()
}

fn expectations(node: &Node<'_, '_>) -> Option<Vec<(String, serde_json::Value)>> {
    let right = "write a table of JSON pointers and their values, such as { \"/status\" = \"ok\" }";
    let member = |(pointer, node): (&str, Node<'_, '_>)| {
        check_pointer(pointer, &node)?;
        Some((pointer.to_owned(), node.json()))
    };
    let members: Vec<Option<_>> = node.members(right)?.into_iter().map(member).collect();
    members.into_iter().collect()
}

fn facts(node: &Node<'_, '_>) -> Option<Vec<(String, String)>> {
    let right =
        "write a table of names and JSON pointers, such as { version = \"/build/version\" }";
    let members = texts_by_name(node, right)?;
    let check = |(_, pointer): &(String, String)| check_pointer(pointer, node);
    let checked: Vec<Option<()>> = members.iter().map(check).collect();
    checked.iter().all(Option::is_some).then_some(members)
}

/// RFC 6901: empty, or each part behind a slash.
fn check_pointer(pointer: &str, node: &Node<'_, '_>) -> Option<()> {
    if pointer.is_empty() || pointer.starts_with('/') {
        return Some(());
    }
    node.fault(format!(
        "{pointer:?} is no JSON pointer (RFC 6901); write one such as \"/build/version\""
    ));
    None
}

fn metrics(node: &Node<'_, '_>) -> Option<Vec<String>> {
    let right = "write an array of metrics' names, such as [\"node_procs_running\"]";
    let metrics = node.texts(right)?.into_iter().map(|(node, name)| {
        let is_right = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if name.is_empty() || !name.chars().all(is_right) {
            node.fault(format!("{name:?} is no metric's name; {right}"));
            return None;
        }
        Some(name.to_owned())
    });
    let metrics: Vec<Option<String>> = metrics.collect();
    metrics.into_iter().collect()
}
