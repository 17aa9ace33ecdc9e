//! Each file of `config/examples` and each five lines of the README, as they are committed, asking
//! real servers; and every fact beside what the server's own client says of it.

mod clients;
mod example;
mod nginx;
mod readme;

use std::fs;

use serde_json::{Value, json};

use self::clients::{Agent, Redfish, curl, node_exporter, printed};
use self::example::{Example, lie_between};
use self::nginx::Nginx;
use crate::prometheus::NodeExporter;
use crate::redfish::Emulator;
use crate::snmp::agents::{OTHER_PASSWORD, PASSWORD, Snmpd};
use crate::ssh::{Sshd, user};

const V3: [&str; 13] = [
    "-v3",
    "-l",
    "authPriv",
    "-u",
    "fleetcall",
    "-a",
    "SHA-256",
    "-A",
    PASSWORD,
    "-x",
    "AES",
    "-X",
    OTHER_PASSWORD,
];
const V2C: [&str; 3] = ["-v2c", "-c", "public"];

#[test]
fn no_example_is_left_out() {
    let mut names: Vec<String> = fs::read_dir("config/examples")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    let asked = [
        "exec",
        "http",
        "mixed",
        "prometheus",
        "redfish",
        "snmp",
        "ssh",
        "tcp",
    ];
    assert_eq!(names, asked.map(|name| format!("{name}.toml")));
}

#[test]
fn the_example_of_exec_gives_what_the_plugin_prints() {
    let sshd = Sshd::start();
    let port = sshd.addr.port().to_string();
    let (ip, plugin) = ("127.0.0.1", "/usr/lib/nagios/plugins/check_ssh");
    let example = Example::read("exec")
        .put("\"{id}.example\"", &format!("{ip:?}"))
        .put("\"22\"", &format!("{port:?}"));
    let mut answer = example.collect(20);
    let text = printed(plugin, &["-p", &port, "-t", "60", ip]);
    let (says, performance) = text.trim().split_once('|').unwrap();
    assert!(performance.trim().starts_with("time="), "{text}");
    let right = json!({ "check_status": "ok", "check_output": says.trim() });
    for mut facts in answer.take("branch/s", 20) {
        // Each run takes its own time, with a unit behind it; none takes longer than all.
        let values = facts.as_object_mut().unwrap().remove("values").unwrap();
        let time = values["time"].as_str().unwrap().strip_suffix('s').unwrap();
        let time: f64 = time.parse().unwrap();
        assert!((0.0..=answer.took.as_secs_f64()).contains(&time), "{time}");
        assert_eq!(values.as_object().unwrap().len(), 1, "{values}");
        lie_between(&[facts], &right, &right);
    }
    answer.is_spent();
}

#[test]
fn the_example_of_http_gives_what_curl_sees() {
    let page = r#"{"status": "ok", "build": {"version": "3.7.1"}}"#;
    let nginx = Nginx::start(page, "t0k3n");
    let example = Example::read("http")
        .put("{id}.{cluster}.example", &nginx.addr.to_string())
        .variable("HEALTH_TOKEN", "t0k3n")
        .trusting(&nginx.ca);
    let mut answer = example.collect(10);
    let text = curl(&[
        "--cacert",
        &nginx.ca,
        "-H",
        "Authorization: Bearer t0k3n",
        "-w",
        "\n%{http_code}",
        &format!("https://{}/health", nginx.addr),
    ]);
    let (body, status) = text.rsplit_once('\n').unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let status: u16 = status.parse().unwrap();
    let right = json!({
        "http_status": status,
        "values": { "version": body["build"]["version"] },
    });
    lie_between(&answer.take("shop/n", 8), &right, &right);
    lie_between(&answer.take("office/n", 2), &right, &right);
    answer.is_spent();
}

#[test]
fn the_mixed_example_gives_what_curl_and_snmpwalk_see() {
    let exporter = NodeExporter::start();
    let (emulator, ca) = Emulator::secured("fleetcall");
    let snmpd = Snmpd::start();
    let example = || {
        Example::read("mixed")
            .put("{id}.example:9100", &exporter.addr.to_string())
            .put("{id}.example:161", &snmpd.addr.to_string())
            .put("{id}-bmc.example", &emulator.addr.to_string())
            .variable("SNMP_AUTH_PASSWORD", PASSWORD)
            .variable("SNMP_PRIVACY_PASSWORD", OTHER_PASSWORD)
            .file("/etc/fleetcall/bmc-password", "hunter2\n")
            .trusting(&ca)
    };
    let agent = Agent {
        addr: snmpd.addr,
        security: &V3,
    };
    let redfish = Redfish {
        addr: emulator.addr,
        options: &["--cacert", &ca, "-u", "fleetcall:hunter2"],
    };
    let read = || {
        let servers = node_exporter(exporter.addr, &[]);
        (servers, agent.facts(), redfish.facts())
    };
    let mut before = read();
    // At a terminal, and by a service, which asks on its schedule too.
    for collect in [|it: Example| it.collect(14), |it: Example| it.get(14)] {
        let mut answer = collect(example());
        let after = read();
        lie_between(&answer.take("db/n", 4), &before.0, &after.0);
        lie_between(&answer.take("db/s", 2), &before.1, &after.1);
        lie_between(&answer.take("metal/n", 8), &before.2, &after.2);
        answer.is_spent();
        before = after;
    }
}

