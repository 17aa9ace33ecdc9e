//! The `tcp` driver.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{Certificate, CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::servers::{ask, nobody, server, wait_for_end};

/// A certificate for `name` that ends in `days`, signed by its own key.
pub fn certificate(name: &str, days: i64) -> (Certificate, KeyPair) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    let now = std::time::SystemTime::now();
    params.not_before = (now - day * 400).into();
    params.not_after = if days < 0 {
        (now - day * u32::try_from(-days).unwrap() - day / 2).into()
    } else {
        (now + day * u32::try_from(days).unwrap() + day / 2).into()
    };
    params.distinguished_name = DistinguishedName::new();
    // No authority that this machine trusts is called that.
    let common_name = "fleetcall's test";
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap(), key)
}

/// A TLS server with a certificate for `name` that ends in `days`, and that certificate's file.
pub fn tls_server(
    name: &str,
    days: i64,
    answer: &'static [u8],
) -> (SocketAddr, tempfile::TempDir, PathBuf) {
    let (certificate, key) = certificate(name, days);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, certificate.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let config = Arc::new(config);
    let addr = server(move |mut stream| {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = Stream::new(&mut connection, &mut stream);
        let mut some = [0; 4096];
        // Whoever only shakes hands sends nothing.
        if matches!(tls.read(&mut some), Ok(1..)) {
            tls.write_all(answer).ok();
            tls.conn.send_close_notify();
            tls.flush().ok();
        }
    });
    (addr, dir, path)
}

fn tcp(address: &str, more: &str) -> String {
    format!("driver = \"tcp\"\naddress = \"{address}\"\ntimeout = \"1m\"\n{more}")
}

#[test]
fn it_connects_and_says_how_long_that_took() {
    let addr = server(wait_for_end);
    let node = ask(&tcp(&addr.to_string(), ""));
    let took = node.fact("connect_seconds").as_f64().unwrap();
    assert!(took > 0.0 && took < 60.0, "{took}");
    assert!(node.node["facts"]["tls_subject"].is_null());
}

#[test]
fn ids_stand_in_the_address() {
    // All of 127/8 is the loopback's.
    let addr = server(wait_for_end);
    let text = format!(
        "[lookup]\ndriver = \"tcp\"\naddress = \"{{id}}.0.0.{{cluster}}:{}\"\n[[clusters]]\nid = 1\nnodes = [127]\n",
        addr.port()
    );
    let (_dir, path) = crate::harness::config_file(&text);
    let mut command = crate::harness::fleetcall();
    let output = crate::harness::run(command.args(["collect", "--config"]).arg(path));
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        crate::harness::stdout(&output)
    );
}

#[test]
fn what_goes_wrong_has_its_kind() {
    ask(&tcp(&nobody().to_string(), "")).fails("refused", "cannot connect to 127.0.0.1:");
    ask(&tcp("no-such-host.invalid:22", ""))
        .fails("unreachable", "cannot connect to no-such-host.invalid:22: ");
}

#[test]
fn with_tls_it_looks_at_the_certificate() {
    let (addr, _dir, ca) = tls_server("localhost", 30, b"");
    let address = format!("localhost:{}", addr.port());
    let trusting = format!("tls = {{ ca = {ca:?} }}");
    let node = ask(&tcp(&address, &trusting));
    assert_eq!(node.fact("tls_subject"), "CN=fleetcall's test");
    assert_eq!(node.fact("tls_days_left"), 30);
    node.fact("connect_seconds");
    ask(&tcp(&address, "tls = true"))
        .fails("protocol", "from an authority that is not trusted here");
    let other_name = format!("127.0.0.1:{}", addr.port());
    ask(&tcp(&other_name, &trusting)).fails("protocol", "its certificate is for another name");
    let node = ask(&tcp(&other_name, "tls = { verify = false }"));
    assert_eq!(node.fact("tls_subject"), "CN=fleetcall's test");
}

#[test]
fn an_expired_certificate_is_a_fault_or_a_negative_number_of_days() {
    let (addr, _dir, ca) = tls_server("localhost", -3, b"");
    let address = format!("localhost:{}", addr.port());
    ask(&tcp(&address, &format!("tls = {{ ca = {ca:?} }}")))
        .fails("protocol", "its certificate has expired");
    let node = ask(&tcp(&address, "tls = { verify = false }"));
    assert_eq!(node.fact("tls_days_left"), -4, "rounded down");
}

#[test]
fn whoever_does_not_speak_tls_is_a_fault_in_time() {
    let garbage = server(|mut stream| {
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").ok();
        wait_for_end(stream);
    });
    ask(&tcp(&format!("localhost:{}", garbage.port()), "tls = true"))
        .fails("protocol", "the TLS handshake failed");
    let silent = server(wait_for_end);
    let lookup = tcp(&format!("localhost:{}", silent.port()), "tls = true");
    let node = ask(&lookup.replace("\"1m\"", "\"1s\""));
    node.fails("timed_out", "no answer within 1s");
    let gone = server(drop);
    let node = ask(&tcp(&format!("localhost:{}", gone.port()), "tls = true"));
    node.fails("unreachable", "no TLS with localhost:");
}
