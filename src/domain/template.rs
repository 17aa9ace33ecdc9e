//! Texts with `{id}`, `{cluster}` and `{port}` in them, as addresses of many devices are written.

use std::fmt;
use std::num::NonZeroU16;

use super::{ClusterId, DeviceId};

/// A text in which `{id}` stands for the device's id, `{cluster}` for its cluster's, and `{port}` for
/// the port that the device was discovered with; `{{` and `}}` are braces.
///
/// Ids are letters, digits, `.`, `_` and `-` ([`super::Id`]), so what is put in cannot be taken for
/// anything but a name, wherever it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Box<[Piece]>);

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Id,
    Cluster,
    Port,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Braces around something else.
    #[error(
        "{{{0}}} stands for nothing; write {{id}}, {{cluster}} or {{port}}, or {{{{ and }}}} for braces"
    )]
    Unknown(String),
    /// A brace without the other one.
    #[error("a brace without the other one; write {{{{ and }}}} for braces")]
    Unclosed,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Every variant of [`TemplateError`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let name = after
                .split_once('}')
                .filter(|(name, _)| !name.contains('{'));
            let (name, after) = name
                .filter(|_| brace == "{")
                .ok_or(TemplateError::Unclosed)?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
            }
            pieces.push(match name {
                "id" => Piece::Id,
                "cluster" => Piece::Cluster,
                "port" => Piece::Port,
                other => return Err(TemplateError::Unknown(other.to_owned())),
            });
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        Ok(Self(pieces.into()))
    }

    /// The text for one device. A port that it does not have stays `{port}`, which is no address.
    #[must_use]
    pub fn expand(&self, cluster: &ClusterId, id: &DeviceId, port: Option<NonZeroU16>) -> String {
        let expand = |piece: &Piece| match (piece, port) {
            (Piece::Text(text), _) => text.to_string(),
            (Piece::Id, _) => id.to_string(),
            (Piece::Cluster, _) => cluster.to_string(),
            (Piece::Port, Some(port)) => port.to_string(),
            (Piece::Port, None) => "{port}".to_owned(),
        };
        self.0.iter().map(expand).collect()
    }

    /// The template with its cluster filled in.
    #[must_use]
    pub fn of_cluster(&self, cluster: &ClusterId) -> Self {
        let fill = |piece: &Piece| match piece {
            Piece::Cluster => Piece::Text(cluster.to_string().into()),
            Piece::Text(_) | Piece::Id | Piece::Port => piece.clone(),
        };
        Self(self.0.iter().map(fill).collect())
    }

    /// Whether it has to be filled in with something of a device.
    #[must_use]
    pub fn names_device(&self) -> bool {
        let is_device = |piece: &Piece| matches!(piece, Piece::Id | Piece::Port);
        self.0.iter().any(is_device)
    }

    /// Whether it begins with this text, whatever it is filled in with.
    #[must_use]
    pub fn starts_with(&self, text: &str) -> bool {
        matches!(self.0.first(), Some(Piece::Text(first)) if first.starts_with(text))
    }

    /// Whether it has to be filled in with a port.
    #[must_use]
    pub fn names_port(&self) -> bool {
        self.0.contains(&Piece::Port)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Piece::Id => f.write_str("{id}")?,
                Piece::Cluster => f.write_str("{cluster}")?,
                Piece::Port => f.write_str("{port}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Id;

    #[test]
    fn ids_stand_where_they_are_written() {
        let template = Template::parse("http://{id}.{cluster}.example:9100/{id}").unwrap();
        let (edge, web) = (Id::name("edge").unwrap(), Id::name("web01").unwrap());
        assert_eq!(
            template.expand(&edge, &web, None),
            "http://web01.edge.example:9100/web01"
        );
        assert_eq!(
            template.to_string(),
            "http://{id}.{cluster}.example:9100/{id}"
        );
    }

    #[test]
    fn a_port_is_that_of_the_device_or_stays_unfilled() {
        let template = Template::parse("{id}:{port}").unwrap();
        let (edge, web) = (Id::name("edge").unwrap(), Id::name("web01").unwrap());
        assert_eq!(
            template.expand(&edge, &web, NonZeroU16::new(22)),
            "web01:22"
        );
        assert_eq!(template.expand(&edge, &web, None), "web01:{port}");
        assert!(template.names_port() && template.names_device());
        let cluster = Template::parse("http://sd/{cluster}").unwrap();
        assert!(!cluster.names_device());
        assert_eq!(cluster.of_cluster(&edge).to_string(), "http://sd/edge");
    }

    #[test]
    fn braces_around_anything_else_are_refused() {
        let unknown = TemplateError::Unknown("host".to_owned());
        assert_eq!(Template::parse("{host}:161"), Err(unknown));
        for text in ["{id", "id}", "{id}}", "}{id}", "a{b{id}}", "{{id}", "{{{id"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn doubled_braces_are_braces() {
        let template = Template::parse("awk '{{print ${id}}}'").unwrap();
        let one = Id::number(1);
        assert_eq!(template.expand(&one, &one, None), "awk '{print $1}'");
    }

    proptest! {
        #[test]
        fn a_template_prints_as_it_was_written(text in "([a-z:/.]|\\{id\\}|\\{cluster\\}|\\{port\\}|\\{\\{|\\}\\}){0,20}") {
            prop_assert_eq!(Template::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[{}a-z]{0,20}") {
            Template::parse(&text).ok();
        }
    }
}
