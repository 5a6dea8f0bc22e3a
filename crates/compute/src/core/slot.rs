//! One execution on this node, until the orchestrator knows how it ended.

use super::io::{Effect, Output};
use super::progress::Progress;
use bacalhau_model::execution::{ComputeState, Execution};
use bacalhau_model::state::State;
use bacalhau_model::{Error, Event, Gpu, Resources, Time};
use bacalhau_store::compute::{Change, PendingReport};
use bacalhau_wire::messages::{self, NodeMessage};

/// See [`Slot::is_begun`].
pub(super) fn is_begun(execution: &Execution) -> bool {
    let state = &execution.compute_state;
    match state.state_type {
        ComputeState::Running | ComputeState::Publishing => true,
        ComputeState::BidAccepted => state.details.contains_key(BEGUN),
        _ => false,
    }
}

/// An execution and what the orchestrator has still to be told about it.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The record.
    pub execution: Execution,
    /// Set aside for it.
    pub usage: Resources,
    /// Report that the orchestrator has not acknowledged.
    pub pending: Option<PendingReport>,
    /// Event that the report carries.
    pub event: Option<Event>,
    pub(super) progress: Progress,
}

/// Detail of the state of an execution that was handed to its engine and whose task does not run yet, as far as is known.
const BEGUN: &str = "Begun";

impl Slot {
    pub(super) fn new(execution: Execution) -> Slot {
        Slot {
            execution,
            usage: Resources::default(),
            pending: None,
            event: None,
            progress: Progress::default(),
        }
    }

    /// Where the execution stands.
    pub fn state(&self) -> ComputeState {
        self.execution.compute_state.state_type
    }

    /// Priority of its job.
    pub fn priority(&self) -> i64 {
        self.execution.job.as_ref().map_or(0, |job| job.priority)
    }

    /// True when the orchestrator has a bid of ours and has not answered.
    pub(super) fn is_unanswered_bid(&self) -> bool {
        self.state() == ComputeState::AskForBidAccepted
    }

    /// True from the moment on when it was handed to its engine until it is over: its task may have been started.
    pub(super) fn is_begun(&self) -> bool {
        is_begun(&self.execution)
    }

    /// It is handed to its engine. For the orchestrator it is still no more than accepted.
    pub(super) fn begin(&mut self, now: i64) {
        self.progress = Progress::default();
        self.enter(ComputeState::BidAccepted, "Preparing", now);
        self.execution.compute_state.details.insert(BEGUN.to_owned(), "true".to_owned());
    }

    /// Enters a state.
    pub(super) fn enter(&mut self, state: ComputeState, message: &str, now: i64) {
        self.execution.compute_state = State::with_message(state, message);
        self.execution.revision += 1;
        self.execution.modify_time = now;
    }

    /// Writes what was set aside into the record.
    pub(super) fn note_allocation(&mut self) {
        let task = self.execution.job.as_ref().and_then(|job| job.task()).map(|task| task.name.clone());
        self.execution.allocated_resources.tasks =
            task.into_iter().map(|name| (name, self.usage.clone())).collect();
    }

    /// These GPUs are its own until it ends.
    pub(super) fn take_gpus(&mut self, gpus: Vec<Gpu>) {
        if self.usage.gpus != gpus {
            self.usage.gpus = gpus;
            self.note_allocation();
        }
    }

    /// The record as it is to be stored.
    pub(super) fn change(&self) -> Change {
        Change::PutExecution {
            execution: Box::new(self.execution.clone()),
            pending: self.pending,
            event: self.event.clone(),
        }
    }

    /// Stores the present state and tells the orchestrator.
    pub(super) fn report<T>(&mut self, kind: PendingReport, event: Option<Event>, out: &mut Output<T>) {
        self.pending = Some(kind);
        self.event = event;
        out.changes.push(self.change());
        out.effects.push(Effect::Report { execution_id: self.execution.id.clone(), kind });
    }

    /// Ends in failure and tells the orchestrator why.
    pub(super) fn fail<T>(&mut self, now: i64, topic: &str, error: &Error, out: &mut Output<T>) {
        self.enter(ComputeState::Failed, &error.message, now);
        let event = Event::from_error(topic, error, Time::from_unix_nanos(now));
        self.report(PendingReport::ComputeError, Some(event), out);
    }

    /// The report that answers a repeated question, if there is one.
    pub(super) fn answer(&self) -> Option<PendingReport> {
        match self.state() {
            ComputeState::AskForBidAccepted | ComputeState::AskForBidRejected => {
                Some(PendingReport::BidResult)
            }
            ComputeState::Completed => Some(PendingReport::RunResult),
            ComputeState::Failed => Some(PendingReport::ComputeError),
            _ => None,
        }
    }

    /// The report, if it still describes the present state.
    pub(super) fn message(&self, kind: PendingReport) -> Option<NodeMessage> {
        if self.answer() != Some(kind) {
            return None;
        }
        let events: Option<Vec<Event>> = self.event.clone().map(|event| vec![event]);
        Some(match kind {
            PendingReport::BidResult => {
                let accepted = self.state() == ComputeState::AskForBidAccepted;
                messages::bid_result(&self.execution, accepted, events)
            }
            PendingReport::RunResult => messages::run_result(&self.execution, events),
            PendingReport::Progress => return self.progress_message(),
            PendingReport::ComputeError => {
                messages::compute_error(&self.execution, self.event.clone().unwrap_or_default())
            }
        })
    }
}
