//! Shows the output of a job's executions while they run (`--follow`), from before they are placed until the job ends.

use super::watch::{Pace, Patience};
use crate::failure::{Failure, fail};
use crate::output::Out;
use bacalhau_api::client::{Client, ExecutionsQuery, JobQuery, LogQuery};
use bacalhau_model::{ComputeState, Error, Execution, Job};
use std::collections::HashSet;
use tokio::task::JoinSet;

/// Streams open at the same time; further executions wait for one to end.
const MAX_STREAMS: usize = 16;

/// Follows a job to its end and returns it.
pub(super) async fn follow(client: &Client, out: &Out, id: &str) -> Result<Job, Failure> {
    let (mut seen, mut told): (HashSet<String>, HashSet<String>) = Default::default();
    let mut streams: JoinSet<Result<(), Failure>> = JoinSet::new();
    let (mut pace, mut patience) = (Pace::new(), Patience::default());
    loop {
        let job = patience.take(client.job(id, &JobQuery::default()).await)?.map(|details| details.job);
        let query = ExecutionsQuery {
            order_by: "created_at".to_owned(),
            without_job: true,
            ..ExecutionsQuery::default()
        };
        let page = patience.take(client.executions(id, &query).await)?;
        let mut waiting = 0;
        for execution in page.into_iter().flat_map(|page| page.items) {
            // The job's own message may only say that nothing was left to try.
            if let Some(why) = failure(&execution).filter(|_| told.insert(execution.id.clone())) {
                out.warning(&format!("execution {} failed: {why}", execution.id));
            }
            if seen.contains(&execution.id) || !has_output(&execution) {
                continue;
            }
            if streams.len() >= MAX_STREAMS {
                waiting += 1;
                continue;
            }
            seen.insert(execution.id.clone());
            pace.quicken();
            streams.spawn(one(client.clone(), *out, id.to_owned(), execution));
        }
        if let Some(job) = job
            && job.is_terminal()
            && waiting == 0
        {
            while let Some(ended) = streams.join_next().await {
                finished(ended)?;
            }
            return Ok(job);
        }
        tokio::select! {
            Some(ended) = streams.join_next() => {
                finished(ended)?;
                pace.quicken();
            }
            () = tokio::time::sleep(pace.next()) => {}
        }
    }
}

/// Why an execution failed, if it did.
fn failure(execution: &Execution) -> Option<&str> {
    let state = &execution.compute_state;
    let message = state.message.trim();
    (state.state_type == ComputeState::Failed && !message.is_empty()).then_some(message)
}

/// Something runs or ran there.
fn has_output(execution: &Execution) -> bool {
    matches!(
        execution.compute_state.state_type,
        ComputeState::BidAccepted
            | ComputeState::Running
            | ComputeState::Publishing
            | ComputeState::Completed
    ) || !execution.run_output.stdout.is_empty()
        || !execution.run_output.stderr.is_empty()
}

fn finished(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    ended.map_err(|e| fail(format!("following the output stopped unexpectedly: {e}")))?
}

/// Shows one execution's output. When no stream is to be had, what the execution record holds.
async fn one(client: Client, out: Out, id: String, execution: Execution) -> Result<(), Failure> {
    let query = LogQuery {
        execution_id: execution.id.clone(),
        follow: true,
        version: execution.job_version,
        ..LogQuery::default()
    };
    let mut shown = false;
    let problem: Error = match client.logs(&id, &query).await {
        Ok(mut stream) => loop {
            match stream.next().await {
                Some(Ok(line)) => {
                    shown = true;
                    print(&out, line.is_stderr, &line.text)?;
                }
                Some(Err(error)) => break error,
                None => return Ok(()),
            }
        },
        Err(error) => error,
    };
    if shown {
        out.warning(&format!("{}: {problem}", execution.id));
        return Ok(());
    }
    recorded(&client, &out, &id, &execution, &problem).await
}

/// The first bytes of the output, which the execution record keeps.
async fn recorded(
    client: &Client,
    out: &Out,
    id: &str,
    execution: &Execution,
    problem: &Error,
) -> Result<(), Failure> {
    let page = client.executions(id, &ExecutionsQuery { without_job: true, ..Default::default() }).await;
    let fresh = page.ok().and_then(|page| page.items.into_iter().find(|e| e.id == execution.id));
    let output = fresh.map(|e| e.run_output).unwrap_or_default();
    if output.stdout.is_empty() && output.stderr.is_empty() {
        out.warning(&format!("no output of execution {}: {problem}", execution.id));
        return Ok(());
    }
    print(out, false, &output.stdout)?;
    print(out, true, &output.stderr)
}

/// Output of the job's standard output goes to ours, its standard error to ours.
pub(crate) fn print(out: &Out, is_stderr: bool, text: &str) -> Result<(), Failure> {
    if is_stderr {
        out.raw_error(text.as_bytes());
        return Ok(());
    }
    out.raw(text.as_bytes())
}
