//! Ids of clusters and devices: an integer or a name, kept as the kind it was written in.
//!
//! It does not know where an id was read; `config` gives the place of a bad one.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, in bytes: that of a DNS name (RFC 1035, section 2.3.4), as most ids are
/// host names.
pub const MAX_NAME_LEN: usize = 253;

/// An integer or a name, as the configuration wrote it; JSON keeps the kind (`1` or `"web01"`).
///
/// Equality keeps the kind too: `1` and `"1"` are not equal, although they print alike. Whoever
/// checks for duplicates compares the printed form, since paths and logs show only that.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Number(u64),
    Name(Arc<str>),
}

/// Identifies a cluster within a topology.
pub type ClusterId = Id;

/// Identifies a node or a switch within its cluster and kind.
pub type DeviceId = Id;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing between the quotes.
    #[error("an id cannot be empty")]
    Empty,
    /// Longer than the 253 bytes of a DNS name.
    #[error("an id has at most {MAX_NAME_LEN} characters, this one has {0}")]
    TooLong(usize),
    /// A name that means something else to file systems, URLs or commands.
    #[error("{0:?} cannot be an id: it would be taken for a path or an option")]
    Special(String),
    /// A character that would be ambiguous in a URL, a log field or a label.
    #[error("{0:?} cannot stand in an id: use letters, digits, '.', '_' and '-'")]
    BadCharacter(char),
}

/// Whether a character may stand in an id.
pub(super) fn is_id_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

impl Id {
    /// An integer id.
    #[must_use]
    pub fn number(number: u64) -> Self {
        Self(Repr::Number(number))
    }

    /// Adds bytes that no other id begins with: the same in every process.
    pub(crate) fn put(&self, bytes: &mut Vec<u8>) {
        match &self.0 {
            Repr::Number(number) => {
                bytes.push(b'#');
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            // No name has a line break in it.
            Repr::Name(name) => {
                bytes.extend_from_slice(name.as_bytes());
                bytes.push(b'\n');
            }
        }
    }

    /// A name: 1 to 253 of ASCII letters, digits, `.`, `_` and `-`; not `.` or `..`, and no `-` first.
    ///
    /// # Errors
    /// Every variant of [`IdError`].
    pub fn name(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if let Some(bad) = text.chars().find(|&c| !is_id_character(c)) {
            return Err(IdError::BadCharacter(bad));
        }
        if text.len() > MAX_NAME_LEN {
            return Err(IdError::TooLong(text.len()));
        }
        if matches!(text, "." | "..") || text.starts_with('-') {
            return Err(IdError::Special(text.to_owned()));
        }
        Ok(Self(Repr::Name(text.into())))
    }

    /// An element of a node set: an integer if it is written as one (`7`), else a name.
    ///
    /// A number with leading zeros (`007`) is a name, since an integer would lose them.
    ///
    /// # Errors
    /// Every variant of [`IdError`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let canonical = text == "0" || !text.starts_with('0');
        match text.parse::<u64>() {
            Ok(number) if canonical && !text.starts_with('+') => Ok(Self::number(number)),
            _ => Self::name(text),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => write!(f, "{number}"),
            Repr::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => write!(f, "{number}"),
            Repr::Name(name) => write!(f, "{name:?}"),
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Repr::Number(number) => serializer.serialize_u64(*number),
            Repr::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnId;

        impl Visitor<'_> for AnId {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer from 0 or a name")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
                Ok(Id::number(number))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Id, E> {
                Id::name(name).map_err(|_| E::invalid_value(Unexpected::Str(name), &self))
            }
        }

        deserializer.deserialize_any(AnId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_the_kind() {
        let ids = [
            Id::number(1),
            Id::parse("2").unwrap(),
            Id::parse("web01").unwrap(),
        ];
        let json = r#"[1,2,"web01"]"#;
        assert_eq!(serde_json::to_string(&ids).unwrap(), json);
        assert_eq!(serde_json::from_str::<[Id; 3]>(json).unwrap(), ids);
        assert!(serde_json::from_str::<Id>("-1").is_err());
        assert!(serde_json::from_str::<Id>(r#""a/b""#).is_err());
    }

    #[test]
    fn leading_zeros_make_a_name() {
        assert_eq!(Id::parse("0").unwrap(), Id::number(0));
        assert_eq!(
            serde_json::to_string(&Id::parse("007").unwrap()).unwrap(),
            r#""007""#
        );
    }

    #[test]
    fn bytes_of_ids_are_their_own() {
        let put = |ids: &[Id]| {
            let mut bytes = Vec::new();
            ids.iter().for_each(|id| id.put(&mut bytes));
            bytes
        };
        let name = |text| Id::name(text).unwrap();
        assert_eq!(put(&[Id::number(258)]), b"#\x02\x01\0\0\0\0\0\0");
        assert_eq!(put(&[name("web01")]), b"web01\n");
        assert_ne!(put(&[name("a"), name("b")]), put(&[name("ab")]));
        assert_ne!(put(&[Id::number(1)]), put(&[name("01")]));
    }

    #[test]
    fn numbers_past_64_bits_are_names() {
        let text = "99999999999999999999";
        assert_eq!(Id::parse(text).unwrap(), Id::name(text).unwrap());
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        assert_eq!(Id::parse(""), Err(IdError::Empty));
        assert_eq!(Id::parse("a/b"), Err(IdError::BadCharacter('/')));
        assert_eq!(Id::parse("+5"), Err(IdError::BadCharacter('+')));
        assert_eq!(Id::parse(&"x".repeat(254)), Err(IdError::TooLong(254)));
        for special in [".", "..", "-n", "--version"] {
            assert_eq!(
                Id::parse(special),
                Err(IdError::Special(special.to_owned()))
            );
        }
    }
}
