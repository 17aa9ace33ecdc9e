//! What a node set is made of: terms, each with a pattern of texts and ranges.

use std::fmt::Write as _;

use crate::domain::IdError;

/// What is added to the set, or taken away from all that stands before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    /// As it was written; of an element with one bracket, each range is a term.
    pub(super) text: Box<str>,
    pub(super) pattern: Pattern,
    pub(super) takes_away: bool,
}

/// Texts and brackets, alternating as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) parts: Vec<PatternPart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PatternPart {
    Text(String),
    Ranges(Vec<Range>),
}

/// `first-last/step`, each number padded with zeros to `width`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) step: u64,
    pub(super) width: usize,
}

impl Range {
    fn len(&self) -> u64 {
        ((self.last - self.first) / self.step).saturating_add(1)
    }

    /// Whether one of its numbers is written just like this.
    fn writes(&self, digits: &str) -> bool {
        let Ok(number) = digits.parse::<u64>() else {
            return false;
        };
        let is_padded = digits.len() > 1 && digits.starts_with('0');
        let is_written = digits.len() == self.width || (digits.len() > self.width && !is_padded);
        is_written
            && (self.first..=self.last).contains(&number)
            && (number - self.first).is_multiple_of(self.step)
    }

    fn numbers(&self) -> impl Iterator<Item = u64> {
        (0..self.len()).map(|index| self.first + index * self.step)
    }
}

impl Pattern {
    pub(super) fn len(&self) -> u64 {
        let size = |part: &PatternPart| match part {
            PatternPart::Text(_) => 1,
            PatternPart::Ranges(ranges) => {
                ranges.iter().map(Range::len).fold(0, u64::saturating_add)
            }
        };
        self.parts.iter().map(size).fold(1, u64::saturating_mul)
    }

    /// Calls `each` with every text of `parts`, prefixed by what is in `text`.
    pub(super) fn expand(
        parts: &[PatternPart],
        text: &mut String,
        each: &mut impl FnMut(&str) -> Result<(), IdError>,
    ) -> Result<(), IdError> {
        let Some((part, rest)) = parts.split_first() else {
            return each(text);
        };
        let len = text.len();
        match part {
            PatternPart::Text(literal) => {
                text.push_str(literal);
                Self::expand(rest, text, each)?;
                text.truncate(len);
            }
            PatternPart::Ranges(ranges) => {
                for range in ranges {
                    for number in range.numbers() {
                        // Writing to a String cannot fail.
                        write!(text, "{number:0width$}", width = range.width).ok();
                        Self::expand(rest, text, each)?;
                        text.truncate(len);
                    }
                }
            }
        }
        Ok(())
    }

    /// In time that grows with the parts, the text's length and the ranges, not with what they hold.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.matches_by(text, |part, number| match &self.parts[part] {
            PatternPart::Text(_) => false,
            PatternPart::Ranges(ranges) => ranges.iter().any(|range| range.writes(number)),
        })
    }

    /// As [`Pattern::matches`]; `holds` says whether the brackets at a place of the parts hold a
    /// number as it is written.
    pub(super) fn matches_by(&self, text: &str, holds: impl Fn(usize, &str) -> bool) -> bool {
        // Most texts differ from the first one on.
        if let Some(PatternPart::Text(literal)) = self.parts.first()
            && !text.starts_with(literal.as_str())
        {
            return false;
        }
        // Where the text's rest may begin after the parts so far.
        let mut ends = vec![0];
        for (place, part) in self.parts.iter().enumerate() {
            let mut next = Vec::new();
            for &at in &ends {
                match part {
                    PatternPart::Text(literal) => {
                        if text[at..].starts_with(literal.as_str()) {
                            next.push(at + literal.len());
                        }
                    }
                    PatternPart::Ranges(_) => {
                        let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
                        let holds = |len: &usize| holds(place, &text[at..at + len]);
                        next.extend((1..=digits).filter(holds).map(|len| at + len));
                    }
                }
            }
            next.sort_unstable();
            next.dedup();
            ends = next;
        }
        ends.contains(&text.len())
    }
}
