//! Models of the two stores: what survives a crash.

use bacalhau_model::event::detail;
use bacalhau_model::execution::Execution;
use bacalhau_model::job::meta;
use bacalhau_model::{Event, Job, NodeState};
use bacalhau_store::compute::{Change as ComputeChange, PendingReport, StoredExecution};
use bacalhau_store::orchestrator::{Change, PendingMessage, Snapshot, StoredJob};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An execution as the orchestrator stores it.
pub(crate) type OrchestratorRecord = (Execution, Option<PendingMessage>);

/// A job on the orchestrator's disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobFile {
    /// By version; the last one is the latest.
    pub(crate) versions: BTreeMap<u64, Arc<Job>>,
    /// By ID.
    pub(crate) executions: BTreeMap<String, OrchestratorRecord>,
    /// Those that are not final, or that a message is pending for.
    pub(crate) open: BTreeSet<String>,
    /// Number of the last line of its history.
    pub(crate) last_history: u64,
}

impl JobFile {
    /// The latest version.
    pub(crate) fn latest(&self) -> Option<&Arc<Job>> {
        self.versions.last_key_value().map(|(_, job)| job)
    }

    /// True when there is nothing more to do about it.
    pub(crate) fn is_final(&self) -> bool {
        self.latest().is_none_or(|job| job.is_terminal())
    }

    /// Executions that are not over.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Execution> {
        let records = self.open.iter().filter_map(|id| self.executions.get(id));
        records.map(|(execution, _)| execution).filter(|execution| !execution.is_terminal())
    }

    fn stored(&self) -> Option<StoredJob> {
        let job = (**self.latest()?).clone();
        let previous = self.rolls_from(&job);
        Some(StoredJob { job, next_history_seq: self.last_history + 1, previous })
    }

    /// The version that an unfinished rolling update started from.
    fn rolls_from(&self, job: &Job) -> Option<Job> {
        let rolls = !job.is_terminal() && job.state.details.contains_key(detail::ROLLOUT);
        let from = job.meta.get(meta::ROLLS_FROM).filter(|_| rolls)?;
        self.versions.get(&from.parse().ok()?).map(|job| (**job).clone())
    }
}

/// The orchestrator's disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrchestratorDisk {
    pub(crate) jobs: BTreeMap<String, JobFile>,
    /// Execution to its job.
    pub(crate) owner: BTreeMap<String, String>,
    pub(crate) nodes: BTreeMap<String, NodeState>,
}

impl OrchestratorDisk {
    /// Applies one change. An impossible one is an error of the core.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::PutJob(job) => {
                let file = self.jobs.entry(job.id.clone()).or_default();
                let last = file.versions.last_key_value().map_or(0, |(version, _)| *version);
                if job.version != last && job.version != last + 1 {
                    return Err(format!("version of {} goes from {last} to {}", job.id, job.version));
                }
                file.versions.insert(job.version, Arc::clone(job));
            }
            Change::PutExecution { execution, pending } => {
                let Some(file) = self.jobs.get_mut(&execution.job_id) else {
                    return Err(format!("execution {} of unknown job {}", execution.id, execution.job_id));
                };
                let id = execution.id.clone();
                match execution.is_terminal() && pending.is_none() {
                    true => file.open.remove(&id),
                    false => file.open.insert(id.clone()),
                };
                self.owner.insert(id.clone(), execution.job_id.clone());
                file.executions.insert(id, (execution.clone(), *pending));
            }
            Change::AppendHistory(line) => {
                let Some(file) = self.jobs.get_mut(&line.job_id) else {
                    return Err(format!("history of unknown job {}", line.job_id));
                };
                if line.seq_num != file.last_history + 1 {
                    let (id, last) = (&line.job_id, file.last_history);
                    return Err(format!("history of {id} goes from {last} to {}", line.seq_num));
                }
                file.last_history = line.seq_num;
            }
            Change::PutNode(node) => {
                self.nodes.insert(node.info.node_id.clone(), node.clone());
            }
            Change::DeleteNode(id) => {
                self.nodes.remove(id);
            }
            Change::DeleteJob(id) => {
                if let Some(file) = self.jobs.remove(id) {
                    file.executions.keys().for_each(|execution| drop(self.owner.remove(execution)));
                }
            }
            #[allow(unreachable_patterns)]
            other => return Err(format!("a change the simulation does not know: {other:?}")),
        }
        Ok(())
    }

    /// One execution.
    pub(crate) fn execution(&self, id: &str) -> Option<&OrchestratorRecord> {
        self.jobs.get(self.owner.get(id)?)?.executions.get(id)
    }

    /// What a starting orchestrator reads.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot { nodes: self.nodes.values().cloned().collect(), ..Snapshot::default() };
        for file in self.jobs.values() {
            if file.is_final() {
                let open = file.open.iter().filter_map(|id| file.executions.get(id));
                snapshot.executions.extend(open.filter(|(_, pending)| pending.is_some()).cloned());
            } else {
                snapshot.jobs.extend(file.stored());
                snapshot.executions.extend(file.executions.values().cloned());
            }
        }
        snapshot
    }

    /// A job with its place in the history.
    pub(crate) fn stored(&self, id: &str) -> Option<StoredJob> {
        self.jobs.get(id)?.stored()
    }

    /// The stored job of that name.
    pub(crate) fn named(&self, namespace: &str, name: &str) -> Option<StoredJob> {
        let is_it = |job: &&Arc<Job>| job.namespace == namespace && job.name == name;
        self.jobs.values().find(|file| file.latest().is_some_and(|job| is_it(&job)))?.stored()
    }

    /// Executions of all jobs.
    pub(crate) fn executions(&self) -> usize {
        self.owner.len()
    }
}

/// A record of the compute node's store.
pub(crate) type ComputeRecord = (Execution, Option<PendingReport>, Option<Event>);

/// A compute node's disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct ComputeDisk {
    pub(crate) executions: BTreeMap<String, ComputeRecord>,
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
