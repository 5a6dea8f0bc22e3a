//! Follows a rolling update by the lines of the job's history.

use bacalhau_model::JobHistory;
use bacalhau_model::event::detail;

/// Where the rolling update of a job is, if there is one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Rolling {
    /// There is none.
    #[default]
    No,
    /// Old executions are being replaced.
    GoesOn,
    /// All are replaced.
    Finished,
    /// The job went back to the version before.
    Failed,
}

impl Rolling {
    /// Takes a line in.
    pub(super) fn note(&mut self, line: &JobHistory) {
        *self = match line.event.details.get(detail::ROLLOUT).map(String::as_str) {
            Some("started") => Rolling::GoesOn,
            Some("finished") => Rolling::Finished,
            Some("failed") => Rolling::Failed,
            _ => return,
        };
    }

    /// True when it ended, one way or the other.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Rolling::Finished | Rolling::Failed)
    }
}
