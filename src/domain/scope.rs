//! Which devices of a fleet are meant.

use super::nodeset::Matcher;
use super::{Candidates, Cluster, ClusterId, DeviceKind, Id, NodeSet, Topology, Turn, first_of};

/// Devices by their cluster, kind and id; what is left out means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only clusters that this holds.
    pub clusters: Option<NodeSet>,
    /// Only this kind.
    pub kind: Option<DeviceKind>,
    /// Only devices that this holds.
    pub devices: Option<NodeSet>,
    /// No device that this holds.
    pub exclude: Option<NodeSet>,
}

/// Why a scope means no devices of a fleet, or not those that it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A part of a filter matches nothing, which may be a mistake in writing.
    #[error("{0}")]
    Unmatched(String),
    /// Everything that matches is taken away, or nothing is of the kind.
    #[error("no device of the fleet is meant: {0}")]
    Empty(String),
    /// It would take too long to find out.
    #[error("`{filter}` has {why}")]
    TooLarge {
        /// Which filter.
        filter: &'static str,
        /// What there is too much of.
        why: String,
    },
}

/// The devices of a fleet that are meant: the places of the clusters, each with those of its devices,
/// counted over nodes, then switches. Every cluster has some.
pub type Places = Vec<(usize, Vec<usize>)>;

impl Scope {
    /// Whether it leaves nothing out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// Whether devices of this cluster may be meant.
    #[must_use]
    pub fn has_cluster(&self, cluster: &ClusterId) -> bool {
        let clusters = self.clusters.as_ref();
        clusters.is_none_or(|clusters| clusters.contains(cluster))
    }

    /// Finds the devices that are meant, in order, in turns. It takes time that grows with the devices,
    /// and with what is written in the scope, but not with both.
    ///
    /// # Errors
    /// If there is none, if a part of `clusters` matches no cluster, or one of `devices` none in these
    /// clusters.
    pub async fn places(&self, topology: &Topology) -> Result<Places, ScopeError> {
        let mut turn = Turn::default();
        let mut clusters = matcher("cluster", self.clusters.as_ref())?;
        let mut devices = matcher("device", self.devices.as_ref())?;
        let mut exclude = matcher("exclude", self.exclude.as_ref())?;
        let work = |it: &Option<Matcher<'_>>| it.as_ref().map_or(0, Matcher::work);
        let of_a_cluster = 1 + work(&clusters);
        let of_a_device = 1 + work(&devices) + work(&exclude);
        let (mut selected, mut found) = (Vec::new(), Vec::new());
        for (place, cluster) in topology.clusters().iter().enumerate() {
            turn.spend(of_a_cluster).await;
            let is_held = |it: &mut Matcher<'_>| it.look(cluster.id()).is_held();
            if !clusters.as_mut().is_none_or(is_held) {
                continue;
            }
            selected.push(cluster);
            let mut meant = Vec::new();
            for device in 0..cluster.len() {
                turn.spend(of_a_device).await;
                let (kind, id) = cluster.device(device);
                let is_held = |it: &mut Matcher<'_>| it.look(id).is_held();
                if self.kind.is_none_or(|only| only == kind)
                    && devices.as_mut().is_none_or(is_held)
                    && !exclude.as_mut().is_some_and(is_held)
                {
                    meant.push(device);
                }
            }
            if !meant.is_empty() {
                found.push((place, meant));
            }
        }
        if let Some(clusters) = &clusters {
            refuse_unmatched_clusters(clusters, topology).await?;
        }
        if let Some(devices) = &devices {
            self.refuse_unmatched_devices(devices, &selected).await?;
        }
        if found.is_empty() {
            return Err(ScopeError::Empty(match (&self.exclude, self.kind) {
                (Some(_), _) => "all that would be are excluded".to_owned(),
                (None, Some(kind)) => format!("there is no {kind}"),
                (None, None) => "there is none, or all are taken away".to_owned(),
            }));
        }
        Ok(found)
    }

