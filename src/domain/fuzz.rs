//! Fuzzed: templates.

use std::num::NonZeroU16;

use super::{Id, Template};

/// A template, which prints as it was written, and into which ids are put.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(template.to_string(), text);
    let (cluster, id, port) = (Id::number(12), Id::number(345), NonZeroU16::new(6));
    let expanded = template.expand(&cluster, &id, port);
    // Whatever braces are in it now were doubled; doubled again they are a template of just that.
    let doubled = expanded.replace('{', "{{").replace('}', "}}");
    let again = Template::parse(&doubled).map(|again| again.expand(&cluster, &id, port));
    assert_eq!(again, Ok(expanded));
}
