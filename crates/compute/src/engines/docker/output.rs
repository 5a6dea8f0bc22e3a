//! From what Docker sends of a container's output to the execution's log: once each byte, whatever happens between.
//!
//! While the node is there, output comes from an attachment made before the container starts: it carries the bytes as
//! they are printed, in their order, holds the container back when the disk is slow, and ends with it. Docker's own log
//! is only read for what was printed while nobody was attached. There, what is known already is skipped by counting
//! bytes of each stream, and by time where Docker has thrown the beginning away.

use crate::logs::resume::Logged;
use crate::logs::{LogStream, LogWriter};
use bacalhau_model::Time;
use bollard::container::LogOutput;
use bollard::errors::Error as DockerError;
use futures_util::{Stream, StreamExt};

/// Pieces of output written in one go at most.
const MOST_AT_ONCE: usize = 64;

/// How much later than Docker the node may have noted the time of the same output, and the other way round.
const CLOCK_SLACK: i64 = 2_000_000_000;

/// The output of one container on its way into the log.
#[derive(Debug)]
pub(super) struct Output {
    log: LogWriter,
    known: Known,
}

/// What of a container's output is in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    stdout: u64,
    stderr: u64,
    /// When the first of it was logged, nanoseconds since 1970; 0 when there is nothing.
    first: i64,
    /// Nothing later than this is known, nanoseconds since 1970.
    until: i64,
}

impl Output {
    /// For a container that has printed nothing yet.
    pub(super) fn new(log: LogWriter) -> Output {
        Output { log, known: Known::default() }
    }

    /// For a container of which a former life of the node has logged a part, which counts as its output. More than Docker
    /// keeps (`most`, bytes) need not be counted: there, only the time tells what is known.
    pub(super) async fn continued(log: LogWriter, most: u64) -> Output {
        let writer = log.clone();
        let logged = tokio::task::spawn_blocking(move || writer.resume(0, 0)).await;
        let logged = logged.map_err(std::io::Error::other).flatten().unwrap_or_else(|error| {
            tracing::warn!(%error, "the log of an adopted container cannot be read; some of its output may be there twice");
            Logged::default()
        });
        let until = if logged.last == 0 { 0 } else { logged.last.saturating_add(CLOCK_SLACK) };
        let mut known = Known { stdout: logged.stdout, stderr: logged.stderr, first: logged.first, until };
        if known.stdout.saturating_add(known.stderr) >= most {
            (known.stdout, known.stderr) = (u64::MAX, u64::MAX);
        }
        Output { log, known }
    }

    /// Logs what an attachment sends, to its end.
    pub(super) async fn attached(
        &mut self,
        stream: impl Stream<Item = Result<LogOutput, DockerError>>,
    ) -> Result<(), DockerError> {
        let mut stream = Box::pin(stream.ready_chunks(MOST_AT_ONCE));
        while let Some(pieces) = stream.next().await {
            let mut batch = Vec::with_capacity(pieces.len());
            let mut end = Ok(());
            for piece in pieces {
                match piece {
                    Ok(piece) => batch.push(split(piece)),
                    Err(error) => end = Err(error),
                }
            }
            for (stream, bytes) in &batch {
                self.known.add(*stream, bytes.len());
            }
            let now = crate::logs::frame::now_nanos();
            if self.known.first == 0 {
                self.known.first = now;
            }
            self.known.until = now.saturating_add(CLOCK_SLACK);
            self.write(batch).await;
            end?;
        }
        Ok(())
    }

    /// Logs what is new in Docker's own log, read from its beginning with times.
    pub(super) async fn replayed(
        &mut self,
        stream: impl Stream<Item = Result<LogOutput, DockerError>>,
    ) -> Result<(), DockerError> {
        let mut to_skip = self.known;
        let mut at_beginning = true;
        let mut stream = Box::pin(stream.ready_chunks(MOST_AT_ONCE));
        while let Some(pieces) = stream.next().await {
            let mut batch = Vec::with_capacity(pieces.len());
            let mut end = Ok(());
            for piece in pieces {
                let (stream, bytes) = match piece {
                    Ok(piece) => split(piece),
                    Err(error) => {
                        end = Err(error);
                        break;
                    }
                };
                let (time, text) = split_time(&bytes);
                if std::mem::take(&mut at_beginning) {
                    to_skip.compare_beginning(time);
                }
                let new = to_skip.skip(stream, time, text.len());
                let text = bytes.slice_ref(text.get(new..).unwrap_or_default());
                if !text.is_empty() {
                    self.known.add(stream, text.len());
                    self.known.until = self.known.until.max(time.unwrap_or(0));
                    batch.push((stream, text));
                }
            }
            self.write(batch).await;
            end?;
        }
        Ok(())
    }

    async fn write(&self, batch: Vec<(LogStream, bytes::Bytes)>) {
        if batch.is_empty() {
            return;
        }
        let log = self.log.clone();
        // A panic in there was logged by the runtime; the container must not suffer from it.
        let _ = tokio::task::spawn_blocking(move || {
            for (stream, bytes) in batch {
                log.write(stream, &bytes);
            }
        })
        .await;
    }
}

