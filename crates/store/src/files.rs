//! The files of a database: private, and for one process at a time.

use crate::error::StoreError;
use rusqlite::{Connection, OpenFlags};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest that a connection waits for another one's lock. Writers never meet; this is for checkpoints.
pub(crate) const BUSY: Duration = Duration::from_secs(10);

/// A folder that belongs to this process as long as this value lives.
#[derive(Debug)]
pub(crate) struct Folder {
    _lock: File,
}

/// Makes the folder if needed and locks it.
pub(crate) fn lock(dir: &Path) -> Result<Folder, StoreError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| StoreError::Io { path, error }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io(dir))?;
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&path).map_err(io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Folder { _lock: file }),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(&path)(error)),
    }
}

/// Opens the connection that writes. A new file is readable by its owner only.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let mut options = OpenOptions::new();
    let created = options.create(true).truncate(false).write(true).mode(0o600).open(path);
    created.map_err(|error| StoreError::Io { path: path.to_owned(), error })?;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "page_size", 4096)?;
        // Only a new file takes it.
        connection.pragma_update(None, "auto_vacuum", 2)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        // Off: what a deleted row leaves behind is swept out in slices, not in one cascade that takes long.
        connection.pragma_update(None, "foreign_keys", "OFF")?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|error| StoreError::Sqlite { path: path.to_owned(), error })
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|error| StoreError::Sqlite { path: path.to_owned(), error })
}

/// The database file of a folder.
pub(crate) fn database(dir: &Path) -> PathBuf {
    dir.join("state.db")
}

/// SQLite's log beside a database file.
pub(crate) fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn private_and_for_one_process() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let folder = lock(&dir).unwrap();
        assert!(matches!(lock(&dir), Err(StoreError::InUse(_))));
        drop(folder);
        let _folder = lock(&dir).unwrap();
        open_writer(&database(&dir)).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&database(&dir)), 0o600);
    }
}
