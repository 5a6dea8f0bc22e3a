//! How a job behaves over time beyond running once: retries, rolling updates, a schedule, what it waits for.
//!
//! None of these exist in Bacalhau 1.9; each is left out of the JSON when a job does not ask for it.

use serde::{Deserialize, Serialize};

/// When and how often a failed attempt is made again. Without a policy a partition has two tries on each node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RetryPolicy {
    /// Attempts of one partition on all nodes together, the first included; 0 for no limit.
    pub max_attempts: i64,
    /// Seconds before the second attempt, doubled before each further one. 0 tries again at once.
    #[serde(skip_serializing_if = "is_zero")]
    pub backoff: i64,
    /// Seconds that a pause may grow to; 0 for [`RetryPolicy::USUAL_MAX_BACKOFF`].
    #[serde(skip_serializing_if = "is_zero")]
    pub max_backoff: i64,
    /// An exit code other than 0 is a failed attempt. Without it the exit code is part of the result.
    #[serde(skip_serializing_if = "is_false")]
    pub fail_on_exit_code: bool,
}

impl RetryPolicy {
    /// Seconds that pauses grow to when the policy does not say.
    pub const USUAL_MAX_BACKOFF: i64 = 300;

    /// What keeps a service or daemon running that has no policy of its own: any number of restarts, after one second,
    /// then two, and so on.
    pub fn keep_running() -> RetryPolicy {
        RetryPolicy { max_attempts: 0, backoff: 1, max_backoff: 0, fail_on_exit_code: false }
    }

    /// Seconds to wait after `failures` failed attempts in a row.
    pub fn pause(&self, failures: u32) -> i64 {
        let limit = if self.max_backoff > 0 { self.max_backoff } else { Self::USUAL_MAX_BACKOFF };
        let doublings = failures.saturating_sub(1).min(62);
        self.backoff.max(0).saturating_mul(1_i64 << doublings).min(limit.max(self.backoff))
    }
}

/// How a new version of a service or daemon replaces the old one. Without it all is stopped and started anew, as in
/// Bacalhau 1.9.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdatePolicy {
    /// Executions that may be down or unproven at the same time; 0 counts as 1.
    pub max_parallel: i64,
    /// Seconds that a new execution has to run before it counts as healthy and the next old one goes.
    pub healthy_after: i64,
    /// Go back to the version before when a new execution fails before it is healthy.
    #[serde(skip_serializing_if = "is_false")]
    pub auto_revert: bool,
}

/// When a job runs. The job itself only makes runs: a job of its own for each time that is due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Schedule {
    /// Cron expression: minute, hour, day of month, month, day of week, with an optional leading second.
    pub cron: String,
    /// IANA time zone, `UTC` when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    /// What happens when a run is due and the one before is not finished: `skip` (also when empty), `allow` or
    /// `replace`; see [`Overlap`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub overlap: String,
}

/// What happens when a run is due and the one before is not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// The new run does not take place.
    #[default]
    Skip,
    /// Both run.
    Allow,
    /// The old run is stopped.
    Replace,
}

impl Overlap {
    /// The word users write, in any case; `None` for anything else.
    pub fn parse(text: &str) -> Option<Overlap> {
        match text.to_ascii_lowercase().as_str() {
            "" | "skip" => Some(Overlap::Skip),
            "allow" => Some(Overlap::Allow),
            "replace" => Some(Overlap::Replace),
            _ => None,
        }
    }
}

/// A job that has to end before this one starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Dependency {
    /// Name or ID of a job in the same namespace.
    pub job: String,
    /// What this job does when that one fails or is stopped: `fail` (also when empty), `stop` or `run`; see
    /// [`OnFailure`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub on_failure: String,
}

/// What a job does when one that it depends on fails or is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Fails too.
    #[default]
    Fail,
    /// Is stopped without having run.
    Stop,
    /// Runs all the same.
    Run,
}

impl OnFailure {
    /// The word users write, in any case; `None` for anything else.
    pub fn parse(text: &str) -> Option<OnFailure> {
        match text.to_ascii_lowercase().as_str() {
            "" | "fail" => Some(OnFailure::Fail),
            "stop" => Some(OnFailure::Stop),
            "run" => Some(OnFailure::Run),
            _ => None,
        }
    }
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let policy = RetryPolicy { backoff: 5, max_backoff: 60, ..RetryPolicy::default() };
        assert_eq!([1, 2, 3, 4, 5, 90].map(|n| policy.pause(n)), [5, 10, 20, 40, 60, 60]);
        let slow = RetryPolicy { backoff: 900, ..RetryPolicy::default() };
        assert_eq!(slow.pause(1), 900, "a longer first pause than the usual limit was asked for");
        assert_eq!(RetryPolicy::default().pause(3), 0);
    }
}