    /// Whether each device that is taken away is somewhere in the fleet, perhaps outside of the scope;
    /// in turns.
    ///
    /// # Errors
    /// If one is not, which may be a mistake in writing.
    pub async fn check_removals(&self, topology: &Topology) -> Result<(), ScopeError> {
        let mut turn = Turn::default();
        let filters = [("device", &self.devices), ("exclude", &self.exclude)];
        for (filter, set) in filters {
            let Some(set) = set else { continue };
            let matcher = Matcher::new(set, |takes_away| takes_away || filter == "exclude");
            let mut matcher = matcher.map_err(|why| ScopeError::TooLarge { filter, why })?;
            if matcher.is_empty() {
                continue;
            }
            let ids = || {
                let clusters = topology.clusters().iter();
                clusters.flat_map(|cluster| (0..cluster.len()).map(|it| cluster.device(it).1))
            };
            for id in ids() {
                turn.spend(matcher.work()).await;
                matcher.look(id);
            }
            let unmet = matcher.unmet();
            if let Some((first, _)) = unmet.first() {
                let there = see_all(first, ids().map(Some)).await;
                return Err(ScopeError::Unmatched(format!(
                    "`{filter}`: there is no device {} to take away; {}{}",
                    named(&unmet),
                    there.known(),
                    there.did_you_mean(),
                )));
            }
        }
        Ok(())
    }

    /// The part of a fleet that is meant.
    ///
    /// # Errors
    /// As [`Scope::places`].
    pub async fn part(&self, topology: &Topology) -> Result<Topology, ScopeError> {
        let (mut parts, mut turn) = (Vec::new(), Turn::default());
        for (place, devices) in self.places(topology).await? {
            let cluster = &topology.clusters()[place];
            parts.push(cluster.part(&devices, &mut turn).await);
        }
        Ok(Topology::new(parts))
    }

    /// `clusters` are those that are meant.
    async fn refuse_unmatched_devices(
        &self,
        matcher: &Matcher<'_>,
        clusters: &[&Cluster],
    ) -> Result<(), ScopeError> {
        let mut unmet = matcher.unmet();
        unmet.retain(|(_, takes_away)| !takes_away);
        let Some((first, _)) = unmet.first() else {
            return Ok(());
        };
        let devices = clusters.iter();
        let devices = devices.flat_map(|it| (0..it.len()).map(|device| it.device(device)));
        let meant = devices.map(|(kind, id)| {
            let is_meant = self.kind.is_none_or(|only| only == kind);
            is_meant.then_some(id)
        });
        let there = see_all(first, meant).await;
        let noun = self.kind.map_or("device", DeviceKind::as_str);
        let whence = match (&self.clusters, clusters) {
            (None, _) => String::new(),
            (Some(_), [cluster]) => format!(" in cluster {}", cluster.id()),
            (Some(_), clusters) => {
                let ids = clusters.iter().map(|cluster| cluster.id());
                format!(" in the clusters {}", first_of(ids, clusters.len()))
            }
        };
        Err(ScopeError::Unmatched(format!(
            "`device`: there is no {noun} {}{whence}; {}{}",
            named(&unmet),
            there.known(),
            there.did_you_mean(),
        )))
    }
}

fn matcher<'a>(
    filter: &'static str,
    set: Option<&'a NodeSet>,
) -> Result<Option<Matcher<'a>>, ScopeError> {
    let matcher = set.map(|set| Matcher::new(set, |_| true));
    let matcher = matcher.transpose();
    matcher.map_err(|why| ScopeError::TooLarge { filter, why })
}

async fn refuse_unmatched_clusters(
    matcher: &Matcher<'_>,
    topology: &Topology,
) -> Result<(), ScopeError> {
    let unmet = matcher.unmet();
    let Some((first, _)) = unmet.first() else {
        return Ok(());
    };
    let there = see_all(first, topology.clusters().iter().map(|it| Some(it.id()))).await;
    Err(ScopeError::Unmatched(format!(
        "`cluster`: there is no cluster {}; {}{}",
        named(&unmet),
        there.known(),
        there.did_you_mean(),
    )))
}

