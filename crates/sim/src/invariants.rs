//! What must always hold, by name.
//!
//! - **J1** an acknowledged submission survives every crash.
//! - **J3** a final state of a job version is final.
//! - **H1** history numbers are dense from 1.
//! - **E1** at most one live execution per partition of a job version, as the orchestrator knows it.
//! - **E2** a finished execution stays as it finished.
//! - **E3** what is set aside on a node never exceeds its limit, what runs never exceeds its capacity.
//! - **M2** with faults off everything converges: all jobs are final, nothing is live, nothing waits for delivery.

use crate::disk::OrchestratorDisk;
use bacalhau_model::execution::{ComputeState, Execution};
use bacalhau_model::{JobState, Resources};
use std::collections::{BTreeMap, BTreeSet};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name in this module's list.
    pub name: &'static str,
    /// What was seen.
    pub what: String,
}

/// Remembers what was final before.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    acknowledged: BTreeSet<String>,
    final_jobs: BTreeMap<(String, u64), JobState>,
    final_executions: BTreeMap<String, ComputeState>,
}

impl Watch {
    /// A submission was acknowledged to its user.
    pub(crate) fn acknowledge(&mut self, job_id: &str) {
        self.acknowledged.insert(job_id.to_owned());
    }

    /// Checks what is on the orchestrator's disk after a commit.
    pub(crate) fn check(&mut self, disk: &OrchestratorDisk) -> Result<(), Violation> {
        for id in &self.acknowledged {
            if !disk.jobs.contains_key(id) {
                return Err(Violation { name: "J1", what: format!("acknowledged job {id} is gone") });
            }
        }
        for job in disk.jobs.values() {
            let (key, state) = ((job.id.clone(), job.version), job.state.state_type);
            if let Some(was) = self.final_jobs.get(&key).filter(|was| **was != state) {
                return Err(Violation { name: "J3", what: format!("{key:?} was {was} and is {state}") });
            }
            if state.is_terminal() {
                self.final_jobs.insert(key, state);
            }
        }
        let mut live = BTreeSet::new();
        for (execution, _) in disk.executions.values() {
            self.check_execution(execution, disk, &mut live)?;
        }
        Ok(())
    }

    fn check_execution(
        &mut self,
        execution: &Execution,
        disk: &OrchestratorDisk,
        live: &mut BTreeSet<(String, i64, String)>,
    ) -> Result<(), Violation> {
        let state = execution.compute_state.state_type;
        if let Some(was) = self.final_executions.get(&execution.id).filter(|was| **was != state) {
            return Err(Violation { name: "E2", what: format!("{} was {was} and is {state}", execution.id) });
        }
        if execution.is_terminal() {
            self.final_executions.insert(execution.id.clone(), state);
            return Ok(());
        }
        // On jobs of all nodes the node takes the place of the partition.
        let ops = disk.jobs.get(&execution.job_id).is_some_and(|job| job.r#type == "ops");
        let place = if ops { execution.node_id.clone() } else { String::new() };
        if !live.insert((execution.job_id.clone(), execution.partition_index, place)) {
            let what = format!(
                "two live executions of {} partition {}",
                execution.job_id, execution.partition_index
            );
            return Err(Violation { name: "E1", what });
        }
        Ok(())
    }
}

/// E3 for one amount.
pub(crate) fn within(what: &str, used: &Resources, limit: &Resources) -> Result<(), Violation> {
    if used.fits_in(limit) {
        return Ok(());
    }
    Err(Violation { name: "E3", what: format!("{what}: {used:?} of {limit:?}") })
}
