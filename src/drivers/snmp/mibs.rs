//! What is read from an agent, and which facts that makes.
//!
//! It does not know how values are read. What an agent does not have is absent, never zero. Entry
//! point: [`gather`].

use super::message::{Oid, Value};
use super::session::SnmpSession;
use super::walk::TableRows;
use crate::domain::LookupError;
use crate::drivers::facts::{FactSheet, Neighbour, Port};

/// SNMPv2-MIB, HOST-RESOURCES-MIB, SNMP-FRAMEWORK-MIB, LLDP-MIB.
const SYS_DESCR: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 1, 0];
const SYS_UP_TIME: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 3, 0];
const SYS_NAME: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 5, 0];
const SYS_LOCATION: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 6, 0];
const HR_SYSTEM_UPTIME: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 1, 1, 0];
const SNMP_ENGINE_TIME: &[u32] = &[1, 3, 6, 1, 6, 3, 10, 2, 1, 3, 0];
const LLDP_LOC_CHASSIS_ID_SUBTYPE: &[u32] = &[1, 0, 8802, 1, 1, 2, 1, 3, 1, 0];

/// IF-MIB: two tables with the same index.
const IF_ENTRY: &[u32] = &[1, 3, 6, 1, 2, 1, 2, 2, 1];
const IF_X_ENTRY: &[u32] = &[1, 3, 6, 1, 2, 1, 31, 1, 1, 1];

/// `ifDescr`, `ifSpeed`, `ifAdminStatus`, `ifOperStatus`, `ifInDiscards`, `ifInErrors`,
/// `ifOutDiscards`, `ifOutErrors`.
const IF_COLUMNS: [u32; 8] = [2, 5, 7, 8, 13, 14, 19, 20];

/// `ifName`, `ifHighSpeed`.
const IF_X_COLUMNS: [u32; 2] = [1, 15];

/// ENTITY-MIB.
const ENT_PHYSICAL_ENTRY: &[u32] = &[1, 3, 6, 1, 2, 1, 47, 1, 1, 1, 1];
const ENT_PHYSICAL_CLASS: u32 = 5;
const CHASSIS: i64 = 3;

/// `entPhysicalFirmwareRev`, `entPhysicalSoftwareRev`, `entPhysicalSerialNum`,
/// `entPhysicalMfgName`, `entPhysicalModelName`.
const ENT_PHYSICAL_COLUMNS: [u32; 5] = [9, 10, 11, 12, 13];

/// The longest text of a fact, in characters: as long as SNMP's own may be.
const MAX_TEXT_LEN: usize = 255;

/// LLDP-MIB. `lldpRemPortIdSubtype`, `lldpRemPortId`, `lldpRemPortDesc`, `lldpRemSysName`.
const LLDP_REM_ENTRY: &[u32] = &[1, 0, 8802, 1, 1, 2, 1, 4, 1, 1];
const LLDP_REM_COLUMNS: [u32; 4] = [6, 7, 8, 9];

/// `lldpLocPortIdSubtype`, `lldpLocPortId`, `lldpLocPortDesc`.
const LLDP_LOC_PORT_ENTRY: &[u32] = &[1, 0, 8802, 1, 1, 2, 1, 3, 7, 1];
const LLDP_LOC_PORT_COLUMNS: [u32; 3] = [2, 3, 4];

/// An `lldpPortIdSubtype`: the id is a MAC address.
const MAC_ADDRESS: i64 = 3;

/// What `ifSpeed` says of a port that is faster than it can say.
const FASTER: u64 = u32::MAX as u64;

