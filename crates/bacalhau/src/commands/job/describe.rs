//! `job describe`.

use super::JobArg;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Paint;
use crate::output::structured::{self, OneArgs};
use crate::output::table::{Column, Style, Wrap, render};
use crate::output::text::{ago, date_time};
use bacalhau_api::client::JobQuery;
use bacalhau_api::client::types::JobDetails;
use bacalhau_model::event::detail;
use bacalhau_model::{ComputeState, Execution, HistoryType, Job, JobHistory, JobType, ids};
use std::collections::BTreeMap;

/// Flags of `job describe`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bacalhau job describe j-51225160\n  bacalhau job describe my-job --version 2 --output yaml"
)]
pub(crate) struct DescribeArgs {
    #[command(flatten)]
    job: JobArg,
    /// Version of the job; 0 for the latest
    #[arg(long, short = 'v', value_name = "N", default_value_t = 0)]
    version: u64,
    #[command(flatten)]
    one: OneArgs,
}

/// Shows a job with its history, executions and output.
pub(super) async fn run(context: &Context, args: DescribeArgs) -> Outcome {
    let query = JobQuery {
        namespace: args.job.namespace.clone(),
        version: args.version,
        include: "executions,history",
        without_job: args.one.output.is_none(),
    };
    let details = context.client()?.job(&args.job.job, &query).await?;
    match args.one.output {
        Some(format) => structured::print(&context.out, &details, format, args.one.pretty),
        None => {
            context.out.raw(text(&details, crate::context::now(), context.out.colour).as_bytes())?;
            super::related::describe(context, &details.job).await
        }
    }
}

