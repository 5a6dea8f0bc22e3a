//! How executions and jobs end, for every reason there is.

use super::Core;
use super::cancelled::Cancelled;
use super::entry::JobEntry;
use super::io::{Effect, Output};
use super::record::{self, execution_event, job_event, put_execution, scheduling};
use super::timers::Due;
use bacalhau_model::event::{detail, topic};
use bacalhau_model::execution::{ComputeState, DesiredState};
use bacalhau_model::state::State;
use bacalhau_model::{Event, JobState, JobType, Time};
use bacalhau_store::orchestrator::PendingMessage;
use std::sync::Arc;

/// Why the orchestrator ends an execution by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A user stopped the job.
    JobStopped,
    /// The job failed.
    JobFailed,
    /// The job got a new version.
    JobUpdated,
    /// The node is being drained.
    NodeDrained,
    /// The node does not match a daemon any more.
    NodeMismatch,
    /// The job is complete, or more executions than needed are live.
    NotNeeded,
    /// The node is gone.
    NodeLost,
    /// An operator rejected the node.
    NodeRejected,
    /// The node did not answer the bid.
    BidTimeout,
    /// The execution took too long (nanoseconds).
    ExecutionTimeout(i64),
}

impl Cause {
    fn event(self, now: i64) -> Event {
        let text = match self {
            Cause::JobStopped => "Execution stop requested because job has been stopped",
            Cause::JobFailed => "Execution stopped due to job failure",
            Cause::JobUpdated => "Execution stopped for job update",
            Cause::NotNeeded => "Execution stop requested because there are more executions than needed",
            Cause::NodeLost => "Execution stop requested because node has disappeared",
            Cause::NodeRejected => "Execution stop requested because its node is rejected",
            Cause::NodeDrained => "Execution stop requested because its node is drained",
            Cause::NodeMismatch => {
                "Execution stop requested because its node does not match the job any more"
            }
            Cause::BidTimeout => "Execution stop requested because node did not answer the bid in time",
            Cause::ExecutionTimeout(limit) => {
                let text = format!("Execution timed out. Execution took longer than {}", duration(limit));
                return timeout(topic::EXEC_TIMEOUT, text, now);
            }
        };
        scheduling(text, now)
    }

    /// Lost and timed-out attempts failed, and so did those of ops jobs that cannot run elsewhere; the others were merely
    /// stopped.
    fn compute_state(self, job_type: JobType) -> ComputeState {
        match self {
            Cause::NodeDrained if job_type == JobType::Ops => ComputeState::Failed,
            Cause::NodeLost | Cause::NodeRejected => ComputeState::Failed,
            Cause::BidTimeout | Cause::ExecutionTimeout(_) => ComputeState::Failed,
            _ => ComputeState::Cancelled,
        }
    }
}

/// An event for something that took too long.
pub(crate) fn timeout(topic: &str, text: String, now: i64) -> Event {
    Event::new(topic, text, Time::from_unix_nanos(now))
        .with(detail::IS_ERROR, "true")
        .with(detail::HINT, "Increase the task timeout or allocate more resources")
        .with(detail::FAILS_EXECUTION, "true")
}

/// Whole seconds as Go prints durations: `2s`, `1m30s`, `1h0m0s`.
pub(crate) fn duration(nanos: i64) -> String {
    let seconds = nanos / super::SECOND;
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (h, m) {
        (0, 0) => format!("{s}s"),
        (0, _) => format!("{m}m{s}s"),
        _ => format!("{h}h{m}m{s}s"),
    }
}

impl Core {
    /// Stops one live execution: stores its end, says why, and tells the node until it acknowledges.
    pub(crate) fn stop_execution<T>(
        &mut self,
        entry: &mut JobEntry,
        execution_id: &str,
        cause: Cause,
        now: i64,
        out: &mut Output<T>,
    ) {
        let job_type = entry.job_type;
        let Some(live) = entry.live_mut(execution_id) else { return };
        let mut event = cause.event(now);
        // What it was doing decides whether it can be adopted when its node comes back; see `adopt`. One whose node was
        // rejected is being stopped there.
        let was = match cause {
            Cause::NodeLost if live.is_approved() => Some("running"),
            Cause::NodeLost => Some("asked"),
            Cause::NodeRejected => Some("rejected"),
            _ => None,
        };
        if let Some(was) = was {
            event = event.with(detail::NODE_LOST, was);
        }
        let execution = live.execution_mut();
        execution.desired_state = State::with_message(DesiredState::Stopped, event.message.clone());
        execution.compute_state = State::with_message(cause.compute_state(job_type), event.message.clone());
        execution.compute_state.details = event.details.clone();
        live.pending = Some(PendingMessage::CancelExecution);
        put_execution(live, now, out);
        let execution = Arc::clone(&live.execution);
        out.effects.push(Effect::Send {
            node_id: execution.node_id.clone(),
            execution_id: execution_id.to_owned(),
            kind: PendingMessage::CancelExecution,
        });
        self.cancelled.insert(Cancelled { execution, reason: event.clone() });
        execution_event(entry, execution_id, event, now, out);
        self.forget_live(entry, execution_id);
    }

    /// Takes a finished execution out of the live ones and gives its room back.
    pub(crate) fn forget_live(&mut self, entry: &mut JobEntry, execution_id: &str) {
        self.owner.remove(execution_id);
        if let Some(live) = entry.end(execution_id) {
            self.ledger.ends += 1;
            self.nodes.release(&live.execution, &live.reserved);
            self.wake = true;
        }
    }

    /// Stops every live execution of the job.
    pub(crate) fn stop_all<T>(&mut self, entry: &mut JobEntry, cause: Cause, now: i64, out: &mut Output<T>) {
        for id in entry.all_live().map(|live| live.execution.id.clone()).collect::<Vec<_>>() {
            self.stop_execution(entry, &id, cause, now, out);
        }
    }

    /// The job is done.
    pub(crate) fn complete_job<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        record::enter_state(entry, JobState::Completed, "", now, out);
        self.finish(entry);
        self.stop_all(entry, Cause::NotNeeded, now, out);
    }

    /// The job is given up. The event says why and becomes the state's message.
    pub(crate) fn fail_job<T>(&mut self, entry: &mut JobEntry, event: Event, now: i64, out: &mut Output<T>) {
        record::set_state(entry, State::with_message(JobState::Failed, event.message.clone()), now, out);
        job_event(entry, event, now, out);
        self.finish(entry);
        self.stop_all(entry, Cause::JobFailed, now, out);
    }

    /// A job in a final state waits for nothing any more and leaves the memory once that is on disk.
    pub(crate) fn finish(&mut self, entry: &mut JobEntry) {
        self.related.forget(&entry.job);
        self.wake_waiters(&entry.job.id);
        entry.queued_since = None;
        self.waiting.remove(&entry.job.id);
        self.everywhere.remove(&entry.job.id);
        self.timers.set(Due::Job(entry.job.id.clone()), None);
        self.finished.push((self.batch, entry.job.id.clone()));
    }
}
