//! `job history`.

use super::JobArg;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::list::{self, Field, ListArgs, PageArgs};
use crate::output::table::{Column, Wrap};
use crate::output::text::date_time;
use crate::progress::Lines;
use bacalhau_api::client::{Client, HistoryQuery, JobQuery};
use bacalhau_model::{HistoryType, JobHistory, ids};

/// Flags of `job history`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau job history j-51225160\n  \
    bacalhau job history my-job --follow\n  \
    bacalhau job history my-job --event-type execution --execution-id e-6e4f2db9")]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    job: JobArg,
    /// Version of the job; 0 for the latest
    #[arg(long, short = 'v', value_name = "N", default_value_t = 0)]
    version: u64,
    /// Events of all versions
    #[arg(long)]
    all_versions: bool,
    /// all, job or execution
    #[arg(long, value_name = "TYPE", default_value = "all", value_parser = event_type)]
    event_type: String,
    /// Only events of this execution, ID or beginning of one
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    execution_id: String,
    /// At most so many events; 0 for the server's choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: u32,
    /// Go on with what happens until the job ends; with --output json one object per line
    #[arg(long, short = 'f', conflicts_with_all = ["limit", "next_token", "order_by", "order_reversed"])]
    follow: bool,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    list: ListArgs,
}

fn event_type(text: &str) -> Result<String, String> {
    match text {
        "all" | "job" | "execution" => Ok(text.to_owned()),
        _ => Err("there are all, job and execution".to_owned()),
    }
}

/// Lists what happened to a job.
pub(super) async fn run(context: &Context, args: HistoryArgs) -> Outcome {
    let query = HistoryQuery {
        namespace: args.job.namespace.clone(),
        version: args.version,
        all_versions: args.all_versions,
        event_type: args.event_type.clone(),
        execution_id: args.execution_id.clone(),
        order_by: args.page.order_by.clone(),
        reverse: args.page.order_reversed,
        limit: args.limit,
        next_token: args.page.next_token.clone(),
    };
    let client = context.client()?;
    if args.follow {
        return follow(context, &client, &args, query).await;
    }
    let page = client.history(&args.job.job, &query).await?;
    list::print(&context.out, &args.list, &page.items, &fields())
}

async fn follow(context: &Context, client: &Client, args: &HistoryArgs, query: HistoryQuery) -> Outcome {
    let find = JobQuery { namespace: args.job.namespace.clone(), ..JobQuery::default() };
    let id = client.job(&args.job.job, &find).await?.job.id;
    let mut lines = Lines::of(client, &id, query).await?;
    let mut rows = list::Growing::new(&args.list);
    while let Some(records) = lines.next().await? {
        rows.print(&context.out, &records, &fields())?;
    }
    Ok(())
}

fn fields() -> Vec<Field<JobHistory>> {
    vec![
        Field::new(Column::new("time"), |r: &JobHistory| date_time(r.time.unix_nanos())),
        Field::new(Column::new("level").at_least(14), |r: &JobHistory| {
            match r.r#type {
                HistoryType::JobLevel => "JobLevel",
                HistoryType::ExecutionLevel => "ExecutionLevel",
                HistoryType::Undefined => "Undefined",
            }
            .to_owned()
        }),
        Field::new(Column::new("job version"), |r: &JobHistory| r.job_version.to_string()),
        Field::with_full(Column::new("exec. id").at_least(10), |r: &JobHistory, full| match full {
            true => r.execution_id.clone(),
            false => ids::short(&r.execution_id).to_owned(),
        }),
        Field::new(Column::new("topic").at_least(15).at_most(15, Wrap::Soft), |r: &JobHistory| {
            r.event.topic.clone()
        }),
        Field::new(Column::new("event").at_most(90, Wrap::Soft), |r: &JobHistory| r.event.message.clone()),
    ]
}
