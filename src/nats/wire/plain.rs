//! Many devices that answered alike, in columns: a few bytes a device, where an outcome by itself
//! takes some forty.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::micros;
use crate::domain::{Facts, Outcome};
use crate::engine::collector::Observation;
use crate::engine::remote::RemoteOutcome;

/// Devices that answered, without facts. Each column has one number for each of them: the first as it
/// is, then how much more each is than the one before.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plain {
    /// Their rising places.
    #[serde(rename = "d")]
    places: Vec<i64>,
    /// How long ago each answered, in microseconds.
    #[serde(rename = "a")]
    ages_us: Vec<i64>,
    /// How long each took, in microseconds.
    #[serde(rename = "t")]
    took_us: Vec<i64>,
}

/// Devices on their way into columns.
#[derive(Debug, Default)]
pub(crate) struct PlainRows(Vec<(u32, i64, i64)>);

impl PlainRows {
    /// Takes a device, if it answered without facts and it is known when.
    pub(crate) fn take(
        &mut self,
        place: u32,
        outcome: &Outcome,
        observation: Option<Observation>,
    ) -> bool {
        let (
            Ok(facts),
            Some(Observation {
                at,
                took: Some(took),
            }),
        ) = (outcome, observation)
        else {
            return false;
        };
        if facts.json().is_some() {
            return false;
        }
        let us = |it: Duration| i64::try_from(micros(it)).unwrap_or(i64::MAX);
        let age = at.elapsed().unwrap_or_default();
        self.0.push((place, us(age), us(took)));
        true
    }

    /// The columns; `None` if nobody was taken.
    pub(crate) fn columns(self) -> Option<Plain> {
        let Self(mut rows) = self;
        if rows.is_empty() {
            return None;
        }
        rows.sort_unstable();
        let column = |value: fn(&(u32, i64, i64)) -> i64| {
            let mut before = 0;
            let differences = rows.iter().map(|row| {
                let now = value(row);
                now - std::mem::replace(&mut before, now)
            });
            differences.collect()
        };
        Some(Plain {
            places: column(|row| row.0.into()),
            ages_us: column(|row| row.1),
            took_us: column(|row| row.2),
        })
    }
}

impl Plain {
    /// What is said of each device; `None` if the columns are no columns, whoever wrote them.
    pub(crate) fn told(&self) -> Option<Vec<RemoteOutcome>> {
        let len = self.places.len();
        if self.ages_us.len() != len || self.took_us.len() != len {
            return None;
        }
        let mut row = [0_i64; 3];
        let mut told = Vec::with_capacity(len);
        for at in 0..len {
            let differences = [self.places[at], self.ages_us[at], self.took_us[at]];
            for (value, difference) in row.iter_mut().zip(differences) {
                *value = value.checked_add(difference)?;
            }
            let us = |it: i64| Some(Duration::from_micros(u64::try_from(it).ok()?));
            told.push(RemoteOutcome {
                place: usize::try_from(row[0]).ok()?,
                outcome: Ok(Facts::none()),
                observed: Some((us(row[1])?, Some(us(row[2])?))),
            });
        }
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::domain::{Fault, FaultKind};

    #[test]
    fn rows_come_out_of_columns_in_order() {
        let mut rows = PlainRows::default();
        let now = SystemTime::now();
        let ok = Ok(Facts::none());
        let seen = |age_ms, took_ms| {
            Some(Observation {
                at: now - Duration::from_millis(age_ms),
                took: Some(Duration::from_millis(took_ms)),
            })
        };
        assert!(rows.take(9, &ok, seen(5, 100)));
        assert!(rows.take(3, &ok, seen(900, 7)));
        assert!(rows.take(4, &ok, seen(0, 3000)));
        let facts = Ok(Facts::new(&serde_json::json!({"model": 1}), 1));
        let fault = Err(Arc::new(Fault::new(FaultKind::Auth, "")));
        assert!(!rows.take(5, &facts, seen(1, 1)));
        assert!(!rows.take(5, &fault, seen(1, 1)));
        assert!(!rows.take(5, &ok, None));
        let json = serde_json::to_string(&rows.columns()).unwrap();
        let told = serde_json::from_str::<Plain>(&json)
            .unwrap()
            .told()
            .unwrap();
        let places: Vec<_> = told.iter().map(|it| it.place).collect();
        assert_eq!(places, [3, 4, 9]);
        let took: Vec<_> = told
            .iter()
            .map(|it| it.observed.unwrap().1.unwrap())
            .collect();
        assert_eq!(took, [7, 3000, 100].map(Duration::from_millis));
        let age = told[0].observed.unwrap().0.as_millis();
        assert!((900..20_000).contains(&age), "{age}");
        assert_eq!(PlainRows::default().columns(), None);
    }

    #[test]
    fn what_is_no_column_is_refused() {
        for wrong in [
            r#"{"d":[1],"a":[1],"t":[]}"#,
            r#"{"d":[-1],"a":[1],"t":[1]}"#,
            r#"{"d":[1,1],"a":[5,-6],"t":[1,1]}"#,
            r#"{"d":[1,1],"a":[9223372036854775807,1],"t":[1,1]}"#,
        ] {
            let plain: Plain = serde_json::from_str(wrong).unwrap();
            assert!(plain.told().is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_device_takes_a_few_bytes() {
        let mut rows = PlainRows::default();
        let at = SystemTime::now();
        for place in 0..512 {
            let took = Some(Duration::from_micros(3_000_000 + u64::from(place) % 97));
            assert!(rows.take(place, &Ok(Facts::none()), Some(Observation { at, took })));
        }
        let json = serde_json::to_string(&rows.columns()).unwrap();
        assert!(json.len() < 512 * 10, "{}", json.len());
    }
}
