//! The compute node's decisions: a pure state machine.
//!
//! An execution is asked about, approved, queued, run and reported. Every step that the orchestrator may rely on is
//! in the changes before the effect that tells it so. No IO, no clock, no randomness.

mod bid;
mod gpus;
mod io;
mod over;
mod ports;
mod progress;
mod queue;
mod restore;
mod slot;
mod tally;
#[cfg(test)]
mod tests;

pub use bid::{BidPolicy, Verdict};
pub use io::{Declined, Effect, Failed, Finished, Input, Output, Start};
pub use queue::Queue;
pub use restore::begun;
pub use slot::Slot;
pub use tally::Tally;

use bacalhau_model::event::topic;
use bacalhau_model::execution::{ComputeState, DesiredState, Execution};
use bacalhau_model::job::meta;
use bacalhau_model::node::protocol;
use bacalhau_model::state::State;
use bacalhau_model::{Error, Event, Resources, Time};
use bacalhau_store::compute::{Change, PendingReport};
use bacalhau_wire::messages::{self, NodeMessage, OrchestratorMessage};
use over::Over;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A bid that is not answered for this long is dropped, nanoseconds. Long enough for any orchestrator to restart.
const APPROVAL_LIMIT: i64 = 30 * 60 * 1_000_000_000;

/// The core. One per compute node.
#[derive(Debug)]
pub struct Core {
    policy: BidPolicy,
    queue: Queue,
    /// Executions whose end the orchestrator has not acknowledged.
    slots: BTreeMap<String, Slot>,
    /// Executions that the orchestrator believes to be here and that are not.
    unknown: BTreeSet<String>,
    /// Executions that must not start again.
    over: Over,
    /// Executions with progress that waits a moment before it is stored and told, by when it has.
    held: BTreeSet<(i64, String)>,
    /// The orchestrator understands reports of progress.
    tells_progress: bool,
    tally: Tally,
}

impl Core {
    /// A node without executions.
    pub fn new(policy: BidPolicy) -> Core {
        let queue = Queue::new(policy.capacity.clone());
        Core {
            policy,
            queue,
            slots: BTreeMap::new(),
            unknown: BTreeSet::new(),
            over: Over::default(),
            held: BTreeSet::new(),
            tells_progress: false,
            tally: Tally::default(),
        }
    }

    /// Handles one input.
    pub fn step<T>(&mut self, now: i64, input: Input<T>, out: &mut Output<T>) {
        match input {
            Input::Message { message, token } => {
                self.message_in(now, message, out);
                out.effects.push(Effect::Acknowledge(token));
            }
            Input::Probed { execution_id, result } => self.probed(now, &execution_id, result, out),
            Input::Preparing { execution_id, topic, text } => {
                self.preparing(now, &execution_id, topic, text);
            }
            Input::Started { execution_id } => self.started(now, &execution_id),
            Input::Publishing { execution_id } => self.publishing(now, &execution_id),
            Input::Finished { execution_id, result } => self.finished(now, &execution_id, result, out),
            Input::Gone { execution_id } => self.gone(now, &execution_id, out),
            Input::Delivered { execution_id, kind } => self.delivered(&execution_id, kind, out),
            Input::Connected { progress } => {
                self.report_all(out);
                self.tell_all(progress, out);
            }
            Input::Engines(names) => self.policy.engines = names,
            Input::Tick => {
                self.show_held(now, out);
                self.expire(now, out);
            }
        }
        self.start_what_fits(now, out);
    }

    fn message_in<T>(&mut self, now: i64, message: OrchestratorMessage, out: &mut Output<T>) {
        match message {
            OrchestratorMessage::AskForBid(ask) => {
                if let Some(execution) = ask.execution {
                    self.asked(now, execution, out);
                }
            }
            OrchestratorMessage::BidAccepted(m) => self.approved(now, &m.execution_id, out),
            OrchestratorMessage::BidRejected(m) => {
                self.cancel(now, &m.execution_id, ComputeState::BidRejected, m.events.as_deref(), out);
            }
            OrchestratorMessage::CancelExecution(m) => {
                self.cancel(now, &m.execution_id, ComputeState::Cancelled, m.events.as_deref(), out);
            }
        }
    }

