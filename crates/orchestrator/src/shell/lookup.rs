//! What the core asks about finished jobs before a step, looked up in the store. See [`crate::core::Reference`].

use crate::core::{Core, Reference};
use bacalhau_model::Job;
use bacalhau_store::StoreError;
use bacalhau_store::orchestrator::Reader;

/// Before a job is submitted: the jobs it depends on.
pub(super) fn for_submission(core: &mut Core, reader: &Reader, job: &Job) -> Result<(), StoreError> {
    answer(core, reader, |core| core.unknown_to_submit(job))
}

/// Before a version of a job is run again: the jobs it depends on.
pub(super) fn for_rerun(core: &mut Core, reader: &Reader, spec: &Job) -> Result<(), StoreError> {
    answer(core, reader, |core| core.unknown_to_rerun(spec))
}

/// Before any step: the names of runs that are due in it.
pub(super) fn for_runs(core: &mut Core, reader: &Reader, now: i64) -> Result<(), StoreError> {
    answer(core, reader, |core| core.unknown_runs(now))
}

/// Looks up until the core asks for nothing more. It never asks twice, and not without end.
fn answer(
    core: &mut Core,
    reader: &Reader,
    unknown: impl Fn(&Core) -> Vec<Reference>,
) -> Result<(), StoreError> {
    loop {
        let wanted = unknown(core);
        if wanted.is_empty() {
            return Ok(());
        }
        for reference in wanted {
            let found = match &reference {
                Reference::Named { namespace, name } => reader.find_job_by_name(namespace, name)?,
                Reference::Id(id) => reader.stored_job(id)?,
            };
            core.learn(reference, found.as_ref().map(|stored| &stored.job));
        }
    }
}
