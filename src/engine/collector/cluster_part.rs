//! A collect of one cluster that runs here, for another process that gives the whole answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::selection::Selection;
use super::{CollectError, CollectorHandle, Observation};
use crate::domain::{ClusterId, Outcome};
use crate::engine::collector::in_flight::{AnswerStream, CollectInFlight, CollectMode};
use crate::engine::fleet::NotPlanned;
use crate::engine::remote_state::LocalCluster;

/// Which devices of a cluster to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClusterPartRequest {
    pub(crate) cluster: ClusterId,
    /// The devices that the places are of.
    pub(crate) plan_id: u64,
    /// Rising places in the cluster's plan; `None` is everybody.
    pub(crate) places: Option<Vec<u32>>,
    /// The longest the whole collect may take, if that is less than what is configured.
    pub(crate) deadline: Duration,
    /// How long ago that began.
    pub(crate) elapsed: Duration,
    /// How old what is known of a device may be for it not to be asked; `None` asks all.
    pub(crate) max_age: Option<Duration>,
    /// Whether devices are asked that would not be.
    pub(crate) force: bool,
}

/// Why a part is not collected here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClusterPartError {
    /// The cluster runs elsewhere, or nowhere.
    #[error("the cluster does not run here")]
    NotHere,
    /// The cluster has other devices here.
    #[error("the cluster has other devices here")]
    OtherPlan,
    /// Nothing is collected.
    #[error("{0}")]
    Refused(CollectError),
}

/// A part under way, outcome by outcome. Dropping it cancels the request.
#[derive(Debug)]
pub(crate) struct ClusterPartStream {
    stream: AnswerStream,
    places: Vec<u32>,
}

impl CollectorHandle {
    /// Asks devices of a cluster that runs here. `others` are under way for it: as many may be as
    /// collects may wait.
    ///
    /// # Panics
    /// Outside of a `LocalSet`, such as an arbiter.
    pub(crate) async fn part(
        &self,
        request: ClusterPartRequest,
        others: usize,
    ) -> Result<ClusterPartStream, ClusterPartError> {
        let now = Instant::now();
        let start = now.checked_sub(request.elapsed).unwrap_or(now);
        let shared = &self.0;
        let way = shared.fleet.planned(&request.cluster, request.plan_id);
        let (routes, cluster) = way.map_err(|error| match error {
            NotPlanned::NotHere => ClusterPartError::NotHere,
            NotPlanned::OtherPlan => ClusterPartError::OtherPlan,
        })?;
        let all = routes.topology.clusters()[cluster].len();
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        let places = request.places.unwrap_or_else(|| (0..all).collect());
        let is_rising = places.is_sorted_by(|a, b| a < b);
        if !is_rising || places.last().is_some_and(|&it| it >= all) {
            return Err(ClusterPartError::OtherPlan);
        }
        if shared.closing.load(Ordering::Acquire) {
            return Err(ClusterPartError::Refused(CollectError::ShuttingDown));
        }
        let waiting = routes.settings.max_waiting;
        if others >= waiting {
            return Err(ClusterPartError::Refused(CollectError::Overloaded {
                waiting,
            }));
        }
        let selection = Selection::part(routes, cluster, &places).await;
        let how = CollectMode {
            deadline: Some(request.deadline),
            read: true,
            force: request.force,
            // The front's, of which nothing is said.
            client: None,
        };
        let in_flight = CollectInFlight::of(shared, selection, how, start);
        in_flight.ask(request.max_age).await;
        let stream = AnswerStream::new(in_flight, None);
        Ok(ClusterPartStream { stream, places })
    }
}

impl CollectorHandle {
    /// What is known of a cluster that runs here.
    pub(crate) fn known(&self, cluster: &ClusterId, plan_id: u64) -> Option<LocalCluster> {
        self.0.fleet.known(cluster, plan_id)
    }
}

impl ClusterPartStream {
    /// The next devices with an outcome, at least one and up to `most`, by their places among those
    /// that were asked; empty when all were given. Cancel-safe.
    pub(crate) async fn next(&mut self, most: usize) -> Vec<usize> {
        let come = self.stream.next(most).await;
        come.into_iter().map(|(_, device)| device).collect()
    }

    /// A device's place in the plan, its outcome, and how that came.
    ///
    /// # Panics
    /// If its outcome has not come.
    pub(crate) fn outcome(&self, device: usize) -> (u32, &Outcome, Option<Observation>) {
        #[expect(clippy::expect_used, reason = "only what came is asked for")]
        let (outcome, observation) = self
            .stream
            .outcome(0, device)
            .expect("an outcome that came");
        (self.places[device], outcome, observation)
    }

    /// Ends the collect, as it should be when all have come.
    pub(crate) async fn finish(self) {
        // It has been logged and counted; whether it was given up was seen by what came.
        self.stream.finish().await.ok();
    }
}
