//! The orchestrator's decisions: a pure state machine.
//!
//! [`Core::step`] takes one input and the time, changes the state in memory and says what to store and what to do.
//! No IO, no clock, no async, and randomness only from a seed, so that a simulator can drive it. Everything that
//! must survive a restart is in the changes; [`Core::restore`] builds the same state from the store again.

mod absence;
mod adopt;
mod audit;
mod backoff;
mod bits;
mod calendar;
mod control;
mod crash_loop;
mod create;
mod depends;
mod drain;
mod end;
mod entry;
mod evaluate;
mod everywhere;
#[cfg(test)]
mod expectations;
mod explain;
mod fleet;
mod hold;
mod io;
mod live;
mod nodes;
mod partitioned;
mod partitions;
mod place;
mod progress;
#[cfg(test)]
mod properties;
mod ranges;
mod record;
mod related;
#[cfg(test)]
mod related_tests;
mod report;
mod retention;
mod rollout;
mod schedule;
mod seeded;
mod settings;
mod submit;
mod suitable;
mod tenants;
#[cfg(test)]
mod tests;
mod timers;
mod versions;
mod visit;
mod waiting;
mod wake;

pub use calendar::Calendar;
pub use io::{Effect, Handshake, Input, NodeAction, Output, Reply, Rerun, Submitted};
pub use related::Reference;
pub use retention::{Retention, Tidy};
pub use settings::{SECOND, Settings};

pub(crate) use schedule::largest_run;

use bacalhau_model::execution::Execution;
use bacalhau_model::{Connection, Event, Job, JobState, NodeState};
use bacalhau_store::orchestrator::{PendingMessage, Snapshot};
use bacalhau_wire::messages::{self, OrchestratorMessage};
use entry::JobEntry;
use hold::Hold;
use nodes::{NodeEntry, Nodes};
use related::Related;
use seeded::Seeded;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use timers::{Due, Timers};
use waiting::Waiting;

/// A stopped execution whose node has not acknowledged the cancellation.
#[derive(Debug)]
struct Cancelled {
    execution: Execution,
    reason: Event,
}

/// The core. One per orchestrator.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    random: fastrand::Rng,
    /// Unfinished jobs, and finished ones until their end is on disk.
    jobs: HashMap<String, Box<JobEntry>, Seeded>,
    /// (namespace, name) to ID of the jobs in memory.
    names: HashMap<(String, String), String>,
    /// Unfinished jobs that run on all nodes.
    everywhere: BTreeSet<String>,
    /// Daemons to look at before the step ends, with the nodes that it is about.
    visits: BTreeMap<String, BTreeSet<String>>,
    /// Live execution to its job.
    owner: HashMap<String, String>,
    nodes: Nodes,
    cancelled: BTreeMap<String, Cancelled>,
    /// Nodes that are being drained and not empty yet.
    draining: BTreeSet<String>,
    waiting: Waiting,
    related: Related,
    hold: Hold,
    timers: Timers,
    /// Until then nodes get more time to come back; see [`Core::notice_absence`].
    lenient_until: i64,
    /// Jobs to look at before the step ends.
    dirty: BTreeSet<String>,
    /// Something happened that may let waiting jobs run.
    wake: bool,
    /// Number of the batch being filled; see [`Core::seal`].
    batch: u64,
    /// Jobs that finished, with the batch that stores it.
    finished: Vec<(u64, String)>,
    /// What was deleted and what ended.
    ledger: retention::Ledger,
}

impl Core {
    /// A core without jobs or nodes. `seed` decides IDs and the spread of equal choices.
    pub fn new(settings: Settings, seed: u64) -> Core {
        Core {
            settings,
            random: fastrand::Rng::with_seed(seed),
            jobs: HashMap::with_hasher(Seeded(seed)),
            names: HashMap::new(),
            everywhere: BTreeSet::new(),
            visits: BTreeMap::new(),
            owner: HashMap::new(),
            nodes: Nodes::default(),
            cancelled: BTreeMap::new(),
            draining: BTreeSet::new(),
            waiting: Waiting::default(),
            related: Related::default(),
            hold: Hold::default(),
            timers: Timers::default(),
            lenient_until: 0,
            dirty: BTreeSet::new(),
            wake: false,
            batch: 0,
            finished: Vec::new(),
            ledger: retention::Ledger::default(),
        }
    }

