//! Fuzzed: templates; and what every message is to be.

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

/// Panics unless a message about a device is short enough for an answer, and a line.
pub(crate) fn check_message(message: &str) {
    const MOST: usize = 2048;
    let len = message.len();
    assert!(len <= MOST, "a message of {len} bytes");
    check_line(message);
}

/// Panics unless a message is one line for people: not empty, without control characters.
pub(crate) fn check_line(message: &str) {
    assert!(!message.is_empty(), "a message says nothing");
    let is_line = !message.contains(char::is_control);
    assert!(is_line, "a message with control characters: {message:?}");
}
