//! From a text to the terms of a set, or to what is wrong with it and what was probably meant.

use super::pattern::{Pattern, PatternPart, Range, Term};
use crate::domain::ids::is_id_character;
use crate::domain::{IdError, MAX_NAME_LEN};

/// Hints are for what people write, and looking for one takes a few times as long as reading it.
const MAX_HINTED: usize = 1000;

/// The terms of a set.
pub(super) fn set(text: &str) -> Result<Vec<Term>, String> {
    terms(text).map_err(|why| match repaired(text) {
        Some(right) => format!("{why}; did you mean {right:?}?"),
        None => why,
    })
}

fn terms(text: &str) -> Result<Vec<Term>, String> {
    let mut terms = Vec::new();
    let mut elements = elements(text)?.into_iter().peekable();
    while let Some((takes_away, text)) = elements.next() {
        let text = text.trim();
        if text.is_empty() {
            let is_before_removal = elements.peek().is_some_and(|&(takes_away, _)| takes_away);
            return Err(if takes_away {
                "nothing behind a '!'; write what is taken away there, such as \"n[1-4]!n2\""
            } else if is_before_removal {
                "nothing in front of a '!'; write what it is taken away from there, in the same text, \
                 such as \"n[1-4]!n2\""
            } else {
                "nothing between two commas or at an end; write ids such as \"1-4\" or \
                 \"web[01-40]\", and \"n[1-4]!n2\" for all of them but one"
            }
            .to_owned());
        }
        for (text, pattern) in patterns(text)? {
            terms.push(Term {
                text: text.into(),
                pattern,
                takes_away,
            });
        }
    }
    Ok(terms)
}

/// The elements, and whether each is taken away.
fn elements(text: &str) -> Result<Vec<(bool, &str)>, String> {
    let (mut elements, mut start, mut takes_away, mut open) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match (character, open) {
            ('[', false) => open = true,
            (']', true) => open = false,
            ('[', true) => return Err("a '[' inside brackets; close the first one".to_owned()),
            (']', false) => return Err("a ']' without its '['".to_owned()),
            (',' | '!', false) => {
                elements.push((takes_away, &text[start..at]));
                start = at + 1;
                takes_away = character == '!';
            }
            _ => {}
        }
    }
    if open {
        return Err("a '[' without its ']'".to_owned());
    }
    elements.push((takes_away, &text[start..]));
    Ok(elements)
}

/// The patterns of an element with their texts: one, or one for each range of its only bracket.
fn patterns(text: &str) -> Result<Vec<(String, Pattern)>, String> {
    // `1-4` on its own is a range; in a longer name `-` is a character like others.
    let is_bare_range = {
        let ends = text.split('/').next().unwrap_or_default().split_once('-');
        ends.is_some_and(|(first, last)| is_number(first) && is_number(last))
    };
    if is_bare_range {
        let parts = vec![PatternPart::Ranges(vec![range(text)?])];
        return Ok(vec![(text.to_owned(), Pattern { parts })]);
    }
    if !text.contains('[') {
        refuse_mistaken_range(text)?;
    }
    let behind = text.rsplit(']').next().unwrap_or_default();
    if let Some((of, length)) = behind.split_once('/') {
        return Err(if is_number(length) && is_address(of) {
            format!("{text:?} is a network; write the addresses that are devices")
        } else {
            format!(
                "{text:?} has a '/' where an id has none; the step of a range stands in its brackets, as \
                 in \"web[0-8/2]\""
            )
        });
    }
    let (mut parts, mut rest, mut brackets) = (Vec::new(), text, Vec::new());
    let mut literals_len = 0;
    while let Some((literal, after)) = rest.split_once('[') {
        literals_len += literal.len();
        if !literal.is_empty() {
            parts.push(part(literal)?);
        }
        let (inside, after) = after.split_once(']').ok_or("a '[' without its ']'")?;
        let ranges: Vec<Range> = inside.split(',').map(range).collect::<Result<_, _>>()?;
        parts.push(PatternPart::Ranges(ranges));
        brackets.push(inside);
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(part(rest)?);
    }
    // A bracket is a character of every id at least. Texts stand in each term of a bracket again, and
    // expanding goes as deep as there are parts.
    let shortest = literals_len + rest.len() + brackets.len();
    if shortest > MAX_NAME_LEN {
        return Err(format!(
            "one id of at least {shortest} characters; an id has at most {MAX_NAME_LEN}"
        ));
    }
    let pattern = Pattern { parts };
    let [inside] = brackets[..] else {
        return Ok(vec![(text.to_owned(), pattern)]);
    };
    Ok(by_range(&pattern, inside))
}

