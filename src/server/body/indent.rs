//! Lays out JSON as serde_json's pretty printer does, without having it whole.

/// Where in a JSON text an [`Indent`] stands that has been given it up to there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Indent {
    /// How many brackets are open.
    depth: usize,
    in_string: bool,
    /// Whether a backslash was the last character of a string.
    is_escaped: bool,
    /// Whether a bracket was the last thing, which is closed on the same line if nothing is in it.
    is_open: bool,
}

impl Indent {
    /// Appends what comes next of a valid JSON text, indented by two spaces.
    pub(crate) fn write(&mut self, json: &[u8], text: &mut Vec<u8>) {
        for &byte in json {
            if self.in_string {
                text.push(byte);
                self.in_string = byte != b'"' || self.is_escaped;
                self.is_escaped = byte == b'\\' && !self.is_escaped;
                continue;
            }
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b':' => text.extend_from_slice(b": "),
                b',' => {
                    text.push(b',');
                    self.new_line(text);
                }
                b']' | b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    if !std::mem::take(&mut self.is_open) {
                        self.new_line(text);
                    }
                    text.push(byte);
                }
                _ => {
                    if std::mem::take(&mut self.is_open) {
                        self.new_line(text);
                    }
                    text.push(byte);
                    self.in_string = byte == b'"';
                    if matches!(byte, b'[' | b'{') {
                        self.depth += 1;
                        self.is_open = true;
                    }
                }
            }
        }
    }

    fn new_line(&self, text: &mut Vec<u8>) {
        text.push(b'\n');
        for _ in 0..self.depth {
            text.extend_from_slice(b"  ");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
            r#"[\\"{}\[\],: \n]*"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((r#"[a"\\\[{]*"#, inner), 0..5)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_serde_json_prints_however_it_is_cut(value in values(), len in 1_usize..40) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            for json in [value.to_string(), pretty.clone()] {
                let (mut indent, mut text) = (Indent::default(), Vec::new());
                for piece in json.as_bytes().chunks(len) {
                    indent.write(piece, &mut text);
                }
                prop_assert_eq!(String::from_utf8(text).unwrap(), pretty.as_str());
            }
        }
    }
}
