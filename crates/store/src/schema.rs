//! The shape of a database: its migrations and how changes are applied to it.

use crate::error::StoreError;
use rusqlite::{Connection, Transaction};
use std::path::Path;

/// A database format.
pub struct Schema<C: 'static> {
    /// SQL that brings format n to n + 1; the first entry makes an empty database.
    pub migrations: &'static [&'static str],
    /// Applies one change inside a transaction.
    pub apply: fn(&Transaction<'_>, &C) -> rusqlite::Result<()>,
    /// Deletes some of what nobody needs any more, few rows, between commits. Says whether there may be more.
    pub sweep: fn(&Transaction<'_>) -> rusqlite::Result<bool>,
}

/// Brings a database to the newest format, one migration per transaction.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let sqlite = |error| StoreError::Sqlite { path: path.to_owned(), error };
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite)?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known });
    }
    for (number, sql) in (1_i64..).zip(migrations).filter(|(number, _)| *number > found) {
        let transaction = connection.transaction().map_err(sqlite)?;
        transaction.execute_batch(sql).map_err(sqlite)?;
        transaction.pragma_update(None, "user_version", number).map_err(sqlite)?;
        transaction.commit().map_err(sqlite)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_run_once_and_newer_formats_are_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x.db");
        migrate(&mut connection, path, &["CREATE TABLE a (x)"]).unwrap();
        migrate(&mut connection, path, &["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y"]).unwrap();
        connection.execute("INSERT INTO a (x, y) VALUES (1, 2)", []).unwrap();
        let error = migrate(&mut connection, path, &["CREATE TABLE a (x)"]).unwrap_err();
        assert!(error.to_string().contains("x.db has format 2"), "{error}");
    }

    #[test]
    fn a_failing_migration_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x.db");
        assert!(migrate(&mut connection, path, &["CREATE TABLE a (x); CREATE TABLE a (x)"]).is_err());
        migrate(&mut connection, path, &["CREATE TABLE a (x)"]).unwrap();
    }
}
