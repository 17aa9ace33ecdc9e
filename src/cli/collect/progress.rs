//! The line that shows how far a roll call is.

use std::time::Duration;

use super::roll::Tally;
use crate::cli::terminal::{Color, Terminal, columns, cut};

/// The bar's columns at most, and what is too short to be one.
const WIDEST_BAR: usize = 30;
const NARROWEST_BAR: usize = 6;

/// One line that fits: a bar, how many have answered of how many, and how many with which outcome.
pub(super) fn line(tally: &Tally, elapsed: Duration, terminal: Terminal) -> String {
    // The last column stays free, as terminals differ in what they do after it.
    let width = terminal.width.unwrap_or(usize::MAX).saturating_sub(1);
    let (heard, asked) = (tally.heard(), tally.asked);
    let mut parts = vec![(None, format!("{heard}/{asked}"))];
    if tally.ok > 0 {
        parts.push((Some(Color::Green), format!("ok {}", tally.ok)));
    }
    for (kind, count) in tally.by_kind() {
        parts.push((Some(Color::Red), format!("{kind} {count}")));
    }
    parts.push((None, format!("{} s", elapsed.as_secs())));
    let plain: Vec<&str> = parts.iter().map(|(_, text)| text.as_str()).collect();
    let plain = plain.join("  ");
    let room = width.saturating_sub(columns(&plain) + 4).min(WIDEST_BAR);
    if columns(&plain) > width {
        return cut(&plain, width);
    }
    let painted: Vec<String> = parts
        .iter()
        .map(|(color, text)| match color {
            Some(color) => terminal.paint(*color, text),
            None => text.clone(),
        })
        .collect();
    let painted = painted.join("  ");
    if room < NARROWEST_BAR {
        return painted;
    }
    let full = (heard * room).checked_div(asked).unwrap_or_default();
    let (full, empty) = ("#".repeat(full), ".".repeat(room - full));
    format!("[{full}{empty}]  {painted}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::collect::roll::{DeviceRoll, Heard};
    use crate::domain::{DeviceKind, Facts, Fault, FaultKind, Id};

    fn tally() -> Tally {
        let fault = || Err(Fault::new(FaultKind::TimedOut, "").into());
        let outcomes = [
            Some(Ok(Facts::default())),
            Some(fault()),
            Some(fault()),
            None,
        ];
        let device = |outcome| DeviceRoll {
            kind: DeviceKind::Node,
            id: Id::number(1),
            heard: Option::map(outcome, |outcome| Heard {
                outcome,
                took: None,
            }),
        };
        Tally::of(&outcomes.map(device))
    }

    fn terminal(width: usize, has_colors: bool) -> Terminal {
        Terminal {
            width: Some(width),
            is_terminal: true,
            obeys: true,
            has_colors,
        }
    }

    #[test]
    fn the_line_counts_outcomes_and_fits() {
        let drawn = |width| {
            line(
                &tally(),
                Duration::from_millis(2900),
                terminal(width, false),
            )
        };
        assert_eq!(
            drawn(100),
            format!(
                "[{}{}]  3/4  ok 1  timed_out 2  2 s",
                "#".repeat(22),
                ".".repeat(8)
            )
        );
        assert_eq!(drawn(39), "[#####..]  3/4  ok 1  timed_out 2  2 s");
        assert_eq!(drawn(30), "3/4  ok 1  timed_out 2  2 s");
        assert_eq!(drawn(20), "3/4  ok 1  timed_o…");
    }

    #[test]
    fn colors_say_nothing_that_words_do_not() {
        let colored = line(&tally(), Duration::ZERO, terminal(60, true));
        assert!(
            colored.contains("\u{1b}[32mok 1\u{1b}[0m  \u{1b}[31mtimed_out 2"),
            "{colored:?}"
        );
        let codes = ["\u{1b}[32m", "\u{1b}[31m", "\u{1b}[0m"];
        let plain = codes
            .iter()
            .fold(colored, |text, code| text.replace(code, ""));
        assert_eq!(plain, line(&tally(), Duration::ZERO, terminal(60, false)));
    }

    #[test]
    fn nobody_to_ask_is_drawn_too() {
        let line = line(&Tally::default(), Duration::ZERO, terminal(60, false));
        assert!(
            line.starts_with("[....") && line.ends_with("0/0  0 s"),
            "{line}"
        );
    }
}
