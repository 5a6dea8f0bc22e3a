//! `job run` and `job validate` of a file with several jobs: one submission. All are checked before the first is sent,
//! each is sent after those it depends on, and all are followed to the end.

use super::explain;
use super::run::{offline, show_diff};
use crate::commands::submit::{check_size, print_dry_run};
use crate::context::Context;
use crate::failure::{Failure, Outcome, fail};
use crate::job_file::{Graph, JobFile, check, graph};
use crate::output::Out;
use crate::progress::{End, RunArgs, end};
use bacalhau_api::client::{Client, JobQuery};
use bacalhau_model::{Error, Job, JobState};
use std::time::Duration;
use tokio::time::Instant;

/// Flags that matter here.
pub(super) struct Flags<'a> {
    pub(super) dry_run: bool,
    pub(super) force: bool,
    pub(super) hide_warnings: bool,
    pub(super) run: &'a RunArgs,
}

/// Checks all jobs of a file and how they depend on each other.
pub(super) fn check_all(out: &Out, files: Vec<JobFile>, quiet: bool) -> Result<(Vec<Job>, Graph), Error> {
    let mut jobs = Vec::new();
    for (number, file) in (1..).zip(files) {
        let JobFile { job, warnings } = file;
        let name = label(&job, number);
        let mut all = warnings;
        all.extend(check(job.clone()).map_err(|error| about(&name, error))?);
        if !quiet {
            let all: Vec<String> = all.iter().map(|warning| format!("{name}: {warning}")).collect();
            out.warnings(&all);
        }
        jobs.push(job);
    }
    let graph = graph(&jobs)?;
    Ok((jobs, graph))
}

/// Says which jobs have to exist already.
pub(super) fn warn_of_outside(out: &Out, jobs: &[Job], graph: &Graph) {
    let texts = graph.outside.iter().filter_map(|(place, name)| {
        let job = label(jobs.get(*place)?, place + 1);
        Some(format!(
            "{job} depends on {name}, which is not in this file and has to exist when it is submitted"
        ))
    });
    out.warnings(&texts.collect::<Vec<_>>());
}

/// Submits all jobs of a file and follows them.
pub(super) async fn run(
    context: &Context,
    client: &Client,
    files: Vec<JobFile>,
    flags: Flags<'_>,
) -> Outcome {
    let out = &context.out;
    let args = flags.run;
    if args.follow || args.node_details || args.group_events {
        return Err(fail(
            "--follow, --node-details and --group-events show one job, and the file has several",
        )
        .hint("leave them out, and use `bacalhau job logs --follow JOB` on one of the jobs")
        .into());
    }
    let (jobs, graph) = check_all(out, files, flags.hide_warnings || args.id_only)?;
    for (number, job) in (1..).zip(&jobs) {
        check_size(job).map_err(|error| about(&label(job, number), error))?;
    }
    if flags.dry_run {
        return dry_run(context, client, &jobs, &graph, flags.hide_warnings).await;
    }
    look_for(client, &jobs, &graph).await?;
    let submitted = submit(out, client, &jobs, &graph, &flags).await?;
    if args.wait { follow(out, client, submitted, args).await } else { Ok(()) }
}

/// Jobs outside the file have to exist.
async fn look_for(client: &Client, jobs: &[Job], graph: &Graph) -> Result<(), Error> {
    for (place, name) in &graph.outside {
        let Some(job) = jobs.get(*place) else { continue };
        let query = JobQuery { namespace: job.namespace.clone(), without_job: true, ..JobQuery::default() };
        let found = client.job(name, &query).await;
        let missing = match &found {
            // The server also takes the beginning of an ID, which is too loose for a dependency.
            Ok(found) => found.job.name != *name && found.job.id != *name,
            Err(error) => error.http_status() == 404,
        };
        if missing {
            let text = format!("job {} depends on {name}, and there is no such job", label(job, place + 1));
            return Err(fail(text).hint("add that job to the file, or submit it first"));
        }
        found?;
    }
    Ok(())
}

/// A job that was submitted.
struct Sent<'a> {
    id: String,
    name: String,
    job: &'a Job,
}

