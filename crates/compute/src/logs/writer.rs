//! Writes the output of one execution to its log and keeps the first bytes for the record.
//!
//! Never fails the program that prints, and never makes it wait for readers: where there is no room output is dropped,
//! and the log says how much. Times of a log grow strictly, so that a reader can go on where it stopped.

pub(crate) mod resume;

use super::frame::{self, LogStream};
use super::head::Head;
use super::live::Live;
use super::segments::{Open, Segment};
use super::{LogReader, LogStore, ReadOptions, scan};
use crate::system;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
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
    /// The files of the log, oldest first; none when nothing was printed.
    pub files: Vec<PathBuf>,
    /// Bytes of the log that were older than what its limit lets it keep.
    pub dropped: u64,
    /// Why the log is incomplete, if writing it failed.
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
    live: Arc<Live>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    /// Where the present segment starts.
    segment: Segment,
    /// Bytes of the log so far.
    length: u64,
    /// Streams in the middle of a line.
    open: Open,
    /// Time of the last frame.
    time: i64,
    /// Bytes written or dropped since the free space of the disk was looked at.
    unchecked: u64,
    /// Free bytes of the disk when it was looked at, if they were too few.
    free: Option<u64>,
    /// Bytes dropped because the disk has no room.
    dropped: u64,
    stdout: Head,
    stderr: Head,
    finished: bool,
    error: Option<String>,
    buffer: Vec<u8>,
}

impl LogWriter {
    pub(super) fn new(store: LogStore, execution_id: &str, live: Arc<Live>) -> LogWriter {
        let state = Mutex::new(State::default());
        LogWriter { shared: Arc::new(Shared { store, execution_id: execution_id.to_owned(), live, state }) }
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
        // A frame never exceeds a segment, and a log of several segments never its limit.
        let most = usize::try_from(shared.store.limits().segment()).unwrap_or(usize::MAX);
        for part in bytes.chunks(frame::MAX_PAYLOAD.min(most)) {
            if state.finished || state.error.is_some() {
                break;
            }
            if let Err(error) = state.append(shared, stream, part) {
                let folder = shared.store.folder().display();
                tracing::warn!(execution = %shared.execution_id, %folder, %error, "cannot write log");
                state.error = Some(format!("cannot write the log in {folder}: {error}"));
            }
        }
        let length = state.length;
        drop(state);
        if length != before {
            shared.live.tell(length);
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
        let segments = shared.store.segments(&shared.execution_id);
        let path = |segment: &Segment| segment.path(shared.store.folder(), &shared.execution_id);
        let files = if state.length > 0 { segments.iter().map(path).collect() } else { Vec::new() };
        let dropped = segments.front().map_or(0, |segment| segment.start);
        let error = state.error.clone();
        state.file = None;
        state.finished = true;
        drop(state);
        shared.end();
        Captured { stdout, stdout_truncated, stderr, stderr_truncated, files, dropped, error }
    }
}

impl Shared {
    fn end(&self) {
        self.live.end();
        let mut live = self.store.live();
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
            self.reopen(shared)?;
        }
        let frame_length = (frame::HEADER + part.len()) as u64;
        if let Some(free) = self.too_full(shared, frame_length) {
            if self.dropped == 0 {
                let keep = shared.store.limits().keep_free;
                self.remark(shared, &format!("output from here on is lost: the node's disk has {free} bytes left, and logs must leave {keep} bytes free"))?;
            }
            self.dropped = self.dropped.saturating_add(part.len() as u64);
            return Ok(());
        }
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            self.remark(
                shared,
                &format!("{dropped} bytes of output were lost here; the disk has room again"),
            )?;
        }
        self.put(shared, stream, part)
    }

    /// Says something in the name of the node, on a line of its own.
    fn remark(&mut self, shared: &Shared, text: &str) -> io::Result<()> {
        let line_end = if self.open.is(LogStream::Stderr) { "\n" } else { "" };
        self.put(shared, LogStream::System, format!("{line_end}[{text}]\n").as_bytes())
    }

    fn put(&mut self, shared: &Shared, stream: LogStream, part: &[u8]) -> io::Result<()> {
        self.time = frame::now_nanos().max(self.time.saturating_add(1));
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        frame::encode(&mut buffer, stream, self.time, part);
        let result = self.put_frame(shared, &buffer);
        if result.is_ok() {
            self.open.printed(stream, part);
            shared.live.grew(self.length, &buffer);
        }
        self.buffer = buffer;
        result
    }

    fn put_frame(&mut self, shared: &Shared, frame: &[u8]) -> io::Result<()> {
        let in_segment = self.length.saturating_sub(self.segment.start);
        let size = shared.store.limits().segment();
        if in_segment > 0 && in_segment.saturating_add(frame.len() as u64) > size {
            let next = Segment { start: self.length, open: self.open };
            let path = next.path(shared.store.folder(), &shared.execution_id);
            self.file = Some(open(shared.store.folder(), &path)?);
            self.segment = next;
            shared.store.begun(&shared.execution_id, next);
        }
        if let Some(file) = &mut self.file {
            file.write_all(frame)?;
            self.length = self.length.saturating_add(frame.len() as u64);
        }
        Ok(())
    }

    /// The free bytes of the disk, if a frame may not be written. Looked up from time to time, also while that is so.
    fn too_full(&mut self, shared: &Shared, frame_length: u64) -> Option<u64> {
        self.unchecked = self.unchecked.saturating_add(frame_length);
        if self.unchecked >= CHECK_DISK_EVERY {
            self.unchecked = 0;
            // A file system that does not tell its free space will say itself when it is full.
            let free = system::disk(shared.store.folder()).map_or(u64::MAX, |disk| disk.free);
            self.free = (free < shared.store.limits().keep_free).then_some(free);
        }
        self.free
    }

    /// Opens the newest segment for appending, after the last whole frame of an earlier run.
    fn reopen(&mut self, shared: &Shared) -> io::Result<()> {
        let folder = shared.store.folder();
        let segment = shared.store.segments(&shared.execution_id).back().copied().unwrap_or_default();
        let mut file = open(folder, &segment.path(folder, &shared.execution_id))?;
        let length = file.metadata()?.len();
        let mut whole = 0;
        self.open = segment.open;
        if length > 0 {
            let mut frames = scan::Frames::new(&file, length);
            while let Some((header, payload)) = frames.next()? {
                self.open.printed(header.stream, payload);
                self.time = self.time.max(header.time);
            }
            whole = frames.offset();
            if whole < length {
                file.set_len(whole)?;
            }
            file.seek(SeekFrom::Start(whole))?;
        }
        self.segment = segment;
        self.length = segment.start.saturating_add(whole);
        self.file = Some(file);
        self.unchecked = CHECK_DISK_EVERY;
        Ok(())
    }
}

fn open(folder: &Path, path: &Path) -> io::Result<File> {
    let open =
        || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            open()
        }
        result => result,
    }
}