/// What there is, and what of it was probably meant, in turns; `None` is passed over.
async fn see_all<'a>(given: &str, ids: impl Iterator<Item = Option<&'a Id>>) -> Candidates {
    let (mut candidates, mut turn) = (Candidates::new(given), Turn::default());
    let mut range = NodeSet::as_range(given);
    for id in ids {
        // What there is of it says that it was meant so.
        if let Some((text, _)) = range.take_if(|(_, set)| id.is_some_and(|id| set.contains(id))) {
            candidates.mean(text);
        }
        turn.spend(id.map_or(1, |id| candidates.see(id))).await;
    }
    candidates
}

/// `"a", "b"`: parts of a filter, the first few.
fn named(parts: &[(&str, bool)]) -> String {
    let quoted = parts.iter().map(|(part, _)| format!("{part:?}"));
    first_of(quoted, parts.len())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use futures::executor::block_on;

    use super::*;
    use crate::domain::{ITEMS_PER_TURN, seen};

    fn topology() -> Topology {
        let ids = |texts: &str| NodeSet::parse(texts).unwrap().ids().unwrap();
        let edge = Cluster::new(Id::name("edge").unwrap(), ids("web[1-3]"), ids("1-2"));
        let core = Cluster::new(Id::number(7), ids("a,web9"), Vec::new());
        Topology::new(vec![edge, core])
    }

    fn scope(cluster: &str, kind: Option<DeviceKind>, device: &str, exclude: &str) -> Scope {
        let set = |text: &str| (!text.is_empty()).then(|| NodeSet::parse(text).unwrap());
        Scope {
            clusters: set(cluster),
            kind,
            devices: set(device),
            exclude: set(exclude),
        }
    }

    #[test]
    fn what_is_left_out_means_all() {
        let (switch, node) = (Some(DeviceKind::Switch), Some(DeviceKind::Node));
        assert!(Scope::default().is_whole());
        for (scope, expected) in [
            (
                Scope::default(),
                vec![(0, vec![0, 1, 2, 3, 4]), (1, vec![0, 1])],
            ),
            (scope("edge", None, "", ""), vec![(0, vec![0, 1, 2, 3, 4])]),
            (scope("", switch, "", ""), vec![(0, vec![3, 4])]),
            (
                scope("", None, "web[2-20]", ""),
                vec![(0, vec![1, 2]), (1, vec![1])],
            ),
            (scope("edge,7!edge", None, "", ""), vec![(1, vec![0, 1])]),
            (
                scope("", None, "web[1-9]!web9", ""),
                vec![(0, vec![0, 1, 2])],
            ),
            (scope("", node, "", "web[1-3]"), vec![(1, vec![0, 1])]),
            // What is taken away may be elsewhere than what is asked.
            (
                scope("edge", node, "", "web9,1,web1"),
                vec![(0, vec![1, 2])],
            ),
            (
                scope("edge", None, "web[1-3]!web9", ""),
                vec![(0, vec![0, 1, 2])],
            ),
        ] {
            let (places, topology) = (block_on(scope.places(&topology())), topology());
            assert_eq!(places, Ok(expected), "{scope:?}");
            let checked = block_on(scope.check_removals(&topology));
            assert_eq!(checked, Ok(()), "{scope:?}");
        }
        let part = scope("edge", None, "web2,1", "");
        let part = block_on(part.part(&topology())).unwrap();
        assert_eq!((part.clusters().len(), part.devices()), (1, 2));
        assert_eq!(part.clusters()[0].nodes(), 1);
    }

    #[test]
    fn a_part_that_matches_nothing_is_named() {
        let node = Some(DeviceKind::Node);
        for (scope, expected) in [
            (
                scope("edge,eddge", None, "", ""),
                "`cluster`: there is no cluster \"eddge\"; there are edge, 7; did you mean \"edge\"?",
            ),
            (
                scope("", None, "web[1-3,7],b", ""),
                "`device`: there is no device \"web7\", \"b\"; there are web1, web2, web3, 1, 2, a, \
                 web9; did you mean \"web1\"?",
            ),
            (
                scope("7", None, "web1", ""),
                "`device`: there is no device \"web1\" in cluster 7; there are a, web9; did you mean \
                 \"web9\"?",
            ),
            (
                scope("", None, "web1-3", ""),
                "`device`: there is no device \"web1-3\"; there are web1, web2, web3, 1, 2, a, web9; did \
                 you mean \"web[1-3]\"?",
            ),
            (
                scope("", node, "2", ""),
                "`device`: there is no node \"2\"; there are web1, web2, web3, a, web9",
            ),
            (
                scope("", None, "web[1-3]!web7", ""),
                "`device`: there is no device \"web7\" to take away; there are web1, web2, web3, \
                 1, 2, a, web9; did you mean \"web1\"?",
            ),
            (
                scope("", None, "", "wbe1"),
                "`exclude`: there is no device \"wbe1\" to take away; there are web1, web2, web3, \
                 1, 2, a, web9; did you mean \"web1\"?",
            ),
            (
                scope("", None, "web[1-3]", "web[1-3]"),
                "no device of the fleet is meant: all that would be are excluded",
            ),
            (
                scope("7", Some(DeviceKind::Switch), "", ""),
                "no device of the fleet is meant: there is no switch",
            ),
        ] {
            let checked = block_on(scope.check_removals(&topology()));
            let error = checked
                .and_then(|()| block_on(scope.places(&topology())))
                .unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    /// What comes of work, and the most devices that are looked at between two turns of it.
    fn most_between<T>(work: impl Future<Output = T>) -> (T, usize) {
        let (mut work, mut most) = (pin!(work), 0);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let before = seen::count();
            let done = work.as_mut().poll(&mut context);
            most = most.max(seen::count() - before);
            if let Poll::Ready(done) = done {
                return (done, most);
            }
        }
    }

    #[test]
    fn whatever_is_written_is_resolved_in_turns() {
        let topologies = [
            Topology::new(vec![Cluster::new(
                Id::number(1),
                (1..4_000)
                    .map(|it| Id::name(&format!("n{it}")).unwrap())
                    .collect(),
                Vec::new(),
            )]),
            Topology::new(
                (1..4_000)
                    .map(|it| {
                        Cluster::new(Id::number(it), vec![Id::name("n1").unwrap()], Vec::new())
                    })
                    .collect(),
            ),
        ];
        let ranges: Vec<String> = (1..300)
            .map(|it| format!("n[{it}-{}]", 99_999 - it))
            .collect();
        let brackets: Vec<String> = (10..20).map(|it| format!("n[1-9][0-{it}]")).collect();
        for topology in &topologies {
            for device in [
                "n1",
                "n1-n2",
                "x[1-999999]",
                &ranges.join(","),
                &brackets.join(","),
                &("a,".repeat(4000) + "n1"),
                "n[1-4000]!n[2000-99999]",
                &"x".repeat(60),
            ] {
                let node = Some(DeviceKind::Node);
                for scope in [
                    scope("", node, device, ""),
                    scope("", Some(DeviceKind::Switch), device, ""),
                    scope("", None, "", device),
                    scope(device, None, device, device),
                ] {
                    let (_, most) = most_between(scope.places(topology));
                    assert!(
                        most <= 2 * ITEMS_PER_TURN,
                        "{most} by places of {device:.50}"
                    );
                    let (_, most) = most_between(scope.check_removals(topology));
                    assert!(
                        most <= 2 * ITEMS_PER_TURN,
                        "{most} by removals of {device:.50}"
                    );
                    let (_, most) = most_between(scope.part(topology));
                    assert!(
                        most <= 2 * ITEMS_PER_TURN,
                        "{most} by the part of {device:.50}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_repeated_is_looked_up_once() {
        let same = "a,".repeat(4000) + "a";
        let cluster = Cluster::new(Id::number(1), vec![Id::name("a").unwrap()], Vec::new());
        let topology = Topology::new(vec![cluster]);
        let all = scope("", None, &same, "");
        assert_eq!(block_on(all.places(&topology)), Ok(vec![(0, vec![0])]));
        let none = scope("", None, &same, &same);
        assert_eq!(block_on(none.check_removals(&topology)), Ok(()));
        let places = block_on(none.places(&topology));
        assert!(matches!(places, Err(ScopeError::Empty(_))));
        let others = scope("", None, &("a,a[1-9],".repeat(800) + "a"), "");
        let error = block_on(others.places(&topology)).unwrap_err().to_string();
        assert!(
            error.starts_with("`device`: there is no device \"a[1-9]\"; there is a"),
            "{error}"
        );
    }
}
