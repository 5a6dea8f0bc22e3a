//! Models of the two stores: what survives a crash.

use bacalhau_model::event::detail;
use bacalhau_model::execution::Execution;
use bacalhau_model::job::meta;
use bacalhau_model::{Event, Job, JobState, NodeState};
use bacalhau_orchestrator::core::{Reference, Tidy};
use bacalhau_store::compute::{Change as ComputeChange, PendingReport, StoredExecution};
use bacalhau_store::orchestrator::{Change, Excess, PendingMessage, Snapshot, StoredJob};
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
    /// Executions in the order in which they were made.
    made: Vec<String>,
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

    /// What housekeeping would delete of it when so much is kept: executions of former versions that are over, the
    /// oldest first, and lines of history.
    fn excess(&self, executions: usize, history: u64) -> Option<Excess> {
        let job = self.latest().filter(|job| !job.is_terminal())?;
        let kept = job.kept_versions();
        let may_go = |(e, pending): &&OrchestratorRecord| {
            e.is_terminal() && pending.is_none() && !kept.contains(&e.job_version)
        };
        let old = self.made.iter().filter_map(|id| self.executions.get(id)).filter(may_go);
        let old: Vec<String> = old.map(|(e, _)| e.id.clone()).collect();
        let surplus = old.len().saturating_sub(executions);
        let executions: Vec<String> = old.into_iter().take(surplus).collect();
        let history_before = (self.last_history + 1).saturating_sub(history);
        (!executions.is_empty()).then(|| Excess { job_id: job.id.clone(), executions, history_before })
    }

    fn stored(&self) -> Option<StoredJob> {
        let job = (**self.latest()?).clone();
        let previous = self.rolls_from(&job);
        let earlier = self.live().map(|e| e.job_version).filter(|v| previous.is_some() && *v != job.version);
        let earlier: BTreeSet<u64> = earlier.collect();
        let replaced =
            earlier.iter().filter_map(|v| self.versions.get(v)).map(|job| (**job).clone()).collect();
        Some(StoredJob { job, next_history_seq: self.last_history + 1, previous, replaced })
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
    /// Executions of deleted jobs whose node has yet to acknowledge their cancellation.
    promised: BTreeMap<String, OrchestratorRecord>,
    /// Executions that were ever made.
    made: usize,
}

