//! Looking up many ids in a set, and which of its terms matched none of them.
//!
//! A set is compiled once. Then the time that an id takes hardly grows with the terms: ids stand in a
//! hash map, and so do the texts around a number, whose ranges are sorted. Terms that are written
//! twice are one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use super::pattern::{Pattern, PatternPart, Range, Term};
use super::set::NodeSet;
use crate::domain::Id;

/// Terms with several brackets, of which an id is compared with each; and kinds of numbers between the
/// same texts: how long they are with their zeros, and by which step they rise.
const MAX_COMPARED: usize = 64;

/// A set in a form that tells quickly whether it holds an id.
#[derive(Debug)]
pub(in crate::domain) struct Matcher<'a> {
    /// With whether it is used.
    terms: Vec<(&'a Term, bool)>,
    /// Terms that are one id.
    ids: HashMap<&'a str, PatternPlace>,
    /// Terms with one number, by the texts before and behind it.
    numbered: HashMap<&'a str, HashMap<&'a str, Numbers>>,
    /// How long the texts before numbers are.
    lengths: Vec<usize>,
    /// All other terms.
    compared: Vec<Compared<'a>>,
    /// The id that is looked up.
    text: String,
}

/// The last terms that match an id, counted from 1; 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::domain) struct FoundPattern {
    added: usize,
    removed: usize,
}

impl FoundPattern {
    fn note(&mut self, other: Self) {
        self.added = self.added.max(other.added);
        self.removed = self.removed.max(other.removed);
    }

    /// Whether the set holds it.
    pub(in crate::domain) fn is_held(self) -> bool {
        self.added > self.removed
    }

    /// Whether a term behind this place takes it away.
    pub(super) fn is_removed_after(self, place: usize) -> bool {
        self.removed > place + 1
    }
}

/// Ids that the same terms match.
#[derive(Debug, Default)]
struct PatternPlace {
    found: FoundPattern,
    /// Whether one of them was looked up.
    is_met: bool,
}

impl PatternPlace {
    fn meet(&mut self) -> FoundPattern {
        self.is_met = true;
        self.found
    }
}

