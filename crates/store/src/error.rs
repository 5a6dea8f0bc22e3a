//! What can go wrong with a database, in words that name the file and the way out.

use bacalhau_model::Error;
use bacalhau_model::error::code;
use std::path::PathBuf;

/// A database could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or a file in it.
    #[error("{}: {error}; check that the disk has space and that the folder belongs to you", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another process has it.
    #[error("{} is used by another bacalhau; stop that one or choose another folder with --data-dir", .0.display())]
    InUse(PathBuf),
    /// Written by a later version.
    #[error("{} has format {found}, this bacalhau knows {known} and older; use a newer bacalhau", .path.display())]
    TooNew {
        /// The database.
        path: PathBuf,
        /// In the file.
        found: i64,
        /// Known here.
        known: i64,
    },
    /// SQLite's own.
    #[error("{}: {error}", .path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Why.
        error: rusqlite::Error,
    },
    /// A record that cannot be read.
    #[error("record {key} in table {table} cannot be read: {error}; restore the database from a backup")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Which row.
        key: String,
        /// Why.
        error: String,
    },
    /// The writer gave up earlier or was closed.
    #[error("the database is not written any more: {0}")]
    Stopped(String),
}

impl StoreError {
    /// For callers that talk to users: no paths, no internals.
    pub fn to_user(&self) -> Error {
        tracing::error!(error = %self, "reading the store failed");
        Error::new(code::INTERNAL_ERROR, "the store could not be read")
            .hint("See the server's log")
            .retryable()
    }
}
