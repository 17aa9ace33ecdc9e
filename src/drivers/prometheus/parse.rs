//! Parses expositions of metrics: Prometheus' text format 0.0.4, and OpenMetrics 1.0.
//!
//! Strict where a reader has to be: what is no sample, comment or blank line is an error with its
//! line. Types, helps, units, timestamps and exemplars are checked for their form and passed over.
//!
//! Why not a crate: `prometheus-parse` 0.2 splits labels at each comma and passes over what it does
//! not understand, so that garbage is an empty answer; `openmetrics-parser` 0.5 is under the LGPL.
//!
//! Sources: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

/// The most labels of a sample; Prometheus itself can be told to take fewer, and nobody has these.
pub(super) const MAX_LABELS: usize = 100;

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    /// In the order written.
    pub(super) labels: Vec<(&'a str, String)>,
    pub(super) value: f64,
}

impl Sample<'_> {
    /// The value of a label.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| *label == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Calls `each` with every sample, in order.
///
/// # Errors
/// The number of the first line that is wrong, from 1, and what is wrong with it.
pub(super) fn parse<'a>(
    text: &'a str,
    mut each: impl FnMut(Sample<'a>),
) -> Result<(), (usize, &'static str)> {
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            if line == "# EOF" {
                return Ok(());
            }
            continue;
        }
        each(sample(line).map_err(|what| (index + 1, what))?);
    }
    Ok(())
}

fn sample(line: &str) -> Result<Sample<'_>, &'static str> {
    let (name, mut rest) = name(line, true).ok_or("no metric's name")?;
    let mut labels = Vec::new();
    rest = blank(rest);
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            inside = blank(inside);
            if let Some(after) = inside.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = self::name(inside, false).ok_or("no label's name")?;
            let after = blank(after)
                .strip_prefix('=')
                .ok_or("no '=' behind a label")?;
            let after = blank(after)
                .strip_prefix('"')
                .ok_or("no '\"' before a value")?;
            let (value, after) = quoted(after)?;
            if labels.len() == MAX_LABELS {
                return Err("more labels than any sample has");
            }
            labels.push((label, value));
            inside = blank(after);
            match inside.strip_prefix(',') {
                Some(after) => inside = after,
                None if inside.starts_with('}') => {}
                None => return Err("no ',' or '}' behind a label"),
            }
        }
    } else if rest.len() + name.len() == line.len() {
        return Err("no blank behind the name");
    }
    // What follows a '#' is an exemplar.
    let rest = rest.split('#').next().unwrap_or_default();
    let mut words = rest.split_ascii_whitespace();
    let value = number(words.next().ok_or("no value")?).ok_or("the value is no number")?;
    if let Some(timestamp) = words.next() {
        number(timestamp).ok_or("the timestamp is no number")?;
    }
    match words.next() {
        None => Ok(Sample {
            name,
            labels,
            value,
        }),
        Some(_) => Err("more than a value and a timestamp"),
    }
}

fn blank(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

fn name(text: &str, colons: bool) -> Option<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let end = text.find(|c: char| !is_part(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let is_name = name.starts_with(|c: char| !c.is_ascii_digit());
    (!name.is_empty() && is_name).then_some((name, rest))
}

/// The text up to the closing quote, and what is behind it.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                // Both formats' own readers keep other escapes as they are.
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err("a value without its closing '\"'")
}

/// A number as Go writes it.
fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        // Rust also knows words, such as "infinity".
        _ if text.contains(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E')) => None,
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(text: &str) -> Vec<(String, f64)> {
        let mut found = Vec::new();
        parse(text, |sample| {
            let labels: Vec<String> = sample
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            found.push((
                format!("{}[{}]", sample.name, labels.join(" ")),
                sample.value,
            ));
        })
        .unwrap_or_else(|(line, what)| panic!("{line}: {what}: {text}"));
        found
    }

    #[test]
    fn the_text_format() {
        let text = "# HELP http_requests_total The total number.\n# TYPE http_requests_total counter\n\
                    http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n\n\
                    \tspaced { a = \"b\" , } 3.5e-2 \nplain -Inf\n\
                    msdos{path=\"C:\\\\DIR\\\\\",error=\"Cannot find:\\n\\\"a, {b} = c\\\"\"} 1.458255915e9\r\n\
                    b_bucket{le=\"+Inf\"} 4773 -1\n";
        assert_eq!(
            samples(text),
            [
                (
                    "http_requests_total[method=\"post\" code=\"200\"]".to_owned(),
                    1027.0
                ),
                ("spaced[a=\"b\"]".to_owned(), 0.035),
                ("plain[]".to_owned(), f64::NEG_INFINITY),
                (
                    "msdos[path=\"C:\\\\DIR\\\\\" error=\"Cannot find:\\n\\\"a, {b} = c\\\"\"]"
                        .to_owned(),
                    1_458_255_915.0
                ),
                ("b_bucket[le=\"+Inf\"]".to_owned(), 4773.0),
            ]
        );
    }

    #[test]
    fn openmetrics() {
        let text = "# TYPE foo counter\n# UNIT foo_seconds seconds\nfoo_total 17.0 1520879607.789\n\
                    foo_bucket{le=\"10\"} 17 # {trace_id=\"oHg5SJ#YRHA0\"} 9.8 1520879607.789\n\
                    foo_created 1520430000.123\n# EOF\nthis is not read any more";
        let names: Vec<String> = samples(text).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["foo_total[]", "foo_bucket[le=\"10\"]", "foo_created[]"]
        );
    }

    #[test]
    fn what_is_no_sample_is_an_error_with_its_line() {
        for (text, line, what) in [
            ("<html>", 1, "no metric's name"),
            ("a 1\n2b 1", 2, "no metric's name"),
            ("a", 1, "no blank behind the name"),
            ("a-b 1", 1, "no blank behind the name"),
            ("a{b} 1", 1, "no '=' behind a label"),
            ("a{b=c} 1", 1, "no '\"' before a value"),
            ("a{b=\"c} 1", 1, "a value without its closing '\"'"),
            ("a{b=\"c\" d=\"e\"} 1", 1, "no ',' or '}' behind a label"),
            ("a{b=\"c\"}", 1, "no value"),
            ("a one", 1, "the value is no number"),
            ("a infinity", 1, "the value is no number"),
            ("a 1 now", 1, "the timestamp is no number"),
            ("a 1 2 3", 1, "more than a value and a timestamp"),
        ] {
            assert_eq!(parse(text, |_| {}), Err((line, what)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9{}=\",\\\\# \n\tNaInf+.-]{0,80}|\\PC{0,40}") {
            parse(&text, |_| {}).ok();
        }

        #[test]
        fn what_is_written_is_read(
            name in "[a-z_:][a-z0-9_:]{0,8}", value in any::<f64>(),
            labels in prop::collection::vec(("[a-z_][a-z0-9_]{0,5}", "\\PC{0,12}"), 0..4),
        ) {
            let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let written: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
            let text = format!("{name}{{{}}} {value:e}\n", written.join(","))
                .replace(" inf", " +Inf").replace(" -inf", " -Inf");
            let mut found = Vec::new();
            prop_assert_eq!(parse(&text, |sample| found.push(sample)), Ok(()));
            let read: Vec<_> =
                found[0].labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            prop_assert_eq!(found[0].name, name);
            prop_assert_eq!(read, labels);
            prop_assert!(found[0].value == value || (found[0].value.is_nan() && value.is_nan()));
        }
    }
}
