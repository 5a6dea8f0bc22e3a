//! Runs one execution: inputs, environment, engine, results, publishing, clean-up.
//!
//! Knows no queue and no store: whoever calls it decides what runs and records how it ended. Whatever happens, nothing
//! of an execution stays on disk but its log and what was published.

mod config;
mod env;
mod failure;
mod results;
mod work;

pub use config::ExecutorConfig;
pub use failure::Failure;
pub use work::{LazyFolder, WorkFolder};

use crate::engines::wasm::WasmEngine;
use crate::engines::{EngineError, EngineRequest, Engines, Progress, Step};
use crate::logs::{Captured, LogStore};
use crate::publishers::{LocalPublisher, Noop, Publisher, Publishers};
use crate::sources::{Inline, Local, Mount, PathAllowList, Source, Sources, UrlDownload};
use bacalhau_model::event::topic;
use bacalhau_model::{Error, Execution, RunCommandResult, SpecConfig, Task, error::code};
use env::EnvAllowList;
use futures_util::future::try_join_all;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs executions. Clones share everything.
#[derive(Clone)]
pub struct Executor {
    inner: Arc<Inner>,
}

struct Inner {
    config: ExecutorConfig,
    engines: Engines,
    sources: Sources,
    publishers: Publishers,
    env_allowed: EnvAllowList,
    logs: LogStore,
}

/// What a look at an execution found, for the bid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Bytes its inputs take on disk, as far as that is known.
    pub disk_bytes: u64,
    /// Inputs that are not on this node yet.
    pub remote_inputs: usize,
}

/// Where a running execution stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The engine fetches or prepares something; a sentence for the history.
    Preparing(String),
    /// The task's process runs.
    Running,
    /// The engine is done; results are being published.
    Publishing,
}

/// What a run needs from its caller.
pub struct RunContext {
    /// Fires when the execution is to stop.
    pub cancel: CancellationToken,
    /// Called when a phase begins. Must not block.
    pub phase: Arc<dyn Fn(Phase) + Send + Sync>,
}

/// A run that came to its end. The exit code may still be other than 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finished {
    /// What it printed and its exit code.
    pub run_output: RunCommandResult,
    /// Where the results are; empty without a publisher.
    pub published_result: SpecConfig,
}

impl Executor {
    /// Sets everything up and starts the server of the `local` publisher. If its port cannot be bound the node works
    /// without that publisher, and the log says why.
    ///
    /// # Errors
    /// A pattern of the allow lists that cannot be read.
    pub async fn open(config: ExecutorConfig) -> Result<Executor, Error> {
        let wrong = |key: &str, reason: String| {
            Error::new(code::CONFIGURATION_ERROR, format!("{key}: {reason}")).hint(format!("Correct {key}"))
        };
        let paths = PathAllowList::new(&config.allow_listed_local_paths)
            .map_err(|reason| wrong("Compute.AllowListedLocalPaths", reason))?;
        let env_allowed = EnvAllowList::new(&config.env_allow_list)
            .map_err(|reason| wrong("Compute.Env.AllowList", reason))?;
        let sources: Vec<Arc<dyn Source>> =
            vec![Arc::new(Inline), Arc::new(Local::new(paths)), Arc::new(UrlDownload::new(config.downloads))];
        let mut publishers: Vec<Arc<dyn Publisher>> = vec![Arc::new(Noop)];
        if !config.disabled_publishers.iter().any(|name| name.trim().eq_ignore_ascii_case("local")) {
            match LocalPublisher::start(&config.local_publisher, config.published_folder()).await {
                Ok(local) => publishers.push(Arc::new(local)),
                Err(error) => tracing::warn!(
                    port = config.local_publisher.port,
                    %error,
                    "publisher 'local' is not available: its port cannot be bound; set Publishers.Types.Local.Port to a free one"
                ),
            }
        }
        let inner = Inner {
            engines: Engines::new(vec![Arc::new(WasmEngine::new(config.wasm()))], &config.disabled_engines),
            sources: Sources::new(sources, &config.disabled_sources),
            publishers: Publishers::new(publishers, &config.disabled_publishers),
            env_allowed,
            logs: LogStore::new(config.executions_folder(), config.log_limits),
            config,
        };
        Ok(Executor { inner: Arc::new(inner) })
    }

