//! From what a supervisor keeps of a program's output to the execution's log: each byte once, whatever dies between.
//!
//! A note (the cursor) says up to where the spool is in the log, and how long the log was then. It is written after the
//! log. What the log has beyond that length was logged in the moment between: a next life counts it, and skips as much.
//! Whoever goes on waits until a former reader has let go of the note, which the kernel sees to when it was killed.

use super::spool::{segment, segments};
use crate::logs::frame::{self, LogStream};
use crate::logs::{LogWriter, resume::Logged};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of the cursor.
const CURSOR: &str = "logged";

/// Bytes of the cursor: position in the spool, length of the log then, length of the log when the program began.
const CURSOR_SIZE: usize = 24;

/// Bytes read from the spool at once: several of the largest frames.
const CHUNK: usize = 4 * (frame::MAX_PAYLOAD + frame::HEADER);

/// Chunks logged without looking up.
const MOST_CHUNKS: usize = 16;

/// The reading end. Everything here blocks.
#[derive(Debug)]
pub(crate) struct Output {
    folder: PathBuf,
    log: LogWriter,
    cursor: File,
    begun: u64,
    /// Position in the spool up to which everything is in the log.
    position: u64,
    /// What of the rest is in the log, too.
    known: Logged,
    file: Option<(u64, File)>,
    buffer: Vec<u8>,
}

impl Output {
    /// For a program that has not begun.
    pub(crate) fn begin(folder: &Path, log: LogWriter) -> io::Result<Output> {
        let begun = log.position()?;
        let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).clone();
        let cursor = options.open(folder.join(CURSOR))?;
        flock(&cursor, FlockOperation::LockExclusive)?;
        let output = Output::new(folder, log, cursor, begun);
        output.note(begun)?;
        Ok(output)
    }

    /// For one of which a former life of the node has logged a part.
    pub(crate) fn resume(folder: &Path, log: LogWriter) -> io::Result<Output> {
        let cursor = OpenOptions::new().read(true).write(true).open(folder.join(CURSOR))?;
        flock(&cursor, FlockOperation::LockExclusive)?;
        let mut bytes = [0; CURSOR_SIZE];
        cursor.read_exact_at(&mut bytes, 0)?;
        let mut numbers =
            bytes.chunks_exact(8).filter_map(|part| Some(u64::from_le_bytes(*part.first_chunk()?)));
        let mut next = || numbers.next().unwrap_or_default();
        let (position, since, begun) = (next(), next(), next());
        let known = log.resume(begun, since)?;
        Ok(Output { position, known, ..Output::new(folder, log, cursor, begun) })
    }

    fn new(folder: &Path, log: LogWriter, cursor: File, begun: u64) -> Output {
        let (folder, known) = (folder.to_owned(), Logged::default());
        Output { folder, log, cursor, begun, position: 0, known, file: None, buffer: Vec::new() }
    }

    fn note(&self, log: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(CURSOR_SIZE);
        [self.position, log, self.begun].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        self.cursor.write_all_at(&bytes, 0)
    }

    /// Up to where everything is in the log.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Logs some of what is there; gives whether there may be more.
    pub(crate) fn log_some(&mut self) -> io::Result<bool> {
        for _ in 0..MOST_CHUNKS {
            if !self.log_chunk()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn log_chunk(&mut self) -> io::Result<bool> {
        if self.file.is_none() {
            self.file = self.find()?;
        }
        let Some((start, file)) = &self.file else { return Ok(false) };
        self.buffer.resize(CHUNK, 0);
        let length = read_at(file, &mut self.buffer, self.position.saturating_sub(*start))?;
        let mut rest = self.buffer.get(..length).unwrap_or_default();
        while let Some((header, payload, after)) = frame::split_frame(rest) {
            let known = match header.stream {
                LogStream::Stdout => &mut self.known.stdout,
                LogStream::Stderr => &mut self.known.stderr,
                LogStream::System => &mut 0,
            };
            let skipped = usize::try_from(*known).unwrap_or(usize::MAX).min(payload.len());
            *known = known.saturating_sub(skipped as u64);
            self.log.write(header.stream, payload.get(skipped..).unwrap_or_default());
            rest = after;
        }
        let logged = length.saturating_sub(rest.len()) as u64;
        if logged > 0 {
            self.position = self.position.saturating_add(logged);
            // What was known came from a chunk that began here and was no longer than this one.
            self.known = Logged::default();
            self.note(self.log.position()?)?;
            return Ok(true);
        }
        self.go_on()
    }

    /// The file in which the position is; where it is gone, the first that is there.
    fn find(&mut self) -> io::Result<Option<(u64, File)>> {
        let starts = segments(&self.folder)?;
        let holding = starts.iter().rev().find(|start| **start <= self.position).or(starts.first());
        let Some(start) = holding.copied() else { return Ok(None) };
        let file = match File::open(segment(&self.folder, start)) {
            // The supervisor has just dropped it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        self.miss(start);
        Ok(Some((start, file)))
    }

    /// Says what was dropped before this position.
    fn miss(&mut self, start: u64) {
        let lost = start.saturating_sub(self.position);
        if lost > 0 {
            self.position = start;
            self.known = Logged::default();
            let remark = format!(
                "[about {lost} bytes of output were lost here: more was printed while the node was away than is kept for it]\n"
            );
            self.log.write(LogStream::System, remark.as_bytes());
        }
    }

    /// At the end of a file: the next one, if there is one.
    fn go_on(&mut self) -> io::Result<bool> {
        let Some((start, _)) = self.file else { return Ok(false) };
        let starts = segments(&self.folder)?;
        let Some(next) = starts.into_iter().find(|next| *next > start && *next >= self.position) else {
            return Ok(false);
        };
        self.file = None;
        if next > self.position {
            // Files between were dropped.
            return Ok(true);
        }
        match std::fs::remove_file(segment(&self.folder, start)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }
}

/// Reads as much as is there.
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position.saturating_add(length as u64)) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
