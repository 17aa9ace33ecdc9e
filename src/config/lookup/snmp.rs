//! The settings of the `snmp` driver.
//!
//! `address` and `username` are read with those of the other drivers that have them.

use std::time::Duration;

use crate::config::reader::{Node, SHORTEST, Table};
use crate::domain::{
    SecretSource, SnmpAuth, SnmpCipher, SnmpDigest, SnmpPrivacy, SnmpSecurity, SnmpSettings,
    SnmpUser, did_you_mean,
};

use super::exec::secret;
use super::network::NetworkFields;

pub(super) const KEYS: [&str; 9] = [
    "address",
    "version",
    "community",
    "username",
    "auth",
    "auth_password",
    "privacy",
    "privacy_password",
    "retransmit",
];

/// The longest name that a user may have, in bytes (RFC 3414, `usmUserName`).
const MAX_USERNAME_LEN: usize = 32;

/// Where most settings are written, for a message about one that is missing.
const WHERE: &str = "write it in the `lookup` of the group, of the cluster, or in [lookup]";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V2c,
    V3,
}

/// As far as one place writes them.
#[derive(Debug, Clone, Default)]
pub(super) struct SnmpFields {
    version: Option<Version>,
    community: Option<SecretSource>,
    auth: Option<SnmpDigest>,
    auth_password: Option<SecretSource>,
    privacy: Option<SnmpCipher>,
    privacy_password: Option<SecretSource>,
    retransmit: Option<Duration>,
}

impl SnmpFields {
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        let secret = |key| table.get(key).and_then(|node| secret(&node));
        let auth = table.get("auth");
        let privacy = table.get("privacy");
        let retransmit = table.get("retransmit");
        Self {
            version: table.get("version").and_then(|node| version(&node)),
            community: secret("community"),
            auth: auth.and_then(|node| one_of(&node, SnmpDigest::ALL, SnmpDigest::as_str)),
            auth_password: secret("auth_password"),
            privacy: privacy.and_then(|node| one_of(&node, SnmpCipher::ALL, SnmpCipher::as_str)),
            privacy_password: secret("privacy_password"),
            retransmit: retransmit.and_then(|node| node.duration(SHORTEST)),
        }
    }

    pub(super) fn or(self, outer: &Self) -> Self {
        Self {
            version: self.version.or(outer.version),
            community: self.community.or_else(|| outer.community.clone()),
            auth: self.auth.or(outer.auth),
            auth_password: self.auth_password.or_else(|| outer.auth_password.clone()),
            privacy: self.privacy.or(outer.privacy),
            privacy_password: self
                .privacy_password
                .or_else(|| outer.privacy_password.clone()),
            retransmit: self.retransmit.or(outer.retransmit),
        }
    }

    /// What the other version needs is left aside: it may be inherited for other devices.
    pub(super) fn resolve(
        &self,
        network: &NetworkFields,
        node: &Node<'_, '_>,
    ) -> Option<SnmpSettings> {
        // Both are looked at, so that all that is missing is said at once.
        let address = network.address(node, "snmp", 161);
        let security = match self.version.unwrap_or(Version::V2c) {
            Version::V2c => self.community(node).map(SnmpSecurity::Community),
            Version::V3 => self.user(network, node).map(SnmpSecurity::User),
        };
        Some(SnmpSettings {
            address: address?,
            security: security?,
            retransmit: self.retransmit.unwrap_or(Duration::from_secs(1)),
        })
    }

    fn community(&self, node: &Node<'_, '_>) -> Option<SecretSource> {
        if self.community.is_none() {
            node.fault(format!(
                "the driver \"snmp\" needs a `community`, or `version = \"3\"` and a `username`; \
                 {WHERE}"
            ));
        }
        self.community.clone()
    }

    fn user(&self, network: &NetworkFields, node: &Node<'_, '_>) -> Option<SnmpUser> {
        let Some(name) = network.username() else {
            node.fault(format!(
                "version 3 of the driver \"snmp\" needs a `username`; {WHERE}"
            ));
            return None;
        };
        if name.is_empty() || name.len() > MAX_USERNAME_LEN {
            node.fault(format!(
                "{name:?} is no SNMP user; write a `username` of 1 to {MAX_USERNAME_LEN} bytes"
            ));
            return None;
        }
        let privacy = match (self.privacy, &self.privacy_password) {
            (None, None) => None,
            (Some(cipher), Some(password)) => Some(SnmpPrivacy {
                cipher,
                password: password.clone(),
            }),
            (Some(_), None) | (None, Some(_)) => {
                node.fault("`privacy` and `privacy_password` belong together; write both");
                return None;
            }
        };
        let auth = match (self.auth, &self.auth_password) {
            (None, None) if privacy.is_some() => {
                node.fault(
                    "privacy needs authentication (RFC 3414); write `auth` and `auth_password` too",
                );
                return None;
            }
            (None, None) => None,
            (Some(digest), Some(password)) => Some(SnmpAuth {
                digest,
                password: password.clone(),
                privacy,
            }),
            (Some(_), None) | (None, Some(_)) => {
                node.fault("`auth` and `auth_password` belong together; write both");
                return None;
            }
        };
        let name = name.to_owned();
        Some(SnmpUser { name, auth })
    }
}

fn version(node: &Node<'_, '_>) -> Option<Version> {
    let right = "write \"2c\" or \"3\"";
    match node.text(right)? {
        "2c" => Some(Version::V2c),
        "3" => Some(Version::V3),
        other => {
            node.fault(format!("{other:?} is no version; {right}"));
            None
        }
    }
}

/// The one of `all` with the name that is written.
fn one_of<T: Copy, const N: usize>(
    node: &Node<'_, '_>,
    all: [T; N],
    as_str: fn(T) -> &'static str,
) -> Option<T> {
    let names = all.map(|it| format!("{:?}", as_str(it))).join(", ");
    let right = format!("write one of {names}");
    let name = node.text(&right)?;
    let found = all.into_iter().find(|it| as_str(*it) == name);
    if found.is_none() {
        let hint = did_you_mean(name, all.map(as_str));
        node.fault(format!("{name:?} is not known here; {right}{hint}"));
    }
    found
}
