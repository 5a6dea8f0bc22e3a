//! What a starting orchestrator reads, and counts.

use super::change::{Snapshot, StoredJob};
use super::executions::{COLUMNS, execution_of, read};
use super::jobs::{job_of, rolls_from, texts, version};
use super::reader::Counts;
use super::record::decode;
use crate::pool::QueryError;
use rusqlite::Connection;
use std::collections::BTreeSet;

pub(super) fn snapshot(c: &Connection) -> Result<Snapshot, QueryError> {
    // One consistent picture although several queries read it.
    let c = c.unchecked_transaction()?;
    let mut snapshot = Snapshot::default();
    let jobs = "SELECT v.spec, v.progress, j.id, j.number, (SELECT COALESCE(MAX(seq), 0) + 1 FROM history h WHERE h.job = j.number)
        FROM jobs j JOIN versions v ON v.job = j.number AND v.version = j.version WHERE j.final = 0";
    let mut rolling = Vec::new();
    let mut statement = c.prepare(jobs)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (job, number) = (job_of(&texts(row)?)?, row.get(3)?);
        let previous = rolls_from(&c, number, &job)?;
        if previous.is_some() {
            rolling.push((number, snapshot.jobs.len()));
        }
        let next_history_seq = row.get(4)?;
        snapshot.jobs.push(StoredJob { job, next_history_seq, previous, replaced: Vec::new() });
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
    for (number, at) in rolling {
        if let Some(stored) = snapshot.jobs.get_mut(at) {
            let (id, latest) = (&stored.job.id, stored.job.version);
            let of_job = snapshot.executions.iter().map(|(e, _)| e).filter(|e| e.job_id == *id);
            let replaced = of_job.filter(|e| !e.is_terminal() && e.job_version != latest);
            for earlier in replaced.map(|e| e.job_version).collect::<BTreeSet<_>>() {
                stored.replaced.extend(version(&c, number, earlier)?);
            }
        }
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
