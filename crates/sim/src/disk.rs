//! Models of the two stores: what survives a crash.

use bacalhau_model::execution::Execution;
use bacalhau_model::{Event, Job, NodeState};
use bacalhau_store::compute::{Change as ComputeChange, PendingReport, StoredExecution};
use bacalhau_store::orchestrator::{Change, PendingMessage, Snapshot, StoredJob};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The orchestrator's disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrchestratorDisk {
    pub(crate) jobs: BTreeMap<String, Arc<Job>>,
    pub(crate) executions: BTreeMap<String, (Execution, Option<PendingMessage>)>,
    history: BTreeMap<String, u64>,
    nodes: BTreeMap<String, NodeState>,
}

impl OrchestratorDisk {
    /// Applies one change. An impossible one is an error of the core.
    pub(crate) fn apply(&mut self, change: Change) -> Result<(), String> {
        match change {
            Change::PutJob(job) => {
                self.jobs.insert(job.id.clone(), job);
            }
            Change::PutExecution { execution, pending } => {
                self.executions.insert(execution.id.clone(), (execution, pending));
            }
            Change::AppendHistory(line) => {
                let last = self.history.entry(line.job_id.clone()).or_default();
                if line.seq_num != *last + 1 {
                    return Err(format!("history of {} goes from {last} to {}", line.job_id, line.seq_num));
                }
                *last = line.seq_num;
            }
            Change::PutNode(node) => {
                self.nodes.insert(node.info.node_id.clone(), node);
            }
            Change::DeleteNode(id) => {
                self.nodes.remove(&id);
            }
            other => return Err(format!("a change the simulation does not know: {other:?}")),
        }
        Ok(())
    }

    /// What a starting orchestrator reads.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let active = |id: &str| self.jobs.get(id).is_some_and(|job| !job.is_terminal());
        Snapshot {
            jobs: self.jobs.values().filter(|job| !job.is_terminal()).map(|job| self.stored(job)).collect(),
            executions: self
                .executions
                .values()
                .filter(|(execution, pending)| active(&execution.job_id) || pending.is_some())
                .cloned()
                .collect(),
            nodes: self.nodes.values().cloned().collect(),
        }
    }

    /// A job with its place in the history.
    pub(crate) fn stored(&self, job: &Arc<Job>) -> StoredJob {
        let next_history_seq = self.history.get(&job.id).copied().unwrap_or(0) + 1;
        StoredJob { job: (**job).clone(), next_history_seq, previous: None }
    }
}

/// A record of the compute node's store.
type ComputeRecord = (Execution, Option<PendingReport>, Option<Event>);

/// A compute node's disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct ComputeDisk {
    executions: BTreeMap<String, ComputeRecord>,
}

impl ComputeDisk {
    /// Applies one change.
    pub(crate) fn apply(&mut self, change: ComputeChange) {
        match change {
            ComputeChange::PutExecution { execution, pending, event } => {
                self.executions.insert(execution.id.clone(), (*execution, pending, event));
            }
            ComputeChange::Forget(id) => {
                self.executions.remove(&id);
            }
        }
    }

    /// What a starting node reads.
    pub(crate) fn load(&self) -> Vec<StoredExecution> {
        let records = self.executions.values().cloned();
        records.map(|(execution, pending, event)| StoredExecution { execution, pending, event }).collect()
    }
}
