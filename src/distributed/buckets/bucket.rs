//! What each bucket is to be like, and what is wrong with one that is not.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};

use crate::distributed::wire::Names;

/// How many of the last configurations are kept.
const CONFIGURATIONS: i64 = 16;

/// Entries of leases and workers are short; this bounds what others may put there.
const SHORT: i32 = 4096;

/// The leases that a fleet may have.
pub(super) const LEASES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3600);

/// What a bucket is to be like.
#[derive(Debug, Clone)]
pub(in crate::distributed) struct Bucket {
    pub(in crate::distributed) name: String,
    /// For people.
    description: &'static str,
    /// How long its entries last; 0 is for ever.
    pub(super) max_age: Duration,
    /// How many of the last values of a key it keeps.
    history: i64,
    /// The longest value, in bytes; -1 is what servers take.
    max_value_size: i32,
    /// Whether its entries are written again by themselves, so that it may be deleted to be mended.
    pub(super) is_renewed: bool,
}

impl Bucket {
    /// Who asks which cluster.
    pub(in crate::distributed) fn leases(names: &Names, lease: Duration) -> Self {
        Self {
            name: names.leases(),
            description: "fleetcall: who asks which cluster",
            max_age: lease,
            history: 1,
            max_value_size: SHORT,
            is_renewed: true,
        }
    }

    /// Who is there to ask clusters.
    pub(in crate::distributed) fn workers(names: &Names, lease: Duration) -> Self {
        Self {
            name: names.workers(),
            description: "fleetcall: who is there to ask clusters",
            ..Self::leases(names, lease)
        }
    }

    /// The configuration.
    pub(in crate::distributed) fn configurations(names: &Names) -> Self {
        Self {
            name: names.configurations(),
            description: "fleetcall: the configuration",
            max_age: Duration::ZERO,
            history: CONFIGURATIONS,
            max_value_size: -1,
            is_renewed: false,
        }
    }

    pub(super) fn stream(&self) -> String {
        format!("KV_{}", self.name)
    }

    fn subject(&self) -> String {
        format!("$KV.{}.>", self.name)
    }

    /// What the server is told; `first` is the first revision.
    pub(super) fn settings(&self, replicas: usize, first: Option<u64>) -> stream::Config {
        stream::Config {
            name: self.stream(),
            description: Some(self.description.to_owned()),
            subjects: vec![self.subject()],
            max_messages_per_subject: self.history,
            max_bytes: -1,
            max_messages: -1,
            max_consumers: -1,
            max_age: self.max_age,
            max_message_size: self.max_value_size,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            num_replicas: replicas,
            first_sequence: first,
            ..stream::Config::default()
        }
    }

    /// Which settings of a bucket are not as they should be, and matter, in the server's words.
    ///
    /// Where it is kept, in how many copies and how it is compressed is its owner's affair.
    pub(super) fn faults(&self, theirs: &stream::Config) -> Vec<String> {
        let limit = |it: i64| if it > 0 { it } else { -1 };
        let said = |it: i64| match it {
            -1 => "unlimited".to_owned(),
            it => it.to_string(),
        };
        let mut faults = Vec::new();
        if theirs.mirror.is_some() {
            faults.push("it is a mirror".to_owned());
        }
        if theirs.sources.as_ref().is_some_and(|it| !it.is_empty()) {
            faults.push("it has sources".to_owned());
        }
        if theirs.mirror.is_none() && theirs.subjects != [self.subject()] {
            faults.push(format!("its subjects are not {}", self.subject()));
        }
        if theirs.max_age != self.max_age {
            let [theirs, ours] = [theirs.max_age, self.max_age].map(age);
            faults.push(format!("max_age is {theirs}, not {ours}"));
        }
        let history = theirs.max_messages_per_subject;
        let has_history = if self.is_renewed {
            history == self.history
        } else {
            // More do no harm.
            limit(history) == -1 || history >= self.history
        };
        if !has_history {
            faults.push(format!(
                "history is {}, not {}",
                said(limit(history)),
                self.history
            ));
        }
        for (name, theirs, ours) in [
            (
                "max_value_size",
                i64::from(theirs.max_message_size),
                self.max_value_size.into(),
            ),
            ("max_bytes", theirs.max_bytes, -1),
            ("max_msgs", theirs.max_messages, -1),
            ("max_consumers", theirs.max_consumers.into(), -1),
        ] {
            let theirs = limit(theirs);
            if theirs != ours {
                faults.push(format!("{name} is {}, not {}", said(theirs), said(ours)));
            }
        }
        for (is_fault, fault) in [
            (
                theirs.storage != StorageType::File,
                "storage is memory, not file",
            ),
            (
                theirs.retention != RetentionPolicy::Limits,
                "retention is not by limits",
            ),
            (
                theirs.discard_new_per_subject,
                "discard_new_per_subject is on",
            ),
            (!theirs.allow_direct, "allow_direct is off"),
            (
                theirs.allow_message_ttl,
                "its entries may say how long they last",
            ),
            (theirs.republish.is_some(), "it is republished"),
            (
                theirs.subject_transform.is_some(),
                "its subjects are transformed",
            ),
            (theirs.no_ack, "it does not acknowledge"),
            (theirs.sealed, "it is sealed"),
        ] {
            if is_fault {
                faults.push(fault.to_owned());
            }
        }
        faults
    }
}

