//! `job rerun`.

use super::JobArg;
use crate::context::Context;
use crate::failure::Outcome;
use crate::progress::{RunArgs, after_submission};
use bacalhau_api::client::JobQuery;
use bacalhau_model::{Job, JobType};

/// Flags of `job rerun`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bacalhau job rerun my-job\n  bacalhau job rerun my-job --version 2 --follow"
)]
pub(crate) struct RerunArgs {
    #[command(flatten)]
    job: JobArg,
    /// Version to run again; 0 for the latest
    #[arg(long, short = 'v', value_name = "N", default_value_t = 0)]
    version: u64,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs a job again and follows it.
pub(super) async fn run(context: &Context, args: RerunArgs) -> Outcome {
    let client = context.client()?;
    let answer = client.rerun(&args.job.job, &args.job.namespace, args.version).await?;
    let details = client.job(&answer.job_id, &JobQuery::default()).await?;
    if details.job.schedule.is_some() {
        return super::related::tell_schedule(context, &client, &details.job.id, &args.run).await;
    }
    let long_running = is_long_running(&details.job);
    after_submission(&client, &context.out, &answer.job_id, &answer.warnings, long_running, &args.run).await
}

/// Service and daemon jobs never end by themselves.
fn is_long_running(job: &Job) -> bool {
    job.job_type().is_some_and(JobType::is_long_running)
}
