//! A node that was given up comes back: what it still runs, and nobody else does meanwhile, goes on.

use super::Core;
use super::backoff::Slot;
use super::cancelled::Cancelled;
use super::entry::{JobEntry, is_lost};
use super::io::Output;
use super::live::Live;
use super::record::{self, execution_event, scheduling};
use bacalhau_model::Membership;
use bacalhau_model::event::detail;
use bacalhau_model::execution::{ComputeState, DesiredState, Execution};
use bacalhau_model::state::State;
use bacalhau_store::orchestrator::{Change, PendingMessage};
use std::sync::Arc;

/// Marks a lost execution that was not taken back.
const REPLACED: &str = "replaced";

impl Core {
    /// Takes back the executions of the node that were given up and not replaced, as far as it may keep them. The
    /// node learns of it by the wishes that follow its handshake; if it does not run one any more, it says so. The others
    /// it is told to stop, for good: what it forgot once is not taken back when their partition is free later.
    pub(crate) fn adopt_lost<T>(&mut self, now: i64, node_id: &str, out: &mut Output<T>) {
        let lost = self.cancelled.on_node(node_id).map(|cancelled| &cancelled.execution);
        let candidates: Vec<String> = lost.filter(|e| was_running(e)).map(|e| e.id.clone()).collect();
        for id in candidates {
            let Some(mut cancelled) = self.cancelled.remove(&id) else { continue };
            let job_id = cancelled.execution.job_id.clone();
            if self.may_adopt(&cancelled.execution)
                && let Some(mut entry) = self.jobs.remove(&job_id)
            {
                self.adopt_execution(now, &mut entry, cancelled, out);
                self.dirty.insert(job_id.clone());
                self.jobs.insert(job_id, entry);
                continue;
            }
            give_up_for_good(&mut cancelled, out);
            self.cancelled.insert(cancelled);
        }
    }

    /// A node reports the end of an execution that was given up with it: the node was silent only for us. The execution is
    /// live again, so that the report counts, if nothing took its place. Otherwise it is over for good: the node forgets
    /// what it reported, so there will be nothing to take back when it shakes hands.
    pub(crate) fn take_back_ended<T>(
        &mut self,
        now: i64,
        node_id: &str,
        execution_id: &str,
        out: &mut Output<T>,
    ) {
        let found = self.cancelled.get(execution_id).map(|cancelled| &cancelled.execution);
        if found.is_none_or(|execution| execution.node_id != node_id || !was_running(execution)) {
            return;
        }
        let Some(mut cancelled) = self.cancelled.remove(execution_id) else { return };
        let job_id = cancelled.execution.job_id.clone();
        // It ends at once and needs no room.
        if self.is_missed(&cancelled.execution)
            && let Some(mut entry) = self.jobs.remove(&job_id)
        {
            self.adopt_execution(now, &mut entry, cancelled, out);
            self.jobs.insert(job_id, entry);
            return;
        }
        give_up_for_good(&mut cancelled, out);
        self.cancelled.insert(cancelled);
    }

    fn is_missed(&self, lost: &Execution) -> bool {
        let node = self.nodes.get(&lost.node_id);
        node.is_some_and(|node| node.state.membership == Membership::Approved)
            && self.jobs.get(&lost.job_id).is_some_and(|entry| entry.misses(lost))
    }

    fn may_adopt(&self, lost: &Execution) -> bool {
        let wanted = self.jobs.get(&lost.job_id).filter(|_| self.is_missed(lost));
        // A drained node was empty, and stays so. One that waits for approval misses nothing.
        let node = self.nodes.get(&lost.node_id).filter(|node| node.state.drain.is_none());
        wanted.zip(node).is_some_and(|(entry, node)| entry.fits_on(node, self.settings.oversubscription))
    }

    fn adopt_execution<T>(
        &mut self,
        now: i64,
        entry: &mut JobEntry,
        cancelled: Cancelled,
        out: &mut Output<T>,
    ) {
        let mut execution = Arc::unwrap_or_clone(cancelled.execution);
        execution.desired_state = State::with_message(DesiredState::Running, "Running");
        execution.compute_state = match (execution.start_time > 0, entry.job_type.is_on_all_nodes()) {
            (true, _) => State::new(ComputeState::Running),
            (false, true) => State::new(ComputeState::New),
            (false, false) => State::with_message(ComputeState::BidAccepted, "Running"),
        };
        entry.forgive(&execution);
        let tells = self.nodes.tells_progress(&execution.node_id);
        let live = Live::new(execution, entry.request.clone(), None, i64::MAX);
        let mut live = live.on_node(tells, &self.settings, &entry.job, now);
        record::put_execution(&mut live, now, out);
        let (id, node_id) = (live.execution.id.clone(), live.execution.node_id.clone());
        self.nodes.reserve(&live.execution, &live.reserved, entry.stay(&live.execution));
        self.owner.insert(id.clone(), entry.job.id.clone());
        entry.add(live);
        record::running(entry, now, out);
        let event = scheduling("Execution goes on because its node is back", now);
        execution_event(entry, &id, event.with(detail::NODE_ID, node_id), now, out);
    }
}

/// The execution is not taken back any more, whatever happens; its node is told to stop it.
fn give_up_for_good<T>(cancelled: &mut Cancelled, out: &mut Output<T>) {
    let execution = Arc::make_mut(&mut cancelled.execution);
    execution.compute_state.details.insert(detail::NODE_LOST.to_owned(), REPLACED.to_owned());
    let pending = Some(PendingMessage::CancelExecution);
    out.changes.push(Change::PutExecution { execution: Arc::clone(&cancelled.execution), pending });
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
