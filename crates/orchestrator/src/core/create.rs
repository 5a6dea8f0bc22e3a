//! Makes an execution: the record, its reservation, the line in the history and the ask.

use super::Core;
use super::entry::JobEntry;
use super::io::{Effect, Output};
use super::live::Live;
use super::record::{self, execution_event, scheduling};
use bacalhau_model::event::detail;
use bacalhau_model::execution::{ComputeState, DesiredState, Execution};
use bacalhau_model::ids;
use bacalhau_model::state::State;
use bacalhau_store::orchestrator::PendingMessage;

impl Core {
    /// Plans an attempt on a node. `desired` says whether the node is asked first or may run at once.
    pub(crate) fn create_execution<T>(
        &mut self,
        entry: &mut JobEntry,
        partition: i64,
        node_id: &str,
        desired: DesiredState,
        now: i64,
        out: &mut Output<T>,
    ) {
        let id = self.new_id("e-");
        let mut execution = Execution {
            id: id.clone(),
            namespace: entry.job.namespace.clone(),
            eval_id: self.new_id(""),
            node_id: node_id.to_owned(),
            job_id: entry.job.id.clone(),
            job_version: entry.job.version,
            desired_state: State::new(desired),
            compute_state: State::new(ComputeState::New),
            partition_index: partition,
            create_time: now,
            ..Execution::default()
        };
        execution.attempt = entry.retries.next_attempt(&entry.slot(&execution));
        let ask = Some(PendingMessage::AskForBid);
        let live = Live::new(execution, entry.request.clone(), ask, i64::MAX);
        let mut live = live.on_node(self.nodes.tells_progress(node_id), &self.settings, &entry.job, now);
        record::put_execution(&mut live, now, out);
        self.nodes.reserve(&live.execution, &live.reserved, entry.stay(&live.execution));
        self.owner.insert(id.clone(), entry.job.id.clone());
        entry.add(live);
        let event = scheduling(format!("Requested execution on {}", ids::short(node_id)), now)
            .with(detail::NODE_ID, node_id);
        execution_event(entry, &id, event, now, out);
        out.effects.push(Effect::Send {
            node_id: node_id.to_owned(),
            execution_id: id,
            kind: PendingMessage::AskForBid,
        });
    }
}
