//! Ten thousand switches, asked by one process over the loopback.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Instant;

use rasn_smi::v1::Gauge;
use rasn_smi::v2::{ApplicationSyntax, ObjectSyntax, SimpleSyntax};
use rasn_snmp::v2::VarBindValue;

use crate::agents::{Mib, Request, number};
use crate::measure::{ROUNDS, cpu, median, memory, once};
use crate::servers::Server;
use crate::{bulk_walks, snmp, write_config_with};

const SWITCHES: usize = 10_000;
const PORTS: u32 = 48;
/// How many of them `snmpbulkwalk` asks.
const WALKS: usize = 500;

pub(crate) fn ten_thousand(dir: &Path) {
    let addr = agent().to_string();
    println!(
        "\n{SWITCHES} switches of {PORTS} ports in one GET /test, all answered: median of {ROUNDS}\n"
    );
    println!(
        "| client | until the last byte | lookups a second | its processor time a lookup | ratio to snmpbulkwalk | most memory a switch | after it |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let peer = bulk_walks(&addr, WALKS);
    let runs: Vec<_> = (0..ROUNDS).map(|_| once(&peer)).collect();
    let of_peer = median(runs.iter().map(|it| it.cpu)) / WALKS as f64;
    println!(
        "| snmpbulkwalk, {WALKS} of them | {:.1} s | {:.0} | {:.2} ms | 1.00 | | |",
        median(runs.iter().map(|it| it.real)),
        WALKS as f64 / median(runs.iter().map(|it| it.real)),
        of_peer * 1e3
    );
    for at_once in [32, 1_000, SWITCHES] {
        let collect = format!("max_concurrent = {at_once}\n");
        let config = write_config_with(dir, &snmp(&addr), SWITCHES, &collect);
        let runs: Vec<Run> = (0..ROUNDS).map(|_| Run::of(&config)).collect();
        let real = median(runs.iter().map(|it| it.real));
        let cpu = median(runs.iter().map(|it| it.cpu)) / SWITCHES as f64;
        println!(
            "| fleetcall, {at_once} at a time | {real:.1} s | {:.0} | {:.2} ms | {:.2} | {:.0} KiB | {:.0} KiB |",
            SWITCHES as f64 / real,
            cpu * 1e3,
            cpu / of_peer,
            median(runs.iter().map(|it| it.peak)) / SWITCHES as f64,
            median(runs.iter().map(|it| it.after)) / SWITCHES as f64,
        );
    }
}

/// Seconds and KiB.
struct Run {
    real: f64,
    cpu: f64,
    peak: f64,
    /// What is left when the answer is out: the last facts of each, mostly.
    after: f64,
}

impl Run {
    fn of(config: &Path) -> Self {
        let server = Server::fleetcall(config);
        let (start, cpu_before) = (Instant::now(), cpu(server.pid()));
        let answer = server.get("/test");
        let real = start.elapsed().as_secs_f64();
        assert_eq!(answer.matches("\"switch_id\"").count(), SWITCHES);
        assert_eq!(answer.matches("\"error\"").count(), 0);
        let ports = answer.matches("\"admin_up\"").count();
        assert_eq!(ports, SWITCHES * PORTS as usize);
        Self {
            real,
            cpu: cpu(server.pid()) - cpu_before,
            peak: memory(server.pid(), "VmHWM:") as f64,
            after: memory(server.pid(), "VmRSS:") as f64,
        }
    }
}

/// Answers for all of them, from a fixed table.
fn agent() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    // The kernel cuts it to `net.core.rmem_max`; what is lost all the same is asked again.
    socket.set_recv_buffer_size(64 << 20).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let socket = UdpSocket::from(socket);
    let addr = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let table = table();
        let mut known = HashMap::new();
        let mut buffer = vec![0; 64 << 10];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let (id, rest) = split(&buffer[..len]);
            // All switches are asked the same things: encoding each answer anew would be the
            // bench's own cost, on cores that it shares with whom it measures.
            let variables = known.entry(rest.to_vec()).or_insert_with(|| {
                let found = Request::read(&buffer[..len]).variables(&table);
                rasn::ber::encode(&found).unwrap()
            });
            let pdu = [id, &[2, 1, 0, 2, 1, 0], variables].concat();
            let message = [b"\x02\x01\x01\x04\x06public", &*tagged(0xa2, &pdu)].concat();
            socket.send_to(&tagged(0x30, &message), from).ok();
        }
    });
    addr
}

