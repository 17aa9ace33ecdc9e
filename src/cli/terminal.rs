//! What a terminal can show, and what must not get there: width, colours, control characters.
//!
//! It also keeps one line of progress apart from the log, which goes to the same terminal.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use unicode_width::UnicodeWidthChar as _;

use crate::telemetry::LogWriter;

/// If nobody knows, as terminals always were.
const USUAL_WIDTH: usize = 80;

/// How far the lines stand in that a long one goes on with.
pub(super) const INDENT: usize = 4;

/// Goes to the start of the line and erases it (ECMA-48, EL).
const ERASE_LINE: &str = "\r\x1b[K";

/// What an output can do; one that is no terminal can nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terminal {
    /// Columns; `None` does not end.
    pub(super) width: Option<usize>,
    /// Whether it is there to be looked at.
    pub(super) is_terminal: bool,
    /// Whether it obeys control sequences.
    pub(super) obeys: bool,
    /// Whether colours are wanted; see <https://no-color.org>.
    pub(super) has_colors: bool,
}

impl Terminal {
    pub(super) fn of(output: &(impl IsTerminal + AsFd)) -> Self {
        let is_terminal = output.is_terminal();
        let obeys = is_terminal && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        let has_no_color = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        Self {
            width: is_terminal.then(|| width(output)),
            is_terminal,
            obeys,
            has_colors: obeys && !has_no_color,
        }
    }

    /// The text in this colour, if there are any.
    pub(super) fn paint(self, color: Color, text: &str) -> String {
        if !self.has_colors {
            return text.to_owned();
        }
        let code = color as u8;
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// `COLUMNS` overrides what the terminal says, as usual.
fn width(output: &impl AsFd) -> usize {
    let columns = std::env::var("COLUMNS").ok();
    let columns = columns.and_then(|text| text.parse().ok());
    let asked = || {
        let size = rustix::termios::tcgetwinsize(output).ok()?;
        Some(usize::from(size.ws_col))
    };
    let width = columns.or_else(asked).filter(|&width| width > 0);
    width.unwrap_or(USUAL_WIDTH)
}

/// Colours by their codes (ECMA-48, SGR). None says anything that no word says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Color {
    Bold = 1,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// A text on one line, with nothing that the terminal obeys or that shows it in another order.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Control characters, line ends, and those that turn the direction of writing.
pub(super) fn steers(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The columns that a text takes; of a plain one.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or_default()).sum()
}

/// A plain text, cut to so many columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 0);
    for character in text.chars() {
        used += character.width().unwrap_or_default();
        // The last column is for the sign that there was more.
        if used >= width {
            break;
        }
        kept.push(character);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// A plain text, its middle left out so that it takes so many columns.
pub(super) fn cut_middle(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let end_width = width.saturating_sub(1) / 2;
    let mut end = text.len();
    let mut used = 0;
    for (at, character) in text.char_indices().rev() {
        used += character.width().unwrap_or_default();
        if used > end_width {
            break;
        }
        end = at;
    }
    let kept = cut(text, width.saturating_sub(columns(&text[end..])));
    format!("{kept}{}", &text[end..])
}

/// A plain text on as many lines as it takes, each of at most so many columns.
pub(super) fn fold(text: &str, width: usize) -> Vec<&str> {
    let (mut lines, mut start, mut used) = (Vec::new(), 0, 0);
    for (at, character) in text.char_indices() {
        let more = character.width().unwrap_or_default();
        if used + more > width && at > start {
            lines.push(&text[start..at]);
            (start, used) = (at, 0);
        }
        used += more;
    }
    lines.push(&text[start..]);
    lines
}

/// A plain text on lines of at most so many columns, broken between words if it can be. All but the
/// first one stand [`INDENT`] columns further in than that.
pub(super) fn wrap(text: &str, width: Option<usize>) -> String {
    let Some(width) = width.filter(|&width| columns(text) > width) else {
        return text.to_owned();
    };
    let own = text.len() - text.trim_start_matches(' ').len();
    let indent = (own + INDENT).min(width / 2);
    let (mut wrapped, mut rest, mut room) = (String::new(), text, width);
    while columns(rest) > room {
        let first = fold(rest, room)[0].len();
        // A blank may stand where the line ends.
        let up_to = rest.ceil_char_boundary(first + 1);
        let words = rest.len() - rest.trim_start_matches(' ').len();
        let blank = rest[..up_to].rfind(' ').filter(|&at| at > words);
        let (line, after) = rest.split_at(blank.unwrap_or(first));
        wrapped.push_str(line.trim_end_matches(' '));
        wrapped.push('\n');
        wrapped.push_str(&" ".repeat(indent));
        (rest, room) = (after.trim_start_matches(' '), width - indent);
    }
    wrapped + rest
}

/// JSON that says the same with nothing in it that a terminal obeys. What JSON does not let stand
/// unescaped in strings is a blank between its parts.
pub(super) fn plain_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\n' => safe.push(character),
            '\r' | '\t' => safe.push(' '),
            _ if steers(character) => {
                safe.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => safe.push(character),
        }
    }
    safe
}

