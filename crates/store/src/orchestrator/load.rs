//! What a starting orchestrator reads, and counts.

use super::change::{Snapshot, StoredJob};
use super::executions::{COLUMNS, execution_of, read};
use super::jobs::{job_of, rolls_from, texts};
use super::reader::Counts;
use super::record::decode;
use crate::pool::QueryError;
use rusqlite::Connection;

pub(super) fn snapshot(c: &Connection) -> Result<Snapshot, QueryError> {
    // One consistent picture although several queries read it.
    let c = c.unchecked_transaction()?;
    let mut snapshot = Snapshot::default();
    let jobs = "SELECT v.spec, v.progress, j.id, j.number, (SELECT COALESCE(MAX(seq), 0) + 1 FROM history h WHERE h.job = j.number)
        FROM jobs j JOIN versions v ON v.job = j.number AND v.version = j.version WHERE j.final = 0";
    let mut statement = c.prepare(jobs)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let job = job_of(&texts(row)?)?;
        let previous = rolls_from(&c, row.get(3)?, &job)?;
        snapshot.jobs.push(StoredJob { job, next_history_seq: row.get(4)?, previous });
    }
    let executions = format!(
        "SELECT {COLUMNS} FROM jobs j JOIN executions e ON e.job = j.number WHERE j.final = 0
         UNION ALL
         SELECT {COLUMNS} FROM executions e JOIN jobs j ON j.number = e.job WHERE e.pending IS NOT NULL AND j.final = 1
         UNION ALL
         SELECT e.id, '', '', e.version, e.create_time, e.record, e.pending
         FROM executions e JOIN waste w ON w.job = e.job WHERE e.pending IS NOT NULL"
    );
    let mut statement = c.prepare(&executions)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        snapshot.executions.push(execution_of(read(row)?)?);
    }
    let mut statement = c.prepare("SELECT id, record FROM nodes")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, record): (String, String) = (row.get(0)?, row.get(1)?);
        snapshot.nodes.push(decode("nodes", &id, &record)?);
    }
    Ok(snapshot)
}

pub(super) fn counts(c: &Connection) -> Result<Counts, QueryError> {
    let count = |sql: &str| c.query_row(sql, [], |row| row.get(0));
    Ok(Counts {
        jobs: count("SELECT COUNT(*) FROM jobs")?,
        unfinished: count("SELECT COUNT(*) FROM jobs WHERE final = 0")?,
        executions: count("SELECT COUNT(*) FROM executions WHERE job NOT IN (SELECT job FROM waste)")?,
    })
}
