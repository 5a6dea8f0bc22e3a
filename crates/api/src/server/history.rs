//! A job's history, page by page, also while it grows.
//!
//! The next token is a cursor, not a sign of more: it is there as long as more lines are or the job, or the execution
//! asked about, is not at its end. Clients wait for a job by reading until it is empty.

use super::backend::Records;
use super::input::{Id, Input};
use super::jobs::{Page, versions_of};
use super::reply::{Answer, Failure, bad_request};
use super::{App, Length};
use axum::extract::State;
use bacalhau_model::error::code;
use bacalhau_model::paging::PagingToken;
use bacalhau_model::{Error, Execution, HistoryType, Job, JobHistory, ids};
use bacalhau_store::orchestrator::{HistoryQuery, Paging, Versions};
use serde::Serialize;

/// Lines of a page when the client does not say.
const PAGE: u32 = 100;
const SECOND: i64 = 1_000_000_000;

pub(super) async fn history(State(app): State<App>, Id(id): Id, input: Input) -> Answer {
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
    let limit = if asked == 0 { PAGE } else { asked };
    let from = u64::from(token.offset).max(1);
    let since = i64::try_from(input.number("since")?).unwrap_or(i64::MAX).saturating_mul(SECOND);
    let (versions, kind) = (versions_of(&input)?, kind_of(&input.text("event_type")?)?);
    let (namespace, execution) = (input.text("namespace")?, input.text("execution_id")?);
    let old_client = is_old(&input);
    // Which executions there are is read only for the end of those asked about.
    let length = if execution.is_empty() { Length::Short } else { Length::Unknown };
    let shown = app.show(length, move |records| {
        // The end first, the lines after it: what made a job final is then among the lines.
        let job = records.resolve(&namespace, &id)?;
        let over = is_over(records, &job, &execution)?;
        let query = HistoryQuery {
            job_id: &job.id,
            versions,
            r#type: kind,
            execution: &execution,
            since,
            from,
            limit,
        };
        let page = records.history(&query)?;
        let next_token = if over && !page.more {
            String::new()
        } else {
            let next = page.items.last().map_or(from, |line| line.seq_num.saturating_add(1));
            let offset = u32::try_from(next).unwrap_or(u32::MAX);
            PagingToken { limit: asked, offset, ..PagingToken::default() }.encode()
        };
        let items = page.items.into_iter().map(|line| Line::of(line, old_client)).collect();
        Ok(Page { next_token, items })
    });
    shown.await
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
fn is_over(records: &dyn Records, job: &Job, execution: &str) -> Result<bool, Error> {
    if execution.is_empty() {
        return Ok(job.is_terminal());
    }
    let all = records.executions(&job.id, Versions::All, Paging::default())?.items;
    let mut found = all.iter().filter(|e| e.id.starts_with(execution)).peekable();
    match found.peek() {
        Some(_) => Ok(job.is_terminal() || found.all(Execution::is_terminal)),
        None if ids::is_full_id(execution) => {
            let text = format!("execution not found: {execution}");
            Err(Error::new(code::NOT_FOUND, text).component("JobStore"))
        }
        None => Ok(job.is_terminal()),
    }
}

/// Clients before 1.5 read two members that later ones do not have.
pub(super) fn is_old(input: &Input) -> bool {
    let version = input.header("x-bacalhau-git-version");
    !matches!(version, "" | "v0.0.0" | "v0.0.0-xxxxxxx") && version < "v1.5."
}

#[derive(Serialize)]
struct Empty {}

/// A line as it is sent.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Line {
    seq_num: u64,
    r#type: HistoryType,
    #[serde(rename = "JobID")]
    job_id: String,
    job_version: u64,
    #[serde(rename = "ExecutionID", skip_serializing_if = "String::is_empty")]
    execution_id: String,
    event: bacalhau_model::Event,
    time: bacalhau_model::Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_state: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_state: Option<Empty>,
}

impl Line {
    pub(super) fn of(line: JobHistory, old_client: bool) -> Line {
        let is_job = line.r#type == HistoryType::JobLevel;
        Line {
            seq_num: line.seq_num,
            r#type: line.r#type,
            job_id: line.job_id,
            job_version: line.job_version,
            execution_id: line.execution_id,
            event: line.event,
            time: line.time,
            job_state: (old_client && is_job).then_some(Empty {}),
            execution_state: (old_client && !is_job).then_some(Empty {}),
        }
    }
}
