//! Which live worker is to have a cluster: rendezvous hashing.
//!
//! Each worker scores each cluster, and the highest score has it (Thaler and Ravishankar, *Using
//! name-based mappings to increase hit rates*, 1998). A worker that joins takes what it scores
//! highest on, and one that leaves gives up only its own; nothing else moves.

use xxhash_rust::xxh3::Xxh3;

/// Who of them is to have `cluster`; `None` if there is nobody.
pub(crate) fn chosen<'a>(workers: impl Iterator<Item = &'a str>, cluster: &str) -> Option<&'a str> {
    // Names break a tie, so that all say the same.
    workers.max_by_key(|worker| (score(worker, cluster), *worker))
}

fn score(worker: &str, cluster: &str) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(worker.as_bytes());
    // No name has it.
    hasher.update(b"/");
    hasher.update(cluster.as_bytes());
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::chosen;

    fn owners(workers: &[String], clusters: usize) -> HashMap<usize, String> {
        let of = |cluster: usize| {
            let all = workers.iter().map(String::as_str);
            chosen(all, &cluster.to_string()).unwrap().to_owned()
        };
        (0..clusters)
            .map(|cluster| (cluster, of(cluster)))
            .collect()
    }

    #[test]
    fn a_worker_that_joins_moves_its_share_and_nothing_else() {
        let mut workers: Vec<String> = (0..9).map(|it| format!("worker-{it}")).collect();
        let before = owners(&workers, 10_000);
        workers.push("late".to_owned());
        let after = owners(&workers, 10_000);
        let moved: Vec<_> = (0..10_000).filter(|it| before[it] != after[it]).collect();
        assert!(moved.iter().all(|it| after[it] == "late"));
        assert!(
            (800..1200).contains(&moved.len()),
            "{} of 10,000",
            moved.len()
        );
    }

    #[test]
    fn shares_are_alike() {
        let workers: Vec<String> = (0..4).map(|it| format!("host-{it}.example-{it}")).collect();
        let owners = owners(&workers, 10_000);
        for worker in &workers {
            let share = owners.values().filter(|it| *it == worker).count();
            assert!((2300..2700).contains(&share), "{worker}: {share}");
        }
        assert_eq!(chosen(std::iter::empty(), "1"), None);
    }
}
