//! The settings of the `redfish` driver: those of the web drivers, which `network` reads, and how
//! to log in.

use crate::config::reader::{Node, Table};
use crate::domain::{RedfishSettings, WebAuth};

use super::network::NetworkFields;

pub(super) const KEYS: [&str; 8] = [
    "url",
    "headers",
    "username",
    "password",
    "tls",
    "redirects",
    "max_body_bytes",
    "session",
];

/// As far as one place writes them.
#[derive(Debug, Clone, Default)]
pub(super) struct RedfishFields {
    session: Option<bool>,
}

impl RedfishFields {
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        let session = table.get("session");
        let session = session.and_then(|node| {
            node.boolean(
                "write true to log in and out, or false to send the password with each request",
            )
        });
        Self { session }
    }

    pub(super) fn or(self, outer: &Self) -> Self {
        Self {
            session: self.session.or(outer.session),
        }
    }

    pub(super) fn resolve(
        &self,
        network: &NetworkFields,
        node: &Node<'_, '_>,
    ) -> Option<RedfishSettings> {
        let web = network.web(node, "redfish", 1 << 20)?;
        let url = web.url.to_string();
        let path = url
            .split_once("://")
            .and_then(|(_, rest)| rest.find(['/', '?', '#']).map(|at| &rest[at..]));
        // Whatever else stands there would not be asked for: the links of a service are whole paths.
        if !matches!(path, None | Some("/" | "/redfish/v1" | "/redfish/v1/")) {
            node.fault(
                "the `url` of the driver \"redfish\" names a server and no path, such as \
                 \"https://{id}-bmc.example\"",
            );
            return None;
        }
        if matches!(web.auth, Some(WebAuth::Bearer(_))) {
            node.fault(
                "the driver \"redfish\" has no `bearer_token`, which is inherited here; write \
                 `username` and `password`",
            );
            return None;
        }
        Some(RedfishSettings {
            web,
            session: self.session.unwrap_or(true),
        })
    }
}
