//! The one writer of a database: batches that wait are committed together, with one fsync.
//!
//! A batch is on disk when its `done` is called with `Ok`, never earlier, and batches come to disk in the order they
//! were handed over. After an error nothing more is written (fail-stop): every batch, that one and all later ones,
//! gets the error.

use crate::error::StoreError;
use crate::files::{self, Folder};
use crate::schema::{Schema, migrate};
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};
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
/// Changes written between two checkpoints beside the commits.
const CHECKPOINT_CHANGES: u64 = 2_000;
/// Size of the log file, bytes, from which on the writer itself empties it. The checkpoints beside the commits leave
/// little to do by then, but under steady load only the writer can start the file over.
const MOST_LOG: u64 = 16 << 20;
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
        migrate(&mut connection, &path, schema.migrations)?;
        let (batches, waiting) = sync_channel(MOST_WAITING);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || Thread { path, connection, schema, _folder: folder }.run(&waiting))
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
    _folder: Folder,
}

impl<C> Thread<C> {
    fn run(mut self, waiting: &Receiver<Batch<C>>) {
        let mut failed: Option<Arc<StoreError>> = None;
        let checkpoints = Checkpoints::start(&self.path);
        let log = files::log_of(&self.path);
        let log_size = || std::fs::metadata(&log).map_or(0, |meta| meta.len());
        loop {
            let first = match waiting.recv_timeout(IDLE) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    if failed.is_none() && log_size() > 0 {
                        self.empty_log();
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
                checkpoints.wrote(size);
            }
            for batch in group {
                (batch.done)(failed.clone().map_or(Ok(()), Err));
            }
            if failed.is_none() && log_size() > MOST_LOG {
                self.empty_log();
            }
        }
        checkpoints.stop();
        // Everything into the main file, so that a closed database is one file.
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(path = %self.path.display(), %error, "final checkpoint failed");
        }
    }

    /// Moves what is left in the log into the main file and starts it over, unless a reader is in the way.
    fn empty_log(&self) {
        let result = self
            .connection
            .busy_timeout(CHECKPOINT_PATIENCE)
            .and_then(|()| self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"))
            .and_then(|()| self.connection.busy_timeout(files::BUSY));
        if let Err(error) = result {
            tracing::warn!(path = %self.path.display(), %error, "the database's log could not be emptied");
        }
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
    wrote: SyncSender<u64>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    fn start(path: &Path) -> Checkpoints {
        let (wrote, heard) = sync_channel::<u64>(16);
        let path = path.to_owned();
        let run = move || {
            let connection = match files::open_writer(&path) {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(%error, "no checkpoints: the log file grows until the next start");
                    return;
                }
            };
            let mut changes = 0;
            while let Ok(more) = heard.recv() {
                changes += more;
                if changes < CHECKPOINT_CHANGES {
                    continue;
                }
                changes = 0;
                if let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)") {
                    tracing::warn!(%error, "checkpoint failed");
                }
            }
        };
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(run);
        Checkpoints { wrote, thread: thread.ok() }
    }

    /// How many changes were written.
    fn wrote(&self, changes: usize) {
        // When the thread is busy with a checkpoint the next commit counts for this one.
        let _ = self.wrote.try_send(u64::try_from(changes).unwrap_or(0) + 1);
    }

    fn stop(mut self) {
        let thread = self.thread.take();
        drop(self.wrote);
        if thread.is_some_and(|t| t.join().is_err()) {
            tracing::error!("the store's checkpoint thread ended abnormally");
        }
    }
}
