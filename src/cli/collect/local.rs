//! A roll call that this process makes itself, as it comes in.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::SystemTime;

use futures::future::{FutureExt as _, LocalBoxFuture};

use super::request::RollRequest;
use super::roll::{Heard, Roll};
use crate::app::Engine;
use crate::cli::error::CliError;
use crate::config::Config;
use crate::engine::collector::{AnswerStream, CollectError, CollectRequest};
use crate::reload::DiscoveryState;
use crate::server::routes::v1::report;

/// Outcomes that are taken at once, at most: between two of these, progress is drawn.
const PIECE: usize = 4096;

/// A roll call under way; dropped, it is given up.
pub(super) struct Local {
    stage: LocalStage,
    /// Whose actors ask.
    engine: Engine,
}

enum LocalStage {
    Running(AnswerStream),
    /// All have come; the summary is on its way.
    Ending(LocalBoxFuture<'static, Result<Option<String>, CollectError>>),
    Over,
}

impl Local {
    /// Asks the devices that the request means, once each; also says whether all lists of devices could be read.
    ///
    /// # Panics
    /// Outside of an actix `System`.
    pub(super) async fn begin(
        config: Config,
        request: &RollRequest,
    ) -> Result<(Self, Roll, bool), CliError> {
        let threads = available_parallelism().map_or(1, NonZeroUsize::get);
        let all_lists = config.discoveries.len();
        let engine = Engine::for_one_roll_call(config, &request.scope, threads).await;
        // Devices of those that cannot be, and entries that may not be asked, are not in the answer; the
        // log has said why.
        let lists = engine.reload().discoveries();
        let is_whole = |list: &DiscoveryState| list.error.is_none() && list.refused == 0;
        let is_whole = lists.iter().all(is_whole);
        let request = CollectRequest {
            scope: request.scope.clone(),
            deadline: request.deadline,
            // What is taken away may be in a list that is not needed, and not read.
            check_removals: lists.len() == all_lists,
            ..CollectRequest::default()
        };
        let stream = engine.collector().stream(&request).await;
        let stream = stream.map_err(CliError::Collect)?;
        let roll = Roll::new(stream.topology());
        let local = Self {
            stage: LocalStage::Running(stream),
            engine,
        };
        Ok((local, roll, is_whole))
    }

    /// Puts what has come since into the roll, also as lines if those are wanted; `None` when all
    /// have come. Cancel-safe.
    pub(super) async fn next(
        &mut self,
        roll: &mut Roll,
        wants_lines: bool,
        only_failed: bool,
    ) -> Result<Option<Vec<String>>, CliError> {
        let come = match &mut self.stage {
            LocalStage::Running(stream) => stream.next(PIECE).await,
            LocalStage::Ending(_) | LocalStage::Over => Vec::new(),
        };
        if come.is_empty() {
            return self.end(wants_lines).await;
        }
        let LocalStage::Running(stream) = &self.stage else {
            return Ok(None);
        };
        let mut lines = Vec::new();
        let now = SystemTime::now();
        for (cluster, device) in come {
            let Some((outcome, observation)) = stream.outcome(cluster, device) else {
                continue;
            };
            if wants_lines && (!only_failed || outcome.is_err()) {
                lines.extend(report::came_line(stream, (cluster, device), now));
            }
            let heard = Heard {
                outcome: outcome.clone(),
                took: observation.and_then(|it| it.took),
            };
            roll.hear(cluster, device, heard);
        }
        Ok(Some(lines))
    }

    /// Ends what its lookups have opened on devices.
    pub(super) async fn close(self) {
        self.engine.end_sessions().await;
    }

    /// Waits for the summary, once.
    async fn end(&mut self, wants_lines: bool) -> Result<Option<Vec<String>>, CliError> {
        self.stage = match std::mem::replace(&mut self.stage, LocalStage::Over) {
            LocalStage::Running(stream) => {
                LocalStage::Ending(last_line(stream, wants_lines).boxed_local())
            }
            stage @ (LocalStage::Ending(_) | LocalStage::Over) => stage,
        };
        let LocalStage::Ending(ending) = &mut self.stage else {
            return Ok(None);
        };
        let line = ending.await;
        self.stage = LocalStage::Over;
        let line = line.map_err(CliError::Collect)?;
        Ok(Some(line.into_iter().collect()))
    }
}

/// Waits for the summary; `None` if its line is not wanted.
async fn last_line(
    stream: AnswerStream,
    wants_lines: bool,
) -> Result<Option<String>, CollectError> {
    let answer = stream.finish().await?;
    Ok(match wants_lines {
        true => Some(report::end_line(&answer).await),
        false => None,
    })
}
