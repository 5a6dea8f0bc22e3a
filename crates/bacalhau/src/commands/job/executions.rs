//! `job executions`.

use super::JobArg;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::list::{self, Field, ListArgs, ListFormat, PageArgs};
use crate::output::table::Column;
use crate::output::text::{clock, date_time};
use bacalhau_api::client::ExecutionsQuery;
use bacalhau_model::{Execution, ids};

/// Flags of `job executions`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau job executions j-51225160\n  \
    bacalhau job executions my-job --all-versions --output json\n\n\
    Fields to sort by: created_at, modified_at")]
pub(crate) struct ExecutionsArgs {
    #[command(flatten)]
    job: JobArg,
    /// Version of the job; 0 for the latest
    #[arg(long, short = 'v', value_name = "N", default_value_t = 0)]
    version: u64,
    /// Executions of all versions
    #[arg(long)]
    all_versions: bool,
    /// At most so many executions; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    list: ListArgs,
}

/// Lists the executions of a job.
pub(super) async fn run(context: &Context, args: ExecutionsArgs) -> Outcome {
    let query = ExecutionsQuery {
        namespace: args.job.namespace.clone(),
        version: args.version,
        all_versions: args.all_versions,
        order_by: args.page.order_by.clone(),
        reverse: args.page.order_reversed,
        limit: args.limit,
        next_token: args.page.next_token.clone(),
        without_job: matches!(args.list.output, ListFormat::Table | ListFormat::Csv),
    };
    let page = context.client()?.executions(&args.job.job, &query).await?;
    list::print(&context.out, &args.list, &page.items, &fields())
}

fn fields() -> Vec<Field<Execution>> {
    let time = |nanos: i64, full: bool| if full { date_time(nanos) } else { clock(nanos) };
    let id = |id: &str, full: bool| if full { id.to_owned() } else { ids::short(id).to_owned() };
    vec![
        Field::with_full(Column::new("created"), move |e: &Execution, full| time(e.create_time, full)),
        Field::with_full(Column::new("modified"), move |e: &Execution, full| time(e.modify_time, full)),
        Field::with_full(Column::new("id"), move |e: &Execution, full| id(&e.id, full)),
        Field::new(Column::new("job version"), |e: &Execution| e.job_version.to_string()),
        Field::with_full(Column::new("node id"), move |e: &Execution, full| id(&e.node_id, full)),
        Field::new(Column::new("rev."), |e: &Execution| e.revision.to_string()),
        Field::new(Column::new("state"), |e: &Execution| e.compute_state.state_type.to_string()),
        Field::new(Column::new("desired"), |e: &Execution| e.desired_state.state_type.to_string()),
    ]
}
