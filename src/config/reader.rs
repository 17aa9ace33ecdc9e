//! A typed view of a parsed TOML file that notes every fault with its place and goes on.
//!
//! Serde's derive stops at the first fault; an operator wants all of them. So the file is parsed
//! into a tree with spans, and read through [`Node`] and [`Table`], which never stop.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::ConfigFault;
use crate::domain::{did_you_mean, parse_duration};

/// The shortest duration where zero makes no sense; timers count in milliseconds.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);

/// The longest duration any setting may have.
pub(super) const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Collects the faults of one file.
#[derive(Debug)]
pub(super) struct Faults<'t> {
    text: &'t str,
    found: RefCell<Vec<FoundFault>>,
    /// Whether secrets may be written in the file itself.
    pub(super) allow_inline_secrets: Cell<bool>,
}

#[derive(Debug)]
struct FoundFault {
    at: usize,
    fault: ConfigFault,
    source: TextSource,
}

/// What a fault was concluded from, which matters where the text is no TOML: the parser goes on
/// with a guess there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextSource {
    /// The text is no TOML here.
    Syntax,
    /// Something that is written here.
    Written,
    /// Something that is missing, or in no section: it may be a guess that made it so.
    Structure,
}

impl<'t> Faults<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            found: RefCell::default(),
            allow_inline_secrets: Cell::new(false),
        }
    }

    /// Notes that the text is no TOML at a byte offset.
    pub(super) fn note_syntax(&self, at: usize, message: String) {
        self.note(at, "", message, TextSource::Syntax);
    }

    /// Notes a fault of the file as a whole.
    pub(super) fn note_whole(&self, message: impl Into<String>) {
        let fault = ConfigFault {
            place: None,
            key: String::new(),
            message: message.into(),
        };
        self.found.borrow_mut().push(FoundFault {
            at: usize::MAX,
            fault,
            source: TextSource::Structure,
        });
    }

    fn note(&self, at: usize, key: &str, message: impl Into<String>, source: TextSource) {
        let fault = ConfigFault {
            // Found for all of them at once, in the end.
            place: None,
            key: key.to_owned(),
            message: message.into(),
        };
        self.found
            .borrow_mut()
            .push(FoundFault { at, fault, source });
    }

    /// How many faults there are so far.
    pub(super) fn count(&self) -> usize {
        self.found.borrow().len()
    }

    /// The faults in the order of the file, without those that may come of a guess.
    pub(super) fn into_sorted(self) -> Vec<ConfigFault> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|found| found.at);
        let (mut line, mut line_start, mut seen) = (1, 0, 0);
        for found in found.iter_mut().filter(|found| found.at != usize::MAX) {
            let at = self.text.floor_char_boundary(found.at);
            for (newline, _) in self.text[seen..at].match_indices('\n') {
                line += 1;
                line_start = seen + newline + 1;
            }
            seen = at;
            let column = self.text[line_start..at].chars().count() + 1;
            found.fault.place = Some((line, column));
        }
        let line = |found: &FoundFault| found.fault.place.map(|(line, _)| line);
        let guessed: HashSet<Option<usize>> = found
            .iter()
            .filter(|found| found.source == TextSource::Syntax)
            .map(line)
            .collect();
        found.retain(|found| match found.source {
            TextSource::Syntax => true,
            TextSource::Written => !guessed.contains(&line(found)),
            TextSource::Structure => guessed.is_empty(),
        });
        found.into_iter().map(|found| found.fault).collect()
    }
}

/// A value of the file, with its key path and place.
#[derive(Debug, Clone)]
pub(super) struct Node<'a, 't> {
    faults: &'a Faults<'t>,
    key: String,
    span: Range<usize>,
    value: &'a DeValue<'t>,
}

impl<'a, 't> Node<'a, 't> {
    pub(super) fn fault(&self, message: impl Into<String>) {
        self.faults
            .note(self.span.start, &self.key, message, TextSource::Written);
    }

    fn wrong_type<T>(&self, right: &str) -> Option<T> {
        let kind = self.value.type_str();
        let article = if kind.starts_with(['a', 'i']) {
            "an"
        } else {
            "a"
        };
        self.fault(format!("this is {article} {kind}; {right}"));
        None
    }