impl OrchestratorDisk {
    /// Applies one change. An impossible one is an error of the core.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::PutJob(job) => {
                let by_name = Reference::Named { namespace: job.namespace.clone(), name: job.name.clone() };
                if let Some(other) = self.look_up(&by_name).filter(|other| other.id != job.id) {
                    return Err(format!("{} and {} are both named {}", job.id, other.id, job.name));
                }
                let file = self.jobs.entry(job.id.clone()).or_default();
                let last = file.versions.last_key_value().map_or(0, |(version, _)| *version);
                if job.version != last && job.version != last + 1 {
                    return Err(format!("version of {} goes from {last} to {}", job.id, job.version));
                }
                file.versions.insert(job.version, Arc::clone(job));
            }
            Change::PutExecution { execution, pending } if self.promised.contains_key(&execution.id) => {
                match pending {
                    None => self.promised.remove(&execution.id),
                    Some(_) => {
                        self.promised.insert(execution.id.clone(), (Execution::clone(execution), *pending))
                    }
                };
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
                if self.owner.insert(id.clone(), execution.job_id.clone()).is_none() {
                    self.made += 1;
                    file.made.push(id.clone());
                }
                file.executions.insert(id, (Execution::clone(execution), *pending));
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
            Change::DeleteJob(id) => self.delete_job(id)?,
            Change::DeleteExecutions(ids) => ids.iter().try_for_each(|id| self.delete_execution(id))?,
            Change::DeleteHistory { job_id, before } => {
                let last = self.jobs.get(job_id).map_or(0, |file| file.last_history);
                if *before > last + 1 {
                    return Err(format!("history of {job_id} up to {before} is deleted, it ends at {last}"));
                }
            }
            // The core makes no events, its shell does.
            Change::AppendEvents { .. } => {}
        }
        Ok(())
    }

    /// Only what is over and not waited for is deleted; promises to nodes outlive it.
    fn delete_job(&mut self, id: &str) -> Result<(), String> {
        let Some(file) = self.jobs.remove(id) else { return Err(format!("unknown job {id} is deleted")) };
        if !file.is_final() {
            return Err(format!("{id} is deleted before its end"));
        }
        if let Some(waiter) =
            self.jobs.values().find(|other| other.latest().is_some_and(|job| waits_for(job, id)))
        {
            let waiter = waiter.latest().map_or("", |job| &job.id);
            return Err(format!("{id} is deleted while {waiter} waits for its end"));
        }
        for (execution_id, (mut execution, pending)) in file.executions {
            self.owner.remove(&execution_id);
            if pending.is_some() {
                execution.job_id.clear();
                execution.namespace.clear();
                self.promised.insert(execution_id, (execution, pending));
            }
        }
        Ok(())
    }

    fn delete_execution(&mut self, id: &str) -> Result<(), String> {
        // Found twice, because the first deletion was still on its way.
        let Some(file) = self.owner.get(id).and_then(|job| self.jobs.get_mut(job)) else { return Ok(()) };
        if file.open.contains(id) {
            return Err(format!("execution {id} is deleted before its end, or before its node knows of it"));
        }
        self.owner.remove(id);
        file.executions.remove(id);
        file.made.retain(|made| made != id);
        Ok(())
    }

    /// What housekeeping finds: the finished job that ended first, and what some unfinished job has too much of.
    pub(crate) fn too_much(&self) -> Tidy {
        let finished = self.jobs.values().filter(|file| file.is_final()).filter_map(JobFile::latest);
        let first = finished.min_by_key(|job| job.modify_time);
        let excess = self.jobs.values().find_map(|file| file.excess(2, 5));
        Tidy { jobs: first.map(|job| job.id.clone()).into_iter().collect(), excess }
    }

    /// One execution.
    pub(crate) fn execution(&self, id: &str) -> Option<&OrchestratorRecord> {
        let owned = self.owner.get(id).and_then(|job| self.jobs.get(job)?.executions.get(id));
        owned.or_else(|| self.promised.get(id))
    }

    /// What a starting orchestrator reads.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot { nodes: self.nodes.values().cloned().collect(), ..Snapshot::default() };
        snapshot.executions.extend(self.promised.values().cloned());
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
        let is_it = |job: &Arc<Job>| job.namespace == namespace && job.name == name;
        self.jobs.values().find(|file| file.latest().is_some_and(is_it))?.stored()
    }

    /// Executions that were ever made.
    pub(crate) fn executions(&self) -> usize {
        self.made
    }

    /// What the core asked for.
    pub(crate) fn look_up(&self, reference: &Reference) -> Option<&Job> {
        match reference {
            Reference::Id(id) => self.jobs.get(id)?.latest().map(Arc::as_ref),
            Reference::Named { namespace, name } => {
                let mut jobs = self.jobs.values().filter_map(JobFile::latest);
                jobs.find(|job| job.namespace == *namespace && job.name == *name).map(Arc::as_ref)
            }
        }
    }
}

/// Details of the state of a job that waits for others, as the core writes them.
const ENDED: &str = "DependenciesEnded";
const RELEASED: &str = "DependenciesEndedAt";

/// IDs of the jobs that an unfinished job still waits for.
pub(crate) fn waited_for(job: &Job) -> impl Iterator<Item = &str> {
    let details = &job.state.details;
    let waits = !job.depends_on.is_empty()
        && job.state.state_type == JobState::Pending
        && !details.contains_key(RELEASED);
    let ended = details.get(ENDED).map_or("", String::as_str);
    depends_on(job).filter(move |id| waits && !ended.split(' ').any(|other| other == *id))
}

/// IDs of the jobs that a job depends on.
pub(crate) fn depends_on(job: &Job) -> impl Iterator<Item = &str> {
    let ids = job.meta.get(meta::DEPENDS_ON).filter(|_| !job.depends_on.is_empty());
    ids.map_or("", String::as_str).split(' ').filter(|id| !id.is_empty())
}

fn waits_for(job: &Job, id: &str) -> bool {
    waited_for(job).any(|other| other == id)
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
