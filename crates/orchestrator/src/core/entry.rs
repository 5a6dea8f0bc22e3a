//! What the core keeps in memory of one job that is not finished.

use super::backoff::{Failure, Retries, Slot};
use super::live::{Live, LiveSet};
use super::node::NodeEntry;
use super::partitions::Unplaced;
use super::ranges::Ranges;
use super::tenants::Stay;
use bacalhau_model::event::detail;
use bacalhau_model::execution::{ComputeState, Execution};
use bacalhau_model::job::{Job, JobType};
use bacalhau_model::{Resources, RetryPolicy};
use bacalhau_store::orchestrator::PendingMessage;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An unfinished job with its live executions and a summary of the finished ones.
#[derive(Clone, Debug)]
pub struct JobEntry {
    /// Latest version.
    pub job: Arc<Job>,
    /// Its type, parsed.
    pub job_type: JobType,
    /// Resources that one execution asks for.
    pub request: Resources,
    /// When the latest version was submitted, nanoseconds since 1970. Timeouts count from here.
    pub version_started: i64,
    /// Since when it waits for nodes.
    pub queued_since: Option<i64>,
    /// Sequence number of the next history record.
    pub next_history_seq: u64,
    /// Versions whose executions count for this one, itself included.
    pub kept: BTreeSet<u64>,
    /// Executions that may still change.
    pub live: LiveSet,
    /// Live executions of the version that a rolling update replaces.
    pub old: LiveSet,
    /// The version that a rolling update replaces.
    pub previous: Option<Arc<Job>>,
    /// Partitions without a live or completed execution that may be placed now. Empty for ops and daemon jobs.
    pub unplaced: Unplaced,
    /// Partitions that completed. Empty for ops and daemon jobs.
    pub done: Ranges,
    /// Executions that completed.
    pub completed: i64,
    /// Failed attempts by node and partition.
    pub failures: BTreeMap<(String, i64), u32>,
    /// Trouble by partition or node, and who rests after it.
    pub retries: Retries,
    /// Nodes that refused this version.
    pub refused: BTreeSet<String>,
    /// Nodes that ever had an execution of this version.
    pub used: BTreeSet<String>,
}

impl JobEntry {
    /// A job without executions. `None` when the job's type or resources cannot be read; validation prevents it.
    pub fn new(job: Arc<Job>, next_history_seq: u64, version_started: i64) -> Option<JobEntry> {
        let job_type = job.job_type()?;
        let task = job.task()?;
        let request = task.resources.parse().ok()?;
        let usual = job_type.is_long_running().then(RetryPolicy::keep_running);
        let retries = Retries::new(task.retry.clone().or(usual));
        let unplaced = Unplaced::all(if job_type.is_on_all_nodes() { 0 } else { job.count });
        let kept = job.kept_versions();
        Some(JobEntry {
            job,
            job_type,
            request,
            version_started,
            queued_since: None,
            next_history_seq,
            kept,
            live: LiveSet::default(),
            old: LiveSet::default(),
            previous: None,
            unplaced,
            done: Ranges::default(),
            completed: 0,
            failures: BTreeMap::new(),
            retries,
            refused: BTreeSet::new(),
            used: BTreeSet::new(),
        })
    }

    /// Takes over the executions found in the store, in any order.
    pub fn restore(&mut self, mut executions: Vec<(Execution, Option<PendingMessage>)>) {
        // In the order in which they were made. Times say less: the clock may have been set back between two lives.
        let made = |e: &Execution| (e.job_version, e.attempt, e.modify_time);
        executions.sort_by(|(a, _), (b, _)| made(a).cmp(&made(b)).then_with(|| a.id.cmp(&b.id)));
        for (execution, pending) in executions {
            let counts = self.kept.contains(&execution.job_version);
            if counts {
                self.used.insert(execution.node_id.clone());
            }
            if execution.is_terminal() {
                if counts {
                    self.count_end(&execution);
                }
                continue;
            }
            let home = if counts { &mut self.live } else { &mut self.old };
            home.insert(Live::new(execution, self.request.clone(), pending, i64::MAX));
        }
        // An attempt that was adopted may be older than one that failed, so the order alone does not say who rests.
        for slot in self.all_live().map(|live| self.slot(&live.execution)).collect::<Vec<_>>() {
            self.retries.started(&slot);
        }
        for partition in self.done.iter() {
            self.retries.recovered(&Slot::Partition(partition));
        }
        self.recount();
    }

    /// Works out anew which partitions want an execution.
    pub fn recount(&mut self) {
        if self.job_type.is_on_all_nodes() {
            return;
        }
        let live = self.live.values().chain(self.old.values()).map(|live| live.execution.partition_index);
        let resting = (0..self.job.count.min(self.retries.last_partition()))
            .filter(|partition| self.retries.is_resting(&Slot::Partition(*partition)));
        let taken = live.chain(self.done.iter()).chain(resting).collect();
        self.unplaced = Unplaced::without(self.job.count, &taken);
    }

    /// How an execution of the job holds its room.
    pub(crate) fn stay(&self, execution: &Execution) -> Stay {
        match (self.job_type.is_long_running(), execution.start_time > 0) {
            (true, _) => Stay::Lasting,
            (false, true) => Stay::Runs,
            (false, false) => Stay::Waiting,
        }
    }

    /// What one execution of the job is for.
    pub fn slot(&self, execution: &Execution) -> Slot {
        match self.job_type.is_on_all_nodes() {
            true => Slot::Node(execution.node_id.clone()),
            false => Slot::Partition(execution.partition_index),
        }
    }

    /// A live execution of this version or the one that it replaces.
    pub fn live_mut(&mut self, execution_id: &str) -> Option<&mut Live> {
        self.live.get_mut(execution_id).or_else(|| self.old.get_mut(execution_id))
    }

