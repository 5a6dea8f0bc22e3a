//! How far executions are, and when that is stored and told.
//!
//! Nothing here decides what an execution does. A change waits a moment for further ones, so that an execution that is
//! over quickly costs neither a write nor a message for its way there; then the state reached is stored, and told to an
//! orchestrator that understands it. At most one report of an execution is under way; it is built when it is sent.

use super::io::{Effect, Output};
use super::{Core, Slot};
use bacalhau_model::event::topic;
use bacalhau_model::execution::ComputeState;
use bacalhau_model::{Event, Time};
use bacalhau_store::compute::PendingReport;
use bacalhau_wire::messages::{self, MOST_PROGRESS_EVENTS, NodeMessage};

/// How long a change waits, nanoseconds. Most WebAssembly programs are over by then; nobody sees the difference.
pub(super) const HOLD: i64 = 100_000_000;

/// How far one execution is, since this process runs it.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// `Running` or `Publishing`, once reached and not stored yet.
    reached: Option<ComputeState>,
    /// When the task began to run, nanoseconds since 1970; 0 before.
    started: i64,
    /// When the latest state was reached.
    entered: i64,
    /// Lines for the history, with the number of their change.
    events: Vec<(u64, Event)>,
    /// Changes so far.
    changes: u64,
    /// Changes up to here are on their way to the disk, or there.
    shown: u64,
    /// Changes up to here are in the report that is under way.
    sent: u64,
    /// Changes up to here the orchestrator knows.
    told: u64,
    under_way: bool,
    /// When the changes since `shown` have waited for long enough.
    due: Option<i64>,
}

impl Progress {
    /// An execution that a former life of the node stored in this state: to be told again.
    pub(super) fn restored(slot: &Slot, now: i64) -> Progress {
        let started = slot.execution.start_time;
        let known = u64::from(started > 0);
        Progress { started, entered: now, changes: known, shown: known, ..Progress::default() }
    }

    fn add(&mut self, event: Event) {
        self.changes += 1;
        // The oldest line is the one that began it; of those after it the older ones matter least.
        if self.events.len() >= MOST_PROGRESS_EVENTS {
            self.events.remove(1);
        }
        self.events.push((self.changes, event));
    }

    /// How long the task had run when the latest state was reached.
    fn running_for(&self) -> i64 {
        if self.started == 0 { 0 } else { self.entered.saturating_sub(self.started).max(0) }
    }
}

impl Slot {
    /// When its task began to run, as far as it did.
    pub(super) fn note_start(&mut self) {
        if self.execution.start_time == 0 {
            self.execution.start_time = self.progress.started;
        }
    }

    /// The report of how far it is. `None` once it is over, or when there is nothing to tell.
    pub(super) fn progress_message(&self) -> Option<NodeMessage> {
        let progress = &self.progress;
        if !self.state().is_executing() || progress.shown == 0 {
            return None;
        }
        let shown = progress.events.iter().filter(|(number, _)| *number <= progress.shown);
        let events = shown.map(|(_, event)| event.clone()).collect();
        Some(messages::execution_progress(&self.execution, self.state(), progress.running_for(), events))
    }

    /// Reports what the orchestrator does not know, unless a report is under way already.
    fn tell<T>(&mut self, out: &mut Output<T>) {
        let progress = &mut self.progress;
        if progress.under_way || progress.shown <= progress.told {
            return;
        }
        progress.under_way = true;
        progress.sent = progress.shown;
        let kind = PendingReport::Progress;
        out.effects.push(Effect::Report { execution_id: self.execution.id.clone(), kind });
    }
}

impl Core {
    /// The engine fetches or prepares something.
    pub(super) fn preparing(&mut self, now: i64, id: &str, topic: &str, text: String) {
        let slot = self.slots.get_mut(id).filter(|s| s.is_begun() && s.progress.started == 0);
        let Some(slot) = slot else { return };
        slot.progress.add(Event::new(topic, text, Time::from_unix_nanos(now)));
        self.hold(now, id);
    }

    /// The task's process runs.
    pub(super) fn started(&mut self, now: i64, id: &str) {
        self.reach(now, id, ComputeState::Running, topic::RUNNING_EXECUTION, "Task started");
    }

    /// The task has ended, its results are being published.
    pub(super) fn publishing(&mut self, now: i64, id: &str) {
        self.reach(now, id, ComputeState::Publishing, topic::PUBLISHING_RESULTS, "Publishing results");
    }

    fn reach(&mut self, now: i64, id: &str, state: ComputeState, topic: &str, text: &str) {
        let slot = self.slots.get_mut(id).filter(|s| s.is_begun());
        let Some(slot) = slot.filter(|s| s.progress.reached.unwrap_or(s.state()) < state) else { return };
        let progress = &mut slot.progress;
        if progress.started == 0 {
            progress.started = now;
        }
        progress.reached = Some(state);
        progress.entered = now;
        progress.add(Event::new(topic, text, Time::from_unix_nanos(now)));
        self.hold(now, id);
    }

    fn hold(&mut self, now: i64, id: &str) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        if slot.progress.due.is_none() {
            let due = now.saturating_add(HOLD);
            slot.progress.due = Some(due);
            self.held.insert((due, id.to_owned()));
        }
    }

    /// The execution is over, or begins anew: what is held is of no interest any more.
    pub(super) fn let_go(&mut self, id: &str) {
        if let Some(slot) = self.slots.get_mut(id)
            && let Some(due) = slot.progress.due.take()
        {
            self.held.remove(&(due, id.to_owned()));
        }
    }

    /// Stores and tells what has waited for long enough.
    pub(super) fn show_held<T>(&mut self, now: i64, out: &mut Output<T>) {
        while self.held.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.held.pop_first() else { return };
            let tells = self.tells_progress;
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            slot.progress.due = None;
            slot.progress.shown = slot.progress.changes;
            if let Some(state) = slot.progress.reached.take() {
                slot.note_start();
                slot.enter(state, "", now);
                out.changes.push(slot.change());
            }
            if tells {
                slot.tell(out);
            }
        }
    }

    /// The orchestrator has the report that was under way.
    pub(super) fn progress_delivered<T>(&mut self, id: &str, out: &mut Output<T>) {
        let Some(slot) = self.slots.get_mut(id).filter(|s| s.state().is_executing()) else { return };
        let progress = &mut slot.progress;
        progress.under_way = false;
        progress.told = progress.sent;
        progress.events.retain(|(number, _)| *number > progress.told);
        slot.tell(out);
    }

    /// The orchestrator wants an execution that runs to be run: it does not know how far it is.
    pub(super) fn tell_again<T>(&mut self, id: &str, out: &mut Output<T>) {
        if !self.tells_progress {
            return;
        }
        let slot = self.slots.get_mut(id).filter(|s| s.execution.start_time > 0 && s.state().is_executing());
        if let Some(slot) = slot {
            slot.progress.told = 0;
            slot.tell(out);
        }
    }

    /// A connection begins: whatever was under way on the last one is told again, if the orchestrator understands it.
    pub(super) fn tell_all<T>(&mut self, understood: bool, out: &mut Output<T>) {
        self.tells_progress = understood;
        for slot in self.slots.values_mut() {
            slot.progress.under_way = false;
            if understood && slot.state().is_executing() {
                slot.tell(out);
            }
        }
    }
}
