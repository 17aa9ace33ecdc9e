//! `[http]`: who may ask, how that is encrypted, and how much one client may.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::lookup::secret;
use super::reader::{Node, Table, list};
use crate::domain::{Role, SecretSource, did_you_mean};

/// Tokens at most: each request is compared with all of them.
const MAX_TOKENS: usize = 256;

/// The longest name of a token, which log lines show.
const MAX_NAME_LEN: usize = 64;

/// The longest host name (RFC 1035).
const MAX_HOST_LEN: usize = 253;

/// The shortest time that a request may take to arrive: actix-http reckons from a clock that is up to
/// half a second late.
const SHORTEST_REQUEST: Duration = Duration::from_secs(1);

/// The longest one.
const LONGEST_REQUEST: Duration = Duration::from_secs(5 * 60);

/// Files are looked at every second.
const SHORTEST_STALE: Duration = Duration::from_secs(1);

/// The settings of the HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Who may ask; none is everybody. Names are unique.
    pub tokens: Vec<TokenConfig>,
    /// The files of the certificate; `None` is no encryption.
    pub tls: Option<TlsConfig>,
    /// The origins whose pages may read `/v1`, as browsers write them.
    pub origins: Vec<String>,
    /// What else this service is called, beside `localhost`, its addresses and this machine's name.
    pub names: Vec<String>,
    /// Whether pages of all origins may read `/test`, as its contract says.
    pub test_cors: bool,
    /// How often one client may ask; `None` is [`Rate::default`], and no limit for addresses that stand
    /// for many clients.
    pub rate: Option<Rate>,
    /// The addresses of proxies, which stand for many clients each; `None` is this machine only, and
    /// an empty list not even that.
    pub proxies: Option<Vec<IpNet>>,
    /// Connections at once at most; more wait to be accepted.
    pub max_connections: NonZeroUsize,
    /// The longest that a request may take to arrive.
    pub request_timeout: Duration,
    /// How long a token stays in force that cannot be read any more.
    pub stale_tokens: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            tls: None,
            origins: Vec::new(),
            names: Vec::new(),
            test_cors: true,
            rate: None,
            proxies: None,
            max_connections: const { NonZeroUsize::new(25_000).unwrap() },
            request_timeout: Duration::from_secs(5),
            stale_tokens: Duration::from_secs(60 * 60),
        }
    }
}

impl HttpConfig {
    /// The keys that are not what they were before, wherever they are written.
    pub(crate) fn changed(&self, before: &Self) -> Vec<&'static str> {
        let Self {
            tokens,
            tls,
            origins,
            names,
            test_cors,
            rate,
            proxies,
            max_connections,
            request_timeout,
            stale_tokens,
        } = self;
        let named = |tokens: &[TokenConfig]| -> Vec<_> {
            let token = |it: &TokenConfig| (it.name.clone(), it.role, it.token.clone());
            tokens.iter().map(token).collect()
        };
        let files = |tls: &Option<TlsConfig>| {
            tls.as_ref().map(|it| {
                let TlsConfig {
                    certificate,
                    key,
                    client_ca,
                    ..
                } = it;
                (certificate.clone(), key.clone(), client_ca.clone())
            })
        };
        let changed = [
            ("http.tokens", named(tokens) != named(&before.tokens)),
            ("http.tls", files(tls) != files(&before.tls)),
            ("http.origins", *origins != before.origins),
            ("http.names", *names != before.names),
            ("http.test_cors", *test_cors != before.test_cors),
            ("http.rate", *rate != before.rate),
            ("http.proxies", *proxies != before.proxies),
            (
                "http.max_connections",
                *max_connections != before.max_connections,
            ),
            (
                "http.request_timeout",
                *request_timeout != before.request_timeout,
            ),
            ("http.stale_tokens", *stale_tokens != before.stale_tokens),
        ];
        let changed = changed.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| key).collect()
    }
}

/// Something of `[http]` that is read when it is put in force, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Line and column, from 1.
    pub place: (usize, usize),
    /// The key, such as `http.tokens[0].token`.
    pub key: String,
}

/// A token that clients show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// What log lines call it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Where it is read.
    pub token: SecretSource,
    /// Where that is written.
    pub written: Written,
}

