//! Queries about jobs.

use super::history::{self, Line};
use super::input::{Id, Input};
use super::reply::{Answer, Failure, Json, bad_request};
use super::{App, Length};
use axum::extract::State;
use bacalhau_model::error::code;
use bacalhau_model::paging::PagingToken;
use bacalhau_model::{Error, Execution, Job, JobType, selector};
use bacalhau_store::orchestrator::{self as store, HistoryQuery, ListJobs, OrderBy, Paging, Versions};
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

impl<T> Page<T> {
    /// A page after which nothing comes.
    fn only(items: Vec<T>) -> Page<T> {
        Page { next_token: String::new(), items }
    }

    /// A page at the place that the token says.
    fn of(page: store::Page<T>, mut token: PagingToken) -> Page<T> {
        if !page.more {
            return Page::only(page.items);
        }
        token.offset = token.offset.saturating_add(u32::try_from(page.items.len()).unwrap_or(u32::MAX));
        Page { next_token: token.encode(), items: page.items }
    }
}

pub(super) fn versions_of(input: &Input) -> Result<Versions, Failure> {
    Ok(match (input.number("job_version")?, input.boolean("all_job_versions")?) {
        (0, true) => Versions::All,
        (0, false) => Versions::Latest,
        (version, _) => Versions::One(version),
    })
}

/// Order and part as the parameters say, or the token of the page before, which has them all.
fn token_of(input: &Input) -> Result<PagingToken, Failure> {
    let token = input.text("next_token")?;
    if !token.is_empty() {
        return PagingToken::decode(&token).map_err(bad_request);
    }
    Ok(PagingToken {
        sort_by: input.text("order_by")?,
        reverse: input.boolean("reverse")?,
        limit: input.small_number("limit")?,
        offset: 0,
    })
}

fn paging_of(token: &PagingToken, order_by: OrderBy) -> Paging {
    Paging { order_by, reverse: token.reverse, limit: token.limit, offset: token.offset }
}

fn order_of(text: &str) -> Option<OrderBy> {
    match text {
        "" | "created_at" | "create_time" => Some(OrderBy::Created),
        "modified_at" | "modify_time" => Some(OrderBy::Modified),
        _ => None,
    }
}

pub(super) async fn list(State(app): State<App>, input: Input) -> Answer {
    let token = token_of(&input)?;
    let order_by = order_of(&token.sort_by).ok_or_else(|| {
        Error::new(code::BAD_REQUEST, format!("invalid order_by: {}", token.sort_by))
            .component("APIServer")
            .hint("Use created_at or modified_at")
    })?;
    let namespace = Some(input.text("namespace")?).filter(|n| !n.is_empty() && n != "*");
    let labels = selector::parse(&input.texts("labels").join(",")).map_err(bad_request)?;
    let list = ListJobs { namespace, labels, paging: paging_of(&token, order_by) };
    app.show(Length::Unknown, move |records| Ok(Page::of(records.list(&list)?, token))).await
}

/// `GET /jobs/diff` means a job of that name.
pub(super) async fn named_diff(state: State<App>, input: Input) -> Answer {
    get(state, Id("diff".to_owned()), input).await
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Full {
    job: Job,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Page<Line>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executions: Option<Page<Execution>>,
}

pub(super) async fn get(State(app): State<App>, Id(id): Id, input: Input) -> Answer {
    let (namespace, version) = (input.text("namespace")?, input.number("job_version")?);
    let include = input.text("include")?;
    let wants = |what: &str| include.split(',').any(|word| word.trim() == what);
    let (wants_history, wants_executions) = (wants("history"), wants("executions"));
    let (old_client, without_job) = (history::is_old(&input), input.boolean("without_job")?);
    let length = if wants_executions { Length::Unknown } else { Length::Short };
    let full = app.show(length, move |records| {
        let mut job = records.resolve(&namespace, &id)?;
        if version != 0 {
            job = records.job(&job.id, version)?;
        }
        // Executions of earlier versions that go on in the latest belong to it.
        let versions = if version == 0 { Versions::Latest } else { Versions::One(version) };
        let history = match wants_history {
            true => {
                let limit = HISTORY_WITH_JOB;
                let query = HistoryQuery { job_id: &job.id, versions, limit, ..HistoryQuery::default() };
                let lines = records.history(&query)?.items.into_iter();
                Some(Page::only(lines.map(|line| Line::of(line, old_client)).collect()))
            }
            false => None,
        };
        let executions = match wants_executions {
            true => {
                let items = records.executions(&job.id, versions, Paging::default())?.items;
                Some(Page::only(trimmed(items, without_job)))
            }
            false => None,
        };
        Ok(Full { job, history, executions })
    });
    full.await
}

pub(super) async fn executions(State(app): State<App>, Id(id): Id, input: Input) -> Answer {
    let (namespace, versions, token) = (input.text("namespace")?, versions_of(&input)?, token_of(&input)?);
    // Bacalhau 1.9 takes any word here.
    let paging = paging_of(&token, order_of(&token.sort_by).unwrap_or_default());
    let without_job = input.boolean("without_job")?;
    let page = app.show(Length::Unknown, move |records| {
        let job = records.resolve(&namespace, &id)?;
        let mut page = records.executions(&job.id, versions, paging)?;
        page.items = trimmed(page.items, without_job);
        Ok(Page::of(page, token))
    });
    page.await
}

/// Each execution carries its job, as in Bacalhau 1.9, unless the client can do without.
fn trimmed(mut executions: Vec<Execution>, without_job: bool) -> Vec<Execution> {
    if without_job {
        executions.iter_mut().for_each(|execution| execution.job = None);
    }
    executions
}

pub(super) async fn versions(State(app): State<App>, Id(id): Id, input: Input) -> Answer {
    let namespace = input.text("namespace")?;
    let versions = app.show(Length::Unknown, move |records| {
        let job = records.resolve(&namespace, &id)?;
        Ok(Page::only(records.versions(&job.id)?))
    });
    versions.await
}

pub(super) async fn results(State(app): State<App>, Id(id): Id, input: Input) -> Answer {
    let namespace = input.text("namespace")?;
    let results = app.read(Length::Unknown, move |records| {
        let job = records.resolve(&namespace, &id)?;
        if job.job_type().is_some_and(JobType::is_long_running) {
            let text = format!("job type {} does not support results", job.r#type);
            let hint = "Only batch and ops jobs come to an end with results";
            return Err(Failure(Error::new(code::BAD_REQUEST, text).component("APIServer").hint(hint)));
        }
        Json::unescaped(&Page::only(records.results(&job.id)?))
    });
    results.await
}
