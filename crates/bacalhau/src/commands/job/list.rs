//! `job list`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::list::{self, Field, ListArgs, ListFormat, PageArgs};
use crate::output::table::{Column, Wrap};
use crate::output::text::{clock, date_time};
use bacalhau_api::client::JobsQuery;
use bacalhau_model::{Job, ids};

/// Flags of `job list`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau job list --limit 50 --order-reversed\n  \
    bacalhau job list --labels 'team=data,env in (prod,test)' --output json\n\n\
    Fields to sort by: created_at, modified_at")]
pub(crate) struct JobListArgs {
    /// Only jobs with these labels; an empty text shows all
    #[arg(
        long,
        value_name = "SELECTOR",
        default_value = "bacalhau_canary != true",
        hide_default_value = true
    )]
    labels: String,
    /// Only jobs of this namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    namespace: String,
    /// At most so many jobs; 0 for all
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: u32,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    list: ListArgs,
}

/// Lists jobs.
pub(super) async fn run(context: &Context, args: JobListArgs) -> Outcome {
    let query = JobsQuery {
        namespace: args.namespace.clone(),
        labels: Vec::from_iter((!args.labels.trim().is_empty()).then(|| args.labels.clone())),
        order_by: args.page.order_by.clone(),
        reverse: args.page.order_reversed,
        limit: args.limit,
        next_token: args.page.next_token.clone(),
    };
    let page = context.client()?.jobs(&query).await?;
    let out = &context.out;
    list::print(out, &args.list, &page.items, &fields())?;
    if page.next_token.is_empty() {
        return Ok(());
    }
    let hint = format!(
        "\nTo fetch more records use:\n\tbacalhau job list --limit {} --next-token {}",
        args.limit, page.next_token
    );
    match args.list.output {
        ListFormat::Table => out.line(&hint),
        // Machines read the other formats; the hint must not get in their way.
        _ => {
            out.note(&hint);
            Ok(())
        }
    }
}

fn fields() -> Vec<Field<Job>> {
    vec![
        Field::with_full(Column::new("created"), |job: &Job, full| match full {
            true => date_time(job.create_time),
            false => clock(job.create_time),
        }),
        Field::with_full(Column::new("id"), |job: &Job, full| match full {
            true => job.id.clone(),
            false => ids::short(&job.id).to_owned(),
        }),
        Field::new(Column::new("name").at_most(40, Wrap::Hard), |job: &Job| job.name.clone()),
        Field::new(Column::new("job"), |job: &Job| {
            job.task().map(|task| task.engine.r#type.clone()).unwrap_or_default()
        }),
        Field::new(Column::new("type"), |job: &Job| job.r#type.clone()),
        Field::new(Column::new("state"), |job: &Job| job.state.state_type.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::{JobState, SpecConfig, State, Task};

    #[test]
    fn looks_like_this() {
        let job = |id: &str, name: &str, state| Job {
            id: id.to_owned(),
            name: name.to_owned(),
            r#type: "batch".to_owned(),
            tasks: vec![Task { engine: SpecConfig::new("docker"), ..Task::default() }],
            state: State::new(state),
            create_time: 1_785_598_370_323_000_000,
            ..Job::default()
        };
        let id = "j-150c42eb-7ac2-4fcd-b0b5-5c4d4d9d1f5d";
        let jobs = [
            job(id, id, JobState::Completed),
            job("j-7a3e9c10-7ac2-4fcd-b0b5-5c4d4d9d1f5d", "word-count", JobState::Running),
        ];
        let text = list::render(&ListArgs::default(), &jobs, &fields(), false).unwrap();
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                " CREATED   ID          NAME                                    JOB     TYPE   STATE",
                " 15:32:50  j-150c42eb  j-150c42eb-7ac2-4fcd-b0b5-5c4d4d9d1f5d  docker  batch  Completed",
                " 15:32:50  j-7a3e9c10  word-count                              docker  batch  Running",
            ]
        );
    }
}
