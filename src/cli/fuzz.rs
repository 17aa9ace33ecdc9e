//! Fuzzed: what a server that is asked for its tree may answer.

pub use super::collect::fuzz::report_stream;
use super::service::parse;
use super::tree::text;

/// A tree in JSON, drawn.
pub fn tree(bytes: &[u8]) {
    let Ok(json) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(tree) = parse(json) else {
        return;
    };
    for all in [false, true] {
        let drawn = text(&tree, "http://server", all, Some(80));
        let is_plain = !drawn.contains(|c: char| c.is_control() && c != '\n');
        assert!(is_plain, "control characters on the terminal: {drawn:?}");
    }
}
