//! Queries about jobs.

use super::App;
use super::input::Input;
use super::reply::{Answer, Failure, Json, bad_request};
use axum::extract::{Path, State};
use bacalhau_model::paging::PagingToken;
use bacalhau_model::{Error, Execution, Job, JobHistory, JobType, SpecConfig, selector};
use bacalhau_orchestrator::Orchestrator;
use bacalhau_store::orchestrator::{HistoryQuery, ListJobs, OrderBy, Paging, Versions};
use serde::Serialize;

/// Lines of history that come along with a job.
const HISTORY_WITH_JOB: u32 = 100;

/// A page of anything.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page<T> {
    pub(super) next_token: String,
    pub(super) items: Vec<T>,
}

/// The orchestrator; its routes exist only where there is one.
pub(super) fn orchestrator(app: &App) -> Result<&Orchestrator, Failure> {
    app.orchestrator.as_ref().ok_or_else(|| Failure(super::envelope::unknown_route()))
}

/// The job that `{id}` means: a name in the namespace, a full ID, or a unique prefix of one.
pub(super) fn resolve(app: &App, id: &str, input: &Input) -> Result<Job, Failure> {
    Ok(orchestrator(app)?.reader().resolve_job(&input.text("namespace")?, id)?)
}

pub(super) fn versions_of(input: &Input) -> Result<Versions, Failure> {
    Ok(match (input.number("job_version")?, input.boolean("all_job_versions")?) {
        (0, true) => Versions::All,
        (0, false) => Versions::Latest,
        (version, _) => Versions::One(version),
    })
}

fn order_of(text: &str) -> Result<OrderBy, Failure> {
    match text {
        "" | "created_at" | "create_time" => Ok(OrderBy::Created),
        "modified_at" | "modify_time" => Ok(OrderBy::Modified),
        other => Err(Failure(
            Error::new("BadRequest", format!("invalid order_by: {other:?}"))
                .component("APIServer")
                .hint("Use created_at or modified_at"),
        )),
    }
}

/// Order and part: the token's, where there is one, else the parameters'.
fn paging_of(input: &Input) -> Result<(Paging, PagingToken), Failure> {
    let token = input.text("next_token")?;
    let token = if token.is_empty() {
        PagingToken {
            sort_by: input.text("order_by")?,
            reverse: input.boolean("reverse")?,
            limit: input.small_number("limit")?,
            offset: 0,
        }
    } else {
        PagingToken::decode(&token).map_err(bad_request)?
    };
    let order_by = order_of(&token.sort_by)?;
    Ok((Paging { order_by, reverse: token.reverse, limit: token.limit, offset: token.offset }, token))
}

fn next_token(more: bool, mut token: PagingToken, count: usize) -> String {
    if !more {
        return String::new();
    }
    token.offset = token.offset.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    token.encode()
}

pub(super) async fn list(State(app): State<App>, input: Input) -> Answer {
    let (paging, token) = paging_of(&input)?;
    let namespace = Some(input.text("namespace")?).filter(|n| !n.is_empty() && n != "*");
    let labels = selector::parse(&input.texts("labels").join(",")).map_err(bad_request)?;
    let page = orchestrator(&app)?.reader().list_jobs(&ListJobs { namespace, labels, paging })?;
    Json::of(&Page { next_token: next_token(page.more, token, page.items.len()), items: page.items })
}

/// `GET /jobs/diff` means a job of that name.
pub(super) async fn named_diff(state: State<App>, input: Input) -> Answer {
    get(state, Path("diff".to_owned()), input).await
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Full {
    job: Job,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Page<JobHistory>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executions: Option<Page<Execution>>,
}

pub(super) async fn get(State(app): State<App>, Path(id): Path<String>, input: Input) -> Answer {
    let reader = orchestrator(&app)?.reader();
    let mut job = resolve(&app, &id, &input)?;
    let version = input.number("job_version")?;
    if version != 0 {
        job = reader.job(&job.id, version)?;
    }
    let include = input.text("include")?;
    let wants = |what: &str| include.split(',').any(|word| word.trim() == what);
    let versions = Versions::One(job.version);
    let history = if wants("history") {
        let query =
            HistoryQuery { job_id: &job.id, versions, limit: HISTORY_WITH_JOB, ..HistoryQuery::default() };
        Some(Page { next_token: String::new(), items: reader.history(&query)?.items })
    } else {
        None
    };
    let executions = if wants("executions") {
        let page = reader.executions(&job.id, versions, Paging::default())?;
        Some(Page { next_token: String::new(), items: page.items })
    } else {
        None
    };
    Json::of(&Full { job, history, executions })
}

pub(super) async fn executions(State(app): State<App>, Path(id): Path<String>, input: Input) -> Answer {
    let job = resolve(&app, &id, &input)?;
    let (paging, token) = paging_of(&input)?;
    let page = orchestrator(&app)?.reader().executions(&job.id, versions_of(&input)?, paging)?;
    Json::of(&Page { next_token: next_token(page.more, token, page.items.len()), items: page.items })
}

pub(super) async fn versions(State(app): State<App>, Path(id): Path<String>, input: Input) -> Answer {
    let job = resolve(&app, &id, &input)?;
    let items = orchestrator(&app)?.reader().versions(&job.id)?;
    Json::of(&Page { next_token: String::new(), items })
}

pub(super) async fn results(State(app): State<App>, Path(id): Path<String>, input: Input) -> Answer {
    let job = resolve(&app, &id, &input)?;
    if job.job_type().is_some_and(JobType::is_long_running) {
        let text = format!("job type {} does not support results", job.r#type);
        return Err(Failure(
            Error::plain(text).status(400).hint("Only batch and ops jobs come to an end with results"),
        ));
    }
    let items: Vec<SpecConfig> = orchestrator(&app)?.reader().results(&job.id)?;
    Json::unescaped(&Page { next_token: String::new(), items })
}
