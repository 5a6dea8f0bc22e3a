//! Waits for a job to end and shows nothing meanwhile.

use super::watch::{Ended, Show, watch};
use crate::failure::Failure;
use crate::output::Out;
use bacalhau_api::client::Client;
use bacalhau_model::{Job, JobType};
use std::time::Duration;

/// How waiting ended.
pub(crate) enum End {
    /// The job has ended, or runs if it is one that never ends.
    Job(Box<Job>),
    /// The job runs as before: its rolling update failed.
    WentBack(Box<Job>),
    /// The time is over.
    TimedOut,
    /// The user does not want to wait any longer.
    Cancelled,
}

/// Waits until the job with this ID has ended, at most for `limit`.
pub(crate) async fn end(
    client: &Client,
    out: &Out,
    id: &str,
    job_type: Option<JobType>,
    limit: Option<Duration>,
) -> Result<End, Failure> {
    let long_running = job_type.is_some_and(JobType::is_long_running);
    Ok(match watch(client, out, id, long_running, Show::default(), limit).await? {
        Ended::Job(job) => End::Job(job),
        Ended::WentBack(job) => End::WentBack(job),
        Ended::TimedOut => End::TimedOut,
        Ended::Cancelled => End::Cancelled,
    })
}
