//! Queries about history.

use super::jobs::number_by_id;
use super::reader::{HistoryQuery, Page, Versions};
use super::record::{HistoryRecord, decode};
use crate::pool::QueryError;
use bacalhau_model::JobHistory;
use rusqlite::{Connection, params};

/// Lines that match, oldest first.
pub(super) fn of_job(c: &Connection, query: &HistoryQuery<'_>) -> Result<Page<JobHistory>, QueryError> {
    let Some(number) = number_by_id(c, query.job_id)? else { return Ok(Page::default()) };
    let version = match query.versions {
        Versions::All => None,
        Versions::One(version) => Some(version),
        Versions::Latest => Some(
            c.prepare_cached("SELECT version FROM jobs WHERE number = ?1")?
                .query_row([number], |r| r.get(0))?,
        ),
    };
    let mut statement =
        c.prepare_cached("SELECT seq, record FROM history WHERE job = ?1 AND seq >= ?2 ORDER BY seq")?;
    let mut rows = statement.query(params![number, query.from])?;
    let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
    let mut page = Page::default();
    while let Some(row) = rows.next()? {
        let seq: u64 = row.get(0)?;
        let text: String = row.get(1)?;
        let record: HistoryRecord = decode("history", &format!("{} {seq}", query.job_id), &text)?;
        let line = record.into_line(query.job_id.to_owned(), seq);
        if !matches(query, version, &line) {
            continue;
        }
        if page.items.len() == limit {
            page.more = true;
            break;
        }
        page.items.push(line);
    }
    Ok(page)
}

fn matches(query: &HistoryQuery<'_>, version: Option<u64>, line: &JobHistory) -> bool {
    version.is_none_or(|v| v == line.job_version)
        && query.r#type.is_none_or(|t| t == line.r#type)
        && line.execution_id.starts_with(query.execution)
        && line.time.unix_nanos() >= query.since
}
