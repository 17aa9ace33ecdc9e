//! No secret stands in any output, whichever secret and whichever output.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use fleetcall::config::Config;
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use crate::guarded::{ADMIN, COLLECT, FLEET, READ, http, token_file, write_tokens};
use crate::harness::{PATIENCE, fleetcall, run, send, stderr, stdout};

/// Of the devices, from a file, the environment and the configuration itself.
const OF_DEVICES: [&str; 3] = ["dev1ce-fil3", "dev1ce-3nv", "dev1ce-inlin3"];

/// Shown by clients that have none.
const WRONG: &str = "gu3ssed-0123456789abcdef";

/// A token that is written while the service runs, and one that is not good enough.
const NEXT: &str = "n3xt-0123456789abcdef";
const WEAK: &str = "w3ak";

/// `fleetcall serve` with its log as lines, killed when dropped.
struct Logged {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Logged {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let reader = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in reader.split(b'\n').map_while(Result::ok) {
                sender
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .ok();
            }
        });
        let seen = Vec::new();
        Self { child, lines, seen }
    }

    fn wait_for(&mut self, what: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect(what);
            self.seen.push(line.clone());
            if line.contains(what) {
                return line;
            }
        }
    }

    /// Ends it, and gives all that it logged.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        std::mem::take(&mut self.seen).join("\n")
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn key_text(key: &KeyPair) -> String {
    let pem = key.serialize_pem();
    pem.lines().nth(1).unwrap().to_owned()
}

/// Devices that are asked with secrets, of a server that there is not.
fn devices(dir: &Path) -> String {
    let file = dir.join("device.secret");
    std::fs::write(&file, OF_DEVICES[0]).unwrap();
    let node = |id: u8, secret: &str| {
        format!(
            "[[clusters.nodes]]\nids = [{id}]\nlookup = {{ driver = \"http\", url = \
             \"http://127.0.0.1:1/\", bearer_token = {secret} }}\n"
        )
    };
    let file = format!("{{ file = {file:?} }}");
    "[[clusters]]\nid = 2\n".to_owned()
        + &node(1, &file)
        + &node(2, "{ env = \"DEVICE\" }")
        + &node(3, &format!("\"{}\"", OF_DEVICES[2]))
}

