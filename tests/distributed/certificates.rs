//! Processes that a server knows by their certificates.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::access::{FLEET, refused};
use crate::fleet::{LEASE, until_well};
use crate::harness::{TestApp, config_file, fleetcall};
use crate::nats::Nats;

/// Who makes certificates, and has one itself.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    /// Files of a certificate and its key.
    fn issue(&self, dir: &Path, name: &str) -> [PathBuf; 2] {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let files = ["crt", "key"].map(|kind| dir.join(name).with_extension(kind));
        std::fs::write(&files[0], certificate.pem()).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        files
    }
}

#[test]
fn processes_are_known_by_their_certificates() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let nats = Nats::start_with(|dir| {
        let [certificate, key] = ours.issue(dir, "server");
        let ca = dir.join("ca.pem");
        std::fs::write(&ca, &ours.pem).unwrap();
        format!(
            "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}"
        )
    });
    let (url, text) = (nats.url(), |path: &Path| path.display().to_string());
    let ca = text(&nats.dir().join("ca.pem"));
    let connect = ["--nats", &url, "--nats-ca", &ca];
    let [certificate, key] = ours.issue(nats.dir(), "client").map(|it| text(&it));
    let [other, other_key] = others.issue(nats.dir(), "other").map(|it| text(&it));
    let with = |certificate, key| {
        [
            &connect[..],
            &["--nats-cert", certificate, "--nats-key", key],
        ]
        .concat()
    };
    let connect_as = with(&certificate, &key);
    let work = [&connect_as[..], &["worker", "--lease", LEASE]].concat();
    let _worker = TestApp::start_with(FLEET, &work);
    let front = TestApp::start_with(FLEET, &[&connect_as[..], &["serve"]].concat());
    until_well(&front);
    let missing = text(&nats.dir().join("nobody.pem"));
    for (arguments, why) in [
        (connect.to_vec(), "CertificateRequired"),
        (with(&other, &other_key), "UnknownCA"),
        (with(&certificate, &other_key), "certificate or key"),
        (with(&certificate, &missing), "nobody.pem: No such file"),
        (with(&missing, &key), "nobody.pem: No such file"),
        (
            vec!["--nats", &url, "--nats-ca", &missing],
            "nobody.pem: No such file",
        ),
    ] {
        let (code, said) = refused(&[&arguments[..], &["serve"]].concat());
        assert_eq!(code, 1, "{said}");
        let expected = format!("cannot connect to NATS at {url}");
        assert!(said.contains(&expected) && said.contains(why), "{said}");
    }
    // One without its key means nothing.
    let (code, said) = refused(&[&connect[..], &["--nats-cert", &certificate, "serve"]].concat());
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--nats-key"), "{said}");
}

#[test]
fn certificates_that_hang_are_used_as_they_were_and_new_ones_as_they_are() {
    let issue = |authority: &Authority, dir: &Path, name: &str| {
        // Whoever opens a pipe to write waits for a reader.
        for kind in ["crt", "key", "ca"] {
            std::fs::remove_file(dir.join(name).with_extension(kind)).ok();
        }
        let [certificate, key] = authority.issue(dir, name);
        let ca = dir.join(name).with_extension("ca");
        std::fs::write(&ca, &authority.pem).unwrap();
        [ca, certificate, key]
    };
    let ours = Authority::new("ours");
    let mut nats = Nats::start_with(|dir| {
        let [ca, certificate, key] = issue(&ours, dir, "server");
        format!(
            "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}"
        )
    });
    let files = issue(&ours, nats.dir(), "client");
    let flags = ["--nats-ca", "--nats-cert", "--nats-key"];
    let url = nats.url();
    let mut arguments = vec!["--nats", &url];
    for (flag, file) in flags.iter().zip(&files) {
        arguments.extend([flag, file.to_str().unwrap()]);
    }
    arguments.push("serve");
    let mut front = TestApp::start_with(FLEET, &arguments);
    let make_pipes = || {
        for file in &files {
            std::fs::remove_file(file).unwrap();
            let made = std::process::Command::new("mkfifo").arg(file).status();
            assert!(made.unwrap().success());
        }
    };
    let is_back = |line: &serde_json::Value| line["message"] == "connected to NATS again";
    make_pipes();
    nats.kill();
    nats.restart();
    front.wait_for_logs(1, is_back);
    // Of another authority, all of them.
    let next = Authority::new("next");
    issue(&next, nats.dir(), "server");
    issue(&next, nats.dir(), "client");
    nats.kill();
    nats.restart();
    front.wait_for_logs(2, is_back);
    make_pipes();
    nats.kill();
    front.wait_for_logs(3, |line| {
        line["message"] == "the connection to NATS is lost"
    });
    front.signal("TERM");
    assert_eq!(front.wait().code(), Some(0));
}

#[test]
fn authorities_of_the_system_that_hang_are_used_as_they_were() {
    let ours = Authority::new("ours");
    let mut nats = Nats::start_with(|dir| {
        let [certificate, key] = ours.issue(dir, "server");
        format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}")
    });
    let store = nats.dir().join("store.pem");
    std::fs::write(&store, &ours.pem).unwrap();
    let mut command = fleetcall();
    command.env("SSL_CERT_FILE", &store);
    command.env_remove("SSL_CERT_DIR");
    let url = nats.url().replace("nats://", "tls://");
    let (dir, config) = config_file(FLEET);
    let arguments = ["--nats", &url, "serve"];
    let mut front = TestApp::start_as(command, dir, config, &arguments);
    std::fs::remove_file(&store).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&store).status();
    assert!(made.unwrap().success());
    nats.kill();
    nats.restart();
    front.wait_for_log(|line| line["message"] == "connected to NATS again");
    front.signal("TERM");
    assert_eq!(front.wait().code(), Some(0));
}
