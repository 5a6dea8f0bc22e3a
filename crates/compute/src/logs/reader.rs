//! Reads the log of one execution from its file, live or afterwards, without polling.

use super::Progress;
use super::frame::{self, LogStream};
use bacalhau_model::{Error, error::code};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// Bytes taken from the file at once; several of the largest frames.
const BATCH: u64 = 4 * (frame::MAX_PAYLOAD as u64 + frame::HEADER as u64);

/// Most lines that [`LogStart::LastLines`] remembers; more count as all.
const MAX_LAST_LINES: usize = 100_000;

/// Where reading starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStart {
    /// With the first byte.
    #[default]
    Beginning,
    /// With the last lines printed so far, both streams together.
    LastLines(usize),
    /// With what is printed from now on.
    Now,
}

/// How to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Where to start.
    pub start: LogStart,
    /// Go on until the execution ends; waits for one that is expected and has not started.
    pub follow: bool,
}

/// Bytes as they were printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Where they were printed: standard output or standard error.
    pub stream: LogStream,
    /// When, nanoseconds since 1970.
    pub time: i64,
    /// What.
    pub bytes: Bytes,
}

/// Position in a file: a frame and how much of its payload to leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    offset: u64,
    skip: usize,
}

/// Reads one log. Drop it to stop.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    progress: Option<watch::Receiver<Progress>>,
    options: ReadOptions,
    position: Option<Position>,
    ready: VecDeque<LogChunk>,
    /// Bytes of a character whose rest has not been read yet, held back per stream.
    held: Vec<LogChunk>,
    /// For a reader that does not follow: where it ends.
    stop_at: Option<u64>,
}

impl LogReader {
    pub(super) fn new(
        path: PathBuf,
        progress: Option<watch::Receiver<Progress>>,
        options: ReadOptions,
    ) -> LogReader {
        LogReader {
            path,
            progress,
            options,
            position: None,
            ready: VecDeque::new(),
            held: Vec::new(),
            stop_at: None,
        }
    }

    /// The next bytes; `None` at the end. Safe to cancel: nothing is lost. A character that was printed in one piece
    /// is never split between two chunks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn next(&mut self) -> Result<Option<LogChunk>, Error> {
        loop {
            while let Some(chunk) = self.ready.pop_front() {
                if let Some(chunk) = self.whole_characters(chunk) {
                    return Ok(Some(chunk));
                }
            }
            let progress = self.progress_now();
            let limit = self.stop_at.unwrap_or(progress.length);
            if self.read_up_to(limit).await? {
                continue;
            }
            if !self.options.follow || progress.ended {
                return Ok(self.held.pop());
            }
            let Some(receiver) = &mut self.progress else { return Ok(self.held.pop()) };
            if receiver.changed().await.is_err() {
                self.progress = None;
            }
        }
    }

    /// The same as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<LogChunk, Error>> + Send {
        stream::try_unfold(
            self,
            |mut reader| async move { Ok(reader.next().await?.map(|chunk| (chunk, reader))) },
        )
    }

    /// Puts what was held back in front of a chunk and holds back what is incomplete at its end.
    fn whole_characters(&mut self, mut chunk: LogChunk) -> Option<LogChunk> {
        if let Some(position) = self.held.iter().position(|held| held.stream == chunk.stream) {
            let held = self.held.swap_remove(position);
            chunk.bytes = [held.bytes, chunk.bytes].concat().into();
        }
        let whole = frame::whole_characters(&chunk.bytes);
        if whole < chunk.bytes.len() {
            self.held.push(LogChunk { bytes: chunk.bytes.split_off(whole), ..chunk.clone() });
        }
        (!chunk.bytes.is_empty()).then_some(chunk)
    }

    fn progress_now(&mut self) -> Progress {
        match &mut self.progress {
            Some(receiver) => {
                let progress = *receiver.borrow_and_update();
                // A log is opened with its first byte; what an earlier run left counts from the start.
                let on_disk = if progress.length == 0 { file_length(&self.path) } else { 0 };
                Progress { length: progress.length.max(on_disk), ended: progress.ended }
            }
            None => Progress { length: file_length(&self.path), ended: true },
        }
    }

    /// Reads a batch of frames that end before `limit`; false when there is nothing to read.
    async fn read_up_to(&mut self, limit: u64) -> Result<bool, Error> {
        if !self.options.follow && self.stop_at.is_none() {
            self.stop_at = Some(limit);
        }
        if self.position.is_some_and(|p| p.offset >= limit) {
            return Ok(false);
        }
        let (path, start, position) = (self.path.clone(), self.options.start, self.position);
        let read = move || -> io::Result<(Position, VecDeque<LogChunk>)> {
            let position = match position {
                Some(position) => position,
                None => start_position(&path, start, limit)?,
            };
            read_batch(&path, position, limit)
        };
        let result = tokio::task::spawn_blocking(read).await.map_err(|e| io::Error::other(e.to_string()));
        let (position, chunks) = result.flatten().map_err(|error| {
            Error::new(code::INTERNAL_ERROR, format!("cannot read log {}: {error}", self.path.display()))
        })?;
        let advanced = self.position != Some(position);
        self.position = Some(position);
        self.ready = chunks;
        Ok(advanced && !(self.ready.is_empty() && position.offset >= limit))
    }
}

