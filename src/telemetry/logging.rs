//! Log lines: `log` records with fields, written by `env_logger` to standard error.
//!
//! As text, or with [`LogFormat::Json`] as one JSON object a line, with the same fields.

use std::io::Write;
use std::time::SystemTime;

use env_logger::fmt::Formatter;
use env_logger::{Builder, Env, Target, WriteStyle};
use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Record};
use serde_json::Map;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// `[time level target] message key=value …`
    #[default]
    Text,
    /// One JSON object a line: `time`, `level`, `target`, `message`, then the fields.
    Json,
}

/// Installs the logger: from `level` on, unless `RUST_LOG` says otherwise.
///
/// A second call changes nothing, so that several services can run in one test process.
pub fn init(format: LogFormat, level: LevelFilter) {
    install(builder(level), format);
}

/// As [`init`], to something that stands for a terminal's standard error; with colours, or not.
pub(crate) fn init_on(
    out: Box<dyn Write + Send>,
    has_colors: bool,
    format: LogFormat,
    level: LevelFilter,
) {
    let mut builder = builder(level);
    builder.target(Target::Pipe(out));
    if std::env::var_os("RUST_LOG_STYLE").is_none() {
        builder.write_style(if has_colors {
            WriteStyle::Always
        } else {
            WriteStyle::Never
        });
    }
    install(builder, format);
}

fn builder(level: LevelFilter) -> Builder {
    let default = format!("warn,fleetcall={level}");
    Builder::from_env(Env::default().default_filter_or(default))
}

fn install(mut builder: Builder, format: LogFormat) {
    match format {
        LogFormat::Text => builder.format(text_line),
        LogFormat::Json => builder.format(json_line),
    };
    // Fails only if there is a logger already.
    builder.try_init().ok();
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
fn text_line(out: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let level = record.level();
    let style = out.default_level_style(level);
    write!(
        out,
        "[{time} {style}{level:<5}{style:#} {}] {}",
        record.target(),
        record.args()
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

fn json_line(out: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let mut line = Map::new();
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    line.insert("time".to_owned(), time.into());
    line.insert(
        "level".to_owned(),
        record.level().as_str().to_ascii_lowercase().into(),
    );
    line.insert("target".to_owned(), record.target().into());
    line.insert("message".to_owned(), record.args().to_string().into());
    // Collecting fields into a map cannot fail.
    record.key_values().visit(&mut Fields(&mut line)).ok();
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

/// Collects fields; one that is named like a part of the line does not replace it.
struct Fields<'a>(&'a mut Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value = serde_json::to_value(&value).unwrap_or_else(|_| value.to_string().into());
        self.0.entry(key.as_str()).or_insert(value);
        Ok(())
    }
}
