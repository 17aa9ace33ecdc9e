//! The settings of the `ssh` driver that no other driver has.

use std::path::PathBuf;

use crate::config::reader::{Node, Table};
use crate::domain::{ExecOutput, HostKeys, SshSettings, Template};

pub(super) const KEYS: [&str; 8] = [
    "address",
    "username",
    "key",
    "host_key",
    "known_hosts",
    "remote_command",
    "output",
    "max_output_bytes",
];

/// As far as one place writes them.
#[derive(Debug, Clone, Default)]
pub(super) struct SshFields {
    key: Option<PathBuf>,
    host_keys: Option<HostKeys>,
    remote_command: Option<Template>,
}

impl SshFields {
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        let path = |key, right| {
            let node = table.get(key)?;
            let path = node.text(right)?;
            if path.is_empty() || path.contains(['"', '\n']) {
                node.fault(format!("this can be no path here; {right}"));
                return None;
            }
            Some(PathBuf::from(path))
        };
        let known_hosts = path("known_hosts", "write the path of a known_hosts file");
        let pinned = table.get("host_key").and_then(|node| host_key(&node));
        if known_hosts.is_some()
            && let Some(node) = table.get("host_key")
        {
            node.fault("`host_key` and `known_hosts` exclude each other; write one of them");
        }
        let command = table.get("remote_command").and_then(|node| {
            let text = node.text("write the command that the device's shell runs")?;
            Template::parse(text)
                .map_err(|error| node.fault(error.to_string()))
                .ok()
        });
        Self {
            key: path("key", "write the path of a private key"),
            host_keys: pinned
                .map(HostKeys::Pinned)
                .or_else(|| known_hosts.map(HostKeys::KnownHosts)),
            remote_command: command,
        }
    }

    pub(super) fn or(self, outer: &Self) -> Self {
        Self {
            key: self.key.or_else(|| outer.key.clone()),
            host_keys: self.host_keys.or_else(|| outer.host_keys.clone()),
            remote_command: self.remote_command.or_else(|| outer.remote_command.clone()),
        }
    }

    pub(super) fn resolve(
        &self,
        node: &Node<'_, '_>,
        address: Option<Template>,
        username: Option<String>,
        output: Option<ExecOutput>,
        max_output_bytes: usize,
    ) -> Option<SshSettings> {
        let missing: Vec<&str> = [
            ("`address`", address.is_none()),
            ("`username`", username.is_none()),
            ("`key`", self.key.is_none()),
            ("`host_key` or `known_hosts`", self.host_keys.is_none()),
            ("`remote_command`", self.remote_command.is_none()),
        ]
        .into_iter()
        .filter_map(|(name, is_missing)| is_missing.then_some(name))
        .collect();
        if !missing.is_empty() {
            node.fault(format!(
                "the driver \"ssh\" also needs {}; write them in the `lookup` of the group, of the \
                 cluster, or in [lookup]",
                missing.join(", ")
            ));
        }
        if output == Some(ExecOutput::Nagios) {
            node.fault("the driver \"ssh\" reads \"json\" or \"key_value\" as `output`");
            return None;
        }
        Some(SshSettings {
            address: address?,
            username: username?,
            key: self.key.clone()?,
            host_keys: self.host_keys.clone()?,
            command: self.remote_command.clone()?,
            output: output.unwrap_or(ExecOutput::Json),
            max_output_bytes,
        })
    }
}

/// As in a `.pub` file, without the comment.
fn host_key(node: &Node<'_, '_>) -> Option<String> {
    let right = "write its type and itself, as in a .pub file: \"ssh-ed25519 AAAA…\"";
    let text = node.text(right)?;
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(key)) = (words.next(), words.next()) else {
        node.fault(format!("this is no host key; {right}"));
        return None;
    };
    let is_kind = |c: char| c.is_ascii_alphanumeric() || "-@.".contains(c);
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    if !kind.chars().all(is_kind) || !key.chars().all(is_base64) {
        node.fault(format!("this is no host key; {right}"));
        return None;
    }
    Some(format!("{kind} {key}"))
}
