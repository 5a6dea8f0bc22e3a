//! What the core keeps in memory of one job that is not finished.

use super::partitions::Unplaced;
use bacalhau_model::Resources;
use bacalhau_model::execution::{ComputeState, Execution};
use bacalhau_model::job::{Job, JobType};
use bacalhau_store::orchestrator::PendingMessage;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An execution that may still change.
#[derive(Clone, Debug)]
pub struct Live {
    /// The record, without its job.
    pub execution: Execution,
    /// Set aside on the node for it.
    pub reserved: Resources,
    /// Message the node has not acknowledged.
    pub pending: Option<PendingMessage>,
    /// When the current phase is overdue, nanoseconds since 1970; `i64::MAX` when it has no limit.
    pub deadline: i64,
}

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
    /// Executions that may still change, by ID.
    pub live: BTreeMap<String, Live>,
    /// No deadline of a live execution is earlier. Whoever sets one says so with [`JobEntry::note_deadline`].
    pub next_deadline: i64,
    /// Partitions without a live or completed execution. Empty for ops and daemon jobs.
    pub unplaced: Unplaced,
    /// Executions of this version that completed.
    pub completed: i64,
    /// Failed attempts of this version by node and partition.
    pub failures: BTreeMap<(String, i64), u32>,
    /// Nodes that refused this version.
    pub refused: BTreeSet<String>,
    /// Nodes that ever had an execution of this version.
    pub used: BTreeSet<String>,
    /// Some execution of this version failed.
    pub any_failed: bool,
}

impl JobEntry {
    /// A job without executions. `None` when the job's type or resources cannot be read; validation prevents it.
    pub fn new(job: Arc<Job>, next_history_seq: u64, version_started: i64) -> Option<JobEntry> {
        let job_type = job.job_type()?;
        let request = job.task()?.resources.parse().ok()?;
        let unplaced = Unplaced::all(if job_type.is_on_all_nodes() { 0 } else { job.count });
        Some(JobEntry {
            job,
            job_type,
            request,
            version_started,
            queued_since: None,
            next_history_seq,
            live: BTreeMap::new(),
            next_deadline: i64::MAX,
            unplaced,
            completed: 0,
            failures: BTreeMap::new(),
            refused: BTreeSet::new(),
            used: BTreeSet::new(),
            any_failed: false,
        })
    }

    /// Takes over the executions found in the store.
    pub fn restore(&mut self, executions: Vec<(Execution, Option<PendingMessage>)>) {
        let mut taken = BTreeSet::new();
        for (execution, pending) in executions {
            let current = execution.job_version == self.job.version;
            if current {
                self.used.insert(execution.node_id.clone());
            }
            if !execution.is_terminal() {
                taken.insert(execution.partition_index);
                self.live.insert(
                    execution.id.clone(),
                    Live { reserved: self.request.clone(), pending, deadline: i64::MAX, execution },
                );
            } else if current {
                if execution.compute_state.state_type == ComputeState::Completed {
                    taken.insert(execution.partition_index);
                }
                self.count_end(&execution);
            }
        }
        if !self.job_type.is_on_all_nodes() {
            self.unplaced = Unplaced::without(self.job.count, &taken);
        }
    }

    /// A live execution has this deadline. Removing or postponing one need not be said: looking too early is harmless.
    pub fn note_deadline(&mut self, deadline: i64) {
        self.next_deadline = self.next_deadline.min(deadline);
    }

    /// Looks at every live execution for the earliest deadline.
    pub fn find_deadline(&mut self) {
        self.next_deadline = self.live.values().map(|live| live.deadline).min().unwrap_or(i64::MAX);
    }

    /// Remembers a new execution.
    pub fn add(&mut self, live: Live) {
        self.note_deadline(live.deadline);
        self.unplaced.take(live.execution.partition_index);
        self.used.insert(live.execution.node_id.clone());
        self.live.insert(live.execution.id.clone(), live);
    }

    /// Moves a finished execution from the live ones into the summary.
    pub fn end(&mut self, execution_id: &str) -> Option<Live> {
        let live = self.live.remove(execution_id)?;
        if live.execution.job_version == self.job.version {
            self.count_end(&live.execution);
            if live.execution.compute_state.state_type != ComputeState::Completed {
                self.unplaced.give_back(live.execution.partition_index);
            }
        }
        Some(live)
    }

    fn count_end(&mut self, execution: &Execution) {
        match execution.compute_state.state_type {
            ComputeState::Completed => self.completed += 1,
            ComputeState::AskForBidRejected => {
                self.refused.insert(execution.node_id.clone());
            }
            ComputeState::Failed => {
                self.any_failed = true;
                let key = (execution.node_id.clone(), execution.partition_index);
                *self.failures.entry(key).or_default() += 1;
            }
            _ => {}
        }
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
