//! What must always hold, by name.
//!
//! Jobs and their history, on the orchestrator's disk after every batch:
//! - **J1** an acknowledged submission, update or rerun survives every crash.
//! - **J2** an acknowledged stop survives every crash.
//! - **J3** a final state of a job version is final.
//! - **J4** nothing is live on a job that is over: neither left behind nor placed there.
//! - **J5** versions of a job are dense from 1.
//! - **J6** a name belongs to one job of its namespace; so no due time of a schedule leads to two runs.
//! - **J7** a job starts only when those it depends on have ended.
//! - **J8** of a schedule that does not allow overlapping runs at most one is unfinished.
//! - **J9** only finished jobs that nobody waits for are deleted, and of others only what is over and acknowledged.
//! - **H1** history numbers are dense from 1.
//!
//! Executions, on the orchestrator's disk after every batch, and in its plans after every step:
//! - **E1** at most one live execution per partition of a job, of whatever version (per node for ops and daemon jobs).
//! - **E2** a finished execution stays as it finished; only one that was given up with its node may go on.
//! - **E3** what is set aside on a node never exceeds its limit, what runs never exceeds its capacity.
//! - **E4** live executions of a version never exceed Count, their partitions are below Count, and a partition that
//!   completed is not run again (unless the job was scaled meanwhile).
//! - **E5** work is placed only on nodes that may get it: connected, approved, not cordoned, and with the labels asked for.
//! - **E6** an execution is Completed only when its own engine on its own node ended well.
//! - **E7** the state of a live execution never goes back; only adoption with its node starts it anew.
//! - **E8** an execution is Running or Publishing only when its engine on its own node really started its task.
//!
//! Nodes, at every step of theirs:
//! - **N1** an attempt of a batch or ops job is started at most once (on a node that kept its disk), and no execution
//!   has two engines at once.
//! - **N2** whatever a node was told to run is live on the orchestrator's disk, or its cancellation is stored there
//!   until the node acknowledges it. With E1: of all executions of a partition that run anywhere, at most one is not
//!   being cancelled. That is what fencing guarantees and all that it guarantees: a node that is cut off, or that was not
//!   told yet, or whose engine is still stopping, may run an old attempt beside the new one.
//! - **N3** what a node's core knows is on its disk, whenever nothing is on the way there.
//! - **N4** a node publishes again only what had ended well.
//!
//! Messages:
//! - **D1** an acknowledged report is on the orchestrator's disk.
//! - **D2** after an acknowledged cancellation the node does not run the execution, even if it crashes.
//!
//! Restarts:
//! - **S1** what the orchestrator's core knows equals what a fresh core restored from its disk knows, whenever nothing
//!   is on the way to the disk ([`bacalhau_orchestrator::core::Core::audit`]).
//!
//! The end, with faults off:
//! - **M1** the goal is reached in bounded time: what a node told of its executions is what the orchestrator believes; every batch and ops job is final, or no node has room for what is left of
//!   it; every service has Count executions that run and its rolling update is finished, unless no node has room for
//!   another one; every daemon has one on every matching node with room; connected nodes hold exactly the executions that
//!   are live; drained nodes hold none; no cancellation waits for a connected node; every outbox is empty.
//! - **M2** then it stays so: the goal holds for minutes, and new executions are not made again and again.

use crate::disk::{JobFile, OrchestratorDisk, depends_on};
use bacalhau_model::event::detail;
use bacalhau_model::execution::{ComputeState, Execution};
use bacalhau_model::job::meta;
use bacalhau_model::{JobState, NodeState, Resources};
use bacalhau_store::orchestrator::Change;
use std::collections::{BTreeMap, BTreeSet};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name in this module's list.
    pub name: &'static str,
    /// What was seen.
    pub what: String,
}

/// Something the named invariant forbids.
pub(crate) fn broken<T>(name: &'static str, what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { name, what: what.into() })
}

/// What really happened, whatever anybody believes.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Executions whose engine ended well, with their node.
    pub(crate) completed: BTreeSet<(String, String)>,
    /// Executions whose task ran, with their node.
    pub(crate) running: BTreeSet<(String, String)>,
    /// Executions that were started, with their node; forgotten with the node's disk.
    pub(crate) started: BTreeSet<(String, String)>,
}

/// What an answer to a user promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) job_id: String,
    pub(crate) version: u64,
    /// The version is stopped; otherwise it exists.
    pub(crate) stopped: bool,
}

/// Remembers what was promised and what was final before.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    promises: Vec<Promise>,
    final_jobs: BTreeMap<(String, u64), JobState>,
    /// State, and whether it was given up with its node.
    final_executions: BTreeMap<String, (ComputeState, bool)>,
    /// How far the live ones are.
    reached: BTreeMap<String, ComputeState>,
    /// Jobs of which some version ended.
    ended: BTreeSet<String>,
    /// Jobs, and versions of them, that were seen to start.
    started: BTreeSet<(String, u64)>,
    /// Jobs that were deleted: what was promised of them went with them.
    pub(crate) deleted: BTreeSet<String>,
    /// Runs of schedules.
    pub(crate) runs: BTreeSet<String>,
}

