//! Walks over the frames of a segment, and finds where the last lines or a time begin. Reads, and changes nothing.

use super::frame::{self, Header, LogStream};
use super::segments::{Open, Segment};
use std::fs::File;
use std::io::{self, BufReader, Read};

/// Whole frames of a file, from its start.
pub(super) struct Frames<'a> {
    reader: BufReader<io::Take<&'a File>>,
    offset: u64,
    length: u64,
    payload: Vec<u8>,
}

impl<'a> Frames<'a> {
    /// Of the first `length` bytes of a file that was just opened.
    pub(super) fn new(file: &'a File, length: u64) -> Frames<'a> {
        let reader = BufReader::with_capacity(4 * frame::MAX_PAYLOAD, file.take(length));
        Frames { reader, offset: 0, length, payload: Vec::new() }
    }

    /// Bytes of the whole frames that were read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame; `None` at the end or where a frame is torn.
    pub(super) fn next(&mut self) -> io::Result<Option<(Header, &[u8])>> {
        let mut header = [0u8; frame::HEADER];
        if !self.fits(header.len()) || !filled(self.reader.read_exact(&mut header))? {
            return Ok(None);
        }
        let Some(found) = frame::decode_header(&header) else { return Ok(None) };
        self.payload.resize(found.length, 0);
        if !self.fits(header.len() + found.length) || !filled(self.reader.read_exact(&mut self.payload))? {
            return Ok(None);
        }
        self.offset = self.offset.saturating_add((header.len() + found.length) as u64);
        Ok(Some((found, &self.payload)))
    }

    fn fits(&self, bytes: usize) -> bool {
        self.offset.saturating_add(bytes as u64) <= self.length
    }
}

/// A file that is shorter than it was has an end, which is no error.
fn filled(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        result => result.map(|()| true),
    }
}

/// Where to begin in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// Bytes of the segment before the frame.
    pub(super) offset: u64,
    /// Bytes of the frame's payload that are left out.
    pub(super) skip: usize,
    /// Streams that are in the middle of a line there: the rest of that line is left out.
    pub(super) open: Open,
}

/// Lines that begin in a segment. Each stream has lines of its own, whatever the other prints meanwhile.
pub(super) fn count_lines(file: &File, length: u64, segment: Segment) -> io::Result<u64> {
    let (mut frames, mut open, mut lines) = (Frames::new(file, length), segment.open, 0u64);
    while let Some((header, payload)) = frames.next()? {
        let Some((_, all_but_last)) = payload.split_last() else { continue };
        let within = all_but_last.iter().filter(|byte| **byte == b'\n').count() as u64;
        lines += within + u64::from(!open.is(header.stream));
        open.printed(header.stream, payload);
    }
    Ok(lines)
}

/// Where the line number `wanted` of a segment begins, counted from 0; its end if there are fewer.
pub(super) fn find_line(file: &File, length: u64, segment: Segment, wanted: u64) -> io::Result<Start> {
    let (mut frames, mut open, mut lines) = (Frames::new(file, length), segment.open, 0u64);
    let mut offset = 0;
    while let Some((header, payload)) = frames.next()? {
        let mut skip = 0;
        let mut rest = payload;
        loop {
            if !rest.is_empty() && !open.is(header.stream) {
                if lines == wanted {
                    return Ok(Start { offset, skip, open });
                }
                lines += 1;
            }
            let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
                open.set(header.stream, open.is(header.stream) || !rest.is_empty());
                break;
            };
            open.set(header.stream, false);
            skip += at + 1;
            rest = rest.get(at + 1..).unwrap_or_default();
        }
        offset = frames.offset();
    }
    Ok(Start { offset, skip: 0, open: Open::default() })
}

/// Where the first frame begins that was not printed before `since`.
pub(super) fn find_time(file: &File, length: u64, since: i64) -> io::Result<u64> {
    let mut frames = Frames::new(file, length);
    let mut offset = 0;
    while let Some((header, _)) = frames.next()? {
        if header.time >= since {
            break;
        }
        offset = frames.offset();
    }
    Ok(offset)
}

/// When the first frame of a segment was printed.
pub(super) fn first_time(mut file: &File) -> io::Result<Option<i64>> {
    let mut header = [0u8; frame::HEADER];
    let is_there = filled(file.read_exact(&mut header))?;
    Ok(frame::decode_header(&header).filter(|_| is_there).map(|header| header.time))
}

/// Leaves out the rest of lines that began before the start of reading.
pub(super) fn after_line_end<'a>(open: &mut Open, stream: LogStream, payload: &'a [u8]) -> &'a [u8] {
    if !open.is(stream) {
        return payload;
    }
    match payload.iter().position(|byte| *byte == b'\n') {
        Some(at) => {
            open.set(stream, false);
            payload.get(at + 1..).unwrap_or_default()
        }
        None => &[],
    }
}