impl Known {
    fn count(&mut self, stream: LogStream) -> &mut u64 {
        if stream == LogStream::Stdout { &mut self.stdout } else { &mut self.stderr }
    }

    fn add(&mut self, stream: LogStream, bytes: usize) {
        let count = self.count(stream);
        *count = count.saturating_add(bytes as u64);
    }

    /// Where Docker's log still has the beginning of the output, counting is exact and times need not be looked at.
    fn compare_beginning(&mut self, docker_begins: Option<i64>) {
        let counted = self.stdout != u64::MAX;
        if counted && docker_begins.is_some_and(|time| time <= self.first.saturating_add(CLOCK_SLACK)) {
            self.until = i64::MAX;
        }
    }

    /// How many bytes of a message of this length are known. What is later than everything known is new, even when fewer
    /// bytes were skipped than are known: Docker has thrown away the rest.
    fn skip(&mut self, stream: LogStream, time: Option<i64>, length: usize) -> usize {
        let until = self.until;
        let left = self.count(stream);
        if time.is_some_and(|time| time > until) {
            *left = 0;
        }
        let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(length);
        *left -= skipped as u64;
        skipped
    }
}

fn split(output: LogOutput) -> (LogStream, bytes::Bytes) {
    match output {
        LogOutput::StdErr { message } => (LogStream::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
            (LogStream::Stdout, message)
        }
    }
}

/// Each message of Docker's log begins with its time and a space.
fn split_time(message: &[u8]) -> (Option<i64>, &[u8]) {
    let Some(space) = message.iter().take(40).position(|b| *b == b' ') else { return (None, message) };
    let (time, rest) = message.split_at(space);
    let time = std::str::from_utf8(time).ok().and_then(|text| Time::parse(text).ok());
    match time {
        Some(time) => (Some(time.unix_nanos()), rest.get(1..).unwrap_or_default()),
        None => (None, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{LogLimits, LogStore};

    #[test]
    fn times_are_split_off() {
        let (time, text) = split_time(b"1970-01-01T00:00:01.000000005Z a b\n");
        assert_eq!((time, text), (Some(1_000_000_005), &b"a b\n"[..]));
        assert_eq!(split_time(b"no time\n"), (None, &b"no time\n"[..]));
        assert_eq!(split_time(b""), (None, &b""[..]));
    }

    #[tokio::test]
    async fn what_the_node_says_is_none_of_the_containers_output() {
        let dir = tempfile::tempdir().unwrap();
        let store = LogStore::new(dir.path(), LogLimits::for_disk(1 << 30));
        let log = store.open("e-1").unwrap();
        log.write(LogStream::Stdout, b"out\n");
        log.write(LogStream::Stderr, b"error: \xc3");
        log.write(LogStream::System, b"[the disk is full]\n");
        log.write(LogStream::Stderr, b"\xa9\n");
        let known = Output::continued(log, u64::MAX).await.known;
        assert_eq!((known.stdout, known.stderr), (4, 10));
    }

    #[test]
    fn known_bytes_are_skipped_by_stream() {
        let mut known = Known { stdout: 5, stderr: 1, first: 1, until: 100 };
        assert_eq!(known.skip(LogStream::Stdout, Some(1), 3), 3);
        assert_eq!(known.skip(LogStream::Stderr, Some(1), 3), 1);
        assert_eq!(known.skip(LogStream::Stdout, Some(2), 3), 2);
        assert_eq!(known.skip(LogStream::Stdout, Some(2), 3), 0);
    }

    #[test]
    fn what_is_later_than_all_that_is_known_is_new() {
        let mut known = Known { stdout: 1000, stderr: 0, first: 1, until: 100 };
        assert_eq!(known.skip(LogStream::Stdout, Some(100), 10), 10);
        assert_eq!(known.skip(LogStream::Stdout, Some(101), 10), 0);
        assert_eq!(known.skip(LogStream::Stdout, Some(50), 10), 0);
    }

    #[test]
    fn times_do_not_matter_where_the_beginning_is_still_there() {
        let known = Known { stdout: 20, stderr: 0, first: 5, until: 100 };
        let mut same = known;
        same.compare_beginning(Some(5 + CLOCK_SLACK));
        assert_eq!(same.skip(LogStream::Stdout, Some(i64::MAX - 1), 30), 20);
        let mut later = known;
        later.compare_beginning(Some(6 + CLOCK_SLACK));
        assert_eq!(later.skip(LogStream::Stdout, Some(i64::MAX - 1), 30), 0);
        let mut uncounted = Known { stdout: u64::MAX, stderr: u64::MAX, ..known };
        uncounted.compare_beginning(Some(5));
        assert_eq!(uncounted.skip(LogStream::Stdout, Some(101), 30), 0);
    }
}