    /// Engines this node offers: lower case, sorted.
    pub fn engines(&self) -> Vec<String> {
        self.inner.engines.names()
    }

    /// Input sources this node offers: lower case, sorted.
    pub fn sources(&self) -> Vec<String> {
        self.inner.sources.names()
    }

    /// Publishers this node offers: lower case, sorted.
    pub fn publishers(&self) -> Vec<String> {
        self.inner.publishers.names()
    }

    /// The logs of all executions of this node.
    pub fn logs(&self) -> &LogStore {
        &self.inner.logs
    }

    /// Checks whether this node could run an execution and what its inputs would take. May ask the network.
    ///
    /// # Errors
    /// The node cannot run it, or it cannot find out.
    pub async fn probe(&self, execution: &Execution) -> Result<Probe, Error> {
        let inner = &self.inner;
        let task = task_of(execution)?;
        let engine = inner.engines.get(task)?;
        engine.validate(task)?;
        if let Some(publisher) = inner.publishers.get(&task.publisher)? {
            publisher.validate(&task.publisher)?;
        }
        results::validate(&task.result_paths)?;
        inner.env_allowed.check(task)?;
        let sizes = task.input_sources.iter().map(|input| async move {
            let source = inner.sources.get(input)?;
            source.validate(input)?;
            Ok::<_, Error>((source.size(input).await?, source.is_local(input)))
        });
        let (found, ()) = tokio::try_join!(try_join_all(sizes), engine.check(execution, task))?;
        Ok(Probe {
            disk_bytes: found.iter().fold(0, |sum: u64, (bytes, _)| sum.saturating_add(*bytes)),
            remote_inputs: found.iter().filter(|(_, local)| !local).count(),
        })
    }

    /// Runs an execution to its end. Dropping the future stops it as well, but clean-up may then lag behind.
    ///
    /// # Errors
    /// See [`Failure`]; a non-zero exit code is none.
    pub async fn run(&self, execution: Arc<Execution>, context: RunContext) -> Result<Finished, Failure> {
        let log = match self.inner.logs.open(&execution.id) {
            Ok(log) => log,
            Err(error) => return Err(Failure::new(topic::PREPARING_ENVIRONMENT, error)),
        };
        let work = Arc::new(WorkFolder::new(self.inner.config.work_folder(&execution.id)));
        let result = Box::pin(self.run_in(&execution, &context, &work, &log)).await;
        // Ends the readers of a run that failed before its engine started.
        log.finish();
        WorkFolder::discard(work).await;
        result
    }

