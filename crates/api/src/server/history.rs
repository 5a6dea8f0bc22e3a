//! A job's history, page by page, also while it grows.
//!
//! The next token is a cursor, not a sign of more: it is there as long as more lines are or the job, or the execution
//! asked about, is not at its end. Clients wait for a job by reading until it is empty.

use super::App;
use super::input::Input;
use super::jobs::{Page, orchestrator, resolve, versions_of};
use super::reply::{Answer, Failure, Json, bad_request};
use axum::extract::{Path, State};
use bacalhau_model::paging::PagingToken;
use bacalhau_model::{HistoryType, Job, JobHistory};
use bacalhau_store::orchestrator::{HistoryQuery, Paging, Versions};
use serde::Serialize;

/// Lines of a page when the client does not say.
const PAGE: u32 = 100;

pub(super) async fn history(State(app): State<App>, Path(id): Path<String>, input: Input) -> Answer {
    // The job first, the lines after it: what made a job final is then among the lines.
    let job = resolve(&app, &id, &input)?;
    let execution = input.text("execution_id")?;
    let token = input.text("next_token")?;
    let token = if token.is_empty() {
        PagingToken::default()
    } else {
        PagingToken::decode(&token).map_err(bad_request)?
    };
    let asked = match input.small_number("limit")? {
        0 => token.limit,
        limit => limit,
    };
    let from = u64::from(token.offset).max(1);
    let query = HistoryQuery {
        job_id: &job.id,
        versions: versions_of(&input)?,
        r#type: kind_of(&input.text("event_type")?)?,
        execution: &execution,
        since: i64::try_from(input.number("since")?).unwrap_or(i64::MAX).saturating_mul(1_000_000_000),
        from,
        limit: if asked == 0 { PAGE } else { asked },
    };
    let over = is_over(&app, &job, &execution)?;
    let page = orchestrator(&app)?.reader().history(&query)?;
    let next = page.items.last().map_or(from, |line| line.seq_num + 1);
    let next_token = if over && !page.more {
        String::new()
    } else {
        let offset = u32::try_from(next).unwrap_or(u32::MAX);
        PagingToken { limit: asked, offset, ..PagingToken::default() }.encode()
    };
    let old_client = is_old(input.header("x-bacalhau-git-version"));
    let items = page.items.into_iter().map(|line| Line::of(line, old_client)).collect();
    Json::of(&Page { next_token, items })
}

fn kind_of(text: &str) -> Result<Option<HistoryType>, Failure> {
    match text {
        "" | "all" => Ok(None),
        "job" => Ok(Some(HistoryType::JobLevel)),
        "execution" => Ok(Some(HistoryType::ExecutionLevel)),
        _ => Err(bad_request(
            "Key: 'ListJobHistoryRequest.EventType' Error:Field validation for 'EventType' failed on the 'oneof' tag",
        )),
    }
}

/// Nothing will be added any more, about the job or about the executions whose ID starts so.
fn is_over(app: &App, job: &Job, execution: &str) -> Result<bool, Failure> {
    if job.is_terminal() || execution.is_empty() {
        return Ok(job.is_terminal());
    }
    let all = orchestrator(app)?.reader().executions(&job.id, Versions::All, Paging::default())?;
    let mut found = all.items.iter().filter(|e| e.id.starts_with(execution)).peekable();
    Ok(found.peek().is_some() && found.all(bacalhau_model::Execution::is_terminal))
}

/// Clients before 1.5 read two members that later ones do not have.
fn is_old(version: &str) -> bool {
    !version.is_empty() && version < "v1.5."
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    seq_num: u64,
    r#type: HistoryType,
    #[serde(rename = "JobID")]
    job_id: String,
    job_version: u64,
    #[serde(rename = "ExecutionID", skip_serializing_if = "String::is_empty")]
    execution_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_state: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_state: Option<Empty>,
    event: bacalhau_model::Event,
    time: bacalhau_model::Time,
}

impl Line {
    fn of(line: JobHistory, old_client: bool) -> Line {
        let is_job = line.r#type == HistoryType::JobLevel;
        Line {
            seq_num: line.seq_num,
            r#type: line.r#type,
            job_id: line.job_id,
            job_version: line.job_version,
            execution_id: line.execution_id,
            job_state: (old_client && is_job).then_some(Empty {}),
            execution_state: (old_client && !is_job).then_some(Empty {}),
            event: line.event,
            time: line.time,
        }
    }
}
