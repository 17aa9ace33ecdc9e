//! Medians, and how far measurements lie apart.

use serde_json::{Value, json};

/// Some measurements of the same, at least one, in order.
#[derive(Debug, Clone)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self(values))
    }

    pub(crate) fn median(&self) -> f64 {
        let (low, high) = (self.0[(self.0.len() - 1) / 2], self.0[self.0.len() / 2]);
        f64::midpoint(low, high)
    }

    fn least(&self) -> f64 {
        self.0[0]
    }

    fn most(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "median": self.median(), "least": self.least(), "most": self.most(), "values": self.0 })
    }

    /// `median (least–most)`, with so many digits after the point.
    pub(crate) fn text(&self, digits: usize) -> String {
        let number = |value| number(value, digits);
        if self.0.len() == 1 {
            return number(self.median());
        }
        format!(
            "{} ({}–{})",
            number(self.median()),
            number(self.least()),
            number(self.most())
        )
    }
}

/// With commas between thousands.
pub(crate) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (sign, text) = text.strip_prefix('-').map_or(("", &*text), |it| ("-", it));
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// The value below which so many percent of them are; they are sorted for it.
pub(crate) fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * percent / 100.0).ceil() as usize;
    values[at.clamp(1, values.len()) - 1]
}
