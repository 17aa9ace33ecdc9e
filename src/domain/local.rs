//! What a configuration takes from the machine that it is used on: commands that are run there, and
//! files, variables and credentials that are read there.
//!
//! All settings are taken apart here field by field, so that one that is added has to be looked at.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{
    Discovery, DriverSettings, ExecSettings, HostKeys, HttpSettings, Origin, PrometheusSettings,
    RedfishSettings, SecretSource, SimulatedSettings, SnmpAuth, SnmpPrivacy, SnmpSecurity,
    SnmpSettings, SnmpUser, SshSettings, TcpSettings, TlsSettings, WebAuth, WebSettings,
};

/// Something of the machine that a process runs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LocalResource {
    /// A command is run.
    Command(String),
    /// A file is read, or all that match a pattern.
    File(PathBuf),
    /// A variable of the environment is read.
    Variable(String),
    /// A credential of systemd is read.
    Credential(String),
}

impl fmt::Display for LocalResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(name) => write!(f, "runs the command {name:?}"),
            Self::File(path) => write!(f, "reads the file {path:?}"),
            Self::Variable(name) => write!(f, "reads the variable {name:?}"),
            Self::Credential(name) => write!(f, "reads the systemd credential {name:?}"),
        }
    }
}

impl LocalResource {
    fn file(path: &Path) -> Self {
        Self::File(path.to_owned())
    }

    /// Where a secret is read, unless it stands in the configuration itself.
    #[must_use]
    pub fn of_secret(source: &SecretSource) -> Option<Self> {
        match source {
            SecretSource::Env(name) => Some(Self::Variable(name.clone())),
            SecretSource::File(path) => Some(Self::file(path)),
            SecretSource::Credential(name) => Some(Self::Credential(name.clone())),
            SecretSource::Inline(_) => None,
        }
    }
}

fn of_secrets<'a>(
    secrets: impl IntoIterator<Item = &'a SecretSource>,
) -> impl Iterator<Item = LocalResource> {
    secrets.into_iter().filter_map(LocalResource::of_secret)
}

impl DriverSettings {
    /// What asking takes from this machine.
    #[must_use]
    pub fn local_resources(&self) -> Vec<LocalResource> {
        match self {
            Self::Simulated(SimulatedSettings {
                latency: _,
                jitter: _,
                seed: _,
                behaviour: _,
            }) => Vec::new(),
            Self::Tcp(TcpSettings { address: _, tls }) => {
                tls.iter().flat_map(TlsSettings::local_resource).collect()
            }
            Self::Http(HttpSettings {
                web,
                expect_status: _,
                expect_headers: _,
                expect_json: _,
                facts: _,
            })
            | Self::Prometheus(PrometheusSettings { web, metrics: _ })
            | Self::Redfish(RedfishSettings { web, session: _ }) => web.local_resources(),
            Self::Exec(ExecSettings {
                command,
                env,
                output: _,
                max_output_bytes: _,
            }) => {
                let program = command.first().map(ToString::to_string);
                std::iter::once(LocalResource::Command(program.unwrap_or_default()))
                    .chain(of_secrets(env.iter().map(|(_, source)| source)))
                    .collect()
            }
            Self::Ssh(SshSettings {
                address: _,
                username: _,
                key,
                host_keys,
                command: _,
                output: _,
                max_output_bytes: _,
            }) => {
                let mut found = vec![
                    LocalResource::Command("ssh".to_owned()),
                    LocalResource::file(key),
                ];
                match host_keys {
                    HostKeys::Pinned(_) => {}
                    HostKeys::KnownHosts(path) => found.push(LocalResource::file(path)),
                }
                found
            }
            Self::Snmp(SnmpSettings {
                address: _,
                security,
                retransmit: _,
            }) => match security {
                SnmpSecurity::Community(community) => of_secrets([community]).collect(),
                SnmpSecurity::User(SnmpUser { name: _, auth }) => match auth {
                    None => Vec::new(),
                    Some(SnmpAuth {
                        digest: _,
                        password,
                        privacy,
                    }) => {
                        let privacy = privacy.as_ref();
                        let privacy = privacy.map(
                            |SnmpPrivacy {
                                 cipher: _,
                                 password,
                             }| password,
                        );
                        of_secrets(std::iter::once(password).chain(privacy)).collect()
                    }
                },
            },
        }
    }
}

impl WebSettings {
    fn local_resources(&self) -> Vec<LocalResource> {
        let Self {
            url: _,
            headers,
            auth,
            tls,
            redirects: _,
            max_body_bytes: _,
        } = self;
        let auth = match auth {
            None => None,
            Some(WebAuth::Basic {
                username: _,
                password,
            }) => Some(password),
            Some(WebAuth::Bearer(token)) => Some(token),
        };
        let secrets = headers.iter().map(|(_, source)| source).chain(auth);
        of_secrets(secrets).chain(tls.local_resource()).collect()
    }
}

impl TlsSettings {
    fn local_resource(&self) -> Option<LocalResource> {
        let Self { verify: _, ca } = self;
        ca.as_ref().map(|ca| LocalResource::file(&ca.path))
    }
}

impl Discovery {
    /// What reading the list takes from this machine.
    #[must_use]
    pub fn local_resources(&self) -> Vec<LocalResource> {
        let Self {
            every: _,
            timeout: _,
            origin,
        } = self;
        match origin {
            Origin::Files(pattern) => vec![LocalResource::file(pattern)],
            Origin::Web(web) => web.local_resources(),
            Origin::Srv(_) => Vec::new(),
        }
    }
}
