//! What becomes of executions after a restart of the node.

use super::io::{Effect, Output, Start};
use super::progress::Progress;
use super::{Core, Slot, slot};
use bacalhau_model::event::{detail, topic};
use bacalhau_model::execution::{ComputeState, Execution};
use bacalhau_model::{Event, Time};
use bacalhau_store::compute::{Change, PendingReport, StoredExecution};
use std::collections::BTreeSet;
use std::sync::Arc;

/// State message of an execution that a restart ended.
const FAILED_BY_RESTART: &str = "Failed due to node restart";

/// Event that goes with it.
const FAILING_BY_RESTART: &str = "Failing due to node restart";

/// Said of an execution that the orchestrator believes to be here.
const LOST: &str = "execution is not known to this node: its records were lost";

/// Those of the stored executions that had been handed to their engine: their tasks may still run, their folders may be
/// needed.
pub fn begun(stored: &[StoredExecution]) -> impl Iterator<Item = &Execution> {
    stored.iter().map(|record| &record.execution).filter(|execution| slot::is_begun(execution))
}

impl Core {
    /// Takes over what the store holds.
    ///
    /// Bids are judged again or stand; what was queued is queued again. What had been handed to its engine:
    /// - is published, if its results are `complete`,
    /// - is adopted, if its engine's tasks outlive the process,
    /// - starts again, if it is a service or a daemon,
    /// - and is reported as failed otherwise: its task died with the process, and the orchestrator decides what follows.
    ///
    /// What was cancelled while it ran is over now.
    pub fn restore<T>(
        &mut self,
        now: i64,
        mut stored: Vec<StoredExecution>,
        complete: &BTreeSet<String>,
        out: &mut Output<T>,
    ) {
        // Whoever waited longest is first in the queue again.
        stored.sort_by(|a, b| {
            let key = |record: &StoredExecution| record.execution.modify_time;
            key(a).cmp(&key(b)).then_with(|| a.execution.id.cmp(&b.execution.id))
        });
        for record in stored {
            let id = record.execution.id.clone();
            let mut slot = Slot::new(record.execution);
            slot.usage = slot.execution.allocated_resources.total();
            slot.pending = record.pending;
            slot.event = record.event;
            let state = slot.state();
            if state.is_terminal() && slot.pending.is_none() {
                out.changes.push(Change::Forget(id));
                continue;
            }
            self.slots.insert(id.clone(), slot);
            match state {
                ComputeState::New => self.judge(now, &id, None, out),
                _ if self.slots.get(&id).is_some_and(Slot::is_begun) => {
                    let is_complete = complete.contains(&id);
                    self.interrupted(now, &id, is_complete, out);
                }
                ComputeState::BidAccepted => self.enqueue(now, &id, out),
                _ => {}
            }
        }
        self.start_what_fits(now, out);
    }

    fn interrupted<T>(&mut self, now: i64, id: &str, is_complete: bool, out: &mut Output<T>) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let task = slot.execution.job.as_ref().and_then(|job| job.task());
        let outlives = task.is_some_and(|t| self.policy.outliving.iter().any(|name| t.engine.is_type(name)));
        let start = match (is_complete, outlives) {
            (true, _) => Start::Publish,
            (false, true) => Start::Adopt,
            (false, false) => return self.died(now, id, out),
        };
        slot.progress = Progress::restored(slot, now);
        self.queue.resume(id, slot.usage.clone());
        out.effects.push(Effect::Run(Arc::new(slot.execution.clone()), start));
    }

    /// What was to be adopted is not there.
    pub(super) fn gone<T>(&mut self, now: i64, id: &str, out: &mut Output<T>) {
        if !self.came_to_rest(id, out) {
            self.died(now, id, out);
        }
    }

    /// The task ended with the process that started it, or while that was away.
    fn died<T>(&mut self, now: i64, id: &str, out: &mut Output<T>) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let job_type = slot.execution.job.as_ref().and_then(|job| job.job_type());
        if job_type.is_some_and(bacalhau_model::JobType::is_long_running) {
            slot.progress = Progress::default();
            slot.execution.start_time = 0;
            slot.enter(ComputeState::BidAccepted, "", now);
            out.changes.push(slot.change());
            self.enqueue(now, id, out);
            return;
        }
        slot.enter(ComputeState::Failed, FAILED_BY_RESTART, now);
        let event = Event::new(topic::EXECUTION, FAILING_BY_RESTART, Time::from_unix_nanos(now))
            .with(detail::FAILS_EXECUTION, "true");
        slot.report(PendingReport::ComputeError, Some(event), out);
    }
}

/// Stands for an execution of which only the ID is known.
pub(super) fn lost(execution_id: &str) -> Execution {
    Execution { id: execution_id.to_owned(), ..Execution::default() }
}

/// The event that says so. Its time is unset: nobody knows when the records were lost.
pub(super) fn lost_event() -> Event {
    Event::new(topic::EXECUTION, LOST, Time::ZERO)
        .with(detail::IS_ERROR, "true")
        .with(detail::FAILS_EXECUTION, "true")
}
