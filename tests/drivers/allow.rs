//! Lists that are bounded to hosts and networks: whoever writes one, or answers for its names, leads the
//! service nowhere else.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{TestApp, config_file, fleetcall, run, stderr, stdout, until};
use crate::names::{Dns, Reply};
use crate::servers::{answers, http, request};
use crate::snmp::agents::{Request, mib};

/// A port of 127.0.0.1, where all is well, and of 127.0.0.2, where no lookup may go.
struct Pair {
    port: u16,
    /// Connections to the latter.
    connections: Arc<AtomicUsize>,
    /// Datagrams to the latter.
    datagrams: UdpSocket,
}

impl Pair {
    fn start() -> Self {
        let (inside, outside, agent, datagrams) = loop {
            let inside = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = inside.local_addr().unwrap().port();
            // Others may have the port there.
            if let (Ok(outside), Ok(agent), Ok(datagrams)) = (
                TcpListener::bind(("127.0.0.2", port)),
                UdpSocket::bind(("127.0.0.1", port)),
                UdpSocket::bind(("127.0.0.2", port)),
            ) {
                break (inside, outside, agent, datagrams);
            }
        };
        let port = inside.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        for (listener, count) in [
            (inside, Arc::default()),
            (outside, Arc::clone(&connections)),
        ] {
            thread::spawn(move || {
                for mut stream in listener.incoming().map_while(Result::ok) {
                    count.fetch_add(1, Ordering::SeqCst);
                    thread::spawn(move || {
                        request(&mut stream);
                        stream.write_all(&http("200 OK", "", b"up 1\n")).ok();
                    });
                }
            });
        }
        thread::spawn(move || serve_agent(&agent, &AtomicUsize::default()));
        datagrams.set_nonblocking(true).unwrap();
        Self {
            port,
            connections,
            datagrams,
        }
    }

    /// Whether any lookup went where none may.
    fn was_led_astray(&self) -> bool {
        // To the loopback it is there as soon as it is sent.
        let datagram = self.datagrams.recv_from(&mut [0; 65536]).is_ok();
        datagram || self.connections.load(Ordering::SeqCst) > 0
    }

    /// Has datagrams answered, and counted with the connections, where none may go.
    fn answer_outside(&self) {
        let socket = self.datagrams.try_clone().unwrap();
        socket.set_nonblocking(false).unwrap();
        let count = Arc::clone(&self.connections);
        thread::spawn(move || serve_agent(&socket, &count));
    }

    /// One lookup for each driver that opens sockets itself.
    fn lookups(&self) -> [String; 3] {
        let port = self.port;
        [
            format!("driver = \"tcp\", address = \"{{id}}:{port}\""),
            format!("driver = \"prometheus\", url = \"http://{{id}}:{port}/\""),
            format!("driver = \"snmp\", address = \"{{id}}:{port}\", community = \"public\""),
        ]
    }
}

/// Answers as an SNMP agent, and counts.
fn serve_agent(socket: &UdpSocket, count: &AtomicUsize) {
    let mut bytes = [0; 65536];
    while let Ok((len, from)) = socket.recv_from(&mut bytes) {
        count.fetch_add(1, Ordering::SeqCst);
        let request = Request::read(&bytes[..len]);
        let answer = request.answer(0, request.variables(&mib(1)));
        socket.send_to(&answer, from).ok();
    }
}

/// A server that leads names to where they must not lead, too.
fn dns() -> Dns {
    let ips = |ips: &[&str]| ips.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect();
    Dns::start(move |name, _| {
        Reply::Addresses(match name {
            "outside.example" => ips(&["127.0.0.2"]),
            "mapped.example" => ips(&["::ffff:127.0.0.2"]),
            "both.example" => ips(&["127.0.0.2", "127.0.0.1"]),
            _ => ips(&["127.0.0.1"]),
        })
    })
}

