//! Output of executions: one append-only file each, written while it is printed and followed without polling.
//!
//! A file appears with the first byte printed; an execution that prints nothing leaves nothing. The store knows which
//! executions are expected or running, so that a reader can wait for one that has not started and ends when it ends.

pub mod frame;
mod head;
mod reader;
mod writer;

pub use frame::LogStream;
pub use reader::{LogChunk, LogReader, LogStart, ReadOptions};
pub use writer::{Captured, LogWriter};

use bacalhau_model::{Error, error::code};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// Ends the name of a log file.
const SUFFIX: &str = ".log";

/// How much disk logs may take, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Most for one execution.
    pub execution: u64,
    /// Most for all that have ended; the oldest go first.
    pub together: u64,
    /// All logs together leave so much of the disk free: the node's own records must always have room.
    pub keep_free: u64,
}

impl LogLimits {
    /// For a disk of this size: 1 GiB for one execution; together 10 GiB, or a quarter of a small disk; 512 MiB stay
    /// free, or a tenth of a small disk. Bacalhau 1.9 has no configuration keys for this.
    pub fn for_disk(total: u64) -> LogLimits {
        LogLimits {
            execution: 1 << 30,
            together: (total / 4).min(10 << 30),
            keep_free: (total / 10).min(512 << 20),
        }
    }
}

/// All log files of a node. Clones share the same store.
#[derive(Clone, Debug)]
pub struct LogStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limits: LogLimits,
    live: Mutex<HashMap<String, Arc<Live>>>,
}

/// An execution that is expected or running.
#[derive(Debug)]
struct Live {
    progress: watch::Sender<Progress>,
}

/// How far a log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Bytes of whole frames in the file.
    length: u64,
    /// Nothing more will follow.
    ended: bool,
}

impl LogStore {
    /// A store over a folder, which is created with the first log.
    pub fn new(folder: impl Into<PathBuf>, limits: LogLimits) -> LogStore {
        let inner = Inner { folder: folder.into(), limits, live: Mutex::new(HashMap::new()) };
        LogStore { inner: Arc::new(inner) }
    }

    /// Says that an execution will run, so that readers may wait for it. Harmless when it runs already.
    pub fn expect(&self, execution_id: &str) {
        self.live_entry(execution_id);
    }

    /// Says that an execution will not print (any more): ends its readers. Called for executions that never started;
    /// a running one ends with its [`LogWriter`].
    pub fn end(&self, execution_id: &str) {
        let entry = self.lock().remove(execution_id);
        if let Some(live) = entry {
            live.progress.send_modify(|progress| progress.ended = true);
        }
    }

    /// Opens the log of an execution that starts. Its file, if one is there from before a restart, is continued.
    ///
    /// # Errors
    /// An ID that cannot be a file name.
    pub fn open(&self, execution_id: &str) -> Result<LogWriter, Error> {
        let path = self.path(execution_id)?;
        Ok(LogWriter::new(self.clone(), execution_id, path, self.live_entry(execution_id)))
    }

    /// Reads the log of an execution; `None` when nothing is known of it: it never printed, or its log was removed.
    ///
    /// # Errors
    /// An ID that cannot be a file name.
    pub fn read(&self, execution_id: &str, options: ReadOptions) -> Result<Option<LogReader>, Error> {
        let path = self.path(execution_id)?;
        let progress = self.lock().get(execution_id).map(|live| live.progress.subscribe());
        if progress.is_none() && !path.exists() {
            return Ok(None);
        }
        Ok(Some(LogReader::new(path, progress, options)))
    }

    /// Removes the log of an execution that has ended.
    ///
    /// # Errors
    /// The file is there and cannot be removed.
    pub fn remove(&self, execution_id: &str) -> Result<(), Error> {
        let path = self.path(execution_id)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::new(
                code::INTERNAL_ERROR,
                format!("cannot remove log {}: {error}", path.display()),
            )),
            _ => Ok(()),
        }
    }

    /// Removes logs of ended executions: those untouched for longer than `max_age`, then the oldest until all that
    /// are left together have at most `max_bytes`. Blocks; returns how many were removed.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn prune(&self, max_age: Duration, max_bytes: u64) -> io::Result<usize> {
        let entries = match std::fs::read_dir(&self.inner.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        let now = SystemTime::now();
        let mut logs = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|n| n.strip_suffix(SUFFIX)) else { continue };
            if self.lock().contains_key(id) {
                continue;
            }
            if let Ok(metadata) = entry.metadata() {
                logs.push((metadata.modified().unwrap_or(now), metadata.len(), entry.path()));
            }
        }
        logs.sort();
        let mut total: u64 = logs.iter().map(|(_, length, _)| length).sum();
        let mut removed = 0;
        for (modified, length, path) in logs {
            let too_old = now.duration_since(modified).is_ok_and(|age| age > max_age);
            if (too_old || total > max_bytes) && std::fs::remove_file(path).is_ok() {
                total = total.saturating_sub(length);
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn live_entry(&self, execution_id: &str) -> Arc<Live> {
        let mut live = self.lock();
        let entry = live.entry(execution_id.to_owned());
        let fresh = || Arc::new(Live { progress: watch::Sender::new(Progress::default()) });
        Arc::clone(entry.or_insert_with(fresh))
    }

    fn path(&self, execution_id: &str) -> Result<PathBuf, Error> {
        if !is_safe_name(execution_id) {
            let message =
                format!("'{execution_id}' is no execution ID: only letters, digits, '-', '_' and '.' are");
            return Err(Error::new(code::BAD_REQUEST, message));
        }
        Ok(self.inner.folder.join(format!("{execution_id}{SUFFIX}")))
    }

    fn folder(&self) -> &Path {
        &self.inner.folder
    }

    fn limits(&self) -> LogLimits {
        self.inner.limits
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Live>>> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True for text that is one harmless file name: an ID that came over the network never leads out of a folder.
pub(crate) fn is_safe_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
