//! One execution from its inputs to its published results.

use super::disk::{self, DiskLimit};
use super::failure::Failure;
use super::ports::{self, PortLease};
use super::work::{LazyFolder, WorkFolder};
use super::{Executor, Finished, Phase, RunContext, completion, env, results, task_of};
use crate::core::Start;
use crate::engines::{Engine, EngineError, EngineRequest, Progress, Step};
use crate::logs::{Captured, LogWriter};
use crate::metrics::Stage;
use crate::publishers::Publisher;
use crate::sources::{Mount, normalise_guest_path};
use bacalhau_model::event::topic;
use bacalhau_model::{
    Error, Execution, InputSource, NetworkConfig, RunCommandResult, SpecConfig, Task, error::code,
};
use futures_util::future::try_join_all;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
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

    /// From the inputs to the end of the task, and to results that are complete on the disk.
    async fn work_out(
        &self,
        task: &Task,
        engine: &dyn Engine,
        publishes: bool,
        log: &LogWriter,
    ) -> Result<Finished, Ending> {
        let preparing = |error: Error| Failure::new(topic::PREPARING_ENVIRONMENT, error);
        let adopt = self.resume.start == Start::Adopt;
        let network = self.executor.network(task);
        // What is adopted has its inputs and its environment already.
        let (mut env, mounts) = if adopt {
            (Vec::new(), Vec::new())
        } else {
            let env = self.executor.inner.env_allowed.resolve(self.execution, task);
            (env.map_err(preparing)?, self.fetch(task).await?)
        };
        let ports = self.ports(&network, engine, adopt).await?;
        env::add_ports(&mut env, ports.ports());
        let results = results::create(&task.result_paths, self.work).map_err(preparing);
        let (results, trouble) = match results {
            Ok(results) => (results, None),
            // Its task runs: the engine has to end it.
            Err(failure) if adopt => {
                self.context.cancel.cancel();
                (Vec::new(), Some(failure))
            }
            Err(failure) => return Err(failure.into()),
        };
        let disk_limit = match disk::limit(task, self.executor.inner.config.disk_limit) {
            Some(limit) => Some(DiskLimit::new(limit, self.work, &mounts, adopt).await),
            None => None,
        };
        let timeout = time_limit(self.execution, task);
        let request = EngineRequest {
            execution: Arc::clone(self.execution),
            engine: task.engine.clone(),
            mounts,
            results,
            env,
            resources: self.execution.allocated_resources.total(),
            network,
            ports: ports.ports().to_vec(),
            timeout: timeout.map(|limit| limit.saturating_sub(ran_before(self.execution, adopt))),
            adopt,
            progress: self.progress(),
            log: log.clone(),
            cancel: self.context.cancel.clone(),
            work: Arc::clone(self.work),
        };
        let outcome = self.within(disk_limit, self.engine(engine, request)).await;
        drop(ports);
        let captured = log.finish();
        let outcome = outcome.map_err(|ending| match ending {
            Ending::Failed(failure) => engine_broke_off(failure, &captured).into(),
            other => other,
        })?;
        self.work.remove_inputs().await;
        if let Some(failure) = trouble {
            return Err(failure.into());
        }
        let exit_code = match outcome {
            Ok(exit_code) => exit_code,
            Err(EngineError::Gone) => return Err(Ending::Gone),
            Err(error) => return Err(engine_failure(error, timeout, &captured).into()),
        };
        let run_output = run_output(&captured, exit_code);
        if let Some(limit) = disk_limit {
            let checked = limit.check_results(self.work, results::folder(self.work)).await;
            checked.map_err(|error| {
                Failure::new(topic::RUNNING_EXECUTION, error).with_output(run_output.clone())
            })?;
        }
        if publishes {
            (self.context.phase)(Phase::Publishing);
            results::complete(self.work, captured, &run_output)
                .await
                .map_err(|error| cannot_publish(error, &run_output))?;
        }
        Ok(Finished { run_output, published_result: SpecConfig::default() })
    }

    async fn fetch(&self, task: &Task) -> Result<Vec<Mount>, Ending> {
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

    /// Passes on what the engine says, and measures it.
    fn progress(&self) -> Progress {
        let (phase, metrics) = (Arc::clone(&self.context.phase), Arc::clone(self.executor.metrics()));
        let began = Instant::now();
        Progress::new(move |step| match step {
            Step::Started => {
                metrics.took(Stage::Prepare, began.elapsed());
                phase(Phase::Running);
            }
            Step::Preparing(what) => phase(Phase::Preparing(what)),
        })
    }

    /// The ports that are the execution's own until the lease is dropped.
    async fn ports(
        &self,
        network: &NetworkConfig,
        engine: &dyn Engine,
        adopt: bool,
    ) -> Result<PortLease, Ending> {
        let id = &self.execution.id;
        if adopt {
            return Ok(self.executor.adopted_ports(id));
        }
        let lease = tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => {
                return Err(Failure::cancelled(topic::PREPARING_ENVIRONMENT).into());
            }
            () = self.resume.leave.cancelled() => return Err(Ending::Left),
            lease = self.executor.inner.ports.allocate(id, network) => lease,
        };
        let lease = lease.map_err(|error| Failure::new(topic::PREPARING_ENVIRONMENT, error))?;
        if engine.outlives_the_node() {
            ports::note(self.work, &lease)
                .await
                .map_err(|error| Failure::new(topic::PREPARING_ENVIRONMENT, error))?;
        }
        Ok(lease)
    }

    /// Ends the task when it has written more than it may.
    async fn within<T>(
        &self,
        disk_limit: Option<DiskLimit>,
        engine: impl Future<Output = Result<T, Ending>>,
    ) -> Result<T, Ending> {
        let Some(limit) = disk_limit else { return engine.await };
        let mut engine = std::pin::pin!(engine);
        let error = tokio::select! {
            biased;
            outcome = &mut engine => return outcome,
            error = limit.exceeded(self.work) => error,
        };
        self.context.cancel.cancel();
        // How it ends does not matter any more; that it has ended does.
        match engine.await {
            Err(Ending::Left) => Err(Ending::Left),
            Ok(_) | Err(_) => Err(Failure::new(topic::RUNNING_EXECUTION, error).into()),
        }
    }

    /// The engine's part. When the node stops, tasks that outlive it are left alone and others end.
    async fn engine(
        &self,
        engine: &dyn Engine,
        request: EngineRequest,
    ) -> Result<Result<i64, EngineError>, Ending> {
        let began = Instant::now();
        let mut running = engine.run(request);
        let outcome = tokio::select! {
            biased;
            outcome = &mut running => outcome,
            () = self.resume.leave.cancelled() => {
                if engine.outlives_the_node() {
                    self.work.keep();
                    return Err(Ending::Left);
                }
                self.context.cancel.cancel();
                running.await
            }
        };
        self.executor.metrics().took(Stage::Run, began.elapsed());
        Ok(outcome)
    }

    async fn publish(
        &self,
        task: &Task,
        publisher: &dyn Publisher,
        mut finished: Finished,
    ) -> Result<Finished, Ending> {
        let began = Instant::now();
        if self.resume.start == Start::Publish {
            (self.context.phase)(Phase::Publishing);
        }
        let folder: PathBuf = results::folder(self.work);
        let published = tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => {
                let failure = Failure::cancelled(topic::PUBLISHING_RESULTS);
                return Err(failure.with_output(finished.run_output).into());
            }
            () = self.resume.leave.cancelled() => {
                self.work.keep();
                return Err(Ending::Left);
            }
            published = publisher.publish(self.execution, &task.publisher, folder) => published,
        };
        self.executor.metrics().took(Stage::Publish, began.elapsed());
        finished.published_result = published.map_err(|error| cannot_publish(error, &finished.run_output))?;
        Ok(finished)
    }
}