/// What each target of a list gives, by its name: that it is fine, its error's kind and message, or, if it
/// is no device, that it is refused. What the log says of the first of these stands there, too.
fn collect(top: &str, allow: &str, lookup: &str, targets: &[&str]) -> Vec<String> {
    let (dir, path) = config_file(&format!(
        "allow_inline_secrets = true\n{top}[collect]\ndeadline = \"2m\"\n[[clusters]]\nid = 1\n\
         lookup = {{ {lookup}, timeout = \"1m\" }}\nnodes = {{ file = \"a.json\"{allow} }}\n"
    ));
    let list = json!([{ "targets": targets }]).to_string();
    std::fs::write(dir.path().join("a.json"), list).unwrap();
    let mut command = fleetcall();
    command.args(["collect", "--log-format", "json", "--config"]);
    let output = run(command.arg(&path));
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let nodes = answer["data"][0]["nodes"].as_array().unwrap();
    let log = stderr(&output);
    let lines = log.lines().flat_map(serde_json::from_str::<Value>);
    let mut said: Vec<_> = lines.filter(is_refusal).collect();
    let refused = targets.len() - nodes.len();
    assert_eq!(said.len(), usize::from(refused > 0), "{log}");
    let said = said.pop().unwrap_or_default();
    if refused > 0 {
        assert_eq!(said["count"], refused, "{said}");
    }
    // What a list has and the answer has not is no success.
    let is_well = refused == 0 && nodes.iter().all(|it| it["error"].is_null());
    assert_eq!(output.status.code(), Some(if is_well { 0 } else { 3 }));
    let id = |json: &Value| {
        json.as_str()
            .map_or_else(|| json.to_string(), str::to_owned)
    };
    let told = |target: &&str| {
        let mut nodes = nodes.iter();
        let Some(node) = nodes.find(|node| id(&node["node_id"]) == **target) else {
            let first = said["first"] == **target;
            return if first {
                format!("refused: {}", said["error"])
            } else {
                "refused".to_owned()
            };
        };
        match &node["error"] {
            Value::Null => "ok".to_owned(),
            error => format!("{}: {}", error["kind"], error["message"]).replace('"', ""),
        }
    };
    targets.iter().map(told).collect()
}

/// Whether the log says that a list has entries that may not be asked.
fn is_refusal(line: &Value) -> bool {
    line["message"] == "a list has entries that its `allow` refuses, they are not asked"
}

#[test]
fn no_entry_and_no_name_leads_where_its_list_may_not() {
    let (pair, dns) = (Pair::start(), dns());
    let targets = [
        ("127.0.0.1", ""),
        (
            "127.0.0.2",
            "refused: \"127.0.0.2 is not in `allow` of its list\"",
        ),
        ("169.254.169.254", "refused"),
        ("inside.example", ""),
        (
            "outside.example",
            "the name outside.example resolves to 127.0.0.2, which `allow` of its list does not have",
        ),
        (
            "mapped.example",
            "resolves to ::ffff:127.0.0.2, which `allow` of its list does not have",
        ),
        ("both.example", ""),
        // Others in its list are asked all the same.
        ("localhost", ""),
    ];
    let names = targets.map(|(name, _)| name);
    for lookup in pair.lookups() {
        let allow = ", allow = [\"127.0.0.1\", \"10.0.0.0/8\"]";
        let found = collect(&dns.config(""), allow, &lookup, &names);
        for ((name, error), found) in targets.iter().zip(&found) {
            match error.is_empty() {
                true => assert_eq!(found, "ok", "{name}: {lookup}"),
                false if error.starts_with("refused") => assert_eq!(found, error, "{name}"),
                false => {
                    assert!(found.starts_with("failed: "), "{name}: {found}");
                    assert!(found.contains(error), "{name}: {found}");
                }
            }
        }
    }
    assert!(!pair.was_led_astray());
    // It would have been.
    pair.answer_outside();
    for lookup in pair.lookups() {
        let found = collect(&dns.config(""), "", &lookup, &["outside.example"]);
        assert_eq!(found, ["ok"], "{lookup}");
        let count = pair.connections.swap(0, Ordering::SeqCst);
        assert!(count > 0, "{lookup}");
    }
}

#[test]
fn addresses_that_templates_make_are_looked_at() {
    let (pair, dns) = (Pair::start(), dns());
    let allow = ", allow = [\"127.0.0.1\"]";
    let port = pair.port;
    for address in [
        "127.0.0.{id}".to_owned(),
        "[::ffff:127.0.0.{id}]".to_owned(),
    ] {
        for lookup in [
            format!("driver = \"tcp\", address = \"{address}:{port}\""),
            format!("driver = \"http\", url = \"http://{address}:{port}/\""),
            format!("driver = \"redfish\", url = \"http://{address}:{port}\""),
        ] {
            let found = collect(&dns.config(""), allow, &lookup, &["1", "2"]);
            assert!(!found[0].contains("allow"), "{found:?}: {lookup}");
            assert!(found[1].starts_with("refused: "), "{found:?}: {lookup}");
            assert!(
                found[1].contains("is not in `allow`"),
                "{found:?}: {lookup}"
            );
        }
    }
    // As clients of HTTP read it.
    let short = format!("driver = \"http\", url = \"http://127.{{id}}:{port}/\"");
    let found = collect(&dns.config(""), allow, &short, &["1", "2"]);
    assert_eq!(found[0], "ok");
    assert!(
        found[1].contains("refused: \"127.0.0.2 is not in `allow`"),
        "{found:?}"
    );
    assert!(!pair.was_led_astray());
}