/// The request's id, encoded, and all that follows it.
fn split(message: &[u8]) -> (&[u8], &[u8]) {
    let version_and_community = b"\x02\x01\x01\x04\x06public".len();
    let pdu = &inside(message)[version_and_community..];
    let pdu = inside(pdu);
    pdu.split_at(2 + usize::from(pdu[1]))
}

/// What a BER value holds.
fn inside(value: &[u8]) -> &[u8] {
    match value[1] {
        short @ ..0x80 => &value[2..2 + usize::from(short)],
        long => &value[2 + usize::from(long & 0x7f)..],
    }
}

/// A BER value.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &len[..], content].concat()
}

/// What such a switch has to say.
fn table() -> Mib {
    let text = |text: &str| {
        let text = text.as_bytes().into();
        VarBindValue::Value(ObjectSyntax::Simple(SimpleSyntax::String(text)))
    };
    let gauge = |value: u32| {
        let value = ApplicationSyntax::Unsigned(Gauge(value));
        VarBindValue::Value(ObjectSyntax::ApplicationWide(value))
    };
    let mut table = Mib::new();
    let name = |base: &[u32], rest: &[u32]| [base, rest].concat();
    let system = [1, 3, 6, 1, 2, 1, 1];
    table.insert(
        name(&system, &[1, 0]),
        text("Example Networks XS-48, 1.2.3"),
    );
    table.insert(name(&system, &[5, 0]), text("switch-7"));
    table.insert(name(&system, &[6, 0]), text("room 4, rack 2"));
    let (ports, more) = ([1, 3, 6, 1, 2, 1, 2, 2, 1], [1, 3, 6, 1, 2, 1, 31, 1, 1, 1]);
    for port in 1..=PORTS {
        table.insert(
            name(&ports, &[2, port]),
            text(&format!("GigabitEthernet1/0/{port}")),
        );
        table.insert(name(&ports, &[5, port]), gauge(1_000_000_000));
        for column in [7, 8] {
            table.insert(name(&ports, &[column, port]), number(1));
        }
        for column in [13, 14, 19, 20] {
            table.insert(name(&ports, &[column, port]), gauge(port));
        }
        table.insert(name(&more, &[1, port]), text(&format!("Gi1/0/{port}")));
        table.insert(name(&more, &[15, port]), gauge(1_000));
    }
    let entity = [1, 3, 6, 1, 2, 1, 47, 1, 1, 1, 1];
    table.insert(name(&entity, &[5, 1]), number(3));
    for (column, value) in [
        (9, "1.2.3"),
        (11, "SN-0042"),
        (12, "Example Networks"),
        (13, "XS-48"),
    ] {
        table.insert(name(&entity, &[column, 1]), text(value));
    }
    let lldp = [1, 0, 8802, 1, 1, 2, 1];
    for port in [47, 48] {
        table.insert(name(&lldp, &[3, 7, 1, 2, port]), number(5));
        table.insert(
            name(&lldp, &[3, 7, 1, 3, port]),
            text(&format!("Gi1/0/{port}")),
        );
        let row = [100, port, 1];
        let remote = |column| name(&lldp, &[&[4, 1, 1, column], &row[..]].concat());
        table.insert(remote(6), number(5));
        table.insert(remote(7), text("Ethernet1/9"));
        table.insert(remote(9), text("spine-1"));
    }
    table
}
