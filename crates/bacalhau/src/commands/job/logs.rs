//! `job logs`.

use super::JobArg;
use crate::context::Context;
use crate::failure::Outcome;
use bacalhau_api::client::LogQuery;

/// Flags of `job logs`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau job logs j-51225160\n  \
    bacalhau job logs my-job --follow\n  \
    bacalhau job logs my-job --execution-id e-6e4f2db9-0f2c-4b7c-9a55-7d2f0c1f6b1e\n\n\
    What the job writes to its standard error goes to standard error.")]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    job: JobArg,
    /// Full ID of the execution [default: the one that changed last]
    #[arg(long, short = 'e', value_name = "ID", default_value = "", hide_default_value = true)]
    execution_id: String,
    /// Go on until the execution ends
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only what is printed from now on
    #[arg(long, short = 't')]
    tail: bool,
    /// Version of the job; 0 for the latest
    #[arg(long, short = 'v', value_name = "N", default_value_t = 0)]
    version: u64,
}

/// Shows the output of one execution.
pub(super) async fn run(context: &Context, args: LogsArgs) -> Outcome {
    let query = LogQuery {
        namespace: args.job.namespace.clone(),
        version: args.version,
        execution_id: args.execution_id.clone(),
        tail: args.tail,
        follow: args.follow,
    };
    let mut stream = context.client()?.logs(&args.job.job, &query).await?;
    while let Some(line) = stream.next().await {
        let line = line?;
        crate::progress::print_log(&context.out, line.is_stderr, &line.text)?;
    }
    Ok(())
}