/// Asks an agent for all that makes facts.
pub(super) async fn gather(session: &mut SnmpSession) -> Result<FactSheet, LookupError> {
    let scalars = [
        SYS_DESCR,
        SYS_NAME,
        SYS_LOCATION,
        SYS_UP_TIME,
        HR_SYSTEM_UPTIME,
        SNMP_ENGINE_TIME,
        LLDP_LOC_CHASSIS_ID_SUBTYPE,
    ];
    let values = session.get(&scalars.map(<[u32]>::to_vec)).await?;
    let mut values = values.iter();
    let mut next = || values.next().unwrap_or(&Value::Missing);
    let mut facts = FactSheet {
        description: text(next()),
        hostname: text(next()),
        location: text(next()),
        uptime_seconds: uptime([next(), next(), next()]),
        ..FactSheet::default()
    };
    let has_lldp = *next() != Value::Missing;
    chassis(session, &mut facts).await?;
    let interfaces = columns(IF_ENTRY, &IF_COLUMNS).chain(columns(IF_X_ENTRY, &IF_X_COLUMNS));
    let interfaces: Vec<Oid> = interfaces.collect();
    let interfaces = session.table(&interfaces).await?;
    if !interfaces.is_empty() {
        facts.ports = Some(interfaces.values().map(|row| port(row)).collect());
    }
    let remote: Vec<Oid> = columns(LLDP_REM_ENTRY, &LLDP_REM_COLUMNS).collect();
    let remote = session.table(&remote).await?;
    if !remote.is_empty() {
        let local: Vec<Oid> = columns(LLDP_LOC_PORT_ENTRY, &LLDP_LOC_PORT_COLUMNS).collect();
        let local = session.table(&local).await?;
        facts.neighbours = Some(neighbours(&remote, &local));
    } else if has_lldp {
        facts.neighbours = Some(Vec::new());
    }
    Ok(facts)
}

/// The first chassis says what the device is.
async fn chassis(session: &mut SnmpSession, facts: &mut FactSheet) -> Result<(), LookupError> {
    let class: Vec<Oid> = columns(ENT_PHYSICAL_ENTRY, &[ENT_PHYSICAL_CLASS]).collect();
    let classes = session.table(&class).await?;
    let is_chassis = |row: &Vec<Value>| row.first() == Some(&Value::Integer(CHASSIS));
    let Some((index, _)) = classes.iter().find(|(_, row)| is_chassis(row)) else {
        return Ok(());
    };
    let names = columns(ENT_PHYSICAL_ENTRY, &ENT_PHYSICAL_COLUMNS);
    let names: Vec<Oid> = names.map(|name| [&name[..], &index[..]].concat()).collect();
    let values = session.get(&names).await?;
    if let [firmware, software, serial, manufacturer, model] = values.as_slice() {
        facts.firmware_version = text(firmware).or_else(|| text(software));
        facts.serial = text(serial);
        facts.manufacturer = text(manufacturer);
        facts.model = text(model);
    }
    Ok(())
}

fn columns(entry: &[u32], columns: &[u32]) -> impl Iterator<Item = Oid> {
    columns
        .iter()
        .map(move |column| [entry, &[*column]].concat())
}

/// The larger of what the agent and the machine say. Those in hundredths of a second begin again
/// after 497 days; `snmpEngineTime`, in seconds, does not.
fn uptime([sys_up_time, hr_system_uptime, engine_time]: [&Value; 3]) -> Option<f64> {
    // No duration of this size loses a hundredth of a second.
    #[expect(clippy::cast_precision_loss, reason = "below 2^32")]
    let ticks = |value| Some(number(value)? as f64 / 100.0);
    #[expect(clippy::cast_precision_loss, reason = "below 2^32")]
    let seconds = number(engine_time).map(|seconds| seconds as f64);
    let known = [ticks(hr_system_uptime).or(ticks(sys_up_time)), seconds];
    known.into_iter().flatten().reduce(f64::max)
}

fn port(row: &[Value]) -> Port {
    let value = |at: usize| row.get(at).unwrap_or(&Value::Missing);
    let count = |at| number(value(at));
    let speed = count(1).filter(|speed| *speed < FASTER);
    // In millions. Zero is what is said of a speed that is not known.
    let high = count(9).and_then(|millions| millions.checked_mul(1_000_000));
    let speed = speed.or(high).filter(|speed| *speed > 0);
    Port {
        name: text(value(8)).or_else(|| text(value(0))),
        up: is_up(value(3)),
        admin_up: is_up(value(2)),
        speed_bits_per_second: speed,
        in_discards: count(4),
        in_errors: count(5),
        out_discards: count(6),
        out_errors: count(7),
    }
}

