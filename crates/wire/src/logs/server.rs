//! The node's side: serves any number of streams at the same time, until nobody wants them.

use super::frames::{self, AliveResponse, Opening};
use super::keep_alive::{Book, StreamKey};
use super::{LogLine, LogRequest, packed};
use crate::bus::{BoxFuture, Bus, BusError, BusMessage, NO_RESPONDERS, Subscription};
use crate::headers::Headers;
use crate::subjects;
use bacalhau_model::Error;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, Id, JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

/// Streams that a node serves at the same time.
const MOST_STREAMS: usize = 8192;
/// Between keep-alives, as Bacalhau 1.9 has it.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a consumer may take to answer one.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes that may be on their way to a reader that has no wish: those between three marks.
const WINDOW: u64 = 1024 * 1024;
/// Bytes at which a packed message is sent without waiting for more. Servers allow 1 MiB unless told otherwise.
const FULL: usize = 64 * 1024;
/// Pause before a frame is offered again to a bus that was busy.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Output of an execution as it comes, as much at once as is at hand. An error ends it.
pub type LogLines = BoxStream<'static, Result<Vec<LogLine>, Error>>;

/// Where a node's log lines come from.
pub trait LogSource: Send + Sync + 'static {
    /// Opens the output of an execution. It may wait for the execution to start.
    fn open(&self, request: LogRequest) -> BoxFuture<'_, Result<LogLines, Error>>;
}

/// Serves log streams while it lives.
pub struct LogServer {
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl LogServer {
    /// Starts to serve on a bus.
    pub async fn start(
        bus: Arc<dyn Bus>,
        node_id: &str,
        source: Arc<dyn LogSource>,
    ) -> Result<LogServer, BusError> {
        let requests = bus.subscribe(&subjects::node_requests(node_id)).await?;
        let (stop, stopped) = oneshot::channel();
        let serving = Serving {
            bus,
            source,
            subject: subjects::logs(node_id),
            book: Book::new(),
            keys: HashMap::new(),
            streams: JoinSet::new(),
            questions: JoinSet::new(),
        };
        Ok(LogServer { stop: Some(stop), task: Some(tokio::spawn(serving.run(requests, stopped))) })
    }

    /// Tells every consumer that the node goes away, and ends.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that it has ended already.
            let _ = stop.send(());
        }
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for LogServer {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// A stream that is being served.
struct Active {
    reply: String,
    task: AbortHandle,
}

/// One consumer's answer to a keep-alive, `None` when it did not come.
type Answered = (String, Option<AliveResponse>);

struct Serving {
    bus: Arc<dyn Bus>,
    source: Arc<dyn LogSource>,
    subject: String,
    book: Book<Active>,
    keys: HashMap<Id, StreamKey>,
    streams: JoinSet<()>,
    questions: JoinSet<Answered>,
}

impl Serving {
    async fn run(mut self, mut requests: Subscription, mut stopped: oneshot::Receiver<()>) {
        let mut tick = tokio::time::interval(KEEP_ALIVE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                request = requests.next() => match request {
                    Some(message) => self.requested(message).await,
                    None => break,
                },
                Some(ended) = self.streams.join_next_with_id() => {
                    let id = ended.map_or_else(|e| e.id(), |(id, ())| id);
                    if let Some(key) = self.keys.remove(&id) {
                        self.book.remove(&key);
                    }
                },
                Some(answered) = self.questions.join_next() => {
                    if let Ok((consumer, answer)) = answered {
                        let unwanted = self.book.answered(&consumer, answer);
                        self.abort(unwanted);
                    }
                },
                _ = tick.tick() => self.ask(),
            }
        }
        for stream in self.book.drain() {
            stream.task.abort();
            send(&*self.bus, &stream.reply, None, frames::close(frames::GOING_AWAY, "the node shuts down"))
                .await;
        }
    }

    /// Ends streams that nobody wants, without a word.
    fn abort(&mut self, streams: Vec<Active>) {
        for stream in streams {
            self.keys.remove(&stream.task.id());
            stream.task.abort();
        }
    }

    async fn requested(&mut self, message: BusMessage) {
        if message.subject != self.subject {
            return tracing::debug!(subject = message.subject, "request of an old protocol ignored");
        }
        let Some(reply) = message.reply else { return };
        let opening = match Opening::decode(&message.payload) {
            Ok(opening) => opening,
            Err(e) => {
                let text = format!("log request cannot be read: {e}");
                return send(&*self.bus, &reply, None, frames::close(frames::BAD_REQUEST, &text)).await;
            }
        };
        if self.book.len() >= MOST_STREAMS {
            let text = format!("the node serves {MOST_STREAMS} log streams already; try again later");
            return send(&*self.bus, &reply, None, frames::close(frames::INTERNAL, &text)).await;
        }
        let key = StreamKey { consumer: opening.keep_alive.clone(), stream_id: opening.stream_id.clone() };
        let serving = serve(Arc::clone(&self.bus), Arc::clone(&self.source), opening, reply.clone());
        let task = self.streams.spawn(serving);
        self.keys.insert(task.id(), key.clone());
        let replaced = self.book.insert(key, Active { reply, task });
        self.abort(replaced.into_iter().collect());
    }

    /// Asks every consumer which of its streams it still wants, unless the last question is still open.
    fn ask(&mut self) {
        if !self.questions.is_empty() {
            return;
        }
        for (consumer, request) in self.book.questions(&self.subject) {
            let bus = Arc::clone(&self.bus);
            self.questions.spawn(async move {
                let body = frames::to_json(&request);
                let answer = bus.request(&consumer, &Headers::NONE, body.into(), ANSWER).await;
                let answer = answer.ok().and_then(|message| frames::from_json(&message.payload).ok());
                (consumer, answer)
            });
        }
    }
}

/// Serves one stream to its end.
async fn serve(bus: Arc<dyn Bus>, source: Arc<dyn LogSource>, opening: Opening, reply: String) {
    let mut outlet = Outlet { bus: &*bus, reply: &reply, sent: 0, between_marks: 0, marks: None };
    if let Err(error) = outlet.run(&*source, opening).await {
        outlet.send(None, frames::error(&error.message)).await;
    }
    outlet.send(None, frames::close(frames::NORMAL, "")).await;
}

/// Where the frames of one stream go.
struct Outlet<'a> {
    bus: &'a dyn Bus,
    reply: &'a str,
    /// Bytes since the last mark.
    sent: u64,
    /// Bytes between two marks. Twice as much may be on its way to the reader.
    between_marks: u64,
    marks: Option<Marks>,
}

