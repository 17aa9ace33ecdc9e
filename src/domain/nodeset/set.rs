//! A set that is parsed: how large it is, and what it holds.

use std::collections::HashSet;

use super::parse;
use super::pattern::{Pattern, PatternPart, Term};
use crate::domain::Id;

/// A parsed node set, not expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSet {
    pub(super) terms: Vec<Term>,
}

impl NodeSet {
    /// Parses a node set.
    ///
    /// # Errors
    /// A text that says what is wrong, and what was probably meant.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::set(text).map(|terms| Self { terms })
    }

    /// What is wrong with a part that is one id, and was probably meant as a range: `web01-04`. It is
    /// for where ids are made up; a filter may name such a device.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        self.terms.iter().find_map(|term| {
            let read = parse::unbracketed(&term.text).filter(|it| it.is_padded)?;
            let (text, range, one) = (&term.text, read.range, read.one);
            Some(format!(
                "{text:?} looks like a range; did you mean {range:?}? If it is one id, write {one:?}"
            ))
        })
    }

    /// A name that may be meant as a range, such as `web1-4`: how that is written, and what it is.
    pub(in crate::domain) fn as_range(name: &str) -> Option<(String, Self)> {
        let range = parse::unbracketed(name)?.range;
        let set = Self::parse(&range).ok()?;
        Some((range, set))
    }

    /// Just this one, whatever it is called.
    #[must_use]
    pub fn only(id: &Id) -> Self {
        let text = id.to_string();
        let term = Term {
            text: text.as_str().into(),
            pattern: Pattern {
                parts: vec![PatternPart::Text(text)],
            },
            takes_away: false,
        };
        Self { terms: vec![term] }
    }

    /// What comes of writing these behind each other, with commas; `None` if there is none.
    #[must_use]
    pub fn join<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let terms: Vec<Term> = sets.into_iter().flat_map(|set| set.terms.clone()).collect();
        (!terms.is_empty()).then_some(Self { terms })
    }

    /// How many different elements are written, a range in brackets being one each, and how many ids
    /// they stand for, added or taken away; saturates at `u64::MAX`.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        let terms = self
            .terms
            .iter()
            .map(|term| (&term.text, term.takes_away, &term.pattern));
        let mut seen = HashSet::new();
        let new = terms.filter(|&(text, takes_away, _)| seen.insert((text, takes_away)));
        new.fold((0, 0_u64), |(elements, ids), (_, _, pattern)| {
            let ranges = pattern.parts.iter().map(|part| match part {
                PatternPart::Text(_) => 0,
                PatternPart::Ranges(ranges) => ranges.len(),
            });
            let elements = elements + ranges.sum::<usize>().max(1);
            (elements, ids.saturating_add(pattern.len()))
        })
    }

    /// How many ids are added, before any is taken away; saturates at `u64::MAX`.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "at least one is added")]
    pub fn len(&self) -> u64 {
        self.terms
            .iter()
            .filter(|term| !term.takes_away)
            .map(|term| term.pattern.len())
            .fold(0, u64::saturating_add)
    }

    /// Whether it holds this id; found out without expanding it.
    #[must_use]
    pub fn contains(&self, id: &Id) -> bool {
        let text = id.to_string();
        let matching = self.terms.iter().rev().find(|it| it.pattern.matches(&text));
        matching.is_some_and(|term| !term.takes_away)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::MAX_NAME_LEN;

    fn expand(text: &str) -> Vec<String> {
        let set = NodeSet::parse(text).unwrap();
        let ids: Vec<String> = set.ids().unwrap().iter().map(ToString::to_string).collect();
        if !text.contains('!') {
            assert_eq!(set.len(), ids.len() as u64, "{text}");
        }
        ids
    }

    #[test]
    fn sets_expand_in_the_order_written() {
        assert_eq!(expand("1-4"), ["1", "2", "3", "4"]);
        assert_eq!(expand("9,1-2, 5"), ["9", "1", "2", "5"]);
        assert_eq!(
            expand("web[098-101,7]"),
            ["web098", "web099", "web100", "web101", "web7"]
        );
        assert_eq!(
            expand("r[1-2]n[08-09]"),
            ["r1n08", "r1n09", "r2n08", "r2n09"]
        );
        assert_eq!(expand("[0-6/3]x,y-1"), ["0x", "3x", "6x", "y-1"]);
        assert_eq!(expand("01-03/2"), ["01", "03"]);
        assert_eq!(expand("tor1"), ["tor1"]);
    }

    #[test]
    fn digits_alone_are_integers_and_padded_ones_names() {
        let ids = |text| serde_json::to_string(&NodeSet::parse(text).unwrap().ids().unwrap());
        assert_eq!(ids("[1-2]").unwrap(), "[1,2]");
        assert_eq!(ids("01-02").unwrap(), r#"["01","02"]"#);
    }

    #[test]
    fn faults_say_what_would_be_right() {
        for (text, part) in [
            ("", "nothing between"),
            ("a,,b", "nothing between"),
            ("web[1-4", "without its ']'"),
            ("web1-4]", "without its '['"),
            ("a[1[2]]", "inside brackets"),
            ("web[]", "no number"),
            ("web[a-b]", "no number"),
            ("web[1--2]", "no number"),
            ("4-1", "write \"1-4\""),
            ("web[08-9]", "mixes widths"),
            ("web[1-010]", "mixes widths"),
            ("[1-9/0]", "step of 0"),
            ("[1-99999999999999999999]", "too large"),
        ] {
            let error = NodeSet::parse(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_stands_behind_an_exclamation_mark_is_taken_away() {
        assert_eq!(expand("n[1-4]!n2"), ["n1", "n3", "n4"]);
        assert_eq!(expand("n[1-9]!n[2,5-8]"), ["n1", "n3", "n4", "n9"]);
        assert_eq!(expand("1-4!2!3"), ["1", "4"]);
        assert_eq!(expand("a,b,c!b,d"), ["a", "c", "d"]);
        // From the left: what is added later is there.
        assert_eq!(expand("n[1-4]!n2,n2"), ["n1", "n3", "n4", "n2"]);
        assert_eq!(expand("r[1-2]n[1-2]!r[1-2]n1"), ["r1n2", "r2n2"]);
        assert_eq!(expand("n[8-10]!n[9-99999999999]"), ["n8"]);
        let idle = NodeSet::parse("n[1-4]!n7").unwrap().ids().unwrap_err();
        assert_eq!(idle, "\"!n7\" takes nothing away");
        let holds = |set: &str, id: &str| {
            let id = Id::parse(id).unwrap();
            NodeSet::parse(set).unwrap().contains(&id)
        };
        assert!(holds("n[1-99999999999]!n[5-9]", "n4"));
        assert!(!holds("n[1-99999999999]!n[5-9]", "n5"));
        assert!(holds("n[1-4]!n2,n2", "n2"));
    }

    #[test]
    fn the_work_of_taking_away_is_bounded() {
        let away: String = (0..65).map(|it| format!("!a[1-9]b[{it}-99999]")).collect();
        let error = NodeSet::parse(&format!("n1{away}"))
            .unwrap()
            .ids()
            .unwrap_err();
        assert!(error.contains("more than 64 parts"), "{error}");
    }

    #[test]
    fn what_is_written_twice_counts_once() {
        let size = |text: &str| NodeSet::parse(text).unwrap().size();
        assert_eq!(size(&("a,".repeat(4000) + "a")), (1, 1));
        assert_eq!(size("n[1-9,20],n[1-9]!n2!n2"), (3, 11));
        assert_eq!(size("r[1-2,7]n[1-36]"), (3, 3 * 36));
        assert_eq!(size("n[1-18446744073709551615],a").1, u64::MAX);
    }

    #[test]
    fn more_brackets_than_an_id_has_characters_are_refused() {
        let error = NodeSet::parse(&"[1]".repeat(200_000)).unwrap_err();
        assert!(error.contains("at least 200000 characters"), "{error}");
        assert_eq!(expand(&"[1]".repeat(MAX_NAME_LEN)), ["1".repeat(253)]);
    }

    #[test]
    fn it_is_known_what_a_set_holds_without_expanding_it() {
        let holds = |set: &str, id: &str| {
            let id = Id::parse(id).unwrap();
            NodeSet::parse(set).unwrap().contains(&id)
        };
        assert!(holds("n[1-18446744073709551615]x", "n123456789x"));
        assert!(!holds("n[1-18446744073709551615]x", "n0123x"));
        assert!(holds("[1-9][1-99]", "123"));
        assert!(!holds("[1-9][1-9]", "123"));
        assert!(holds("web[001-128,200]", "web128"));
        assert!(!holds("web[001-128,200]", "web28"));
        assert!(holds("a,b[0-8/2]", "b6"));
        assert!(!holds("a,b[0-8/2]", "b5"));
        // As many ways to read it as there are, none of which is right.
        let set = "[0-18446744073709551615]".repeat(100) + "x";
        assert!(!holds(&set, &"1".repeat(253)));
    }

    #[test]
    fn huge_sets_are_counted_without_expanding() {
        assert_eq!(
            NodeSet::parse("n[1-18446744073709551615]").unwrap().len(),
            u64::MAX
        );
        assert_eq!(
            NodeSet::parse("[1-99999999][1-99999999][1-99999999]")
                .unwrap()
                .len(),
            u64::MAX
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[\\[\\]0-9a-z,!/ .–-]{0,40}") {
            if let Ok(set) = NodeSet::parse(&text) && set.len() < 10_000 && let Ok(ids) = set.ids() {
                prop_assert!(ids.len() as u64 <= set.len());
                prop_assert!(ids.iter().all(|id| set.contains(id)));
            }
        }

        #[test]
        fn what_a_set_holds_is_what_it_expands_to(
            text in "([a-b]|\\[[0-9]{1,2}(-[0-9]{2})?(/[23])?\\]|,|!){1,6}",
            id in "[ab0-9]{1,5}",
        ) {
            let set = NodeSet::parse(&text);
            let small = set.ok().filter(|set| set.len() < 10_000);
            if let Some(set) = small && let Ok(ids) = set.ids() {
                let id = Id::parse(&id).unwrap();
                prop_assert_eq!(set.contains(&id), ids.contains(&id));
            }
        }

        #[test]
        fn a_list_of_numbers_comes_back_as_written(numbers in prop::collection::vec(any::<u64>(), 1..20)) {
            let text: Vec<String> = numbers.iter().map(u64::to_string).collect();
            prop_assert_eq!(expand(&text.join(",")), text.clone());
            prop_assert_eq!(expand(&format!("[{}]", text.join(","))), text);
        }
    }
}
