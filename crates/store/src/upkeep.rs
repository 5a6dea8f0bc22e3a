//! What the writer does when it has nothing to write: it sweeps out what nobody needs any more and gives free pages
//! at the end of the file back to the file system. Each slice is a small transaction of its own, and a batch that
//! comes meanwhile waits for one slice at most.

use crate::error::StoreError;
use crate::schema::Schema;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

/// After this long without a batch a slice is done, when it is known that there is something to do.
const PAUSE: Duration = Duration::from_millis(5);
/// Under steady load a slice is done after this many commits.
const COMMITS: u32 = 64;
/// Pages given back in one slice (a page has 4 KiB).
const PAGES: i64 = 256;
/// Free pages that are kept in any case, and as the share of the file that goes with it: the next rows need them.
const KEPT_PAGES: i64 = 256;
const KEPT_SHARE: i64 = 16;
/// Pages of a file that is rewritten when it is opened so that it can shrink from then on; takes about a second.
const MOST_REWRITTEN: i64 = 16_384;

/// What is known about work to do.
#[derive(Debug)]
pub(crate) struct Upkeep {
    /// There was more to do after the last slice.
    more: bool,
    /// Commits since the last slice.
    commits: u32,
    /// A slice failed: nothing is done until the next start.
    failed: bool,
}

impl Upkeep {
    /// A former life may have left something to do.
    pub(crate) fn new() -> Upkeep {
        Upkeep { more: true, commits: 0, failed: false }
    }

    /// How long to wait for a batch before [`Upkeep::slice`].
    pub(crate) fn pause(&self, idle: Duration) -> Duration {
        if self.more && !self.failed { PAUSE } else { idle }
    }

    /// There is something to do, or may be.
    pub(crate) fn is_due(&self) -> bool {
        !self.failed && (self.more || self.commits > 0)
    }

    /// A group was committed. Says whether a slice is due although more batches wait.
    pub(crate) fn committed(&mut self) -> bool {
        self.commits = self.commits.saturating_add(1);
        !self.failed && self.commits >= COMMITS
    }

    /// Does one slice. A failure harms nothing that is stored: it is noted, and nothing more is tried.
    pub(crate) fn slice<C>(&mut self, connection: &mut Connection, schema: &Schema<C>, path: &Path) {
        self.commits = 0;
        self.more = slice(connection, schema).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "deleted records keep their room until the next start");
            self.failed = true;
            false
        });
    }
}

fn slice<C>(connection: &mut Connection, schema: &Schema<C>) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let more = (schema.sweep)(&transaction)? || give_back(&transaction)?;
    transaction.commit()?;
    Ok(more)
}

/// Moves free pages out of the file. Says whether there are still more than are kept.
fn give_back(connection: &Connection) -> rusqlite::Result<bool> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let free = number("freelist_count")?;
    if free <= KEPT_PAGES || free <= number("page_count")? / KEPT_SHARE || !can_shrink(connection)? {
        return Ok(false);
    }
    // One row per page: it is done when the last row was asked for.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(true)
}

fn can_shrink(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(connection.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0))? == 2)
}

/// Lets a database that was made before it could shrink do so, by writing it anew, unless it is large: that one uses
/// its free pages again but stays as large as it is.
pub(crate) fn let_shrink(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let run = || -> rusqlite::Result<()> {
        if can_shrink(connection)? {
            return Ok(());
        }
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        if pages > MOST_REWRITTEN {
            tracing::info!(path = %path.display(), pages, "an older database file: deleted records make room in it, but it does not shrink");
            return Ok(());
        }
        connection.pragma_update(None, "auto_vacuum", 2)?;
        connection.execute_batch("VACUUM")
    };
    run().map_err(|error| StoreError::Sqlite { path: path.to_owned(), error })
}