/// Lines with nothing else in them that a terminal obeys.
pub(super) fn plain_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(plain).collect();
    lines.join("\n")
}

/// Fills a plain text up to so many columns.
pub(super) fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(missing))
}

/// The log at a terminal, with a line of progress at its end. Whatever else is written takes its
/// place; it comes back when it is drawn the next time. Every clone is the same.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    log: LogWriter,
    /// Whether the line is there, when all that the log holds is written.
    is_drawn: Arc<Mutex<bool>>,
}

impl Screen {
    pub(super) fn new(log: LogWriter) -> Self {
        Self {
            log,
            is_drawn: Arc::default(),
        }
    }

    /// Draws the line, which has to be shorter than the terminal is wide.
    pub(super) fn draw(&self, line: &str) {
        let mut is_drawn = self.is_drawn();
        self.log.push(format!("{ERASE_LINE}{line}").as_bytes());
        *is_drawn = true;
    }

    /// Erases the line.
    pub(super) fn clear(&self) {
        self.clear_below(&mut self.is_drawn());
    }

    fn clear_below(&self, is_drawn: &mut bool) {
        if std::mem::take(is_drawn) {
            self.log.push(ERASE_LINE.as_bytes());
        }
    }

    fn is_drawn(&self) -> MutexGuard<'_, bool> {
        self.is_drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut is_drawn = self.is_drawn();
        self.clear_below(&mut is_drawn);
        self.log.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(columns("測試ab"), 6);
        assert_eq!(cut("測試ab", 6), "測試ab");
        assert_eq!(cut("測試ab", 5), "測試…");
        assert_eq!(cut("測試ab", 4), "測…");
        assert_eq!(pad("測", 4), "測  ");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn both_ends_of_a_long_name_stay() {
        assert_eq!(cut_middle("web-abcdef-01", 9), "web-…f-01");
        assert_eq!(cut_middle("測試測試測試", 7), "測試…試");
        assert_eq!(cut_middle("abc", 1), "…");
        assert_eq!(fold("abcdefg", 3), ["abc", "def", "g"]);
    }

    #[test]
    fn json_says_the_same_with_nothing_that_steers() {
        let json = "{\r\n\t\"a\":\"\u{9b}2J\u{202e}x\\u001b\"}";
        let safe = plain_json(json);
        assert!(!safe.contains(|c: char| steers(c) && c != '\n'), "{safe:?}");
        let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(value(&safe), value(json));
    }

    #[test]
    fn nothing_is_left_that_steers() {
        assert_eq!(
            plain("\u{1b}[2J\u{9b}1m\r\n\u{202e}x"),
            "\u{fffd}[2J\u{fffd}1m\u{fffd}\u{fffd}\u{fffd}x"
        );
    }

    #[test]
    fn a_long_line_goes_on_further_in() {
        let text = "    timed_out: no answer within 300ms";
        assert_eq!(wrap(text, None), text);
        assert_eq!(wrap(text, Some(columns(text))), text);
        let wrapped = "    timed_out: no\n        answer within\n        300ms";
        assert_eq!(wrap(text, Some(21)), wrapped);
        // One blank too many for the line to hold all of it.
        assert_eq!(wrap("ab cd ef", Some(5)), "ab cd\n  ef");
        assert_eq!(wrap("abcdefgh", Some(5)), "abcde\n  fgh");
        assert_eq!(wrap("abc  defgh", Some(6)), "abc\n   def\n   gh");
    }

    proptest! {
        #[test]
        fn what_is_wrapped_is_all_there_and_fits(text in "(\\PC| ){0,40}", width in 4_usize..30) {
            let wrapped = wrap(&text, Some(width));
            prop_assert!(wrapped.lines().all(|line| columns(line) <= width), "{wrapped:?}");
            let words = |text: &str| text.replace([' ', '\n'], "");
            prop_assert_eq!(words(&wrapped), words(&text));
        }

        #[test]
        fn what_is_cut_fits(text in "\\PC{0,40}", width in 0_usize..30) {
            for cut in [cut(&text, width), cut_middle(&text, width)] {
                prop_assert!(columns(&cut) <= width, "{cut:?}");
                prop_assert!(cut == text || columns(&text) > width);
            }
        }

        #[test]
        fn what_is_folded_is_all_there(text in "\\PC{0,40}", width in 2_usize..30) {
            let folded = fold(&text, width);
            prop_assert_eq!(folded.concat(), text.as_str());
            prop_assert!(folded.iter().all(|line| columns(line) <= width), "{folded:?}");
        }
    }
}
