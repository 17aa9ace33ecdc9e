//! A roll call as it comes in: who is asked, and what has come so far.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{
    Cluster, ClusterId, Collection, CollectionBuilder, DeviceId, DeviceKind, Fault, FaultKind,
    Outcome, Topology,
};

/// What is shown of those who have not answered, where everybody has to be shown.
const UNHEARD: &str = "it had not answered when the roll call was interrupted";

/// Everybody who is asked, in configured order, each with what came of it.
#[derive(Debug, Default)]
pub(super) struct Roll {
    pub(super) clusters: Vec<ClusterRoll>,
    pub(super) tally: Tally,
    /// Where a device is; only for those who name it.
    places: HashMap<(ClusterId, DeviceKind, DeviceId), (usize, usize)>,
}

/// One cluster.
#[derive(Debug)]
pub(super) struct ClusterRoll {
    pub(super) id: ClusterId,
    /// The nodes, then the switches.
    pub(super) devices: Vec<DeviceRoll>,
}

/// One device.
#[derive(Debug)]
pub(super) struct DeviceRoll {
    pub(super) kind: DeviceKind,
    pub(super) id: DeviceId,
    /// If it has come.
    pub(super) heard: Option<Heard>,
}

impl DeviceRoll {
    /// Why it has no result, if it failed.
    pub(super) fn fault(&self) -> Option<&Fault> {
        let heard = self.heard.as_ref()?;
        heard.outcome.as_ref().err().map(|fault| &**fault)
    }
}

/// What came of asking a device.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) outcome: Outcome,
    /// How long its lookup took, if one ended.
    pub(super) took: Option<Duration>,
}

/// How many came, by outcome.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) asked: usize,
    pub(super) ok: usize,
    faults: [usize; FaultKind::ALL.len()],
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(_) => self.ok += 1,
            Err(fault) => self.faults[fault.kind().index()] += 1,
        }
    }

    pub(super) fn of(devices: &[DeviceRoll]) -> Self {
        let mut tally = Self {
            asked: devices.len(),
            ..Self::default()
        };
        for heard in devices.iter().filter_map(|device| device.heard.as_ref()) {
            tally.add(&heard.outcome);
        }
        tally
    }

    pub(super) fn failed(&self) -> usize {
        self.faults.iter().sum()
    }

    pub(super) fn heard(&self) -> usize {
        self.ok + self.failed()
    }

    pub(super) fn unheard(&self) -> usize {
        self.asked.saturating_sub(self.heard())
    }

    /// The kinds of failure that occurred, each with its count.
    pub(super) fn by_kind(&self) -> impl Iterator<Item = (FaultKind, usize)> {
        let counts = FaultKind::ALL.into_iter().zip(self.faults);
        counts.filter(|&(_, count)| count > 0)
    }
}

impl Roll {
    /// Nobody has answered yet.
    pub(super) fn new(topology: &Topology) -> Self {
        let devices = |cluster: &Cluster| {
            let device = |place| {
                let (kind, id) = cluster.device(place);
                DeviceRoll {
                    kind,
                    id: id.clone(),
                    heard: None,
                }
            };
            (0..cluster.len()).map(device).collect()
        };
        let cluster = |cluster: &Cluster| ClusterRoll {
            id: cluster.id().clone(),
            devices: devices(cluster),
        };
        Self {
            clusters: topology.clusters().iter().map(cluster).collect(),
            tally: Tally {
                asked: topology.devices(),
                ..Tally::default()
            },
            places: HashMap::new(),
        }
    }

    /// As [`Roll::new`], for whoever says by their ids who has answered.
    pub(super) fn by_name(topology: &Topology) -> Self {
        let mut roll = Self::new(topology);
        for (at, cluster) in roll.clusters.iter().enumerate() {
            for (place, device) in cluster.devices.iter().enumerate() {
                let name = (cluster.id.clone(), device.kind, device.id.clone());
                roll.places.insert(name, (at, place));
            }
        }
        roll
    }

    /// A device has answered; only the first time counts.
    pub(super) fn hear(&mut self, cluster: usize, device: usize, heard: Heard) {
        let device = &mut self.clusters[cluster].devices[device];
        if device.heard.is_none() {
            self.tally.add(&heard.outcome);
            device.heard = Some(heard);
        }
    }

    /// As [`Roll::hear`]; a device that nobody knew of comes behind those that are known.
    pub(super) fn hear_of(
        &mut self,
        cluster: ClusterId,
        kind: DeviceKind,
        id: DeviceId,
        heard: Heard,
    ) {
        let name = (cluster, kind, id);
        if let Some(&(cluster, device)) = self.places.get(&name) {
            self.hear(cluster, device, heard);
            return;
        }
        let known = self.clusters.iter().position(|it| it.id == name.0);
        let at = known.unwrap_or_else(|| {
            self.clusters.push(ClusterRoll {
                id: name.0.clone(),
                devices: Vec::new(),
            });
            self.clusters.len() - 1
        });
        let devices = &mut self.clusters[at].devices;
        let place = devices.len();
        devices.push(DeviceRoll {
            kind,
            id: name.2.clone(),
            heard: None,
        });
        self.tally.asked += 1;
        self.places.insert(name, (at, place));
        self.hear(at, place, heard);
    }

