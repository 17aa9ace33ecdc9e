//! Reading values and whole tables from an agent.
//!
//! It does not know what they mean. A table is read by GETBULK, several columns at once, with
//! fewer rows a request when answers are too big or missing. It ends: names have to increase, and
//! there is a limit on variables.

use std::collections::BTreeMap;

use super::message::{Ask, Oid, SnmpAnswer, Value, protocol};
use super::session::SnmpSession;
use crate::domain::LookupError;

/// The most rows that are asked for at once.
const MAX_REPETITIONS: usize = 20;

/// The most values that are asked for at once: an answer should not need many packets.
const MAX_VALUES: usize = 100;

/// The most variables of a lookup.
const MAX_VARIABLES: usize = 100_000;

const TOO_BIG: u32 = 1;
const NO_ACCESS: u32 = 6;
const AUTHORIZATION_ERROR: u32 = 16;

/// The rows of a table by their index, each with its value in each column that was asked for.
pub(super) type TableRows = BTreeMap<Oid, Vec<Value>>;

impl SnmpSession {
    /// The values of these, in their order.
    pub(super) async fn get(&mut self, names: &[Oid]) -> Result<Vec<Value>, LookupError> {
        let answer = self.request(|_| Ask::Get(names.to_vec())).await?;
        check(&answer)?;
        self.count(answer.variables.len())?;
        let found = answer.variables.iter().map(|variable| &variable.name);
        if !found.eq(names) {
            return Err(protocol("it answers something else than what was asked"));
        }
        Ok(answer.variables.into_iter().map(|it| it.value).collect())
    }

    /// The rows of a table; a value that a row has not is [`Value::Missing`].
    pub(super) async fn table(&mut self, columns: &[Oid]) -> Result<TableRows, LookupError> {
        let mut rows = TableRows::new();
        // The last name found in each column that has not ended.
        let mut last: Vec<Option<Oid>> = columns.iter().cloned().map(Some).collect();
        let mut pace = Pace::new(columns.len());
        loop {
            let open = last.iter().enumerate();
            let open = open.filter_map(|(column, name)| Some((column, name.clone()?)));
            let (open, names): (Vec<usize>, Vec<Oid>) = open.take(pace.columns).unzip();
            if open.is_empty() {
                return Ok(rows);
            }
            let ask = |attempt| {
                pace.attempt(attempt);
                Ask::Bulk(names.clone(), pace.repetitions())
            };
            let answer = self.request(ask).await?;
            if answer.status == TOO_BIG {
                pace.too_big(open.len())?;
                continue;
            }
            check(&answer)?;
            self.count(answer.variables.len())?;
            if answer.variables.is_empty() {
                return Err(protocol("its answer is empty"));
            }
            for (at, variable) in answer.variables.into_iter().enumerate() {
                let column = open[at % open.len()];
                let Some(before) = &mut last[column] else {
                    continue;
                };
                if variable.value == Value::End {
                    last[column] = None;
                    continue;
                }
                if variable.name <= *before {
                    return Err(protocol("the names of its answers do not increase"));
                }
                let Some(index) = variable.name.strip_prefix(columns[column].as_slice()) else {
                    last[column] = None;
                    continue;
                };
                let row = rows.entry(index.to_vec());
                let row = row.or_insert_with(|| vec![Value::Missing; columns.len()]);
                row[column] = variable.value;
                *before = variable.name;
            }
            pace.went_well();
        }
    }

    fn count(&mut self, more: usize) -> Result<(), LookupError> {
        self.variables += more;
        if self.variables > MAX_VARIABLES {
            return Err(LookupError::TooManyVariables(MAX_VARIABLES));
        }
        Ok(())
    }
}

/// How much is asked for at once.
#[derive(Debug)]
struct Pace {
    repetitions: usize,
    /// What is not too big.
    most: usize,
    columns: usize,
    /// An answer to the request under way is missing.
    has_lost: bool,
}

impl Pace {
    fn new(columns: usize) -> Self {
        let most = (MAX_VALUES / columns.max(1)).clamp(1, MAX_REPETITIONS);
        Self {
            repetitions: most,
            most,
            columns,
            has_lost: false,
        }
    }

    fn repetitions(&self) -> u32 {
        u32::try_from(self.repetitions).unwrap_or(1)
    }

    fn attempt(&mut self, number: u32) {
        if number > 0 {
            self.repetitions = (self.repetitions / 2).max(1);
            self.has_lost = true;
        }
    }

    fn too_big(&mut self, columns: usize) -> Result<(), LookupError> {
        if self.repetitions > 1 {
            self.repetitions /= 2;
            self.most = self.repetitions;
        } else if columns > 1 {
            self.columns = columns / 2;
        } else {
            return Err(protocol("it says that one value is too big for an answer"));
        }
        Ok(())
    }

    fn went_well(&mut self) {
        if !std::mem::take(&mut self.has_lost) {
            self.repetitions = (self.repetitions * 2).min(self.most);
        }
    }
}

/// What an error status means.
fn check(answer: &SnmpAnswer) -> Result<(), LookupError> {
    match answer.status {
        0 => Ok(()),
        NO_ACCESS | AUTHORIZATION_ERROR => Err(LookupError::Auth(
            "it does not let this user read that".to_owned(),
        )),
        status => Err(LookupError::Protocol(format!(
            "it answers with error status {status} (RFC 3416)"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_halves_when_answers_are_too_big_or_missing() {
        let mut pace = Pace::new(2);
        assert_eq!(pace.repetitions(), 20);
        pace.too_big(2).unwrap();
        assert_eq!(pace.repetitions(), 10);
        pace.attempt(0);
        pace.attempt(1);
        assert_eq!(pace.repetitions(), 5);
        pace.went_well();
        assert_eq!(pace.repetitions(), 5, "not at once after a loss");
        pace.went_well();
        pace.went_well();
        assert_eq!(pace.repetitions(), 10, "never again what was too big");
        for _ in 0..3 {
            pace.too_big(2).unwrap();
        }
        assert_eq!((pace.repetitions(), pace.columns), (1, 2));
        pace.too_big(2).unwrap();
        assert_eq!(pace.columns, 1);
        assert!(pace.too_big(1).is_err());
        assert_eq!(Pace::new(9).repetitions(), 11);
    }
}