/// Flow control: some frames are marks, which the reader answers. At most one mark is unanswered.
struct Marks {
    inbox: String,
    answers: Subscription,
    unanswered: bool,
}

impl Outlet<'_> {
    async fn run(&mut self, source: &dyn LogSource, opening: Opening) -> Result<(), Error> {
        if opening.flow_control {
            let inbox = self.bus.new_inbox();
            let answers = self.bus.subscribe(&inbox).await;
            let answers = answers.map_err(|e| Error::plain(format!("log stream: {e}")))?;
            self.marks = Some(Marks { inbox, answers, unanswered: false });
            let window = if opening.window == 0 { WINDOW } else { opening.window.min(4 * WINDOW) };
            self.between_marks = window / 2;
        }
        let mut batches = source.open(opening.request).await?;
        while let Some(batch) = batches.next().await {
            match opening.packed {
                true => self.packed(batch?).await?,
                false => self.one_by_one(batch?).await?,
            }
        }
        Ok(())
    }

    async fn packed(&mut self, lines: Vec<LogLine>) -> Result<(), Error> {
        let mut message = Vec::new();
        for line in lines {
            packed::put(&mut message, &line);
            if message.len() >= FULL {
                self.frame(std::mem::take(&mut message)).await?;
            }
        }
        if message.is_empty() { Ok(()) } else { self.frame(message).await }
    }

    async fn one_by_one(&mut self, lines: Vec<LogLine>) -> Result<(), Error> {
        for line in lines {
            for piece in frames::pieces(&String::from_utf8_lossy(&line.text)) {
                self.frame(frames::line(line.stream, piece)).await?;
            }
        }
        Ok(())
    }

    async fn frame(&mut self, frame: Vec<u8>) -> Result<(), Error> {
        self.sent += frame.len() as u64;
        let mark = if self.sent > self.between_marks { self.mark().await? } else { None };
        self.send(mark.as_deref(), frame).await;
        Ok(())
    }

    /// The subject on which the next mark is answered, once the last one was. A reader that takes a break makes this
    /// wait; one that is gone is noticed by the keep-alive, or here when nobody answers for it.
    async fn mark(&mut self) -> Result<Option<String>, Error> {
        self.sent = 0;
        let Some(marks) = &mut self.marks else { return Ok(None) };
        if marks.unanswered {
            let answer = marks.answers.next().await;
            if answer.is_none_or(|answer| answer.status == Some(NO_RESPONDERS)) {
                return Err(Error::plain("log stream: its reader is gone"));
            }
        }
        marks.unanswered = true;
        Ok(Some(marks.inbox.clone()))
    }

    async fn send(&mut self, mark: Option<&str>, frame: Vec<u8>) {
        send(self.bus, self.reply, mark, frame).await;
    }
}

/// Publishes a frame, waiting while the bus is busy. What else goes wrong ends the connection and the stream with it.
async fn send(bus: &dyn Bus, to: &str, mark: Option<&str>, frame: Vec<u8>) {
    let frame = bytes::Bytes::from(frame);
    loop {
        match bus.publish(to, mark, &Headers::NONE, frame.clone()).await {
            Err(BusError::Busy(_)) => tokio::time::sleep(BUSY_PAUSE).await,
            Err(error) => return tracing::debug!("log stream: {error}"),
            Ok(()) => return,
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
