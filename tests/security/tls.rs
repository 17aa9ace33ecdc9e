//! Certificates: the service's own and its clients'.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::audit::{denials, value};
use crate::guarded::{ADMIN, FLEET, READ, http, token_file, until, write_tokens};
use crate::harness::{PATIENCE, TestApp, fleetcall, run, stderr, stdout};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority, with its own certificate.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    der: CertificateDer<'static>,
    pem: String,
}

/// A certificate and its key, both PEM, and the same as DER.
struct Issued {
    pem: String,
    key_pem: String,
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            params,
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key,
        }
    }

    fn issue(&self, days: u32) -> Issued {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        let now = SystemTime::now();
        params.not_before = (now - DAY).into();
        params.not_after = (now + DAY * days + Duration::from_secs(3600)).into();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Issued {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().clone(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }
}

/// A service with tokens behind TLS.
struct Encrypted {
    app: TestApp,
    dir: PathBuf,
}

fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, path).unwrap();
}

impl Encrypted {
    fn start(issued: &Issued, client_ca: Option<&str>) -> Self {
        Self::start_with(issued, client_ca, "", FLEET)
    }

    fn start_with(issued: &Issued, client_ca: Option<&str>, more: &str, fleet: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().to_owned();
        write_tokens(&path);
        std::fs::write(path.join("cert.pem"), &issued.pem).unwrap();
        std::fs::write(path.join("key.pem"), &issued.key_pem).unwrap();
        let mut tls = format!(
            "tls = {{ certificate = {:?}, key = {:?}",
            path.join("cert.pem"),
            path.join("key.pem")
        );
        if let Some(pem) = client_ca {
            std::fs::write(path.join("clients.pem"), pem).unwrap();
            tls.push_str(&format!(", client_ca = {:?}", path.join("clients.pem")));
        }
        let config = path.join("clusters.toml");
        std::fs::write(&config, http(&path, &(tls + " }\n" + more)) + fleet).unwrap();
        let app = TestApp::start_on(dir, config, &["--grace", "2m"]);
        Self { app, dir: path }
    }

    fn exchange(&self, issued: &Issued) {
        replace(&self.dir.join("cert.pem"), &issued.pem);
        replace(&self.dir.join("key.pem"), &issued.key_pem);
    }

    fn client(&self, roots: &[&Authority], certificate: Option<&Issued>) -> Client {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.der.clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(store);
        let config = match certificate {
            None => builder.with_no_client_auth(),
            Some(it) => builder
                .with_client_auth_cert(vec![it.der.clone()], it.key.clone_key())
                .unwrap(),
        };
        Client {
            config: Arc::new(config),
            addr: self.app.addr,
        }
    }
}

#[derive(Clone)]
struct Client {
    config: Arc<ClientConfig>,
    addr: SocketAddr,
}

impl Client {
    /// The answer, and the certificate that the service showed.
    fn ask(
        &self,
        request: &str,
        token: &str,
    ) -> std::io::Result<(String, CertificateDer<'static>)> {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let socket = TcpStream::connect(self.addr)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(connection, socket);
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let shown = stream.conn.peer_certificates().unwrap()[0].clone();
        Ok((text, shown.into_owned()))
    }

    fn shown(&self) -> CertificateDer<'static> {
        self.ask("GET /test", READ).unwrap().1
    }
}

#[test]
fn a_certificate_is_exchanged_under_load_and_no_request_is_lost() {
    let authority = Authority::new("one");
    let (old, new) = (authority.issue(365), authority.issue(365));
    let service = Encrypted::start(&old, None);
    let client = service.client(&[&authority], None);
    assert_eq!(client.shown(), old.der);
    let (sender, begun) = channel();
    std::thread::scope(|scope| {
        let load = |sender: Sender<()>| {
            loop {
                let (text, shown) = client.ask("GET /test", READ).expect("a request is lost");
                assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
                if shown == new.der {
                    break;
                }
                assert!(shown == old.der);
                sender.send(()).unwrap();
            }
        };
        for _ in 0..2 {
            let sender = sender.clone();
            scope.spawn(move || load(sender));
            begun.recv_timeout(PATIENCE).unwrap();
        }
        // Both go on until they see it.
        service.exchange(&new);
    });
    assert_eq!(client.shown(), new.der);
}

