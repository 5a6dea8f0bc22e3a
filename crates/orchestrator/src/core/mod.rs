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
mod cancelled;
mod control;
mod crash_loop;
mod create;
mod depends;
mod drain;
mod end;
mod entry;
mod evaluate;
mod everywhere;
mod explain;
mod fleet;
mod hold;
mod io;
mod live;
mod node;
mod nodes;
mod partitioned;
mod partitions;
mod place;
mod progress;
mod ranges;
mod record;
mod related;
mod report;
mod restore;
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
mod view;
mod visit;
mod waiting;
mod wake;

pub use calendar::Calendar;
pub use io::{Effect, Handshake, Input, NodeAction, Output, Reply, Rerun, Submitted};
pub use related::Reference;
pub use retention::{Retention, Tidy};
pub use settings::{SECOND, Settings};
pub use view::Census;

pub(crate) use schedule::largest_run;
pub(crate) use submit::same_type;

use cancelled::Cancellations;
use entry::JobEntry;
use hold::Hold;
use nodes::Nodes;
use related::Related;
use seeded::{Map, SeededMap, seeded_map};
use std::collections::{BTreeMap, BTreeSet};
use timers::{Due, Timers};
use waiting::Waiting;

/// The core. One per orchestrator.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    random: fastrand::Rng,
    /// Unfinished jobs, and finished ones until their end is on disk.
    jobs: SeededMap<String, Box<JobEntry>>,
    /// (namespace, name) to ID of the jobs in memory.
    names: Map<(String, String), String>,
    /// Unfinished jobs that run on all nodes.
    everywhere: BTreeSet<String>,
    /// Daemons to look at before the step ends, with the nodes that it is about.
    visits: BTreeMap<String, BTreeSet<String>>,
    /// Live execution to its job.
    owner: Map<String, String>,
    nodes: Nodes,
    cancelled: Cancellations,
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
            jobs: seeded_map(seed),
            names: Map::default(),
            everywhere: BTreeSet::new(),
            visits: BTreeMap::new(),
            owner: Map::default(),
            nodes: Nodes::default(),
            cancelled: Cancellations::default(),
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

    fn new_id(&mut self, prefix: &str) -> String {
        bacalhau_model::ids::from_random(prefix, self.random.u128(..))
    }
}
