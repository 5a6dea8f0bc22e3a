//! Reads the log of one execution, live or afterwards, without polling.
//!
//! Followers of a running execution get what is new from memory, however many they are; only what is older is read from
//! files. A reader that is slower than the log is long loses what its limit drops, and is told how much.

use super::LogStore;
use super::frame::{self, LogStream};
use super::live::{Live, Progress};
use super::locate::{self, Position};
use super::scan;
use super::segments::{Segments, holding};
use bacalhau_model::{Error, error::code};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// Bytes taken from the file at once; several of the largest frames.
const BATCH: u64 = 4 * (frame::MAX_PAYLOAD as u64 + frame::HEADER as u64);

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
    /// When, nanoseconds since 1970. Strictly growing within a log.
    pub time: i64,
    /// The node says it, not the program.
    pub remark: bool,
    /// What.
    pub bytes: Bytes,
}

/// Reads one log. Drop it to stop.
#[derive(Debug)]
pub struct LogReader {
    store: LogStore,
    id: Arc<str>,
    progress: Option<watch::Receiver<Progress>>,
    live: Weak<Live>,
    options: ReadOptions,
    since: i64,
    position: Option<Position>,
    ready: VecDeque<LogChunk>,
    /// Bytes of a character whose rest has not been read yet, held back per stream.
    held: Vec<LogChunk>,
    /// For a reader that does not follow: where it ends.
    stop_at: Option<u64>,
}

/// What a look into the files gave.
struct Batch {
    position: Position,
    chunks: VecDeque<LogChunk>,
}

impl LogReader {
    pub(super) fn new(
        store: LogStore,
        id: &str,
        live: Option<&Arc<Live>>,
        options: ReadOptions,
    ) -> LogReader {
        LogReader {
            store,
            id: id.into(),
            progress: live.map(|live| live.progress.subscribe()),
            live: live.map(Arc::downgrade).unwrap_or_default(),
            options,
            since: 0,
            position: None,
            ready: VecDeque::new(),
            held: Vec::new(),
            stop_at: None,
        }
    }

    /// Leaves out what was printed before a time, nanoseconds since 1970. Before the first read.
    #[must_use]
    pub fn since(self, time: i64) -> LogReader {
        LogReader { since: time, ..self }
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

    /// The next chunks, as many as are at hand; `None` at the end. Safe to cancel.
    ///
    /// # Errors
    /// As [`LogReader::next`].
    pub async fn next_batch(&mut self) -> Result<Option<Vec<LogChunk>>, Error> {
        let Some(first) = self.next().await? else { return Ok(None) };
        let mut batch = Vec::with_capacity(self.ready.len() + 1);
        batch.push(first);
        while let Some(chunk) = self.ready.pop_front() {
            batch.extend(self.whole_characters(chunk));
        }
        Ok(Some(batch))
    }

    /// The same as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<LogChunk, Error>> + Send {
        stream::try_unfold(
            self,
            |mut reader| async move { Ok(reader.next().await?.map(|chunk| (chunk, reader))) },
        )
    }

    /// Batches as a stream, which ends after the first error.
    pub fn into_batches(self) -> impl Stream<Item = Result<Vec<LogChunk>, Error>> + Send {
        stream::try_unfold(self, |mut reader| async move {
            Ok(reader.next_batch().await?.map(|batch| (batch, reader)))
        })
    }

    /// Puts what was held back in front of a chunk and holds back what is incomplete at its end.
    fn whole_characters(&mut self, mut chunk: LogChunk) -> Option<LogChunk> {
        if chunk.remark {
            return Some(chunk);
        }
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
                let on_disk = if progress.length == 0 { on_disk(&self.store, &self.id) } else { 0 };
                Progress { length: progress.length.max(on_disk), ended: progress.ended }
            }
            None => Progress { length: on_disk(&self.store, &self.id), ended: true },
        }
    }

    /// Takes frames that end before `limit`; false when there is nothing to read.
    async fn read_up_to(&mut self, limit: u64) -> Result<bool, Error> {
        if !self.options.follow && self.stop_at.is_none() {
            self.stop_at = Some(limit);
        }
        if self.position.is_some_and(|p| p.offset >= limit) {
            return Ok(false);
        }
        let batch = match self.in_memory(limit) {
            Some(batch) => batch,
            None => self.in_files(limit).await?,
        };
        let advanced = self.position != Some(batch.position);
        self.position = Some(batch.position);
        self.ready = batch.chunks;
        Ok(advanced && !(self.ready.is_empty() && batch.position.offset >= limit))
    }

    fn in_memory(&self, limit: u64) -> Option<Batch> {
        let mut position = self.position.filter(|position| position.skip == 0)?;
        let frames = self.live.upgrade()?.recent(position.offset, limit)?;
        let mut chunks = VecDeque::with_capacity(frames.len());
        for frame in frames {
            take(&frame, &mut position, &mut chunks);
        }
        Some(Batch { position, chunks })
    }

    async fn in_files(&self, limit: u64) -> Result<Batch, Error> {
        let (store, id) = (self.store.clone(), Arc::clone(&self.id));
        let (start, since, position) = (self.options.start, self.since, self.position);
        let read = move || match position {
            Some(position) => read_batch(&store, &id, position, limit),
            None => read_batch(&store, &id, begin(&store, &id, start, since, limit)?, limit),
        };
        let result = tokio::task::spawn_blocking(read).await.map_err(|e| io::Error::other(e.to_string()));
        result.flatten().map_err(|error| {
            Error::new(code::INTERNAL_ERROR, format!("cannot read the log of {}: {error}", self.id))
        })
    }
}

