//! The settings: what is missing or contradicts itself is said before anything is asked.

use crate::harness::{config_file, fleetcall, run, stderr};

/// What `check` says of `lookup`; empty if it is right.
fn check(lookup: &str) -> String {
    let text =
        format!("[lookup]\ndriver = \"snmp\"\n{lookup}\n[[clusters]]\nid = 1\nswitches = [1]\n");
    let (_dir, path) = config_file(&text);
    let output = run(fleetcall().args(["check", "--config"]).arg(path));
    match output.status.code() {
        Some(0) => String::new(),
        _ => stderr(&output),
    }
}

#[test]
fn what_is_missing_is_said() {
    let address = "address = \"{id}.example:161\"";
    let secret = "{ env = \"S\" }";
    let user = format!("{address}\nversion = \"3\"\nusername = \"u\"");
    let cases = [
        (
            format!("community = {secret}"),
            "the driver \"snmp\" needs an `address`, such as \"{id}.example:161\"",
        ),
        (
            address.to_owned(),
            "needs a `community`, or `version = \"3\"` and a `username`",
        ),
        (
            format!("{address}\nversion = \"3\""),
            "version 3 of the driver \"snmp\" needs a `username`",
        ),
        (
            format!(
                "{address}\nversion = \"3\"\nusername = \"{}\"",
                "u".repeat(33)
            ),
            "write a `username` of 1 to 32 bytes",
        ),
        (
            format!("{user}\nauth = \"sha256\""),
            "`auth` and `auth_password` belong together",
        ),
        (
            format!("{user}\nauth_password = {secret}"),
            "`auth` and `auth_password` belong together",
        ),
        (
            format!("{user}\nprivacy = \"aes128\""),
            "`privacy` and `privacy_password` belong together",
        ),
        (
            format!("{user}\nprivacy = \"aes128\"\nprivacy_password = {secret}"),
            "privacy needs authentication (RFC 3414); write `auth` and `auth_password` too",
        ),
        (
            format!("{address}\nversion = \"1\"\ncommunity = {secret}"),
            "lookup.version: \"1\" is no version; write \"2c\" or \"3\"",
        ),
        (
            format!("{user}\nauth = \"md5\"\nauth_password = {secret}"),
            "lookup.auth: \"md5\" is not known here; write one of \"sha1\", \"sha224\"",
        ),
        (
            format!("{address}\ncommunity = \"public\""),
            "lookup.community: a secret in the file itself",
        ),
        (
            format!("{address}\ncommunity = {secret}\nretransmit = \"0s\""),
            "lookup.retransmit: \"0s\" is too short",
        ),
        (
            format!("{address}\ncommunity = {secret}\nurl = \"http://x/\""),
            "the driver \"snmp\" has no such setting; it has",
        ),
    ];
    for (lookup, expected) in cases {
        let found = check(&lookup);
        assert!(found.contains(expected), "{lookup}\n{found}");
    }
}

#[test]
fn what_is_right_has_no_fault() {
    let lookup = "address = \"{id}.example:161\"\ncommunity = { env = \"S\" }";
    assert_eq!(check(lookup), "");
    // What another group needs may be inherited.
    let lookup = format!(
        "{lookup}\nversion = \"3\"\nusername = \"u\"\nauth = \"sha512\"\n\
         auth_password = {{ env = \"S\" }}\nprivacy = \"aes256\"\n\
         privacy_password = {{ env = \"S\" }}\nretransmit = \"500ms\""
    );
    assert_eq!(check(&lookup), "");
    assert_eq!(check(&lookup.replace("\"3\"", "\"2c\"")), "");
}
