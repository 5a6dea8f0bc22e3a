//! How far executions are, as their nodes report it: that the task runs, that its results are being published, and lines
//! about the way there.
//!
//! A state only moves on: what comes late, twice or after the end changes nothing. Nodes of Bacalhau 1.9 do not report any
//! of this.

use super::Core;
use super::entry::JobEntry;
use super::evaluate::deadline;
use super::io::Output;
use super::live::Live;
use super::record::{execution_event, put_execution};
use bacalhau_model::execution::{ComputeState, DesiredState};
use bacalhau_model::state::State;
use bacalhau_wire::messages::{ExecutionProgress, MOST_PROGRESS_EVENTS};
use std::sync::Arc;

impl Core {
    /// Takes note of how far an execution is. True when its state is another one now.
    pub(crate) fn progress<T>(
        &mut self,
        now: i64,
        entry: &mut JobEntry,
        execution_id: &str,
        report: ExecutionProgress,
        out: &mut Output<T>,
    ) -> bool {
        let job = Arc::clone(&entry.job);
        let Some(live) = entry.live_mut(execution_id) else { return false };
        if live.execution.desired_state.state_type != DesiredState::Running {
            return false;
        }
        let moves_on = matches!(report.state, ComputeState::Running | ComputeState::Publishing)
            && report.state > live.execution.compute_state.state_type;
        let starts = moves_on && live.execution.start_time == 0;
        if starts {
            let since = now.saturating_sub(report.running_for.max(0));
            let execution = live.execution_mut();
            execution.start_time = since.max(execution.create_time).max(1);
        }
        if moves_on {
            // Whoever runs it has been told to.
            live.pending = None;
            live.execution_mut().compute_state = State::new(report.state);
            put_execution(live, now, out);
        }
        if starts && self.nodes.begins(&live.execution, &live.reserved) {
            self.wake = true;
        }
        let overdue = deadline(&self.settings, live, &job, now);
        let known = live.last_line;
        let lines = report.events.unwrap_or_default().into_iter().take(MOST_PROGRESS_EVENTS);
        let lines: Vec<_> = lines.filter(|event| event.timestamp.unix_nanos() > known).collect();
        live.last_line = lines.iter().map(|event| event.timestamp.unix_nanos()).max().unwrap_or(known);
        if starts {
            entry.set_deadline(execution_id, overdue);
        }
        for event in lines {
            execution_event(entry, execution_id, event, now, out);
        }
        moves_on
    }
}

impl Live {
    /// The node says that it is over. One that ended before its node would have told that it runs did not run for long:
    /// without this the time that it was prepared would pass for a long run.
    pub(crate) fn note_end(&mut self, state: ComputeState, now: i64) {
        let ran = matches!(state, ComputeState::Completed | ComputeState::Failed);
        if ran && self.tells_progress && self.execution.start_time == 0 && self.is_approved() {
            self.execution_mut().start_time = now;
        }
    }
}
