//! Messages as bytes: what is asked and answered, in the envelopes of versions 2c and 3.
//!
//! Pure, over `rasn`'s BER; it knows neither sockets nor keys. What the rest of this folder sees
//! are [`Ask`], [`SnmpAnswer`] and [`Variable`], not ASN.1.

use std::borrow::Cow;

use rasn::types::{Integer, ObjectIdentifier, OctetString};
use rasn::{Decode, Encode, ber};
use rasn_smi::v2::{ApplicationSyntax, ObjectSyntax, SimpleSyntax};
use rasn_snmp::v2::{BulkPdu, GetBulkRequest, GetRequest, Pdu, Pdus, VarBind, VarBindValue};
use rasn_snmp::v2c::Message as MessageV2c;
use rasn_snmp::v3::{HeaderData, Message as MessageV3, ScopedPdu, ScopedPduData};

use crate::domain::{LocalReason, LookupError};

pub(super) use rasn_snmp::v3::USMSecurityParameters as UsmParameters;

/// Flags of a version 3 message.
pub(super) const AUTH: u8 = 1;
pub(super) const PRIV: u8 = 2;
const REPORTABLE: u8 = 4;

/// The largest message that we take: an IPv4 datagram without its headers.
const MAX_SIZE: u32 = 65_507;

/// The user-based security model.
const USM: u32 = 3;

/// A name in the tree of the world.
pub(super) type Oid = Vec<u32>;

/// What is asked.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// The values of these.
    Get(Vec<Oid>),
    /// What follows each of these, as many times.
    Bulk(Vec<Oid>, u32),
}

/// What came back.
#[derive(Debug)]
pub(super) struct SnmpAnswer {
    /// The request's, or a report's own.
    pub(super) request: i32,
    /// It is about the message, not an answer to what was asked.
    pub(super) is_report: bool,
    /// The error status (RFC 3416); 0 is none.
    pub(super) status: u32,
    pub(super) variables: Vec<Variable>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Variable {
    pub(super) name: Oid,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// An INTEGER.
    Integer(i64),
    /// A counter, a gauge, or hundredths of a second.
    Unsigned(u64),
    Text(Vec<u8>),
    /// Of a type that no fact has.
    Other,
    /// There is no such thing.
    Missing,
    /// Nothing follows.
    End,
}

/// What is around a version 3 PDU, still as it came.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) id: Option<i32>,
    pub(super) flags: u8,
    pub(super) usm: UsmParameters,
    pub(super) body: SnmpBody,
}

#[derive(Debug, Clone)]
pub(super) enum SnmpBody {
    Plain(ScopedPdu),
    Encrypted(Vec<u8>),
}

/// A version 2c request.
pub(super) fn write_v2c(community: &[u8], id: i32, ask: &Ask) -> Result<Vec<u8>, LookupError> {
    write(&MessageV2c {
        version: 1.into(),
        community: community.into(),
        data: pdu(id, ask),
    })
}

pub(super) fn read_v2c(bytes: &[u8]) -> Result<SnmpAnswer, LookupError> {
    let message: MessageV2c<Pdus> = read(bytes, "message")?;
    if message.version != Integer::from(1) {
        return Err(protocol("it answers in another version"));
    }
    answer(message.data)
}

/// A version 3 PDU, before it is encrypted or put in its envelope.
pub(super) fn scoped(engine: &[u8], id: i32, ask: &Ask) -> ScopedPdu {
    ScopedPdu {
        engine_id: engine.into(),
        name: OctetString::default(),
        data: pdu(id, ask),
    }
}

pub(super) fn write_scoped(scoped: &ScopedPdu) -> Result<Vec<u8>, LookupError> {
    write(scoped)
}

pub(super) fn read_scoped(bytes: &[u8]) -> Result<ScopedPdu, LookupError> {
    read(bytes, "PDU")
}

pub(super) fn write_v3(
    id: i32,
    flags: u8,
    usm: &UsmParameters,
    body: SnmpBody,
) -> Result<Vec<u8>, LookupError> {
    let scoped_data = match body {
        SnmpBody::Plain(scoped) => ScopedPduData::CleartextPdu(scoped),
        SnmpBody::Encrypted(bytes) => ScopedPduData::EncryptedPdu(bytes.into()),
    };
    write(&MessageV3 {
        version: 3.into(),
        global_data: HeaderData {
            message_id: id.into(),
            max_size: MAX_SIZE.into(),
            flags: [flags | REPORTABLE].into(),
            security_model: USM.into(),
        },
        security_parameters: write(usm)?.into(),
        scoped_data,
    })
}

