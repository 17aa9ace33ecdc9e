//! Neighbours that real switches would have: two of Debian's `lldpd`, at the two ends of a line.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{run, stderr, stdout};

/// One `lldpd` gives what it hears to `snmpd`, which answers by the AgentX protocol; then its own
/// client and ours are asked. All of it is in a network, a name and a tree of processes of its own, which
/// end with it.
const SCRIPT: &str = r#"
set -eu
cd "$1"
hostname spine-1
ip link set lo up
ip link add near type veth peer name far
ip link set near up
ip link set far up
# An lldpd that begins in between may miss that an end is up, and never speaks.
for end in near far; do
  until ip link show "$end" | grep -q 'state UP'; do sleep 0.1; done
done
printf 'rocommunity public 127.0.0.1\nsysName switch-7\nmaster agentx\nagentXSocket %s/agentx\n' "$PWD" > snmpd.conf
mkdir mounted
mount --bind mounted /run
snmpd -f -Lo -C -c "$PWD/snmpd.conf" udp:127.0.0.1:161 > snmpd.log 2>&1 &
until [ -S agentx ]; do sleep 0.1; done
mkdir -p /run/lldpd
lldpd -d -X "$PWD/agentx" -u "$PWD/near" -I near -C near > near.log 2>&1 &
lldpd -d -u "$PWD/far" -I far -C far -S 'the far end' > far.log 2>&1 &
# Nor one that is told something while it still sets itself up.
for end in near far; do
  until grep -q 'should resume' "$end.log"; do sleep 0.1; done
  until lldpcli -u "$PWD/$end" configure lldp tx-interval 1 > /dev/null 2>&1; do sleep 0.1; done
done
until snmpwalk -v2c -c public -m '' 127.0.0.1 1.0.8802.1.1.2.1.4.1.1.9 2> /dev/null | grep -q spine-1; do sleep 0.1; done
lldpcli -u "$PWD/near" -f json0 show neighbors > lldpcli.json
"$2" collect --config clusters.toml
"#;

#[test]
fn the_neighbours_are_those_that_a_real_lldpd_shows() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[clusters]]\nid = \"c\"\nswitches = [\"s1\"]\n\
                  [clusters.lookup]\ndriver = \"snmp\"\naddress = \"127.0.0.1:161\"\n\
                  community = { file = \"community\" }\n";
    std::fs::write(dir.path().join("clusters.toml"), config).unwrap();
    std::fs::write(dir.path().join("community"), "public\n").unwrap();
    let mut command = Command::new("timeout");
    command.args([
        "250",
        "unshare",
        "--net",
        "--uts",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
    ]);
    command.args(["sh", "-c", SCRIPT, "sh"]).arg(dir.path());
    let output = run(command.arg(env!("CARGO_BIN_EXE_fleetcall")));
    let complaints = stderr(&output);
    let log = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let logs = ["snmpd.log", "near.log", "far.log"].map(log).concat();
    assert!(
        output.status.success(),
        "{complaints}\n{logs}\n.ci/test installs lldpd, snmpd, snmp and iproute2"
    );
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let facts = &answer["data"][0]["switches"][0]["facts"];
    let seen: Value = serde_json::from_str(&log("lldpcli.json")).unwrap();
    let seen = &seen["lldp"][0]["interface"][0];
    // Its ports are told by MAC addresses, so by their descriptions too.
    assert_eq!(seen["port"][0]["id"][0]["type"], "mac", "{seen}");
    let right = json!([{
        "local_port": seen["name"],
        "system_name": seen["chassis"][0]["name"][0]["value"],
        "port": seen["port"][0]["descr"][0]["value"],
    }]);
    assert_eq!(facts["neighbours"], right, "{seen}");
    let written = json!([{ "local_port": "near", "system_name": "spine-1", "port": "far" }]);
    assert_eq!(facts["neighbours"], written, "{facts}");
}
