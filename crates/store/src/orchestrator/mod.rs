//! The orchestrator's database: jobs and their versions, executions, history, nodes.

mod apply;
mod change;
mod events;
mod executions;
mod history;
mod jobs;
mod load;
mod reader;
mod record;
mod retention;
#[cfg(test)]
mod retention_tests;
#[cfg(test)]
mod tests;

pub use change::{Change, PendingMessage, Snapshot, StoredJob};
pub use reader::{Counts, HistoryQuery, ListJobs, OrderBy, Page, Paging, Reader, Versions};
pub use retention::{Excess, Expired, Keep, Place};

use crate::error::StoreError;
use crate::files;
use crate::writer::Writer;
use std::path::Path;

/// Opens the database in a folder of its own, making or migrating it.
pub fn open(dir: &Path) -> Result<(Writer<Change>, Reader), StoreError> {
    let writer = Writer::open(dir, &apply::SCHEMA)?;
    let reader = Reader::open(&files::database(dir))?;
    Ok((writer, reader))
}
