//! Log lines: `log` records with fields, formatted by `env_logger`, written by a [`LogWriter`].
//!
//! As text, or with [`LogFormat::Json`] as one JSON object a line, with the same fields.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd as _;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use env_logger::fmt::style::Style;
use env_logger::{Builder, Env, Target, WriteStyle};
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use log::{Level, Record};
use serde_json::Map;

use super::writer::{CAPACITY, LogWriter};

/// How long the process waits at its end for the log to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The longest value of a field, in bytes; more of it is cut off.
const MAX_VALUE_LEN: usize = 16 << 10;

/// What the log goes to, once it is open.
static LOG: OnceLock<LogWriter> = OnceLock::new();

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// `[time level target] message key=value …`
    #[default]
    Text,
    /// One JSON object a line: `time`, `level`, `target`, `message`, then the fields.
    Json,
}

/// Opens standard error for the log, by a descriptor of its own: the process has one log, and
/// whoever writes to `std::io::stderr` may wait for its reader.
///
/// # Errors
/// If there is no descriptor, or no thread, to be had.
pub fn open(format: LogFormat) -> std::io::Result<LogWriter> {
    let out = std::io::stderr().as_fd().try_clone_to_owned()?;
    let writer = LogWriter::start(out, CAPACITY, move |lines| dropped_line(format, lines))?;
    Ok(LOG.get_or_init(|| writer).clone())
}

/// Installs the logger for what `filter` picks of our own lines, unless `RUST_LOG` says otherwise.
/// The panics of all threads are logged from now on.
pub(crate) fn init(out: Box<dyn Write + Send>, has_colors: bool, format: LogFormat, filter: &str) {
    // The NATS client says the same again at each try to connect; what matters of it comes as
    // events of the connection, which `nats` logs.
    // The HTTP server's parts write an error for each request that is none, of whatever client.
    let default = format!("warn,actix_http=off,async_nats=off,{filter}");
    let mut builder = Builder::from_env(Env::default().default_filter_or(&default));
    // A variable that is set to nothing says nothing.
    if std::env::var_os("RUST_LOG").is_some_and(|filter| filter.is_empty()) {
        builder.parse_filters(&default);
    }
    builder.target(Target::Pipe(out));
    let is_auto = |style: OsString| style.is_empty() || style == "auto";
    if std::env::var_os("RUST_LOG_STYLE").is_none_or(is_auto) {
        builder.write_style(if has_colors {
            WriteStyle::Always
        } else {
            WriteStyle::Never
        });
    }
    match format {
        LogFormat::Text => builder.format(|out, record| {
            let style = out.default_level_style(record.level());
            text_line(out, style, record)
        }),
        LogFormat::Json => builder.format(json_line),
    };
    // Fails only if there is a logger already.
    builder.try_init().ok();
    std::panic::set_hook(Box::new(log_panic));
}

/// Says lines on standard error that are no log lines, in their order with those. What the log has
/// no room for at once, such as a hundred thousand faults, waits for the reader: as long as it goes on
/// reading, 1 s at most for each part.
pub(crate) fn complain(lines: &str) {
    let lines = format!("{lines}\n");
    match LOG.get() {
        Some(log) => {
            let (mut unwritten, mut is_read) = (0, true);
            for line in lines.split_inclusive('\n') {
                unwritten += line.len();
                if unwritten > CAPACITY / 8 {
                    is_read = is_read && log.flush(FLUSH_LIMIT);
                    unwritten = line.len();
                }
                log.push(line.as_bytes());
            }
        }
        // The arguments are bad, so nothing runs yet.
        None => drop(std::io::stderr().write_all(lines.as_bytes())),
    }
}

/// Waits until all that was logged is written, 1 s at most. For the end of the process.
pub(crate) fn flush() {
    if let Some(log) = LOG.get() {
        // What is not written by then is lost with the process.
        let _is_written = log.flush(FLUSH_LIMIT);
    }
}

/// How many lines of the log were dropped, since the start.
#[must_use]
pub fn lines_dropped() -> u64 {
    LOG.get().map(LogWriter::dropped).unwrap_or_default()
}

