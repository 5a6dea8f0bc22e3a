//! Writes the output of one execution to its log file and keeps the first bytes for the record.
//!
//! Never fails the program that prints: a full disk or a reached limit drops further output and is told at the end.

use super::frame::{self, LogStream};
use super::head::Head;
use super::{Live, LogLimits, LogReader, LogStore, ReadOptions};
use crate::system;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes between two looks at the free space of the disk.
const CHECK_DISK_EVERY: u64 = 1 << 20;

/// What an execution printed, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// First bytes of standard output.
    pub stdout: String,
    /// There was more.
    pub stdout_truncated: bool,
    /// First bytes of standard error.
    pub stderr: String,
    /// There was more.
    pub stderr_truncated: bool,
    /// The log file, if anything was printed.
    pub file: Option<PathBuf>,
    /// Why the log file is incomplete, if writing it failed.
    pub error: Option<String>,
}

/// The log of one running execution. Clones write to the same log; it ends when [`LogWriter::finish`] is called or
/// the last clone is dropped.
#[derive(Clone, Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: LogStore,
    execution_id: String,
    path: PathBuf,
    live: Arc<Live>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    length: u64,
    /// Bytes written since the free space of the disk was looked at.
    unchecked: u64,
    stdout: Head,
    stderr: Head,
    /// A limit was reached; nothing more is written.
    full: bool,
    error: Option<String>,
    buffer: Vec<u8>,
}

impl LogWriter {
    pub(super) fn new(store: LogStore, execution_id: &str, path: PathBuf, live: Arc<Live>) -> LogWriter {
        let state = Mutex::new(State::default());
        LogWriter {
            shared: Arc::new(Shared { store, execution_id: execution_id.to_owned(), path, live, state }),
        }
    }

    /// Appends what was printed. Blocks for the time of a file write.
    pub fn write(&self, stream: LogStream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let shared = &self.shared;
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        match stream {
            LogStream::Stdout => state.stdout.push(bytes),
            LogStream::Stderr => state.stderr.push(bytes),
            LogStream::System => {}
        }
        let before = state.length;
        for part in bytes.chunks(frame::MAX_PAYLOAD) {
            if state.full || state.error.is_some() {
                break;
            }
            if let Err(error) = state.append(shared, stream, part) {
                tracing::warn!(execution = %shared.execution_id, path = %shared.path.display(), %error, "cannot write log");
                state.error = Some(format!("cannot write log {}: {error}", shared.path.display()));
            }
        }
        let length = state.length;
        drop(state);
        if length != before {
            shared.live.progress.send_modify(|progress| progress.length = length);
        }
    }

    /// Reads what is in this log; `None` when nothing is.
    pub fn read(&self, options: ReadOptions) -> Option<LogReader> {
        self.shared.store.read(&self.shared.execution_id, options).ok().flatten()
    }

    /// Ends the log and its readers, and tells what was printed.
    pub fn finish(&self) -> Captured {
        let shared = &self.shared;
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (stdout, stdout_truncated) = state.stdout.text();
        let (stderr, stderr_truncated) = state.stderr.text();
        let file = (state.length > 0).then(|| shared.path.clone());
        let error = state.error.clone();
        state.file = None;
        state.full = true;
        drop(state);
        shared.end();
        Captured { stdout, stdout_truncated, stderr, stderr_truncated, file, error }
    }
}

impl Shared {
    fn end(&self) {
        self.live.progress.send_modify(|progress| progress.ended = true);
        let mut live = self.store.lock();
        if live.get(&self.execution_id).is_some_and(|entry| Arc::ptr_eq(entry, &self.live)) {
            live.remove(&self.execution_id);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    fn append(&mut self, shared: &Shared, stream: LogStream, part: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let (file, length) = open_log(shared.store.folder(), &shared.path)?;
            self.length = length;
            self.file = Some(file);
            self.unchecked = CHECK_DISK_EVERY;
        }
        self.buffer.clear();
        let frame_length = (frame::HEADER + part.len()) as u64;
        if let Some(why) = self.no_room(shared, frame_length) {
            let remark = format!("\n[log cut here: {why}]\n");
            frame::encode(&mut self.buffer, LogStream::System, frame::now_nanos(), remark.as_bytes());
            self.full = true;
        } else {
            frame::encode(&mut self.buffer, stream, frame::now_nanos(), part);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer)?;
            self.length = self.length.saturating_add(self.buffer.len() as u64);
        }
        Ok(())
    }
}

impl State {
    /// Why a frame of this length may not be written, if so.
    fn no_room(&mut self, shared: &Shared, frame_length: u64) -> Option<String> {
        let LogLimits { execution, keep_free, .. } = shared.store.limits();
        if self.length.saturating_add(frame_length) > execution {
            return Some(format!("the limit of {execution} bytes for one execution was reached"));
        }
        self.unchecked = self.unchecked.saturating_add(frame_length);
        if self.unchecked < CHECK_DISK_EVERY {
            return None;
        }
        self.unchecked = 0;
        // A file system that does not tell its free space will say itself when it is full.
        let free = system::disk(shared.store.folder()).ok()?.free;
        (free < keep_free).then(|| {
            format!("the node's disk has {free} bytes left, and logs must leave {keep_free} bytes free")
        })
    }
}

/// Opens the file for appending, after the last whole frame of an earlier run.
fn open_log(folder: &Path, path: &Path) -> io::Result<(File, u64)> {
    let open =
        || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            open()?
        }
        result => result?,
    };
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok((file, 0));
    }
    let whole = whole_frames(&mut file, length)?;
    if whole < length {
        file.set_len(whole)?;
    }
    file.seek(SeekFrom::Start(whole))?;
    Ok((file, whole))
}

/// Bytes of whole frames at the start of a file.
fn whole_frames(file: &mut File, length: u64) -> io::Result<u64> {
    let mut reader = io::BufReader::new(file);
    let mut offset = 0u64;
    let mut header = [0u8; frame::HEADER];
    while offset.saturating_add(header.len() as u64) <= length {
        reader.read_exact(&mut header)?;
        let Some(found) = frame::decode_header(&header) else { break };
        let end = offset.saturating_add((header.len() + found.length) as u64);
        if end > length {
            break;
        }
        reader.seek_relative(i64::try_from(found.length).unwrap_or(0))?;
        offset = end;
    }
    Ok(offset)
}
