//! What changes to and fro is said a few times, then once that it flaps, and once that it does not any
//! more.
//!
//! It knows no clock: times are counted from any fixed moment, such as the start of the service.

use std::time::Duration;

/// With so many changes within [`FLAPPING_WITHIN`] something flaps.
pub const FLAPPING_CHANGES: u32 = 6;

/// How long it has to be without a change until it is steady again.
pub const FLAPPING_WITHIN: Duration = Duration::from_secs(10 * 60);

/// The changes of something that has two states, as far as they matter for what is said of it.
#[derive(Debug, Clone, Default)]
pub struct Flaps {
    /// When the first of those changes was.
    first: Duration,
    /// When the last one was.
    last: Duration,
    changes: u32,
    is_flapping: bool,
}

/// What is to be said of a look at something that may flap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flapping {
    /// What it is; it does not flap.
    No,
    /// That it flaps from now on.
    Begins(Swing),
    /// Nothing: it flaps.
    Goes,
    /// That it has not changed for so long that it flaps no more.
    Ends(Swing),
}

/// How often something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swing {
    /// The changes.
    pub changes: u32,
    /// The time from the first to the last of them.
    pub within: Duration,
}

impl Flaps {
    /// It was looked at, and has changed or not.
    pub fn look(&mut self, has_changed: bool, now: Duration) -> Flapping {
        if !has_changed {
            return self.rest(now);
        }
        let is_long = |since: Duration| now.saturating_sub(since) >= FLAPPING_WITHIN;
        let is_over = if self.is_flapping {
            is_long(self.last)
        } else {
            self.changes > 0 && is_long(self.first)
        };
        let ended = (is_over && self.is_flapping).then(|| self.swing());
        if is_over || self.changes == 0 {
            *self = Self {
                first: now,
                ..Self::default()
            };
        }
        self.last = now;
        self.changes = self.changes.saturating_add(1);
        if let Some(swing) = ended {
            return Flapping::Ends(swing);
        }
        if self.is_flapping {
            return Flapping::Goes;
        }
        if self.changes < FLAPPING_CHANGES {
            return Flapping::No;
        }
        self.is_flapping = true;
        Flapping::Begins(self.swing())
    }

    fn rest(&mut self, now: Duration) -> Flapping {
        if !self.is_flapping {
            return Flapping::No;
        }
        if now.saturating_sub(self.last) < FLAPPING_WITHIN {
            return Flapping::Goes;
        }
        let swing = self.swing();
        *self = Self::default();
        Flapping::Ends(swing)
    }

    fn swing(&self) -> Swing {
        Swing {
            changes: self.changes,
            within: self.last.saturating_sub(self.first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn what_changes_all_the_time_is_said_to_flap_once_and_to_be_steady_once() {
        let mut flaps = Flaps::default();
        let mut said = Vec::new();
        for at in 0..3600 {
            said.push(flaps.look(true, secs(at)));
        }
        let swing = |changes, within| Swing {
            changes,
            within: secs(within),
        };
        let count = |what| said.iter().filter(|it| **it == what).count();
        assert_eq!(count(Flapping::No), 5);
        assert_eq!(count(Flapping::Begins(swing(6, 5))), 1);
        assert_eq!(count(Flapping::Goes), 3594);
        assert_eq!(flaps.look(false, secs(3600 + 598)), Flapping::Goes);
        let ends = Flapping::Ends(swing(3600, 3599));
        assert_eq!(flaps.look(false, secs(3600 + 599)), ends);
        assert_eq!(flaps.look(false, secs(3600 + 600)), Flapping::No);
        assert_eq!(flaps.look(true, secs(3600 + 601)), Flapping::No);
    }

    #[test]
    fn what_changes_seldom_does_not_flap() {
        let mut flaps = Flaps::default();
        for at in 0..1000 {
            let looked = flaps.look(true, secs(at * 130));
            assert_eq!(looked, Flapping::No, "{at}");
        }
    }

    #[test]
    fn what_changes_after_a_long_time_ends_its_flapping_and_begins_anew() {
        let mut flaps = Flaps::default();
        for at in 0..10 {
            flaps.look(true, secs(at));
        }
        let swing = Swing {
            changes: 10,
            within: secs(9),
        };
        // It was not looked at meanwhile.
        assert_eq!(flaps.look(true, secs(9 + 600)), Flapping::Ends(swing));
        for at in 1..5 {
            assert_eq!(flaps.look(true, secs(9 + 600 + at)), Flapping::No, "{at}");
        }
        let swing = Swing {
            changes: 6,
            within: secs(5),
        };
        assert_eq!(flaps.look(true, secs(9 + 605)), Flapping::Begins(swing));
    }
}