async fn submit<'a>(
    out: &Out,
    client: &Client,
    jobs: &'a [Job],
    graph: &Graph,
    flags: &Flags<'_>,
) -> Result<Vec<Sent<'a>>, Failure> {
    let ids_only = flags.run.id_only || !flags.run.wait;
    let mut sent: Vec<Sent<'a>> = Vec::new();
    for place in &graph.order {
        let Some(job) = jobs.get(*place) else { continue };
        let name = label(job, place + 1);
        let answer = client.submit(job, flags.force).await.map_err(|error| {
            let before: Vec<&str> = sent.iter().map(|sent| sent.name.as_str()).collect();
            let note = match before.as_slice() {
                [] => "nothing was submitted".to_owned(),
                names => format!("submitted before and going on: {}", names.join(", ")),
            };
            let mut error = about(&name, error);
            error.message = format!("{} ({note})", error.message);
            error
        })?;
        if ids_only {
            out.line(&answer.job_id)?;
        } else {
            if !flags.hide_warnings {
                let warnings: Vec<String> = answer.warnings.iter().map(|w| format!("{name}: {w}")).collect();
                out.warnings(&warnings);
            }
            out.line(&format!("Job {name} successfully submitted. Job ID: {}", answer.job_id))?;
        }
        sent.push(Sent { id: answer.job_id, name, job });
    }
    Ok(sent)
}

/// Waits for all jobs, in the order in which they were submitted. Exit code 1 when any failed or was stopped.
async fn follow(out: &Out, client: &Client, sent: Vec<Sent<'_>>, args: &RunArgs) -> Outcome {
    let limit = args.wait_timeout_secs.filter(|s| *s > 0).map(Duration::from_secs);
    let deadline = limit.map(|limit| Instant::now() + limit);
    if !args.id_only {
        out.line("Waiting for the jobs to end... (Enter Ctrl+C to exit at any time, your jobs will continue running):\n")?;
    }
    let mut failed = Vec::new();
    for Sent { id, name, job } in &sent {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let mut went_back = false;
        let ended = match job.schedule {
            // It never ends, and has started when it is stored.
            Some(_) => client.job(id, &JobQuery::default()).await?.job,
            None => match end(client, out, id, job.job_type(), left).await? {
                End::Job(job) => *job,
                End::WentBack(job) => {
                    went_back = true;
                    *job
                }
                End::TimedOut => {
                    let seconds = args.wait_timeout_secs.unwrap_or_default();
                    out.warning(&format!("Waiting timed out after {seconds}s. The jobs are still running."));
                    break;
                }
                End::Cancelled => {
                    out.warning("Waiting canceled. The jobs are still running.");
                    break;
                }
            },
        };
        let state = &ended.state;
        if !args.id_only {
            let why = if state.message.is_empty() { String::new() } else { format!(": {}", state.message) };
            out.line(&format!("{name} {}{why}", state.state_type))?;
        }
        if matches!(state.state_type, JobState::Failed | JobState::Stopped) || went_back {
            failed.push(name.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    out.error(&fail(format!("not completed: {}", failed.join(", "))).hint("see `bacalhau job describe JOB`"));
    Err(Failure::Exit(1))
}

/// Shows for each job what would change, or the job itself when the server cannot say, and where it would run.
async fn dry_run(
    context: &Context,
    client: &Client,
    jobs: &[Job],
    graph: &Graph,
    hide_warnings: bool,
) -> Outcome {
    let out = &context.out;
    for (number, place) in graph.order.iter().enumerate() {
        let Some(job) = jobs.get(*place) else { continue };
        if number > 0 {
            out.line("---")?;
        }
        match client.diff(job).await {
            Ok(answer) => {
                out.warnings(if hide_warnings { &[] } else { &answer.warnings });
                out.line(&format!("# {}", label(job, place + 1)))?;
                show_diff(context, &answer.diff)?;
            }
            Err(error) => {
                offline(context, &error);
                print_dry_run(out, job)?;
            }
        }
        explain::dry_run(context, client, job).await.map_err(|failure| match failure {
            Failure::Error(error) => about(&label(job, place + 1), *error).into(),
            other => other,
        })?;
    }
    Ok(())
}

/// What to call a job of the file.
fn label(job: &Job, number: usize) -> String {
    if job.name.is_empty() { format!("number {number}") } else { job.name.clone() }
}

fn about(name: &str, mut error: Error) -> Error {
    error.message = format!("job {name}: {}", error.message);
    error
}
