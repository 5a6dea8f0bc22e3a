//! The inputs of one execution.

use super::super::work::{LazyFolder, WorkFolder};
use super::super::{Executor, Failure, Phase};
use super::{Ending, Run};
use crate::metrics::Stage;
use crate::sources::{Mount, normalise_guest_path};
use bacalhau_model::event::topic;
use bacalhau_model::{Error, InputSource, Task};
use futures_util::future::try_join_all;
use std::sync::Arc;
use std::time::Instant;

impl Executor {
    /// Prepares all inputs at the same time. If one fails the others are given up.
    async fn prepare_inputs(&self, task: &Task, work: &Arc<WorkFolder>) -> Result<Vec<Mount>, Error> {
        let program = self.inner.engines.get(task).map_or(Vec::new(), |engine| engine.program_inputs(task));
        let prepare = task.input_sources.iter().enumerate().map(|(number, input)| {
            let is_program =
                normalise_guest_path(&input.target).is_ok_and(|target| program.contains(&target));
            async move {
                let prepared = self.prepare_input(input, is_program, LazyFolder::input(work, number)).await;
                prepared.map_err(|error| Error {
                    message: format!("input for {}: {}", input.target, error.message),
                    ..error
                })
            }
        });
        try_join_all(prepare).await
    }

    async fn prepare_input(
        &self,
        input: &InputSource,
        is_program: bool,
        folder: LazyFolder,
    ) -> Result<Mount, Error> {
        let source = self.inner.sources.get(input)?;
        if is_program && let Some(file) = source.file(input).await? {
            return Ok(file);
        }
        source.prepare(input, folder).await
    }

    fn remote_inputs(&self, task: &Task) -> usize {
        let sources = &self.inner.sources;
        let is_remote = |input: &&_| sources.get(input).is_ok_and(|source| !source.is_local(input));
        task.input_sources.iter().filter(is_remote).count()
    }
}

impl Run<'_> {
    /// Brings them here.
    pub(super) async fn fetch(&self, task: &Task) -> Result<Vec<Mount>, Ending> {
        let began = Instant::now();
        let remote = self.executor.remote_inputs(task);
        if remote > 0 {
            let what = if remote == 1 { "an input".to_owned() } else { format!("{remote} inputs") };
            (self.context.phase)(Phase::Downloading(format!("Downloading {what}")));
        }
        let mounts = tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => return Err(Failure::cancelled(topic::DOWNLOADING_INPUTS).into()),
            () = self.resume.leave.cancelled() => return Err(Ending::Left),
            mounts = self.executor.prepare_inputs(task, self.work) => {
                mounts.map_err(|error| Failure::new(topic::DOWNLOADING_INPUTS, error))?
            }
        };
        self.executor.metrics().took(Stage::Fetch, began.elapsed());
        Ok(mounts)
    }
}