#[test]
fn no_secret_stands_in_any_output() {
    let dir = TempDir::new().unwrap();
    let path = dir.path();
    write_tokens(path);
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    std::fs::write(path.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(path.join("key.pem"), key.serialize_pem()).unwrap();
    let tls = format!(
        "tls = {{ certificate = {:?}, key = {:?} }}",
        path.join("cert.pem"),
        path.join("key.pem")
    );
    let text = |more: &str| {
        let http = http(path, more);
        format!(
            "allow_inline_secrets = true\n{http}{FLEET}{}",
            devices(path)
        )
    };
    let config = path.join("clusters.toml");
    let key = key_text(&key);
    let secrets = [
        READ,
        COLLECT,
        ADMIN,
        WRONG,
        NEXT,
        WEAK,
        OF_DEVICES[0],
        OF_DEVICES[1],
        OF_DEVICES[2],
        &key,
    ];
    let command = |arguments: &[&str]| {
        let mut command = fleetcall();
        command
            .env("DEVICE", OF_DEVICES[1])
            .env("FLEETCALL_CONFIG", &config)
            .args(arguments);
        command
    };
    let mut outputs: Vec<(String, String)> = Vec::new();
    for (format, level) in [
        ("text", "trace"),
        ("json", "trace"),
        ("text", "fleetcall=debug"),
    ] {
        std::fs::write(&config, text("")).unwrap();
        write_tokens(path);
        let mut serve = command(&["serve", "--port", "0", "--debug", "--log-format", format]);
        serve.env("RUST_LOG", level);
        let mut service = Logged::start(serve);
        let line = service.wait_for("listening");
        let start = line.find("127.0.0.1:").unwrap();
        let addr = line[start..]
            .split(['"', ' '])
            .next()
            .unwrap()
            .parse()
            .unwrap();
        for (method, target) in [
            ("GET", "/test"),
            ("OPTIONS", "/test"),
            ("POST", "/test"),
            ("GET", "/v1/supervision"),
            ("POST", "/v1/reload"),
            ("POST", "/v1/collect"),
            ("GET", "/v1/report"),
            ("GET", "/v1/clusters"),
            ("GET", "/v1/changes"),
            ("GET", "/v1/workers"),
            ("GET", "/metrics"),
            ("GET", "/healthz"),
            ("GET", "/readyz"),
            ("GET", "/openapi.json"),
            ("GET", "/"),
        ] {
            let ask = |name: &str, value: &str| {
                let answer = send(addr, method, target, &[(name, value)]);
                format!("{} {:?} {}", answer.status, answer.headers, answer.body)
            };
            for token in [READ, COLLECT, ADMIN, WRONG] {
                let said = ask("Authorization", &format!("Bearer {token}"));
                outputs.push((format!("{method} {target} with {token}"), said));
                let said = ask("X-Access-Token", token);
                outputs.push((
                    format!("{method} {target} with {token} for the front end"),
                    said,
                ));
            }
            let said = send(addr, method, &format!("{target}?token={WRONG}"), &[]).body;
            outputs.push((format!("{method} {target} with a query"), said));
        }
        // A token that is exchanged, then one that is refused, by the watch and by a reload.
        let file = token_file(path, "read");
        let reload = || {
            let bearer = format!("Bearer {ADMIN}");
            send(
                addr,
                "POST",
                "/v1/reload",
                &[("Authorization", bearer.as_str())],
            )
        };
        std::fs::write(&file, NEXT).unwrap();
        assert_eq!(reload().status, 200);
        std::fs::write(&file, WEAK).unwrap();
        service.wait_for("the one of before stays");
        let refused = reload();
        assert_eq!(refused.status, 422);
        outputs.push(("a refused reload".to_owned(), refused.body));
        let server = format!("http://{addr}");
        for token in [COLLECT, WRONG] {
            for more in [&["--all"][..], &["--format", "json"]] {
                let mut tree = command(&["tree", "--server", &server]);
                tree.args(more)
                    .env("FLEETCALL_TOKEN", token)
                    .env("RUST_LOG", level);
                let output = run(&mut tree);
                assert_eq!(output.status.success(), token != WRONG);
                outputs.push((format!("tree {more:?}"), stdout(&output) + &stderr(&output)));
            }
            let mut collect = command(&["collect", "--debug", "--server", &server]);
            collect.env("FLEETCALL_TOKEN", token).env("RUST_LOG", level);
            let output = run(&mut collect);
            assert_eq!(output.status.code() == Some(1), token == WRONG);
            outputs.push(("collect".to_owned(), stdout(&output) + &stderr(&output)));
        }
        outputs.push((format!("the log as {format} at {level}"), service.end()));
    }
    write_tokens(path);
    std::fs::write(&config, text(&tls)).unwrap();
    let check = run(&mut command(&["check", "--debug"]));
    assert_eq!(check.status.code(), Some(0), "{}", stderr(&check));
    let collect = run(&mut command(&["collect", "--debug"]));
    assert_eq!(collect.status.code(), Some(3));
    // The files taken for one another: what is no certificate, no key, no token is not shown.
    let swapped = text(&tls)
        .replace("cert.pem", "read.token")
        .replace("key.pem", "cert.pem");
    std::fs::write(&config, swapped).unwrap();
    let faulty = run(&mut command(&["check"]));
    assert_eq!(faulty.status.code(), Some(78));
    std::fs::write(&config, text("").replace("read.token", "key.pem")).unwrap();
    let no_token = run(&mut command(&["check"]));
    assert_eq!(no_token.status.code(), Some(78));
    for (what, output) in [
        ("check", check),
        ("collect", collect),
        ("faults", faulty),
        ("key", no_token),
    ] {
        outputs.push((what.to_owned(), stdout(&output) + &stderr(&output)));
    }
    let parsed = Config::parse(&config, &text(&tls)).unwrap();
    outputs.push(("Debug".to_owned(), format!("{parsed:?} {parsed:#?}")));
    let file = format!("{{ file = {:?} }}", token_file(path, "read"));
    let inline = text("").replace(&file, "\"inl1ne-0123456789abcdef\"");
    let inline = format!("{:?}", Config::parse(&config, &inline).unwrap());
    assert!(inline.contains("Inline(<secret>)"), "{inline}");
    assert!(!inline.contains("inl1ne"), "{inline}");

    assert!(outputs.len() > 300, "{}", outputs.len());
    for (what, output) in &outputs {
        for secret in secrets {
            assert!(!output.contains(secret), "{what} shows {secret}: {output}");
        }
    }
    // The search finds what there is: names are no secrets.
    assert!(
        outputs
            .iter()
            .any(|(_, output)| output.contains("the-read-one"))
    );
}
