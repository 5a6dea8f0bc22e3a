//! What is deleted, and how its room comes free without a commit that takes long.
//!
//! A deleted job leaves the tables of jobs at once, in the transaction that says so: every query starts there, so nothing of
//! it is seen again, after a crash neither. Its rows are then waste, which the writer sweeps out in slices when it
//! has nothing better to do. A row whose node has not acknowledged a cancellation is swept only after it has, so
//! that the promise to tell the node outlives the job.

use super::executions::{COLUMNS, execution_of, read};
use super::jobs::version;
use super::reader::Reader;
use crate::error::StoreError;
use crate::pool::QueryError;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::BTreeSet;

/// Numbers of deleted jobs whose rows are not all swept out, and an order of finished jobs by their end.
pub(super) const MIGRATION: &str = "
CREATE TABLE waste (job INTEGER PRIMARY KEY);
CREATE INDEX jobs_finished ON jobs (modify_time, number) WHERE final = 1;
";

/// Rows swept out in one transaction. A row is up to a few kilobytes; some hundred take a few milliseconds.
const SLICE: usize = 500;
/// Specs swept out in one transaction; with its inputs one may have a megabyte.
const SPECS: usize = 16;
/// Unfinished jobs looked at in one query.
const LOOK_AT: usize = 1_000;

/// Lets a job vanish. Its number stays taken until its rows are swept out.
pub(super) fn delete_job(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    let waste = "INSERT INTO waste (job) SELECT number FROM jobs WHERE id = ?1";
    transaction.prepare_cached(waste)?.execute([id])?;
    transaction.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([id]).map(drop)
}

/// Deletes executions that are over, by ID.
pub(super) fn delete_executions(transaction: &Transaction<'_>, ids: &[String]) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare_cached("DELETE FROM executions WHERE id = ?1")?;
    ids.iter().try_for_each(|id| delete.execute([id]).map(drop))
}

/// Deletes the lines of a job's history before number `before`.
pub(super) fn delete_history(transaction: &Transaction<'_>, job: &str, before: u64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM history WHERE job = (SELECT number FROM jobs WHERE id = ?1) AND seq < ?2";
    transaction.prepare_cached(sql)?.execute(params![job, before]).map(drop)
}

/// Sweeps out one slice of what deleted jobs left. Says whether there may be more.
pub(super) fn sweep(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let is_clean: bool =
        transaction.prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM waste)")?.query_row([], |r| r.get(0))?;
    if is_clean {
        return Ok(false);
    }
    // CROSS JOIN keeps the order of the loops: from the few jobs to their rows.
    let executions = "DELETE FROM executions WHERE number IN (SELECT e.number FROM waste w
        CROSS JOIN executions e ON e.job = w.job WHERE e.pending IS NULL LIMIT ?1)";
    let mut swept = transaction.prepare_cached(executions)?.execute([SLICE])?;
    if swept < SLICE {
        let history = "DELETE FROM history WHERE (job, seq) IN (SELECT h.job, h.seq FROM waste w
            CROSS JOIN history h ON h.job = w.job LIMIT ?1)";
        swept += transaction.prepare_cached(history)?.execute([SLICE - swept])?;
    }
    let mut specs = 0;
    if swept < SLICE {
        let versions = "DELETE FROM versions WHERE (job, version) IN (SELECT v.job, v.version FROM waste w
            CROSS JOIN versions v ON v.job = w.job LIMIT ?1)";
        specs = transaction.prepare_cached(versions)?.execute([SPECS])?;
    }
    if swept == SLICE || specs == SPECS {
        return Ok(true);
    }
    let done = "DELETE FROM waste WHERE NOT EXISTS (SELECT 1 FROM executions e WHERE e.job = waste.job)
        AND NOT EXISTS (SELECT 1 FROM history h WHERE h.job = waste.job)
        AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.job = waste.job)";
    transaction.prepare_cached(done)?.execute([])?;
    Ok(false)
}

/// Where a finished job stands in the order of their ends: when it ended, nanoseconds since 1970, and its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(super) ended: i64,
    pub(super) number: i64,
}

