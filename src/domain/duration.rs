//! Durations as people write them: the same in the configuration, at the command line and in URLs.

use std::time::Duration;

/// A number and its unit, such as `3s`, `250ms` or `1h 30m`.
///
/// # Errors
/// A text that says what would be right, and what was probably meant.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    // Zero would do without a unit, but then not all is written alike.
    let has_unit = |text: &str| text.contains(|c: char| c.is_alphabetic());
    let parse = |text: &str| {
        humantime::parse_duration(text)
            .ok()
            .filter(|_| has_unit(text))
    };
    if let Some(duration) = parse(text) {
        return Ok(duration);
    }
    let meant = [
        // Which unit a number alone has is not guessed.
        format!("{text}s"),
        text.replace(',', "."),
        text.to_lowercase(),
    ];
    // Where zero is too short, it would be the next mistake.
    let is_some = |it: &String| parse(it).is_some_and(|duration| !duration.is_zero());
    let meant = meant.into_iter().find(is_some);
    let meant = meant.map_or_else(String::new, |it| format!("; did you mean {it:?}?"));
    Err(format!(
        "cannot read {text:?} as a duration; write a number and its unit, such as \"3s\" or \
         \"250ms\"{meant}"
    ))
}

/// In whole milliseconds, for logs and answers.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_its_unit_are_a_duration() {
        for (text, millis) in [
            ("3s", 3000),
            ("250ms", 250),
            ("0s", 0),
            ("1.5s", 1500),
            ("1h 30m", 5_400_000),
            ("2days", 172_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn what_is_none_says_what_would_be_right() {
        for (text, meant) in [
            ("5", "; did you mean \"5s\"?"),
            ("0", "or \"250ms\""),
            ("1,5s", "; did you mean \"1.5s\"?"),
            ("250MS", "; did you mean \"250ms\"?"),
            ("-1s", "or \"250ms\""),
            ("", "or \"250ms\""),
            ("5 parsecs", "or \"250ms\""),
            ("99999999999999999999s", "or \"250ms\""),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.ends_with(meant), "{error}");
        }
    }
}