fn cannot_publish(error: Error, output: &RunCommandResult) -> Failure {
    let message = format!("failed to publish result: {}", error.message);
    Failure::new(topic::PUBLISHING_RESULTS, Error { message, ..error }).with_output(output.clone())
}

/// How long the task of an execution that is to be adopted has run already.
fn ran_before(execution: &Execution, adopt: bool) -> Duration {
    let started = u64::try_from(execution.start_time).ok().filter(|at| adopt && *at > 0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    started.map_or(Duration::ZERO, |at| now.saturating_sub(Duration::from_nanos(at)))
}

/// The time one attempt may take; only batch and ops jobs have a limit.
fn time_limit(execution: &Execution, task: &Task) -> Option<Duration> {
    let long_running = execution.job.as_ref()?.job_type().is_some_and(|t| t.is_long_running());
    let seconds = u64::try_from(task.timeouts.execution_limit()).unwrap_or(0);
    (seconds > 0 && !long_running).then(|| Duration::from_secs(seconds))
}

fn run_output(captured: &Captured, exit_code: i64) -> RunCommandResult {
    RunCommandResult {
        stdout: captured.stdout.clone(),
        stdout_truncated: captured.stdout_truncated,
        stderr: captured.stderr.clone(),
        stderr_truncated: captured.stderr_truncated,
        exit_code,
        error_msg: String::new(),
    }
}

/// A task that was ended because it did what it may not.
fn engine_broke_off(failure: Failure, captured: &Captured) -> Failure {
    let error_msg = failure.error.message.clone();
    failure.with_output(RunCommandResult { error_msg, ..run_output(captured, -1) })
}

fn engine_failure(error: EngineError, timeout: Option<Duration>, captured: &Captured) -> Failure {
    let (failure, exit_code) = match error {
        EngineError::Cancelled => (Failure::cancelled(topic::RUNNING_EXECUTION), None),
        EngineError::Gone => {
            let error = Error::new(code::NOT_FOUND, "the task is gone: it ended while the node was down");
            (Failure::new(topic::RUNNING_EXECUTION, error.component("Executor")), None)
        }
        EngineError::TimedOut => (Failure::timed_out(timeout.unwrap_or_default()), None),
        EngineError::Failed { exit_code, error } => {
            (Failure::new(topic::RUNNING_EXECUTION, error), exit_code)
        }
    };
    let error_msg = failure.error.message.clone();
    failure.with_output(RunCommandResult { error_msg, ..run_output(captured, exit_code.unwrap_or(-1)) })
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
