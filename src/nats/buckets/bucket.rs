//! What each bucket is to be like, and what is wrong with one that is not.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use serde_json::{Map, Value};

use crate::nats::wire::Names;

/// How many of the last configurations are kept.
const CONFIGURATIONS: i64 = 16;

/// Entries of leases and workers are short; this bounds what others may put there.
const SHORT: i32 = 4096;

/// The leases that a fleet may have.
pub(super) const LEASES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3600);

/// What a server says that a bucket is like, and what it is told.
pub(super) type BucketSettings = Map<String, Value>;

/// Settings that are the affair of who runs the servers; they stay when others are mended.
const THEIRS: [&str; 6] = [
    "num_replicas",
    "placement",
    "storage",
    "compression",
    "first_seq",
    "metadata",
];

/// Settings that do not matter, and follow from others.
const FREE: [&str; 3] = ["name", "description", "duplicate_window"];

/// Settings that only bound what is kept, and for how long: with other ones of these, each entry was
/// still written by who may write to the bucket, and the newest one is the last to go.
const BOUNDS: [&str; 12] = [
    "allow_direct",
    "allow_rollup_hdrs",
    "deny_delete",
    "deny_purge",
    "discard",
    "discard_new_per_subject",
    "max_age",
    "max_bytes",
    "max_consumers",
    "max_msg_size",
    "max_msgs",
    "max_msgs_per_subject",
];

/// The most that is said of the value of a setting, in characters.
const MOST_SAID: usize = 80;

/// What a bucket is to be like.
#[derive(Debug, Clone)]
pub(in crate::nats) struct Bucket {
    pub(in crate::nats) name: String,
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
    /// What a restart of servers that keep it in memory loses.
    pub(super) lost: &'static str,
}

impl Bucket {
    /// Who asks which cluster.
    pub(in crate::nats) fn leases(names: &Names, lease: Duration) -> Self {
        Self {
            name: names.leases(),
            description: "fleetcall: who asks which cluster",
            max_age: lease,
            history: 1,
            max_value_size: SHORT,
            is_renewed: true,
            lost: "leases, which their owners write again",
        }
    }

    /// Who is there to ask clusters.
    pub(in crate::nats) fn workers(names: &Names, lease: Duration) -> Self {
        Self {
            name: names.workers(),
            description: "fleetcall: who is there to ask clusters",
            lost: "the workers, which announce themselves again",
            ..Self::leases(names, lease)
        }
    }

    /// The configuration.
    pub(in crate::nats) fn configurations(names: &Names) -> Self {
        Self {
            name: names.configurations(),
            description: "fleetcall: the configuration",
            max_age: Duration::ZERO,
            history: CONFIGURATIONS,
            max_value_size: -1,
            is_renewed: false,
            lost: "all versions but the one in force, which a process that may publishes again",
        }
    }

    pub(super) fn subject(&self) -> String {
        format!("$KV.{}.>", self.name)
    }

    /// What the server is told; `first` is the first revision.
    pub(super) fn settings(&self, replicas: usize, first: Option<u64>) -> BucketSettings {
        let config = Config {
            name: format!("KV_{}", self.name),
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
            // With it who may write a lease may remove all by one message.
            allow_rollup: !self.is_renewed,
            deny_delete: true,
            // A server answers where it is told to, whoever may write there. What it reads directly it
            // sends as it is: who may write an entry and read it could write anything anywhere.
            allow_direct: false,
            num_replicas: replicas,
            first_sequence: first,
            ..Config::default()
        };
        match serde_json::to_value(config) {
            Ok(Value::Object(settings)) => settings,
            // It is one.
            Ok(_) | Err(_) => BucketSettings::new(),
        }
    }

    /// What the server is told of one that is there with other settings.
    pub(super) fn mended(&self, theirs: &BucketSettings) -> BucketSettings {
        let mut settings = self.settings(1, None);
        for key in THEIRS {
            match theirs.get(key) {
                Some(value) => settings.insert(key.to_owned(), value.clone()),
                None => settings.remove(key),
            };
        }
        settings
    }

    /// How long the entries of one with these settings last.
    pub(super) fn max_age_of(settings: &BucketSettings) -> Duration {
        let nanos = settings.get("max_age").and_then(Value::as_u64);
        Duration::from_nanos(nanos.unwrap_or_default())
    }

    /// Whether one with these settings does not outlive its servers.
    pub(super) fn is_in_memory(&self, settings: &BucketSettings) -> bool {
        settings.get("storage").is_some_and(|it| it == "memory")
    }

    /// Which settings of a bucket are not as they should be, and matter, in the server's words: also
    /// those of later servers, of which nothing else is known.
    pub(super) fn faults(&self, theirs: &BucketSettings) -> Vec<String> {
        let differing = self.differing(theirs).into_iter();
        differing.map(|(_, fault)| fault).collect()
    }