/// Bytes of a log up to the end of its newest file.
fn on_disk(store: &LogStore, id: &str) -> u64 {
    let newest = store.segments(id).back().copied().unwrap_or_default();
    let length = std::fs::metadata(newest.path(store.folder(), id)).map_or(0, |m| m.len());
    if length == 0 { newest.start } else { newest.start.saturating_add(length) }
}

fn begin(store: &LogStore, id: &str, start: LogStart, since: i64, limit: u64) -> io::Result<Position> {
    let lines = match start {
        LogStart::Beginning => None,
        LogStart::Now => Some(Position::at(limit)),
        LogStart::LastLines(lines) => locate::last_lines(store, id, lines as u64, limit)?,
    };
    let time = if since > 0 { locate::since(store, id, since, limit)? } else { None };
    let later = [lines, time].into_iter().flatten().max_by_key(|position| (position.offset, position.skip));
    Ok(later.unwrap_or_default())
}

fn read_batch(store: &LogStore, id: &str, mut position: Position, limit: u64) -> io::Result<Batch> {
    let mut chunks = VecDeque::new();
    loop {
        let segments = store.segments(id);
        skip_what_is_gone(&segments, &mut position, &mut chunks);
        let (segment, next) = holding(&segments, position.offset);
        let end = next.map_or(limit, |next| next.min(limit));
        let Some(mut file) = locate::open(&segment.path(store.folder(), id))? else {
            if store.segments(id) != segments {
                continue;
            }
            // Removed altogether.
            return Ok(Batch { position: Position::at(limit), chunks });
        };
        let wanted = end.saturating_sub(position.offset).min(BATCH);
        file.seek(SeekFrom::Start(position.offset.saturating_sub(segment.start)))?;
        let mut bytes = Vec::new();
        file.take(wanted).read_to_end(&mut bytes)?;
        let before = position;
        take(&Bytes::from(bytes), &mut position, &mut chunks);
        date_remark(&mut chunks);
        if let Some(next) = next.filter(|next| position == before && *next < limit) {
            // Its end is torn, or was read already.
            position = Position { offset: next, ..position };
            continue;
        }
        return Ok(Batch { position, chunks });
    }
}

/// Says how much is not there any more between a position and the oldest segment, and goes there.
fn skip_what_is_gone(segments: &Segments, position: &mut Position, chunks: &mut VecDeque<LogChunk>) {
    let Some(oldest) = segments.front().filter(|oldest| oldest.start > position.offset) else { return };
    let gone = oldest.start - position.offset;
    let remark =
        format!("[{gone} bytes of older output are not kept any more: the log has reached its limit]\n");
    chunks.push_back(LogChunk { stream: LogStream::Stderr, time: 0, remark: true, bytes: remark.into() });
    // The rest of a line whose beginning is gone would look like a line.
    *position = Position { open: oldest.open, ..Position::at(oldest.start) };
}

/// A remark about what is gone is as old as what comes after it.
fn date_remark(chunks: &mut VecDeque<LogChunk>) {
    let after = chunks.get(1).map(|chunk| chunk.time);
    if let (Some(first), Some(after)) = (chunks.front_mut(), after)
        && first.time == 0
    {
        first.time = after.saturating_sub(1);
    }
}

/// Takes the whole frames off some bytes.
fn take(bytes: &Bytes, position: &mut Position, chunks: &mut VecDeque<LogChunk>) {
    let mut rest: &[u8] = bytes;
    while let Some((header, payload, tail)) = frame::split_frame(rest) {
        let payload = payload.get(position.skip..).unwrap_or_default();
        let payload = scan::after_line_end(&mut position.open, header.stream, payload);
        if !payload.is_empty() {
            let stream = match header.stream {
                LogStream::Stdout => LogStream::Stdout,
                LogStream::Stderr | LogStream::System => LogStream::Stderr,
            };
            chunks.push_back(LogChunk {
                stream,
                time: header.time,
                remark: header.stream == LogStream::System,
                bytes: bytes.slice_ref(payload),
            });
        }
        position.offset = position.offset.saturating_add((rest.len() - tail.len()) as u64);
        position.skip = 0;
        rest = tail;
    }
}
