//! Shows the output of a job's executions while they run (`--follow`), from before they are placed until the job ends.
//!
//! The server does that in one log stream. One of Bacalhau 1.9 knows only streams of one execution: there every execution
//! has its own, opened as they start.

use super::changes::{Change, Changes, is_end};
use super::patience::persist;
use crate::failure::{Failure, fail};
use crate::logs::{Format, Printer, Shown, show};
use crate::output::Out;
use bacalhau_api::client::{Client, ExecutionsQuery, JobQuery, LogEvent, LogQuery};
use bacalhau_model::{ClusterEvent, ComputeState, Error, EventKind, Job};
use std::collections::{HashSet, VecDeque};
use tokio::task::JoinSet;

/// Streams open at the same time; further executions wait for one to end.
const MAX_STREAMS: usize = 16;

/// Follows a job to its end and returns it.
pub(super) async fn follow(client: &Client, out: &Out, id: &str) -> Result<Job, Failure> {
    let query = LogQuery { follow: true, all_executions: true, all_attempts: true, ..LogQuery::default() };
    let mut printer = Printer::new(*out, Format::default());
    let shown = show(client, id, &query, &mut printer, false).await;
    let current = JobQuery::default();
    match shown {
        Ok(Shown::All) => {}
        Ok(Shown::Unknown) => return one_by_one(client, out, id).await,
        Err(Failure::Exit(code)) => return Err(Failure::Exit(code)),
        Err(Failure::Error(error)) if printer.has_printed() => out.warning(&error.to_string()),
        // The executions say why, or there is nothing to follow: a job that failed says itself why.
        Err(Failure::Error(_)) => return one_by_one(client, out, id).await,
    }
    Ok(persist(|| client.job(id, &current)).await?.job)
}

/// The same where the server does not do it.
async fn one_by_one(client: &Client, out: &Out, id: &str) -> Result<Job, Failure> {
    let mut follower = Follower::new(client, out, id);
    let mut changes = Changes::of(client, id, &[EventKind::Job, EventKind::Execution]).await?;
    let mut over = follower.look(&mut changes).await?;
    loop {
        follower.open();
        if over && follower.waiting.is_empty() {
            break;
        }
        tokio::select! {
            Some(ended) = follower.streams.join_next() => {
                finished(ended)?;
                changes.quicken();
            }
            change = changes.next(), if !over => match change? {
                Change::Event(event) => {
                    over = is_end(&event);
                    follower.event(&event);
                }
                Change::Look => over = follower.look(&mut changes).await?,
            }
        }
    }
    while let Some(ended) = follower.streams.join_next().await {
        finished(ended)?;
    }
    let query = JobQuery::default();
    Ok(persist(|| client.job(id, &query)).await?.job)
}

/// Which executions were seen, and what is open.
struct Follower<'a> {
    client: &'a Client,
    out: &'a Out,
    id: &'a str,
    /// Executions whose output is, was or will be shown.
    seen: HashSet<String>,
    /// Executions whose failure was told.
    told: HashSet<String>,
    /// Executions, with the job's version, that wait for a stream to end.
    waiting: VecDeque<(String, u64)>,
    streams: JoinSet<Result<(), Failure>>,
}

