//! An execution that is expected or running: how far its log has come, and what was printed last, for those who follow.

use super::frame;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Bytes of frames that are kept in memory for followers, so that any number of them costs no reads of files.
const RECENT: usize = 4 * (frame::MAX_PAYLOAD + frame::HEADER);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) progress: watch::Sender<Progress>,
    recent: Mutex<Recent>,
}

/// How far a log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes of whole frames printed so far, those of segments that are gone included.
    pub(super) length: u64,
    /// Nothing more will follow.
    pub(super) ended: bool,
}

/// The last frames.
#[derive(Debug, Default)]
struct Recent {
    /// Position of the first.
    start: u64,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Live {
    /// Says that the log has grown. `frame` is what was written last.
    pub(super) fn grew(&self, length: u64, frame: &[u8]) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if self.progress.receiver_count() > 0 {
            recent.push(length.saturating_sub(frame.len() as u64), frame);
        } else if !recent.frames.is_empty() {
            *recent = Recent::default();
        }
    }

    /// Tells the readers.
    pub(super) fn tell(&self, length: u64) {
        self.progress.send_modify(|progress| progress.length = length);
    }

    /// Ends the readers.
    pub(super) fn end(&self) {
        self.progress.send_modify(|progress| progress.ended = true);
    }

    /// Frames from a position on, if they are still in memory. At most as many as a reader takes at once.
    pub(super) fn recent(&self, from: u64, limit: u64) -> Option<Vec<Bytes>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.range(from, limit)
    }
}

impl Recent {
    fn push(&mut self, position: u64, frame: &[u8]) {
        if self.start + self.bytes as u64 != position {
            *self = Recent { start: position, ..Recent::default() };
        }
        self.frames.push_back(Bytes::copy_from_slice(frame));
        self.bytes += frame.len();
        while self.bytes > RECENT {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.len();
            self.start += oldest.len() as u64;
        }
    }

    fn range(&self, from: u64, limit: u64) -> Option<Vec<Bytes>> {
        let end = self.start + self.bytes as u64;
        if from < self.start || from >= end || limit > end {
            return None;
        }
        // From the newest backwards: followers want the last few.
        let mut position = end;
        let mut first = self.frames.len();
        for frame in self.frames.iter().rev() {
            if position <= from {
                break;
            }
            position -= frame.len() as u64;
            first -= 1;
        }
        let mut taken = Vec::with_capacity(self.frames.len() - first);
        for frame in self.frames.iter().skip(first) {
            position += frame.len() as u64;
            if position > limit {
                break;
            }
            taken.push(frame.clone());
        }
        (position >= from && !taken.is_empty()).then_some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_frames_are_found_by_position() {
        let live = Live::default();
        live.grew(3, b"abc");
        assert_eq!(live.recent(0, 3), None, "nobody follows");
        let _reader = live.progress.subscribe();
        for (end, frame) in [(5, "de"), (9, "fghi"), (10, "j")] {
            live.grew(end, frame.as_bytes());
        }
        let read = |from, limit| live.recent(from, limit).map(|frames| frames.concat());
        assert_eq!(read(0, 10), None);
        assert_eq!(read(3, 10).as_deref(), Some(&b"defghij"[..]));
        assert_eq!(read(5, 10).as_deref(), Some(&b"fghij"[..]));
        assert_eq!(read(9, 10).as_deref(), Some(&b"j"[..]));
        assert_eq!(read(5, 9).as_deref(), Some(&b"fghi"[..]));
        assert_eq!(read(10, 10), None);
        let large = vec![0; RECENT];
        live.grew(10 + RECENT as u64, &large);
        assert_eq!(read(5, 10 + RECENT as u64), None);
        assert_eq!(read(10, 10 + RECENT as u64).map(|bytes| bytes.len()), Some(RECENT));
    }
}
