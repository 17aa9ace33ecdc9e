//! JSON with a long list at its end, written in turns.

use serde::Serialize;

use super::listing::append;
use crate::domain::Turn;

/// So many bytes are written in the time of one item of work.
const BYTES_OF_AN_ITEM: usize = 256;

/// The JSON of `head`, whose last member is an empty list, with these in the list.
pub(crate) async fn with_list<T: Serialize>(
    head: &impl Serialize,
    items: impl Iterator<Item = T>,
) -> Vec<u8> {
    let (mut text, mut turn) = (Vec::new(), Turn::default());
    append(&mut text, head);
    debug_assert!(text.ends_with(b"[]}"), "an empty list is the last member");
    text.truncate(text.len() - b"]}".len());
    for (place, item) in items.enumerate() {
        if place > 0 {
            text.push(b',');
        }
        let before = text.len();
        append(&mut text, &item);
        turn.spend(1 + (text.len() - before) / BYTES_OF_AN_ITEM)
            .await;
    }
    text.extend_from_slice(b"]}");
    text
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_what_would_be_written_at_once() {
        for count in [0, 1, 3] {
            let list: Vec<u32> = (0..count).collect();
            let text = block_on(with_list(&json!({"a": "[]}", "b": []}), list.iter()));
            let whole = json!({"a": "[]}", "b": list}).to_string();
            assert_eq!(String::from_utf8(text).unwrap(), whole);
        }
    }
}
