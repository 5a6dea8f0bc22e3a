//! Queries about executions.

use super::jobs::{job_of, number_by_id};
use super::reader::{OrderBy, Page, Paging, Versions};
use super::record::{ExecutionRecord, decode};
use crate::pool::QueryError;
use bacalhau_model::{Execution, Job};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Columns that [`execution_of`] reads.
pub(super) const COLUMNS: &str = "e.id, j.id, j.namespace, e.version, e.create_time, e.record, e.pending";

/// Executions of a job with the job as it was in their version.
pub(super) fn of_job(
    c: &Connection,
    job_id: &str,
    versions: Versions,
    paging: Paging,
) -> Result<Page<Execution>, QueryError> {
    let Some(number) = number_by_id(c, job_id)? else { return Ok(Page::default()) };
    let latest = super::jobs::version(c, number, 0)?;
    let kept = latest.as_ref().map(Job::kept_versions).unwrap_or_default();
    // Executions of earlier versions that go on in the latest, or are not replaced yet, belong to it.
    let is_wanted = |execution: &Execution| match versions {
        Versions::All => true,
        Versions::One(version) => execution.job_version == version,
        Versions::Latest => kept.contains(&execution.job_version) || !execution.is_terminal(),
    };
    let sql = format!("SELECT {COLUMNS} FROM executions e JOIN jobs j ON j.number = e.job WHERE e.job = ?1");
    let mut statement = c.prepare_cached(&sql)?;
    let mut rows = statement.query([number])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let (execution, _) = execution_of(read(row)?)?;
        if is_wanted(&execution) {
            items.push(execution);
        }
    }
    let key = |e: &Execution| match paging.order_by {
        OrderBy::Created => e.create_time,
        OrderBy::Modified => e.modify_time,
    };
    items.sort_by(|a, b| (key(a), a.partition_index, &a.id).cmp(&(key(b), b.partition_index, &b.id)));
    if paging.reverse {
        items.reverse();
    }
    let mut items: Vec<_> = items.into_iter().skip(paging.offset as usize).collect();
    let limit = if paging.limit == 0 { usize::MAX } else { paging.limit as usize };
    let more = items.len() > limit;
    items.truncate(limit);
    with_jobs(c, number, &mut items)?;
    Ok(Page { items, more })
}

pub(super) fn by_id(c: &Connection, id: &str) -> Result<Option<Execution>, QueryError> {
    let sql = format!("SELECT {COLUMNS} FROM executions e JOIN jobs j ON j.number = e.job WHERE e.id = ?1");
    let row = c.prepare_cached(&sql)?.query_row([id], read).optional()?;
    let Some((mut execution, _)) = row.map(execution_of).transpose()? else { return Ok(None) };
    if let Some(number) = number_by_id(c, &execution.job_id)? {
        with_jobs(c, number, std::slice::from_mut(&mut execution))?;
    }
    Ok(Some(execution))
}

/// Gives each execution its job, one copy per version.
fn with_jobs(c: &Connection, number: i64, executions: &mut [Execution]) -> Result<(), QueryError> {
    let sql = "SELECT v.spec, v.progress, j.id FROM versions v JOIN jobs j ON j.number = v.job
        WHERE v.job = ?1 AND v.version = ?2";
    let mut versions: BTreeMap<u64, Option<Arc<Job>>> = BTreeMap::new();
    for execution in executions {
        let job = match versions.get(&execution.job_version) {
            Some(job) => job.clone(),
            None => {
                let texts = c
                    .prepare_cached(sql)?
                    .query_row(params![number, execution.job_version], super::jobs::texts)
                    .optional()?;
                let job = texts.map(|t| job_of(&t)).transpose()?.map(Arc::new);
                versions.insert(execution.job_version, job.clone());
                job
            }
        };
        execution.job = job;
    }
    Ok(())
}

/// A row as read: the execution with what columns know, its record, its pending message.
pub(super) type RawExecution = (Execution, String, Option<i64>);

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<RawExecution> {
    let known = Execution {
        id: row.get(0)?,
        job_id: row.get(1)?,
        namespace: row.get(2)?,
        job_version: row.get(3)?,
        create_time: row.get(4)?,
        ..Execution::default()
    };
    Ok((known, row.get(5)?, row.get(6)?))
}

pub(super) fn execution_of(
    (known, record, pending): RawExecution,
) -> Result<(Execution, Option<super::PendingMessage>), QueryError> {
    let record: ExecutionRecord = decode("executions", &known.id, &record)?;
    Ok((record.into_execution(known), pending.and_then(super::PendingMessage::from_number)))
}