/// A finished job that is beyond the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Its ID.
    pub job_id: String,
    /// Where it stands. A job that was run again stands elsewhere.
    pub place: Place,
}

/// The last of the finished jobs to be deleted, if any: those that ended before `ended_before` (nanoseconds since
/// 1970), and all but the last `most` (`None` for no limit).
pub(super) fn bound(c: &Connection, ended_before: i64, most: Option<u64>) -> rusqlite::Result<Option<Place>> {
    let place = |row: &rusqlite::Row<'_>| Ok(Place { ended: row.get(0)?, number: row.get(1)? });
    let by_age = "SELECT modify_time, number FROM jobs WHERE final = 1 AND modify_time < ?1
        ORDER BY modify_time DESC, number DESC LIMIT 1";
    let by_age = c.prepare_cached(by_age)?.query_row([ended_before], place).optional()?;
    let by_number = "SELECT modify_time, number FROM jobs WHERE final = 1
        ORDER BY modify_time DESC, number DESC LIMIT 1 OFFSET ?1";
    let by_number = match most {
        Some(most) => c.prepare_cached(by_number)?.query_row([most], place).optional()?,
        None => None,
    };
    Ok(by_age.max(by_number))
}

/// Finished jobs after `after` up to `bound`, in order of their ends.
pub(super) fn expired(
    c: &Connection,
    after: Place,
    bound: Place,
    limit: usize,
) -> rusqlite::Result<Vec<Expired>> {
    let sql = "SELECT id, modify_time, number FROM jobs WHERE final = 1
        AND (modify_time, number) > (?1, ?2) AND (modify_time, number) <= (?3, ?4)
        ORDER BY modify_time, number LIMIT ?5";
    let mut statement = c.prepare_cached(sql)?;
    let rows =
        statement.query_map(params![after.ended, after.number, bound.ended, bound.number, limit], |row| {
            let place = Place { ended: row.get(1)?, number: row.get(2)? };
            Ok(Expired { job_id: row.get(0)?, place })
        })?;
    rows.collect()
}

/// Those of the jobs that are still finished and have not run since they were found.
pub(super) fn still_expired(c: &Connection, found: &[Expired]) -> rusqlite::Result<Vec<String>> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM jobs WHERE number = ?1 AND id = ?2 AND modify_time = ?3 AND final = 1)";
    let mut statement = c.prepare_cached(sql)?;
    let mut still = Vec::with_capacity(found.len());
    for Expired { job_id, place } in found {
        if statement.query_row(params![place.number, job_id, place.ended], |row| row.get(0))? {
            still.push(job_id.clone());
        }
    }
    Ok(still)
}

/// What an unfinished job has too much of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The job's ID.
    pub job_id: String,
    /// IDs of executions that are over, oldest first.
    pub executions: Vec<String>,
    /// Lines of the history before this number; 0 for none.
    pub history_before: u64,
}

/// How much is kept of a job that is not finished. `None` is everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Executions that are over.
    pub executions: Option<u64>,
    /// Lines of history.
    pub history: Option<u64>,
}

/// Numbers of unfinished jobs after `after` that may have more than is kept, and the number to go on after (`None` at the end).
pub(super) fn overgrown(
    c: &Connection,
    keep: Keep,
    after: i64,
    look_at: usize,
) -> rusqlite::Result<(Vec<i64>, Option<i64>)> {
    // Lines of history are numbered without gaps, so the ends say how many there are.
    let sql = "SELECT number, (SELECT COUNT(*) FROM executions e WHERE e.job = j.number) > ?3
            OR (SELECT COALESCE(MAX(seq), 0) FROM history h WHERE h.job = j.number)
                - (SELECT COALESCE(MIN(seq), 0) FROM history h WHERE h.job = j.number) >= ?4
        FROM jobs j WHERE final = 0 AND number > ?1 ORDER BY number LIMIT ?2";
    let limit = |keep: Option<u64>| keep.and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX);
    let mut statement = c.prepare_cached(sql)?;
    let parameters = params![after, look_at, limit(keep.executions), limit(keep.history)];
    let rows = statement.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, bool)> = rows.collect::<rusqlite::Result<_>>()?;
    let last = rows.last().filter(|_| rows.len() == look_at).map(|(number, _)| *number);
    Ok((rows.into_iter().filter(|(_, over)| *over).map(|(number, _)| number).collect(), last))
}