/// A pattern with one bracket, by the ranges of that.
fn by_range(pattern: &Pattern, inside: &str) -> Vec<(String, Pattern)> {
    let mut found = Vec::new();
    for (place, written) in inside.split(',').map(str::trim).enumerate() {
        let (mut text, mut parts) = (String::new(), Vec::new());
        for part in &pattern.parts {
            match part {
                PatternPart::Text(literal) => {
                    text.push_str(literal);
                    parts.push(part.clone());
                }
                PatternPart::Ranges(ranges) => {
                    if is_number(written) {
                        text.push_str(written);
                    } else {
                        text.extend(["[", written, "]"]);
                    }
                    let range = ranges.get(place).cloned();
                    parts.push(PatternPart::Ranges(range.into_iter().collect()));
                }
            }
        }
        found.push((text, Pattern { parts }));
    }
    found
}

fn part(literal: &str) -> Result<PatternPart, String> {
    match literal.chars().find(|&c| !is_id_character(c)) {
        Some(bad) => Err(IdError::BadCharacter(bad).to_string()),
        None => Ok(PatternPart::Text(literal.to_owned())),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether it is an IP address, all of it.
fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// The hosts of an IPv4 network that its last number tells apart, such as `10.0.0.[1-254]`.
fn hosts(network: &str) -> Option<String> {
    let (address, length) = network.split_once('/')?;
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    let length: u32 = length.parse().ok().filter(|it| (24..=30).contains(it))?;
    let size = 1_u32 << (32 - length);
    let [a, b, c, d] = address.octets();
    let first = u32::from(d) / size * size;
    // Neither the network itself nor its broadcast address is a host.
    Some(format!("{a}.{b}.{c}.[{}-{}]", first + 1, first + size - 2))
}

/// Of `web[0-8]/2` and `web0-8/2` what was probably meant: `web[0-8/2]`.
fn stepped(element: &str) -> Option<String> {
    let (before, step) = element.rsplit_once('/').filter(|(_, it)| is_number(it))?;
    let bracketed = match unbracketed(before) {
        Some(Unbracketed { range, .. }) => range,
        None => before.to_owned(),
    };
    Some(format!("{}/{step}]", bracketed.strip_suffix(']')?))
}

/// Refuses names that are ranges with a mistake in them; `web-1`, `sw-a-`, `10.0.0.7` and `1-4-2` are
/// names.
fn refuse_mistaken_range(text: &str) -> Result<(), String> {
    let is_of_numbers = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let lacks_a_number = text.starts_with('-') || text.ends_with('-') || text.contains("--");
    if is_of_numbers && lacks_a_number {
        return Err(format!(
            "{text:?} is a range without both its numbers; write them, such as \"1-4\""
        ));
    }
    let before_dots = text.split_once("..").map(|(before, _)| before);
    if before_dots.is_some_and(|it| it.ends_with(|c: char| c.is_ascii_digit())) {
        return Err(format!(
            "{text:?} has dots where a range has a '-'; write \"1-4\" or \"web[1-4]\""
        ));
    }
    if let Some((one, _)) = ends_with_names(text) {
        return Err(format!(
            "{text:?} looks like a range; if it is one id, write {one:?}"
        ));
    }
    Ok(())
}

/// A name and the number at its end, as it is written.
fn numbered(text: &str) -> Option<(&str, &str)> {
    let name = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = &text[name.len()..];
    (!number.is_empty()).then_some((name, number))
}

/// Of `web1-web4` what it is if it is one id, `web1-web[4]`, and what if it is a range, `web[1-4]`.
/// Numbers that follow each other, as in `leaf1-leaf2`, name a pair.
fn ends_with_names(text: &str) -> Option<(String, String)> {
    if text.len() > MAX_NAME_LEN {
        return None;
    }
    text.match_indices('-').find_map(|(at, _)| {
        let (first, last) = (&text[..at], &text[at + 1..]);
        let ((name, from), (same, to)) = (numbered(first)?, numbered(last)?);
        let is_far = to.parse::<u64>().ok()? > from.parse::<u64>().ok()?.saturating_add(1);
        (!name.is_empty() && name == same && is_far).then(|| {
            (
                format!("{first}-{same}[{to}]"),
                format!("{name}[{from}-{to}]"),
            )
        })
    })
}

/// A name that may be a range without its brackets, such as `web01-04`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unbracketed {
    /// As a range: `web[01-04]`.
    pub(super) range: String,
    /// As one id that nobody takes for a range: `web01-[04]`.
    pub(super) one: String,
    /// Whether its numbers have leading zeros and the same width, as those of ranges do.
    pub(super) is_padded: bool,
}

/// What a name would be as a range, if it can be one.
pub(super) fn unbracketed(text: &str) -> Option<Unbracketed> {
    let (first, to) = text.rsplit_once('-')?;
    let (name, from) = numbered(first)?;
    let is_ascending = from.parse::<u64>().ok()? < to.parse::<u64>().ok()?;
    let has_number = name.contains(|c: char| c.is_ascii_digit());
    if name.is_empty() || name.contains('[') || has_number || !is_number(to) || !is_ascending {
        return None;
    }
    let range = format!("{name}[{from}-{to}]");
    terms(&range).ok()?;
    Some(Unbracketed {
        range,
        one: format!("{first}-[{to}]"),
        is_padded: from.starts_with('0') && from.len() == to.len(),
    })
}

fn range(text: &str) -> Result<Range, String> {
    let text = text.trim();
    let number = |digits: &str| {
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!(
                "{text:?} is no number or range; write \"7\", \"1-4\" or \"0-8/2\""
            ));
        }
        digits
            .parse::<u64>()
            .map_err(|_| format!("{digits} is too large, at most {}", u64::MAX))
    };
    let (ends, step) = match text.split_once('/') {
        Some((ends, step)) => (ends, number(step)?),
        None => (text, 1),
    };
    if ends != text && is_number(ends) {
        return Err(format!(
            "{text:?} has a step and no range; write \"{ends}\", or a range such as \"0-8/2\""
        ));
    }
    let (first, last) = ends.split_once('-').unwrap_or((ends, ends));
    let padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
    let padding = padded(first) || padded(last);
    let width = if padding { first.len() } else { 1 };
    if width > MAX_NAME_LEN {
        return Err(format!(
            "a number of {width} digits, zeros included; an id has at most {MAX_NAME_LEN} characters"
        ));
    }
    let range = Range {
        first: number(first)?,
        last: number(last)?,
        step,
        width,
    };
    if step == 0 {
        return Err(format!("{text:?} has a step of 0; the smallest is 1"));
    }
    if range.last < range.first {
        return Err(format!("{text:?} counts down; write \"{last}-{first}\""));
    }
    if step > 1 && step > range.last - range.first {
        return Err(format!(
            "{text:?} holds {first} alone, as its step is larger than the range; write \"{first}\", or a \
             smaller step, such as \"0-8/2\""
        ));
    }
    if padding && last.len() != first.len() {
        return Err(format!(
            "{text:?} mixes widths; write both ends with as many digits"
        ));
    }
    Ok(range)
}