    /// A new execution, or the same question again.
    fn asked<T>(&mut self, now: i64, mut execution: Execution, out: &mut Output<T>) {
        if let Some(slot) = self.slots.get_mut(&execution.id) {
            // Asked again because the orchestrator has no answer: give the same one, until it arrives.
            if let Some(kind) = slot.answer() {
                slot.pending = Some(kind);
                out.effects.push(Effect::Report { execution_id: execution.id, kind });
            } else {
                self.tell_again(&execution.id, out);
            }
            return;
        }
        if self.over.contains(&execution.id) {
            self.deny(&execution.id, out);
            return;
        }
        // What was lost is here again.
        self.unknown.remove(&execution.id);
        if let Some(job) = &mut execution.job {
            let job = Arc::make_mut(job);
            job.meta.insert(meta::ORCHESTRATOR_PROTOCOL.to_owned(), protocol::NCL_V1.to_owned());
        }
        execution.compute_state = State::new(ComputeState::New);
        execution.start_time = 0;
        execution.create_time = now;
        execution.modify_time = now;
        let id = execution.id.clone();
        self.slots.insert(id.clone(), Slot::new(execution));
        self.judge(now, &id, None, out);
    }

    fn judge<T>(&mut self, now: i64, id: &str, disk: Option<u64>, out: &mut Output<T>) {
        let Some(slot) = self.slots.get(id) else { return };
        let verdict = match self.policy.judge(&slot.execution, disk) {
            Verdict::Accept(usage) => match self.taken_port(slot) {
                Some(reason) => Verdict::Refuse(reason),
                None => Verdict::Accept(usage),
            },
            other => other,
        };
        let Some(slot) = self.slots.get_mut(id) else { return };
        match verdict {
            Verdict::Accept(usage) => {
                self.tally.bids_made += 1;
                slot.usage = usage;
                slot.note_allocation();
                if slot.execution.desired_state.state_type == DesiredState::Running {
                    slot.enter(ComputeState::BidAccepted, "", now);
                    self.queue.push(id, slot.priority(), slot.usage.clone());
                    out.changes.push(slot.change());
                } else {
                    slot.enter(ComputeState::AskForBidAccepted, "", now);
                    slot.report(PendingReport::BidResult, None, out);
                }
            }
            Verdict::AskFurther => {
                out.changes.push(slot.change());
                out.effects.push(Effect::Probe(Arc::new(slot.execution.clone())));
            }
            Verdict::Refuse(reason) => {
                self.tally.bids_refused += 1;
                slot.enter(ComputeState::AskForBidRejected, &reason, now);
                let event = Event::new(topic::EXEC_SCANNING, reason, Time::from_unix_nanos(now));
                slot.report(PendingReport::BidResult, Some(event), out);
            }
        }
    }

    fn probed<T>(&mut self, now: i64, id: &str, result: Result<u64, Declined>, out: &mut Output<T>) {
        let Some(slot) = self.slots.get_mut(id).filter(|s| s.state() == ComputeState::New) else { return };
        match result {
            Ok(disk) => self.judge(now, id, Some(disk), out),
            Err(Declined::Refused(reason)) => {
                self.tally.bids_refused += 1;
                let reason = format!("rejected bid: {reason}");
                slot.enter(ComputeState::AskForBidRejected, &reason, now);
                let event = Event::new(topic::EXEC_SCANNING, reason, Time::from_unix_nanos(now));
                slot.report(PendingReport::BidResult, Some(event), out);
            }
            Err(Declined::Error(error)) => {
                self.tally.bids_failed += 1;
                slot.fail(now, topic::EXEC_SCANNING, &error, out);
            }
        }
    }

    /// Says that the execution is not here. Nobody listens when it is over for the orchestrator, too.
    fn deny<T>(&mut self, id: &str, out: &mut Output<T>) {
        self.unknown.insert(id.to_owned());
        let kind = PendingReport::ComputeError;
        out.effects.push(Effect::Report { execution_id: id.to_owned(), kind });
    }

