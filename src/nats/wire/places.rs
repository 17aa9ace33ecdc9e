//! Whom an order is for.

use serde::{Deserialize, Serialize};

/// Places in a plan, in a form that is never longer than servers take: with a million devices the
/// longest ones have 250 KB.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::nats) enum WirePlaces {
    /// Runs of places, each by its first one and how many they are.
    Runs(Vec<(u32, u32)>),
    /// A bit for each place from 0, in hexadecimal digits, the least significant bit first.
    Bits(String),
}

/// How many runs are written at most; more of them are longer than bits.
const MOST_RUNS: usize = 1_000;

/// More places than any plan has are no places.
pub(in crate::nats) const MOST_PLACES: u32 = 1_000_000;

impl WirePlaces {
    /// Rising places.
    pub(in crate::nats) fn new(places: &[u32]) -> Self {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for &place in places {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == place => *count += 1,
                Some(_) | None => runs.push((place, 1)),
            }
            if runs.len() > MOST_RUNS {
                return Self::bits(places);
            }
        }
        Self::Runs(runs)
    }

    fn bits(places: &[u32]) -> Self {
        let len = places.last().map_or(0, |&last| last as usize / 4 + 1);
        let mut digits = vec![0_u8; len];
        for &place in places {
            digits[place as usize / 4] |= 1 << (place % 4);
        }
        let digit = |digit: u8| char::from_digit(digit.into(), 16).unwrap_or('0');
        Self::Bits(digits.into_iter().map(digit).collect())
    }

    /// The rising places, all below `most`; `None` if they are none, whoever wrote that.
    pub(in crate::nats) fn read(&self, most: u32) -> Option<Vec<u32>> {
        match self {
            Self::Runs(runs) => {
                let mut places = Vec::new();
                let mut next = 0;
                for &(first, count) in runs {
                    let end = first.checked_add(count)?;
                    if first < next || end > most {
                        return None;
                    }
                    places.extend(first..end);
                    next = end;
                }
                Some(places)
            }
            Self::Bits(digits) => {
                let mut places = Vec::new();
                for (at, digit) in digits.chars().enumerate() {
                    let (first, bits) =
                        (u32::try_from(at).ok()?.checked_mul(4)?, digit.to_digit(16)?);
                    if first >= most.next_multiple_of(4) {
                        return None;
                    }
                    places.extend(
                        (0..4)
                            .filter(|bit| bits >> bit & 1 == 1)
                            .map(|bit| first + bit),
                    );
                }
                (places.last() < Some(&most)).then_some(places)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_short_and_come_out_as_they_went_in() {
        let every = |step: usize| (0..1_000_000).step_by(step).collect::<Vec<u32>>();
        for places in [
            Vec::new(),
            vec![3, 4, 5, 9],
            every(1),
            every(2),
            every(3),
            every(99_999),
        ] {
            let json = serde_json::to_string(&WirePlaces::new(&places)).unwrap();
            assert!(json.len() < 260_000, "{}", json.len());
            let read: WirePlaces = serde_json::from_str(&json).unwrap();
            assert_eq!(read.read(MOST_PLACES), Some(places));
        }
        for wrong in [
            r#"{"runs":[[0,4294967295]]}"#,
            r#"{"runs":[[4294967295,1]]}"#,
            r#"{"runs":[[4,2],[5,1]]}"#,
            r#"{"bits":"0g"}"#,
        ] {
            assert_eq!(
                serde_json::from_str::<WirePlaces>(wrong)
                    .unwrap()
                    .read(MOST_PLACES),
                None,
                "{wrong}"
            );
        }
        let long = WirePlaces::Bits("0".repeat(1 << 20));
        assert_eq!(long.read(MOST_PLACES), None);
        let few = WirePlaces::Bits("8f".to_owned());
        assert_eq!(few.read(8), Some(vec![3, 4, 5, 6, 7]));
        assert_eq!(few.read(7), None);
    }
}
