//! The `ssh` driver: runs one fixed command on the device, by key, and reads what it prints.
//!
//! The system's OpenSSH client speaks the protocol: it is kept better than any library, knows the
//! algorithms of old switches and new servers, and hardware keys. It runs without a terminal, a
//! prompt, forwarding or the user's configuration, and trusts only the host keys that are given.

use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use super::call::Call;
use super::output::{json, key_value, words};
use crate::domain::{Allow, ExecOutput, Facts, HostKeys, LocalReason, LookupError, SshSettings};
use crate::net::error::said;
use crate::net::process;
use crate::net::process::EndedProcess;
use crate::net::resolve::check_unresolved;
use crate::net::secret;

/// What OpenSSH's client exits with when it is the connection that failed (ssh(1)).
const CONNECTION_FAILED: i32 = 255;

/// The largest key, or file of host keys, in bytes.
const MAX_FILE_LEN: u64 = 16 << 20;

/// A group of devices that are logged in to.
#[derive(Debug)]
pub(crate) struct Ssh {
    settings: SshSettings,
    allow: Option<Arc<Allow>>,
}

impl Ssh {
    pub(super) fn new(settings: SshSettings, allow: Option<Arc<Allow>>) -> Self {
        Self { settings, allow }
    }

    pub(super) async fn lookup(&self, call: Call<'_>) -> Result<Facts, LookupError> {
        let settings = &self.settings;
        let address = call.expand(&settings.address);
        let (host, port) = address.rsplit_once(':').unwrap_or((&address, "22"));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        check_unresolved(host, self.allow.as_deref())?;
        let mut command = process::command("ssh");
        command.args([
            "-F",
            "none",
            "-T",
            "-a",
            "-x",
            "-p",
            port,
            "-l",
            &settings.username,
        ]);
        let key = read("key", &settings.key, call.deadline).await?;
        secret::note_used(&settings.key, &key);
        if has_passphrase(&key) {
            let key = settings.key.display();
            let text = format!("the key {key} has a passphrase; use one without (ssh-keygen -p)");
            return Err(LookupError::Local(LocalReason::File, text));
        }
        if let HostKeys::KnownHosts(path) = &settings.host_keys {
            read("file of host keys", path, call.deadline).await?;
        }
        command
            .arg("-o")
            .arg(format!("IdentityFile={}", quoted(&settings.key)));
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "PreferredAuthentications=publickey",
            "StrictHostKeyChecking=yes",
            "UpdateHostKeys=no",
            "GlobalKnownHostsFile=none",
            "PermitLocalCommand=no",
            "ConnectionAttempts=1",
            "LogLevel=ERROR",
        ] {
            command.args(["-o", option]);
        }
        match &settings.host_keys {
            HostKeys::KnownHosts(path) => {
                command
                    .arg("-o")
                    .arg(format!("UserKnownHostsFile={}", quoted(path)));
            }
            HostKeys::Pinned(key) => {
                // Asked for each host by its name here; its key is a type and base64, no more.
                command.args(["-o", "UserKnownHostsFile=none", "-o"]);
                command.arg(format!("KnownHostsCommand=/bin/echo %H {key}"));
            }
        }
        command.args(["--", host]);
        command.arg(call.expand(&settings.command));
        let EndedProcess {
            status,
            stdout,
            stderr,
        } = process::run("ssh", command, settings.max_output_bytes).await?;
        if status.code() == Some(CONNECTION_FAILED) {
            return Err(connection_failed(&address, &stderr));
        }
        if !status.success() {
            let words = words(&stdout, &stderr);
            let what = format!("the command ended with {status}{words}");
            return Err(LookupError::Failed(what));
        }
        let facts = match settings.output {
            ExecOutput::KeyValue => key_value(&stdout),
            ExecOutput::Json | ExecOutput::Nagios => json(&stdout),
        };
        facts.map(Facts::from)
    }
}