/// The files of a certificate, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate, then those of its authorities.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of clients' certificates; `None` asks for none.
    pub client_ca: Option<PathBuf>,
    /// Where it is written.
    pub written: Written,
}

/// How often one client may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once, after a pause.
    pub burst: NonZeroU32,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            per_second: const { NonZeroU32::new(100).unwrap() },
            burst: const { NonZeroU32::new(200).unwrap() },
        }
    }
}

/// Reads `[http]`, if there is one.
pub(super) fn read(root: &Table<'_, '_>) -> HttpConfig {
    let mut config = HttpConfig::default();
    let known = [
        "tokens",
        "tls",
        "origins",
        "names",
        "test_cors",
        "rate",
        "proxies",
        "max_connections",
        "request_timeout",
        "stale_tokens",
    ];
    let Some(table) = root.get("http").and_then(|node| node.table(&known)) else {
        return config;
    };
    let tokens_of = |node: Node<'_, '_>| tokens(&node);
    config.tokens = table.get("tokens").map(tokens_of).unwrap_or_default();
    config.tls = table.get("tls").and_then(|node| tls(&node));
    let origins_of = |node: Node<'_, '_>| origins(&node);
    config.origins = table.get("origins").map(origins_of).unwrap_or_default();
    let names_of = |node: Node<'_, '_>| names(&node);
    config.names = table.get("names").map(names_of).unwrap_or_default();
    let right = "write true, as the contract of /test says, or false";
    let cors = table.get("test_cors");
    let cors = cors.and_then(|node| node.boolean(right));
    config.test_cors = cors.unwrap_or(config.test_cors);
    config.rate = table.get("rate").and_then(|node| rate(&node));
    config.proxies = table.get("proxies").map(|node| proxies(&node));
    let connections = table.get("max_connections");
    if let Some(number) = connections.and_then(|node| node.integer(1..=1_000_000)) {
        let number = usize::try_from(number).ok().and_then(NonZeroUsize::new);
        config.max_connections = number.unwrap_or(config.max_connections);
    }
    if let Some(node) = table.get("request_timeout")
        && let Some(timeout) = node.duration(SHORTEST_REQUEST)
    {
        if timeout > LONGEST_REQUEST {
            node.fault("too long, slow clients would hold connections; write at most \"5m\"");
        }
        config.request_timeout = timeout;
    }
    let stale = table.get("stale_tokens");
    let stale = stale.and_then(|node| node.duration(SHORTEST_STALE));
    config.stale_tokens = stale.unwrap_or(config.stale_tokens);
    config
}

fn written(node: &Node<'_, '_>) -> Written {
    Written {
        place: node.place(),
        key: node.key().to_owned(),
    }
}

fn tokens(node: &Node<'_, '_>) -> Vec<TokenConfig> {
    let right =
        "write tokens = [{ name = \"grafana\", role = \"read\", token = { file = \"PATH\" } }]";
    let Some(nodes) = node.array(right) else {
        return Vec::new();
    };
    if nodes.is_empty() {
        node.fault(format!(
            "there is no token; {right}, or leave `tokens` out, which lets everybody ask"
        ));
    }
    if nodes.len() > MAX_TOKENS {
        node.fault(format!("too many tokens; write at most {MAX_TOKENS}"));
        return Vec::new();
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut tokens = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let Some(table) = node.table(&["name", "role", "token"]) else {
            continue;
        };
        let name = name(&table);
        if let Some((at, name)) = &name
            && let Some(first) = seen.insert(name.clone(), index)
        {
            at.fault(format!(
                "the name {name:?} is that of tokens[{first}] already; names are unique"
            ));
        }
        let role = role(&table);
        let Some(at) = table.get("token") else {
            table.fault(
                "there is no `token`; write token = { env = \"NAME\" } or { file = \"PATH\" }",
            );
            continue;
        };
        if let (Some((_, name)), Some(role), Some(token)) = (name, role, secret(&at)) {
            let written = written(&at);
            tokens.push(TokenConfig {
                name,
                role,
                token,
                written,
            });
        }
    }
    tokens
}