#[test]
fn a_name_that_is_led_elsewhere_meanwhile_is_not_followed() {
    let pair = Pair::start();
    // Each other answer, for the same name: what is connected to is what was looked at.
    let dns = Dns::start(|_, before| {
        let last = if before % 2 == 0 {
            "127.0.0.1"
        } else {
            "127.0.0.2"
        };
        Reply::Addresses(vec![last.parse().unwrap()])
    });
    for lookup in pair.lookups() {
        let mut outcomes = Vec::new();
        for _ in 0..4 {
            let allow = ", allow = [\"127.0.0.1\"]";
            let found = collect(&dns.config(""), allow, &lookup, &["a.example"]).remove(0);
            outcomes.push(found == "ok");
            let is_refused =
                found.starts_with("failed: ") && found.contains("resolves to 127.0.0.2");
            assert!(found == "ok" || is_refused, "{found}");
        }
        // Those that the name led inside, and those that it led outside.
        assert!(
            outcomes.contains(&true) && outcomes.contains(&false),
            "{outcomes:?}"
        );
        assert!(!pair.was_led_astray(), "{lookup}");
    }
}

#[test]
fn names_that_are_allowed_may_lead_anywhere_and_others_nowhere() {
    let (pair, dns) = (Pair::start(), dns());
    let allow = ", allow = [\"*.Example\"]";
    for lookup in pair.lookups() {
        let targets = ["Inside.EXAMPLE", "inside.test", "example", "127.0.0.1"];
        let found = collect(&dns.config(""), allow, &lookup, &targets);
        assert_eq!(found[0], "ok", "{lookup}");
        let first = "refused: \"inside.test is not in `allow` of its list\"";
        assert_eq!(found[1..], [first, "refused", "refused"], "{lookup}");
        assert!(!pair.was_led_astray(), "{lookup}");
        assert!(dns.asked().iter().all(|(name, _)| name == "inside.example"));
    }
}

#[test]
fn a_redirect_leads_to_no_address_outside() {
    let (pair, dns) = (Pair::start(), dns());
    for to in ["127.0.0.2", "outside.example"] {
        let location = format!("Location: http://{to}:{}/\r\n", pair.port);
        let home = answers(http("302 Found", &location, b""));
        let SocketAddr::V4(home) = home else {
            unreachable!("it is on 127.0.0.1")
        };
        for driver in ["http", "prometheus"] {
            let url = format!("http://{{id}}:{}/", home.port());
            let lookup = format!("driver = \"{driver}\", url = \"{url}\", redirects = 3");
            let allow = ", allow = [\"127.0.0.1\"]";
            let found = collect(&dns.config(""), allow, &lookup, &["127.0.0.1"]);
            assert!(found[0].contains("a redirect to another host"), "{found:?}");
        }
    }
    assert!(!pair.was_led_astray());
}

#[test]
fn commands_get_only_addresses_and_names_that_are_allowed() {
    let targets = ["127.0.0.1", "127.0.0.2", "a.good.example", "localhost", "7"];
    let allow = ", allow = [\"127.0.0.1\", \"*.good.example\"]";
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let script = format!("echo $0 >> {}; echo a=1", trace.display());
    let exec = format!(
        "driver = \"exec\", command = [\"/bin/sh\", \"-c\", {script:?}, \"{{id}}\"], output = \
         \"key_value\""
    );
    let ssh = "driver = \"ssh\", address = \"{id}:22\", username = \"u\", key = \"none\", known_hosts = \
               \"none\", remote_command = \"true\"";
    for lookup in [exec.as_str(), ssh] {
        let found = collect("", allow, lookup, &targets);
        for at in [0, 2] {
            assert!(!found[at].contains("`allow`"), "{found:?}");
        }
        let first = "refused: \"127.0.0.2 is not in `allow` of its list\"";
        assert_eq!(found[1], first);
        assert_eq!(found[3..], ["refused", "refused"]);
        let found = collect("", allow, lookup, &["localhost"]);
        let said = "is resolved by the command itself, and `allow` of its list has no such name";
        assert!(
            found[0].starts_with("refused: ") && found[0].contains(said),
            "{found:?}"
        );
    }
    let trace = std::fs::read_to_string(trace).unwrap();
    let mut ran: Vec<&str> = trace.lines().collect();
    ran.sort_unstable();
    assert_eq!(ran, ["127.0.0.1", "a.good.example"]);
}