    async fn run_in(
        &self,
        execution: &Arc<Execution>,
        context: &RunContext,
        work: &Arc<WorkFolder>,
        log: &crate::logs::LogWriter,
    ) -> Result<Finished, Failure> {
        let inner = &self.inner;
        let preparing = |error: Error| Failure::new(topic::PREPARING_ENVIRONMENT, error);
        let task = task_of(execution).map_err(preparing)?;
        let engine = inner.engines.get(task).map_err(preparing)?;
        let publisher = inner.publishers.get(&task.publisher).map_err(preparing)?;
        let env = inner.env_allowed.resolve(execution, task).map_err(preparing)?;

        let mounts = tokio::select! {
            biased;
            () = context.cancel.cancelled() => return Err(Failure::cancelled(topic::DOWNLOADING_INPUTS)),
            mounts = self.prepare_inputs(task, work) => {
                mounts.map_err(|error| Failure::new(topic::DOWNLOADING_INPUTS, error))?
            }
        };
        let results = results::create(&task.result_paths, work).map_err(preparing)?;

        let timeout = time_limit(execution, task);
        let request = EngineRequest {
            execution: Arc::clone(execution),
            engine: task.engine.clone(),
            mounts,
            results,
            env,
            resources: execution.allocated_resources.total(),
            network: task.network(),
            ports: Vec::new(),
            timeout,
            adopt: false,
            progress: Progress::new({
                let phase = Arc::clone(&context.phase);
                move |step| match step {
                    Step::Started => phase(Phase::Running),
                    Step::Preparing(what) => phase(Phase::Preparing(what)),
                }
            }),
            log: log.clone(),
            cancel: context.cancel.clone(),
            work: Arc::clone(work),
        };
        let outcome = engine.run(request).await;
        let captured = log.finish();
        work.remove_inputs().await;
        let exit_code = match outcome {
            Ok(exit_code) => exit_code,
            Err(error) => return Err(engine_failure(error, timeout, &captured)),
        };
        let run_output = run_output(&captured, exit_code);
        let mut finished = Finished { run_output, published_result: SpecConfig::default() };
        let Some(publisher) = publisher else { return Ok(finished) };

        (context.phase)(Phase::Publishing);
        let publishing = async {
            let folder = results::complete(work, captured, exit_code).await?;
            publisher.publish(execution, &task.publisher, folder).await
        };
        let published = tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(Failure::cancelled(topic::PUBLISHING_RESULTS)),
            published = publishing => published.map_err(|error| {
                let message = format!("failed to publish result: {}", error.message);
                Failure::new(topic::PUBLISHING_RESULTS, Error { message, ..error })
            }),
        };
        finished.published_result = published.map_err(|f| f.with_output(finished.run_output.clone()))?;
        Ok(finished)
    }

    /// Prepares all inputs at the same time. If one fails the others are given up.
    async fn prepare_inputs(&self, task: &Task, work: &Arc<WorkFolder>) -> Result<Vec<Mount>, Error> {
        let prepare = task.input_sources.iter().enumerate().map(|(number, input)| async move {
            let source = self.inner.sources.get(input)?;
            source.prepare(input, LazyFolder::input(work, number)).await.map_err(|error| Error {
                message: format!("input for {}: {}", input.target, error.message),
                ..error
            })
        });
        try_join_all(prepare).await
    }

    /// Removes what a former life left behind: the folders of all executions, for nothing runs yet and whatever runs
    /// again prepares its inputs afresh. Blocks; call it at start.
    /// Logs stay; see [`LogStore::prune`]. Returns how many folders were removed.
    ///
    /// # Errors
    /// The folder of executions cannot be listed.
    pub fn sweep(&self) -> io::Result<usize> {
        work::sweep(&self.inner.config.executions_folder())
    }

    /// How long the log of an execution is kept after its end.
    pub fn log_age(&self) -> Duration {
        self.inner.config.log_age
    }

    /// Removes logs that are too old, the oldest logs beyond their limit, and results of the `local` publisher older than `result_age`. Blocks; gives how many files were removed.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub fn tidy(&self, result_age: Duration) -> io::Result<usize> {
        // Both are tried: trouble with the one must not let the other grow.
        let logs = self.inner.logs.prune(self.inner.config.log_age, self.inner.config.log_limits.together);
        let results = remove_older(&self.inner.config.published_folder(), result_age);
        Ok(logs? + results?)
    }
}

fn task_of(execution: &Execution) -> Result<&Task, Error> {
    execution
        .job
        .as_ref()
        .and_then(|job| job.task())
        .ok_or_else(|| Error::new(code::BAD_REQUEST, format!("execution {} has no task", execution.id)))
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

/// Removes the files of a folder that were not changed for longer than `age`. A folder that is not there has none.
fn remove_older(folder: &std::path::Path, age: Duration) -> io::Result<usize> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let is_old = |entry: &std::fs::DirEntry| {
        let modified = entry.metadata().and_then(|meta| meta.modified());
        modified.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed > age))
    };
    Ok(entries.flatten().filter(is_old).filter(|entry| std::fs::remove_file(entry.path()).is_ok()).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(remove_older(&dir.path().join("none"), Duration::ZERO).unwrap(), 0);
        for (name, hours) in [("old.tar.gz", 200), ("new.tar.gz", 1)] {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
        }
        assert_eq!(remove_older(dir.path(), Duration::from_secs(168 * 3600)).unwrap(), 1);
        assert!(dir.path().join("new.tar.gz").exists());
    }
}