    /// Whether entries of one with these settings may have come from elsewhere (sources, a mirror,
    /// transformed subjects, settings of later servers), or go before older ones do. What is written
    /// again by itself needs no such care.
    pub(super) fn is_suspect(&self, theirs: &BucketSettings) -> bool {
        let mut differing = self.differing(theirs).into_iter();
        !self.is_renewed && differing.any(|(key, _)| !BOUNDS.contains(&&*key))
    }

    /// The settings that are not as they should be, by name, and what is said of each.
    fn differing(&self, theirs: &BucketSettings) -> Vec<(String, String)> {
        let ours = self.settings(1, None);
        let mut keys: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| !THEIRS.contains(&key.as_str()) && !FREE.contains(&key.as_str()));
        let mut differing = Vec::new();
        for key in keys {
            let [theirs, ours] =
                [theirs, &ours].map(|it| it.get(key).filter(|it| says_something(it)));
            let is_history = key == "max_msgs_per_subject";
            // More versions do no harm.
            let is_more = || match (theirs.map(Value::as_i64), ours.and_then(Value::as_i64)) {
                (None, _) => true,
                (Some(theirs), ours) => theirs > ours,
            };
            if theirs != ours && !(is_history && !self.is_renewed && is_more()) {
                let (theirs, ours) = (said(key, theirs, ours), said(key, ours, theirs));
                differing.push((key.clone(), format!("{key} is {theirs}, not {ours}")));
            }
        }
        differing
    }
}

/// Whether a setting is another one than if nothing were said. No limit is less than 1.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_on) => *is_on,
        Value::Number(number) => number.as_i64().is_none_or(|it| it > 0),
        Value::String(text) => !matches!(text.as_str(), "" | "default"),
        Value::Array(values) => values.iter().any(says_something),
        Value::Object(values) => values.values().any(says_something),
    }
}

