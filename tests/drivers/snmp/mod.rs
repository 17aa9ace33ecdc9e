//! The `snmp` driver.

pub mod agents;
mod forged;
mod hostile;
mod lldp;
mod real;
mod settings;

use std::net::SocketAddr;

/// Settings for version 2c with the right community.
fn v2c(addr: SocketAddr, more: &str) -> String {
    format!(
        "driver = \"snmp\"\naddress = \"{addr}\"\ncommunity = {{ env = \"COMMUNITY\" }}\n{}\n",
        patient(more)
    )
}

fn v3(addr: SocketAddr, user: &str, more: &str) -> String {
    format!(
        "driver = \"snmp\"\naddress = \"{addr}\"\nversion = \"3\"\nusername = \"{user}\"\n{}\n",
        patient(more)
    )
}

/// With all the time that any machine takes, unless the test has a time of its own.
fn patient(more: &str) -> String {
    let timeout = if more.contains("timeout") {
        ""
    } else {
        "\ntimeout = \"1m\""
    };
    format!("{more}{timeout}")
}

/// As `servers::ask`, with the secrets in the environment.
fn ask(lookup: &str) -> crate::servers::Node {
    let node = crate::servers::ask_with("", lookup, |command| {
        command
            .env("COMMUNITY", "public")
            .env("PASSWORD", agents::PASSWORD)
            .env("OTHER_PASSWORD", agents::OTHER_PASSWORD)
            .env("SHORT", "1234567");
    });
    for secret in [agents::PASSWORD, agents::OTHER_PASSWORD, "1234567"] {
        assert!(!node.output.contains(secret), "{}", node.output);
    }
    node
}
