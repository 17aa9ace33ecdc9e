//! Which devices of a fleet are meant.

use super::nodeset::Matcher;
use super::{Cluster, ClusterId, DeviceKind, NodeSet, Topology, did_you_mean, first_of, known};

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

    /// Finds the devices that are meant, in order. It takes time that grows with the devices, and with
    /// what is written in the scope, but not with both.
    ///
    /// # Errors
    /// If there is none, if a part of `clusters` matches no cluster, or one of `devices` none in these
    /// clusters.
    pub fn places(&self, topology: &Topology) -> Result<Places, ScopeError> {
        let count = u64::try_from(topology.devices()).unwrap_or(u64::MAX);
        let mut clusters = matcher("cluster", self.clusters.as_ref(), count)?;
        let mut devices = matcher("device", self.devices.as_ref(), count)?;
        let mut exclude = matcher("exclude", self.exclude.as_ref(), count)?;
        let (mut selected, mut found) = (Vec::new(), Vec::new());
        for (place, cluster) in topology.clusters().iter().enumerate() {
            let is_held = |it: &mut Matcher<'_>| it.look(&cluster.id().to_string()).is_held();
            if !clusters.as_mut().is_none_or(is_held) {
                continue;
            }
            selected.push(cluster);
            let mut is_meant = |&device: &usize| {
                let (kind, id) = cluster.device(device);
                if self.kind.is_some_and(|only| only != kind) {
                    return false;
                }
                if devices.is_none() && exclude.is_none() {
                    return true;
                }
                let id = id.to_string();
                let is_held = |it: &mut Matcher<'_>| it.look(&id).is_held();
                devices.as_mut().is_none_or(is_held) && !exclude.as_mut().is_some_and(is_held)
            };
            let meant: Vec<usize> = (0..cluster.len()).filter(&mut is_meant).collect();
            if !meant.is_empty() {
                found.push((place, meant));
            }
        }
        if let Some(clusters) = &clusters {
            refuse_unmatched_clusters(clusters, topology)?;
        }
        if let Some(devices) = &devices {
            self.refuse_unmatched_devices(devices, &selected)?;
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

    /// Whether each device that is taken away is somewhere in the fleet, perhaps outside of the scope.
    ///
    /// # Errors
    /// If one is not, which may be a mistake in writing.
    pub fn check_removals(&self, topology: &Topology) -> Result<(), ScopeError> {
        let count = u64::try_from(topology.devices()).unwrap_or(u64::MAX);
        let filters = [("device", &self.devices), ("exclude", &self.exclude)];
        for (filter, set) in filters {
            let Some(set) = set else { continue };
            let matcher = Matcher::new(set, |takes_away| takes_away || filter == "exclude", count);
            let mut matcher = matcher.map_err(|why| ScopeError::TooLarge { filter, why })?;
            if matcher.is_empty() {
                continue;
            }
            let ids = || {
                let clusters = topology.clusters().iter();
                clusters.flat_map(|cluster| (0..cluster.len()).map(|it| cluster.device(it).1))
            };
            for id in ids() {
                matcher.look(&id.to_string());
            }
            let unmet: Vec<&str> = matcher.unmet().map(|(text, _)| text).collect();
            if let Some(first) = unmet.first() {
                return Err(ScopeError::Unmatched(format!(
                    "`{filter}`: there is no device {} to take away; {}{}",
                    named(&unmet),
                    known(ids(), topology.devices()),
                    did_you_mean(first, ids().map(ToString::to_string)),
                )));
            }
        }
        Ok(())
    }

    /// The part of a fleet that is meant.
    ///
    /// # Errors
    /// As [`Scope::places`].
    pub fn part(&self, topology: &Topology) -> Result<Topology, ScopeError> {
        let places = self.places(topology)?;
        let clusters = places.iter();
        let clusters = clusters.map(|(place, devices)| topology.clusters()[*place].part(devices));
        Ok(Topology::new(clusters.collect()))
    }

    /// `clusters` are those that are meant.
    fn refuse_unmatched_devices(
        &self,
        matcher: &Matcher<'_>,
        clusters: &[&Cluster],
    ) -> Result<(), ScopeError> {
        let unmet = matcher.unmet().filter(|(_, takes_away)| !takes_away);
        let unmet: Vec<&str> = unmet.map(|(text, _)| text).collect();
        let Some(first) = unmet.first() else {
            return Ok(());
        };
        let devices = || {
            let clusters = clusters.iter();
            let devices = clusters.flat_map(|it| (0..it.len()).map(|device| it.device(device)));
            let meant = devices.filter(|(kind, _)| self.kind.is_none_or(|only| only == *kind));
            meant.map(|(_, id)| id)
        };
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
            known(devices(), devices().count()),
            did_you_mean(first, devices().map(ToString::to_string)),
        )))
    }
}

fn matcher<'a>(
    filter: &'static str,
    set: Option<&'a NodeSet>,
    count: u64,
) -> Result<Option<Matcher<'a>>, ScopeError> {
    let matcher = set.map(|set| Matcher::new(set, |_| true, count));
    let matcher = matcher.transpose();
    matcher.map_err(|why| ScopeError::TooLarge { filter, why })
}

fn refuse_unmatched_clusters(matcher: &Matcher<'_>, topology: &Topology) -> Result<(), ScopeError> {
    let unmet: Vec<&str> = matcher.unmet().map(|(text, _)| text).collect();
    let Some(first) = unmet.first() else {
        return Ok(());
    };
    let ids = || topology.clusters().iter().map(Cluster::id);
    Err(ScopeError::Unmatched(format!(
        "`cluster`: there is no cluster {}; {}{}",
        named(&unmet),
        known(ids(), topology.clusters().len()),
        did_you_mean(first, ids().map(ToString::to_string)),
    )))
}

/// `"a", "b"`: parts of a filter, the first few.
fn named(parts: &[&str]) -> String {
    let quoted = parts.iter().map(|part| format!("{part:?}"));
    first_of(quoted, parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Id;

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
            assert_eq!(scope.places(&topology()), Ok(expected), "{scope:?}");
            assert_eq!(scope.check_removals(&topology()), Ok(()), "{scope:?}");
        }
        let part = scope("edge", None, "web2,1", "").part(&topology()).unwrap();
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
            let checked = scope.check_removals(&topology());
            let error = checked
                .and_then(|()| scope.places(&topology()))
                .unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_long_filter_of_a_large_fleet_takes_no_longer_than_both() {
        // Each device by each part would be hundreds of millions of comparisons.
        let clusters = (0..100_000).map(|id| {
            let devices = vec![Id::name("a").unwrap()];
            Cluster::new(Id::number(id), devices, Vec::new())
        });
        let topology = Topology::new(clusters.collect());
        let same = "a,".repeat(4000) + "a";
        let all = scope("", None, &same, &same);
        assert_eq!(all.check_removals(&topology), Ok(()));
        assert!(matches!(all.places(&topology), Err(ScopeError::Empty(_))));
        let others = scope("", None, &("a,a[1-9],".repeat(800) + "a"), "");
        let error = others.places(&topology).unwrap_err().to_string();
        assert!(error.contains("\"a[1-9]\" and 790 more"), "{error}");
        let large = "a[1-999999],".repeat(600) + "a";
        let error = scope("", None, &large, "").places(&topology).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`device` has more than 64 parts that hold more ids than the fleet; write fewer"
        );
    }
}
