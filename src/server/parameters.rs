//! The parameters in the query of a request: each known, given once, and not empty.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::Query;

use super::error::Problem;
use crate::domain::{did_you_mean, parse_duration};

/// The characters of a value that a message shows.
const MAX_SHOWN: usize = 100;

/// What the query of a request gives.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query.
    ///
    /// # Errors
    /// If a parameter is none of `known`, is given twice, or is empty.
    pub(super) fn read(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let given = Query::<Vec<(String, String)>>::from_query(request.query_string());
        let given =
            given.map_err(|error| Problem::bad(format!("the query cannot be read: {error}")))?;
        let given = given.into_inner();
        for (place, (name, value)) in given.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let right = match known {
                    [] => "none is known here".to_owned(),
                    [one] => format!("known here is `{one}`"),
                    known => {
                        let known: Vec<String> = known.iter().map(|it| format!("`{it}`")).collect();
                        format!("known here are {}", known.join(", "))
                    }
                };
                return Err(Problem::bad(format!(
                    "unknown parameter {}; {right}{}",
                    shown(name),
                    did_you_mean(name, known)
                )));
            }
            if given[..place].iter().any(|(other, _)| other == name) {
                return Err(Problem::bad(format!(
                    "`{name}` is given more than once; write it once, several ids with commas"
                )));
            }
            if value.is_empty() {
                return Err(Problem::bad(format!(
                    "`{name}` is empty; give it a value, or leave it out"
                )));
            }
        }
        Ok(Self(given))
    }

    /// The value of a parameter.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let given = self.0.iter().find(|(given, _)| given == name);
        given.map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that takes one of these.
    ///
    /// # Errors
    /// If it is another one.
    pub(super) fn one_of<T: Copy>(
        &self,
        name: &str,
        values: &[(&str, T)],
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let value = values.iter().find(|(value, _)| *value == text);
        let value = value.ok_or_else(|| {
            let names = || values.iter().map(|(value, _)| *value);
            let right: Vec<String> = names().map(|it| format!("`{it}`")).collect();
            let (last, others) = right
                .split_last()
                .map_or((String::new(), &[][..]), |(last, it)| (last.clone(), it));
            Problem::bad(format!(
                "`{name}` is {}; write {} or {last}{}",
                shown(text),
                others.join(", "),
                did_you_mean(text, names())
            ))
        });
        value.map(|(_, value)| Some(*value))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// If it is something else.
    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.one_of(name, &[("true", true), ("false", false)])
    }

    /// A duration.
    ///
    /// # Errors
    /// If it is none, or shorter than `min`.
    pub(super) fn duration(&self, name: &str, min: Duration) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let text = clipped(text);
        let duration =
            parse_duration(&text).map_err(|why| Problem::bad(format!("`{name}`: {why}")))?;
        if duration < min {
            let min = humantime::format_duration(min);
            return Err(Problem::bad(format!(
                "`{name}` is {text:?}, which is too short; write at least {min}"
            )));
        }
        Ok(Some(duration))
    }

    /// A number.
    ///
    /// # Errors
    /// If it is none, or larger than `max`.
    pub(super) fn number(&self, name: &str, max: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text
            .parse()
            .ok()
            .filter(|number| is_number && *number <= max);
        number.map(Some).ok_or_else(|| {
            Problem::bad(format!(
                "`{name}` is {}; write a number from 0 to {max}",
                shown(text)
            ))
        })
    }
}

/// A value as a message quotes it.
pub(super) fn shown(text: &str) -> String {
    format!("{:?}", clipped(text))
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
