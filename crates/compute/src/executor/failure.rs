//! Why a run did not come to its end, with what it printed until then.

use bacalhau_model::event::topic;
use bacalhau_model::{Error, RunCommandResult, error::code};
use std::fmt;
use std::time::Duration;

/// Code of a run that was told to stop; it is no failure of the execution.
const CANCELLED: &str = "ExecutionAlreadyCancelled";

/// A failed, cancelled or timed out run.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// One of [`bacalhau_model::event::topic`]: what was being done.
    pub topic: &'static str,
    /// What happened.
    pub error: Box<Error>,
    /// What the task printed until then, if it started.
    pub run_output: Option<Box<RunCommandResult>>,
}

impl Failure {
    /// A failure before or while something was done.
    pub fn new(topic: &'static str, error: Error) -> Failure {
        Failure { topic, error: Box::new(error), run_output: None }
    }

    /// The run was told to stop.
    pub(super) fn cancelled(topic: &'static str) -> Failure {
        Failure::new(topic, Error::new(CANCELLED, "execution was cancelled").component("Executor"))
    }

    /// The run took longer than it may.
    pub(super) fn timed_out(limit: Duration) -> Failure {
        let error = Error::new(code::TIME_OUT, format!("Execution timed out after {}", duration_text(limit)))
            .component("Executor")
            .hint("Increase the task timeout or allocate more resources")
            .retryable();
        Failure::new(topic::RUNNING_EXECUTION, error)
    }

    pub(super) fn with_output(mut self, output: RunCommandResult) -> Failure {
        self.run_output = Some(Box::new(output));
        self
    }

    /// True when the run ended because it was told to.
    pub fn is_cancelled(&self) -> bool {
        self.error.code == CANCELLED
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.topic, self.error)
    }
}

impl std::error::Error for Failure {}

/// Whole seconds the way users know them: `2s`, `1m0s`, `1h0m0s`.
fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_those_of_the_original() {
        for (seconds, text) in
            [(2, "2s"), (60, "1m0s"), (3600, "1h0m0s"), (3725, "1h2m5s"), (90_000, "25h0m0s")]
        {
            assert_eq!(duration_text(Duration::from_secs(seconds)), text);
        }
    }
}
