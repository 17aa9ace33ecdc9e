//! The names of subjects, buckets and keys.

use super::protocol::VERSION;
use crate::domain::ClusterId;

/// What subjects and buckets begin with, unless it is said otherwise.
pub(in crate::nats) const DEFAULT_PREFIX: &str = "fleetcall";

/// What a process is to the others, and to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::nats) enum NatsRole {
    /// Asks owners.
    Front,
    /// Has clusters, and asks other owners.
    Worker,
    /// Puts the configuration there.
    Publisher,
    /// Makes buckets.
    Operator,
}

impl NatsRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Worker => "worker",
            Self::Publisher => "publisher",
            Self::Operator => "operator",
        }
    }
}

/// The names of one installation on a NATS server that others may use too.
#[derive(Debug, Clone)]
pub(in crate::nats) struct Names {
    prefix: String,
}

impl Names {
    /// `prefix` is a token of a subject: letters, digits, `_` and `-`.
    pub(in crate::nats) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// What a command line needs for these names; nothing for the default ones.
    pub(in crate::nats) fn flag(&self) -> String {
        match self.prefix.as_str() {
            DEFAULT_PREFIX => String::new(),
            other => format!(" --nats-prefix {other}"),
        }
    }

    /// Where the owner of a cluster takes orders.
    pub(in crate::nats) fn orders(&self, cluster: &ClusterId) -> String {
        format!("{}.v{VERSION}.collect.{}", self.prefix, key(cluster))
    }

    /// Where all workers say what they have.
    pub(in crate::nats) fn roster(&self) -> String {
        format!("{}.v{VERSION}.workers", self.prefix)
    }

    /// Where workers tell what changed in their clusters.
    pub(in crate::nats) fn changes(&self) -> String {
        format!("{}.v{VERSION}.changes", self.prefix)
    }

    /// What the subjects begin with where servers answer a role, and no process may.
    pub(in crate::nats) fn inbox(&self, role: NatsRole) -> String {
        format!("{}.inbox.{}", self.prefix, role.as_str())
    }

    /// What the subjects begin with where other processes answer a role.
    pub(in crate::nats) fn answers(&self, role: NatsRole) -> String {
        format!("{}.answers.{}", self.prefix, role.as_str())
    }

    /// Whether a process that asks may be answered there: it says where, and a server that is told to
    /// send something there does not look whether that process might.
    pub(in crate::nats) fn is_answerable(&self, subject: &str) -> bool {
        let is_below = |role| {
            let rest = subject.strip_prefix(&self.answers(role));
            rest.is_some_and(|rest| rest.starts_with('.') && !rest.contains(['*', '>']))
        };
        is_below(NatsRole::Front) || is_below(NatsRole::Worker)
    }

    /// The bucket of the configuration.
    pub(in crate::nats) fn configurations(&self) -> String {
        format!("{}_config", self.prefix)
    }

    /// The bucket of leases.
    pub(in crate::nats) fn leases(&self) -> String {
        format!("{}_leases", self.prefix)
    }

    /// The bucket of live workers.
    pub(in crate::nats) fn workers(&self) -> String {
        format!("{}_workers", self.prefix)
    }
}

/// A cluster as a key of a bucket, and as one token of a subject.
pub(in crate::nats) fn key(cluster: &ClusterId) -> String {
    // No id has '=' in it.
    cluster.to_string().replace('.', "=")
}

/// The cluster of such a key; `None` if it is none's.
pub(in crate::nats) fn cluster_of(key: &str) -> Option<ClusterId> {
    ClusterId::parse(&key.replace('=', ".")).ok()
}

/// Whether a worker may have such a name: it is a key of a bucket, too.
pub(crate) fn is_worker(name: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let has_dots_inside = !name.starts_with('.') && !name.ends_with('.') && !name.contains("..");
    (1..=128).contains(&name.len()) && name.chars().all(is_fine) && has_dots_inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_one_token_of_a_subject() {
        let names = Names::new("lab");
        for (id, subject) in [
            (ClusterId::number(7), "lab.v1.collect.7"),
            (ClusterId::name("rack.7").unwrap(), "lab.v1.collect.rack=7"),
            (ClusterId::name(".x.").unwrap(), "lab.v1.collect.=x="),
        ] {
            assert_eq!(names.orders(&id), subject);
        }
    }

    #[test]
    fn answers_go_where_processes_are_answered_only() {
        let names = Names::new("lab");
        for role in [NatsRole::Front, NatsRole::Worker] {
            assert!(names.is_answerable(&format!("{}.x.1", names.answers(role))));
        }
        let [front, publisher] = [NatsRole::Front, NatsRole::Publisher].map(|it| names.answers(it));
        for other in [
            "",
            "lab.answers.front",
            "lab.answers.fronts.x",
            "lab.answers.operator.x",
            "lab.answers.front.*",
            "lab.answers.worker.>",
            "lab.v1.collect.1",
            "other.answers.front.x",
            "_INBOX.x",
            "$KV.lab_config.clusters",
            "$KV.lab_leases.1",
            "$JS.API.STREAM.DELETE.KV_lab_leases",
            &names.inbox(NatsRole::Front),
            &format!("{}.x", names.inbox(NatsRole::Worker)),
            &format!("x.{front}.x"),
            &format!("{publisher}.x"),
        ] {
            assert!(!names.is_answerable(other), "{other}");
        }
    }
}
