//! What is shown of a job's schedule, its runs and the jobs it depends on.

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Paint;
use crate::output::table::{Column, Style, render};
use crate::output::text::ago;
use crate::progress::RunArgs;
use bacalhau_api::client::{Client, JobQuery};
use bacalhau_model::job::meta;
use bacalhau_model::{Job, ids};

/// After a job with a schedule was submitted: it never ends, so there is nothing to wait for.
pub(crate) async fn tell_schedule(context: &Context, client: &Client, id: &str, args: &RunArgs) -> Outcome {
    let out = &context.out;
    if !args.wait || args.id_only {
        return out.line(id);
    }
    out.line(&format!("Job successfully submitted. Job ID: {id}"))?;
    let message = client.job(id, &JobQuery::default()).await?.job.state.message;
    out.line(&format!(
        "{message}\n\nTo see its runs, execute:\n\tbacalhau job describe {id}\n\
         \nTo make a run now, execute:\n\tbacalhau job rerun {id}\n\
         \nTo end the schedule, execute:\n\tbacalhau job stop {id}"
    ))
}

/// The sections of `job describe` about other jobs.
pub(super) async fn describe(context: &Context, job: &Job) -> Outcome {
    let listed = |text: Option<&String>| -> Vec<String> {
        text.map_or("", String::as_str).split(' ').filter(|id| !id.is_empty()).map(str::to_owned).collect()
    };
    if job.schedule.is_some() {
        section(context, "Latest Runs", &listed(job.state.details.get("LatestRuns"))).await?;
    }
    if !job.depends_on.is_empty() {
        section(context, "Depends On", &listed(job.meta.get(meta::DEPENDS_ON))).await?;
    }
    Ok(())
}

async fn section(context: &Context, title: &str, jobs: &[String]) -> Outcome {
    if jobs.is_empty() {
        return Ok(());
    }
    let (client, now) = (context.client()?, crate::context::now());
    let mut rows = Vec::new();
    for id in jobs {
        let query = JobQuery { without_job: true, ..JobQuery::default() };
        rows.push(match client.job(id, &query).await {
            Ok(found) => vec![
                ids::short(id).to_owned(),
                found.job.name,
                found.job.state.state_type.to_string(),
                ago(found.job.create_time, now),
            ],
            // It was deleted, or cannot be read: the others are worth showing.
            Err(_) => vec![ids::short(id).to_owned(), String::new(), "not found".to_owned(), String::new()],
        });
    }
    let columns = [Column::new("ID"), Column::new("Name"), Column::new("State"), Column::new("Created")];
    let title = Paint::Bold.apply(context.out.colour, title);
    context.out.raw(format!("\n{title}\n{}", render(&columns, &rows, Style::default())).as_bytes())
}