    /// The integer, if it is one; no fault if not.
    pub(super) fn as_integer(&self) -> Option<Result<u64, ()>> {
        let integer = self.value.as_integer()?;
        let number = i128::from_str_radix(integer.as_str(), integer.radix());
        Some(
            number
                .ok()
                .and_then(|number| u64::try_from(number).ok())
                .ok_or(()),
        )
    }

    /// The text, if it is one; no fault if not.
    pub(super) fn as_str(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub(super) fn text(&self, right: &str) -> Option<&'a str> {
        self.as_str().or_else(|| self.wrong_type(right))
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let right = format!("write an integer from {} to {}", range.start(), range.end());
        match self.as_integer() {
            Some(Ok(number)) if range.contains(&number) => Some(number),
            Some(_) => {
                self.fault(format!("out of range; {right}"));
                None
            }
            None => self.wrong_type(&right),
        }
    }

    /// A probability: a number from 0 to 1.
    pub(super) fn probability(&self) -> Option<f64> {
        let right = "write a number from 0 to 1, such as 0.01";
        let number = match self.value {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(integer) => integer.as_str().parse::<f64>().ok(),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return self.wrong_type(right),
        };
        let number = number.filter(|number| (0.0..=1.0).contains(number));
        if number.is_none() {
            self.fault(format!("out of range; {right}"));
        }
        number
    }

    /// A duration from `min` to 24 hours, written as a string with units.
    pub(super) fn duration(&self, min: Duration) -> Option<Duration> {
        let mut right =
            "write a duration as a string with its unit, such as \"3s\" or \"250ms\"".to_owned();
        if let Some(Ok(number @ 1..)) = self.as_integer() {
            right.push_str(&format!("; did you mean \"{number}s\"?"));
        }
        let text = self.text(&right)?;
        match parse_duration(text) {
            Ok(duration) if duration < min => {
                let min = humantime::format_duration(min);
                self.fault(format!("{text:?} is too short; write at least \"{min}\""));
            }
            Ok(duration) if duration > MAX_DURATION => {
                self.fault(format!("{text:?} is too long; write at most \"24h\""));
            }
            Ok(duration) => return Some(duration),
            Err(why) => self.fault(why),
        }
        None
    }

    /// The elements, each with its own key.
    pub(super) fn elements(&self) -> Option<Vec<Node<'a, 't>>> {
        let array = self.value.as_array()?;
        let element = |(index, value): (usize, &'a Spanned<DeValue<'t>>)| Node {
            faults: self.faults,
            key: format!("{}[{index}]", self.key),
            span: value.span(),
            value: value.get_ref(),
        };
        Some(array.iter().enumerate().map(element).collect())
    }

    pub(super) fn array(&self, right: &str) -> Option<Vec<Node<'a, 't>>> {
        self.elements().or_else(|| self.wrong_type(right))
    }

    pub(super) fn boolean(&self, right: &str) -> Option<bool> {
        self.value.as_bool().or_else(|| self.wrong_type(right))
    }

    /// The texts of an array.
    pub(super) fn texts(&self, right: &str) -> Option<Vec<(Node<'a, 't>, &'a str)>> {
        let nodes = self.array(right)?;
        let text = |node: Node<'a, 't>| node.text(right).map(|text| (node, text));
        // Every wrong one is reported, so no short cut at the first one.
        let texts: Vec<Option<_>> = nodes.into_iter().map(text).collect();
        texts.into_iter().collect()
    }

    /// The members of a table whose keys are the user's.
    pub(super) fn members(&self, right: &str) -> Option<Vec<(&'a str, Node<'a, 't>)>> {
        match self.as_table() {
            Some(table) => Some(table.entries()),
            None => self.wrong_type(right),
        }
    }

    /// The value as JSON has it; dates become texts.
    pub(super) fn json(&self) -> serde_json::Value {
        fn json(value: &DeValue<'_>) -> serde_json::Value {
            match value {
                DeValue::String(text) => text.as_ref().into(),
                DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                    .map_or_else(|_| integer.as_str().into(), serde_json::Value::from),
                DeValue::Float(float) => float.as_str().parse::<f64>().unwrap_or(f64::NAN).into(),
                DeValue::Boolean(boolean) => (*boolean).into(),
                DeValue::Datetime(datetime) => datetime.to_string().into(),
                DeValue::Array(array) => array.iter().map(|it| json(it.get_ref())).collect(),
                DeValue::Table(table) => table
                    .iter()
                    .map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            }
        }
        json(self.value)
    }