fn name<'a, 't>(table: &Table<'a, 't>) -> Option<(Node<'a, 't>, String)> {
    let right = "write a name for log lines, such as name = \"grafana\"";
    let Some(node) = table.get("name") else {
        table.fault(format!("there is no `name`; {right}"));
        return None;
    };
    let text = node.text(right)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if text.is_empty() || text.len() > MAX_NAME_LEN || !text.chars().all(is_plain) {
        node.fault(format!(
            "{text:?} cannot be a token's name; write 1 to {MAX_NAME_LEN} of letters, digits and -_.@"
        ));
        return None;
    }
    Some((node, text.to_owned()))
}

fn role(table: &Table<'_, '_>) -> Option<Role> {
    let names = list(&Role::ALL.map(Role::as_str));
    let Some(node) = table.get("role") else {
        table.fault(format!("there is no `role`; write one of {names}"));
        return None;
    };
    let text = node.text(&format!("write one of {names}"))?;
    let role = Role::ALL.into_iter().find(|role| role.as_str() == text);
    if role.is_none() {
        let hint = did_you_mean(text, Role::ALL.map(Role::as_str));
        node.fault(format!("{text:?} is no role; write one of {names}{hint}"));
    }
    role
}

fn tls(node: &Node<'_, '_>) -> Option<TlsConfig> {
    let table = node.table(&["certificate", "key", "client_ca"])?;
    let path = |key| {
        let node = table.get(key)?;
        let text = node.text("write the path of a PEM file")?;
        if text.is_empty() {
            node.fault("this is empty; write the path of a PEM file");
            return None;
        }
        Some(PathBuf::from(text))
    };
    for key in ["certificate", "key"] {
        if table.get(key).is_none() {
            table.fault(format!("there is no `{key}`; write the path of a PEM file"));
        }
    }
    let client_ca = path("client_ca");
    Some(TlsConfig {
        certificate: path("certificate")?,
        key: path("key")?,
        client_ca,
        written: written(node),
    })
}

fn origins(node: &Node<'_, '_>) -> Vec<String> {
    let right = "write origins as browsers do, such as origins = [\"https://ops.example\"]";
    let Some(texts) = node.texts(right) else {
        return Vec::new();
    };
    let origin = |(node, text): (Node<'_, '_>, &str)| {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let is_plain = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']')
        };
        if host.is_some_and(|host| !host.is_empty() && host.chars().all(is_plain)) {
            return Some(text.to_owned());
        }
        node.fault(format!(
            "{text:?} is no origin: a scheme, a host in lower case, perhaps a port, and no path; {right}"
        ));
        None
    };
    texts.into_iter().filter_map(origin).collect()
}

fn names(node: &Node<'_, '_>) -> Vec<String> {
    let right = "write names as in a URL, such as names = [\"fleetcall.example\"]";
    let Some(texts) = node.texts(right) else {
        return Vec::new();
    };
    let name = |(node, text): (Node<'_, '_>, &str)| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !text.is_empty() && text.len() <= MAX_HOST_LEN && text.chars().all(is_plain) {
            return Some(text.to_owned());
        }
        node.fault(format!(
            "{text:?} is no host name: no scheme, no port, no `*`, and no path; {right}"
        ));
        None
    };
    texts.into_iter().filter_map(name).collect()
}

fn proxies(node: &Node<'_, '_>) -> Vec<IpNet> {
    let right = "write addresses or networks, such as proxies = [\"192.0.2.7\", \"10.0.0.0/8\"]";
    let Some(texts) = node.texts(right) else {
        return Vec::new();
    };
    let network = |(node, text): (Node<'_, '_>, &str)| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let network = address.or_else(|_| text.parse());
        if network.is_err() {
            node.fault(format!("{text:?} is no address and no network; {right}"));
        }
        network.ok()
    };
    texts.into_iter().filter_map(network).collect()
}

fn rate(node: &Node<'_, '_>) -> Option<Rate> {
    let table = node.table(&["per_second", "burst"])?;
    let number = |key| {
        let number = table.get(key)?.integer(1..=1_000_000)?;
        u32::try_from(number).ok().and_then(NonZeroU32::new)
    };
    if table.get("per_second").is_none() {
        table.fault("there is no `per_second`; write rate = { per_second = 100, burst = 200 }");
    }
    let per_second = number("per_second")?;
    let burst = number("burst").unwrap_or(per_second);
    Some(Rate { per_second, burst })
}
