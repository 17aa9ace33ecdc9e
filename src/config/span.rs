//! `{ min = …, max = … }`: a span of durations, for backoffs and the like.

use std::time::Duration;

use super::reader::{Node, SHORTEST};
use crate::domain::Backoff;

/// `{ min = …, max = … }` as far as one place writes it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SpanFields {
    min: Option<Duration>,
    max: Option<Duration>,
}

impl SpanFields {
    pub(super) fn read(node: &Node<'_, '_>) -> Self {
        let Some(table) = node.table(&["min", "max"]) else {
            return Self::default();
        };
        let duration = |key| table.get(key).and_then(|node| node.duration(SHORTEST));
        Self {
            min: duration("min"),
            max: duration("max"),
        }
    }

    pub(super) fn or(self, outer: Self) -> Self {
        Self {
            min: self.min.or(outer.min),
            max: self.max.or(outer.max),
        }
    }

    /// With the default of what nobody wrote; a default gives way to what somebody wrote. If that
    /// contradicts itself, `node` is at fault.
    pub(super) fn resolve(self, default: Backoff, node: Option<&Node<'_, '_>>) -> Backoff {
        let (min, max) = match (self.min, self.max) {
            (Some(min), Some(max)) => (min, max),
            (Some(min), None) => (min, default.max.max(min)),
            (None, Some(max)) => (default.min.min(max), max),
            (None, None) => (default.min, default.max),
        };
        if max < min
            && let Some(node) = node
        {
            let format = humantime::format_duration;
            node.fault(format!(
                "`max` ({}) is shorter than `min` ({}), inherited values included; write the \
                 longer one as `max`",
                format(max),
                format(min)
            ));
        }
        Backoff { min, max }
    }
}
