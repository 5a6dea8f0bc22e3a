//! The orchestrator's side: one inbox for all open streams, and the answers to the nodes' keep-alives.

use super::frames::{self, AliveRequest, AliveResponse, Frame, Opening};
use super::reader::{self, Feed};
use super::{LogLine, LogRequest};
use crate::bus::{Bus, BusError, BusMessage, NO_RESPONDERS, Subscription};
use crate::headers::Headers;
use crate::{inbox, subjects};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Streams that may be open at the same time.
const MOST_STREAMS: usize = 16_384;
/// Bytes that may be on their way to readers, all streams together.
const IN_FLIGHT: u64 = 256 << 20;
/// Of these one stream gets at least so much, and at most [`WIDEST`].
const NARROWEST: u64 = 32 << 10;
const WIDEST: u64 = 1 << 20;

/// Opens log streams. One per orchestrator; dropping it ends them all.
pub struct LogStreams {
    inner: Arc<Inner>,
    dispatcher: JoinHandle<()>,
}

struct Inner {
    bus: Arc<dyn Bus>,
    nuid: String,
    open: Mutex<HashMap<String, Open>>,
}

/// A stream, and the only node that may feed it.
struct Open {
    node_id: String,
    feed: Feed,
}

impl Open {
    fn is_fed_by(&self, sender: Option<&str>) -> bool {
        sender == Some(self.node_id.as_str())
    }
}

impl LogStreams {
    /// Subscribes to the inbox.
    pub async fn start(bus: Arc<dyn Bus>) -> Result<LogStreams, BusError> {
        let nuid = inbox::nuid();
        let frames = bus.subscribe(&subjects::all_streams(&nuid)).await?;
        let keep_alives = bus.subscribe(&subjects::all_keep_alives(&nuid)).await?;
        let inner = Arc::new(Inner { bus, nuid, open: Mutex::default() });
        let dispatcher = tokio::spawn(dispatch(Arc::clone(&inner), frames, keep_alives));
        Ok(LogStreams { inner, dispatcher })
    }

    /// Asks a node for an execution's output. The stream ends when the receiver does, or with an error as its last
    /// item. A node that is not connected is such an error.
    pub async fn open(
        &self,
        node_id: &str,
        request: LogRequest,
    ) -> Result<mpsc::Receiver<Result<Vec<LogLine>, Error>>, Error> {
        subjects::check_node_id(node_id).map_err(|e| Error::new(code::BAD_REQUEST, e))?;
        let stream_id = inbox::token8();
        let (feed, reader) = reader::stream(node_id);
        // In the map before the node can hear of it, so that no keep-alive is ever answered wrongly.
        self.inner.insert(&stream_id, Open { node_id: node_id.to_owned(), feed })?;
        let guard = Registered { inner: Arc::clone(&self.inner), stream_id: stream_id.clone() };
        let reply = subjects::stream(node_id, &self.inner.nuid, &stream_id);
        let window = (IN_FLIGHT / self.open_streams().max(1) as u64).clamp(NARROWEST, WIDEST);
        let body = Opening::new(&self.inner.nuid, &stream_id, node_id, request, window).encode();
        let subject = subjects::logs(node_id);
        self.inner.bus.publish(&subject, Some(&reply), &Headers::NONE, body.into()).await.map_err(|e| {
            Error::new(code::SERVICE_UNAVAILABLE, format!("asking node {node_id} for logs: {e}")).retryable()
        })?;
        let (give, take) = mpsc::channel(reader::AHEAD);
        tokio::spawn(async move {
            reader.run(give, &*guard.inner.bus).await;
            drop(guard);
        });
        Ok(take)
    }

    /// The connection to a node is lost: its streams end with an error that says so.
    pub fn node_lost(&self, node_id: &str) {
        self.inner.lock().retain(|_, open| {
            let is_lost = open.node_id == node_id;
            if is_lost {
                open.feed.end(offline(node_id));
            }
            !is_lost
        });
    }

    /// Streams that are open now.
    pub fn open_streams(&self) -> usize {
        self.inner.lock().len()
    }
}

