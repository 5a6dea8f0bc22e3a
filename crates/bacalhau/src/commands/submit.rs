//! What `job run`, `docker run` and `wasm run` do with a finished job: check it, print it, submit it, follow it.

use crate::commands::job::tell_schedule;
use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::job_file;
use crate::output::{Out, yaml};
use crate::progress::{RunArgs, after_submission};
use bacalhau_api::client::Client;
use bacalhau_model::{Error, Job, JobType, json};

/// Largest job that reaches a compute node: one NATS message of 1 MiB, less what travels around the job.
const MAX_ENCODED: usize = (1 << 20) - (16 << 10);

/// Prints the job as `--dry-run` shows it.
pub(crate) fn print_dry_run(out: &Out, job: &Job) -> Outcome {
    out.raw(yaml::to_text(&job_file::to_document(job)?).as_bytes())
}

/// Refuses jobs that no compute node could be told about.
pub(crate) fn check_size(job: &Job) -> Result<(), Error> {
    let size = json::to_vec(job).map_err(|e| fail(format!("cannot encode the job: {e}")))?.len();
    if size <= MAX_ENCODED {
        return Ok(());
    }
    Err(fail(format!(
        "the job is too large: {size} bytes when encoded, and at most {MAX_ENCODED} can travel to a compute node"
    ))
    .hint(
        "files given on the command line travel inside the job: put large ones where nodes can fetch them, and name \
         them as s3://bucket/key, https://host/path or file:///path",
    ))
}

/// Submits a job and follows it as the flags say.
pub(crate) async fn submit_and_follow(
    context: &Context,
    client: &Client,
    job: Job,
    force: bool,
    hide_warnings: bool,
    args: &RunArgs,
) -> Outcome {
    check_size(&job)?;
    let answer = client.submit(&job, force).await?;
    let warnings: &[String] = if hide_warnings { &[] } else { &answer.warnings };
    if job.schedule.is_some() {
        if args.wait && !args.id_only {
            context.out.warnings(warnings);
        }
        return tell_schedule(context, client, &answer.job_id, args).await;
    }
    let long_running = job.job_type().is_some_and(JobType::is_long_running);
    after_submission(client, &context.out, &answer.job_id, warnings, long_running, args).await
}
