//! Where a reader begins: from the end backwards, one segment after the other, so that a long log costs no more than
//! what is shown of it and a segment.

use super::LogStore;
use super::scan;
use super::segments::{Open, Segment, Segments};
use std::fs::File;
use std::io;
use std::path::Path;

/// A place in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Bytes of the log before the frame.
    pub(super) offset: u64,
    /// Bytes of the frame's payload that are left out.
    pub(super) skip: usize,
    /// Streams of which the rest of a line is left out.
    pub(super) open: Open,
}

impl Position {
    pub(super) fn at(offset: u64) -> Position {
        Position { offset, ..Position::default() }
    }
}

/// The segments of a log up to a position, newest first, each with what of it is before that position.
struct Backwards<'a> {
    store: &'a LogStore,
    id: &'a str,
    segments: Segments,
    end: u64,
}

impl Backwards<'_> {
    fn next(&mut self) -> io::Result<Option<(Segment, File, u64)>> {
        while let Some(segment) = self.segments.pop_back() {
            let length = self.end.saturating_sub(segment.start);
            if length == 0 {
                continue;
            }
            self.end = segment.start;
            // One that is gone went while we looked, and with it all before it.
            let Some(file) = open(&segment.path(self.store.folder(), self.id))? else { break };
            return Ok(Some((segment, file, length)));
        }
        Ok(None)
    }
}

fn backwards<'a>(store: &'a LogStore, id: &'a str, end: u64) -> Backwards<'a> {
    Backwards { store, id, segments: store.segments(id), end }
}

/// Where the last `wanted` lines begin, of both streams together, in what was printed before `end`. `None` when that is
/// all that is kept.
pub(super) fn last_lines(store: &LogStore, id: &str, wanted: u64, end: u64) -> io::Result<Option<Position>> {
    if wanted == 0 {
        return Ok(Some(Position::at(end)));
    }
    let (mut segments, mut missing) = (backwards(store, id, end), wanted);
    while let Some((segment, file, length)) = segments.next()? {
        let lines = scan::count_lines(&file, length, segment)?;
        if lines < missing {
            missing -= lines;
            continue;
        }
        // Opened again, to be read from its start.
        let Some(file) = open(&segment.path(store.folder(), id))? else { return Ok(None) };
        let start = scan::find_line(&file, length, segment, lines - missing)?;
        let offset = segment.start.saturating_add(start.offset);
        return Ok(Some(Position { offset, skip: start.skip, open: start.open }));
    }
    Ok(None)
}

/// Where what was printed since a time begins, nanoseconds since 1970. `None` when that is all that is kept.
pub(super) fn since(store: &LogStore, id: &str, time: i64, end: u64) -> io::Result<Option<Position>> {
    let mut segments = backwards(store, id, end);
    while let Some((segment, file, length)) = segments.next()? {
        if scan::first_time(&file)?.is_none_or(|first| first >= time) {
            continue;
        }
        let Some(file) = open(&segment.path(store.folder(), id))? else { return Ok(None) };
        let offset = scan::find_time(&file, length, time)?;
        return Ok(Some(Position::at(segment.start.saturating_add(offset))));
    }
    Ok(None)
}

/// A file, if it is there.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