    /// Puts those nobody knew of in their places, and if the answer is `complete`, forgets those who
    /// turned out not to be asked.
    pub(super) fn settle(&mut self, complete: bool) {
        // From here on nobody names a device any more.
        self.places.clear();
        let mut kept = Vec::with_capacity(self.clusters.len());
        for cluster in &mut self.clusters {
            // One that has no devices stands in an answer, too.
            let was_empty = cluster.devices.is_empty();
            if complete {
                cluster.devices.retain(|device| device.heard.is_some());
            }
            kept.push(was_empty || !cluster.devices.is_empty());
            let is_switch = |device: &DeviceRoll| device.kind == DeviceKind::Switch;
            cluster.devices.sort_by_key(is_switch);
        }
        if complete {
            let mut kept = kept.into_iter();
            self.clusters.retain(|_| kept.next().unwrap_or_default());
            self.tally.asked = self.tally.heard();
        }
    }

    /// The answer as the domain has it, of the devices that `shows` picks; whoever has not answered
    /// is `cancelled`.
    pub(super) fn collection(&self, shows: impl Fn(&DeviceRoll) -> bool) -> Collection {
        let shown: Vec<Vec<&DeviceRoll>> = self
            .clusters
            .iter()
            .map(|cluster| cluster.devices.iter().filter(|it| shows(it)).collect())
            .collect();
        let clusters = self.clusters.iter().zip(&shown).map(|(cluster, devices)| {
            let ids = |kind| {
                let ids = devices.iter().filter(|it| it.kind == kind);
                ids.map(|it| it.id.clone()).collect()
            };
            let (nodes, switches) = (ids(DeviceKind::Node), ids(DeviceKind::Switch));
            Cluster::new(cluster.id.clone(), nodes, switches)
        });
        let topology = Topology::new(clusters.collect());
        let builder = Arc::new(CollectionBuilder::new(Arc::new(topology)));
        for (cluster, devices) in shown.iter().enumerate() {
            for (place, device) in devices.iter().enumerate() {
                if let Some(heard) = &device.heard {
                    builder.answer(cluster, place, heard.outcome.clone());
                }
            }
        }
        builder.close(&Arc::new(Fault::new(FaultKind::Cancelled, UNHEARD)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Facts, Id};

    fn roll() -> Roll {
        let ids = |ids: &[u64]| ids.iter().copied().map(Id::number).collect();
        let cluster = Cluster::new(Id::number(1), ids(&[1, 2]), ids(&[9]));
        Roll::by_name(&Topology::new(vec![cluster]))
    }

    fn heard(outcome: Outcome) -> Heard {
        Heard {
            outcome,
            took: None,
        }
    }

    fn names(roll: &Roll) -> Vec<String> {
        let mut names = Vec::new();
        for cluster in &roll.clusters {
            for DeviceRoll { kind, id, heard } in &cluster.devices {
                let is_heard = heard.is_some();
                names.push(format!("{} {kind} {id} {is_heard}", cluster.id));
            }
        }
        names
    }

    #[test]
    fn a_device_that_is_said_twice_counts_once() {
        let mut roll = roll();
        let fault = Arc::new(Fault::new(FaultKind::TimedOut, "late"));
        for outcome in [Ok(Facts::default()), Err(fault)] {
            roll.hear_of(
                Id::number(1),
                DeviceKind::Switch,
                Id::number(9),
                heard(outcome),
            );
        }
        let tally = roll.tally;
        assert_eq!((tally.asked, tally.ok, tally.failed()), (3, 1, 0));
        assert_eq!(tally.unheard(), 2);
    }

    #[test]
    fn a_fleet_that_changes_meanwhile_is_shown_as_it_answered() {
        let mut roll = roll();
        for (cluster, kind, id) in [
            (2, DeviceKind::Node, 1),
            (1, DeviceKind::Switch, 9),
            (1, DeviceKind::Node, 3),
            (1, DeviceKind::Node, 1),
        ] {
            let (cluster, id) = (Id::number(cluster), Id::number(id));
            roll.hear_of(cluster, kind, id, heard(Ok(Facts::default())));
        }
        roll.settle(true);
        let expected = [
            "1 node 1 true",
            "1 node 3 true",
            "1 switch 9 true",
            "2 node 1 true",
        ];
        assert_eq!(names(&roll), expected);
        assert_eq!(
            roll.tally,
            Tally {
                asked: 4,
                ok: 4,
                faults: [0; _]
            }
        );
    }

    #[test]
    fn who_has_not_answered_is_cancelled_where_everybody_is_shown() {
        let mut roll = roll();
        roll.hear(0, 1, heard(Ok(Facts::default())));
        roll.settle(false);
        assert_eq!(
            names(&roll),
            ["1 node 1 false", "1 node 2 true", "1 switch 9 false"]
        );
        let collection = roll.collection(|_| true);
        let silent: Vec<_> = collection
            .faults()
            .map(|(_, _, id, it)| (id.clone(), it.kind()))
            .collect();
        let cancelled = FaultKind::Cancelled;
        assert_eq!(
            silent,
            [(Id::number(1), cancelled), (Id::number(9), cancelled)]
        );
        assert_eq!(
            roll.collection(|it| it.heard.is_some())
                .topology()
                .devices(),
            1
        );
    }
}