    /// The execution is over and its end acknowledged, or nobody wants to hear of it.
    fn forget<T>(&mut self, id: &str, out: &mut Output<T>) {
        self.slots.remove(id);
        self.over.insert(id);
        out.changes.push(Change::Forget(id.to_owned()));
    }

    fn approved<T>(&mut self, now: i64, id: &str, out: &mut Output<T>) {
        let Some(slot) = self.slots.get_mut(id) else {
            // The disk was lost: say so, or the orchestrator waits for a result for ever.
            self.deny(id, out);
            return;
        };
        match slot.state() {
            ComputeState::AskForBidAccepted => {
                slot.pending = None;
                slot.execution.desired_state = State::new(DesiredState::Running);
                slot.enter(ComputeState::BidAccepted, "", now);
                out.changes.push(slot.change());
                self.enqueue(now, id, out);
            }
            state if state.is_terminal() => {
                if let Some(kind) = slot.answer() {
                    out.effects.push(Effect::Report { execution_id: id.to_owned(), kind });
                }
            }
            _ => self.tell_again(id, out),
        }
    }

    /// Lets an approved execution wait for its capacity. One that asks for more than there is fails instead of waiting
    /// for ever: the node may have been given less since it made its bid.
    fn enqueue<T>(&mut self, now: i64, id: &str, out: &mut Output<T>) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        if slot.usage.fits_in(&self.policy.capacity) {
            self.queue.push(id, slot.priority(), slot.usage.clone());
            return;
        }
        let error = Error::plain(self.policy.shortage(&slot.usage))
            .hint("The node has less to offer than when it made its bid; run the job again");
        slot.fail(now, topic::EXECUTION, &error, out);
    }

    fn cancel<T>(
        &mut self,
        now: i64,
        id: &str,
        state: ComputeState,
        events: Option<&[Event]>,
        out: &mut Output<T>,
    ) {
        self.unknown.remove(id);
        let Some(slot) = self.slots.get_mut(id) else {
            // The question may still come.
            self.over.insert(id);
            return;
        };
        if slot.state().is_terminal() {
            // The orchestrator does not want to hear about it any more.
            if slot.pending.take().is_some() && !self.queue.is_running(id) {
                self.forget(id, out);
            }
            return;
        }
        let why = events.and_then(<[Event]>::first).map_or("", |event| event.message.as_str());
        slot.note_start();
        slot.execution.desired_state = State::with_message(DesiredState::Stopped, why);
        slot.enter(state, why, now);
        slot.pending = None;
        self.let_go(id);
        let Some(slot) = self.slots.get_mut(id) else { return };
        if self.queue.is_running(id) {
            // Its capacity is free when the engine says so, not before.
            out.changes.push(slot.change());
            out.effects.push(Effect::Cancel(id.to_owned()));
        } else {
            self.queue.withdraw(id);
            out.effects.push(Effect::Cancel(id.to_owned()));
            self.forget(id, out);
        }
    }

    fn start_what_fits<T>(&mut self, now: i64, out: &mut Output<T>) {
        while let Some(id) = self.queue.start_next() {
            let Some(slot) = self.slots.get_mut(&id) else {
                self.queue.finish(&id);
                continue;
            };
            slot.take_gpus(self.queue.gpus(&id));
            slot.begin(now);
            out.changes.push(slot.change());
            out.effects.push(Effect::Run(Arc::new(slot.execution.clone()), Start::Afresh));
        }
    }

    fn finished<T>(&mut self, now: i64, id: &str, result: Result<Finished, Failed>, out: &mut Output<T>) {
        if self.came_to_rest(id, out) {
            return;
        }
        let Some(slot) = self.slots.get_mut(id) else { return };
        slot.note_start();
        match result {
            Ok(finished) => {
                slot.execution.run_output = finished.run_output;
                slot.execution.published_result = finished.published_result;
                slot.enter(ComputeState::Completed, "", now);
                let text = match slot.execution.run_output.exit_code {
                    0 => "Completed successfully".to_owned(),
                    code => format!("Completed with exit code {code}"),
                };
                let event = Event::new(topic::EXECUTION, text, Time::from_unix_nanos(now));
                slot.report(PendingReport::RunResult, Some(event), out);
            }
            Err(failed) => {
                slot.execution.run_output = failed.run_output.unwrap_or_default();
                slot.fail(now, &failed.topic, &failed.error, out);
            }
        }
    }

    /// A run has ended and gives its capacity back. True when nobody wants to know how.
    fn came_to_rest<T>(&mut self, id: &str, out: &mut Output<T>) -> bool {
        self.queue.finish(id);
        self.let_go(id);
        let Some(slot) = self.slots.get_mut(id) else { return true };
        if slot.state().is_terminal() && slot.pending.is_none() {
            // Cancelled while it ran.
            self.forget(id, out);
            return true;
        }
        slot.state().is_terminal()
    }

    fn delivered<T>(&mut self, id: &str, kind: PendingReport, out: &mut Output<T>) {
        if kind == PendingReport::Progress {
            self.progress_delivered(id, out);
            return;
        }
        if kind == PendingReport::ComputeError {
            self.unknown.remove(id);
        }
        let Some(slot) = self.slots.get_mut(id).filter(|s| s.pending == Some(kind)) else { return };
        slot.pending = None;
        if slot.state().is_terminal() && !self.queue.is_running(id) {
            self.forget(id, out);
        }
    }

    fn report_all<T>(&self, out: &mut Output<T>) {
        let mut due: Vec<_> = self
            .slots
            .values()
            .filter_map(|s| s.pending.map(|kind| (s.execution.modify_time, s, kind)))
            .collect();
        due.sort_by(|a, b| (a.0, &a.1.execution.id).cmp(&(b.0, &b.1.execution.id)));
        for (_, slot, kind) in due {
            out.effects.push(Effect::Report { execution_id: slot.execution.id.clone(), kind });
        }
        for id in &self.unknown {
            let kind = PendingReport::ComputeError;
            out.effects.push(Effect::Report { execution_id: id.clone(), kind });
        }
    }

    /// Drops bids that nobody answered.
    fn expire<T>(&mut self, now: i64, out: &mut Output<T>) {
        let late = |s: &&Slot| {
            s.is_unanswered_bid() && s.execution.modify_time.saturating_add(APPROVAL_LIMIT) <= now
        };
        for id in self.slots.values().filter(late).map(|s| s.execution.id.clone()).collect::<Vec<_>>() {
            self.cancel(now, &id, ComputeState::Cancelled, None, out);
        }
    }

    /// When to step with [`Input::Tick`] at the latest, nanoseconds since 1970.
    pub fn next_wakeup(&self) -> Option<i64> {
        let bids = self.slots.values().filter(|s| s.is_unanswered_bid());
        let unanswered = bids.map(|s| s.execution.modify_time.saturating_add(APPROVAL_LIMIT)).min();
        let held = self.held.first().map(|(due, _)| *due);
        unanswered.into_iter().chain(held).min()
    }

    /// A report about an execution, from its present state. `None` when it is out of date and need not be sent.
    pub fn message(&self, execution_id: &str, kind: PendingReport) -> Option<NodeMessage> {
        if kind != PendingReport::Progress && self.unknown.contains(execution_id) {
            return Some(messages::compute_error(&restore::lost(execution_id), restore::lost_event()));
        }
        let slot = self.slots.get(execution_id)?;
        if kind == PendingReport::Progress { slot.progress_message() } else { slot.message(kind) }
    }

    /// What was decided so far, in figures.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// One execution that is not over for the orchestrator.
    pub fn slot(&self, execution_id: &str) -> Option<&Slot> {
        self.slots.get(execution_id)
    }

    /// All executions that are not over for the orchestrator.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.values()
    }

    /// Free capacity, queued usage, number running and number queued.
    pub fn load(&self) -> (Resources, Resources, usize, usize) {
        let (running, queued) = self.queue.counts();
        (self.queue.free(), self.queue.queued(), running, queued)
    }

    /// Capacity in use, for invariants in tests.
    pub fn in_use(&self) -> &Resources {
        self.queue.in_use()
    }
}