fn file_length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn read_batch(path: &Path, from: Position, limit: u64) -> io::Result<(Position, VecDeque<LogChunk>)> {
    let mut chunks = VecDeque::new();
    let wanted = limit.saturating_sub(from.offset).min(BATCH);
    let Some(mut file) = open(path)?.filter(|_| wanted > 0) else { return Ok((from, chunks)) };
    file.seek(SeekFrom::Start(from.offset))?;
    let mut bytes = Vec::new();
    file.take(wanted).read_to_end(&mut bytes)?;
    let bytes = Bytes::from(bytes);
    let (mut position, mut rest) = (from, bytes.clone());
    while let Some((header, payload, tail)) = frame::split_frame(&rest) {
        let payload = bytes.slice_ref(payload.get(position.skip..).unwrap_or_default());
        if !payload.is_empty() {
            let stream = match header.stream {
                LogStream::Stdout => LogStream::Stdout,
                LogStream::Stderr | LogStream::System => LogStream::Stderr,
            };
            chunks.push_back(LogChunk { stream, time: header.time, bytes: payload });
        }
        position =
            Position { offset: position.offset.saturating_add((rest.len() - tail.len()) as u64), skip: 0 };
        rest = bytes.slice_ref(tail);
    }
    Ok((position, chunks))
}

fn start_position(path: &Path, start: LogStart, limit: u64) -> io::Result<Position> {
    match start {
        LogStart::Beginning => Ok(Position::default()),
        LogStart::Now => Ok(Position { offset: limit, skip: 0 }),
        LogStart::LastLines(0) => Ok(Position { offset: limit, skip: 0 }),
        LogStart::LastLines(lines) => last_lines(path, lines.min(MAX_LAST_LINES), limit),
    }
}

/// Where the last `lines` lines start: remembers the starts of that many lines while walking over the file.
fn last_lines(path: &Path, lines: usize, limit: u64) -> io::Result<Position> {
    let Some(file) = open(path)? else { return Ok(Position::default()) };
    let mut reader = BufReader::with_capacity(frame::MAX_PAYLOAD, file.take(limit));
    let mut starts: VecDeque<Position> = VecDeque::with_capacity(lines.min(1024));
    let (mut offset, mut at_line_start) = (0u64, true);
    let (mut header, mut payload) = ([0u8; frame::HEADER], Vec::new());
    while reader.read_exact(&mut header).is_ok() {
        let Some(found) = frame::decode_header(&header) else { break };
        payload.resize(found.length, 0);
        if reader.read_exact(&mut payload).is_err() {
            break;
        }
        for (skip, byte) in payload.iter().enumerate() {
            if at_line_start {
                if starts.len() == lines {
                    starts.pop_front();
                }
                starts.push_back(Position { offset, skip });
            }
            at_line_start = *byte == b'\n';
        }
        offset = offset.saturating_add((header.len() + found.length) as u64);
    }
    Ok(starts.front().copied().unwrap_or(Position { offset, skip: 0 }))
}