/// What kind of failure the client's own words mean, if it is not the command that ended like that;
/// they are the same in every release.
pub(super) fn connection_failed(address: &str, stderr: &str) -> LookupError {
    // The cause is what it says last.
    let last = stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
    let last = last.unwrap_or_default();
    let text = format!("no session with {address}: {}", said(last));
    if let Some(why) = unusable_key(stderr) {
        return LookupError::Local(LocalReason::File, format!("cannot use the key: {why}"));
    }
    let is_one_of = |starts: &[&str]| starts.iter().any(|start| last.starts_with(start));
    let is_to_connect = is_one_of(&["ssh: connect to host"]);
    if last.contains(": Permission denied (") && last.ends_with(").") {
        LookupError::Auth(text)
    } else if is_to_connect && last.ends_with("Connection refused") {
        LookupError::Refused(text)
    } else if is_to_connect
        || is_one_of(&[
            "ssh: Could not resolve hostname",
            "Connection closed by",
            "Connection reset by",
            "Connection timed out",
        ])
    {
        LookupError::Unreachable(text)
    } else if is_one_of(&[
        "Host key verification failed",
        "No ED25519 host key is known",
        "Unable to negotiate",
        "kex_exchange_identification:",
        "banner exchange:",
        "Bad packet length",
        "ssh_dispatch_run_fatal:",
    ]) {
        LookupError::Protocol(text)
    } else {
        let words = words("", stderr);
        LookupError::Failed(format!("the command ended with exit status: 255{words}"))
    }
}

/// What the client says of a key that it does not even show the device.
fn unusable_key(stderr: &str) -> Option<String> {
    let lines = || stderr.lines().map(str::trim);
    if let Some(permissions) =
        lines().find(|it| it.starts_with("Permissions ") && it.ends_with(" are too open."))
    {
        let permissions = said(permissions.trim_end_matches('.'));
        return Some(format!(
            "{permissions}; let its owner alone read it (chmod 600)"
        ));
    }
    let load = lines().find(|it| it.starts_with("Load key "))?;
    let load = said(load);
    Some(format!("{load}; write the path of a private key"))
}

/// Whether it is encrypted, in OpenSSH's own format (`PROTOCOL.key`: the cipher comes first) or in PEM.
fn has_passphrase(key: &[u8]) -> bool {
    // "openssh-key-v1", 0, and the text "none" behind its length.
    const OPEN: &str = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU";
    let text = String::from_utf8_lossy(key);
    let is_openssh = text.contains("-----BEGIN OPENSSH PRIVATE KEY-----");
    (is_openssh && !text.contains(OPEN)) || text.contains("ENCRYPTED")
}

/// Reads a file that ssh is to read, until `deadline`: it would say less of why it cannot, or hang.
async fn read(what: &str, path: &Path, deadline: Instant) -> Result<Vec<u8>, LookupError> {
    let doing = format!("cannot read the {what} {}", path.display());
    secret::read_file(&doing, path, MAX_FILE_LEN, LocalReason::File, deadline).await
}

/// A path as an option's value: quoted, and without ssh's own `%` expansion.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::domain::{DeviceId, Template};

    #[tokio::test]
    async fn the_key_is_a_secret_and_the_host_keys_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let (key, known) = (dir.path().join("key"), dir.path().join("known"));
        std::fs::write(&key, "key").unwrap();
        std::fs::write(&known, "known").unwrap();
        let ssh = Ssh::new(
            SshSettings {
                address: Template::parse("127.0.0.1:1").unwrap(),
                username: "user".to_owned(),
                key: key.clone(),
                host_keys: HostKeys::KnownHosts(known),
                command: Template::parse("true").unwrap(),
                output: ExecOutput::Json,
                max_output_bytes: 1,
            },
            None,
        );
        let id = DeviceId::number(1);
        let call = Call::within(&id, Duration::from_secs(60));
        let awaits_file = AtomicBool::default();
        let note = async { secret::note_used(&key, b"key") };
        let (_, used) = secret::using(&awaits_file, ssh.lookup(call)).await;
        let (_, of_the_key) = secret::using(&awaits_file, note).await;
        assert_eq!(used, of_the_key);
    }
}