/// What was probably meant by a text that is no set.
fn repaired(text: &str) -> Option<String> {
    /// Stands for all that was written in the place of a range's `-`.
    const DASH: &str = "–";
    if text.len() > MAX_HINTED {
        return None;
    }
    let mut fixed = text.to_owned();
    for wrong in [
        "->", "=>", "..=", "...", "..", "\u{2010}", "\u{2011}", "\u{2012}",
    ] {
        fixed = fixed.replace(wrong, DASH);
    }
    for (wrong, right) in [
        (&['—', '−', '~', ':'][..], DASH),
        (&['{', '('][..], "["),
        (&['}', ')'][..], "]"),
        (&[';', '\u{ff0c}', '\u{3001}'][..], ","),
    ] {
        fixed = fixed.replace(wrong, right);
    }
    let mut words = fixed.split_whitespace();
    let mut joined = words.next()?.to_owned();
    for word in words {
        // As people say it.
        let word = match word.to_ascii_lowercase().as_str() {
            "to" | "through" | "thru" | "till" | "until" => DASH,
            "and" | "or" | "&" => ",",
            _ => word,
        };
        // Blanks around what joins are just blanks; others stand in the place of a comma.
        let is_joint = |c: char| matches!(c, '-' | '–' | ',' | '!' | '/' | '[' | ']');
        if !joined.ends_with(is_joint) && !word.starts_with(is_joint) {
            joined.push(',');
        }
        joined.push_str(word);
    }
    if joined.matches('[').count() == joined.matches(']').count() + 1 {
        joined.push(']');
    }
    let elements = joined.split(',').filter(|it| !it.is_empty());
    let elements = elements.map(|element| {
        let element = element.trim_end_matches(['/', '!']);
        if let Some(meant) = hosts(element).or_else(|| stepped(element)) {
            return meant;
        }
        if let Some((first, last)) = element.split_once(DASH)
            && let (Some((name, from)), Some((other, to))) = (numbered(first), numbered(last))
            && (other.is_empty() || other == name)
        {
            return if name.is_empty() {
                format!("{from}-{to}")
            } else {
                format!("{name}[{from}-{to}]")
            };
        }
        // `1-` may be `1`, or a range that was not finished.
        let open = element.trim_end_matches(']');
        let ends = open.trim_end_matches('-');
        let numbers = ends.rsplit('[').next().unwrap_or_default();
        let is_range = numbers.contains('-') && numbers.split('-').all(is_number);
        let element = if is_range {
            format!("{ends}{}", &element[open.len()..])
        } else {
            element.to_owned()
        };
        let element = element.as_str();
        // As `web1-4]`, which lacks its '['.
        let unopened = element.strip_suffix(']').filter(|it| !it.contains('['));
        if let Some(Unbracketed { range, .. }) = unopened.and_then(unbracketed) {
            return range;
        }
        let bare = element
            .strip_prefix('[')
            .and_then(|it| it.strip_suffix(']'));
        let element = bare
            .filter(|it| ends_with_names(it).is_some())
            .unwrap_or(element);
        match ends_with_names(element) {
            Some((_, range)) => range,
            None => element.replace(DASH, "-"),
        }
    });
    let fixed = elements.collect::<Vec<_>>().join(",");
    (fixed != text && terms(&fixed).is_ok()).then_some(fixed)
}

