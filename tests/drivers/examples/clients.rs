//! What servers say to their own clients, in the shape of fleetcall's facts.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

/// What a command prints, which has to succeed.
pub fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; .ci/test installs it"));
    let text = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{complaints}"
    );
    text
}

pub fn curl(arguments: &[&str]) -> String {
    printed("curl", &[&["-sSf", "-m", "110"], arguments].concat())
}

/// What node_exporter's page says; `metrics` without labels are given as they are.
pub fn node_exporter(addr: SocketAddr, metrics: &[&str]) -> Value {
    let page = curl(&[&format!("http://{addr}/metrics")]);
    let samples = |name: &'static str| {
        let ours = page
            .lines()
            .filter(move |line| line.split(['{', ' ']).next() == Some(name));
        ours.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series, value.parse::<f64>().unwrap())
        })
    };
    let one = |name| samples(name).next().unwrap().1;
    let label = |series: &str, label: &str| {
        let (_, rest) = series.split_once(&format!("{label}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let machine = samples("node_uname_info").next().unwrap().0;
    let mut facts = json!({
        "hostname": label(machine, "nodename"),
        "kernel_release": label(machine, "release"),
        "uptime_seconds": one("node_time_seconds") - one("node_boot_time_seconds"),
        "load_1m": one("node_load1"),
        "load_5m": one("node_load5"),
        "load_15m": one("node_load15"),
        "memory_total_bytes": one("node_memory_MemTotal_bytes"),
        "memory_available_bytes": one("node_memory_MemAvailable_bytes"),
    });
    for (fact, name) in [
        ("root_filesystem_size_bytes", "node_filesystem_size_bytes"),
        (
            "root_filesystem_available_bytes",
            "node_filesystem_avail_bytes",
        ),
    ] {
        // A container may hide its root from the exporter; then nobody knows it.
        let root = samples(name).find(|(series, _)| label(series, "mountpoint") == "/");
        if let Some((_, bytes)) = root {
            facts[fact] = bytes.into();
        }
    }
    let links: Vec<(String, f64)> = samples("node_network_up")
        .map(|(series, up)| (label(series, "device"), up))
        .filter(|(device, _)| device != "lo")
        .collect();
    if !links.is_empty() {
        for (fact, state) in [("network_up", 1.0), ("network_down", 0.0)] {
            let names = links.iter().filter(|(_, up)| *up == state);
            let mut names: Vec<&String> = names.map(|(device, _)| device).collect();
            names.sort_unstable();
            facts[fact] = json!(names);
        }
    }
    for name in metrics {
        let sample = page
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        facts["metrics"][*name] = sample.unwrap().parse::<f64>().unwrap().into();
    }
    facts
}

/// A Redfish service, for `curl`.
pub struct Redfish<'a> {
    pub addr: SocketAddr,
    /// How it is told whom to trust and who asks.
    pub options: &'a [&'a str],
}

impl Redfish<'_> {
    fn get(&self, path: &str) -> Value {
        let url = format!("https://{}{path}", self.addr);
        serde_json::from_str(&curl(&[self.options, &[&url]].concat())).unwrap()
    }

    fn members(&self, collection: &str) -> Vec<Value> {
        let collection = self.get(collection);
        let members = collection["Members"].as_array().unwrap().iter();
        members
            .map(|member| self.get(member["@odata.id"].as_str().unwrap()))
            .collect()
    }

    /// What its resources say.
    pub fn facts(&self) -> Value {
        let systems = self.members("/redfish/v1/Systems");
        let managers = self.members("/redfish/v1/Managers");
        let chassis = self.members("/redfish/v1/Chassis");
        let all = systems.iter().chain(&managers).chain(&chassis);
        let health = all
            .flat_map(|it| [&it["Status"]["Health"], &it["Status"]["HealthRollup"]])
            .filter_map(Value::as_str)
            .max_by_key(|health| {
                ["OK", "Warning", "Critical"]
                    .iter()
                    .position(|it| it == health)
            })
            .unwrap();
        let system = &systems[0];
        let mut facts = json!({
            "power_state": system["PowerState"].as_str().unwrap().to_lowercase(),
            "health": health.to_lowercase(),
            "temperatures": [],
            "not_ok": [],
        });
        for (fact, value) in [
            ("model", &system["Model"]),
            ("serial", &system["SerialNumber"]),
            ("manufacturer", &system["Manufacturer"]),
            ("bios_version", &system["BiosVersion"]),
            ("firmware_version", &managers[0]["FirmwareVersion"]),
            ("processors", &system["ProcessorSummary"]["Count"]),
        ] {
            if !value.is_null() {
                facts[fact] = value.clone();
            }
        }
        if let Some(memory) = system["MemorySummary"]["TotalSystemMemoryGiB"].as_f64() {
            facts["memory_total_bytes"] = (memory * f64::from(1 << 30)).into();
        }
        let push = |facts: &mut Value, list: &str, it| {
            facts[list].as_array_mut().unwrap().push(it);
        };
        for chassis in &chassis {
            let part = |name: &str| {
                let link = chassis[name]["@odata.id"].as_str();
                link.map_or(Value::Null, |link| self.get(link))
            };
            let (thermal, power) = (part("Thermal"), part("Power"));
            for it in thermal["Temperatures"].as_array().unwrap() {
                let health = it["Status"]["Health"].as_str().unwrap().to_lowercase();
                let celsius = it["ReadingCelsius"].as_f64();
                let it = json!({ "name": it["Name"], "celsius": celsius, "health": health });
                push(&mut facts, "temperatures", it);
            }
            for (what, list) in [
                ("temperature", &thermal["Temperatures"]),
                ("fan", &thermal["Fans"]),
                ("power_supply", &power["PowerSupplies"]),
                ("voltage", &power["Voltages"]),
            ] {
                for it in list.as_array().into_iter().flatten() {
                    let Some(health) = it["Status"]["Health"].as_str() else {
                        continue;
                    };
                    if health != "OK" {
                        let health = health.to_lowercase();
                        let it = json!({ "name": it["Name"], "what": what, "health": health });
                        push(&mut facts, "not_ok", it);
                    }
                }
            }
        }
        facts
    }
}

