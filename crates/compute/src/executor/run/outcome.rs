//! How long a task may take, and how its end is told. Pure, but for a look at the clock.

use super::super::Failure;
use crate::engines::EngineError;
use crate::logs::Captured;
use bacalhau_model::event::topic;
use bacalhau_model::{Error, Execution, RunCommandResult, Task, error::code};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) fn cannot_publish(error: Error, output: &RunCommandResult) -> Failure {
    let message = format!("failed to publish result: {}", error.message);
    Failure::new(topic::PUBLISHING_RESULTS, Error { message, ..error }).with_output(output.clone())
}

/// How long the task of an execution that is to be adopted has run already.
pub(super) fn ran_before(execution: &Execution, adopt: bool) -> Duration {
    let started = u64::try_from(execution.start_time).ok().filter(|at| adopt && *at > 0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    started.map_or(Duration::ZERO, |at| now.saturating_sub(Duration::from_nanos(at)))
}

/// The time one attempt may take; only batch and ops jobs have a limit.
pub(super) fn time_limit(execution: &Execution, task: &Task) -> Option<Duration> {
    let long_running = execution.job.as_ref()?.job_type().is_some_and(|t| t.is_long_running());
    let seconds = u64::try_from(task.timeouts.execution_limit()).unwrap_or(0);
    (seconds > 0 && !long_running).then(|| Duration::from_secs(seconds))
}

pub(super) fn run_output(captured: &Captured, exit_code: i64) -> RunCommandResult {
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
pub(super) fn engine_broke_off(failure: Failure, captured: &Captured) -> Failure {
    let error_msg = failure.error.message.clone();
    failure.with_output(RunCommandResult { error_msg, ..run_output(captured, -1) })
}

pub(super) fn engine_failure(error: EngineError, timeout: Option<Duration>, captured: &Captured) -> Failure {
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