/// Whether a panic ends the process as soon as its hook has run: one in a `Drop` during another
/// panic, or where code must not unwind. Its text is all that tells it from others.
pub(crate) fn aborts(info: &PanicHookInfo<'_>) -> bool {
    info.payload_as_str().is_some_and(|text| {
        let texts = [
            "a destructor during cleanup",
            "a function that cannot unwind",
        ];
        text.strip_prefix("panic in ")
            .is_some_and(|place| texts.contains(&place))
    })
}

/// Logs a panic; with its backtrace, if `RUST_BACKTRACE` asks for that.
fn log_panic(info: &PanicHookInfo<'_>) {
    let current = std::thread::current();
    let thread = current.name().unwrap_or("unnamed");
    let message = info.payload_as_str().unwrap_or("a panic without a text");
    let at = info.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        log::error!(thread, panic = message, at, backtrace:%; "a thread panicked");
    } else {
        log::error!(thread, panic = message, at; "a thread panicked");
    }
    if aborts(info) {
        flush();
    }
}

/// Logs a line whose fields are not known when the code is written, such as a device's path.
pub(crate) fn event(level: Level, target: &str, message: &str, fields: &[(&str, Value<'_>)]) {
    if level > log::max_level() {
        return;
    }
    log::logger().log(
        &Record::builder()
            .level(level)
            .target(target)
            .args(format_args!("{message}"))
            .key_values(&fields)
            .build(),
    );
}

/// `[time LEVEL target] message key=value …`, where a value that is not one plain word is quoted:
/// whatever a panic or a device says, it stays one line and cannot pass for another field.
fn text_line(out: &mut impl Write, style: Style, record: &Record<'_>) -> std::io::Result<()> {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let level = record.level();
    let (target, message) = (record.target(), cut(record.args().to_string()));
    write!(
        out,
        "[{time} {style}{level:<5}{style:#} {target}] {message}"
    )?;
    let mut fields = Map::new();
    // Collecting fields into a map cannot fail.
    record.key_values().visit(&mut Fields(&mut fields)).ok();
    for (key, value) in fields {
        match value {
            serde_json::Value::String(text) if text.is_empty() || !text.chars().all(is_plain) => {
                write!(out, " {key}={text:?}")?;
            }
            serde_json::Value::String(text) => write!(out, " {key}={text}")?,
            other => write!(out, " {key}={other}")?,
        }
    }
    writeln!(out)
}

fn is_plain(character: char) -> bool {
    !(character.is_whitespace() || character.is_control() || matches!(character, '"' | '='))
}

fn json_line(out: &mut impl Write, record: &Record<'_>) -> std::io::Result<()> {
    let mut line = Map::new();
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    line.insert("time".to_owned(), time.into());
    line.insert(
        "level".to_owned(),
        record.level().as_str().to_ascii_lowercase().into(),
    );
    line.insert("target".to_owned(), record.target().into());
    line.insert("message".to_owned(), cut(record.args().to_string()).into());
    // Collecting fields into a map cannot fail.
    record.key_values().visit(&mut Fields(&mut line)).ok();
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

/// The line that stands in the place of so many that were dropped.
fn dropped_line(format: LogFormat, lines: u64) -> Vec<u8> {
    let mut line = Vec::new();
    let fields = [("lines", Value::from(lines))];
    let record = Record::builder()
        .level(Level::Warn)
        .target(module_path!())
        .args(format_args!(
            "log lines were dropped, they could not be written in time"
        ))
        .key_values(&fields)
        .build();
    // A vector takes everything.
    match format {
        LogFormat::Text => text_line(&mut line, Style::new(), &record).ok(),
        LogFormat::Json => json_line(&mut line, &record).ok(),
    };
    line
}

/// As much of a text as a line has room for.
fn cut(mut text: String) -> String {
    if text.len() > MAX_VALUE_LEN {
        text.truncate(text.floor_char_boundary(MAX_VALUE_LEN));
        text.push('…');
    }
    text
}

/// Collects fields; one that is named like a part of the line does not replace it, and one that has no
/// value is left out.
struct Fields<'a>(&'a mut Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut json = Json(serde_json::Value::Null);
        value.visit(&mut json)?;
        if !json.0.is_null() {
            self.0.entry(key.as_str()).or_insert(json.0);
        }
        Ok(())
    }
}

/// A field's value as JSON: what is neither a number nor a boolean is a text.
struct Json(serde_json::Value);

impl<'v> VisitValue<'v> for Json {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.0 = cut(value.to_string()).into();
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LogFormat, fields: &[(&str, Value<'_>)]) -> String {
        let mut line = Vec::new();
        let mut record = Record::builder();
        record
            .level(Level::Error)
            .target("here")
            .key_values(&fields);
        let message = "ä".repeat(MAX_VALUE_LEN);
        match format {
            LogFormat::Text => text_line(
                &mut line,
                Style::new(),
                &record.args(format_args!("{message}")).build(),
            ),
            LogFormat::Json => {
                json_line(&mut line, &record.args(format_args!("{message}")).build())
            }
        }
        .unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_is_no_longer_than_its_fields_may_be_together() {
        let long = "x\u{1}".repeat(MAX_VALUE_LEN);
        let list = vec!["long"; MAX_VALUE_LEN];
        let fields = [
            ("long", Value::from(long.as_str())),
            ("list", Value::from_debug(&list)),
        ];
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = line(format, &fields);
            // What is escaped takes up to six bytes.
            assert!(line.len() < 3 * 6 * MAX_VALUE_LEN, "{}", line.len());
            assert!(line.ends_with('\n') && !line.trim_end().contains('\n'));
        }
        let json: serde_json::Value =
            serde_json::from_str(&line(LogFormat::Json, &fields)).unwrap();
        let long = json["long"].as_str().unwrap();
        assert!(long.starts_with("x\u{1}x") && long.ends_with('…'));
    }

    #[test]
    fn numbers_and_booleans_stay_what_they_are() {
        let fields = [
            ("count", Value::from(u64::MAX)),
            ("below", Value::from(-1)),
            ("share", Value::from(0.5)),
            ("nan", Value::from(f64::NAN)),
            ("well", Value::from(true)),
            ("letter", Value::from('x')),
            ("kind", Value::from_debug(&Some("y"))),
            ("shown", Value::from_display(&7)),
            ("none", Value::null()),
        ];
        let text = line(LogFormat::Json, &fields);
        let (_, text) = text.split_once("…\",").unwrap();
        assert_eq!(
            text,
            r#""count":18446744073709551615,"below":-1,"share":0.5,"well":true,"letter":"x","kind":"Some(\"y\")","shown":"7"}
"#
        );
    }

    /// Says to the child of a test what it is to do.
    const CHILD: &str = "FLEETCALL_TEST_PANICS";

    /// What a process that logs as the service does says of a panic.
    fn panics(what: &str) -> Vec<serde_json::Value> {
        let path = module_path!();
        let (_, path) = path.split_once("::").unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                &format!("{path}::child"),
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD, what)
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let lines = stderr.lines().filter(|line| line.starts_with('{'));
        lines.map(|it| serde_json::from_str(it).unwrap()).collect()
    }

    #[test]
    #[ignore = "the child of other tests"]
    fn child() {
        struct Worse;
        impl Drop for Worse {
            fn drop(&mut self) {
                panic!("second");
            }
        }
        let Ok(what) = std::env::var(CHILD) else {
            return;
        };
        let log = open(LogFormat::Json).unwrap();
        init(Box::new(log), false, LogFormat::Json, "info");
        let thread = std::thread::Builder::new().name("odd".to_owned());
        let odd = thread.spawn(move || {
            let _worse = (what == "twice").then(|| Worse);
            panic!("first\nof all");
        });
        odd.unwrap().join().unwrap_err();
        flush();
    }

    #[test]
    fn a_panic_of_any_thread_is_one_line_in_the_log() {
        let lines = panics("once");
        let [line] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert_eq!(line["message"], "a thread panicked");
        assert_eq!(line["thread"], "odd");
        assert_eq!(line["panic"], "first\nof all");
        assert!(line["at"].as_str().unwrap().contains("logging.rs:"));
    }

    #[test]
    fn panics_that_end_the_process_are_in_the_log() {
        let lines = panics("twice");
        let texts: Vec<_> = lines.iter().map(|line| &line["panic"]).collect();
        let last = "panic in a destructor during cleanup";
        assert_eq!(texts, ["first\nof all", "second", last]);
    }
}