/// An SNMP agent, for net-snmp's commands.
pub struct Agent<'a> {
    pub addr: SocketAddr,
    /// Who asks, and how: `-v2c` and so on.
    pub security: &'a [&'a str],
}

impl Agent<'_> {
    fn ask(&self, command: &str, options: &str, name: &str) -> String {
        let addr = self.addr.to_string();
        let rest = ["-t", "60", "-r", "0", "-m", "", options, &addr, name];
        printed(command, &[self.security, &rest].concat())
    }

    fn scalar(&self, name: &str) -> String {
        let text = self.ask("snmpget", "-Oqvt", name);
        text.trim().trim_matches('"').to_owned()
    }

    /// The rows of a column, each with its index.
    fn column(&self, name: &str) -> Vec<(String, String)> {
        let text = self.ask("snmpwalk", "-Onqt", name);
        let row = |line: &str| {
            let rest = line.strip_prefix(&format!(".{name}."))?;
            let (index, value) = rest.split_once(' ')?;
            Some((index.to_owned(), value.trim_matches('"').to_owned()))
        };
        text.lines().filter_map(row).collect()
    }

    fn row(&self, column: &str, index: &str) -> Option<String> {
        let mut rows = self.column(column).into_iter();
        rows.find_map(|(at, value)| (at == index).then_some(value))
    }

    /// What its variables say.
    pub fn facts(&self) -> Value {
        let number = |text: String| text.parse::<f64>().unwrap();
        let machine = number(self.scalar("1.3.6.1.2.1.25.1.1.0")) / 100.0;
        let engine = number(self.scalar("1.3.6.1.6.3.10.2.1.3.0"));
        let mut facts = json!({
            "hostname": self.scalar("1.3.6.1.2.1.1.5.0"),
            "description": self.scalar("1.3.6.1.2.1.1.1.0"),
            "location": self.scalar("1.3.6.1.2.1.1.6.0"),
            "uptime_seconds": machine.max(engine),
            "ports": self.ports(),
        });
        const ENTITY: &str = "1.3.6.1.2.1.47.1.1.1.1";
        let classes = self.column(&format!("{ENTITY}.5"));
        if let Some((chassis, _)) = classes.iter().find(|(_, class)| class == "3") {
            for (fact, column) in [
                ("firmware_version", 9),
                ("serial", 11),
                ("manufacturer", 12),
                ("model", 13),
            ] {
                let value = self.row(&format!("{ENTITY}.{column}"), chassis);
                facts[fact] = value.unwrap().into();
            }
        }
        const LLDP: &str = "1.0.8802.1.1.2.1";
        let neighbours = self.column(&format!("{LLDP}.4.1.1.9"));
        let neighbour = |(index, name): &(String, String)| {
            let port = index.split('.').nth(1).unwrap();
            json!({
                "local_port": self.row(&format!("{LLDP}.3.7.1.3"), port),
                "system_name": name,
                "port": self.row(&format!("{LLDP}.4.1.1.7"), index),
            })
        };
        if !neighbours.is_empty() {
            facts["neighbours"] = neighbours.iter().map(neighbour).collect();
        }
        facts
    }

    fn ports(&self) -> Vec<Value> {
        const PORTS: &str = "1.3.6.1.2.1.2.2.1";
        const MORE: &str = "1.3.6.1.2.1.31.1.1.1";
        let columns =
            [2, 5, 7, 8, 13, 14, 19, 20].map(|it| (it, self.column(&format!("{PORTS}.{it}"))));
        let (names, speeds) = (
            self.column(&format!("{MORE}.1")),
            self.column(&format!("{MORE}.15")),
        );
        let at = |rows: &[(String, String)], index: &str| {
            let row = rows.iter().find(|(at, _)| at == index);
            row.map(|(_, value)| value.clone())
        };
        let of = |column, index: &str| {
            let rows = columns.iter().find(|(it, _)| *it == column).unwrap();
            at(&rows.1, index)
        };
        let number = |text: String| text.parse::<u64>().unwrap();
        let port = |(index, name): &(String, String)| {
            let mut port = Map::new();
            let name = at(&names, index).unwrap_or(name.clone());
            port.insert("name".to_owned(), name.into());
            for (fact, column) in [("up", 8), ("admin_up", 7)] {
                // 4 is unknown.
                if let Some(state) = of(column, index).filter(|it| it != "4") {
                    port.insert(fact.to_owned(), (state == "1").into());
                }
            }
            let mut speed = of(5, index).map(number);
            if speed == Some(u32::MAX.into()) {
                speed = at(&speeds, index).map(|it| number(it) * 1_000_000);
            }
            if let Some(speed) = speed.filter(|it| *it > 0) {
                port.insert("speed_bits_per_second".to_owned(), speed.into());
            }
            for (fact, column) in [
                ("in_errors", 14),
                ("out_errors", 20),
                ("in_discards", 13),
                ("out_discards", 19),
            ] {
                if let Some(count) = of(column, index) {
                    port.insert(fact.to_owned(), number(count).into());
                }
            }
            Value::Object(port)
        };
        columns[0].1.iter().map(port).collect()
    }
}