#[cfg(test)]
mod tests {
    use crate::domain::{MAX_NAME_LEN, NodeSet};

    fn fault(text: &str) -> String {
        NodeSet::parse(text).unwrap_err()
    }

    #[test]
    fn what_was_probably_meant_is_said() {
        for (text, meant) in [
            ("1-4-", "1-4"),
            ("1..4", "1-4"),
            ("1...4", "1-4"),
            ("1..=4", "1-4"),
            ("web1..4", "web[1-4]"),
            ("1–4", "1-4"),
            ("web1–4", "web[1-4]"),
            ("web[1–4]", "web[1-4]"),
            ("1—4", "1-4"),
            ("web[1..4]", "web[1-4]"),
            ("web{1..4}", "web[1-4]"),
            ("web(1-4)", "web[1-4]"),
            ("web1-web4", "web[1-4]"),
            ("web01-web04", "web[01-04]"),
            ("web1..web4", "web[1-4]"),
            ("1 - 4", "1-4"),
            ("web[1 - 4]", "web[1-4]"),
            ("web1 web2", "web1,web2"),
            ("web1;web2", "web1,web2"),
            ("a[1-4", "a[1-4]"),
            ("1-4/", "1-4"),
            ("1-4,,", "1-4"),
            ("1,,2", "1,2"),
            (",1", "1"),
            ("1-4!", "1-4"),
            ("3:7", "3-7"),
            ("1 to 4", "1-4"),
            ("1 To 4, 7", "1-4,7"),
            ("web1 through web4", "web[1-4]"),
            ("web01 to 04", "web[01-04]"),
            ("web[1 to 4]", "web[1-4]"),
            ("web01:04", "web[01-04]"),
            ("web1 and web3", "web1,web3"),
            ("[web01-web04]", "web[01-04]"),
            ("n[1-4-]", "n[1-4]"),
            ("n[1-4-,7]", "n[1-4,7]"),
            ("1->4", "1-4"),
            ("web1->web4", "web[1-4]"),
            ("n[1->4]", "n[1-4]"),
            ("n1-4]", "n[1-4]"),
            ("web[0-8]/2", "web[0-8/2]"),
            ("web0-8/2", "web[0-8/2]"),
            ("r[1-2]n[0-8]/2", "r[1-2]n[0-8/2]"),
            ("1..8/2", "1-8/2"),
            ("10.0.0.0/24", "10.0.0.[1-254]"),
            ("10.0.0.77/26, a", "10.0.0.[65-126],a"),
        ] {
            let error = fault(text);
            let hint = format!("; did you mean {meant:?}?");
            assert!(error.ends_with(&hint), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_guessed_says_what_would_be_right() {
        for (text, right) in [
            ("1-", "\"1-\" is a range without both its numbers"),
            ("-4", "\"-4\" is a range without both its numbers"),
            ("1--4", "without both its numbers"),
            ("web[1-]", "\"1-\" is no number or range"),
            ("4-1", "counts down; write \"1-4\""),
            ("web[4-1]", "counts down; write \"1-4\""),
            ("1..", "has dots where a range has a '-'"),
            ("web1-web4", "if it is one id, write \"web1-web[4]\""),
            ("web*", "'*' cannot stand in an id"),
            (
                "!a",
                "nothing in front of a '!'; write what it is taken away from there",
            ),
            ("", "nothing between two commas or at an end"),
            ("a!", "nothing behind a '!'"),
            ("a!!b", "nothing behind a '!'"),
            ("a,!b", "nothing in front of a '!'"),
            ("a&b", "'&' cannot stand in an id"),
            (
                "1-4/9",
                "\"1-4/9\" holds 1 alone, as its step is larger than the range; write \"1\", or a smaller",
            ),
            ("1-4/4", "holds 1 alone"),
            ("web[01-04/9]", "\"01-04/9\" holds 01 alone"),
            ("n[7/2]", "\"7/2\" has a step and no range; write \"7\""),
            ("1/4", "has a '/' where an id has none"),
            (
                "10.0.0.0/8",
                "\"10.0.0.0/8\" is a network; write the addresses",
            ),
            ("10.0.0.7/32", "is a network"),
            ("eth0/1", "has a '/' where an id has none"),
        ] {
            let error = fault(text);
            assert!(error.contains(right), "{text:?}: {error}");
        }
    }

    #[test]
    fn names_of_real_machines_stay_names() {
        for text in [
            "web-1",
            "web1-4",
            "sw-a-",
            "web-1-",
            "10.0.0.7",
            "1.4",
            "1-4-2",
            "leaf1-leaf2",
            "core2-core1",
            "a..b",
            "db1-web4",
            "r1n4-mgmt",
            "ip-10-0-0-7",
        ] {
            let set = NodeSet::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let ids: Vec<String> = set.ids().unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(ids, [text]);
        }
        // What looks like a mistake can be written all the same.
        for (text, id) in [("sw1-sw[4]", "sw1-sw4"), ("[1]-", "1-"), ("[1]..4", "1..4")] {
            let ids = NodeSet::parse(text).unwrap().ids().unwrap();
            assert_eq!(ids[0].to_string(), id);
        }
    }

    #[test]
    fn a_long_text_that_is_no_set_costs_little() {
        assert!(fault(&"1..4,".repeat(100_000)).ends_with("\"web[1-4]\""));
        assert!(fault(&"a-".repeat(500_000)).contains("at least 1000000 characters"));
    }

    #[test]
    fn a_text_that_no_id_has_room_for_is_refused_before_it_stands_in_each_term() {
        let long = "a".repeat(MAX_NAME_LEN);
        assert!(NodeSet::parse(&long).is_ok());
        for text in [
            long.clone() + "a",
            long.clone() + "[1,1,1]",
            format!("[1,1]{long}"),
            format!("{}[1,1]{}", &long[..200], &long[..200]),
        ] {
            let shortest = text.len() - text.find(']').map_or(0, |at| at - text.find('[').unwrap());
            let why = format!("one id of at least {shortest} characters; an id has at most 253");
            assert_eq!(fault(&text), why, "{text}");
        }
    }
}
