//! The settings of the `exec` driver, and of secrets, which other drivers have too.

use std::path::PathBuf;

use crate::config::reader::{Node, Table};
use crate::domain::{ExecOutput, ExecSettings, Secret, SecretSource, Template};

pub(super) const KEYS: [&str; 4] = ["command", "env", "output", "max_output_bytes"];

/// The most that any answer may have, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// What a command may print unless told otherwise, in bytes.
const MAX_OUTPUT: usize = 64 << 10;

/// As far as one place writes them.
#[derive(Debug, Clone, Default)]
pub(super) struct ExecFields {
    command: Option<Vec<Template>>,
    env: Option<Vec<(String, SecretSource)>>,
    output: Option<ExecOutput>,
    max_output_bytes: Option<usize>,
}

impl ExecFields {
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        Self {
            command: table.get("command").and_then(|node| command(&node)),
            env: table.get("env").and_then(|node| {
                let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
                secrets(
                    &node,
                    "write a table of variables and their values",
                    is_name,
                )
            }),
            output: table.get("output").and_then(|node| output(&node)),
            max_output_bytes: table.get("max_output_bytes").and_then(|node| bytes(&node)),
        }
    }

    pub(super) fn or(self, outer: &Self) -> Self {
        Self {
            command: self.command.or_else(|| outer.command.clone()),
            env: self.env.or_else(|| outer.env.clone()),
            output: self.output.or(outer.output),
            max_output_bytes: self.max_output_bytes.or(outer.max_output_bytes),
        }
    }

    /// What is printed, and how much of it at most.
    pub(super) fn output(&self) -> (Option<ExecOutput>, usize) {
        (self.output, self.max_output_bytes.unwrap_or(MAX_OUTPUT))
    }

    pub(super) fn resolve(&self, node: &Node<'_, '_>) -> Option<ExecSettings> {
        let Some(command) = self.command.clone() else {
            node.fault(
                "the driver \"exec\" needs a `command`, such as [\"/usr/bin/ping\", \"-c1\", \
                 \"{id}\"]; write it in the `lookup` of the group, of the cluster, or in [lookup]",
            );
            return None;
        };
        Some(ExecSettings {
            command,
            env: self.env.clone().unwrap_or_default(),
            output: self.output.unwrap_or(ExecOutput::Json),
            max_output_bytes: self.max_output_bytes.unwrap_or(MAX_OUTPUT),
        })
    }
}

fn command(node: &Node<'_, '_>) -> Option<Vec<Template>> {
    let right = "write an array of the program and its arguments, such as [\"/usr/bin/ping\", \
                 \"-c1\", \"{id}\"]; no shell reads them";
    let parts = node.texts(right)?;
    if parts.is_empty() {
        node.fault(format!("the command is empty; {right}"));
        return None;
    }
    let part = |(node, text): (Node<'_, '_>, &str)| {
        Template::parse(text)
            .map_err(|error| node.fault(error.to_string()))
            .ok()
    };
    let parts: Vec<Option<Template>> = parts.into_iter().map(part).collect();
    parts.into_iter().collect()
}

fn output(node: &Node<'_, '_>) -> Option<ExecOutput> {
    let right = "write \"json\", \"key_value\" or \"nagios\"";
    match node.text(right)? {
        "json" => Some(ExecOutput::Json),
        "key_value" => Some(ExecOutput::KeyValue),
        "nagios" => Some(ExecOutput::Nagios),
        other => {
            node.fault(format!("{other:?} is no such output; {right}"));
            None
        }
    }
}

/// A limit on something that is read, in bytes.
pub(super) fn bytes(node: &Node<'_, '_>) -> Option<usize> {
    usize::try_from(node.integer(1..=MAX_BYTES)?).ok()
}

/// A table whose values may be secrets, or texts that are none.
pub(super) fn secrets(
    node: &Node<'_, '_>,
    right: &str,
    is_name: impl Fn(&str) -> bool,
) -> Option<Vec<(String, SecretSource)>> {
    let member = |(name, node): (&str, Node<'_, '_>)| {
        if !is_name(name) {
            node.fault(format!("{name:?} cannot be such a name; {right}"));
            return None;
        }
        let source = match node.as_str() {
            Some(text) => SecretSource::Inline(Secret::new(text)),
            None => secret(&node)?,
        };
        Some((name.to_owned(), source))
    };
    let members: Vec<Option<_>> = node.members(right)?.into_iter().map(member).collect();
    members.into_iter().collect()
}

/// Where a secret is read. A text is one that stands in the file itself.
pub(in crate::config) fn secret(node: &Node<'_, '_>) -> Option<SecretSource> {
    let right =
        "write { env = \"NAME\" }, { file = \"PATH\" } or { systemd_credential = \"NAME\" }";
    if let Some(text) = node.as_str() {
        if node.allows_inline_secrets() {
            return Some(SecretSource::Inline(Secret::new(text)));
        }
        node.fault(format!(
            "a secret in the file itself; {right}, or allow it by `allow_inline_secrets = true` \
             at the top"
        ));
        return None;
    }
    if !node.is_table() {
        node.text(right);
        return None;
    }
    let table = node.table(&["env", "file", "systemd_credential"])?;
    let entries = table.entries();
    let [(key, value)] = entries.as_slice() else {
        node.fault(format!("one source is needed; {right}"));
        return None;
    };
    let text = value.text("write a text")?;
    if text.is_empty() {
        value.fault("this is empty; write a name or a path");
        return None;
    }
    match *key {
        "env" => Some(SecretSource::Env(text.to_owned())),
        "file" => Some(SecretSource::File(PathBuf::from(text))),
        "systemd_credential" if text.contains('/') => {
            value.fault("a credential's name has no slash");
            None
        }
        "systemd_credential" => Some(SecretSource::Credential(text.to_owned())),
        // Reported as unknown.
        _ => None,
    }
}
