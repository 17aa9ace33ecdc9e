//! Whether this worker is fit to have clusters now, told to the others and in the log.

use tokio::time::Instant;

use super::manager::LeaseManager;
use super::membership::Fitness;
use super::worker_fitness::Why;
use crate::nats::lock::lock;

impl LeaseManager {
    /// Leases were lost.
    pub(super) fn note_loss(&self) {
        let mut worker_fitness = lock(&self.worker_fitness);
        worker_fitness
            .losses
            .lost(Instant::now(), self.worker.lease);
    }

    /// Whether a thread that runs clusters is stuck.
    pub(super) fn note_stuck(&self, is_stuck: bool) {
        lock(&self.worker_fitness).is_stuck = is_stuck;
    }

    /// Whether this worker has announced itself and not heard it.
    pub(super) fn is_deaf(&self) -> bool {
        lock(&self.membership).is_deaf(self.worker.lease / 2)
    }

    /// Whether this worker is to have clusters now; says in the log when that changes.
    pub(super) fn fitness(&self) -> Fitness {
        let is_deaf = self.is_deaf();
        let mut worker_fitness = lock(&self.worker_fitness);
        let why = if is_deaf {
            Some(Why::Deaf)
        } else if worker_fitness.is_stuck {
            Some(Why::Stuck)
        } else if worker_fitness.losses.is_unsteady(Instant::now()) {
            Some(Why::Unsteady)
        } else {
            None
        };
        if why != worker_fitness.why {
            let losses = worker_fitness.losses.count;
            match why {
                None => log::info!("this worker is fit to have clusters again"),
                Some(Why::Unsteady) => {
                    let (why, wait_ms) =
                        (Why::Unsteady.text(), worker_fitness.losses.wait.as_millis());
                    log::warn!(why, losses, wait_ms = u64::try_from(wait_ms).unwrap_or(u64::MAX);
                               "this worker takes no clusters while others can");
                }
                Some(why) => log::warn!(why = why.text(); "this worker takes no clusters"),
            }
            worker_fitness.why = why;
        }
        drop(worker_fitness);
        let fitness = match why {
            None => Fitness::Fit,
            Some(Why::Unsteady) => Fitness::Unsteady,
            Some(Why::Deaf | Why::Stuck) => Fitness::Unfit,
        };
        lock(&self.membership).set_fitness(fitness);
        fitness
    }
}
