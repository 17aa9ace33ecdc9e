//! The `redfish` driver, against PyPI's `sushy-emulator` and controllers that are broken or hostile.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{config_file, fleetcall, run, send, stderr};
use crate::servers::{
    Node, answers, ask, ask_with, http, nobody, request, server, wait_for, wait_for_end,
};
use crate::tcp::certificate;

/// Where `.ci/test` installs it.
const EMULATOR: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/sushy-tools/bin/sushy-emulator"
);

/// The password `hunter2`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "$2b$04$PuwFY0d1C3hwjax19aPhs.AWEFkomOZCbjI58KyUN0nL3diexyvCS\n";

/// A real Redfish service, killed when dropped.
pub struct Emulator {
    child: Child,
    pub addr: SocketAddr,
    _state: TempDir,
}

impl Emulator {
    /// With these lines of its configuration, which may name files in a folder made by `prepare`.
    pub fn start(prepare: impl FnOnce(&Path) -> String) -> Self {
        let state = tempfile::tempdir().unwrap();
        let config = prepare(state.path());
        let path = state.path().join("emulator.conf");
        let folder = state.path().display();
        std::fs::write(
            &path,
            format!("SUSHY_EMULATOR_STATE_DIR = \"{folder}\"\n{config}"),
        )
        .unwrap();
        let addr = nobody();
        let mut child = Command::new(EMULATOR)
            .args(["--fake", "-i", "127.0.0.1", "-p"])
            .arg(addr.port().to_string())
            .arg("--config")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sushy-emulator is not installed; .ci/test installs it");
        wait_for(&mut child, addr);
        Self {
            child,
            addr,
            _state: state,
        }
    }

    /// With TLS, for `user` with the password `hunter2` only; and the file of its certificate.
    pub fn secured(user: &str) -> (Self, String) {
        let mut ca = String::new();
        let emulator = Self::start(|folder| {
            let (certificate, key) = certificate("127.0.0.1", 30);
            let file = |name: &str, text: &str| {
                let path = folder.join(name);
                std::fs::write(&path, text).unwrap();
                path.display().to_string()
            };
            ca = file("ca.pem", &certificate.pem());
            let key = file("key.pem", &key.serialize_pem());
            let users = file("htpasswd", &format!("{user}:{HTPASSWD}"));
            format!(
                "SUSHY_EMULATOR_AUTH_FILE = \"{users}\"\nSUSHY_EMULATOR_SSL_CERT = \"{ca}\"\n\
                 SUSHY_EMULATOR_SSL_KEY = \"{key}\"\n"
            )
        });
        (emulator, ca)
    }

    fn get(&self, path: &str) -> Value {
        send(self.addr, "GET", path, &[]).json()
    }