#[test]
fn the_example_of_prometheus_gives_what_curl_sees() {
    let exporter = NodeExporter::start();
    let example =
        Example::read("prometheus").put("{id}.{cluster}.example:9100", &exporter.addr.to_string());
    let read = || node_exporter(exporter.addr, &["node_procs_running"]);
    let before = read();
    let mut answer = example.collect(132);
    let after = read();
    lie_between(&answer.take("db/n", 4), &before, &after);
    lie_between(&answer.take("web/n", 128), &before, &after);
    answer.is_spent();
}

#[test]
fn the_example_of_redfish_gives_what_curl_sees() {
    let (emulator, _) = Emulator::secured("fleetcall");
    let example = Example::read("redfish")
        .put("{id}-bmc.{cluster}.example", &emulator.addr.to_string())
        .file("/etc/fleetcall/bmc-password", "hunter2");
    let redfish = Redfish {
        addr: emulator.addr,
        options: &["-k", "-u", "fleetcall:hunter2"],
    };
    let before = redfish.facts();
    let mut answer = example.collect(40);
    lie_between(&answer.take("rack1/n", 40), &before, &redfish.facts());
    answer.is_spent();
}

#[test]
fn the_example_of_snmp_gives_what_snmpwalk_sees() {
    let snmpd = Snmpd::start();
    let example = Example::read("snmp")
        .put("{id}.{cluster}.example:161", &snmpd.addr.to_string())
        .file("/etc/fleetcall/snmp-auth", &format!("{PASSWORD}\n"))
        .file(
            "/etc/fleetcall/snmp-privacy",
            &format!("{OTHER_PASSWORD}\n"),
        )
        .file("/etc/fleetcall/community", "public\n");
    let agents = [&V3[..], &V2C[..]].map(|security| Agent {
        addr: snmpd.addr,
        security,
    });
    let read = || agents.each_ref().map(Agent::facts);
    let before = read();
    let mut answer = example.collect(52);
    let after = read();
    lie_between(&answer.take("edge/s", 48), &before[0], &after[0]);
    lie_between(&answer.take("basement/s", 4), &before[1], &after[1]);
    answer.is_spent();
}

/// What the switches of the `ssh` example run.
const SHOW_FACTS: &str = r#"#!/bin/sh
[ "$1" = --json ] || exit 2
read -r uptime _ < /proc/uptime
printf '{"host": "%s", "release": "%s", "uptime_seconds": %s}\n' "$(uname -n)" "$(uname -r)" "$uptime"
"#;

#[test]
fn the_example_of_ssh_gives_what_ssh_prints() {
    use std::os::unix::fs::PermissionsExt as _;
    let sshd = Sshd::start_with(|folder| {
        let program = folder.join("show-facts");
        fs::write(&program, SHOW_FACTS).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        format!("SetEnv PATH={}:/usr/bin:/bin\n", folder.display())
    });
    let key = fs::read_to_string(sshd.at("user")).unwrap();
    let known = sshd.at("known");
    fs::write(&known, sshd.known_hosts()).unwrap();
    let user = user();
    let example = Example::read("ssh")
        .put("{id}.core.example:22", &sshd.addr.to_string())
        .put(
            "username       = \"fleetcall\"",
            &format!("username = {user:?}"),
        )
        .file("/etc/fleetcall/id_ed25519", &key)
        .file("/etc/fleetcall/known_hosts", &sshd.known_hosts());
    let read = || {
        let text = printed(
            "ssh",
            &[
                "-i",
                sshd.at("user").to_str().unwrap(),
                "-o",
                &format!("UserKnownHostsFile={}", known.display()),
                "-o",
                "BatchMode=yes",
                "-F",
                "none",
                "-p",
                &sshd.addr.port().to_string(),
                &format!("{user}@{}", sshd.addr.ip()),
                "show-facts --json",
            ],
        );
        json!({ "values": serde_json::from_str::<Value>(&text).unwrap() })
    };
    let before = read();
    let mut answer = example.collect(8);
    lie_between(&answer.take("core/s", 8), &before, &read());
    answer.is_spent();
}

#[test]
fn the_example_of_tcp_gives_what_openssl_sees() {
    let nginx = Nginx::start("{}", "t0k3n");
    let sshd = Sshd::start();
    let example = Example::read("tcp")
        .put("{id}.edge.example:443", &nginx.addr.to_string())
        .put("{id}.edge.example:22", &sshd.addr.to_string())
        .trusting(&nginx.ca);
    let mut answer = example.collect(42);
    let openssl = |arguments: &str| {
        let script = format!(
            "openssl s_client -connect {} -CAfile {} -verify_return_error 2> /dev/null \
             | openssl x509 -noout {arguments}",
            nginx.addr, nginx.ca
        );
        printed("sh", &["-c", &script])
    };
    let subject = openssl("-subject -nameopt RFC2253");
    let subject = subject.trim().strip_prefix("subject=").unwrap();
    let nodes = answer.take("edge/n", 40);
    let days = nodes[0]["tls_days_left"].as_u64().unwrap();
    // It ends in so many days, and not in one more.
    openssl(&format!("-checkend {}", days * 86_400));
    openssl(&format!(
        "-checkend {} | grep -q 'will expire'",
        (days + 1) * 86_400
    ));
    let connect = |seconds: f64| json!({ "connect_seconds": seconds });
    let mut right = [connect(0.0), connect(answer.took.as_secs_f64())];
    lie_between(&answer.take("edge/s", 2), &right[0], &right[1]);
    for right in &mut right {
        right["tls_subject"] = subject.into();
        right["tls_days_left"] = days.into();
    }
    lie_between(&nodes, &right[0], &right[1]);
    answer.is_spent();
}