/// 1 is up, 4 is unknown; all others say why it is not up.
fn is_up(value: &Value) -> Option<bool> {
    match value {
        Value::Integer(4) => None,
        Value::Integer(status) => Some(*status == 1),
        Value::Unsigned(_) | Value::Text(_) | Value::Other | Value::Missing | Value::End => None,
    }
}

fn neighbours(remote: &TableRows, local: &TableRows) -> Vec<Neighbour> {
    let neighbour = |(index, row): (&Oid, &Vec<Value>)| {
        // A time, the number of our port, a number.
        let ours = index.get(1).and_then(|port| local.get(&vec![*port]));
        Neighbour {
            local_port: ours.and_then(|row| port_name(row)),
            system_name: row.get(3).and_then(text),
            port: port_name(row),
        }
    };
    remote.iter().map(neighbour).collect()
}

/// The name of a port from the kind of its id, its id and its description.
fn port_name(row: &[Value]) -> Option<String> {
    let [kind, id, description, ..] = row else {
        return None;
    };
    match (kind, id) {
        (Value::Integer(MAC_ADDRESS), Value::Text(bytes)) => text(description).or_else(|| {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(bytes.join(":"))
        }),
        _ => text(id).or_else(|| text(description)),
    }
}

/// A text that says something, cut if it is too long.
fn text(value: &Value) -> Option<String> {
    let Value::Text(bytes) = value else {
        return None;
    };
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.chars().take(MAX_TEXT_LEN).collect())
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Unsigned(number) => Some(*number),
        Value::Text(_) | Value::Other | Value::Missing | Value::End => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn uptime_is_the_larger_one_and_does_not_wrap_with_the_ticks() {
        let [ticks, seconds] = [12_345, 123].map(Value::Unsigned);
        let none = Value::Missing;
        assert_eq!(uptime([&ticks, &none, &none]), Some(123.45));
        assert_eq!(uptime([&ticks, &none, &seconds]), Some(123.45));
        let (year, two_years) = (Value::Unsigned(3_153_600_000), Value::Integer(63_072_000));
        assert_eq!(uptime([&ticks, &year, &seconds]), Some(31_536_000.0));
        assert_eq!(uptime([&ticks, &none, &two_years]), Some(63_072_000.0));
        assert_eq!(uptime([&none, &none, &none]), None);
    }

    #[test]
    fn a_text_that_says_nothing_is_absent_and_a_long_one_is_cut() {
        assert_eq!(text(&texts(" \0\r\n")), None);
        assert_eq!(text(&Value::Missing), None);
        assert_eq!(text(&texts(" a b\0")).as_deref(), Some("a b"));
        assert_eq!(text(&texts(&"ä".repeat(300))), Some("ä".repeat(255)));
    }

    #[test]
    fn what_a_port_does_not_say_is_absent() {
        let mut row = vec![Value::Missing; 10];
        assert_eq!(port(&row), Port::default());
        row[0] = texts("descr");
        row[1] = Value::Unsigned(FASTER);
        row[2] = Value::Integer(2);
        row[3] = Value::Integer(4);
        row[5] = Value::Unsigned(0);
        row[9] = Value::Unsigned(100_000);
        let expected = Port {
            name: Some("descr".to_owned()),
            admin_up: Some(false),
            speed_bits_per_second: Some(100_000_000_000),
            in_errors: Some(0),
            ..Port::default()
        };
        assert_eq!(port(&row), expected);
        row[1] = Value::Unsigned(0);
        assert_eq!(port(&row).speed_bits_per_second, None);
    }

    #[test]
    fn a_port_is_called_by_its_id_unless_that_is_a_mac_address() {
        let mac = Value::Text(vec![0, 0x1b, 0x21, 0xaa, 0xbb, 0xcc]);
        let row = [Value::Integer(3), mac.clone(), texts("Port 7")];
        assert_eq!(port_name(&row).as_deref(), Some("Port 7"));
        let row = [Value::Integer(3), mac, Value::Missing];
        assert_eq!(port_name(&row).as_deref(), Some("00:1b:21:aa:bb:cc"));
        let row = [Value::Integer(5), texts("ge-0/0/1\0"), texts("uplink")];
        assert_eq!(port_name(&row).as_deref(), Some("ge-0/0/1"));
    }
}
