//! Words of messages: counted nouns, and what was probably meant by a word that is not known.

use std::fmt::Display;

/// Candidates that are compared at most: a comparison takes about a microsecond, and a fleet may
/// have a million devices.
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

/// The candidate that was probably meant by `given`: the first of those that differ least, in a third
/// of their characters at most.
pub(crate) fn nearest<T: AsRef<str>>(
    given: &str,
    candidates: impl IntoIterator<Item = T>,
) -> Option<T> {
    if given.len() > MAX_LEN {
        return None;
    }
    let given = given.to_lowercase();
    let distance = |candidate: &str| {
        let longest = given.len().max(candidate.len());
        let most = (longest / 3).max(1);
        if candidate.len() > MAX_LEN || given.len().abs_diff(candidate.len()) > most {
            return None;
        }
        let distance = strsim::osa_distance(&given, &candidate.to_lowercase());
        (distance <= most && distance < longest).then_some(distance)
    };
    let near = candidates.into_iter().take(MAX_CANDIDATES);
    let near = near.filter_map(|it| Some((distance(it.as_ref())?, it)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, it)| it)
}

/// `; did you mean "…"?` if a candidate was probably meant by `given`, else nothing.
pub(crate) fn did_you_mean<T: AsRef<str>>(
    given: &str,
    candidates: impl IntoIterator<Item = T>,
) -> String {
    let near = nearest(given, candidates);
    near.map_or_else(String::new, |near| {
        format!("; did you mean {:?}?", near.as_ref())
    })
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

/// `there are a, b and 7 more`, `there is a`: what there is, as far as a message names it.
pub(crate) fn known<T: Display>(names: impl IntoIterator<Item = T>, count: usize) -> String {
    match count {
        0 => "there is none at all".to_owned(),
        1 => format!("there is {}", first_of(names, count)),
        _ => format!("there are {}", first_of(names, count)),
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
            assert_eq!(nearest(given, keys), meant, "{given:?}");
        }
        // Of one character nothing is left that is alike.
        assert_eq!(nearest("7", ["1", "2"]), None);
        assert_eq!(nearest("web9", ["web10", "web1", "web2"]), Some("web1"));
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
        assert_eq!(known([0; 0], 0), "there is none at all");
        assert_eq!(known(["a"], 1), "there is a");
        assert_eq!(known(["a", "b"], 2), "there are a, b");
    }
}
