//! A node that was given up comes back: what it still runs, and nobody else does meanwhile, goes on.

use super::backoff::Slot;
use super::entry::{JobEntry, is_lost};
use super::evaluate::deadline;
use super::io::Output;
use super::live::Live;
use super::record::{self, execution_event, scheduling};
use super::{Cancelled, Core};
use bacalhau_model::event::detail;
use bacalhau_model::execution::{ComputeState, DesiredState, Execution};
use bacalhau_model::state::State;

impl Core {
    /// Takes back the executions of the node that were given up and not replaced. The node learns of it by the wishes
    /// that follow its handshake; if it does not run one any more, it says so.
    pub(crate) fn adopt_lost<T>(&mut self, now: i64, node_id: &str, out: &mut Output<T>) {
        let candidates: Vec<String> = self
            .cancelled
            .values()
            .map(|cancelled| &cancelled.execution)
            .filter(|execution| execution.node_id == node_id && was_running(execution))
            .map(|execution| execution.id.clone())
            .collect();
        for id in candidates {
            let Some(cancelled) = self.cancelled.remove(&id) else { continue };
            let job_id = cancelled.execution.job_id.clone();
            let wanted = self.jobs.get(&job_id).is_some_and(|entry| entry.misses(&cancelled.execution));
            if !wanted {
                self.cancelled.insert(id, cancelled);
                continue;
            }
            let Some(mut entry) = self.jobs.remove(&job_id) else { continue };
            self.adopt_execution(now, &mut entry, cancelled, out);
            self.dirty.insert(job_id.clone());
            self.jobs.insert(job_id, entry);
        }
    }

    fn adopt_execution<T>(
        &mut self,
        now: i64,
        entry: &mut JobEntry,
        cancelled: Cancelled,
        out: &mut Output<T>,
    ) {
        let mut execution = cancelled.execution;
        execution.desired_state = State::with_message(DesiredState::Running, "Running");
        execution.compute_state = match entry.job_type.is_on_all_nodes() {
            true => State::new(ComputeState::New),
            false => State::with_message(ComputeState::BidAccepted, "Running"),
        };
        entry.forgive(&execution);
        let deadline = deadline(&self.settings, &execution, &entry.job, now);
        let mut live = Live::new(execution, entry.request.clone(), None, deadline);
        record::put_execution(&mut live, now, out);
        let (id, node_id) = (live.execution.id.clone(), live.execution.node_id.clone());
        self.nodes.reserve(&node_id, &entry.job.id, &id, &live.reserved);
        self.owner.insert(id.clone(), entry.job.id.clone());
        entry.add(live);
        record::running(entry, now, out);
        let event = scheduling("Execution goes on because its node is back", now);
        execution_event(entry, &id, event.with(detail::NODE_ID, node_id), now, out);
    }
}

fn was_running(execution: &Execution) -> bool {
    is_lost(execution)
        && execution.compute_state.details.get(detail::NODE_LOST).is_some_and(|was| was == "running")
}

impl JobEntry {
    /// True when the job wants an execution for just what this lost one was for, and has none.
    fn misses(&self, lost: &Execution) -> bool {
        if self.job.is_terminal() || !self.kept.contains(&lost.job_version) {
            return false;
        }
        match self.slot(lost) {
            Slot::Partition(partition) => self.unplaced.contains(partition),
            Slot::Node(node) => {
                self.live_on(&node) == 0
                    && (self.job_type.is_long_running() || self.retries.is_failing(&Slot::Node(node)))
            }
        }
    }

    /// Takes back that the execution was counted as failed.
    fn forgive(&mut self, execution: &Execution) {
        let slot = self.slot(execution);
        self.retries.forgive(&slot);
        let key = (execution.node_id.clone(), execution.partition_index);
        if let Some(tries) = self.failures.get_mut(&key) {
            *tries -= 1;
            if *tries == 0 {
                self.failures.remove(&key);
            }
        }
    }
}