pub(super) fn read_v3(bytes: &[u8]) -> Result<Envelope, LookupError> {
    let message: MessageV3 = read(bytes, "message")?;
    let header = &message.global_data;
    if message.version != Integer::from(3) || header.security_model != Integer::from(USM) {
        return Err(protocol("it answers in another version or security model"));
    }
    let &[flags] = header.flags.as_ref() else {
        return Err(protocol("the flags of its message are not one byte"));
    };
    Ok(Envelope {
        id: i32::try_from(&header.message_id).ok(),
        flags,
        usm: read(&message.security_parameters, "security parameters")?,
        body: match message.scoped_data {
            ScopedPduData::CleartextPdu(scoped) => SnmpBody::Plain(scoped),
            ScopedPduData::EncryptedPdu(bytes) => SnmpBody::Encrypted(bytes.to_vec()),
        },
    })
}

fn pdu(id: i32, ask: &Ask) -> Pdus {
    let variables = |names: &[Oid]| {
        let variable = |name: &Oid| VarBind {
            name: ObjectIdentifier::new_unchecked(Cow::Owned(name.clone())),
            value: VarBindValue::Unspecified,
        };
        names.iter().map(variable).collect()
    };
    match ask {
        Ask::Get(names) => Pdus::GetRequest(GetRequest(Pdu {
            request_id: id,
            error_status: 0,
            error_index: 0,
            variable_bindings: variables(names),
        })),
        Ask::Bulk(names, repetitions) => Pdus::GetBulkRequest(GetBulkRequest(BulkPdu {
            request_id: id,
            non_repeaters: 0,
            max_repetitions: *repetitions,
            variable_bindings: variables(names),
        })),
    }
}

pub(super) fn answer(pdus: Pdus) -> Result<SnmpAnswer, LookupError> {
    let (pdu, is_report) = match pdus {
        Pdus::Response(response) => (response.0, false),
        Pdus::Report(report) => (report.0, true),
        Pdus::GetRequest(_)
        | Pdus::GetNextRequest(_)
        | Pdus::SetRequest(_)
        | Pdus::GetBulkRequest(_)
        | Pdus::InformRequest(_)
        | Pdus::Trap(_) => return Err(protocol("it asks instead of answering")),
    };
    let variable = |variable: VarBind| Variable {
        name: variable.name.as_ref().to_vec(),
        value: value(variable.value),
    };
    Ok(SnmpAnswer {
        request: pdu.request_id,
        is_report,
        status: pdu.error_status,
        variables: pdu.variable_bindings.into_iter().map(variable).collect(),
    })
}

fn value(value: VarBindValue) -> Value {
    let syntax = match value {
        VarBindValue::Value(syntax) => syntax,
        VarBindValue::Unspecified => return Value::Other,
        VarBindValue::NoSuchObject | VarBindValue::NoSuchInstance => return Value::Missing,
        VarBindValue::EndOfMibView => return Value::End,
    };
    match syntax {
        ObjectSyntax::Simple(SimpleSyntax::Integer(number)) => {
            i64::try_from(&number).map_or(Value::Other, Value::Integer)
        }
        ObjectSyntax::Simple(SimpleSyntax::String(text)) => Value::Text(text.to_vec()),
        ObjectSyntax::Simple(SimpleSyntax::ObjectId(_)) => Value::Other,
        ObjectSyntax::ApplicationWide(application) => match application {
            ApplicationSyntax::Counter(number) => Value::Unsigned(number.0.into()),
            ApplicationSyntax::Ticks(number) => Value::Unsigned(number.0.into()),
            ApplicationSyntax::Unsigned(number) => Value::Unsigned(number.0.into()),
            ApplicationSyntax::BigCounter(number) => Value::Unsigned(number.0),
            ApplicationSyntax::Address(_) | ApplicationSyntax::Arbitrary(_) => Value::Other,
        },
    }
}

pub(super) fn write<T: Encode>(value: &T) -> Result<Vec<u8>, LookupError> {
    ber::encode(value).map_err(|error| {
        LookupError::Local(
            LocalReason::Setup,
            format!("cannot write the request: {error}"),
        )
    })
}

pub(super) fn read<T: Decode>(bytes: &[u8], what: &str) -> Result<T, LookupError> {
    // The library's own text is long and tells of its insides.
    ber::decode(bytes).map_err(|_| protocol(&format!("its answer is no SNMP {what}")))
}