/// A term as it is looked up.
enum PatternForm<'a> {
    Id(&'a str),
    /// A number between two texts, which does not go on with digits.
    Numbered(&'a str, &'a Range, &'a str),
    Other(&'a Pattern),
}

impl<'a> PatternForm<'a> {
    fn of(pattern: &'a Pattern) -> Self {
        let (before, rest) = match pattern.parts.as_slice() {
            [PatternPart::Text(before), rest @ ..] => (before.as_str(), rest),
            rest => ("", rest),
        };
        let (ranges, behind) = match rest {
            [] => return Self::Id(before),
            [PatternPart::Ranges(ranges)] => (ranges, ""),
            [PatternPart::Ranges(ranges), PatternPart::Text(behind)] => (ranges, behind.as_str()),
            _ => return Self::Other(pattern),
        };
        match ranges.as_slice() {
            [range] if !behind.starts_with(|it: char| it.is_ascii_digit()) => {
                Self::Numbered(before, range, behind)
            }
            _ => Self::Other(pattern),
        }
    }
}

/// A term with several brackets, or with digits behind one.
#[derive(Debug)]
struct Compared<'a> {
    pattern: &'a Pattern,
    /// What may stand in the place of each part.
    numbers: Vec<Numbers>,
    place: PatternPlace,
}

impl<'a> Compared<'a> {
    fn new(pattern: &'a Pattern) -> Result<Self, String> {
        let numbers = pattern.parts.iter().map(|part| match part {
            PatternPart::Text(_) => Ok(Numbers::default()),
            PatternPart::Ranges(ranges) => {
                let mut numbers = Numbers::default();
                for range in ranges {
                    // Which of them it is says nothing.
                    numbers.add(range, FoundPattern::default())?;
                }
                numbers.sort();
                Ok(numbers)
            }
        });
        Ok(Self {
            pattern,
            numbers: numbers.collect::<Result<_, String>>()?,
            place: PatternPlace::default(),
        })
    }
}

/// What may stand in the place of a number.
#[derive(Debug, Default)]
struct Numbers(Vec<Row>);

impl Numbers {
    fn add(&mut self, range: &Range, found: FoundPattern) -> Result<(), String> {
        let row = self.0.iter().position(|row| row.is_of(range));
        let row = row.unwrap_or_else(|| {
            self.0.push(Row::new(range));
            self.0.len() - 1
        });
        if row == MAX_COMPARED {
            return Err(format!(
                "more than {MAX_COMPARED} kinds of ranges between the same texts; write fewer"
            ));
        }
        let row = &mut self.0[row];
        row.ranges.push((row.span(range), found));
        Ok(())
    }

    /// When all are added.
    fn sort(&mut self) {
        self.0.iter_mut().for_each(Row::sort);
    }

    /// Looks digits up as they are written; `None` if they are none of the numbers.
    fn look(&mut self, digits: &str) -> Option<FoundPattern> {
        let number = digits.parse().ok()?;
        let rows = self.0.iter_mut();
        let found = rows.filter_map(|row| Some(row.find(digits, number)?.meet()));
        found.reduce(|mut all, found| {
            all.note(found);
            all
        })
    }

    fn holds(&self, digits: &str) -> bool {
        let number = digits.parse();
        number.is_ok_and(|it| self.0.iter().any(|row| row.at(digits, it).is_some()))
    }

    fn is_met(&self, range: &Range) -> bool {
        let row = self.0.iter().find(|row| row.is_of(range));
        row.is_some_and(|row| row.is_met(range))
    }
}

/// Numbers that are written alike, and rise by the same step from the same first one, divided where
/// ranges begin or end.
#[derive(Debug)]
struct Row {
    width: usize,
    step: u64,
    /// What is left of each number when it is divided by the step.
    rest: u64,
    /// Each with the term that it is.
    ranges: Vec<((u64, u64), FoundPattern)>,
    /// Where each piece begins, counted in steps.
    starts: Vec<u128>,
    /// `None` where there is no range.
    pieces: Vec<Option<PatternPlace>>,
}

impl Row {
    fn new(range: &Range) -> Self {
        Self {
            width: range.width,
            step: range.step,
            rest: range.first % range.step,
            ranges: Vec::new(),
            starts: Vec::new(),
            pieces: Vec::new(),
        }
    }

    fn is_of(&self, range: &Range) -> bool {
        (self.width, self.step, self.rest) == (range.width, range.step, range.first % range.step)
    }

    /// The first and the last number of a range, counted in steps.
    fn span(&self, range: &Range) -> (u64, u64) {
        let first = range.first / self.step;
        (first, first + (range.last - range.first) / self.step)
    }

    fn sort(&mut self) {
        let mut ends: Vec<(u128, bool, FoundPattern)> = Vec::with_capacity(2 * self.ranges.len());
        for &((first, last), found) in &self.ranges {
            ends.push((first.into(), true, found));
            ends.push((u128::from(last) + 1, false, found));
        }
        ends.sort_unstable_by_key(|&(at, begins, found)| (at, begins, found.added, found.removed));
        // The terms that hold the numbers from here on, and how many there are.
        let (mut added, mut removed, mut open) = (BTreeSet::new(), BTreeSet::new(), 0_usize);
        for (at, begins, found) in ends {
            for (terms, term) in [(&mut added, found.added), (&mut removed, found.removed)] {
                if begins {
                    terms.insert(term);
                } else {
                    terms.remove(&term);
                }
            }
            open = if begins { open + 1 } else { open - 1 };
            let found = FoundPattern {
                added: added.last().copied().unwrap_or_default(),
                removed: removed.last().copied().unwrap_or_default(),
            };
            let place = PatternPlace {
                found,
                is_met: false,
            };
            let piece = (open > 0).then_some(place);
            match self
                .pieces
                .last_mut()
                .filter(|_| self.starts.last() == Some(&at))
            {
                Some(last) => *last = piece,
                None => {
                    self.starts.push(at);
                    self.pieces.push(piece);
                }
            }
        }
    }

    /// The piece with a number, if it is written like this and there is one.
    fn at(&self, digits: &str, number: u64) -> Option<usize> {
        let is_padded = digits.len() > 1 && digits.starts_with('0');
        let is_written = digits.len() == self.width || (digits.len() > self.width && !is_padded);
        if !is_written || number % self.step != self.rest {
            return None;
        }
        let number = u128::from(number / self.step);
        let at = self.starts.partition_point(|&start| start <= number);
        at.checked_sub(1).filter(|&at| self.pieces[at].is_some())
    }

    fn find(&mut self, digits: &str, number: u64) -> Option<&mut PatternPlace> {
        let at = self.at(digits, number)?;
        self.pieces[at].as_mut()
    }

    fn is_met(&self, range: &Range) -> bool {
        let (first, last) = self.span(range);
        let from = self.starts.partition_point(|&start| start < first.into());
        let to = self.starts.partition_point(|&start| start <= last.into());
        let mut pieces = self.pieces[from..to].iter().flatten();
        pieces.any(|piece| piece.is_met)
    }
}

impl<'a> Matcher<'a> {
    /// Of the terms that `is_used` picks by whether they take away.
    ///
    /// # Errors
    /// If it could not be looked up quickly.
    pub(in crate::domain) fn new(
        set: &'a NodeSet,
        is_used: impl Fn(bool) -> bool,
    ) -> Result<Self, String> {
        let terms = set.terms.iter();
        let mut this = Self {
            terms: terms.map(|term| (term, is_used(term.takes_away))).collect(),
            ids: HashMap::new(),
            numbered: HashMap::new(),
            lengths: Vec::new(),
            compared: Vec::new(),
            text: String::new(),
        };
        for (place, &(term, is_used)) in this.terms.iter().enumerate() {
            if !is_used {
                continue;
            }
            let mut found = FoundPattern::default();
            let last = if term.takes_away {
                &mut found.removed
            } else {
                &mut found.added
            };
            *last = place + 1;
            match PatternForm::of(&term.pattern) {
                PatternForm::Id(id) => this.ids.entry(id).or_default().found.note(found),
                PatternForm::Numbered(before, range, behind) => {
                    let numbers = this.numbered.entry(before).or_default();
                    numbers.entry(behind).or_default().add(range, found)?;
                }
                PatternForm::Other(pattern) => {
                    let known = this.compared.iter().position(|it| it.pattern == pattern);
                    let known = match known {
                        Some(known) => known,
                        None => {
                            this.compared.push(Compared::new(pattern)?);
                            this.compared.len() - 1
                        }
                    };
                    if known == MAX_COMPARED {
                        return Err(format!(
                            "more than {MAX_COMPARED} parts with several brackets, or with digits \
                             behind one; write fewer"
                        ));
                    }
                    this.compared[known].place.found.note(found);
                }
            }
        }
        let rows = this.numbered.values_mut().flat_map(HashMap::values_mut);
        rows.for_each(Numbers::sort);
        this.lengths = this.numbered.keys().map(|before| before.len()).collect();
        this.lengths.sort_unstable();
        this.lengths.dedup();
        Ok(this)
    }

    /// Whether there is nothing to be matched.
    pub(in crate::domain) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.numbered.is_empty() && self.compared.is_empty()
    }

    /// How many items of work it is to look an id up, for a [`Turn`](crate::domain::Turn).
    pub(in crate::domain) fn work(&self) -> usize {
        1 + self.lengths.len() / 4 + self.compared.len()
    }

    /// Looks an id up, and notes which terms match it.
    pub(in crate::domain) fn look(&mut self, id: &Id) -> FoundPattern {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        // Writing to a String cannot fail.
        write!(text, "{id}").ok();
        let found = self.look_text(&text);
        self.text = text;
        found
    }

    pub(super) fn look_text(&mut self, text: &str) -> FoundPattern {
        let mut found = FoundPattern::default();
        if let Some(place) = self.ids.get_mut(text) {
            found.note(place.meet());
        }
        for &len in self.lengths.iter().take_while(|&&len| len < text.len()) {
            // Not everywhere is the end of a character.
            let Some((before, rest)) = text.split_at_checked(len) else {
                continue;
            };
            let behind = rest.trim_start_matches(|it: char| it.is_ascii_digit());
            let digits = &rest[..rest.len() - behind.len()];
            if digits.is_empty() {
                continue;
            }
            let numbers = self.numbered.get_mut(before);
            let numbers = numbers.and_then(|it| it.get_mut(behind));
            if let Some(more) = numbers.and_then(|it| it.look(digits)) {
                found.note(more);
            }
        }
        for compared in &mut self.compared {
            let numbers = &compared.numbers;
            let holds = |part: usize, digits: &str| numbers[part].holds(digits);
            if compared.pattern.matches_by(text, holds) {
                found.note(compared.place.meet());
            }
        }
        found
    }

    /// The texts of the terms that matched no id so far, each once, and whether they take away.
    pub(in crate::domain) fn unmet(&self) -> Vec<(&'a str, bool)> {
        let is_met = |term: &Term| match PatternForm::of(&term.pattern) {
            PatternForm::Id(id) => self.ids.get(id).is_some_and(|place| place.is_met),
            PatternForm::Numbered(before, range, behind) => {
                let numbers = self.numbered.get(before);
                let numbers = numbers.and_then(|it| it.get(behind));
                numbers.is_some_and(|it| it.is_met(range))
            }
            PatternForm::Other(pattern) => {
                let mut compared = self.compared.iter();
                compared.any(|it| it.pattern == pattern && it.place.is_met)
            }
        };
        let mut named = HashSet::new();
        let terms = self.terms.iter().filter(|(_, is_used)| *is_used);
        let unmet = terms.filter(|(term, _)| !is_met(term));
        let unmet = unmet.map(|(term, _)| (&*term.text, term.takes_away));
        unmet.filter(|&term| named.insert(term)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(set: &NodeSet) -> Matcher<'_> {
        Matcher::new(set, |_| true).unwrap()
    }

    #[test]
    fn what_cannot_be_looked_up_quickly_is_refused() {
        let error = |text: &str| {
            let set = NodeSet::parse(text).unwrap();
            Matcher::new(&set, |_| true).unwrap_err()
        };
        let brackets: Vec<String> = (1..66).map(|it| format!("r[1-2]n[1-{it}9]")).collect();
        assert!(error(&brackets.join(",")).starts_with("more than 64 parts with several brackets"));
        let steps: Vec<String> = (2..67).map(|step| format!("n[1-999/{step}]")).collect();
        assert!(error(&steps.join(",")).starts_with("more than 64 kinds of ranges"));
        // The same ones are one.
        let same = "r[1-2]n[1-9],".repeat(4000) + "n[1-999/3]";
        assert_eq!(matcher(&NodeSet::parse(&same).unwrap()).work(), 2);
    }

    #[test]
    fn as_many_ranges_as_an_address_holds_are_looked_up_at_once() {
        let ranges: Vec<String> = (1..700)
            .map(|it| format!("n[{it}-{}]", 99_999 - it))
            .collect();
        let set = NodeSet::parse(&ranges.join(",")).unwrap();
        let mut matcher = matcher(&set);
        assert_eq!(matcher.work(), 1);
        assert!(!matcher.look_text("n100000").is_held());
        assert_eq!(matcher.unmet().len(), 699);
        assert!(matcher.look_text("n7").is_held());
        assert_eq!(matcher.unmet()[0], ("n[8-99991]", false));
        assert!(matcher.look_text("n5000").is_held());
        assert_eq!(matcher.unmet(), []);
    }

    proptest! {
        /// Whatever is compiled is what comparing each term with each id gives.
        #[test]
        fn it_finds_what_comparing_finds(
            text in "([ab]|\\[[0-9]{1,2}(-[0-9]{2})?(/[23])?(,[0-9]{1,2})?\\]|,|!|1|0){1,9}",
            ids in prop::collection::vec("[ab]{0,1}[0-9]{1,3}[ab0-9]{0,2}", 1..8),
        ) {
            let Ok(set) = NodeSet::parse(&text) else { return Ok(()) };
            let mut matcher = matcher(&set);
            let mut unmet = vec![true; set.terms.len()];
            for id in &ids {
                let mut expected = FoundPattern::default();
                for (place, term) in set.terms.iter().enumerate() {
                    if term.pattern.matches(id) {
                        unmet[place] = false;
                        let last = match term.takes_away {
                            true => &mut expected.removed,
                            false => &mut expected.added,
                        };
                        *last = place + 1;
                    }
                }
                prop_assert_eq!(matcher.look_text(id), expected, "{} in {}", id, text);
            }
            let mut expected: Vec<_> = set.terms.iter().zip(unmet).filter(|(_, unmet)| *unmet)
                .map(|(term, _)| (&*term.text, term.takes_away)).collect();
            let mut found = matcher.unmet();
            expected.sort_unstable();
            expected.dedup();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