/// A setting for people; `other` is what it is compared with.
fn said(key: &str, value: Option<&Value>, other: Option<&Value>) -> String {
    match (value, other) {
        (None, Some(Value::Number(_))) => "unlimited".to_owned(),
        (None, Some(Value::Bool(_))) => "false".to_owned(),
        (None, _) => "none".to_owned(),
        (Some(nanos), _) if key == "max_age" => match nanos.as_u64() {
            Some(nanos) => age(Duration::from_nanos(nanos)),
            None => "rubbish".to_owned(),
        },
        (Some(Value::String(text)), _) => text.chars().take(MOST_SAID).collect(),
        (Some(value), _) => value.to_string().chars().take(MOST_SAID).collect(),
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
    use serde_json::json;

    use super::*;

    fn bucket() -> Bucket {
        Bucket::leases(&Names::new("fleetcall"), Duration::from_secs(2))
    }

    fn configurations() -> Bucket {
        Bucket::configurations(&Names::new("fleetcall"))
    }

    /// As servers of version 2.15 say it.
    fn as_servers_say(settings: &BucketSettings) -> BucketSettings {
        let mut settings = settings.clone();
        let more = json!({
            "num_replicas": 3, "placement": {"cluster": "here"}, "compression": "s2",
            "duplicate_window": 120_000_000_000_u64, "mirror_direct": false, "sealed": false,
            "deny_purge": false, "consumer_limits": {}, "allow_msg_ttl": false,
            "metadata": {"_nats.level": "5"}, "storage": "memory", "persist_mode": "default",
            "sources": null, "republish": null,
        });
        settings.extend(more.as_object().unwrap().clone());
        settings
    }

    #[test]
    fn what_is_made_has_no_faults() {
        for bucket in [bucket(), configurations()] {
            let settings = bucket.settings(3, Some(7));
            for settings in [
                &settings,
                &as_servers_say(&settings),
                &bucket.mended(&settings),
            ] {
                assert_eq!(bucket.faults(settings), Vec::<String>::new());
            }
            // As servers write that there is no limit.
            for none in [json!(0), json!(-1), Value::Null] {
                let mut settings = settings.clone();
                for limit in ["max_msgs", "max_consumers", "max_bytes"] {
                    settings.insert(limit.to_owned(), none.clone());
                }
                assert_eq!(bucket.faults(&settings), Vec::<String>::new());
            }
        }
    }

    #[test]
    fn other_settings_are_named() {
        for (setting, value, fault) in [
            ("max_age", json!(0), "max_age is unlimited, not 2s"),
            (
                "max_msgs_per_subject",
                json!(5),
                "max_msgs_per_subject is 5, not 1",
            ),
            (
                "max_msg_size",
                json!(-1),
                "max_msg_size is unlimited, not 4096",
            ),
            ("max_bytes", json!(1024), "max_bytes is 1024, not unlimited"),
            (
                "discard_new_per_subject",
                json!(true),
                "discard_new_per_subject is true, not false",
            ),
            (
                "allow_direct",
                json!(true),
                "allow_direct is true, not false",
            ),
            ("discard", json!("old"), "discard is old, not new"),
            (
                "retention",
                json!("workqueue"),
                "retention is workqueue, not limits",
            ),
            (
                "persist_mode",
                json!("async"),
                "persist_mode is async, not none",
            ),
            (
                "subjects",
                json!(["x.>"]),
                "subjects is [\"x.>\"], not [\"$KV.fleetcall_leases.>\"]",
            ),
            (
                "republish",
                json!({"dest": "x"}),
                "republish is {\"dest\":\"x\"}, not none",
            ),
            (
                "mirror",
                json!({"name": "x"}),
                "mirror is {\"name\":\"x\"}, not none",
            ),
            (
                "sources",
                json!([{"name": "x"}]),
                "sources is [{\"name\":\"x\"}], not none",
            ),
        ] {
            let mut theirs = as_servers_say(&bucket().settings(1, None));
            theirs.insert(setting.to_owned(), value);
            assert_eq!(bucket().faults(&theirs), [fault]);
        }
    }

    /// Also such that this release has never heard of.
    #[test]
    fn whatever_is_switched_on_is_a_fault() {
        let all = [
            "subject_transform",
            "allow_msg_ttl",
            "allow_msg_counter",
            "allow_msg_schedules",
            "allow_atomic",
            "allow_batched",
            "subject_delete_marker_ttl",
            "no_ack",
            "sealed",
            "deny_purge",
            "mirror_direct",
            "template_owner",
            "pause_until",
            "consumer_limits",
            "of_a_later_server",
        ];
        for setting in all {
            for value in [
                json!(true),
                json!(7),
                json!("x"),
                json!({"a": {"b": 1}}),
                json!([1]),
            ] {
                let mut theirs = bucket().settings(1, None);
                theirs.insert(setting.to_owned(), value.clone());
                let faults = bucket().faults(&theirs);
                assert_eq!(faults.len(), 1, "{setting} {value}: {faults:?}");
                assert!(faults[0].starts_with(setting), "{faults:?}");
                let mended = bucket().mended(&theirs);
                assert!(mended.get(setting).is_none_or(|it| !says_something(it)));
            }
        }
    }

    #[test]
    fn where_a_bucket_is_kept_stays_when_it_is_mended() {
        let theirs = as_servers_say(&bucket().settings(1, Some(9)));
        let mended = bucket().mended(&theirs);
        for key in THEIRS {
            assert_eq!(mended.get(key), theirs.get(key), "{key}");
        }
        assert!(bucket().is_in_memory(&mended));
        assert_eq!(Bucket::max_age_of(&mended), Duration::from_secs(2));
    }

    #[test]
    fn more_versions_of_the_configuration_may_be_kept() {
        let bucket = configurations();
        let kept = |history: i64| {
            let mut settings = bucket.settings(1, None);
            settings.insert("max_msgs_per_subject".to_owned(), json!(history));
            settings
        };
        for fine in [16, 64, -1] {
            assert_eq!(bucket.faults(&kept(fine)), Vec::<String>::new());
        }
        assert_eq!(
            bucket.faults(&kept(1)),
            ["max_msgs_per_subject is 1, not 16"]
        );
    }

    /// Also settings that this release has never heard of.
    #[test]
    fn entries_are_suspect_unless_only_bounds_differ() {
        let configurations = configurations();
        let with = |change: Value| {
            let mut settings = as_servers_say(&configurations.settings(1, None));
            settings.extend(change.as_object().unwrap().clone());
            settings
        };
        for bound in [
            json!({}),
            json!({"max_msgs_per_subject": 1, "max_bytes": 100, "max_age": 7, "max_msgs": 1}),
            json!({"allow_direct": true, "deny_purge": true, "discard": "old"}),
        ] {
            assert!(!configurations.is_suspect(&with(bound.clone())), "{bound}");
        }
        for other in [
            json!({"sources": [{"name": "x"}]}),
            json!({"mirror": {"name": "x"}, "max_bytes": 100}),
            json!({"subject_transform": {"src": "x", "dest": "y"}}),
            json!({"republish": {"dest": "x"}}),
            json!({"subjects": ["x.>"]}),
            json!({"allow_msg_ttl": true}),
            json!({"allow_msg_schedules": true}),
            json!({"retention": "workqueue"}),
            json!({"of_a_later_server": true}),
        ] {
            assert!(configurations.is_suspect(&with(other.clone())), "{other}");
            // Leases and workers are written again.
            let mut theirs = bucket().settings(1, None);
            theirs.extend(other.as_object().unwrap().clone());
            assert!(!bucket().is_suspect(&theirs), "{other}");
        }
    }

    #[test]
    fn revisions_of_a_bucket_that_is_made_anew_are_larger() {
        let first = bucket().first(0).unwrap();
        assert!(first > 1_700_000_000_000_000, "{first}");
        // Also by a clock that is behind.
        assert_eq!(bucket().first(u64::MAX / 2), Some(u64::MAX / 2 + 1));
        let configuration = configurations();
        assert_eq!(configuration.first(0), None);
        assert_eq!(configuration.first(7), Some(8));
    }
}
