//! Looking up many ids in a set, and which of its terms matched none of them.

use std::collections::HashMap;

use super::{NodeSet, Pattern, Term};

/// Terms that are not expanded: each id is compared with every one of them.
const MAX_LARGE: usize = 64;

/// Comparing an id with a term takes about a quarter of the time of expanding one of its ids.
const COMPARED_PER_EXPANDED: u64 = 4;

/// Ids that are expanded in any case.
const FEW: u64 = 10_000;

/// A set in a form that tells in constant time whether it holds an id.
#[derive(Debug)]
pub(in crate::domain) struct Matcher<'a> {
    terms: &'a [Term],
    /// The terms that were expanded, by their ids.
    small: HashMap<String, Expanded>,
    /// The places of the others.
    large: Vec<usize>,
    /// The terms that matched no id so far, by place.
    unmet: Vec<bool>,
}

#[derive(Debug, Default)]
struct Expanded {
    found: Found,
    /// The terms that hold it; empty once it was looked up.
    places: Vec<usize>,
}

/// The last terms that match an id, counted from 1; 0 is none.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::domain) struct Found {
    added: usize,
    removed: usize,
}

impl Found {
    fn note(&mut self, place: usize, term: &Term) {
        let last = if term.takes_away {
            &mut self.removed
        } else {
            &mut self.added
        };
        *last = (*last).max(place + 1);
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

impl<'a> Matcher<'a> {
    /// Of the terms that `is_used` picks by whether they take away, for looking up about `count` ids.
    ///
    /// # Errors
    /// If too many terms hold more ids than that.
    pub(in crate::domain) fn new(
        set: &'a NodeSet,
        is_used: impl Fn(bool) -> bool,
        count: u64,
    ) -> Result<Self, String> {
        let mut this = Self {
            terms: &set.terms,
            small: HashMap::new(),
            large: Vec::new(),
            unmet: vec![false; set.terms.len()],
        };
        let mut room = count.saturating_add(FEW);
        let large = room / COMPARED_PER_EXPANDED;
        for (place, term) in set.terms.iter().enumerate() {
            if !is_used(term.takes_away) {
                continue;
            }
            this.unmet[place] = true;
            let len = term.pattern.len();
            if len > large && this.large.len() < MAX_LARGE {
                this.large.push(place);
                continue;
            }
            if len > room {
                return Err(format!(
                    "more than {MAX_LARGE} parts that hold more ids than the fleet; write fewer"
                ));
            }
            room -= len;
            let expanded = Pattern::expand(&term.pattern.parts, &mut String::new(), &mut |text| {
                // Most ids stand once.
                let known = this.small.get_mut(text);
                let known = match known {
                    Some(known) => known,
                    None => this.small.entry(text.to_owned()).or_default(),
                };
                known.found.note(place, term);
                known.places.push(place);
                Ok(())
            });
            expanded.map_err(|error| error.to_string())?;
        }
        Ok(this)
    }

    /// Whether there is nothing to be matched.
    pub(in crate::domain) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// Looks an id up, and notes which terms match it.
    pub(in crate::domain) fn look(&mut self, text: &str) -> Found {
        let mut found = Found::default();
        if let Some(known) = self.small.get_mut(text) {
            found = known.found;
            // However often an id is looked up, its terms are noted once.
            for place in std::mem::take(&mut known.places) {
                self.unmet[place] = false;
            }
        }
        for &place in &self.large {
            let term = &self.terms[place];
            if term.pattern.matches(text) {
                found.note(place, term);
                self.unmet[place] = false;
            }
        }
        found
    }

    /// The texts of the terms that matched no id so far, and whether they take away.
    pub(in crate::domain) fn unmet(&self) -> impl Iterator<Item = (&'a str, bool)> {
        let terms = self.terms.iter().zip(&self.unmet);
        let unmet = terms.filter(|&(_, &is_unmet)| is_unmet);
        unmet.map(|(term, _)| (&*term.text, term.takes_away))
    }
}
