//! One open stream on the orchestrator: from the shared inbox to whoever reads.
//!
//! The inbox must never wait for a slow reader, so frames are queued here, bounded in number and bytes. Nodes wait for
//! the answers to some of their frames and so do not run ahead of the reader. Those of Bacalhau 1.9 do not wait: when
//! the queue is full the stream ends with an error that says so. Output is never dropped in silence.

use super::LogLine;
use super::frames::{Frame, GOING_AWAY, NORMAL};
use crate::bus::Bus;
use crate::data::ACK;
use crate::headers::Headers;
use bacalhau_model::Error;
use bacalhau_model::error::code;
use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;

/// Frames that may wait for a reader.
const MOST_FRAMES: usize = 16_384;
/// Bytes that may wait for a reader.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Batches handed over ahead of the reader.
pub(super) const AHEAD: usize = 2;
/// How long a node may take to show that it serves the stream. Nodes of Bacalhau 1.9 wait up to 65 s for the output
/// to begin.
const FIRST_SIGN: Duration = Duration::from_secs(90);
/// How long a node may stay silent afterwards: three of its keep-alives and a little.
const NEXT_SIGN: Duration = Duration::from_secs(35);

/// What the inbox tells a stream.
#[derive(Debug)]
pub(super) enum Sign {
    /// A frame arrived; the subject is answered once it was read.
    Frame(Frame, Option<String>),
    /// The node says that it serves the stream.
    Alive,
}

/// The inbox's end.
#[derive(Clone)]
pub(super) struct Feed {
    queue: mpsc::Sender<Sign>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    bytes: AtomicUsize,
    /// Why the stream ended before its close frame.
    end: OnceLock<Error>,
}

/// The reader's end.
pub(super) struct Reader {
    queue: mpsc::Receiver<Sign>,
    shared: Arc<Shared>,
    node_id: String,
}

/// Both ends of a new stream.
pub(super) fn stream(node_id: &str) -> (Feed, Reader) {
    let (sender, queue) = mpsc::channel(MOST_FRAMES);
    let shared = Arc::new(Shared::default());
    let feed = Feed { queue: sender, shared: Arc::clone(&shared) };
    (feed, Reader { queue, shared, node_id: node_id.to_owned() })
}

impl Feed {
    /// Hands a frame over. `false` when the stream is over and the feed must be dropped.
    pub(super) fn frame(&self, frame: Frame, reply: Option<String>) -> bool {
        let size = size_of(&frame);
        let waiting = self.shared.bytes.fetch_add(size, Ordering::Relaxed);
        if waiting > MOST_BYTES || self.queue.try_send(Sign::Frame(frame, reply)).is_err() {
            self.end(
                Error::new(
                    code::RESOURCE_EXHAUSTED,
                    "the log stream was ended: its output comes faster than it is read",
                )
                .hint("Read it again, without slow programs behind it, or fetch the job's results instead"),
            );
            return false;
        }
        true
    }

    /// Notes that the node serves the stream. No room is as good: then there are frames.
    pub(super) fn alive(&self) {
        let _ = self.queue.try_send(Sign::Alive);
    }

    /// Ends the stream with an error once what is queued was read; the first reason stays.
    pub(super) fn end(&self, error: Error) {
        let _ = self.shared.end.set(error);
    }
}

fn size_of(frame: &Frame) -> usize {
    match frame {
        Frame::Lines(lines) => lines.iter().map(|line| line.text.len()).sum(),
        Frame::Error(text) | Frame::Close { text, .. } => text.len(),
    }
}