    /// As [`JobEntry::live_mut`], to look at.
    pub fn get_live(&self, execution_id: &str) -> Option<&Live> {
        self.live.get(execution_id).or_else(|| self.old.get(execution_id))
    }

    /// All live executions, of this version and the one that it replaces.
    pub fn all_live(&self) -> impl Iterator<Item = &Live> {
        self.live.values().chain(self.old.values())
    }

    /// How many live executions there are on a node.
    pub fn live_on(&self, node_id: &str) -> usize {
        self.live.on_node(node_id) + self.old.on_node(node_id)
    }

    /// Sets when a live execution is overdue.
    pub fn set_deadline(&mut self, execution_id: &str, deadline: i64) {
        self.live.set_deadline(execution_id, deadline);
        self.old.set_deadline(execution_id, deadline);
    }

    /// The job as the node of a live execution has to know it. `None` for a version in between that a rolling update
    /// did not finish: its executions are on their way out and need not be asked for again.
    pub fn job_of(&self, execution: &Execution) -> Option<&Arc<Job>> {
        let version = execution.job_version;
        if self.kept.contains(&version) {
            return Some(&self.job);
        }
        self.previous.as_ref().filter(|previous| previous.kept_versions().contains(&version))
    }

    /// Remembers a new execution.
    pub fn add(&mut self, live: Live) {
        if !self.job_type.is_on_all_nodes() {
            self.unplaced.take(live.execution.partition_index);
        }
        self.retries.started(&self.slot(&live.execution));
        self.used.insert(live.execution.node_id.clone());
        self.live.insert(live);
    }

    /// Moves a finished execution from the live ones into the summary.
    pub fn end(&mut self, execution_id: &str) -> Option<Live> {
        if let Some(live) = self.live.remove(execution_id) {
            let rests = self.count_end(&live.execution);
            let completed = live.execution.compute_state.state_type == ComputeState::Completed;
            if !completed && !rests && !self.job_type.is_on_all_nodes() {
                self.unplaced.give_back(live.execution.partition_index);
            }
            return Some(live);
        }
        let live = self.old.remove(execution_id)?;
        if !self.job_type.is_on_all_nodes() {
            self.unplaced.give_back(live.execution.partition_index);
        }
        Some(live)
    }

    /// Counts how an execution of this version ended. True when its slot rests now.
    fn count_end(&mut self, execution: &Execution) -> bool {
        let slot = self.slot(execution);
        let attempt = execution.attempt.max(1);
        let started = if execution.start_time > 0 { execution.start_time } else { execution.create_time };
        match execution.compute_state.state_type {
            ComputeState::Completed => {
                self.completed += 1;
                if !self.job_type.is_on_all_nodes() && execution.partition_index < self.job.count {
                    self.done.insert(execution.partition_index);
                }
                self.retries.recovered(&slot);
                return false;
            }
            ComputeState::Failed => {
                let key = (execution.node_id.clone(), execution.partition_index);
                *self.failures.entry(key).or_default() += 1;
                let failure = Failure {
                    attempt,
                    ended: execution.modify_time,
                    ran: execution.modify_time.saturating_sub(started),
                    lost: is_lost(execution),
                    why: &what_went_wrong(execution),
                };
                return self.retries.failed(slot, &failure).is_some();
            }
            ComputeState::AskForBidRejected => {
                self.refused.insert(execution.node_id.clone());
            }
            _ => {}
        }
        // It was made after the failure before it had rested.
        self.retries.started(&slot);
        self.retries.gave_up(slot, attempt);
        false
    }

    /// Lets the slots go on whose rest is over. Gives the nodes among them.
    pub fn wake_rested(&mut self, now: i64) -> Vec<String> {
        let mut nodes = Vec::new();
        for slot in self.retries.rested(now) {
            match slot {
                Slot::Partition(partition) if !self.done.contains(partition) => {
                    self.unplaced.give_back(partition);
                }
                Slot::Partition(_) => {}
                Slot::Node(node_id) => nodes.push(node_id),
            }
        }
        nodes
    }

    /// True when the node has room for one more execution of the job.
    pub(crate) fn fits_on(&self, node: &NodeEntry, oversubscription: f64) -> bool {
        node.has_room(&self.request, self.job_type.is_long_running(), oversubscription)
    }

    /// Seconds limits of the task as nanoseconds; 0 means none.
    pub fn total_timeout(&self) -> i64 {
        self.seconds(|t| t.total_timeout)
    }

    /// How long the job may wait for nodes; 0 means not at all.
    pub fn queue_timeout(&self) -> i64 {
        self.seconds(|t| t.queue_timeout)
    }

    /// How long one execution may take; 0 means no limit.
    pub fn execution_timeout(&self) -> i64 {
        self.seconds(bacalhau_model::Timeouts::execution_limit)
    }

    fn seconds(&self, of: impl Fn(&bacalhau_model::Timeouts) -> i64) -> i64 {
        self.job.task().map_or(0, |task| of(&task.timeouts)).max(0).saturating_mul(super::settings::SECOND)
    }
}

/// Why an execution failed, with its exit code where the message, which users know as it is, leaves that out.
fn what_went_wrong(execution: &Execution) -> Cow<'_, str> {
    let (message, code) = (&execution.compute_state.message, execution.run_output.exit_code);
    match code {
        0 => Cow::Borrowed(message),
        _ if message.contains("exit code") => Cow::Borrowed(message),
        _ => Cow::Owned(format!("{message} (exit code {code})")),
    }
}

/// True for an execution that was given up because its node disappeared.
pub(crate) fn is_lost(execution: &Execution) -> bool {
    execution.compute_state.details.contains_key(detail::NODE_LOST)
}