/// What a job has too much of, oldest first, at most `limit` executions and lines. Kept in any case: what is not over
/// or not acknowledged; of a job that will end, everything of its latest version, which decides how it ends; and of
/// one that will not, the last attempt of each partition on each node, from which a restart learns its back-off.
pub(super) fn excess(
    c: &Connection,
    number: i64,
    keep: Keep,
    limit: usize,
) -> Result<Option<Excess>, QueryError> {
    let c = c.unchecked_transaction()?;
    let Some(job) = version(&c, number, 0)?.filter(|job| !job.is_terminal()) else { return Ok(None) };
    let endless = job.job_type().is_some_and(bacalhau_model::JobType::is_long_running);
    let mut excess = Excess { job_id: job.id.clone(), executions: Vec::new(), history_before: 0 };
    if let Some(most) = keep.history {
        let sql = "SELECT COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0) FROM history WHERE job = ?1";
        let (first, last): (u64, u64) =
            c.prepare_cached(sql)?.query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let before = (last + 1).saturating_sub(most).min(first + limit as u64);
        excess.history_before = if before > first { before } else { 0 };
    }
    if let Some(most) = keep.executions {
        let sql = format!(
            "SELECT {COLUMNS} FROM executions e JOIN jobs j ON j.number = e.job
             WHERE e.job = ?1 AND e.pending IS NULL ORDER BY e.number DESC"
        );
        let mut statement = c.prepare_cached(&sql)?;
        let mut rows = statement.query([number])?;
        let mut seen = BTreeSet::new();
        let mut kept = 0;
        let mut goers = Vec::new();
        while let Some(row) = rows.next()? {
            let (execution, _) = execution_of(read(row)?)?;
            if !execution.is_terminal() {
                continue;
            }
            let latest = execution.job_version == job.version;
            let needed = latest && (!endless || seen.insert((execution.node_id, execution.partition_index)));
            if kept < most {
                kept += 1;
            } else if !needed {
                goers.push(execution.id);
            }
        }
        excess.executions = goers.into_iter().rev().take(limit).collect();
    }
    let nothing = excess.executions.is_empty() && excess.history_before == 0;
    Ok((!nothing).then_some(excess))
}

/// What housekeeping asks. These may read much and belong on a thread that may block.
impl Reader {
    /// The last of the finished jobs to be deleted, if any: those that ended before `ended_before` (nanoseconds
    /// since 1970), and all but the last `most` (`None` for no limit).
    pub fn expiry_bound(&self, ended_before: i64, most: Option<u64>) -> Result<Option<Place>, StoreError> {
        self.pool.read(|c| Ok(bound(c, ended_before, most)?))
    }

    /// Finished jobs after `after` up to `bound`, in the order of their ends.
    pub fn expired(&self, after: Place, bound: Place, limit: usize) -> Result<Vec<Expired>, StoreError> {
        self.pool.read(|c| Ok(expired(c, after, bound, limit)?))
    }

    /// Those of the jobs that are still finished and have not run since they were found. Quick.
    pub fn still_expired(&self, found: &[Expired]) -> Result<Vec<String>, StoreError> {
        self.pool.read(|c| Ok(still_expired(c, found)?))
    }

    /// Numbers of unfinished jobs that may have more than is kept, looking at some after number `after`, and the
    /// number to go on after, `None` at the end.
    pub fn overgrown(&self, keep: Keep, after: i64) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        self.pool.read(|c| Ok(overgrown(c, keep, after, LOOK_AT)?))
    }

    /// What the unfinished job of that number has too much of, at most `limit` executions and lines.
    pub fn excess(&self, number: i64, keep: Keep, limit: usize) -> Result<Option<Excess>, StoreError> {
        self.pool.read(|c| excess(c, number, keep, limit))
    }
}
