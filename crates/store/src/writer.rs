//! The one writer of a database: batches that wait are committed together, with one fsync.
//!
//! A batch is on disk when its `done` is called with `Ok`, never earlier, and batches come to disk in the order they
//! were handed over. After an error nothing more is written (fail-stop): every batch, that one and all later ones,
//! gets the error.

use crate::error::StoreError;
use crate::files::{self, Folder};
use crate::room::Room;
use crate::schema::{Schema, migrate};
use crate::upkeep::{self, Upkeep};
use rusqlite::hooks::Wal;
use rusqlite::{Connection, TransactionBehavior};
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Called when a batch is on disk, or will never be.
pub type Done = Box<dyn FnOnce(Result<(), Arc<StoreError>>) + Send>;

/// Batches that wait at most. Whoever hands over one more waits.
const MOST_WAITING: usize = 256;
/// Changes committed together at most, so that nobody waits long for a large group.
const MOST_CHANGES: usize = 20_000;
/// Pages written to the log between two checkpoints beside the commits (a page has 4 KiB).
const CHECKPOINT_PAGES: usize = 1_024;
/// Pages in the log from which on the writer itself empties it. The checkpoints beside the commits leave little to do
/// by then, but under steady load only the writer can start the file over.
const MOST_PAGES: usize = 4 * CHECKPOINT_PAGES;
/// Size of the log file, bytes, that is kept when nothing happens: writing over what is there costs the disk less than
/// growing a file does.
const LOG_KEPT: u64 = 4 << 20;
/// Longest that this waits for readers; when it was in vain it is tried again after the next commit.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(20);
/// After this long without a commit the log is emptied as well.
const IDLE: Duration = Duration::from_millis(500);

struct Batch<C> {
    changes: Vec<C>,
    done: Done,
}

/// The writer. Clones share it.
pub struct Writer<C: 'static> {
    batches: Arc<Mutex<Option<SyncSender<Batch<C>>>>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl<C> Clone for Writer<C> {
    fn clone(&self) -> Self {
        Writer { batches: Arc::clone(&self.batches), thread: Arc::clone(&self.thread) }
    }
}

impl<C: Send + 'static> Writer<C> {
    /// Opens the database in a folder of its own, making or migrating it.
    pub fn open(dir: &Path, schema: &'static Schema<C>) -> Result<Writer<C>, StoreError> {
        let folder = files::lock(dir)?;
        let path = files::database(dir);
        let mut connection = files::open_writer(&path)?;
        upkeep::let_shrink(&connection, &path);
        migrate(&mut connection, &path, schema.migrations)?;
        let (batches, waiting) = sync_channel(MOST_WAITING);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let room = Room::of(&path);
                Thread { path, connection, schema, room, _folder: folder }.run(&waiting)
            })
            .map_err(|error| StoreError::Io { path: dir.to_owned(), error })?;
        Ok(Writer {
            batches: Arc::new(Mutex::new(Some(batches))),
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Hands over a batch. Waits while too many are waiting already.
    pub fn commit(&self, changes: Vec<C>, done: Done) {
        let sender = self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(sender) = sender else {
            done(Err(Arc::new(StoreError::Stopped("it was closed".to_owned()))));
            return;
        };
        let batch = match sender.try_send(Batch { changes, done }) {
            Ok(()) => return,
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => batch,
        };
        if let Err(refused) = sender.send(batch) {
            (refused.0.done)(Err(Arc::new(StoreError::Stopped("its thread ended".to_owned()))));
        }
    }

    /// Commits what waits, then closes the database. Later batches are refused.
    pub fn close(&self) {
        drop(self.batches.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|t| t.join().is_err()) {
            tracing::error!("the store's writer ended abnormally");
        }
    }
}

/// What the writer's thread owns.
struct Thread<C: 'static> {
    path: PathBuf,
    connection: Connection,
    schema: &'static Schema<C>,
    room: Room,
    _folder: Folder,
}

/// What becomes of the log file when the log is emptied.
#[derive(Clone, Copy)]
enum LogFile {
    Kept,
    Cut,
}

