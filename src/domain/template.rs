//! Texts with `{id}` and `{cluster}` in them, as addresses of many devices are written.

use std::fmt;

use super::{ClusterId, DeviceId};

/// A text in which `{id}` stands for the device's id and `{cluster}` for its cluster's; `{{` and
/// `}}` are braces.
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
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Braces around something else.
    #[error("{{{0}}} stands for nothing; write {{id}} or {{cluster}}, or {{{{ and }}}} for braces")]
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

    /// The text for one device.
    #[must_use]
    pub fn expand(&self, cluster: &ClusterId, id: &DeviceId) -> String {
        let expand = |piece: &Piece| match piece {
            Piece::Text(text) => text.to_string(),
            Piece::Id => id.to_string(),
            Piece::Cluster => cluster.to_string(),
        };
        self.0.iter().map(expand).collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Piece::Id => f.write_str("{id}")?,
                Piece::Cluster => f.write_str("{cluster}")?,
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
            template.expand(&edge, &web),
            "http://web01.edge.example:9100/web01"
        );
        assert_eq!(
            template.to_string(),
            "http://{id}.{cluster}.example:9100/{id}"
        );
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
        assert_eq!(template.expand(&one, &one), "awk '{print $1}'");
    }

    proptest! {
        #[test]
        fn a_template_prints_as_it_was_written(text in "([a-z:/.]|\\{id\\}|\\{cluster\\}|\\{\\{|\\}\\}){0,20}") {
            prop_assert_eq!(Template::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[{}a-z]{0,20}") {
            Template::parse(&text).ok();
        }
    }
}