    /// Takes over what the store holds. Nodes count as disconnected until they shake hands again.
    pub fn restore(&mut self, now: i64, snapshot: Snapshot) {
        for mut state in snapshot.nodes {
            if state.connection_state.status == Connection::Connected {
                nodes::disconnect(&mut state, now, "orchestrator restarted");
            }
            let mut node = NodeEntry::new(state);
            let lose_at = now.saturating_add(self.settings.disconnect_timeout);
            node.lose_work_at = Some(lose_at);
            let node_id = node.state.info.node_id.clone();
            if node.state.drain.as_ref().is_some_and(|drain| drain.finished.is_none()) {
                self.draining.insert(node_id.clone());
            }
            self.timers.set(Due::Node(node_id), node.due());
            self.nodes.insert(node);
        }
        let mut executions: HashMap<String, Vec<(Execution, Option<PendingMessage>)>> = HashMap::new();
        for (execution, pending) in snapshot.executions {
            if execution.is_terminal() && pending.is_some() {
                let reason = record::scheduling(execution.compute_state.message.clone(), now);
                let id = execution.id.clone();
                self.cancelled.insert(id, Cancelled { execution: execution.clone(), reason });
            }
            executions.entry(execution.job_id.clone()).or_default().push((execution, pending));
        }
        for stored in snapshot.jobs {
            self.restore_job(now, stored, &mut executions);
        }
        self.restore_queue(now);
    }

