//! Going on with the log of a program that runs already: what of its output is there.

use super::super::frame::{Header, LogStream};
use super::super::scan::Frames;
use super::LogWriter;
use std::fs::File;
use std::io;
use std::sync::PoisonError;

/// What a log has of a program's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Logged {
    /// Bytes of standard output.
    pub(crate) stdout: u64,
    /// Bytes of standard error.
    pub(crate) stderr: u64,
    /// When the first of them was logged, nanoseconds since 1970; 0 when there is none.
    pub(crate) first: i64,
    /// When the last of them was logged.
    pub(crate) last: i64,
}

impl Logged {
    fn add(&mut self, header: Header) {
        let count = if header.stream == LogStream::Stdout { &mut self.stdout } else { &mut self.stderr };
        *count = count.saturating_add(header.length as u64);
        if self.first == 0 {
            self.first = header.time;
        }
        self.last = header.time;
    }
}

impl LogWriter {
    /// Bytes of the log so far, from its first ever printed. Blocks.
    ///
    /// # Errors
    /// The files cannot be read.
    pub(crate) fn position(&self) -> io::Result<u64> {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.file.is_some() {
            return Ok(state.length);
        }
        drop(state);
        let segments = self.shared.store.segments(&self.shared.execution_id);
        let Some(last) = segments.back() else { return Ok(0) };
        let file = match File::open(last.path(self.shared.store.folder(), &self.shared.execution_id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(last.start),
            file => file?,
        };
        let mut frames = Frames::new(&file, file.metadata()?.len());
        while frames.next()?.is_some() {}
        Ok(last.start.saturating_add(frames.offset()))
    }

    /// Takes the first bytes that were printed after `begun` for the record, as if this writer had written them, and
    /// tells how much was printed after `since`. Both are positions. Before the first write. Blocks.
    ///
    /// # Errors
    /// The files cannot be read.
    pub(crate) fn resume(&self, begun: u64, since: u64) -> io::Result<Logged> {
        let mut logged = Logged::default();
        let segments = self.shared.store.segments(&self.shared.execution_id);
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        for segment in &segments {
            let file = match File::open(segment.path(self.shared.store.folder(), &self.shared.execution_id)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            let length = file.metadata()?.len();
            if segment.start.saturating_add(length) <= begun.min(since) {
                continue;
            }
            let mut frames = Frames::new(&file, length);
            loop {
                let position = segment.start.saturating_add(frames.offset());
                let Some((header, payload)) = frames.next()? else { break };
                let head = match header.stream {
                    LogStream::Stdout => &mut state.stdout,
                    LogStream::Stderr => &mut state.stderr,
                    LogStream::System => continue,
                };
                if position >= begun {
                    head.push(payload);
                }
                if position >= since {
                    logged.add(header);
                }
            }
        }
        Ok(logged)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{LogLimits, LogStore};
    use super::*;

    #[test]
    fn what_is_there_is_counted_and_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            LogStore::new(dir.path(), LogLimits { execution: 1 << 20, together: 1 << 20, keep_free: 0 })
                .open("e-1")
                .unwrap()
        };
        let first = open();
        assert_eq!(first.position().unwrap(), 0);
        first.write(LogStream::Stdout, b"an earlier program\n");
        let begun = first.position().unwrap();
        first.write(LogStream::Stdout, b"one\n");
        let since = first.position().unwrap();
        first.write(LogStream::Stderr, b"two\n");
        first.write(LogStream::Stdout, b"three\n");
        first.write(LogStream::System, b"[a remark]\n");
        let end = first.position().unwrap();
        drop(first);

        let next = open();
        assert_eq!(next.position().unwrap(), end);
        let known = next.resume(begun, since).unwrap();
        assert_eq!((known.stdout, known.stderr), (6, 4));
        assert!(0 < known.first && known.first <= known.last);
        next.write(LogStream::Stdout, b"four\n");
        assert!(next.position().unwrap() > end);
        let captured = next.finish();
        assert_eq!((captured.stdout.as_str(), captured.stderr.as_str()), ("one\nthree\nfour\n", "two\n"));
    }
}