impl Reader {
    /// Reads until the stream closes, fails, falls silent or nobody wants it. `give` takes the lines; `bus` carries
    /// the answers to frames that want one.
    pub(super) async fn run(mut self, give: mpsc::Sender<Result<Vec<LogLine>, Error>>, bus: &dyn Bus) {
        let mut patience = FIRST_SIGN;
        loop {
            let sign = tokio::select! {
                () = give.closed() => return,
                sign = tokio::time::timeout(patience, self.queue.recv()) => sign,
            };
            patience = NEXT_SIGN;
            let last = match sign {
                Ok(Some(Sign::Alive)) => continue,
                Ok(Some(Sign::Frame(frame, reply))) => {
                    self.shared.bytes.fetch_sub(size_of(&frame), Ordering::Relaxed);
                    match frame {
                        Frame::Lines(lines) => {
                            if give.send(Ok(lines)).await.is_err() {
                                return;
                            }
                            if let Some(reply) = reply {
                                was_read(bus, &reply).await;
                            }
                            continue;
                        }
                        Frame::Error(text) => Some(Error::plain(text)),
                        Frame::Close { code: NORMAL, .. } => None,
                        Frame::Close { code, text } => Some(self.closed(code, &text)),
                    }
                }
                Ok(None) => self.shared.end.get().cloned(),
                Err(_) => Some(self.silent()),
            };
            if let Some(error) = last {
                // Nobody there to hear it is fine.
                let _ = give.send(Err(error)).await;
            }
            return;
        }
    }

    fn closed(&self, code: i64, text: &str) -> Error {
        let text = if text.is_empty() { "no reason given" } else { text };
        let error =
            Error::plain(format!("node {} closed the log stream: {text} (code {code})", self.node_id));
        if code == GOING_AWAY { error.retryable() } else { error }
    }

    fn silent(&self) -> Error {
        Error::new(
            code::TIME_OUT,
            format!("node {} does not answer any more; its log stream was ended", self.node_id),
        )
        .hint("Check that the node runs and is connected: bacalhau node list")
        .retryable()
    }
}

/// Tells the node that it may go on. When that fails the bus is broken, and the stream ends by that.
async fn was_read(bus: &dyn Bus, reply: &str) {
    if let Err(error) = bus.publish(reply, None, &Headers::NONE, Bytes::from_static(ACK)).await {
        tracing::warn!("log stream: answering a frame: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryBus;

    fn line(text: &str) -> Frame {
        Frame::Lines(vec![LogLine { stream: 1, time: 0, text: text.to_owned().into() }])
    }

    async fn read_all(reader: Reader) -> (usize, Option<Error>) {
        let (give, mut take) = mpsc::channel(AHEAD);
        tokio::spawn(async move { reader.run(give, &MemoryBus::new()).await });
        let (mut lines, mut error) = (0, None);
        while let Some(item) = take.recv().await {
            match item {
                Ok(_) => lines += 1,
                Err(e) => error = Some(e),
            }
        }
        (lines, error)
    }

    #[tokio::test]
    async fn a_normal_close_just_ends() {
        let (feed, reader) = stream("n-1");
        assert!(feed.frame(line("a"), None) && feed.frame(line("b"), None));
        feed.frame(Frame::Close { code: NORMAL, text: String::new() }, None);
        assert_eq!(read_all(reader).await, (2, None));
    }

    #[tokio::test]
    async fn every_other_end_has_words() {
        for (frame, says) in [
            (Frame::Error("boom".into()), "boom"),
            (
                Frame::Close { code: 5000, text: "disk".into() },
                "node n-1 closed the log stream: disk (code 5000)",
            ),
        ] {
            let (feed, reader) = stream("n-1");
            feed.frame(frame, None);
            assert_eq!(read_all(reader).await.1.unwrap().message, says);
        }
    }

    #[tokio::test]
    async fn a_slow_reader_gets_what_was_queued_and_is_told() {
        let (feed, reader) = stream("n-1");
        let big = "x".repeat(1024 * 1024);
        let fitting = (0..100).take_while(|_| feed.frame(line(&big), None)).count();
        assert_eq!(fitting, 17);
        drop(feed);
        let (lines, error) = read_all(reader).await;
        assert_eq!(lines, fitting);
        assert!(error.unwrap().message.contains("faster than it is read"));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_the_stream_but_signs_of_life_keep_it() {
        let (feed, reader) = stream("n-1");
        let reading = tokio::spawn(read_all(reader));
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(30)).await;
            feed.alive();
        }
        assert!(!reading.is_finished());
        let (_, error) = reading.await.unwrap();
        assert!(error.unwrap().message.contains("does not answer any more"));
        drop(feed);
    }
}
