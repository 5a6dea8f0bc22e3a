//! A few connections that only read, shared by all readers.

use crate::error::StoreError;
use crate::files;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

/// Connections of a pool. Reads are short; more would only compete for the same cores.
const CONNECTIONS: usize = 4;

/// The pool.
#[derive(Debug)]
pub(crate) struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
}

impl Pool {
    pub(crate) fn open(path: &Path) -> Result<Pool, StoreError> {
        let idle = (0..CONNECTIONS).map(|_| files::open_reader(path)).collect::<Result<_, _>>()?;
        Ok(Pool { path: path.to_owned(), idle: Mutex::new(idle), returned: Condvar::new() })
    }

    /// Runs a query on a connection of its own, waiting for one if need be.
    pub(crate) fn read<R>(
        &self,
        query: impl FnOnce(&Connection) -> Result<R, QueryError>,
    ) -> Result<R, StoreError> {
        let connection = self.take();
        let result = query(&connection);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        self.returned.notify_one();
        result.map_err(|error| match error {
            QueryError::Sqlite(error) => StoreError::Sqlite { path: self.path.clone(), error },
            QueryError::Store(error) => error,
        })
    }

    fn take(&self) -> Connection {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = idle.pop() {
                return connection;
            }
            idle = self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Why a query failed: SQLite, or a record that cannot be read.
#[derive(Debug)]
pub(crate) enum QueryError {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for QueryError {
    fn from(error: rusqlite::Error) -> QueryError {
        QueryError::Sqlite(error)
    }
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> QueryError {
        QueryError::Store(error)
    }
}
