//! A compute node's database: its executions and what the orchestrator has still to be told about them.

#[cfg(test)]
mod tests;

use crate::error::StoreError;
use crate::files;
use crate::pool::{Pool, QueryError};
use crate::schema::Schema;
use crate::writer::Writer;
use bacalhau_model::{Event, Execution};
use rusqlite::{Transaction, params};
use std::path::Path;

/// A report about an execution that the orchestrator has not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PendingReport {
    /// Would run it, or would not.
    BidResult,
    /// Done.
    RunResult,
    /// Failed.
    ComputeError,
    /// How far it is. Never stored: a restart begins to tell anew.
    Progress,
}

impl PendingReport {
    fn number(self) -> i64 {
        match self {
            PendingReport::BidResult => 1,
            PendingReport::RunResult => 2,
            PendingReport::ComputeError => 3,
            PendingReport::Progress => 4,
        }
    }

    fn from_number(number: i64) -> Option<PendingReport> {
        match number {
            1 => Some(PendingReport::BidResult),
            2 => Some(PendingReport::RunResult),
            3 => Some(PendingReport::ComputeError),
            _ => None,
        }
    }
}

/// One change. Changes of a batch are applied in order, all or none.
#[derive(Clone, Debug)]
pub enum Change {
    /// Creates or updates an execution, with its job.
    PutExecution {
        /// The record.
        execution: Box<Execution>,
        /// What the orchestrator has not acknowledged.
        pending: Option<PendingReport>,
        /// The event that the report carries.
        event: Option<Event>,
    },
    /// The execution is over and the orchestrator knows: nothing of it is needed any more.
    Forget(String),
}

/// An execution as it was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredExecution {
    /// The record, with its job.
    pub execution: Execution,
    /// What the orchestrator has not acknowledged.
    pub pending: Option<PendingReport>,
    /// The event that the report carries.
    pub event: Option<Event>,
}

/// The job is written once, when the execution comes; later changes write only the record.
const FIRST: &str = "
CREATE TABLE executions (
    id TEXT PRIMARY KEY,
    job TEXT,
    record TEXT NOT NULL,
    pending INTEGER,
    event TEXT
) WITHOUT ROWID;
";

static SCHEMA: Schema<Change> = Schema { migrations: &[FIRST], apply, sweep: |_| Ok(false) };

/// Opens the database in a folder of its own, making or migrating it. Gives the writer and what was stored.
pub fn open(dir: &Path) -> Result<(Writer<Change>, Vec<StoredExecution>), StoreError> {
    let writer = Writer::open(dir, &SCHEMA)?;
    let stored = Pool::open(&files::database(dir))?.read(load)?;
    Ok((writer, stored))
}

fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::PutExecution { execution, pending, event } => {
            let record = encode(&Execution { job: None, ..(**execution).clone() })?;
            let pending = pending.map(PendingReport::number);
            let event = event.as_ref().map(encode).transpose()?;
            let update = "UPDATE executions SET record = ?2, pending = ?3, event = ?4 WHERE id = ?1";
            let known =
                transaction.prepare_cached(update)?.execute(params![execution.id, record, pending, event])?;
            if known > 0 {
                return Ok(());
            }
            let job = execution.job.as_deref().map(encode).transpose()?;
            let insert =
                "INSERT INTO executions (id, job, record, pending, event) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut insert = transaction.prepare_cached(insert)?;
            insert.execute(params![execution.id, job, record, pending, event]).map(drop)
        }
        Change::Forget(id) => {
            transaction.prepare_cached("DELETE FROM executions WHERE id = ?1")?.execute([id]).map(drop)
        }
    }
}

fn encode<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

fn load(connection: &rusqlite::Connection) -> Result<Vec<StoredExecution>, QueryError> {
    let mut statement = connection.prepare("SELECT id, job, record, pending, event FROM executions")?;
    let mut rows = statement.query([])?;
    let mut stored = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let corrupt = |e: serde_json::Error| StoreError::Corrupt {
            table: "executions",
            key: id.clone(),
            error: e.to_string(),
        };
        let (job, record, event) =
            (row.get::<_, Option<String>>(1)?, row.get::<_, String>(2)?, row.get::<_, Option<String>>(4)?);
        let mut execution: Execution = serde_json::from_str(&record).map_err(corrupt)?;
        execution.job = job.map(|text| serde_json::from_str(&text)).transpose().map_err(corrupt)?;
        let event = event.map(|text| serde_json::from_str(&text)).transpose().map_err(corrupt)?;
        let pending = row.get::<_, Option<i64>>(3)?.and_then(PendingReport::from_number);
        stored.push(StoredExecution { execution, pending, event });
    }
    Ok(stored)
}