fn text(details: &JobDetails, now: i64, colour: bool) -> String {
    let title = |text: &str| format!("\n{}\n", Paint::Bold.apply(colour, text));
    let mut out = head(&details.job);
    let executions: &[Execution] =
        details.executions.as_ref().map(|p| p.items.as_slice()).unwrap_or_default();
    let history: &[JobHistory] = details.history.as_ref().map(|p| p.items.as_slice()).unwrap_or_default();

    let summary = summary(executions);
    if !summary.is_empty() {
        out.push_str(&title("Summary"));
        out.push_str(&summary);
    }
    let job_level: Vec<&JobHistory> = history.iter().filter(|r| r.r#type == HistoryType::JobLevel).collect();
    if !job_level.is_empty() {
        out.push_str(&title("Job History"));
        out.push_str(&events(&job_level));
    }
    let mut newest_first: Vec<&Execution> = executions.iter().collect();
    newest_first.sort_by_key(|e| std::cmp::Reverse(e.create_time));
    if !newest_first.is_empty() {
        out.push_str(&title("Executions"));
        out.push_str(&execution_table(&newest_first, now));
    }
    for execution in &newest_first {
        let own: Vec<&JobHistory> = history.iter().filter(|r| r.execution_id == execution.id).collect();
        if !own.is_empty() {
            out.push_str(&title(&format!("Execution {} History", ids::short(&execution.id))));
            out.push_str(&events(&own));
        }
    }
    let printed: Vec<&Execution> = newest_first
        .iter()
        .copied()
        .filter(|e| !e.run_output.stdout.is_empty() || !e.run_output.stderr.is_empty())
        .collect();
    if !printed.is_empty() {
        out.push_str(&title("Standard Output"));
        for execution in &printed {
            if newest_first.len() > 1 {
                out.push_str(&format!("Execution {}:\n", ids::short(&execution.id)));
            }
            out.push_str(&output(execution));
        }
    }
    out
}

fn head(job: &Job) -> String {
    let mut lines = vec![
        ("ID", job.id.clone()),
        ("Name", job.name.clone()),
        ("Namespace", job.namespace.clone()),
        ("Type", job.r#type.clone()),
        ("State", job.state.state_type.to_string()),
    ];
    if !job.state.message.is_empty() {
        lines.push(("Message", job.state.message.clone()));
    }
    if let Some(progress) = job.state.details.get(detail::ROLLOUT) {
        lines.push(("Rollout", progress.clone()));
    }
    if matches!(job.job_type(), Some(JobType::Batch | JobType::Service)) {
        lines.push(("Count", job.count.to_string()));
    }
    lines.push(("Created Time", date_time(job.create_time)));
    lines.push(("Modified Time", date_time(job.modify_time)));
    lines.push(("Version", job.version.to_string()));
    lines.into_iter().map(|(name, value)| format!("{name:<13} = {value}\n")).collect()
}

/// Executions by state; cancelled ones are not worth a line.
fn summary(executions: &[Execution]) -> String {
    let mut counts: BTreeMap<ComputeState, usize> = BTreeMap::new();
    for execution in executions {
        *counts.entry(execution.compute_state.state_type).or_default() += 1;
    }
    counts.remove(&ComputeState::Cancelled);
    let width = counts.keys().map(|state| state.as_str().len()).max().unwrap_or(0);
    counts.into_iter().map(|(state, count)| format!("{:<width$} = {count}\n", state.as_str())).collect()
}

fn events(records: &[&JobHistory]) -> String {
    let columns = [Column::new("Time"), Column::new("Topic"), Column::new("Event").at_most(90, Wrap::Soft)];
    let when = |record: &JobHistory| {
        if record.event.timestamp.is_zero() { record.time } else { record.event.timestamp }
    };
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|r| vec![date_time(when(r).unix_nanos()), r.event.topic.clone(), r.event.message.clone()])
        .collect();
    render(&columns, &rows, Style::default())
}

fn execution_table(executions: &[&Execution], now: i64) -> String {
    let columns = [
        Column::new("ID"),
        Column::new("Node ID"),
        Column::new("State"),
        Column::new("Desired"),
        Column::new("Rev."),
        Column::new("Created"),
        Column::new("Modified"),
        Column::new("Comment").at_most(40, Wrap::Soft),
    ];
    let rows: Vec<Vec<String>> = executions
        .iter()
        .map(|e| {
            vec![
                ids::short(&e.id).to_owned(),
                ids::short(&e.node_id).to_owned(),
                e.compute_state.state_type.to_string(),
                e.desired_state.state_type.to_string(),
                e.revision.to_string(),
                ago(e.create_time, now),
                ago(e.modify_time, now),
                comment(e),
            ]
        })
        .collect();
    render(&columns, &rows, Style::default())
}

/// What is worth a word: why it is in its state, and an exit code that is no success, which is completed all the same.
fn comment(execution: &Execution) -> String {
    let (state, code) = (&execution.compute_state, execution.run_output.exit_code);
    match state.state_type == ComputeState::Completed && code != 0 {
        true => format!("exit code {code}"),
        false => state.message.clone(),
    }
}

fn output(execution: &Execution) -> String {
    let result = &execution.run_output;
    let mut text = String::new();
    for (stream, truncated) in
        [(&result.stdout, result.stdout_truncated), (&result.stderr, result.stderr_truncated)]
    {
        text.push_str(stream);
        if !stream.is_empty() && !stream.ends_with('\n') {
            text.push('\n');
        }
        if truncated {
            text.push_str("...\nOutput truncated\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_api::client::types::Page;
    use bacalhau_model::{DesiredState, Event, JobState, State, Time};

    const AT: i64 = 1_785_598_370_000_000_000;

    #[test]
    fn a_rolling_update_says_how_far_it_is() {
        let mut job =
            Job { r#type: "service".to_owned(), state: State::new(JobState::Running), ..Job::default() };
        job.state.details.insert(detail::ROLLOUT.to_owned(), "1/3".to_owned());
        assert!(head(&job).contains("State         = Running\nRollout       = 1/3\nCount"), "{}", head(&job));
    }

    #[test]
    fn an_exit_code_that_is_no_success_is_told() {
        let mut execution =
            Execution { compute_state: State::new(ComputeState::Completed), ..Execution::default() };
        assert_eq!(comment(&execution), "");
        execution.run_output.exit_code = 3;
        assert_eq!(comment(&execution), "exit code 3");
        execution.compute_state = State::with_message(ComputeState::Failed, "memory limit exceeded");
        assert_eq!(comment(&execution), "memory limit exceeded");
    }

    #[test]
    fn looks_like_this() {
        let id = "j-150c42eb-7ac2-4fcd-b0b5-5c4d4d9d1f5d".to_owned();
        let execution_id = "e-6e4f2db9-7ac2-4fcd-b0b5-5c4d4d9d1f5d".to_owned();
        let event = |execution: &str, topic: &str, message: &str| JobHistory {
            r#type: if execution.is_empty() { HistoryType::JobLevel } else { HistoryType::ExecutionLevel },
            execution_id: execution.to_owned(),
            event: Event::new(topic, message, Time::from_unix_nanos(AT)),
            ..JobHistory::default()
        };
        let mut execution = Execution {
            id: execution_id.clone(),
            node_id: "n-f1c579e2-7ac2-4fcd-b0b5-5c4d4d9d1f5d".to_owned(),
            revision: 6,
            create_time: AT,
            modify_time: AT + 1_000_000_000,
            desired_state: State::new(DesiredState::Stopped),
            compute_state: State::new(ComputeState::Completed),
            ..Execution::default()
        };
        execution.run_output.stdout = "hello\n".to_owned();
        let details = JobDetails {
            job: Job {
                id: id.clone(),
                name: id,
                namespace: "default".to_owned(),
                r#type: "batch".to_owned(),
                state: State::new(JobState::Completed),
                count: 1,
                version: 1,
                create_time: AT,
                modify_time: AT,
                ..Job::default()
            },
            history: Some(Page {
                next_token: String::new(),
                items: vec![
                    event("", "Submission", "Job submitted"),
                    event(&execution_id, "Scheduling", "Requested execution on n-f1c579e2"),
                    event("", "State Update", "Completed"),
                ],
            }),
            executions: Some(Page { next_token: String::new(), items: vec![execution] }),
        };
        let expected = "ID            = j-150c42eb-7ac2-4fcd-b0b5-5c4d4d9d1f5d
Name          = j-150c42eb-7ac2-4fcd-b0b5-5c4d4d9d1f5d
Namespace     = default
Type          = batch
State         = Completed
Count         = 1
Created Time  = 2026-08-01 15:32:50
Modified Time = 2026-08-01 15:32:50
Version       = 1

Summary
Completed = 1

Job History
 TIME                 TOPIC         EVENT
 2026-08-01 15:32:50  Submission    Job submitted
 2026-08-01 15:32:50  State Update  Completed

Executions
 ID          NODE ID     STATE      DESIRED  REV.  CREATED    MODIFIED   COMMENT
 e-6e4f2db9  n-f1c579e2  Completed  Stopped  6     4m18s ago  4m17s ago

Execution e-6e4f2db9 History
 TIME                 TOPIC       EVENT
 2026-08-01 15:32:50  Scheduling  Requested execution on n-f1c579e2

Standard Output
hello
";
        assert_eq!(text(&details, AT + 258_000_000_000, false), expected);
    }
}
