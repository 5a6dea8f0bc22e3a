//! Checks of a job that need no server.

use super::invalid;
use bacalhau_model::{Error, Job, sanitize, validate};
use bacalhau_orchestrator::Calendar;

/// Checks a job as the server will, and gives the warnings it would send.
pub(crate) fn check(mut job: Job) -> Result<Vec<String>, Error> {
    validate::submission(&job).map_err(|problems| invalid(problems.join("\n")))?;
    if let Some(schedule) = &job.schedule {
        Calendar::read(schedule).map_err(|error| invalid(error.message).hint(error.hint))?;
    }
    Ok(sanitize::sanitize(&mut job))
}
