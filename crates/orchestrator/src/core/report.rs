//! What compute nodes say about executions, and their acknowledgements.
//!
//! Reports may come twice, late or for executions that are long over. Whatever does not fit the present state is
//! noted and dropped; the node's copy catches up through the cancellation that is sent to it.

use super::Core;
use super::cancelled::Cancelled;
use super::entry::JobEntry;
use super::evaluate::deadline;
use super::io::{Effect, Output};
use super::record::{self, execution_event, put_execution, scheduling};
use bacalhau_model::event::{detail, topic};
use bacalhau_model::execution::{ComputeState, DesiredState, Execution};
use bacalhau_model::state::State;
use bacalhau_model::{Event, Time};
use bacalhau_store::orchestrator::{Change, PendingMessage};
use bacalhau_wire::messages::NodeMessage;
use std::sync::Arc;

impl Core {
    pub(crate) fn report<T>(
        &mut self,
        now: i64,
        node_id: &str,
        message: NodeMessage,
        seq: u64,
        out: &mut Output<T>,
    ) {
        if let Some(node) = self.nodes.get_mut(node_id) {
            let last = &mut node.state.connection_state.last_compute_seq_num;
            *last = seq.max(*last);
        }
        let execution_id = message.execution_id().to_owned();
        if matches!(message, NodeMessage::RunResult(_) | NodeMessage::ComputeError(_)) {
            self.take_back_ended(now, node_id, &execution_id, out);
        }
        let Some(job_id) = self.owner.get(&execution_id).cloned() else {
            self.report_on_unknown(now, node_id, &message, out);
            return;
        };
        let Some(mut entry) = self.jobs.remove(&job_id) else { return };
        let theirs = entry.get_live(&execution_id).is_some_and(|l| l.execution.node_id == node_id);
        let mut changed = theirs;
        if theirs {
            changed = self.report_on_live(now, &mut entry, &execution_id, message, out);
        } else {
            tracing::warn!(
                node = node_id,
                execution = execution_id,
                "report on an execution of another node dropped"
            );
        }
        self.jobs.insert(job_id.clone(), entry);
        if changed {
            self.look_at_node(&job_id, node_id);
        }
    }

    /// True when the job has to be looked at again.
    fn report_on_live<T>(
        &mut self,
        now: i64,
        entry: &mut JobEntry,
        execution_id: &str,
        message: NodeMessage,
        out: &mut Output<T>,
    ) -> bool {
        match message {
            NodeMessage::Progress(progress) => {
                return self.progress(now, entry, execution_id, progress, out);
            }
            NodeMessage::BidResult(bid) if bid.accepted => self.approve(now, entry, execution_id, out),
            NodeMessage::BidResult(bid) => {
                let events = bid.events.unwrap_or_default();
                let why = first_message(&events, "bid rejected");
                let state = State::with_message(ComputeState::AskForBidRejected, why);
                self.end_reported(now, entry, execution_id, (state, "bid rejected"), events, |_| {}, out);
            }
            NodeMessage::RunResult(result) => {
                let mut events = result.events.unwrap_or_default();
                let exit_code = result.run_command_result.as_ref().map_or(0, |run| run.exit_code);
                let (state, desired) = if entry.job_type.is_long_running() {
                    let text = "execution completed unexpectedly";
                    events = vec![bad_exit(text, exit_code, now).with(detail::HINT, RUNS_ON)];
                    (State::with_message(ComputeState::Failed, text), text)
                } else if exit_code != 0 && fails_on_exit_code(entry) {
                    let text = format!("execution failed with exit code {exit_code}");
                    events = vec![bad_exit(&text, exit_code, now)];
                    (State::with_message(ComputeState::Failed, text), "execution failed")
                } else {
                    (State::new(ComputeState::Completed), "execution completed")
                };
                let fill = |execution: &mut Execution| {
                    execution.published_result = result.publish_result.unwrap_or_default();
                    execution.run_output = result.run_command_result.unwrap_or_default();
                };
                self.end_reported(now, entry, execution_id, (state, desired), events, fill, out);
            }
            NodeMessage::ComputeError(error) => {
                let events = error.events.unwrap_or_default();
                let why = first_message(&events, "execution failed");
                let mut state = State::with_message(ComputeState::Failed, why);
                if let Some(event) = events.first() {
                    state.details = event.details.clone();
                }
                self.end_reported(now, entry, execution_id, (state, "execution failed"), events, |_| {}, out);
            }
        }
        true
    }

    /// The node would run it and nothing else holds the partition: tell it to.
    fn approve<T>(&mut self, now: i64, entry: &mut JobEntry, execution_id: &str, out: &mut Output<T>) {
        let job = Arc::clone(&entry.job);
        let Some(live) = entry.live_mut(execution_id) else { return };
        let execution = live.execution_mut();
        let asked = execution.desired_state.state_type == DesiredState::Pending
            && execution.compute_state.state_type == ComputeState::New;
        if !asked {
            return;
        }
        execution.desired_state = State::with_message(DesiredState::Running, "Running");
        execution.compute_state = State::with_message(ComputeState::BidAccepted, "Running");
        let deadline = deadline(&self.settings, live, &job, now);
        live.pending = Some(PendingMessage::BidAccepted);
        put_execution(live, now, out);
        let node_id = live.execution.node_id.clone();
        entry.set_deadline(execution_id, deadline);
        record::running(entry, now, out);
        let event = Event::new(topic::EXECUTION, "Running", Time::from_unix_nanos(now));
        execution_event(entry, execution_id, event, now, out);
        let kind = PendingMessage::BidAccepted;
        out.effects.push(Effect::Send { node_id, execution_id: execution_id.to_owned(), kind });
    }

