//! What a program printed and no node has logged yet: frames as in logs, in files of a few megabytes that are named
//! after the position where they start. Written by the supervisor; the node removes what it has logged.
//!
//! While nobody reads, the oldest go when there is too much: a service must not stop because its node is away.

use crate::logs::frame::{self, LogStream};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes after which a new file begins.
const SEGMENT: u64 = 4 << 20;

/// Bytes that are kept while nobody reads.
const MOST: u64 = 64 << 20;

/// Begins the name of each file.
const PREFIX: &str = "output.";

/// The file that starts at a position.
pub(super) fn segment(folder: &Path, start: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{start}"))
}

/// Where the files of a folder start, in order.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    let names = fs::read_dir(folder)?.flatten().map(|entry| entry.file_name());
    let mut starts: Vec<u64> =
        names.filter_map(|name| name.to_str()?.strip_prefix(PREFIX)?.parse().ok()).collect();
    starts.sort_unstable();
    Ok(starts)
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    file: Option<File>,
    /// Where the files begin that may still be there.
    starts: VecDeque<u64>,
    /// Position after the last whole frame.
    written: u64,
    /// Position up to which a node has logged.
    logged: u64,
    /// Bytes of output that found no room on the disk.
    lost: u64,
    buffer: Vec<u8>,
}

impl Spool {
    pub(super) fn new(folder: &Path) -> Spool {
        Spool {
            folder: folder.to_owned(),
            file: None,
            starts: VecDeque::new(),
            written: 0,
            logged: 0,
            lost: 0,
            buffer: Vec::new(),
        }
    }

    /// Bytes that no node has logged.
    pub(super) fn backlog(&self) -> u64 {
        self.written.saturating_sub(self.logged)
    }

    /// A node has logged that much.
    pub(super) fn logged(&mut self, position: u64) {
        self.logged = self.logged.max(position.min(self.written));
        while self.starts.get(1).is_some_and(|next| *next <= self.logged) {
            self.starts.pop_front();
        }
    }

    /// Keeps output of at most [`frame::MAX_PAYLOAD`] bytes. What finds no room on the disk is lost, and that is said as
    /// soon as there is room.
    pub(super) fn keep(&mut self, stream: LogStream, bytes: &[u8]) {
        if self.lost > 0 {
            let remark =
                format!("[{} bytes of output were lost here: the node's disk was full]\n", self.lost);
            if self.append(LogStream::System, remark.as_bytes()).is_ok() {
                self.lost = 0;
            }
        }
        if self.append(stream, bytes).is_err() {
            self.lost = self.lost.saturating_add(bytes.len() as u64);
        }
        while self.starts.len() > 1 && self.starts.front().is_some_and(|start| self.written - start > MOST) {
            if let Some(start) = self.starts.pop_front() {
                // The node may have removed it.
                let _ = fs::remove_file(segment(&self.folder, start));
            }
        }
    }

    fn append(&mut self, stream: LogStream, bytes: &[u8]) -> io::Result<()> {
        let start = self.starts.back().copied().unwrap_or(0);
        if self.file.is_none() || self.written.saturating_sub(start) >= SEGMENT {
            let path = segment(&self.folder, self.written);
            let options =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            self.file = Some(options);
            if self.starts.back() != Some(&self.written) {
                self.starts.push_back(self.written);
            }
        }
        let start = self.starts.back().copied().unwrap_or(0);
        let Some(file) = &mut self.file else { return Ok(()) };
        self.buffer.clear();
        frame::encode(&mut self.buffer, stream, frame::now_nanos(), bytes);
        let at = self.written.saturating_sub(start);
        if let Err(error) = file.write_all_at(&self.buffer, at) {
            // What follows a half frame could not be read.
            if file.set_len(at).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        self.written = self.written.saturating_add(self.buffer.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_while_nobody_reads() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path());
        let bytes = vec![7; frame::MAX_PAYLOAD];
        while spool.written < MOST + 3 * SEGMENT {
            spool.keep(LogStream::Stdout, &bytes);
        }
        let starts = segments(dir.path()).unwrap();
        assert!(starts[0] > 0 && spool.written - starts[0] <= MOST, "{starts:?}");
        assert_eq!(starts, Vec::from(spool.starts.clone()));
        spool.logged(spool.written);
        assert_eq!((spool.backlog(), spool.starts.len()), (0, 1));
    }
}