    /// The members of a collection, as its own client has them.
    fn members(&self, collection: &str) -> Vec<Value> {
        let collection = self.get(collection);
        let members = collection["Members"].as_array().unwrap().iter();
        members
            .map(|member| self.get(member["@odata.id"].as_str().unwrap()))
            .collect()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn url(addr: SocketAddr, more: &str) -> String {
    format!("driver = \"redfish\"\nurl = \"http://{addr}\"\ntimeout = \"1m\"\n{more}")
}

pub const ADMIN: &str = "username = \"admin\"\npassword = { env = \"PASSWORD\" }\n";

/// As [`ask`], with [`ADMIN`]'s password.
fn ask_as_admin(lookup: &str, password: &str) -> Node {
    let node = ask_with("", lookup, |command| {
        command.env("PASSWORD", password);
    });
    assert!(!node.output.contains(password), "{}", node.output);
    node
}

#[test]
fn a_real_service_gives_the_facts_that_its_own_resources_give() {
    let emulator = Emulator::start(|_| {
        let system = |number, state| {
            format!(
                "{{'uuid': '27946b59-9e44-4fa7-8e91-f3527a1ef09{number}', 'name': 's{number}', \
                 'power_state': '{state}', 'external_notifier': False, 'nics': []}}"
            )
        };
        let (first, second) = (system(1, "On"), system(2, "Off"));
        format!("SUSHY_EMULATOR_FAKE_SYSTEMS = [{first}, {second}]\n")
    });
    let node = ask(&url(emulator.addr, ""));
    let systems = emulator.members("/redfish/v1/Systems");
    assert_eq!(systems.len(), 2);
    let first = &systems[0];
    for (fact, property) in [
        ("model", "Model"),
        ("serial", "SerialNumber"),
        ("manufacturer", "Manufacturer"),
        ("bios_version", "BiosVersion"),
    ] {
        assert_eq!(node.node["facts"][fact], first[property], "{property}");
    }
    assert_eq!(node.fact("manufacturer"), "Sushy Emulator");
    let state = first["PowerState"].as_str().unwrap().to_lowercase();
    assert_eq!(node.fact("power_state"), &state);
    assert_eq!(node.fact("health"), "ok");
    let managers = emulator.members("/redfish/v1/Managers");
    assert_eq!(
        node.fact("firmware_version"),
        &managers[0]["FirmwareVersion"]
    );
    let (mut temperatures, mut not_ok) = (Vec::new(), 0);
    for chassis in emulator.members("/redfish/v1/Chassis") {
        let thermal = emulator.get(chassis["Thermal"]["@odata.id"].as_str().unwrap());
        for it in thermal["Temperatures"].as_array().unwrap() {
            temperatures.push(json!({
                "name": it["Name"],
                "celsius": it["ReadingCelsius"].as_f64(),
                "health": it["Status"]["Health"].as_str().unwrap().to_lowercase(),
            }));
        }
        let fans = thermal["Fans"].as_array().unwrap().iter();
        not_ok += fans.filter(|it| it["Status"]["Health"] != "OK").count();
    }
    assert!(!temperatures.is_empty());
    assert_eq!(node.fact("temperatures"), &Value::from(temperatures));
    assert_eq!(node.fact("not_ok").as_array().unwrap().len(), not_ok);
    // It has neither memory nor processors to tell of.
    assert!(first["MemorySummary"]["TotalSystemMemoryGiB"].is_null());
    for absent in ["memory_total_bytes", "processors"] {
        assert!(node.node["facts"].get(absent).is_none(), "{}", node.node);
    }
}

#[test]
fn a_real_service_with_tls_takes_a_right_password_only() {
    let (emulator, ca) = Emulator::secured("admin");
    let ask = |more: &str, password| {
        let addr = emulator.addr;
        let lookup =
            format!("driver = \"redfish\"\nurl = \"https://{addr}/redfish/v1/\"\n{ADMIN}{more}\n");
        ask_as_admin(&lookup, password)
    };
    let trusting = format!("session = false\ntls = {{ ca = \"{ca}\" }}");
    let node = ask(&trusting, "hunter2");
    assert_eq!(node.fact("power_state"), "off");
    ask(&trusting, "hunter3").fails("auth", " answers 401 ");
    ask("session = false", "hunter2").fails("protocol", "not trusted here");
    // This emulator has no sessions.
    let sessions = ask(&format!("tls = {{ ca = \"{ca}\" }}"), "hunter2");
    sessions.fails("protocol", "it has no sessions; write `session = false`");
}

/// What a controller was asked.
pub struct Asked {
    /// `GET /redfish/v1/`
    pub line: String,
    head: String,
    body: String,
}

impl Asked {
    pub fn read(stream: &mut TcpStream) -> Option<Self> {
        let head = request(stream);
        let mut words = head.split(' ');
        let line = format!("{} {}", words.next()?, words.next()?);
        let length = head.to_lowercase();
        let length = length
            .split_once("content-length: ")
            .map_or("0", |(_, it)| {
                it.split_once("\r\n").map_or(it, |(length, _)| length)
            });
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        Some(Self { line, head, body })
    }

    pub fn has_header(&self, line: &str) -> bool {
        self.head.contains(&format!("\r\n{line}\r\n"))
    }
}

/// A controller that notes what it is asked.
struct Bmc {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Bmc {
    /// Gives these answers; no bytes is none, for ever.
    fn answering(answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        let addr = server(move |mut stream| {
            let Some(asked) = Asked::read(&mut stream) else {
                return;
            };
            notes.lock().unwrap().push(asked.line.clone());
            let answer = answer(&asked);
            if answer.is_empty() {
                return wait_for_end(stream);
            }
            stream.write_all(&answer).ok();
        });
        Self { addr, asked }
    }

    /// Has these resources, for everybody.
    fn with(resources: Value) -> Self {
        Self::answering(move |asked| resource(&resources, asked))
    }

    /// Has these resources, for whoever logs in as `admin` with `hunter2`.
    fn guarded(resources: Value) -> Self {
        Self::answering(move |asked| match asked.line.as_str() {
            "GET /redfish/v1/" => resource(&resources, asked),
            LOGIN => log_in(asked, "/redfish/v1/SessionService/Sessions/7"),
            _ if !asked.has_header("x-auth-token: t0k3n") => http("401 Unauthorized", "", b""),
            LOGOUT => http("204 No Content", "", b""),
            _ => resource(&resources, asked),
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

pub const LOGIN: &str = "POST /redfish/v1/SessionService/Sessions";
const LOGOUT: &str = "DELETE /redfish/v1/SessionService/Sessions/7";

fn log_in(asked: &Asked, location: &str) -> Vec<u8> {
    let right = json!({"UserName": "admin", "Password": "hunter2"});
    if serde_json::from_str::<Value>(&asked.body).unwrap() != right {
        return http("401 Unauthorized", "", b"{}");
    }
    assert!(asked.has_header("content-type: application/json"));
    let headers = format!("X-Auth-Token: t0k3n\r\nLocation: {location}\r\n");
    http("201 Created", &headers, b"{}")
}

/// The resource that is asked for.
pub fn resource(resources: &Value, asked: &Asked) -> Vec<u8> {
    let found = asked.line.strip_prefix("GET ").map(|path| &resources[path]);
    match found {
        Some(Value::Null) | None => http("404 Not Found", "", b"{\"error\": {}}"),
        // What is no object stands for something that is not JSON at all.
        Some(Value::String(text)) => http("200 OK", "", text.as_bytes()),
        Some(found) => http("200 OK", "", found.to_string().as_bytes()),
    }
}

/// A service's root, which links to collections and so on at their usual places.
fn root(names: &[&str]) -> Value {
    let mut root = json!({"RedfishVersion": "1.5.0"});
    for name in names {
        root[name] = link(&format!("/redfish/v1/{name}"));
    }
    root
}

fn link(path: &str) -> Value {
    json!({"@odata.id": path})
}

fn members(paths: &[&str]) -> Value {
    let members: Vec<Value> = paths.iter().map(|path| link(path)).collect();
    json!({ "Members": members })
}

/// A server with two of all, not all well.
pub fn machine() -> Value {
    json!({
        "/redfish/v1/": root(&["Systems", "Managers", "Chassis", "SessionService"]),
        "/redfish/v1/Systems": members(&["/redfish/v1/Systems/1", "/redfish/v1/Systems/2"]),
        "/redfish/v1/Systems/1": {
            "PowerState": "PoweringOn", "Model": " R740 ", "SerialNumber": "S1",
            "Manufacturer": "Contoso", "BiosVersion": "2.1",
            "MemorySummary": {"TotalSystemMemoryGiB": 1.5}, "ProcessorSummary": {"Count": 2},
            "Status": {"Health": "OK", "HealthRollup": "OK"},
        },
        "/redfish/v1/Systems/2": {"Model": "other", "Status": {"HealthRollup": "Warning"}},
        "/redfish/v1/Managers": members(&["/redfish/v1/Managers/1", "/redfish/v1/Managers/2"]),
        "/redfish/v1/Managers/1": {"FirmwareVersion": "5.10", "Status": {"Health": "OK"}},
        "/redfish/v1/Managers/2": {"FirmwareVersion": "0.1"},
        "/redfish/v1/Chassis": members(&["/redfish/v1/Chassis/1", "/redfish/v1/Chassis/2"]),
        "/redfish/v1/Chassis/1": {
            "Model": "rack",
            "Thermal": link("/redfish/v1/Chassis/1/Thermal"),
            "Power": link("/redfish/v1/Chassis/1/Power#/"),
            "Status": {"State": "Absent", "Health": "Critical"},
        },
        "/redfish/v1/Chassis/1/Thermal": {
            "Temperatures": [
                {"Name": "CPU", "ReadingCelsius": 71.5, "Status": {"Health": "Warning"}},
                {"Name": "Inlet", "ReadingCelsius": -3},
                {"Name": "Exhaust", "ReadingCelsius": null, "Status": {"Health": "Critical"}},
            ],
            "Fans": [
                {"FanName": "Fan 1", "Status": {"Health": "Critical", "State": "Enabled"}},
                {"Name": "Fan 2", "Status": {"Health": "OK"}},
                {"Name": "Fan 3", "Status": {"Health": "Critical", "State": "Absent"}},
            ],
        },
        "/redfish/v1/Chassis/1/Power": {
            "PowerSupplies": [{"MemberId": "0", "Status": {"Health": "Critical"}}],
            "Voltages": [{"Name": "12V", "Status": {"Health": "Warning"}}],
        },
        "/redfish/v1/Chassis/2": {"Thermal": link("/redfish/v1/Chassis/1/Thermal")},
    })
}

#[test]
fn the_first_system_says_what_it_is_and_the_worst_of_all_how_it_is() {
    let bmc = Bmc::with(machine());
    let node = ask(&url(bmc.addr, ""));
    let expected = json!({
        "memory_total_bytes": 3_u64 << 29,
        "power_state": "powering_on",
        "health": "warning",
        "model": "R740",
        "serial": "S1",
        "manufacturer": "Contoso",
        "firmware_version": "5.10",
        "bios_version": "2.1",
        "processors": 2,
        "temperatures": [
            {"name": "CPU", "celsius": 71.5, "health": "warning"},
            {"name": "Inlet", "celsius": -3.0},
        ],
        "not_ok": [
            {"name": "CPU", "what": "temperature", "health": "warning"},
            {"name": "Exhaust", "what": "temperature", "health": "critical"},
            {"name": "Fan 1", "what": "fan", "health": "critical"},
            {"name": "0", "what": "power_supply", "health": "critical"},
            {"name": "12V", "what": "voltage", "health": "warning"},
        ],
    });
    assert_eq!(node.node["facts"], expected);
    let mut asked = bmc.asked();
    let count = asked.len();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), count, "nothing is asked for twice: {asked:?}");
}

#[test]
fn what_is_missing_or_of_a_wrong_type_is_not_known() {
    let facts = |resources| ask(&url(Bmc::with(resources).addr, "")).node["facts"].clone();
    assert_eq!(facts(json!({"/redfish/v1/": root(&[])})), Value::Null);
    let dangling = json!({
        "/redfish/v1/": {
            "RedfishVersion": "1.0.0",
            "Systems": link("/redfish/v1/Systems"),
            "Managers": {"@odata.id": 5},
            "Chassis": link("/redfish/v1/Chassis"),
        },
        "/redfish/v1/Systems": {"Members": [5, {}, null, link("/redfish/v1/Systems/gone")]},
        "/redfish/v1/Chassis": members(&["/redfish/v1/Chassis/1"]),
        "/redfish/v1/Chassis/1": {
            "PowerState": "Dreaming", "Model": null, "SerialNumber": "  ", "Manufacturer": "Contoso",
            "Status": "OK", "Thermal": link("/redfish/v1/Chassis/1/Thermal"),
        },
        "/redfish/v1/Chassis/1/Thermal": {
            "Temperatures": {}, "Fans": [null, 7, {"Status": {"Health": null}}, {"Status": []}],
        },
    });
    // Where no system is, the chassis says what it is.
    assert_eq!(facts(dangling), json!({"manufacturer": "Contoso"}));
    let cold = json!({
        "/redfish/v1/": root(&["Systems"]),
        "/redfish/v1/Systems": members(&["/redfish/v1/Systems/1"]),
        "/redfish/v1/Systems/1": {
            "PowerState": "Off", "MemorySummary": {"TotalSystemMemoryGiB": 0},
            "ProcessorSummary": {"Count": 0}, "Status": {"Health": "Fine"},
        },
    });
    assert_eq!(facts(cold), json!({"power_state": "off"}));
}

#[test]
fn a_session_begins_with_the_login_and_ends_with_the_logout() {
    let bmc = Bmc::guarded(machine());
    let node = ask_as_admin(&url(bmc.addr, ADMIN), "hunter2");
    assert_eq!(node.fact("model"), "R740");
    assert!(!node.output.contains("t0k3n"), "{}", node.output);
    let asked = bmc.asked();
    assert_eq!(asked[..2], ["GET /redfish/v1/", LOGIN]);
    assert_eq!(asked.last().unwrap(), LOGOUT);
    let count = |what| asked.iter().filter(|it| *it == what).count();
    assert_eq!((count(LOGIN), count(LOGOUT)), (1, 1), "{asked:?}");
}

#[test]
fn a_lookup_that_fails_logs_out_too() {
    let mut broken = machine();
    broken["/redfish/v1/Managers"] = json!("<html>");
    let bmc = Bmc::guarded(broken);
    let node = ask_as_admin(&url(bmc.addr, ADMIN), "hunter2");
    node.fails("protocol", "\"/redfish/v1/Managers\" is no JSON object");
    assert_eq!(bmc.asked().last().unwrap(), LOGOUT);
}

#[test]
fn a_wrong_password_is_an_auth_fault_and_nothing_more_is_asked() {
    let bmc = Bmc::guarded(machine());
    let node = ask_as_admin(&url(bmc.addr, ADMIN), "hunter3");
    node.fails(
        "auth",
        "/redfish/v1/SessionService/Sessions answers 401 Unauthorized",
    );
    assert_eq!(bmc.asked(), ["GET /redfish/v1/", LOGIN]);
    ask(&url(bmc.addr, "")).fails("auth", "/redfish/v1/Systems answers 401");
}

#[test]
fn the_root_says_where_to_log_in_and_the_login_where_to_log_out() {
    for (location, body) in [
        ("Location: /elsewhere/7\r\n", "{}"),
        // Controllers name themselves by names that nobody else knows; nobody is asked there.
        ("Location: https://ilo.invalid/elsewhere/7\r\n", "{}"),
        ("", "{\"@odata.id\": \"/elsewhere/7\"}"),
        // A relative one is legal, and of what is not said.
        (
            "Location: elsewhere/7\r\n",
            "{\"@odata.id\": \"/elsewhere/7\"}",
        ),
    ] {
        let bmc = Bmc::answering(move |asked| match asked.line.as_str() {
            "GET /redfish/v1/" => {
                let mut root = root(&["SessionService"]);
                root["Links"]["Sessions"] = link("/elsewhere");
                http("200 OK", "", root.to_string().as_bytes())
            }
            "POST /elsewhere" => {
                let headers = format!("X-Auth-Token: t0k3n\r\n{location}");
                http("201 Created", &headers, body.as_bytes())
            }
            _ => http("204 No Content", "", b""),
        });
        ask_as_admin(&url(bmc.addr, ADMIN), "hunter2");
        assert_eq!(
            bmc.asked(),
            ["GET /redfish/v1/", "POST /elsewhere", "DELETE /elsewhere/7"]
        );
    }
}

#[test]
fn a_login_without_a_session_is_a_protocol_fault() {
    for (answer, message) in [
        (
            http("404 Not Found", "", b""),
            "logging in at \"/redfish/v1/SessionService/Sessions\": it answers 404 Not Found",
        ),
        (
            http("503 Service Unavailable", "", b""),
            "answers 503 Service Unavailable",
        ),
        (
            http("201 Created", "Location: /s/1\r\n", b""),
            "has no token",
        ),
        (
            http("201 Created", "X-Auth-Token: t0k3n\r\n", b""),
            "has no address; write `session = false`",
        ),
    ] {
        let bmc = Bmc::answering(move |asked| match asked.line.as_str() {
            LOGIN => answer.clone(),
            _ => http(
                "200 OK",
                "",
                root(&["SessionService"]).to_string().as_bytes(),
            ),
        });
        ask_as_admin(&url(bmc.addr, ADMIN), "hunter2").fails("protocol", message);
    }
}

#[test]
fn without_a_session_the_password_goes_along_with_each_request() {
    let resources = machine();
    let bmc = Bmc::answering(move |asked| {
        if asked.has_header("authorization: Basic YWRtaW46aHVudGVyMg==") {
            resource(&resources, asked)
        } else {
            http("401 Unauthorized", "", b"")
        }
    });
    let lookup = url(bmc.addr, &format!("{ADMIN}session = false\n"));
    let node = ask_as_admin(&lookup, "hunter2");
    assert_eq!(node.fact("model"), "R740");
    assert!(bmc.asked().iter().all(|it| it.starts_with("GET ")));
    ask_as_admin(&lookup, "hunter3").fails("auth", "/redfish/v1/ answers 401");
    ask(&url(bmc.addr, "")).fails("auth", "/redfish/v1/ answers 401");
}

#[test]
fn links_without_an_end_have_one() {
    let mut first = root(&[]);
    first["Systems"] = link("/pages/0");
    let first = first.to_string();
    let pages = Bmc::answering(move |asked| {
        let Some(page) = asked.line.strip_prefix("GET /pages/") else {
            return http("200 OK", "", first.as_bytes());
        };
        let next = page.parse::<u64>().unwrap() + 1;
        let page = json!({"Members": [], "Members@odata.nextLink": format!("/pages/{next}")});
        http("200 OK", "", page.to_string().as_bytes())
    });
    let many = "it has more than 256 resources";
    ask(&url(pages.addr, "")).fails("protocol", many);
    assert_eq!(pages.asked().len(), 256);
    let paths: Vec<String> = (0..300).map(|n| format!("/s/{n}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let bmc = Bmc::with(json!({
        "/redfish/v1/": root(&["Systems"]),
        "/redfish/v1/Systems": members(&paths),
    }));
    ask(&url(bmc.addr, "")).fails("protocol", many);
    // A page that is its own next one, and members that are the collection.
    let mut own = members(&["/redfish/v1/Systems", "/redfish/v1/", "/redfish/v1"]);
    own["Members@odata.nextLink"] = json!("/redfish/v1/Systems/");
    let bmc = Bmc::with(json!({
        "/redfish/v1/": root(&["Systems"]),
        "/redfish/v1/Systems": own,
    }));
    assert_eq!(ask(&url(bmc.addr, "")).node["facts"], Value::Null);
    assert_eq!(bmc.asked().len(), 2);
    let fans: Vec<Value> = (0..1_001)
        .map(|n| json!({"Name": format!("{n}"), "Status": {"Health": "Critical"}}))
        .collect();
    let bmc = Bmc::with(json!({
        "/redfish/v1/": root(&["Chassis"]),
        "/redfish/v1/Chassis": members(&["/redfish/v1/Chassis/1"]),
        "/redfish/v1/Chassis/1": {"Thermal": link("/thermal")},
        "/thermal": {"Fans": fans},
    }));
    ask(&url(bmc.addr, "")).fails("protocol", "it has more than 1000 sensors and parts");
}

#[test]
fn no_link_and_no_redirect_leads_to_another_server() {
    let elsewhere = Bmc::with(json!({}));
    let other = elsewhere.addr;
    let (long, relative) = (format!("/{}", "x".repeat(2_000)), "Systems".to_owned());
    for to in [
        format!("http://{other}/redfish/v1/Systems"),
        format!("//{other}/redfish/v1/Systems"),
        format!("/\\{other}/redfish/v1/Systems"),
        format!("/\t/{other}/redfish/v1/Systems"),
        relative,
        long,
    ] {
        let mut root = root(&[]);
        (root["Systems"], root["Links"]) = (link(&to), json!({"Sessions": link(&to)}));
        let bmc = Bmc::with(json!({"/redfish/v1/": root}));
        ask(&url(bmc.addr, "")).fails("protocol", "the link ");
        ask_as_admin(&url(bmc.addr, ADMIN), "hunter2").fails("protocol", "the link ");
        assert_eq!(bmc.asked(), ["GET /redfish/v1/", "GET /redfish/v1/"]);
    }
    let redirect = format!("Location: http://{other}/\r\n");
    let bmc = Bmc::answering(move |asked| match asked.line.as_str() {
        LOGIN => http("307 Temporary Redirect", &redirect, b""),
        _ => http(
            "200 OK",
            "",
            root(&["SessionService"]).to_string().as_bytes(),
        ),
    });
    ask_as_admin(&url(bmc.addr, ADMIN), "hunter2").fails("protocol", "a redirect to another host");
    assert_eq!(elsewhere.asked(), [""; 0]);
}

#[test]
fn a_controller_that_hangs_is_given_up_in_time() {
    let hangs_at = |stage: &'static str| {
        let resources = machine();
        let bmc = Bmc::answering(move |asked| match asked.line.as_str() {
            line if line == stage => Vec::new(),
            LOGIN => log_in(asked, "/redfish/v1/SessionService/Sessions/7"),
            _ => resource(&resources, asked),
        });
        // Long enough for what it asks before that on any machine.
        let lookup = url(bmc.addr, ADMIN).replace("\"1m\"", "\"8s\"");
        ask_as_admin(&lookup, "hunter2").fails("timed_out", "no answer within 8s");
        let mut asked = bmc.asked();
        // The session that it has by then ends all the same.
        let logout = asked.pop_if(|last| last == LOGOUT);
        assert_eq!(logout.is_some(), stage.contains("Chassis"));
        assert_eq!(asked.last().unwrap(), stage);
    };
    std::thread::scope(|scope| {
        for stage in ["GET /redfish/v1/", LOGIN, "GET /redfish/v1/Chassis/1/Power"] {
            scope.spawn(move || hangs_at(stage));
        }
    });
}

#[test]
fn a_logout_that_fails_or_hangs_does_not_cost_the_facts() {
    for (answer, said) in [
        (Vec::new(), "sessions are left on Redfish services"),
        (
            http("500 Internal Server Error", "", b""),
            "a session may be left on a Redfish service",
        ),
    ] {
        let resources = machine();
        let bmc = Bmc::answering(move |asked| match asked.line.as_str() {
            LOGIN => log_in(asked, "/redfish/v1/SessionService/Sessions/7"),
            LOGOUT => answer.clone(),
            _ => resource(&resources, asked),
        });
        let node = ask_as_admin(&url(bmc.addr, ADMIN), "hunter2");
        assert_eq!(node.fact("model"), "R740");
        assert!(node.output.contains(said), "{}", node.output);
    }
}

#[test]
fn what_is_no_redfish_is_a_protocol_fault() {
    let deep = "{\"a\":".repeat(10_000);
    for body in [
        "",
        "<html>",
        "[]",
        "5",
        "{\"Systems\":",
        "{} {}",
        &deep,
        "\0",
    ] {
        let addr = answers(http("200 OK", "", body.as_bytes()));
        ask(&url(addr, "")).fails("protocol", "\"/redfish/v1\" is no JSON object");
    }
    let addr = answers(http("404 Not Found", "", b""));
    ask(&url(addr, "")).fails(
        "protocol",
        "there is no Redfish service at http://127.0.0.1",
    );
    let addr = answers(http("500 Internal Server Error", "", b"{}"));
    ask(&url(addr, "")).fails("protocol", "\"/redfish/v1\" answers 500");
    let addr = answers(http("200 OK", "", b"{\"status\": \"ok\"}"));
    ask(&url(addr, "")).fails("protocol", "there is no Redfish service at ");
    ask(&url(answers(""), "")).fails("protocol", "connection closed before message completed");
    ask(&url(nobody(), "")).fails("refused", "");
    let addr = answers(http("200 OK", "", &[b' '; 2_000]));
    ask(&url(addr, "max_body_bytes = 1000")).fails("too_large", "more than 1000 bytes");
}

#[test]
fn wrong_settings_are_faults_of_the_configuration() {
    let address = "[lookup]\ndriver = \"redfish\"\nurl = \"https://{id}-bmc.example";
    for (lookup, message) in [
        (
            "[lookup]\ndriver = \"redfish\"".to_owned(),
            "the driver \"redfish\" needs a `url`, such as \"https://{id}-bmc.example\"",
        ),
        (
            format!("{address}/bmc\""),
            "the `url` of the driver \"redfish\" names a server and no path",
        ),
        (
            format!("{address}?key=s3cr3t\""),
            "the `url` of the driver \"redfish\" names a server and no path",
        ),
        (
            format!("{address}\"\nsession = \"yes\""),
            "lookup.session: this is a string; write true to log in and out",
        ),
        (
            format!("{address}\"\nusername = \"admin\""),
            "`username` and `password` belong together",
        ),
        (
            format!("{address}\"\nbearer_token = {{ env = \"T\" }}"),
            "the driver \"redfish\" has no such setting",
        ),
    ] {
        let (_dir, path) = config_file(&format!("{lookup}\n[[clusters]]\nid = 1\nnodes = \"1\"\n"));
        let output = run(fleetcall().args(["check", "--config"]).arg(path));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(message), "{said}\nnot: {message}");
        assert!(!said.contains("s3cr3t"), "{said}");
    }
    let (_dir, path) = config_file(
        "[lookup]\nurl = \"http://a.example\"\nbearer_token = { env = \"T\" }\n\
         [[clusters]]\nid = 1\nnodes = \"1\"\nlookup = { driver = \"redfish\" }\n",
    );
    let said = stderr(&run(fleetcall().args(["check", "--config"]).arg(path)));
    assert!(
        said.contains("has no `bearer_token`, which is inherited here"),
        "{said}"
    );
}