    /// The node says that the execution is over.
    #[allow(clippy::too_many_arguments)]
    fn end_reported<T>(
        &mut self,
        now: i64,
        entry: &mut JobEntry,
        execution_id: &str,
        (state, desired): (State<ComputeState>, &str),
        events: Vec<Event>,
        fill: impl FnOnce(&mut Execution),
        out: &mut Output<T>,
    ) {
        let on_all_nodes = entry.job_type.is_on_all_nodes();
        let Some(live) = entry.live_mut(execution_id) else { return };
        let asked_again = on_all_nodes && self.asked_again(&live.execution);
        live.note_end(state.state_type, now);
        let execution = live.execution_mut();
        fill(execution);
        execution.compute_state = state;
        execution.desired_state = State::with_message(DesiredState::Stopped, desired);
        live.pending = asked_again.then_some(PendingMessage::CancelExecution);
        put_execution(live, now, out);
        if asked_again {
            let execution = Arc::clone(&live.execution);
            let node_id = execution.node_id.clone();
            self.cancelled.insert(Cancelled { execution, reason: scheduling("Execution is over", now) });
            let (execution_id, kind) = (execution_id.to_owned(), PendingMessage::CancelExecution);
            out.effects.push(Effect::Send { node_id, execution_id, kind });
        }
        for event in events {
            execution_event(entry, execution_id, event, now, out);
        }
        self.forget_live(entry, execution_id);
    }

    /// True when the node shook hands since it was asked to run this without a bid. It was asked anew then, and what it
    /// reports may be late news of a former life, whose disk is lost: then the present life runs it again and has to be told
    /// that it is over. Nodes of others, which need not take that well, are not told.
    fn asked_again(&self, execution: &Execution) -> bool {
        let node = self.nodes.get(&execution.node_id);
        node.is_some_and(|node| {
            node.state.connection_state.connected_since.unix_nanos() > execution.create_time
                && self.nodes.tells_progress(&execution.node_id)
        })
    }

    /// A node that offers to run something that is over is told to drop it. Other late reports need no answer.
    fn report_on_unknown<T>(&mut self, now: i64, node_id: &str, message: &NodeMessage, out: &mut Output<T>) {
        let NodeMessage::BidResult(bid) = message else { return };
        if !bid.accepted || self.cancelled.contains(&bid.execution_id) {
            return;
        }
        let execution = Execution {
            id: bid.execution_id.clone(),
            job_id: bid.job_id.clone(),
            node_id: node_id.to_owned(),
            ..Execution::default()
        };
        let execution = Arc::new(execution);
        let reason = scheduling("Execution is not wanted any more", now);
        self.cancelled.insert(Cancelled { execution, reason });
        out.effects.push(Effect::Send {
            node_id: node_id.to_owned(),
            execution_id: bid.execution_id.clone(),
            kind: PendingMessage::CancelExecution,
        });
    }

    /// The node has a message of ours on its disk: it need not be sent again.
    pub(crate) fn delivered<T>(&mut self, execution_id: &str, kind: PendingMessage, out: &mut Output<T>) {
        if kind == PendingMessage::CancelExecution {
            let Some(cancelled) = self.cancelled.remove(execution_id) else { return };
            if cancelled.execution.job_version > 0 {
                // Its time stays that of its end: a restart reckons from it how long it ran and until when its slot rests.
                let execution = cancelled.execution;
                out.changes.push(Change::PutExecution { execution, pending: None });
            }
            return;
        }
        // Not worth a write of its own: after a restart the message goes out again and does no harm.
        let job = self.owner.get(execution_id).and_then(|id| self.jobs.get_mut(id));
        if let Some(live) = job.and_then(|entry| entry.live_mut(execution_id))
            && live.pending == Some(kind)
        {
            live.pending = None;
        }
    }
}

/// What to tell the user of a service or daemon that ended.
const RUNS_ON: &str = "A service or daemon runs until it is stopped. What it printed: bacalhau job logs";

/// True when the task says that an exit code other than 0 is a failed attempt.
fn fails_on_exit_code(entry: &JobEntry) -> bool {
    entry.job.task().and_then(|task| task.retry.as_ref()).is_some_and(|retry| retry.fail_on_exit_code)
}

fn bad_exit(text: &str, exit_code: i64, now: i64) -> Event {
    Event::new(topic::EXECUTION, text, Time::from_unix_nanos(now))
        .with(detail::IS_ERROR, "true")
        .with(detail::FAILS_EXECUTION, "true")
        .with("ExitCode", exit_code.to_string())
}

fn first_message(events: &[Event], otherwise: &str) -> String {
    events.first().map_or_else(|| otherwise.to_owned(), |e| e.message.clone())
}
