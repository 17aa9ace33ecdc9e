//! Words of messages: counted nouns, and what was probably meant by a word that is not known.

use std::collections::HashSet;
use std::fmt::Display;

/// Different candidates that are compared and counted at most: a comparison takes about a microsecond,
/// and a fleet may have a million devices.
const MAX_CANDIDATES: usize = 10_000;

/// Longer words are compared with nothing: the time of a comparison grows with both lengths.
const MAX_LEN: usize = 64;

/// Names that a message lists at most.
const MAX_LISTED: usize = 10;

/// `1 device`, `2 devices`: a count and its noun.
pub(crate) fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    if count == N::from(1) {
        return format!("{count} {noun}");
    }
    let ending = if noun.ends_with("ch") || noun.ends_with('s') {
        "es"
    } else {
        "s"
    };
    format!("{count} {noun}{ending}")
}

/// What was probably meant by a word that is not known, among names that are seen one after the other;
/// and how many different names there are, with the first few.
#[derive(Debug)]
pub(crate) struct Candidates {
    /// In lower case; `None` if it is too long to be compared.
    given: Option<String>,
    /// The nearest name so far, and in how many characters it differs.
    nearest: Option<(usize, String)>,
    first: Vec<String>,
    /// Up to [`MAX_CANDIDATES`].
    names: HashSet<String>,
    /// Whether there are others.
    is_cut: bool,
}

/// What a [`Turn`](super::Turn) may count as one item: so many pairs of characters are compared.
const PAIRS_OF_AN_ITEM: usize = 64;

impl Candidates {
    /// For this word.
    pub(crate) fn new(given: &str) -> Self {
        Self {
            given: (given.len() <= MAX_LEN).then(|| given.to_lowercase()),
            nearest: None,
            first: Vec::new(),
            names: HashSet::new(),
            is_cut: false,
        }
    }

    /// Sees the next name, and gives how many items of work that was.
    pub(crate) fn see(&mut self, name: &(impl Display + ?Sized)) -> usize {
        if self.is_cut {
            return 1;
        }
        let name = name.to_string();
        // A node and a switch may have the same, and so may devices of several clusters.
        if self.names.contains(&name) {
            return 1;
        }
        if self.names.len() == MAX_CANDIDATES {
            self.is_cut = true;
            return 1;
        }
        self.names.insert(name.clone());
        if self.first.len() < MAX_LISTED {
            self.first.push(name.clone());
        }
        let Some(given) = &self.given else { return 1 };
        let longest = given.len().max(name.len());
        let most = (longest / 3).max(1);
        if name.len() > MAX_LEN || given.len().abs_diff(name.len()) > most {
            return 1;
        }
        let work = 1 + given.len() * name.len() / PAIRS_OF_AN_ITEM;
        let distance = strsim::osa_distance(given, &name.to_lowercase());
        let is_near = distance <= most && distance < longest;
        // Of those that are as near the first one.
        if is_near && self.nearest.as_ref().is_none_or(|(it, _)| distance < *it) {
            self.nearest = Some((distance, name));
        }
        work
    }

    /// This was meant, whatever else is near.
    pub(crate) fn mean(&mut self, text: String) {
        (self.given, self.nearest) = (None, Some((0, text)));
    }

    /// How many different names were seen, as far as they are counted.
    pub(crate) fn count(&self) -> usize {
        self.names.len()
    }

    /// `there are a, b and 7 more`, `there is a`: what there is, as far as a message names it.
    pub(crate) fn known(&self) -> String {
        let first = first_of(&self.first, self.count());
        match self.count() {
            0 => "there is none at all".to_owned(),
            1 => format!("there is {first}"),
            _ if self.is_cut => {
                let least = MAX_CANDIDATES - self.first.len();
                let first = self.first.join(", ");
                format!("there are {first} and more than {least} more")
            }
            _ => format!("there are {first}"),
        }
    }

