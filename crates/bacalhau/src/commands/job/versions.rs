//! `job versions`.

use super::JobArg;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::list::{self, Field, ListArgs};
use crate::output::table::Column;
use crate::output::text::date_time;
use bacalhau_model::Job;

/// Flags of `job versions`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  bacalhau job versions my-job")]
pub(crate) struct VersionsArgs {
    #[command(flatten)]
    job: JobArg,
    #[command(flatten)]
    list: ListArgs,
}

/// Lists the versions of a job. Each is shown with the time at which it was submitted; where an older orchestrator does
/// not tell, with the time at which it was last changed.
pub(super) async fn run(context: &Context, args: VersionsArgs) -> Outcome {
    let page = context.client()?.versions(&args.job.job, &args.job.namespace).await?;
    let fields = [
        Field::new(Column::new("created at"), |job: &Job| {
            date_time(job.submitted_at().unwrap_or(job.modify_time))
        }),
        Field::new(Column::new("job version"), |job: &Job| job.version.to_string()),
    ];
    list::print(&context.out, &args.list, &page.items, &fields)
}
