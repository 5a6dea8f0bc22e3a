//! Output of executions: append-only files, written while it is printed and followed without polling.
//!
//! A log appears with the first byte printed; an execution that prints nothing leaves nothing. It keeps the newest part
//! of the output within its limit, in segments that go one by one. The store knows which executions are expected or
//! running, so that a reader can wait for one that has not started and ends when it ends.

pub mod frame;
mod head;
mod limits;
mod live;
mod locate;
mod prune;
mod reader;
mod scan;
mod segments;
mod writer;

pub use frame::LogStream;
pub use limits::LogLimits;
pub use reader::{LogChunk, LogReader, LogStart, ReadOptions};
pub(crate) use writer::resume;
pub use writer::{Captured, LogWriter};

use bacalhau_model::{Error, error::code};
use live::Live;
use segments::{Segment, Segments};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All logs of a node. Clones share the same store.
#[derive(Clone, Debug)]
pub struct LogStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limits: LogLimits,
    live: Mutex<HashMap<String, Arc<Live>>>,
    /// Segments of the logs that have more than their first; the others need no memory.
    many: Mutex<HashMap<String, Segments>>,
}

impl LogStore {
    /// A store over a folder, which is created with the first log. Lists the folder.
    pub fn new(folder: impl Into<PathBuf>, limits: LogLimits) -> LogStore {
        let folder = folder.into();
        let many = Mutex::new(found(&folder));
        LogStore { inner: Arc::new(Inner { folder, limits, live: Mutex::default(), many }) }
    }

    /// Says that an execution will run, so that readers may wait for it. Harmless when it runs already.
    pub fn expect(&self, execution_id: &str) {
        self.live_entry(execution_id);
    }

    /// Says that an execution will not print (any more): ends its readers. Called for executions that never started;
    /// a running one ends with its [`LogWriter`].
    pub fn end(&self, execution_id: &str) {
        let entry = self.live().remove(execution_id);
        if let Some(live) = entry {
            live.end();
        }
    }

    /// Opens the log of an execution that starts. If it has one from before a restart, that is continued.
    ///
    /// # Errors
    /// An ID that cannot be a file name.
    pub fn open(&self, execution_id: &str) -> Result<LogWriter, Error> {
        check_id(execution_id)?;
        Ok(LogWriter::new(self.clone(), execution_id, self.live_entry(execution_id)))
    }

    /// Reads the log of an execution; `None` when nothing is known of it: it never printed, or its log was removed.
    ///
    /// # Errors
    /// An ID that cannot be a file name.
    pub fn read(&self, execution_id: &str, options: ReadOptions) -> Result<Option<LogReader>, Error> {
        check_id(execution_id)?;
        let live = self.live().get(execution_id).cloned();
        let known = || {
            self.many().contains_key(execution_id)
                || Segment::default().path(self.folder(), execution_id).exists()
        };
        if live.is_none() && !known() {
            return Ok(None);
        }
        Ok(Some(LogReader::new(self.clone(), execution_id, live.as_ref(), options)))
    }

    /// Removes the log of an execution that has ended.
    ///
    /// # Errors
    /// A file is there and cannot be removed.
    pub fn remove(&self, execution_id: &str) -> Result<(), Error> {
        check_id(execution_id)?;
        self.remove_files(execution_id)
            .map_err(|error| Error::new(code::INTERNAL_ERROR, format!("cannot remove a log: {error}")))
    }

    fn remove_files(&self, execution_id: &str) -> io::Result<()> {
        let segments = self.segments(execution_id);
        self.many().remove(execution_id);
        segments.iter().try_for_each(|segment| remove(&segment.path(self.folder(), execution_id)))
    }

    fn live_entry(&self, execution_id: &str) -> Arc<Live> {
        Arc::clone(self.live().entry(execution_id.to_owned()).or_default())
    }

    /// The segments of a log, oldest first; at least one, whose file need not be there.
    fn segments(&self, execution_id: &str) -> Segments {
        self.many().get(execution_id).cloned().unwrap_or_else(|| Segments::from([Segment::default()]))
    }

    /// A log goes on in a new segment: the oldest go, so that this one can be filled within the limit.
    fn begun(&self, execution_id: &str, segment: Segment) {
        let room = self.limits().execution.saturating_sub(self.limits().segment());
        let mut gone = Vec::new();
        {
            let mut many = self.many();
            let segments = many.entry(execution_id.to_owned()).or_insert_with(|| [Segment::default()].into());
            segments.push_back(segment);
            while segments.len() > 1
                && let Some(oldest) = segments.front().copied()
                && segment.start.saturating_sub(oldest.start) > room
            {
                segments.pop_front();
                gone.push(oldest);
            }
        }
        self.drop_segments(execution_id, &gone);
    }

    /// Drops the oldest segment of a log that has several. Gives the bytes that went.
    fn drop_oldest(&self, execution_id: &str) -> Option<u64> {
        let (oldest, next) = {
            let mut many = self.many();
            let segments = many.get_mut(execution_id).filter(|segments| segments.len() > 1)?;
            (segments.pop_front()?, segments.front()?.start)
        };
        self.drop_segments(execution_id, &[oldest]);
        Some(next.saturating_sub(oldest.start))
    }

    fn drop_segments(&self, execution_id: &str, segments: &[Segment]) {
        for segment in segments {
            let path = segment.path(self.folder(), execution_id);
            if let Err(error) = remove(&path) {
                tracing::warn!(path = %path.display(), %error, "an old part of a log cannot be removed");
            }
        }
    }

    fn folder(&self) -> &Path {
        &self.inner.folder
    }

    fn limits(&self) -> LogLimits {
        self.inner.limits
    }

    fn live(&self) -> MutexGuard<'_, HashMap<String, Arc<Live>>> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn many(&self) -> MutexGuard<'_, HashMap<String, Segments>> {
        self.inner.many.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The logs of a folder that have more than their first segment.
fn found(folder: &Path) -> HashMap<String, Segments> {
    let mut many: HashMap<String, Segments> = HashMap::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return many };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    for later in [true, false] {
        for name in &names {
            let Some((id, segment)) = name.to_str().and_then(Segment::parse) else { continue };
            match many.entry(id.to_owned()) {
                Entry::Occupied(mut entry) if later == (segment.start > 0) => {
                    entry.get_mut().push_back(segment);
                }
                Entry::Vacant(entry) if later && segment.start > 0 => {
                    entry.insert([segment].into());
                }
                _ => {}
            }
        }
    }
    many.values_mut().for_each(|segments| segments.make_contiguous().sort_unstable());
    many
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn check_id(execution_id: &str) -> Result<(), Error> {
    if is_safe_name(execution_id) {
        return Ok(());
    }
    let message = format!("'{execution_id}' is no execution ID: only letters, digits, '-', '_' and '.' are");
    Err(Error::new(code::BAD_REQUEST, message))
}

/// True for text that is one harmless file name: an ID that came over the network never leads out of a folder.
pub(crate) fn is_safe_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