pub(super) fn protocol(what: &str) -> LookupError {
    LookupError::Protocol(what.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What an agent answers, with one variable of each type.
    fn response() -> Vec<u8> {
        let values = [
            ObjectSyntax::from(-5_i32),
            ObjectSyntax::Simple(SimpleSyntax::String("text".as_bytes().into())),
            ObjectSyntax::ApplicationWide(ApplicationSyntax::BigCounter(rasn_smi::v2::Counter64(
                u64::MAX,
            ))),
            ObjectSyntax::ApplicationWide(ApplicationSyntax::Ticks(rasn_smi::v1::TimeTicks(
                u32::MAX,
            ))),
        ];
        let mut variables: Vec<VarBindValue> = values.map(VarBindValue::Value).into();
        variables.extend([VarBindValue::NoSuchInstance, VarBindValue::EndOfMibView]);
        let variable = |value| VarBind {
            name: ObjectIdentifier::new_unchecked(vec![1, 3, 6, 1].into()),
            value,
        };
        let message = MessageV2c {
            version: 1.into(),
            community: b"public"[..].into(),
            data: Pdus::Response(rasn_snmp::v2::Response(Pdu {
                request_id: 7,
                error_status: 0,
                error_index: 0,
                variable_bindings: variables.into_iter().map(variable).collect(),
            })),
        };
        ber::encode(&message).unwrap()
    }

    #[test]
    fn an_answer_is_read_with_its_types() {
        let answer = read_v2c(&response()).unwrap();
        assert_eq!((answer.request, answer.status), (7, 0));
        let values: Vec<Value> = answer.variables.into_iter().map(|it| it.value).collect();
        let expected = [
            Value::Integer(-5),
            Value::Text(b"text".to_vec()),
            Value::Unsigned(u64::MAX),
            Value::Unsigned(u32::MAX.into()),
            Value::Missing,
            Value::End,
        ];
        assert_eq!(values, expected);
    }

    /// The value in an answer whose only variable has these bytes as its value.
    fn read_value(bytes: &[u8]) -> Result<Value, LookupError> {
        let put = |tag: u8, bytes: &[u8]| {
            let len = u8::try_from(bytes.len()).unwrap();
            [&[tag, len], bytes].concat()
        };
        let variable = put(0x30, &[&[6, 3, 0x2b, 6, 1][..], bytes].concat());
        let pdu = [&[2, 1, 7, 2, 1, 0, 2, 1, 0][..], &put(0x30, &variable)].concat();
        let message = [&[2, 1, 1, 4, 1, b'c'][..], &put(0xa2, &pdu)].concat();
        let answer = read_v2c(&put(0x30, &message))?;
        Ok(answer.variables[0].value.clone())
    }

    #[test]
    fn values_of_all_types_are_read() {
        let cases: [(&[u8], Value); 11] = [
            (&[0x02, 1, 0xff], Value::Integer(-1)),
            (
                &[0x41, 5, 0, 0xff, 0xff, 0xff, 0xff],
                Value::Unsigned(0xffff_ffff),
            ),
            (&[0x42, 1, 5], Value::Unsigned(5)),
            (
                &[0x46, 9, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Value::Unsigned(u64::MAX),
            ),
            (&[0x40, 4, 127, 0, 0, 1], Value::Other),
            // A float, as net-snmp has it.
            (&[0x44, 7, 0x9f, 0x78, 4, 0x3f, 0x80, 0, 0], Value::Other),
            (&[0x44, 0], Value::Other),
            (&[0x06, 1, 0x2b], Value::Other),
            (&[0x06, 1, 0], Value::Other),
            (&[0x04, 0], Value::Text(Vec::new())),
            (&[0x05, 0], Value::Other),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read_value(bytes).unwrap(), expected, "{bytes:x?}");
        }
        // A counter that is written as a negative number, no number at all, types that RFC 3416
        // has not.
        for bytes in [
            &[0x41, 4, 0xff, 0xff, 0xff, 0xff][..],
            &[2, 0],
            &[0x45, 1, 0],
            &[0x47, 1, 4],
        ] {
            assert!(read_value(bytes).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn no_depth_makes_it_overflow_the_stack() {
        let nested = |head: &[u8], level: &[u8]| {
            let mut bytes = head.to_vec();
            while bytes.len() < 64 << 10 {
                bytes.extend_from_slice(level);
            }
            bytes
        };
        for tag in [0x24, 0x30, 0xa2, 0xa8] {
            for head in [
                &[0x30, 0x80, 0x02, 0x01, 0x01][..],
                &[0x30, 0x80, 0x02, 0x01, 0x03],
                &[],
            ] {
                let bytes = nested(head, &[tag, 0x80]);
                assert!(read_v2c(&bytes).is_err());
                assert!(read_v3(&bytes).is_err());
                assert!(read_scoped(&bytes).is_err());
                let bytes = nested(
                    &[0x30, 0x82, 0xff, 0xf0, 0x02, 0x01, 0x01],
                    &[tag, 0x82, 0xff, 0x00],
                );
                assert!(read_v2c(&bytes).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read_v2c(&bytes).ok();
            read_v3(&bytes).ok();
            read_scoped(&bytes).ok();
        }

        #[test]
        fn no_change_of_an_answer_makes_it_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = response();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            read_v2c(&bytes).ok();
            read_v2c(&bytes[..cut.index(bytes.len())]).ok();
        }
    }
}