    /// Whether secrets may be written in the file itself.
    pub(super) fn allows_inline_secrets(&self) -> bool {
        self.faults.allow_inline_secrets.get()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Line and column, from 1.
    pub(super) fn place(&self) -> (usize, usize) {
        let text = self.faults.text;
        let before = &text[..text.floor_char_boundary(self.span.start)];
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    /// The key path, such as `clusters[2].nodes`.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The table, if it is one; notes no fault, for a table that was read before.
    pub(super) fn as_table(&self) -> Option<Table<'a, 't>> {
        let table = self.value.as_table()?;
        Some(Table {
            faults: self.faults,
            key: self.key.clone(),
            at: self.span.start,
            table,
        })
    }

    /// The table; keys that are not in `known` are faults.
    pub(super) fn table(&self, known: &[&str]) -> Option<Table<'a, 't>> {
        self.table_of(known, known)
    }

    /// As [`Node::table`]; faults list only the keys in `fitting`, which are the likely ones.
    pub(super) fn table_of(&self, known: &[&str], fitting: &[&str]) -> Option<Table<'a, 't>> {
        let Some(table) = self.as_table() else {
            return self.wrong_type(&format!("write a table with the keys {}", list(fitting)));
        };
        table.refuse_unknown(known, fitting);
        Some(table)
    }
}

/// A table of the file whose keys are all known.
#[derive(Debug, Clone)]
pub(super) struct Table<'a, 't> {
    faults: &'a Faults<'t>,
    key: String,
    at: usize,
    table: &'a DeTable<'t>,
}

impl<'a, 't> Table<'a, 't> {
    /// The table that is the file itself; keys that are not in `known` are faults.
    pub(super) fn root(faults: &'a Faults<'t>, table: &'a DeTable<'t>, known: &[&str]) -> Self {
        let this = Self {
            faults,
            key: String::new(),
            at: 0,
            table,
        };
        this.refuse_unknown(known, known);
        this
    }

    fn refuse_unknown(&self, known: &[&str], fitting: &[&str]) {
        let is_known = |name: &str| known.contains(&name);
        for name in self.table.keys().filter(|it| !is_known(it.get_ref())) {
            let mut meant = did_you_mean(name.get_ref(), fitting);
            if meant.is_empty() {
                meant = did_you_mean(name.get_ref(), known);
            }
            let right = format!("unknown key; known here are {}{meant}", list(fitting));
            // A key outside of all sections is what is left of a broken section header.
            let source = if self.key.is_empty() {
                TextSource::Structure
            } else {
                TextSource::Written
            };
            let (at, path) = (name.span().start, self.path(name.get_ref()));
            self.faults.note(at, &path, right, source);
        }
    }

    fn path(&self, key: &str) -> String {
        // As it is written, since a key may be anything in quotes; a fault is one line.
        let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let key = if !key.is_empty() && key.chars().all(is_bare) {
            key.to_owned()
        } else {
            format!("{key:?}")
        };
        if self.key.is_empty() {
            key
        } else {
            format!("{}.{key}", self.key)
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Node<'a, 't>> {
        let value = self.table.get(key)?;
        let node = Node {
            faults: self.faults,
            key: self.path(key),
            span: value.span(),
            value: value.get_ref(),
        };
        Some(node)
    }

    /// Every key with its value, in the order of the keys.
    pub(super) fn entries(&self) -> Vec<(&'a str, Node<'a, 't>)> {
        let entry = |(key, value): (&'a Spanned<DeString<'t>>, &'a Spanned<DeValue<'t>>)| {
            let key = key.get_ref().as_ref();
            let node = Node {
                faults: self.faults,
                key: self.path(key),
                span: value.span(),
                value: value.get_ref(),
            };
            (key, node)
        };
        self.table.iter().map(entry).collect()
    }

    /// Notes a fault of the table as a whole.
    pub(super) fn fault(&self, message: impl Into<String>) {
        self.faults
            .note(self.at, &self.key, message, TextSource::Structure);
    }
}

/// `a`, `b`, `c`: names as messages show them.
pub(super) fn list(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