#[test]
fn a_bad_certificate_leaves_the_one_of_before() {
    let authority = Authority::new("one");
    let (old, other) = (authority.issue(365), authority.issue(365));
    let service = Encrypted::start(&old, None);
    let client = service.client(&[&authority], None);
    let cert = service.dir.join("cert.pem");
    for (content, key, why) in [
        (
            "no PEM at all",
            "http.tls.certificate",
            "holds no PEM certificate",
        ),
        (
            other.pem.as_str(),
            "http.tls.key",
            "is not the key of the certificate",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "http.tls.certificate",
            "holds no certificate that can be read",
        ),
    ] {
        replace(&cert, content);
        let line = service.app.wait_for_log(|line| {
            line["level"] == "error" && line["fault"].as_str().is_some_and(|it| it.contains(why))
        });
        assert_eq!(line["key"], key);
        assert_eq!(client.shown(), old.der);
        let (text, _) = client.ask("POST /v1/reload", ADMIN).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 422 ") && text.contains(key),
            "{text}"
        );
        assert_eq!(client.shown(), old.der);
    }
    replace(&service.dir.join("key.pem"), &other.key_pem);
    replace(&cert, &other.pem);
    let (text, _) = client.ask("POST /v1/reload", ADMIN).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert_eq!(client.shown(), other.der);
}