impl Watch {
    /// A user got an answer.
    pub(crate) fn promised(&mut self, promise: Promise, disk: &OrchestratorDisk) -> Result<(), Violation> {
        if self.deleted.contains(&promise.job_id) {
            return Ok(());
        }
        kept(&promise, disk)?;
        self.promises.push(promise);
        Ok(())
    }

    /// A user got an answer that may not be true.
    pub(crate) fn believed(&mut self, promise: Promise) {
        self.promises.push(promise);
    }

    /// Checks every promise, after a crash and at the end.
    pub(crate) fn all_kept(&self, disk: &OrchestratorDisk) -> Result<(), Violation> {
        self.promises.iter().try_for_each(|promise| kept(promise, disk))
    }

    /// Checks what a batch that was just written left on the disk.
    pub(crate) fn written(
        &mut self,
        batch: &[Change],
        disk: &OrchestratorDisk,
        truth: &Truth,
    ) -> Result<(), Violation> {
        let mut touched = BTreeSet::new();
        for change in batch {
            match change {
                Change::DeleteJob(id) => {
                    self.deleted.insert(id.clone());
                    self.promises.retain(|promise| promise.job_id != *id);
                    self.final_jobs.retain(|(job, _), _| job != id);
                    self.started.retain(|(job, _)| job != id);
                }
                Change::PutJob(job) => {
                    touched.insert(job.id.as_str());
                    self.job_state(job.id.clone(), job.version, job.state.state_type)?;
                }
                Change::PutExecution { execution, .. } => {
                    touched.insert(execution.job_id.as_str());
                    self.starts(execution, disk)?;
                    self.execution_state(execution, truth)?;
                }
                _ => {}
            }
        }
        touched.into_iter().filter_map(|id| disk.jobs.get(id)).try_for_each(|file| {
            self.runs(file, disk)?;
            job_file(file)
        })
    }

    /// J7: the first execution of a version.
    fn starts(&mut self, execution: &Execution, disk: &OrchestratorDisk) -> Result<(), Violation> {
        let key = (execution.job_id.clone(), execution.job_version);
        let job = disk.jobs.get(&key.0).and_then(|file| file.versions.get(&key.1));
        let Some(job) = job.filter(|_| self.started.insert(key)) else { return Ok(()) };
        match depends_on(job).find(|id| !self.ended.contains(*id)) {
            Some(other) => broken("J7", format!("{} starts and {other} has never ended", job.id)),
            None => Ok(()),
        }
    }

    /// J8: the runs of the schedule that made this one.
    fn runs(&mut self, file: &JobFile, disk: &OrchestratorDisk) -> Result<(), Violation> {
        let by = |file: &JobFile| file.latest()?.meta.get(meta::SCHEDULED_BY).cloned();
        let Some(schedule) = by(file) else { return Ok(()) };
        self.runs.extend(file.latest().map(|job| job.id.clone()));
        let policy = disk.jobs.get(&schedule).and_then(JobFile::latest).and_then(|job| job.schedule.as_ref());
        let unfinished =
            disk.jobs.values().filter(|other| !other.is_final() && by(other).as_ref() == Some(&schedule));
        if policy.is_some_and(|policy| policy.overlap != "allow") && unfinished.count() > 1 {
            return broken("J8", format!("runs of {schedule} overlap"));
        }
        Ok(())
    }

    fn job_state(&mut self, id: String, version: u64, state: JobState) -> Result<(), Violation> {
        let key = (id, version);
        if let Some(was) = self.final_jobs.get(&key).filter(|was| **was != state) {
            return broken("J3", format!("{key:?} was {was} and is {state}"));
        }
        if state.is_terminal() {
            self.ended.insert(key.0.clone());
            self.final_jobs.insert(key, state);
        }
        Ok(())
    }

    fn execution_state(&mut self, execution: &Execution, truth: &Truth) -> Result<(), Violation> {
        let state = execution.compute_state.state_type;
        if let Some((was, lost)) = self.final_executions.get(&execution.id).filter(|(was, _)| *was != state) {
            let adopted = *lost && !execution.is_terminal();
            if !adopted {
                return broken("E2", format!("{} was {was} and is {state}", execution.id));
            }
            self.final_executions.remove(&execution.id);
        }
        if execution.is_terminal() {
            let lost = execution.compute_state.details.contains_key(detail::NODE_LOST);
            self.final_executions.insert(execution.id.clone(), (state, lost));
        }
        let really = (execution.id.clone(), execution.node_id.clone());
        if execution.is_terminal() {
            self.reached.remove(&execution.id);
        } else if let Some(was) = self.reached.insert(execution.id.clone(), state).filter(|was| *was > state)
        {
            return broken("E7", format!("{} was {was} and is {state}", execution.id));
        }
        let runs = matches!(state, ComputeState::Running | ComputeState::Publishing);
        if runs && !truth.running.contains(&really) {
            return broken("E8", format!("{} is {state}, its engine never started it", execution.id));
        }
        if state == ComputeState::Completed && !truth.completed.contains(&really) {
            return broken("E6", format!("{} is Completed, its engine never ended well", execution.id));
        }
        Ok(())
    }
}