#[test]
fn a_bound_that_changes_is_in_force_after_a_reload() {
    let pair = Pair::start();
    let text = |allow: &str| {
        format!(
            "[[clusters]]\nid = 1\nnodes = {{ file = \"a.json\", every = \"200ms\"{allow} }}\nlookup = {{ driver = \"tcp\", \
             address = \"{{id}}:{}\" }}\n",
            pair.port
        )
    };
    let (dir, path) = config_file(&text(", allow = [\"127.0.0.1\"]"));
    let list = json!([{ "targets": ["127.0.0.1", "127.0.0.2"] }]).to_string();
    std::fs::write(dir.path().join("a.json"), &list).unwrap();
    let app = TestApp::start_on(dir, path, &[]);
    assert_eq!(app.get().devices(), ["1/n127.0.0.1"]);
    assert!(!pair.was_led_astray());
    let refused = |app: &TestApp| {
        let metrics = app.request("GET", "/metrics", &[]).body;
        let name = "fleetcall_discovery_refused{list=\"clusters[0].nodes\"} ";
        let mut found = metrics.lines().filter_map(|line| line.strip_prefix(name));
        found.next().unwrap().to_owned()
    };
    assert_eq!(refused(&app), "1.0");
    let shown = || app.request("GET", "/v1/supervision", &[]).json()["discoveries"][0].clone();
    assert_eq!(
        (&shown()["refused"], &shown()["devices"]),
        (&json!(1), &json!(2))
    );
    // A list that is read again, and refuses the same, says so once; one that refuses others again.
    let path = app.config.with_file_name("a.json");
    let more = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    std::fs::write(&path, json!([{ "targets": more }]).to_string()).unwrap();
    let said = app.wait_for_logs(2, is_refusal);
    assert_eq!(
        (&said[0]["count"], &said[1]["count"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(said[1]["first"], "127.0.0.2");
    std::fs::write(&path, list).unwrap();
    app.wait_for_logs(3, is_refusal);
    std::fs::write(&app.config, text(", allow = [\"127.0.0.0/8\"]")).unwrap();
    app.signal("HUP");
    until("the bound is in force", || {
        app.get().devices() == ["1/n127.0.0.1", "1/n127.0.0.2"]
    });
    assert_eq!(refused(&app), "0.0");
    assert_eq!(shown()["refused"], Value::Null);
}

#[test]
fn what_is_wrong_with_a_bound_is_a_fault_of_the_configuration() {
    for (allow, key, said) in [
        (
            "[]",
            "nodes.allow",
            "nothing is allowed; write an array of networks and hosts",
        ),
        (
            "\"10.0.0.0/8\"",
            "nodes.allow",
            "write an array of networks and hosts, such as",
        ),
        (
            "[\"a.example\", 7]",
            "nodes.allow[1]",
            "write an array of networks and hosts",
        ),
        ("[\"10.0.0.1/8\"]", "nodes.allow[0]", "write \"10.0.0.0/8\""),
        (
            "[\"10.0.0.1:80\"]",
            "nodes.allow[0]",
            "a port cannot stand here",
        ),
        ("[\"*\"]", "nodes.allow[0]", "it is no network and no host"),
        (
            "[\"*.1\"]",
            "nodes.allow[0]",
            "clients read this as an address",
        ),
    ] {
        for from in [
            "file = \"a.json\"",
            "url = \"http://127.0.0.1:1/\"",
            "dns_srv = \"_a._tcp.b\"",
        ] {
            let (_dir, path) = config_file(&format!(
                "[[clusters]]\nid = 1\nnodes = {{ {from}, allow = {allow} }}\n"
            ));
            let output = run(fleetcall().args(["check", "--config"]).arg(&path));
            let faults = stdout(&output) + &stderr(&output);
            let key = format!("clusters[0].{key}: ");
            assert!(faults.contains(&key) && faults.contains(said), "{faults}");
            assert_eq!(output.status.code(), Some(78), "{faults}");
        }
    }
}
