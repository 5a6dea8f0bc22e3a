//! What happens after a submission, from the first line to the hints at the end and the exit code.

use super::follow::follow;
use super::watch::{Ended, Show, watch};
use crate::failure::{Failure, Outcome, fail};
use crate::output::Out;
use bacalhau_api::client::{Client, ExecutionsQuery, JobQuery};
use bacalhau_model::{Error, Execution, Job, JobState, ids};
use std::time::Duration;

/// Flags of commands that start a job.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Waiting")]
pub(crate) struct RunArgs {
    /// Wait until the job has ended; --wait=false prints the job ID and returns at once
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", value_parser = parse_bool, action = clap::ArgAction::Set)]
    pub(crate) wait: bool,
    /// Stop waiting after so many seconds, the job goes on [default: no limit]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait_timeout_secs: Option<u64>,
    /// Print the job ID and wait without further output
    #[arg(long)]
    pub(crate) id_only: bool,
    /// At the end, show what the job printed on each node
    #[arg(long)]
    pub(crate) node_details: bool,
    /// Show the output of the job while it runs
    #[arg(long, short = 'f')]
    pub(crate) follow: bool,
    /// Show one line for each execution instead of one for each event
    #[arg(long)]
    pub(crate) group_events: bool,
}

fn parse_bool(text: &str) -> Result<bool, String> {
    crate::args::go_bool(text).ok_or_else(|| "it must be true or false".to_owned())
}

/// Follows a job that was just submitted. Ends with exit code 1 when the job failed while being watched.
pub(crate) async fn after_submission(
    client: &Client,
    out: &Out,
    id: &str,
    warnings: &[String],
    long_running: bool,
    args: &RunArgs,
) -> Outcome {
    if !args.wait || args.id_only {
        out.line(id)?;
        if !args.wait {
            return Ok(());
        }
    } else {
        out.warnings(warnings);
        out.line(&format!("Job successfully submitted. Job ID: {id}"))?;
    }
    let limit = args.wait_timeout_secs.filter(|s| *s > 0).map(Duration::from_secs);
    let ended = if args.follow && !args.id_only {
        out.line(&format!("Waiting for logs... ({EXIT}):\n"))?;
        followed(client, out, id, limit).await?
    } else {
        if !args.id_only {
            out.line(&format!("Checking job status... ({EXIT}):\n"))?;
        }
        let show = Show { events: !args.id_only, grouped: args.group_events };
        watch(client, out, id, long_running, show, limit).await?
    };
    let went_back = matches!(ended, Ended::WentBack(_));
    let job = match ended {
        Ended::Job(job) | Ended::WentBack(job) => Some(job),
        Ended::TimedOut => {
            let seconds = args.wait_timeout_secs.unwrap_or_default();
            out.warning(&format!("Progress tracking timed out after {seconds}s. The job is still running."));
            None
        }
        Ended::Cancelled => {
            out.warning("Progress tracking canceled. The job is still running.");
            None
        }
    };
    let ended_badly = |job: &Job| matches!(job.state.state_type, JobState::Failed | JobState::Stopped);
    let failed = job.as_ref().is_some_and(|job| ended_badly(job));
    if failed && let Some(job) = &job {
        out.error(&reason(job, args.follow || args.id_only));
    } else if went_back {
        out.error(&fail("the update was taken back; the version before goes on"));
    }
    if args.node_details && job.is_some() {
        node_details(client, out, id).await?;
    }
    if !args.id_only && !args.follow {
        let job = match job {
            Some(job) => Some(*job),
            None => client.job(id, &JobQuery::default()).await.ok().map(|details| details.job),
        };
        out.raw(hints(id, job.as_ref()).as_bytes())?;
    }
    if failed || went_back { Err(Failure::Exit(1)) } else { Ok(()) }
}

const EXIT: &str = "Enter Ctrl+C to exit at any time, your job will continue running";

async fn followed(client: &Client, out: &Out, id: &str, limit: Option<Duration>) -> Result<Ended, Failure> {
    let timeout = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        job = follow(client, out, id) => Ok(Ended::Job(Box::new(job?))),
        () = timeout => Ok(Ended::TimedOut),
        pressed = tokio::signal::ctrl_c() => match pressed {
            Ok(()) => Ok(Ended::Cancelled),
            Err(e) => Err(fail(format!("cannot listen for Ctrl-C: {e}")).into()),
        },
    }
}

/// `job failed` or `job was stopped`, with the reason where no event rows have told it already.
fn reason(job: &Job, with_message: bool) -> Error {
    let message = job.state.message.trim();
    let what = if job.state.state_type == JobState::Stopped { "job was stopped" } else { "job failed" };
    if !with_message || message.is_empty() {
        return fail(what);
    }
    fail(format!("{what}: {message}")).hint(format!("see `bacalhau job history {}`", job.id))
}

/// The commands that come next.
fn hints(id: &str, job: Option<&Job>) -> String {
    let mut text = format!(
        "\nTo get more details about the run, execute:\n\tbacalhau job describe {id}\n\
         \nTo get more details about the run executions, execute:\n\tbacalhau job executions {id}\n"
    );
    if job.and_then(Job::task).is_some_and(|task| !task.publisher.is_empty()) {
        text.push_str(&format!("\nTo download the results, execute:\n\tbacalhau job get {id}\n"));
    }
    text
}

async fn node_details(client: &Client, out: &Out, id: &str) -> Outcome {
    let page = client.executions(id, &ExecutionsQuery::default()).await?;
    out.line("\nJob Results By Node:")?;
    out.raw(by_node(&page.items).as_bytes())
}

/// Executions with the same output share an entry.
fn by_node(executions: &[Execution]) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for execution in executions {
        let output = &execution.run_output;
        let text = [&output.error_msg, &output.stdout, &output.stderr]
            .into_iter()
            .find(|text| !text.trim().is_empty())
            .unwrap_or(&execution.compute_state.message);
        let text = text.trim().replace('\n', "\n    ");
        match groups.iter_mut().find(|(known, _)| *known == text) {
            Some((_, nodes)) => nodes.push(&execution.node_id),
            None => groups.push((text, vec![&execution.node_id])),
        }
    }
    let mut lines = String::new();
    for (text, mut nodes) in groups {
        let runs = nodes.len();
        nodes.sort_unstable();
        nodes.dedup();
        lines.push_str(&match nodes.as_slice() {
            [node] if runs == 1 => format!("• Node {}: {text}\n", ids::short(node)),
            nodes => format!("• {runs} runs on {} nodes: {text}\n", nodes.len()),
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::{SpecConfig, Task};

    #[test]
    fn hints_mention_results_only_when_there_will_be_some() {
        let mut job = Job { tasks: vec![Task::default()], ..Job::default() };
        assert!(!hints("j-1", Some(&job)).contains("job get"));
        job.tasks[0].publisher = SpecConfig::new("local");
        assert!(
            hints("j-1", Some(&job))
                .ends_with("\nTo download the results, execute:\n\tbacalhau job get j-1\n")
        );
        assert!(
            hints("j-1", None)
                .starts_with("\nTo get more details about the run, execute:\n\tbacalhau job describe j-1\n")
        );
    }

    #[test]
    fn equal_outputs_are_shown_once() {
        let execution = |node: &str, out: &str| {
            let mut e = Execution { node_id: node.to_owned(), ..Execution::default() };
            e.run_output.stdout = out.to_owned();
            e
        };
        let text = by_node(&[execution("n-1", "a\n"), execution("n-2", "b"), execution("n-3", "a")]);
        assert_eq!(text, "• 2 runs on 2 nodes: a\n• Node n-2: b\n");
    }
}
