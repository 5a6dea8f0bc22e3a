//! What others may ask of the core between two steps, and tell it before one.

use super::related::Reference;
use super::{Core, control};
use bacalhau_model::execution::Execution;
use bacalhau_model::{Job, JobState, NodeState, Resources};
use bacalhau_store::orchestrator::PendingMessage;
use bacalhau_wire::messages::{self, OrchestratorMessage};
use std::sync::Arc;

/// Counts of what the core holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Unfinished jobs.
    pub jobs: usize,
    /// The same by state.
    pub job_states: [(JobState, usize); 3],
    /// Executions that may still change.
    pub live_executions: usize,
    /// Stopped executions whose node has not acknowledged it.
    pub cancelling: usize,
    /// Nodes known.
    pub nodes: usize,
    /// Nodes that may get work now.
    pub connected_nodes: usize,
}

impl Core {
    /// ID of the job of that name, if it is in memory.
    pub fn job_named(&self, namespace: &str, name: &str) -> Option<&str> {
        self.names.get(&(namespace.to_owned(), name.to_owned())).map(String::as_str)
    }

    /// The latest version of a job, if it is in memory.
    pub fn job(&self, job_id: &str) -> Option<&Arc<Job>> {
        self.jobs.get(job_id).map(|entry| &entry.job)
    }

    /// True when the job is in memory.
    pub fn holds_job(&self, job_id: &str) -> bool {
        self.jobs.contains_key(job_id)
    }

    /// What has to be looked up in the store before the next step, because runs of schedules may be due in it. The
    /// answers go to [`Core::learn`].
    pub fn unknown_runs(&self, now: i64) -> Vec<Reference> {
        self.names_of_due_runs(now)
    }

    /// What has to be looked up before this job is submitted, as for [`Core::unknown_runs`]. Answers may lead to more:
    /// it is to be asked until nothing comes.
    pub fn unknown_to_submit(&self, job: &Job) -> Vec<Reference> {
        self.unknown_dependencies(job, false)
    }

    /// The same before a version of a job is run again.
    pub fn unknown_to_rerun(&self, spec: &Job) -> Vec<Reference> {
        self.unknown_dependencies(spec, true)
    }

    /// Takes the stored job that was looked up, or that there is none. It holds until the batch is sealed.
    pub fn learn(&mut self, reference: Reference, found: Option<&Job>) {
        self.related.learn(reference, found);
    }

    /// All nodes, by ID.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeState> {
        self.nodes.iter().map(|n| &n.state)
    }

    /// A message about an execution, from its present state. `None` when it is out of date and need not be sent.
    pub fn message(&self, execution_id: &str, kind: PendingMessage) -> Option<OrchestratorMessage> {
        if kind == PendingMessage::CancelExecution {
            let cancelled = self.cancelled.get(execution_id)?;
            return Some(messages::cancel_execution(execution_id, cancelled.reason.clone()));
        }
        let entry = self.jobs.get(self.owner.get(execution_id)?)?;
        let live = entry.get_live(execution_id)?;
        match (kind, live.execution.compute_state.state_type) {
            (PendingMessage::AskForBid, state) if control::is_asked(entry.job_type, state) => {
                let mut execution = Execution::clone(&live.execution);
                execution.job = Some(Arc::clone(entry.job_of(&execution)?));
                Some(messages::ask_for_bid(execution))
            }
            (PendingMessage::BidAccepted, state) if state.is_executing() => {
                Some(messages::bid_accepted(execution_id))
            }
            _ => None,
        }
    }

    /// Figures for `agent debug` and for invariants in tests.
    pub fn census(&self) -> Census {
        let mut job_states = [JobState::Pending, JobState::Queued, JobState::Running].map(|state| (state, 0));
        for entry in self.jobs.values() {
            let same = job_states.iter_mut().find(|(state, _)| *state == entry.job.state.state_type);
            same.into_iter().for_each(|(_, count)| *count += 1);
        }
        Census {
            jobs: self.jobs.values().filter(|e| !e.job.is_terminal()).count(),
            job_states,
            live_executions: self.owner.len(),
            cancelling: self.cancelled.len(),
            nodes: self.nodes.iter().count(),
            connected_nodes: self.nodes.schedulable().count(),
        }
    }

    /// Every node's reservations and limit, for invariants in tests.
    pub fn bookings(&self) -> impl Iterator<Item = (&NodeState, &Resources, Resources)> {
        self.nodes.iter().map(|n| (&n.state, &n.reserved, n.limit(self.settings.oversubscription)))
    }

    /// True when a node has room for one more execution that asks for this much, for invariants in tests. `lasting` when
    /// it is one of a service or daemon.
    pub fn has_room(&self, node_id: &str, request: &Resources, lasting: bool) -> bool {
        let node = self.nodes.get(node_id);
        node.is_some_and(|node| node.has_room(request, lasting, self.settings.oversubscription))
    }

    /// Live executions as (job, execution), for invariants in tests.
    pub fn live_executions(&self) -> impl Iterator<Item = (&str, &Execution)> {
        self.jobs.iter().flat_map(|(id, e)| e.all_live().map(move |l| (id.as_str(), &*l.execution)))
    }
}