fn kept(promise: &Promise, disk: &OrchestratorDisk) -> Result<(), Violation> {
    let Promise { job_id, version, stopped } = promise;
    let job = disk.jobs.get(job_id).and_then(|file| file.versions.get(version));
    match job.map(|job| job.state.state_type) {
        None => broken("J1", format!("acknowledged version {version} of {job_id} is gone")),
        Some(state) if *stopped && state != JobState::Stopped => {
            broken("J2", format!("version {version} of {job_id} was stopped and is {state}"))
        }
        Some(_) => Ok(()),
    }
}

/// J4, E1 and E4 for one job.
fn job_file(file: &JobFile) -> Result<(), Violation> {
    let Some(job) = file.latest() else { return Ok(()) };
    let everywhere = job.job_type().is_some_and(bacalhau_model::JobType::is_on_all_nodes);
    let mut places = BTreeSet::new();
    for execution in file.live() {
        if job.is_terminal() {
            let (job, state) = (&job.id, job.state.state_type);
            return broken("J4", format!("{} is live on {job}, which is {state}", execution.id));
        }
        // On jobs of all nodes the node takes the place of the partition.
        let node = if everywhere { execution.node_id.as_str() } else { "" };
        if !places.insert((execution.partition_index, node)) {
            let what = format!("two live executions of {} partition {}", job.id, execution.partition_index);
            return broken("E1", what);
        }
    }
    if everywhere { Ok(()) } else { count(file, job) }
}

fn count(file: &JobFile, job: &bacalhau_model::Job) -> Result<(), Violation> {
    let kept = job.kept_versions();
    let current = |e: &&Execution| kept.contains(&e.job_version);
    for execution in file.live().filter(current) {
        let partition = execution.partition_index;
        if !(0..job.count).contains(&partition) {
            return broken(
                "E4",
                format!("partition {partition} of {}, whose Count is {}", job.id, job.count),
            );
        }
    }
    if kept.len() > 1 {
        return Ok(());
    }
    let mut partitions = BTreeSet::new();
    let records = file.executions.values().map(|(execution, _)| execution).filter(current);
    for e in records.filter(|e| !e.is_terminal() || e.compute_state.state_type == ComputeState::Completed) {
        if !partitions.insert(e.partition_index) {
            let what =
                format!("partition {} of {} is done and live, or done twice", e.partition_index, job.id);
            return broken("E4", what);
        }
    }
    Ok(())
}

/// E5 for what one step planned.
pub(crate) fn placed_well<'a>(
    changes: &[Change],
    node: impl Fn(&str) -> Option<&'a NodeState>,
    job: impl Fn(&str) -> Option<&'a std::sync::Arc<bacalhau_model::Job>>,
) -> Result<(), Violation> {
    for change in changes {
        let Change::PutExecution { execution, .. } = change else { continue };
        // The first record of an execution.
        if execution.revision > 1 || execution.compute_state.state_type != ComputeState::New {
            continue;
        }
        let (id, node_id) = (&execution.id, &execution.node_id);
        let Some(node) = node(node_id) else {
            return broken("E5", format!("{id} is placed on {node_id}, which does not exist"));
        };
        if !node.is_schedulable() {
            return broken("E5", format!("{id} is placed on {node_id}, which may get no work"));
        }
        if let Some(job) = job(&execution.job_id)
            && !job.constraints.iter().all(|c| c.is_favour() || c.matches(&node.info.labels))
        {
            let labels = &node.info.labels;
            return broken("E5", format!("{id} of {} is placed on {node_id} with {labels:?}", job.id));
        }
    }
    Ok(())
}

/// E3 for one amount.
pub(crate) fn within(what: &str, used: &Resources, limit: &Resources) -> Result<(), Violation> {
    if used.fits_in(limit) { Ok(()) } else { broken("E3", format!("{what}: {used:?} of {limit:?}")) }
}

/// S1: two audits are the same.
pub(crate) fn same_after_restart(
    goes_on: &BTreeMap<String, String>,
    restored: &BTreeMap<String, String>,
) -> Result<(), Violation> {
    let subjects: BTreeSet<&String> = goes_on.keys().chain(restored.keys()).collect();
    let text = |audit: &BTreeMap<String, String>, subject: &str| {
        audit.get(subject).cloned().unwrap_or_else(|| "nothing".to_owned())
    };
    let differences: Vec<String> = subjects
        .into_iter()
        .map(|subject| (subject, text(goes_on, subject), text(restored, subject)))
        .filter(|(_, memory, store)| memory != store)
        .map(|(subject, memory, store)| format!("{subject}: in memory {memory}; from the store {store}"))
        .collect();
    if differences.is_empty() { Ok(()) } else { broken("S1", differences.join("\n    ")) }
}
