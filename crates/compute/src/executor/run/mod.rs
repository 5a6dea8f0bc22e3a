//! One execution from its inputs to its published results.

mod inputs;
mod outcome;
mod publish;
mod task;

use super::failure::Failure;
use super::work::WorkFolder;
use super::{Executor, Finished, RunContext, completion, task_of};
use crate::core::Start;
use crate::logs::LogWriter;
use bacalhau_model::event::topic;
use bacalhau_model::{Error, Execution, SpecConfig, error::code};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Where a run begins, and how it is left alone.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// What a former life of the node has done already.
    pub start: Start,
    /// Fires when the node stops and means to be back: what outlives it is left as it is, the rest ends.
    pub leave: CancellationToken,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ending {
    /// By itself, whatever the exit code.
    Finished(Finished),
    /// Otherwise.
    Failed(Failure),
    /// What was to be adopted is not there any more.
    Gone,
    /// It has not ended: the next life of the node goes on with it.
    Left,
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Ending {
        Ending::Failed(failure)
    }
}

impl Executor {
    /// Runs an execution from its beginning to its end. Dropping the future stops it as well, but clean-up may then lag
    /// behind.
    ///
    /// # Errors
    /// See [`Failure`]; a non-zero exit code is none.
    pub async fn run(&self, execution: Arc<Execution>, context: RunContext) -> Result<Finished, Failure> {
        match self.run_from(execution, context, Resume::default()).await {
            Ending::Finished(finished) => Ok(finished),
            Ending::Failed(failure) => Err(failure),
            // Only of what was to be adopted or left.
            Ending::Gone | Ending::Left => Err(Failure::cancelled(topic::RUNNING_EXECUTION)),
        }
    }

    /// Runs an execution, or goes on with what a former life of the node began. Dropping the future as for
    /// [`Executor::run`].
    pub async fn run_from(&self, execution: Arc<Execution>, context: RunContext, resume: Resume) -> Ending {
        let engine = task_of(&execution).map(|task| task.engine.r#type.clone()).unwrap_or_default();
        let metrics = self.metrics().engine(&engine);
        metrics.started();
        let log = match self.inner.logs.open(&execution.id) {
            Ok(log) => log,
            Err(error) => {
                metrics.failed();
                return Failure::new(topic::PREPARING_ENVIRONMENT, error).into();
            }
        };
        let path = self.inner.config.work_folder(&execution.id);
        let work = Arc::new(match resume.start {
            Start::Afresh => WorkFolder::new(path),
            Start::Adopt | Start::Publish => WorkFolder::of_former_life(path),
        });
        let run =
            Run { executor: self, execution: &execution, context: &context, resume: &resume, work: &work };
        let result = Box::pin(run.run(&log)).await;
        // Ends the readers of a run that failed before its engine started.
        log.finish();
        WorkFolder::discard(work).await;
        let ending = result.map_or_else(|ending| ending, Ending::Finished);
        match &ending {
            Ending::Finished(_) => metrics.completed(),
            Ending::Failed(failure) if failure.is_cancelled() => metrics.cancelled(),
            Ending::Failed(_) | Ending::Gone => metrics.failed(),
            Ending::Left => metrics.left(),
        }
        ending
    }
}

/// One run.
struct Run<'a> {
    executor: &'a Executor,
    execution: &'a Arc<Execution>,
    context: &'a RunContext,
    resume: &'a Resume,
    work: &'a Arc<WorkFolder>,
}

impl Run<'_> {
    async fn run(&self, log: &LogWriter) -> Result<Finished, Ending> {
        let inner = &self.executor.inner;
        let preparing = |error: Error| Failure::new(topic::PREPARING_ENVIRONMENT, error);
        let task = task_of(self.execution).map_err(preparing)?;
        let adopt = self.resume.start == Start::Adopt;
        let publisher = inner.publishers.get(&task.publisher).map_err(preparing);
        // What is adopted runs already: whatever is wrong with the rest is told when it has ended.
        let publisher = if adopt { publisher } else { Ok(publisher?) };
        let finished = match self.resume.start {
            Start::Publish => self.complete_results().await.map_err(preparing)?,
            Start::Afresh | Start::Adopt => {
                let engine = inner.engines.get(task).map_err(preparing)?;
                let publishes = publisher.as_ref().is_ok_and(Option::is_some);
                self.work_out(task, engine.as_ref(), publishes, log).await?
            }
        };
        match publisher? {
            Some(publisher) => self.publish(task, publisher.as_ref(), finished).await,
            None => Ok(finished),
        }
    }

    /// What the task of a former life left to be published.
    async fn complete_results(&self) -> Result<Finished, Error> {
        let path = self.work.path().to_owned();
        let read = tokio::task::spawn_blocking(move || completion::read(&path)).await;
        let run_output = read.ok().flatten().ok_or_else(|| {
            let message = "the results of the task were lost while the node was down";
            Error::new(code::INTERNAL_ERROR, message).component("Executor").retryable()
        })?;
        Ok(Finished { run_output, published_result: SpecConfig::default() })
    }
}

#[cfg(test)]
mod tests;
