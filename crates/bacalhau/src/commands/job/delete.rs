//! `job delete`.

use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Flags of `job delete`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Deletes the record of each job: all versions, executions and history. Published results stay where they are.\n\nExamples:\n  bacalhau job delete j-51225160\n  bacalhau job delete my-job my-other-job --namespace team"
)]
pub(crate) struct DeleteArgs {
    /// Finished jobs: name, ID or unique beginning of an ID
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
    /// Namespace in which names are looked up
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    namespace: String,
    /// Print nothing, not even errors
    #[arg(long)]
    quiet: bool,
}

/// Deletes jobs, each as if it were the only one. Fails if any of them stays.
pub(super) async fn run(context: &Context, args: DeleteArgs) -> Outcome {
    let client = context.client()?;
    let mut failed = false;
    for job in &args.jobs {
        match client.delete(job, &args.namespace).await {
            Ok(_) if args.quiet => {}
            Ok(deleted) => context.out.line(&format!("Deleted job {}", deleted.job_id))?,
            Err(error) => {
                failed = true;
                if !args.quiet {
                    context.out.error(&error);
                }
            }
        }
    }
    if failed { Err(Failure::Exit(1)) } else { Ok(()) }
}