impl<C> Thread<C> {
    fn run(mut self, waiting: &Receiver<Batch<C>>) {
        let mut failed: Option<Arc<StoreError>> = None;
        let mut checkpoints = Checkpoints::start(&self.path);
        let log_pages = self.count_log_pages();
        let mut upkeep = Upkeep::new();
        // A former life may have left something in the log.
        let mut written = true;
        loop {
            let first = match waiting.recv_timeout(upkeep.pause(IDLE)) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) if failed.is_none() && upkeep.is_due() => {
                    upkeep.slice(&mut self.connection, self.schema, &self.path);
                    written = true;
                    self.follow_log(&mut checkpoints, &log_pages);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if failed.is_none() && written {
                        written = !self.empty_log(self.idle_log_file());
                        self.room.refill();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut group = vec![first];
            let mut size: usize = group.iter().map(|b| b.changes.len()).sum();
            while size < MOST_CHANGES {
                let Ok(next) = waiting.try_recv() else { break };
                size += next.changes.len();
                group.push(next);
            }
            if failed.is_none() {
                failed = self.write(&group).err().map(|error| {
                    tracing::error!(path = %self.path.display(), %error, "commit failed, nothing more is written");
                    Arc::new(StoreError::Sqlite { path: self.path.clone(), error })
                });
                written = true;
            }
            for batch in group {
                (batch.done)(failed.clone().map_or(Ok(()), Err));
            }
            if failed.is_none() {
                if upkeep.committed() {
                    upkeep.slice(&mut self.connection, self.schema, &self.path);
                }
                self.follow_log(&mut checkpoints, &log_pages);
            }
        }
        checkpoints.stop();
        // Everything into the main file, so that a closed database is one file.
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(path = %self.path.display(), %error, "final checkpoint failed");
        }
    }

    /// Keeps the log from growing without end.
    fn follow_log(&self, checkpoints: &mut Checkpoints, log_pages: &AtomicUsize) {
        let pages = log_pages.load(Ordering::Relaxed);
        checkpoints.log_has(pages);
        if pages > MOST_PAGES {
            self.empty_log(LogFile::Kept);
        }
    }

    /// How many pages the log had after the last commit; SQLite says so after each.
    fn count_log_pages(&mut self) -> Arc<AtomicUsize> {
        let pages = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&pages);
        let hook = move |_: &mut Wal, count: c_int| {
            seen.store(usize::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        };
        if let Err(error) = self.connection.wal_hook(Some(hook)) {
            tracing::warn!(path = %self.path.display(), %error, "the database's log grows until nothing happens");
        }
        pages
    }

    fn idle_log_file(&self) -> LogFile {
        let size = std::fs::metadata(files::log_of(&self.path)).map_or(0, |meta| meta.len());
        if size > LOG_KEPT { LogFile::Cut } else { LogFile::Kept }
    }

    /// Moves what is left in the log into the main file, so that the next commit writes from its beginning. Says
    /// whether that went: a reader may be in the way.
    fn empty_log(&self, file: LogFile) -> bool {
        let checkpoint = match file {
            LogFile::Kept => "PRAGMA wal_checkpoint(RESTART)",
            LogFile::Cut => "PRAGMA wal_checkpoint(TRUNCATE)",
        };
        let run = || -> rusqlite::Result<bool> {
            self.connection.busy_timeout(CHECKPOINT_PATIENCE)?;
            let busy = self.connection.query_row(checkpoint, (), |row| row.get::<_, bool>(0));
            self.connection.busy_timeout(files::BUSY)?;
            Ok(!busy?)
        };
        run().unwrap_or_else(|error| {
            tracing::warn!(path = %self.path.display(), %error, "the database's log could not be emptied");
            false
        })
    }

    fn write(&mut self, group: &[Batch<C>]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for change in group.iter().flat_map(|batch| &batch.changes) {
            (self.schema.apply)(&transaction, change)?;
        }
        transaction.commit()
    }
}

/// Moves the log into the main file from time to time, on a connection and a thread of its own, so that commits never
/// wait for it.
struct Checkpoints {
    /// Pages in the log when the last one was asked for.
    asked_at: usize,
    due: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    fn start(path: &Path) -> Checkpoints {
        let (due, asked) = sync_channel::<()>(1);
        let path = path.to_owned();
        let run = move || {
            let connection = match files::open_writer(&path) {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(%error, "no checkpoints beside the commits: they wait longer now and then");
                    return;
                }
            };
            while asked.recv().is_ok() {
                if let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)") {
                    tracing::warn!(%error, "checkpoint failed");
                }
            }
        };
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(run);
        Checkpoints { asked_at: 0, due, thread: thread.ok() }
    }

    /// How long the log is now. Wakes the thread only when a checkpoint is due.
    fn log_has(&mut self, pages: usize) {
        // Fewer than before: it started over.
        self.asked_at = if pages < self.asked_at { 0 } else { self.asked_at };
        // While one is asked for already, the next commit asks again.
        if pages - self.asked_at >= CHECKPOINT_PAGES && self.due.try_send(()).is_ok() {
            self.asked_at = pages;
        }
    }

    fn stop(mut self) {
        let thread = self.thread.take();
        drop(self.due);
        if thread.is_some_and(|t| t.join().is_err()) {
            tracing::error!("the store's checkpoint thread ended abnormally");
        }
    }
}
