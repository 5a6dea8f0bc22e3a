//! The tables, and how changes get into them.

use super::change::Change;
use super::record::{ExecutionRecord, HistoryRecord, Progress, encode, spec_of};
use super::retention;
use crate::schema::Schema;
use bacalhau_model::{Execution, Job, JobHistory};
use rusqlite::{Transaction, params};

/// Jobs have a small number of their own, so that rows which belong to one need not repeat its ID.
const FIRST: &str = "
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    final INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    modify_time INTEGER NOT NULL,
    UNIQUE (namespace, name)
);
CREATE INDEX jobs_created ON jobs (create_time, number);
CREATE INDEX jobs_modified ON jobs (modify_time, number);
CREATE INDEX jobs_unfinished ON jobs (number) WHERE final = 0;
CREATE TABLE versions (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    spec TEXT NOT NULL,
    progress TEXT NOT NULL,
    PRIMARY KEY (job, version)
) WITHOUT ROWID;
CREATE TABLE executions (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    pending INTEGER,
    record TEXT NOT NULL
);
CREATE INDEX executions_of_job ON executions (job);
CREATE INDEX executions_pending ON executions (number) WHERE pending IS NOT NULL;
CREATE TABLE history (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) WITHOUT ROWID;
CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    record TEXT NOT NULL
) WITHOUT ROWID;
";

pub(super) static SCHEMA: Schema<Change> = Schema {
    migrations: &[FIRST, super::events::MIGRATION, retention::MIGRATION],
    apply,
    sweep: retention::sweep,
};

fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::PutJob(job) => put_job(transaction, job),
        Change::PutExecution { execution, pending } => {
            put_execution(transaction, execution, pending.map(super::PendingMessage::number))
        }
        Change::AppendHistory(line) => append_history(transaction, line),
        Change::PutNode(node) => {
            let sql =
                "INSERT INTO nodes (id, record) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET record = ?2";
            transaction.prepare_cached(sql)?.execute(params![node.info.node_id, encode(node)?]).map(drop)
        }
        Change::DeleteNode(id) => {
            transaction.prepare_cached("DELETE FROM nodes WHERE id = ?1")?.execute([id]).map(drop)
        }
        Change::AppendEvents { events, forget_below } => {
            super::events::append(transaction, events, *forget_below)
        }
        Change::DeleteJob(id) => retention::delete_job(transaction, id),
        Change::DeleteExecutions(ids) => retention::delete_executions(transaction, ids),
        Change::DeleteHistory { job_id, before } => retention::delete_history(transaction, job_id, *before),
    }
}

fn put_job(transaction: &Transaction<'_>, job: &Job) -> rusqlite::Result<()> {
    let progress = encode(&Progress::of(job))?;
    let known = "UPDATE versions SET progress = ?3
        WHERE job = (SELECT number FROM jobs WHERE id = ?1) AND version = ?2";
    let version_exists = job.revision > 1
        && transaction.prepare_cached(known)?.execute(params![job.id, job.version, progress])? > 0;
    // The number of a deleted job is free only when its rows are swept out.
    let latest = "INSERT INTO jobs (number, id, namespace, name, version, final, create_time, modify_time)
        VALUES (1 + MAX((SELECT COALESCE(MAX(number), 0) FROM jobs), (SELECT COALESCE(MAX(job), 0) FROM waste)),
            ?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (id) DO UPDATE SET version = ?4, final = ?5, modify_time = ?7";
    transaction.prepare_cached(latest)?.execute(params![
        job.id,
        job.namespace,
        job.name,
        job.version,
        job.is_terminal(),
        job.create_time,
        job.modify_time
    ])?;
    if !version_exists {
        let new = "INSERT INTO versions (job, version, spec, progress)
            SELECT number, ?2, ?3, ?4 FROM jobs WHERE id = ?1";
        transaction.prepare_cached(new)?.execute(params![
            job.id,
            job.version,
            encode(&spec_of(job))?,
            progress
        ])?;
    }
    Ok(())
}

fn put_execution(
    transaction: &Transaction<'_>,
    execution: &Execution,
    pending: Option<i64>,
) -> rusqlite::Result<()> {
    let record = encode(&ExecutionRecord::of(execution))?;
    let update = "UPDATE executions SET pending = ?2, record = ?3 WHERE id = ?1";
    if transaction.prepare_cached(update)?.execute(params![execution.id, pending, record])? > 0 {
        return Ok(());
    }
    let insert = "INSERT INTO executions (id, job, version, create_time, pending, record)
        SELECT ?1, number, ?3, ?4, ?5, ?6 FROM jobs WHERE id = ?2";
    one(transaction.prepare_cached(insert)?.execute(params![
        execution.id,
        execution.job_id,
        execution.job_version,
        execution.create_time,
        pending,
        record
    ])?)
}

/// A row that belongs to a job which is not there would vanish silently: that is an error instead.
fn one(rows: usize) -> rusqlite::Result<()> {
    if rows == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(rows)) }
}

fn append_history(transaction: &Transaction<'_>, line: &JobHistory) -> rusqlite::Result<()> {
    let sql = "INSERT INTO history (job, seq, record) SELECT number, ?2, ?3 FROM jobs WHERE id = ?1";
    let record = encode(&HistoryRecord::of(line))?;
    one(transaction.prepare_cached(sql)?.execute(params![line.job_id, line.seq_num, record])?)
}