    /// Jobs that waited get their turns again, the oldest first.
    fn restore_queue(&mut self, now: i64) {
        let waiting = self.jobs.values().filter_map(|e| Some((e.queued_since?, e.job.id.clone())));
        let mut waiting: Vec<(i64, String)> = waiting.collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            if let Some(entry) = self.jobs.get(&id) {
                self.waiting.insert(entry, self.may_wait(entry, now), &self.settings);
            }
        }
    }

    fn restore_job(
        &mut self,
        now: i64,
        stored: bacalhau_store::orchestrator::StoredJob,
        executions: &mut HashMap<String, Vec<(Execution, Option<PendingMessage>)>>,
    ) {
        let job = Arc::new(stored.job);
        let found = executions.remove(&job.id).unwrap_or_default();
        // The store keeps no time of submission per version. The first execution of the version is close to it.
        let first =
            found.iter().map(|(e, _)| e).filter(|e| e.job_version == job.version).map(|e| e.create_time);
        let started = match depends::released_at(&job) {
            Some(at) => at,
            None if job.version == 1 && job.depends_on.is_empty() => job.create_time,
            None => first.min().unwrap_or(job.modify_time),
        };
        let queued = job.state.state_type == bacalhau_model::JobState::Queued;
        let queued_since = queued.then_some(job.modify_time);
        let Some(mut entry) = JobEntry::new(Arc::clone(&job), stored.next_history_seq, started) else {
            return;
        };
        entry.queued_since = queued_since;
        entry.restore(found);
        entry.previous = stored.previous.map(Arc::new);
        // What a rolling update has still to replace holds what its own version asked for.
        let request = entry.previous.as_ref().and_then(|job| job.task()?.resources.parse().ok());
        if let Some(request) = request {
            entry.old.set_reserved(&request);
        }
        let settings = &self.settings;
        for set in [&mut entry.live, &mut entry.old] {
            set.set_tells_progress(|node_id| self.nodes.tells_progress(node_id));
            set.set_deadlines(|live| evaluate::deadline(settings, live, &job, now));
        }
        for live in entry.all_live() {
            let execution = &live.execution;
            self.owner.insert(execution.id.clone(), job.id.clone());
            self.nodes.reserve(execution, &live.reserved, entry.job_type.is_long_running());
        }
        self.names.insert((job.namespace.clone(), job.name.clone()), job.id.clone());
        self.related.note(&job);
        self.timers.set(Due::Job(job.id.clone()), Some(now));
        self.jobs.insert(job.id.clone(), Box::new(entry));
    }

    /// Handles one input.
    pub fn step<T>(&mut self, now: i64, input: Input<T>, out: &mut Output<T>) {
        self.notice_absence(now);
        match input {
            Input::Submit { job, stored, id_taken, force, token } => {
                let stored = self.unless_deleted(stored);
                let id_taken = id_taken && !self.is_deleted(&job.id);
                self.submit(now, *job, (stored, id_taken), force, token, out);
            }
            Input::Stop { job_id, reason, stored, token } => {
                let stored = self.unless_deleted(stored);
                self.stop(now, &job_id, &reason, stored, token, out);
            }
            Input::Rerun { job_id, spec, stored, token } => {
                let stored = self.unless_deleted(stored);
                self.rerun(now, &job_id, &spec, stored, token, out)
            }
            Input::Delete { job_id, stored, token } => self.delete(&job_id, stored, token, out),
            Input::Tidy { found, token } => self.tidy(found, token, out),
            Input::Handshake { info, token } => self.handshake(now, *info, token, out),
            Input::Heartbeat { node_id, available, queued, last_orchestrator_seq, token } => {
                self.heartbeat(now, &node_id, (available, queued), last_orchestrator_seq, token, out);
            }
            Input::UpdateNodeInfo { info, token } => self.update_node_info(*info, token, out),
            Input::ShutdownNotice { node_id, tasks_go_on, token } => {
                self.shutdown_notice(now, &node_id, &tasks_go_on, token, out);
            }
            Input::ConnectionLost { node_id } => self.connection_lost(now, &node_id, out),
            Input::Report { node_id, message, seq, token } => {
                self.report(now, &node_id, message, seq, out);
                out.effects.push(Effect::Acknowledge(token));
            }
            Input::Delivered { execution_id, kind } => self.delivered(&execution_id, kind, out),
            Input::UpdateNode { node_id, action, token } => {
                let result = self.update_node(now, &node_id, action, out);
                out.reply(token, Reply::NodeUpdated(result));
            }
            Input::Explain { job, token } => {
                let explanation = self.explain(now, &job);
                out.reply(token, Reply::Explained(explanation));
            }
            Input::ListNodes { token } => {
                let nodes = self.nodes().cloned().collect();
                out.reply(token, Reply::Nodes(nodes));
            }
            Input::Tick => {}
        }
        self.run_timers(now, out);
        self.settle(now, out);
        self.count_drains(now, out);
    }

    /// When to step with [`Input::Tick`] at the latest, nanoseconds since 1970.
    pub fn next_wakeup(&self) -> Option<i64> {
        self.timers.next()
    }

    fn run_timers<T>(&mut self, now: i64, out: &mut Output<T>) {
        while let Some(due) = self.timers.pop(now) {
            match due {
                Due::Job(id) => self.look_at_due(id),
                Due::Node(id) => self.node_due(now, &id, out),
                // What waits is looked at in every step.
                Due::Waiting => {}
            }
        }
    }

    /// Looks at every job that something happened to, then at those that wait for what may have become free.
    fn settle<T>(&mut self, now: i64, out: &mut Output<T>) {
        loop {
            while let Some(job_id) = self.dirty.pop_first() {
                self.visits.remove(&job_id);
                self.evaluate(now, &job_id, out);
            }
            if let Some((job_id, nodes)) = self.visits.pop_first() {
                self.visit(now, &job_id, nodes, out);
                continue;
            }
            if std::mem::take(&mut self.wake) || self.waiting.is_passing() {
                self.wake_waiting(now, out);
                let paused = self.waiting.is_passing();
                if paused && self.dirty.is_empty() {
                    return;
                }
            } else if self.see_to_hold(now) {
                self.wake = true;
            } else {
                return;
            }
        }
    }

    /// Ends a batch: what was stepped since the last call is stored together. Gives the batch its number.
    pub fn seal(&mut self) -> u64 {
        self.related.seal();
        self.batch += 1;
        self.batch - 1
    }

    /// All batches up to this one are on disk: finished jobs of theirs leave the memory.
    pub fn settled(&mut self, batch: u64) {
        let (gone, kept) = std::mem::take(&mut self.finished).into_iter().partition(|(b, _)| *b <= batch);
        self.finished = kept;
        self.ledger.settled(batch);
        let gone: Vec<(u64, String)> = gone;
        for (_, job_id) in gone {
            self.ledger.ends += 1;
            // A job that was run again meanwhile is not finished any more, or finished again in a later batch.
            let again = self.finished.iter().any(|(_, id)| *id == job_id);
            if again || !self.jobs.get(&job_id).is_some_and(|entry| entry.job.is_terminal()) {
                continue;
            }
            if let Some(entry) = self.jobs.remove(&job_id) {
                self.names.remove(&(entry.job.namespace.clone(), entry.job.name.clone()));
            }
        }
    }

    /// ID of the job of that name, if it is in memory.
    pub fn job_named(&self, namespace: &str, name: &str) -> Option<&str> {
        self.names.get(&(namespace.to_owned(), name.to_owned())).map(String::as_str)
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
                let mut execution = live.execution.clone();
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
    pub fn bookings(
        &self,
    ) -> impl Iterator<Item = (&NodeState, &bacalhau_model::Resources, bacalhau_model::Resources)> {
        self.nodes.iter().map(|n| (&n.state, &n.reserved, n.limit(self.settings.oversubscription)))
    }

    /// Live executions as (job, execution), for invariants in tests.
    pub fn live_executions(&self) -> impl Iterator<Item = (&str, &Execution)> {
        self.jobs.iter().flat_map(|(id, e)| e.all_live().map(move |l| (id.as_str(), &l.execution)))
    }

    fn new_id(&mut self, prefix: &str) -> String {
        bacalhau_model::ids::from_random(prefix, self.random.u128(..))
    }
}

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
