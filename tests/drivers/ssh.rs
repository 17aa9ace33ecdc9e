//! The `ssh` driver, against Debian's OpenSSH server.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::TestApp;
use crate::secrets::until;
use crate::servers::{Node, ask, nobody, server, wait_for, wait_for_end};

/// A real sshd with keys of its own, killed when dropped.
pub struct Sshd {
    child: Child,
    pub addr: SocketAddr,
    dir: tempfile::TempDir,
}

/// Who runs the tests, as whom alone a server can let in.
pub fn user() -> String {
    let name = Command::new("id").arg("-un").output().unwrap().stdout;
    String::from_utf8(name).unwrap().trim().to_owned()
}

fn keygen(path: &Path) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status()
        .expect("openssh-client is not installed; .ci/test installs it");
    assert!(status.success());
}

impl Sshd {
    pub fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// With these lines of its configuration too, which may name files in the folder given.
    pub fn start_with(more: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for key in ["host", "user", "other"] {
            keygen(&at(key));
        }
        fs::copy(at("user.pub"), at("authorized")).unwrap();
        let addr = nobody();
        let config = format!(
            "Port {}\nListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             PasswordAuthentication no\nPermitRootLogin prohibit-password\nStrictModes no\nUsePAM no\n\
             MaxStartups 1000\n",
            addr.port(),
            addr.ip(),
            at("host").display(),
            at("authorized").display()
        );
        fs::write(at("config"), config + &more(dir.path())).unwrap();
        // Where Debian's sshd leaves its privileges; its init script makes it.
        fs::create_dir_all("/run/sshd").unwrap();
        let mut child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(at("config"))
            .stderr(Stdio::null())
            .spawn()
            .expect("openssh-server is not installed; .ci/test installs it");
        wait_for(&mut child, addr);
        Self { child, addr, dir }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A public key, as a configuration has it.
    pub fn key(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap().trim().to_owned()
    }

    /// Its line in a file of host keys.
    pub fn known_hosts(&self) -> String {
        let (ip, port) = (self.addr.ip(), self.addr.port());
        format!("[{ip}]:{port} {}\n", self.key("host.pub"))
    }

    fn run(&self, command: &str, more: &str) -> Node {
        let pinned = format!("host_key = {:?}", self.key("host.pub"));
        ask(&self.lookup("user", command, &format!("{pinned}\n{more}")))
    }

    pub fn lookup(&self, key: &str, command: &str, more: &str) -> String {
        let user = user();
        let command = command.replace('{', "{{").replace('}', "}}");
        format!(
            "driver = \"ssh\"\naddress = \"{}\"\nusername = {:?}\nkey = {:?}\nremote_command = {command:?}\n\
             timeout = \"1m\"\n{more}",
            self.addr,
            user,
            self.at(key).display().to_string(),
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_command_on_a_real_server_gives_facts() {
    let sshd = Sshd::start();
    let node = sshd.run("echo \"{\\\"host\\\": \\\"$(uname -n)\\\"}\"", "");
    let host = Command::new("uname").arg("-n").output().unwrap().stdout;
    let host = String::from_utf8(host).unwrap();
    assert_eq!(node.fact("values"), &json!({"host": host.trim()}));
    let node = sshd.run("cat /etc/os-release", "output = \"key_value\"");
    let release = fs::read_to_string("/etc/os-release").unwrap();
    let id = release.lines().find_map(|line| line.strip_prefix("ID="));
    assert_eq!(node.fact("values")["ID"], id.unwrap());
    fs::write(sshd.at("known"), sshd.known_hosts()).unwrap();
    fs::rename(sshd.at("known"), sshd.at("known 100%")).unwrap();
    let known = format!(
        "known_hosts = {:?}",
        sshd.at("known 100%").display().to_string()
    );
    let node = ask(&sshd.lookup("user", "echo '{\"a\":1}'", &known));
    assert_eq!(node.fact("values"), &json!({"a": 1}));
}

#[test]
fn a_host_key_is_never_accepted_blindly() {
    let sshd = Sshd::start();
    let wrong = format!("host_key = {:?}", sshd.key("other.pub"));
    ask(&sshd.lookup("user", "true", &wrong)).fails("protocol", "Host key verification failed");
    fs::write(sshd.at("empty"), "").unwrap();
    let unknown = format!("known_hosts = {:?}", sshd.at("empty").display().to_string());
    ask(&sshd.lookup("user", "true", &unknown)).fails("protocol", "Host key verification failed");
    assert_eq!(
        fs::read_to_string(sshd.at("empty")).unwrap(),
        "",
        "and nothing is remembered"
    );
}

/// What is wrong with a key of ours is no device's fault, though the client goes on to be refused.
#[test]
fn a_key_that_cannot_be_used_is_ours_and_says_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    let sshd = Sshd::start();
    let pinned = format!("host_key = {:?}", sshd.key("host.pub"));
    let with = |key: &str, what: &str| {
        ask(&sshd.lookup(key, "true", &pinned)).fails("failed", what);
    };
    let mode = |name: &str, mode| {
        fs::set_permissions(sshd.at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::copy(sshd.at("user"), sshd.at("open")).unwrap();
    mode("open", 0o644);
    with(
        "open",
        "are too open\"; let its owner alone read it (chmod 600)",
    );
    fs::write(sshd.at("text"), "no key\n").unwrap();
    mode("text", 0o600);
    with("text", "cannot use the key: \"Load key ");
    with("user.pub", "cannot use the key: ");
    fs::copy(sshd.at("user"), sshd.at("locked")).unwrap();
    let status = Command::new("ssh-keygen")
        .args(["-q", "-p", "-N", "passphrase", "-f"])
        .arg(sshd.at("locked"))
        .status();
    assert!(status.unwrap().success());
    with("locked", "has a passphrase; use one without");
    with("none", "cannot read the key /tmp");
    let made = Command::new("mkfifo").arg(sshd.at("pipe")).status();
    assert!(made.unwrap().success());
    with("pipe", "it is a pipe, not a regular file");
    let known = |name: &str| {
        let known = format!("known_hosts = {:?}", sshd.at(name).display().to_string());
        ask(&sshd.lookup("user", "true", &known))
    };
    known("none").fails("failed", "cannot read the file of host keys /tmp");
    known("pipe").fails("failed", "it is a pipe, not a regular file");
}

#[test]
fn what_goes_wrong_has_its_kind() {
    let sshd = Sshd::start();
    let pinned = format!("host_key = {:?}", sshd.key("host.pub"));
    ask(&sshd.lookup("other", "true", &pinned)).fails("auth", "Permission denied");
    sshd.run("echo broken >&2; exit 3", "").fails(
        "failed",
        "the command ended with exit status: 3: \"broken\"",
    );
    sshd.run("echo nonsense", "")
        .fails("protocol", "line 1 is no JSON object");
    sshd.run("yes", "max_output_bytes = 1000")
        .fails("too_large", "more than 1000 bytes");
    let node = ask(&sshd
        .lookup("user", "sleep 1000", &pinned)
        .replace("\"1m\"", "\"1s\""));
    node.fails("timed_out", "no answer within 1s");
    let at = |addr: SocketAddr| {
        sshd.lookup("user", "true", &pinned)
            .replace(&sshd.addr.to_string(), &addr.to_string())
    };
    ask(&at(nobody())).fails("refused", "Connection refused");
    ask(&at(server(wait_for_end)).replace("\"1m\"", "\"1s\""))
        .fails("timed_out", "no answer within 1s");
    let garbage = server(|mut stream| {
        use std::io::Write as _;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
    });
    let node = ask(&at(garbage));
    let kind = node.node["error"]["kind"].as_str().unwrap();
    assert!(["protocol", "unreachable"].contains(&kind), "{}", node.node);
    // What the command itself says is not taken for ssh's words.
    sshd.run(
        "echo 'root@x: Permission denied (publickey)' >&2; exit 255",
        "",
    )
    .fails("failed", "the command ended with exit status: 255");
    ask(&sshd.lookup("none", "true", &pinned)).fails("failed", "cannot read the key /tmp");
    let name = sshd
        .lookup("user", "true", &pinned)
        .replace(&sshd.addr.to_string(), "no-such-host.invalid:22");
    ask(&name).fails("unreachable", "Could not resolve hostname");
}

#[test]
fn another_key_is_tried_although_the_breaker_is_open() {
    let sshd = Sshd::start();
    let pinned = format!("host_key = {:?}", sshd.key("host.pub"));
    let lookup = sshd.lookup("other", "echo '{}'", &pinned);
    let config = format!("[lookup]\n{lookup}\n[[clusters]]\nid = 1\nnodes = \"1\"\n");
    let app = TestApp::start(&config);
    assert_eq!(app.get().devices(), ["1/n1:auth"]);
    assert_eq!(app.get().devices(), ["1/n1:breaker_open"]);
    // The client would offer what stands beside the key.
    fs::rename(sshd.at("user.pub"), sshd.at("other.pub")).unwrap();
    fs::rename(sshd.at("user"), sshd.at("other")).unwrap();
    until(&app, "1/n1");
}
