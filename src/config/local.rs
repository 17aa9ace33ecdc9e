//! What a configuration takes from the machine that it is used on, and where it says so.
//!
//! As in `domain::local`, everything is taken apart field by field: a section that is added has to be
//! looked at.

use std::collections::HashMap;
use std::path::Path;

use super::{
    ClusterConfig, CollectConfig, Config, ConfigError, ConfigFault, DiscoveryConfig, GroupConfig,
    HttpConfig, MetricsConfig, TlsConfig, TokenConfig, Written,
};
use crate::domain::{DnsSettings, LocalResource, SupervisionPolicy, Target};

/// What is found, each once, and where first.
#[derive(Debug, Default)]
struct FoundLocal {
    all: Vec<Use>,
    /// Where each is in `all`.
    known: HashMap<LocalResource, usize>,
}

#[derive(Debug)]
struct Use {
    resource: LocalResource,
    place: Option<(usize, usize)>,
    key: String,
    /// Where else it is.
    more: usize,
}

impl FoundLocal {
    fn note(&mut self, resource: LocalResource, place: Option<(usize, usize)>, key: &str) {
        if let Some(&at) = self.known.get(&resource) {
            self.all[at].more += 1;
            return;
        }
        self.known.insert(resource.clone(), self.all.len());
        self.all.push(Use {
            resource,
            place,
            key: key.to_owned(),
            more: 0,
        });
    }
}

impl Config {
    /// That it takes nothing from the machine that it is used on.
    ///
    /// # Errors
    /// Everything that it takes, each once, as faults of a configuration at `path` that may not.
    pub(crate) fn refuse_local(&self, path: &Path) -> Result<(), ConfigError> {
        let fault = |it: Use| {
            let Use {
                resource,
                place,
                key,
                more,
            } = it;
            let more = match more {
                0 => String::new(),
                1 => " (here and in one more place)".to_owned(),
                more => format!(" (here and in {more} more places)"),
            };
            ConfigFault {
                place,
                key,
                message: format!(
                    "this {resource} where it is used{more}, and a published configuration that is \
                     not signed may not; sign it (`fleetcall publish --sign-key`, `--published-key`), or allow \
                     it by --published-unsigned"
                ),
            }
        };
        let faults: Vec<ConfigFault> = self.local().all.into_iter().map(fault).collect();
        if faults.is_empty() {
            return Ok(());
        }
        let path = path.to_owned();
        Err(ConfigError { path, faults })
    }

    fn local(&self) -> FoundLocal {
        let Self {
            clusters,
            discoveries,
            collect:
                CollectConfig {
                    deadline: _,
                    every: _,
                    join: _,
                    max_concurrent: _,
                    max_waiting: _,
                    threads: _,
                },
            supervision:
                SupervisionPolicy {
                    intensity: _,
                    period: _,
                    backoff: _,
                    quarantine: _,
                },
            dns:
                DnsSettings {
                    servers: _,
                    timeout: _,
                    attempts: _,
                },
            http,
            metrics: MetricsConfig { per_device: _ },
        } = self;
        let mut found = FoundLocal::default();
        http.local(&mut found);
        for DiscoveryConfig {
            discovery,
            place,
            key,
        } in discoveries
        {
            for resource in discovery.local_resources() {
                found.note(resource, Some(*place), key);
            }
        }
        for (index, ClusterConfig { id: _, groups }) in clusters.iter().enumerate() {
            for GroupConfig {
                kind,
                members: _,
                target,
            } in groups
            {
                let Target {
                    timeout: _,
                    retry: _,
                    breaker: _,
                    allow: _,
                    driver,
                } = target;
                for resource in driver.local_resources() {
                    let key = format!("clusters[{index}].{}", kind.plural());
                    found.note(resource, None, &key);
                }
            }
        }
        found
    }
}

