//! What keeps workers from taking clusters that have no owner, as a front learns it.

use std::collections::{BTreeMap, HashSet};

use super::wire::Roster;
use crate::domain::ClusterId;

/// A worker that answers in none of so many rounds has nothing to say any more: one answer may be late.
const SILENT: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct ClaimObstacle {
    /// Clusters that had no owner when they were asked last.
    without: HashSet<ClusterId>,
    /// Obstacles by worker, and in how many rounds each was silent since.
    workers: BTreeMap<String, (String, u32)>,
}

impl ClaimObstacle {
    /// A cluster has no owner.
    pub(super) fn no_owner(&mut self, cluster: &ClusterId) {
        if !self.without.contains(cluster) {
            self.without.insert(cluster.clone());
        }
    }

    /// A cluster has an owner.
    pub(super) fn has_owner(&mut self, cluster: &ClusterId) {
        self.without.remove(cluster);
    }

    /// What was heard before is old.
    pub(super) fn begin(&mut self) {
        self.workers.clear();
    }

    /// Takes note of what workers say in one round.
    pub(super) fn heard(&mut self, rosters: Vec<Roster>) {
        self.workers.retain(|_, (_, silent)| {
            *silent += 1;
            *silent < SILENT
        });
        for mut roster in rosters {
            let obstacle = roster.obstacle.take();
            let state = roster.state();
            for holding in &state.holdings {
                self.has_owner(&holding.cluster);
            }
            match obstacle {
                Some(why) => drop(self.workers.insert(state.name, (why, 0))),
                None => drop(self.workers.remove(&state.name)),
            }
        }
    }

    /// What keeps a worker from taking clusters, while one has no owner.
    pub(super) fn why(&self) -> Option<&str> {
        let mut workers = self.workers.values().map(|(why, _)| why.as_str());
        workers.next().filter(|_| !self.without.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn roster(name: &str, obstacle: Option<&str>, held: &[u32]) -> Roster {
        let held: Vec<_> = held
            .iter()
            .map(|it| json!({"c": it, "f": 1, "s": 1, "r": 1}))
            .collect();
        let json = json!({
            "version": 1, "name": name, "release": "1", "since_ms": 1, "lease_ms": 1000, "taken": 0,
            "handed_over": 0, "lost": 0, "obstacle": obstacle, "held": held,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_front_is_hindered_while_a_cluster_has_no_owner() {
        let [one, two] = ["1", "2"].map(|it| ClusterId::parse(it).unwrap());
        let mut hindrance = ClaimObstacle::default();
        hindrance.heard(vec![roster("a", Some("full"), &[])]);
        assert_eq!(hindrance.why(), None, "others have all clusters");
        hindrance.no_owner(&one);
        hindrance.no_owner(&two);
        assert_eq!(hindrance.why(), Some("full"));
        hindrance.heard(vec![
            roster("a", Some("full"), &[]),
            roster("b", None, &[1]),
        ]);
        assert_eq!(hindrance.why(), Some("full"));
        hindrance.has_owner(&two);
        assert_eq!(hindrance.why(), None);
    }

    #[test]
    fn a_worker_whose_answer_is_late_is_still_hindered() {
        let mut hindrance = ClaimObstacle::default();
        hindrance.no_owner(&ClusterId::parse("1").unwrap());
        let full = || roster("a", Some("full"), &[]);
        hindrance.heard(vec![full(), roster("b", None, &[])]);
        for heard in [
            vec![],
            vec![roster("b", None, &[])],
            vec![full()],
            vec![],
            vec![],
        ] {
            hindrance.heard(heard);
            assert_eq!(hindrance.why(), Some("full"));
        }
        hindrance.heard(vec![]);
        assert_eq!(hindrance.why(), None, "it is gone");
        hindrance.heard(vec![full()]);
        hindrance.heard(vec![roster("a", None, &[])]);
        assert_eq!(hindrance.why(), None, "it says so");
    }
}