impl<'a> Follower<'a> {
    fn new(client: &'a Client, out: &'a Out, id: &'a str) -> Follower<'a> {
        Follower {
            client,
            out,
            id,
            seen: HashSet::new(),
            told: HashSet::new(),
            waiting: VecDeque::new(),
            streams: JoinSet::new(),
        }
    }

    /// Looks at all executions. True when the job has ended.
    async fn look(&mut self, changes: &mut Changes) -> Result<bool, Failure> {
        // The job first: what ended it is then among the executions.
        let query = JobQuery::default();
        let job = persist(|| self.client.job(self.id, &query)).await?.job;
        let query = ExecutionsQuery {
            order_by: "created_at".to_owned(),
            without_job: true,
            ..ExecutionsQuery::default()
        };
        for execution in persist(|| self.client.executions(self.id, &query)).await?.items {
            let state = &execution.compute_state;
            let output = &execution.run_output;
            let printed = !output.stdout.is_empty() || !output.stderr.is_empty();
            if self.execution(
                &execution.id,
                execution.job_version,
                state.state_type.as_str(),
                &state.message,
                printed,
            ) {
                changes.quicken();
            }
        }
        Ok(job.is_terminal())
    }

    fn event(&mut self, event: &ClusterEvent) {
        if event.r#type == EventKind::Execution {
            self.execution(&event.execution_id, event.job_version, &event.state, &event.message, false);
        }
    }

    /// Takes note of an execution. True when its output is going to be shown from now on.
    fn execution(&mut self, id: &str, version: u64, state: &str, message: &str, printed: bool) -> bool {
        let message = message.trim();
        // The job's own message may only say that nothing was left to try.
        let failed = state == ComputeState::Failed.as_str() && !message.is_empty();
        if failed && self.told.insert(id.to_owned()) {
            self.out.warning(&format!("execution {id} failed: {message}"));
        }
        let runs = [
            ComputeState::BidAccepted,
            ComputeState::Running,
            ComputeState::Publishing,
            ComputeState::Completed,
        ];
        let shows = printed || runs.iter().any(|s| s.as_str() == state);
        let fresh = shows && self.seen.insert(id.to_owned());
        if fresh {
            self.waiting.push_back((id.to_owned(), version));
        }
        fresh
    }

    /// Opens streams for those that wait, as many as there may be.
    fn open(&mut self) {
        while self.streams.len() < MAX_STREAMS {
            let Some((execution, version)) = self.waiting.pop_front() else { return };
            let work = one(self.client.clone(), *self.out, self.id.to_owned(), execution, version);
            self.streams.spawn(work);
        }
    }
}

fn finished(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    ended.map_err(|e| fail(format!("following the output stopped unexpectedly: {e}")))?
}

/// Shows one execution's output. When no stream is to be had, what the execution record holds.
async fn one(client: Client, out: Out, id: String, execution: String, version: u64) -> Result<(), Failure> {
    let query = LogQuery { execution_id: execution.clone(), follow: true, version, ..LogQuery::default() };
    let mut shown = false;
    let problem: Error = match client.logs(&id, &query).await {
        Ok(mut stream) => loop {
            match stream.next().await {
                Some(Ok(LogEvent::Line(line))) => {
                    shown = true;
                    print(&out, line.is_stderr, &line.text)?;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => return Ok(()),
            }
        },
        Err(error) => error,
    };
    if shown {
        out.warning(&format!("{execution}: {problem}"));
        return Ok(());
    }
    recorded(&client, &out, &id, &execution, &problem).await
}

/// The first bytes of the output, which the execution record keeps.
async fn recorded(
    client: &Client,
    out: &Out,
    id: &str,
    execution: &str,
    problem: &Error,
) -> Result<(), Failure> {
    let page = client.executions(id, &ExecutionsQuery { without_job: true, ..Default::default() }).await;
    let fresh = page.ok().and_then(|page| page.items.into_iter().find(|e| e.id == execution));
    let output = fresh.map(|e| e.run_output).unwrap_or_default();
    if output.stdout.is_empty() && output.stderr.is_empty() {
        out.warning(&format!("no output of execution {execution}: {problem}"));
        return Ok(());
    }
    print(out, false, &output.stdout)?;
    print(out, true, &output.stderr)
}

/// Output of the job's standard output goes to ours, its standard error to ours.
fn print(out: &Out, is_stderr: bool, text: &str) -> Result<(), Failure> {
    if is_stderr {
        out.raw_error(text.as_bytes());
        return Ok(());
    }
    out.raw(text.as_bytes())
}