#[test]
fn a_client_without_a_certificate_of_the_right_authority_gets_nothing() {
    let (ours, clients, others) = (
        Authority::new("ours"),
        Authority::new("clients"),
        Authority::new("others"),
    );
    let service = Encrypted::start(&ours.issue(365), Some(&clients.pem));
    let ask = |certificate: Option<&Issued>| {
        let client = service.client(&[&ours], certificate);
        client.ask("GET /test", READ).map(|(text, _)| text)
    };
    let right = clients.issue(1);
    assert!(ask(Some(&right)).unwrap().starts_with("HTTP/1.1 200 "));
    let client = service.client(&[&ours], Some(&right));
    let refused = || {
        let (text, _) = client.ask("GET /metrics", READ).unwrap();
        value(&text, &denials("handshake"))
    };
    assert_eq!(refused(), 0);
    for wrong in [None, Some(&others.issue(1))] {
        let error = ask(wrong).expect_err("it was let in");
        assert!(
            !matches!(error.kind(), std::io::ErrorKind::WouldBlock),
            "{error}"
        );
    }
    until("both are counted", || refused() == 2);
    // A certificate is no token.
    let (text, _) = client.ask("GET /test", "wrong").unwrap();
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
    // The authority that is exchanged counts from the next connection on, also for a client that
    // would resume its session.
    replace(&service.dir.join("clients.pem"), &others.pem);
    until("the other authority counts", || {
        client.ask("GET /test", READ).is_err()
    });
    assert!(
        ask(Some(&others.issue(1)))
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of() {
    let authority = Authority::new("one");
    let service = Encrypted::start(&authority.issue(3), None);
    let line = service
        .app
        .wait_for_log(|line| line["message"] == "the certificate expires soon");
    assert_eq!((&line["level"], &line["days"]), (&"warn".into(), &3.into()));
    let service = Encrypted::start(&authority.issue(15), None);
    service
        .app
        .wait_for_log(|line| line["message"] == "listening");
    assert!(
        !service
            .app
            .log()
            .iter()
            .any(|line| line["message"] == "the certificate expires soon")
    );
}

#[test]
fn encryption_is_not_switched_off_by_a_reload() {
    let authority = Authority::new("one");
    let issued = authority.issue(365);
    let service = Encrypted::start(&issued, None);
    let client = service.client(&[&authority], None);
    std::fs::write(&service.app.config, http(&service.dir, "") + FLEET).unwrap();
    let (text, _) = client.ask("POST /v1/reload", ADMIN).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 422 ") && text.contains("http.tls"),
        "{text}"
    );
    assert_eq!(client.shown(), issued.der);
}

#[test]
fn who_speaks_plain_http_to_it_gets_nothing() {
    let authority = Authority::new("one");
    let service = Encrypted::start(&authority.issue(365), None);
    let mut stream = service.app.begin();
    let mut answer = Vec::new();
    // Closed or reset.
    stream.read_to_end(&mut answer).ok();
    let text = String::from_utf8_lossy(&answer);
    assert!(!text.contains("HTTP/1.1 200"), "{text}");
    let client = service.client(&[&authority], None);
    let (text, _) = client.ask("GET /metrics", READ).unwrap();
    assert_eq!(value(&text, &denials("handshake")), 1);
    let line = service
        .app
        .wait_for_log(|line| line["reason"] == "handshake");
    assert_eq!(line["message"], "connection refused");
}

#[test]
fn a_handshake_that_does_not_end_in_time_is_counted() {
    let authority = Authority::new("one");
    let issued = authority.issue(365);
    // Long enough for one that does, on any machine.
    let service = Encrypted::start_with(&issued, None, "request_timeout = \"5s\"", FLEET);
    let _silent = TcpStream::connect(service.app.addr).unwrap();
    let line = service
        .app
        .wait_for_log(|line| line["reason"] == "handshake");
    let why = line["error"].as_str().unwrap();
    assert!(why.contains("did not end in time"), "{why}");
    let client = service.client(&[&authority], None);
    let (text, _) = client.ask("GET /metrics", READ).unwrap();
    assert_eq!(value(&text, &denials("handshake")), 1);
}

#[test]
fn fleetcall_tree_shows_its_token_and_trusts_whom_it_is_told() {
    let authority = Authority::new("one");
    let service = Encrypted::start(&authority.issue(365), None);
    let ca = service.dir.join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let server = format!("https://localhost:{}", service.app.addr.port());
    let token = token_file(&service.dir, "read");
    let tree = || {
        let mut command = fleetcall();
        command.args(["tree", "--server", &server]);
        command
    };
    let output = run(tree().arg("--ca").arg(&ca).arg("--token-file").arg(&token));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("devices: 2"),
        "{}",
        stdout(&output)
    );
    let output = run(tree().arg("--ca").arg(&ca).env("FLEETCALL_TOKEN", READ));
    assert!(output.status.success(), "{}", stderr(&output));
    let collect = || {
        let mut command = fleetcall();
        command.args(["collect", "--server", &server]);
        command
    };
    let output = run(collect()
        .arg("--ca")
        .arg(&ca)
        .arg("--token-file")
        .arg(&token));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("{\"error_code\":0,"));
    let output = run(collect().env("FLEETCALL_TOKEN", READ));
    assert_eq!(output.status.code(), Some(1), "a certificate of nobody");
    for (command, why) in [
        (tree().arg("--ca").arg(&ca), "answers 401 Unauthorized: "),
        (
            tree().arg("--token-file").arg(&token),
            "nvalid peer certificate",
        ),
        (
            tree()
                .arg("--ca")
                .arg(&ca)
                .args(["--token-file", "/no/such"]),
            "the secret in /no/such",
        ),
        (
            tree().args(["--ca", "/no/such"]),
            "the authorities in /no/such",
        ),
        (
            tree().arg("--ca").arg(&token),
            "it holds no PEM certificate",
        ),
    ] {
        let output = run(command);
        assert_eq!(output.status.code(), Some(1), "{why}");
        let said = stderr(&output);
        assert!(said.contains(why), "{said}");
        assert!(!said.contains(READ), "{said}");
    }
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_up_the_end() {
    let authority = Authority::new("one");
    let issued = authority.issue(365);
    // Longer than the grace period.
    let mut service = Encrypted::start_with(&issued, None, "request_timeout = \"5m\"", FLEET);
    let _silent = TcpStream::connect(service.app.addr).unwrap();
    // It has been accepted before this one.
    assert_eq!(service.client(&[&authority], None).shown(), issued.der);
    service.app.signal("TERM");
    assert_eq!(service.app.wait().code(), Some(0));
}

#[test]
fn health_is_answered_beside_connections_that_have_all_the_room() {
    let authority = Authority::new("one");
    let hangs = "[lookup]\nscript = [\"hang\"]\ntimeout = \"1h\"\n[collect]\ndeadline = \"1h\"\n\
                 [[clusters]]\nid = 1\nnodes = \"1\"\n";
    let issued = authority.issue(365);
    let service = Encrypted::start_with(&issued, None, "max_connections = 1", hangs);
    let client = service.client(&[&authority], None);
    for _ in 0..2 {
        // One has the room, and one waits for it; neither is answered.
        let client = client.clone();
        std::thread::spawn(move || client.ask("GET /test", READ));
    }
    service
        .app
        .wait_for_log(|line| line["message"] == "collecting");
    for path in ["/healthz", "/readyz"] {
        let (text, _) = client.ask(&format!("GET {path}"), "").unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{path}: {text}");
    }
}
