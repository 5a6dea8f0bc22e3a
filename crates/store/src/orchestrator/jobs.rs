//! Queries about jobs.

use super::change::StoredJob;
use super::reader::{ListJobs, OrderBy, Page, job_not_found};
use super::record::{Progress, decode};
use crate::pool::QueryError;
use bacalhau_model::event::detail;
use bacalhau_model::job::meta;
use bacalhau_model::{Error, Job, ids};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// IDs named in the error about an ambiguous prefix.
const MOST_NAMED: usize = 3;

pub(super) fn number_by_name(c: &Connection, namespace: &str, name: &str) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT number FROM jobs WHERE namespace = ?1 AND name = ?2";
    c.prepare_cached(sql)?.query_row(params![namespace, name], |row| row.get(0)).optional()
}

pub(super) fn number_by_id(c: &Connection, id: &str) -> rusqlite::Result<Option<i64>> {
    c.prepare_cached("SELECT number FROM jobs WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()
}

/// One version of a job; 0 is the latest.
pub(super) fn version(c: &Connection, number: i64, version: u64) -> Result<Option<Job>, QueryError> {
    // Two statements: one that decided by its parameter would be compiled again whenever the parameter is bound.
    let row = if version == 0 {
        let sql = "SELECT v.spec, v.progress, j.id FROM jobs j
            JOIN versions v ON v.job = j.number AND v.version = j.version WHERE j.number = ?1";
        c.prepare_cached(sql)?.query_row([number], texts)
    } else {
        let sql = "SELECT v.spec, v.progress, j.id FROM jobs j
            JOIN versions v ON v.job = j.number WHERE j.number = ?1 AND v.version = ?2";
        c.prepare_cached(sql)?.query_row(params![number, version], texts)
    };
    row.optional()?.map(|texts| job_of(&texts)).transpose()
}

pub(super) fn stored(c: &Connection, number: i64) -> Result<Option<StoredJob>, QueryError> {
    let Some(job) = version(c, number, 0)? else { return Ok(None) };
    let sql = "SELECT COALESCE(MAX(seq), 0) + 1 FROM history WHERE job = ?1";
    let next_history_seq = c.prepare_cached(sql)?.query_row([number], |row| row.get(0))?;
    let previous = rolls_from(c, number, &job)?;
    Ok(Some(StoredJob { job, next_history_seq, previous, replaced: Vec::new() }))
}

/// The version that the job's rolling update started from, while that is not finished.
pub(super) fn rolls_from(c: &Connection, number: i64, job: &Job) -> Result<Option<Job>, QueryError> {
    let rolls = !job.is_terminal() && job.state.details.contains_key(detail::ROLLOUT);
    match job.meta.get(meta::ROLLS_FROM).filter(|_| rolls).and_then(|from| from.parse().ok()) {
        Some(from) => version(c, number, from),
        None => Ok(None),
    }
}

pub(super) fn versions(c: &Connection, id: &str) -> Result<Vec<Job>, QueryError> {
    let sql = "SELECT v.spec, v.progress, j.id FROM versions v JOIN jobs j ON j.number = v.job
        WHERE j.id = ?1 ORDER BY v.version";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([id], texts)?.collect::<Result<Vec<_>, _>>()?;
    rows.iter().map(job_of).collect()
}

/// By name, else by full ID, else by unique prefix.
pub(super) fn resolve(c: &Connection, namespace: &str, text: &str) -> Result<Result<Job, Error>, QueryError> {
    let exact = match number_by_name(c, namespace, text)? {
        Some(number) => Some(number),
        None => number_by_id(c, text)?,
    };
    if let Some(number) = exact {
        return Ok(version(c, number, 0)?.ok_or_else(|| job_not_found(text)));
    }
    if text.is_empty() || ids::is_full_id(text) {
        return Ok(Err(job_not_found(text)));
    }
    // A range on the index instead of LIKE, whose wildcards users could type.
    let sql = "SELECT number, id FROM jobs WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3";
    let end = format!("{text}\u{10FFFF}");
    let mut statement = c.prepare_cached(sql)?;
    let found = statement
        .query_map(params![text, end, i64::try_from(MOST_NAMED + 1).unwrap_or(4)], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    match found.as_slice() {
        [] => Ok(Err(job_not_found(text))),
        [(number, _)] => Ok(version(c, *number, 0)?.ok_or_else(|| job_not_found(text))),
        _ => Ok(Err(Error::new("MultipleJobsFound", format!("multiple jobs found for id {text}"))
            .component("JobStore")
            .status(409)
            .hint("Use full job ID"))),
    }
}

/// Walks the index in order, page by page of the database's own, and keeps what matches.
pub(super) fn list(c: &Connection, list: &ListJobs) -> Result<Page<Job>, QueryError> {
    let time = match list.paging.order_by {
        OrderBy::Created => "create_time",
        OrderBy::Modified => "modify_time",
    };
    let order = if list.paging.reverse { "DESC" } else { "ASC" };
    // A job without its version is a damaged record: an empty text is refused by name instead of left out.
    let sql = format!(
        "SELECT coalesce(v.spec, ''), coalesce(v.progress, ''), j.id FROM jobs j LEFT JOIN versions v ON v.job = j.number AND v.version = j.version
         WHERE ?1 IS NULL OR j.namespace = ?1 ORDER BY j.{time} {order}, j.number {order}"
    );
    let mut statement = c.prepare_cached(&sql)?;
    let mut rows = statement.query(params![list.namespace])?;
    let limit = usize::try_from(list.paging.limit).unwrap_or(usize::MAX);
    let mut skip = list.paging.offset;
    let mut page = Page::default();
    while let Some(row) = rows.next()? {
        let job = job_of(&texts(row)?)?;
        if !list.labels.iter().all(|requirement| requirement.matches(&job.labels)) {
            continue;
        }
        if skip > 0 {
            skip -= 1;
        } else if limit > 0 && page.items.len() == limit {
            page.more = true;
            break;
        } else {
            page.items.push(job);
        }
    }
    Ok(page)
}

/// Spec, progress and ID.
type Texts = (String, String, String);

pub(super) fn texts(row: &Row<'_>) -> rusqlite::Result<Texts> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

pub(super) fn job_of((spec, progress, id): &Texts) -> Result<Job, QueryError> {
    let mut job: Job = decode("versions", id, spec)?;
    decode::<Progress>("versions", id, progress)?.apply(&mut job);
    Ok(job)
}