pub(super) fn age(it: Duration) -> String {
    if it.is_zero() {
        return "unlimited".to_owned();
    }
    humantime::format_duration(it).to_string()
}

impl Bucket {
    /// The first revision of one that is made now, where that many were known of the one before.
    ///
    /// Revisions of leases are fences, so they begin with the time in microseconds: those of a bucket
    /// that is made anew are larger than all before. Versions of the configuration go on.
    pub(super) fn first(&self, known: u64) -> Option<u64> {
        let next = known.saturating_add(1);
        if !self.is_renewed {
            return (known > 0).then_some(next);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or_default();
        Some(now.max(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> Bucket {
        Bucket::leases(&Names::new("fleetcall"), Duration::from_secs(2))
    }

    #[test]
    fn what_is_made_has_no_faults() {
        let names = Names::new("fleetcall");
        for bucket in [bucket(), Bucket::configurations(&names)] {
            let settings = bucket.settings(3, Some(7));
            assert_eq!(bucket.faults(&settings), Vec::<String>::new());
            // As servers write that there is no limit.
            let settings = stream::Config {
                max_messages: 0,
                max_consumers: 0,
                max_bytes: 0,
                num_replicas: 1,
                ..settings
            };
            assert_eq!(bucket.faults(&settings), Vec::<String>::new());
        }
    }

    #[test]
    fn other_settings_are_named() {
        let theirs = stream::Config {
            max_age: Duration::ZERO,
            max_messages_per_subject: 5,
            max_message_size: 10,
            storage: StorageType::Memory,
            max_bytes: 1024,
            discard_new_per_subject: true,
            ..bucket().settings(1, None)
        };
        assert_eq!(
            bucket().faults(&theirs),
            [
                "max_age is unlimited, not 2s",
                "history is 5, not 1",
                "max_value_size is 10, not 4096",
                "max_bytes is 1024, not unlimited",
                "storage is memory, not file",
                "discard_new_per_subject is on",
            ]
        );
    }

    #[test]
    fn more_versions_of_the_configuration_may_be_kept() {
        let bucket = Bucket::configurations(&Names::new("fleetcall"));
        let kept = |history| stream::Config {
            max_messages_per_subject: history,
            ..bucket.settings(1, None)
        };
        for fine in [16, 64, -1] {
            assert_eq!(bucket.faults(&kept(fine)), Vec::<String>::new());
        }
        assert_eq!(bucket.faults(&kept(1)), ["history is 1, not 16"]);
    }

    #[test]
    fn revisions_of_a_bucket_that_is_made_anew_are_larger() {
        let first = bucket().first(0).unwrap();
        assert!(first > 1_700_000_000_000_000, "{first}");
        // Also by a clock that is behind.
        assert_eq!(bucket().first(u64::MAX / 2), Some(u64::MAX / 2 + 1));
        let configuration = Bucket::configurations(&Names::new("fleetcall"));
        assert_eq!(configuration.first(0), None);
        assert_eq!(configuration.first(7), Some(8));
    }
}