impl HttpConfig {
    fn local(&self, found: &mut FoundLocal) {
        let Self {
            tokens,
            tls,
            origins: _,
            names: _,
            test_cors: _,
            rate: _,
            proxies: _,
            max_connections: _,
            request_timeout: _,
            stale_tokens: _,
        } = self;
        for TokenConfig {
            name: _,
            role: _,
            token,
            written: Written { place, key },
        } in tokens
        {
            if let Some(resource) = LocalResource::of_secret(token) {
                found.note(resource, Some(*place), key);
            }
        }
        if let Some(TlsConfig {
            certificate,
            key: secret,
            client_ca,
            written: Written { place, key },
        }) = tls
        {
            for path in [certificate, secret].into_iter().chain(client_ca) {
                found.note(LocalResource::File(path.clone()), Some(*place), key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults of a configuration with this, for one cluster; each with its key.
    fn faults(more: &str) -> Vec<(String, String)> {
        let text = format!("allow_inline_secrets = true\n{more}");
        let config = Config::parse(Path::new("x"), &text).unwrap_or_else(|error| panic!("{error}"));
        let Err(error) = config.refuse_local(Path::new("x")) else {
            return Vec::new();
        };
        let faults = error.faults.into_iter();
        let said = |message: String| {
            let (what, _) = message.split_once(" where it is used").unwrap();
            what.strip_prefix("this ").unwrap().to_owned()
        };
        faults.map(|it| (it.key, said(it.message))).collect()
    }

    /// What a driver with these settings takes.
    fn of_driver(lookup: &str) -> Vec<String> {
        let fleet = "[[clusters]]\nid = 1\nswitches = \"1\"\n";
        let faults = faults(&format!("[lookup]\n{lookup}\n{fleet}"));
        let is_there = |(key, what): (String, String)| {
            assert_eq!(key, "clusters[0].switches");
            what
        };
        faults.into_iter().map(is_there).collect()
    }

    #[test]
    fn what_drivers_take_from_the_machine_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        let pem = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        std::fs::write(&ca, pem.cert.pem()).unwrap();
        let reads_ca = format!("reads the file {ca:?}");
        let web = format!(
            "url = \"https://{{id}}/\"\nheaders = {{ x-a = {{ env = \"A\" }}, x-b = \"b\" }}\n\
             tls = {{ ca = {ca:?} }}\n"
        );
        let basic = "username = \"u\"\npassword = { systemd_credential = \"p\" }\n";
        let bearer = "bearer_token = { file = \"/t\" }\n";
        let [a, p, t] = [
            "reads the variable \"A\"",
            "reads the systemd credential \"p\"",
            "reads the file \"/t\"",
        ];
        for (settings, expected) in [
            ("driver = \"simulated\"".to_owned(), vec![]),
            (
                "driver = \"tcp\"\naddress = \"{id}:1\"\ntls = true".to_owned(),
                vec![],
            ),
            (
                format!("driver = \"tcp\"\naddress = \"{{id}}:1\"\ntls = {{ ca = {ca:?} }}"),
                vec![reads_ca.as_str()],
            ),
            (
                format!("driver = \"http\"\n{web}{basic}"),
                vec![a, p, &reads_ca],
            ),
            (
                format!("driver = \"prometheus\"\n{web}{bearer}"),
                vec![a, t, &reads_ca],
            ),
            (
                format!("driver = \"redfish\"\n{web}{basic}"),
                vec![a, p, &reads_ca],
            ),
            (
                "driver = \"http\"\nurl = \"http://{id}/\"\nbearer_token = \"t\"".to_owned(),
                vec![],
            ),
            (
                "driver = \"exec\"\ncommand = [\"/bin/x\", \"{id}\"]\n\
                 env = { A = { env = \"A\" }, B = \"b\" }"
                    .to_owned(),
                vec!["runs the command \"/bin/x\"", a],
            ),
            (
                "driver = \"ssh\"\naddress = \"{id}:22\"\nusername = \"u\"\nkey = \"/k\"\n\
                 known_hosts = \"/h\"\nremote_command = \"true\""
                    .to_owned(),
                vec![
                    "runs the command \"ssh\"",
                    "reads the file \"/k\"",
                    "reads the file \"/h\"",
                ],
            ),
            (
                "driver = \"snmp\"\naddress = \"{id}:161\"\ncommunity = { file = \"/t\" }"
                    .to_owned(),
                vec![t],
            ),
            (
                "driver = \"snmp\"\naddress = \"{id}:161\"\nversion = \"3\"\nusername = \"u\"\n\
                 auth = \"sha256\"\nauth_password = { env = \"A\" }\nprivacy = \"aes128\"\n\
                 privacy_password = { systemd_credential = \"p\" }"
                    .to_owned(),
                vec![a, p],
            ),
            (
                "driver = \"snmp\"\naddress = \"{id}:161\"\ncommunity = \"public\"".to_owned(),
                vec![],
            ),
        ] {
            assert_eq!(of_driver(&settings), expected, "{settings}");
        }
    }

    #[test]
    fn what_the_server_and_lists_take_is_named_where_it_stands() {
        let text = r#"
            [http]
            tokens = [
              { name = "a", role = "read", token = { file = "/a" } },
              { name = "b", role = "read", token = "0123456789abcdef" },
              { name = "c", role = "read", token = { env = "C" } },
            ]
            tls = { certificate = "/crt", key = "/key", client_ca = "/ca" }
            [[clusters]]
            id = 1
            nodes = { file = "targets/*.json" }
            switches = { url = "http://x/", bearer_token = { env = "T" } }
            [[clusters]]
            id = 2
            nodes = { dns_srv = "_x._tcp.example" }
            switches = [{ ids = "1-2", lookup = { driver = "exec", command = ["x"] } }]
        "#;
        let said = faults(text);
        let said = said.iter().map(|(key, it)| (key.as_str(), it.as_str()));
        let said: Vec<_> = said.collect();
        let expected = [
            ("http.tokens[0].token", "reads the file \"/a\""),
            ("http.tokens[2].token", "reads the variable \"C\""),
            ("http.tls", "reads the file \"/crt\""),
            ("http.tls", "reads the file \"/key\""),
            ("http.tls", "reads the file \"/ca\""),
            ("clusters[0].nodes", "reads the file \"targets/*.json\""),
            ("clusters[0].switches", "reads the variable \"T\""),
            ("clusters[1].switches", "runs the command \"x\""),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn what_is_taken_again_and_again_is_said_once() {
        let mut text = "[lookup]\ndriver = \"exec\"\ncommand = [\"x\"]\n".to_owned();
        for cluster in 0..1000 {
            text += &format!("[[clusters]]\nid = {cluster}\nnodes = \"1\"\n");
        }
        let config = Config::parse(Path::new("x"), &text).unwrap();
        let error = config.refuse_local(Path::new("x")).unwrap_err();
        assert_eq!(error.faults.len(), 1, "{error}");
        let said = error.to_string();
        let place = "x: clusters[0].nodes: this runs the command \"x\"";
        assert!(said.starts_with(place), "{said}");
        assert!(said.contains("(here and in 999 more places)"), "{said}");
    }
}
