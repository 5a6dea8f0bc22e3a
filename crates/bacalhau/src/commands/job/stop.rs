//! `job stop`.

use super::JobArg;
use crate::context::Context;
use crate::failure::{Failure, Outcome, fail};
use bacalhau_api::client::{Client, JobQuery};
use bacalhau_model::{Error, Job, JobState};
use std::future::Future;
use tokio::time::Instant;

/// What the history says about who stopped the job.
const REASON: &str = "Stopped at user request";
/// Width of the longest step.
const WIDTH: usize = 21;

/// Flags of `job stop`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  bacalhau job stop j-51225160")]
pub(crate) struct StopArgs {
    #[command(flatten)]
    job: JobArg,
    /// Print nothing, not even errors
    #[arg(long)]
    quiet: bool,
}

/// Stops a job.
pub(super) async fn run(context: &Context, args: StopArgs) -> Outcome {
    match stop(context, &args).await {
        Err(Failure::Error(_)) if args.quiet => Err(Failure::Exit(1)),
        done => done,
    }
}

async fn stop(context: &Context, args: &StopArgs) -> Outcome {
    let steps = Steps { context, quiet: args.quiet };
    steps.line("Checking job status\n")?;
    let client = steps.step("Connecting to network", async { context.client() }).await?;
    let job = steps.step("Verifying job state", verify(&client, &args.job)).await?;
    let id = job.id;
    let stopped = steps.step("Stopping job", client.stop(&id, &args.job.namespace, REASON)).await?;
    steps
        .line(&format!("\nJob stop successfully submitted with evaluation ID: {}", stopped.evaluation_id))?;
    match job.schedule {
        Some(_) => steps.line("The schedule makes no more runs. Runs that are under way go on."),
        None => Ok(()),
    }
}

/// A job that can still be stopped.
async fn verify(client: &Client, job: &JobArg) -> Result<Job, Error> {
    let query = JobQuery { namespace: job.namespace.clone(), ..JobQuery::default() };
    let found = client.job(&job.job, &query).await?.job;
    let state = found.state.state_type;
    if matches!(state, JobState::Completed | JobState::Failed | JobState::Stopped) {
        return Err(fail(format!("Job is already in a terminal state.\nThe current state is: {state}")));
    }
    Ok(found)
}

struct Steps<'a> {
    context: &'a Context,
    quiet: bool,
}

impl Steps<'_> {
    fn line(&self, text: &str) -> Outcome {
        if self.quiet { Ok(()) } else { self.context.out.line(text) }
    }

    /// Does a step and tells how it went and how long it took.
    async fn step<T>(&self, name: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        let out = &self.context.out;
        let start = Instant::now();
        if out.terminal && !self.quiet {
            out.raw(format!("\t{name:>WIDTH$}  ...").as_bytes())?;
        }
        let done = work.await;
        let status = if done.is_ok() { "done ✅" } else { "err  ❌" };
        let erase = if out.terminal && !self.quiet { "\r\u{1b}[K" } else { "" };
        let seconds = start.elapsed().as_secs_f64();
        self.line(&format!("{erase}\t{name:>WIDTH$}  ................  {status}  {seconds:.1}s"))?;
        Ok(done?)
    }
}