impl Drop for LogStreams {
    fn drop(&mut self) {
        self.dispatcher.abort();
        self.inner.end_all();
    }
}

/// Takes a stream out of the map, however it ends; the node learns of it with its next keep-alive.
struct Registered {
    inner: Arc<Inner>,
    stream_id: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.inner.lock().remove(&self.stream_id);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, stream_id: &str, stream: Open) -> Result<(), Error> {
        let mut open = self.lock();
        if open.len() >= MOST_STREAMS {
            let text = format!("{MOST_STREAMS} log streams are open already");
            return Err(Error::new(code::RESOURCE_EXHAUSTED, text)
                .hint("Try again when others have ended")
                .retryable());
        }
        open.insert(stream_id.to_owned(), stream);
        Ok(())
    }

    /// Hands a frame to its stream. Frames of streams that ended are nobody's.
    fn frame(&self, message: BusMessage) {
        let stream_id = message.subject.rsplit('.').next().unwrap_or_default();
        let mut open = self.lock();
        let sender = subjects::sender(&message.subject);
        let Some(Open { feed, .. }) = open.get(stream_id).filter(|open| open.is_fed_by(sender)) else {
            return;
        };
        let goes_on = if message.status == Some(NO_RESPONDERS) {
            feed.end(offline(sender.unwrap_or_default()));
            false
        } else {
            match frames::decode(&message.payload) {
                Ok(frame) => {
                    let is_last = matches!(frame, Frame::Close { .. });
                    feed.frame(frame, message.reply) && !is_last
                }
                Err(e) => {
                    feed.end(Error::plain(format!(
                        "log stream: the node sent a frame that cannot be read: {e}"
                    )));
                    false
                }
            }
        };
        if !goes_on {
            open.remove(stream_id);
        }
    }

    /// Tells a node which of the streams it serves are not wanted any more: exactly those that are not open.
    fn keep_alive(&self, sender: Option<&str>, request: AliveRequest) -> AliveResponse {
        let open = self.lock();
        let mut response = AliveResponse::default();
        for (subject, ids) in request.active_stream_ids {
            let unwanted = |id: &String| match open.get(id).filter(|open| open.is_fed_by(sender)) {
                Some(Open { feed, .. }) => {
                    feed.alive();
                    false
                }
                None => true,
            };
            let unwanted: Vec<String> = ids.unwrap_or_default().into_iter().filter(unwanted).collect();
            if !unwanted.is_empty() {
                response.non_active_stream_ids.insert(subject, Some(unwanted));
            }
        }
        response
    }

    fn end_all(&self) {
        for (_, Open { feed, .. }) in self.lock().drain() {
            feed.end(
                Error::new(code::SERVICE_UNAVAILABLE, "the orchestrator ends its log streams").retryable(),
            );
        }
    }
}

fn offline(node_id: &str) -> Error {
    Error::new(
        code::SERVICE_UNAVAILABLE,
        format!("node {node_id} is not connected, so the logs of this execution cannot be read now"),
    )
    .hint("Try again when the node is back (bacalhau node list), or read the job's results: bacalhau job get")
    .retryable()
}

async fn dispatch(inner: Arc<Inner>, mut frames: Subscription, mut keep_alives: Subscription) {
    loop {
        tokio::select! {
            frame = frames.next() => match frame {
                Some(message) => inner.frame(message.of_node()),
                None => break,
            },
            question = keep_alives.next() => match question {
                Some(message) => answer(&inner, message.of_node()).await,
                None => break,
            },
        }
    }
    inner.end_all();
}

async fn answer(inner: &Inner, message: BusMessage) {
    let Some(reply) = message.reply else { return };
    let request = match frames::from_json(&message.payload) {
        Ok(request) => request,
        Err(e) => return tracing::warn!("keep-alive of a node's log streams cannot be read: {e}"),
    };
    let sender = subjects::sender(&message.subject);
    let response = frames::to_json(&inner.keep_alive(sender, request));
    if let Err(e) = inner.bus.publish(&reply, None, &Headers::NONE, response.into()).await {
        tracing::warn!("answering a keep-alive of log streams: {e}");
    }
}
