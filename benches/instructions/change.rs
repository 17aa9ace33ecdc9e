//! Whether a count is too far from the baseline's. It counts nothing, so that a test can use it.

/// How a count stands to the baseline's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Tolerated,
    /// By more than is tolerated.
    Grown,
    /// By as much. That is no fault, but what grows back goes unnoticed until the baseline is renewed.
    Fallen,
}

impl Change {
    pub(crate) fn of(percent: f64, tolerance_percent: f64) -> Self {
        if percent > tolerance_percent {
            Self::Grown
        } else if percent < -tolerance_percent {
            Self::Fallen
        } else {
            Self::Tolerated
        }
    }
}

/// How much more a count is than the baseline's.
pub(crate) fn percent(count: f64, baseline: f64) -> f64 {
    (count / baseline - 1.0) * 100.0
}