    /// `; did you mean "…"?` if one of the names was probably meant, in a third of whose characters
    /// the word differs at most; else nothing.
    pub(crate) fn did_you_mean(&self) -> String {
        let nearest = self.nearest.as_ref();
        nearest.map_or_else(String::new, |(_, near)| format!("; did you mean {near:?}?"))
    }
}

/// `; did you mean "…"?` if one of a few candidates was probably meant by `given`, else nothing.
pub(crate) fn did_you_mean<T: AsRef<str>>(
    given: &str,
    candidates: impl IntoIterator<Item = T>,
) -> String {
    let mut seen = Candidates::new(given);
    for candidate in candidates {
        seen.see(candidate.as_ref());
    }
    seen.did_you_mean()
}

/// `a, b, c and 7 more`: the first names, and how many there are beside them.
pub(crate) fn first_of<T: Display>(names: impl IntoIterator<Item = T>, count: usize) -> String {
    let names: Vec<String> = names
        .into_iter()
        .take(MAX_LISTED)
        .map(|name| name.to_string())
        .collect();
    let listed = names.join(", ");
    match count.saturating_sub(names.len()) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(counted(1_usize, "device"), "1 device");
        assert_eq!(counted(0_u64, "device"), "0 devices");
        assert_eq!(counted(2_usize, "switch"), "2 switches");
        assert_eq!(counted(1_usize, "switch"), "1 switch");
    }

    #[test]
    fn what_differs_least_is_meant_if_it_differs_little() {
        let keys = ["deadline", "device", "cluster", "max_age", "kind"];
        for (given, meant) in [
            ("deadlin", Some("deadline")),
            ("devices", Some("device")),
            ("DEVICE", Some("device")),
            ("clutser", Some("cluster")),
            ("max-age", Some("max_age")),
            ("knid", Some("kind")),
            ("colour", None),
            ("", None),
        ] {
            let hint = meant.map(|it| format!("; did you mean {it:?}?"));
            let expected = hint.unwrap_or_default();
            assert_eq!(did_you_mean(given, keys), expected, "{given:?}");
        }
        // Of one character nothing is left that is alike.
        assert_eq!(did_you_mean("7", ["1", "2"]), "");
        let hint = did_you_mean("web9", ["web10", "web1", "web2"]);
        assert_eq!(hint, "; did you mean \"web1\"?");
        assert_eq!(did_you_mean("kinds", keys), "; did you mean \"kind\"?");
        assert_eq!(did_you_mean("nothing", keys), "");
    }

    #[test]
    fn a_long_list_is_cut() {
        assert_eq!(first_of(1..=3, 3), "1, 2, 3");
        assert_eq!(
            first_of(1..=1000, 1000),
            "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 990 more"
        );
        let known = |names: &[&str]| {
            let mut seen = Candidates::new("a");
            for name in names {
                seen.see(name);
            }
            seen.known()
        };
        assert_eq!(known(&[]), "there is none at all");
        assert_eq!(known(&["a"]), "there is a");
        assert_eq!(known(&["a", "b"]), "there are a, b");
        assert_eq!(known(&["a", "b", "a", "b"]), "there are a, b");
        let names: Vec<String> = (1..=17).map(|it| format!("n{}", it % 12)).collect();
        let known = known(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(known.ends_with(", n10 and 2 more"), "{known}");
    }

    #[test]
    fn the_work_of_a_hint_is_counted_and_bounded() {
        let long = "x".repeat(MAX_LEN);
        let mut seen = Candidates::new(&long);
        assert_eq!(seen.see("a"), 1, "it cannot be meant");
        assert_eq!(seen.see(&long), 1 + MAX_LEN * MAX_LEN / PAIRS_OF_AN_ITEM);
        let work: usize = (0..2 * MAX_CANDIDATES).map(|it| seen.see(&it)).sum();
        assert_eq!((work, seen.count()), (2 * MAX_CANDIDATES, MAX_CANDIDATES));
        let known = seen.known();
        assert!(known.ends_with(" and more than 9990 more"), "{known}");
    }
}
