//! Names and places of the segments of a log.
//!
//! A log is one file until it has grown to a segment's size; then it goes on in another one, and the oldest go when the
//! limit is reached. A position in a log counts from its first byte ever printed, so it stays the same when segments
//! go. The first segment is `<id>.log`, the others `<id>.log.<start>.<open>`: where they start, and which streams were in
//! the middle of a line there. Nothing of this is written into files, so nothing can be torn by a crash.

use super::frame::LogStream;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Ends the name of a log's first file.
const SUFFIX: &str = ".log";

/// Streams that are in the middle of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Open(u8);

impl Open {
    fn bit(stream: LogStream) -> u8 {
        if stream == LogStream::Stdout { 1 } else { 2 }
    }

    /// Is this one? Remarks of the node are part of standard error.
    pub(super) fn is(self, stream: LogStream) -> bool {
        self.0 & Open::bit(stream) != 0
    }

    /// Notes whether it is.
    pub(super) fn set(&mut self, stream: LogStream, open: bool) {
        self.0 = if open { self.0 | Open::bit(stream) } else { self.0 & !Open::bit(stream) };
    }

    /// Takes note of what was printed.
    pub(super) fn printed(&mut self, stream: LogStream, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.set(stream, *last != b'\n');
        }
    }
}

/// A segment of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// Bytes of the log before it.
    pub(super) start: u64,
    /// Streams that are in the middle of a line where it starts.
    pub(super) open: Open,
}

impl Segment {
    /// Its file.
    pub(super) fn path(&self, folder: &Path, id: &str) -> PathBuf {
        match self.start {
            0 => folder.join(format!("{id}{SUFFIX}")),
            start => folder.join(format!("{id}{SUFFIX}.{start}.{}", self.open.0)),
        }
    }

    /// The log and the segment of a file with this name.
    pub(super) fn parse(name: &str) -> Option<(&str, Segment)> {
        if let Some(id) = name.strip_suffix(SUFFIX) {
            return Some((id, Segment::default()));
        }
        let (rest, open) = name.rsplit_once('.')?;
        let (rest, start) = rest.rsplit_once('.')?;
        let segment = Segment { start: start.parse().ok()?, open: Open(open.parse().ok()?) };
        let known = segment.start > 0 && segment.open.0 < 4;
        rest.strip_suffix(SUFFIX).filter(|_| known).map(|id| (id, segment))
    }
}

/// The segments of one log, oldest first; never empty.
pub(super) type Segments = VecDeque<Segment>;

/// The segment that holds a position, and where the next one starts. A position before the first belongs to the first.
pub(super) fn holding(segments: &Segments, position: u64) -> (Segment, Option<u64>) {
    let after = segments.partition_point(|segment| segment.start <= position).max(1);
    let at = |at: usize| segments.get(at).copied();
    (at(after - 1).unwrap_or_default(), at(after).map(|next| next.start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_come_back(id in "[a-z0-9][a-z0-9._-]{0,12}", start in 0u64..3, open in 0u8..4, factor in 1u64..1 << 40) {
            let segment = match start * factor {
                0 => Segment::default(),
                start => Segment { start, open: Open(open) },
            };
            let path = segment.path(Path::new("/x"), &id);
            prop_assert_eq!(Segment::parse(path.file_name().unwrap().to_str().unwrap()), Some((id.as_str(), segment)));
        }

        #[test]
        fn any_name_is_read_without_panic(name in ".{0,30}") {
            let _ = Segment::parse(&name);
        }
    }

    #[test]
    fn positions_find_their_segment() {
        let segments: Segments = [10, 20, 30].map(|start| Segment { start, open: Open(0) }).into();
        let found = |position| {
            let (segment, next) = holding(&segments, position);
            (segment.start, next)
        };
        assert_eq!(found(0), (10, Some(20)));
        assert_eq!(found(19), (10, Some(20)));
        assert_eq!(found(20), (20, Some(30)));
        assert_eq!(found(99), (30, None));
        assert_eq!(Segment::parse("e-1.log.0.0"), None);
        assert_eq!(Segment::parse("e-1.txt"), None);
    }
}
