//! `job explain`, and the part of `job run --dry-run` that says where the job would run.

use super::JobArg;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::list::{self, Field, ListArgs, ListFormat};
use crate::output::structured::{self, Format};
use crate::output::table::{Column, Wrap};
use bacalhau_api::client::Client;
use bacalhau_model::explain::{Explanation, NodeVerdict};
use bacalhau_model::{Job, ids};

/// Flags of `job explain`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau job explain my-job\n  \
    bacalhau job explain my-job --output json")]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    job: JobArg,
    #[command(flatten)]
    list: ListArgs,
}

/// Explains a job that was submitted.
pub(super) async fn run(context: &Context, args: ExplainArgs) -> Outcome {
    let found = context.client()?.explain(&args.job.job, &args.job.namespace).await?;
    let format = match args.list.output {
        ListFormat::Json => Format::Json,
        ListFormat::Yaml => Format::Yaml,
        ListFormat::Table | ListFormat::Csv => return show(context, &found, &args.list),
    };
    structured::print(&context.out, &found, format, args.list.pretty)
}

/// Says where a job would run that is not submitted. A server that cannot say is no error of a dry run; one that would
/// refuse the job is.
pub(crate) async fn dry_run(context: &Context, client: &Client, job: &Job) -> Outcome {
    match client.explain_new(job).await {
        Ok(found) => show(context, &found, &ListArgs::default()),
        Err(error) if [400, 409].contains(&error.http_status()) => Err(error.into()),
        Err(error) => {
            context.out.warning(&format!("the server cannot say where the job would run: {}", error.message));
            Ok(())
        }
    }
}

fn show(context: &Context, found: &Explanation, args: &ListArgs) -> Outcome {
    // Rows for programs come without prose.
    if args.output == ListFormat::Table {
        context.out.line(&found.summary)?;
    }
    let fields = [
        Field::with_full(Column::new("node"), |node: &NodeVerdict, full| match full {
            true => node.node_id.clone(),
            false => ids::short(&node.node_id).to_owned(),
        }),
        Field::new(Column::new("verdict"), |node: &NodeVerdict| node.verdict.as_str().to_owned()),
        Field::new(Column::new("reason").at_most(90, Wrap::Soft), |node: &NodeVerdict| node.reason.clone()),
    ];
    list::print(&context.out, args, &found.nodes, &fields)
}
