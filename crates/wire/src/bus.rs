//! The one door to NATS: publish, subscribe, request.
//!
//! Behind it stand the embedded server's in-process handle ([`crate::bus_local`]), a connection to any NATS server
//! ([`crate::bus_client`]) and whatever a simulator brings. Nothing else in this crate knows which.

use crate::headers::Headers;
use crate::subjects;
use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A boxed future, so that [`Bus`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Status of the answer to a request that nobody listens to.
pub const NO_RESPONDERS: u16 = 503;

/// A message as it arrived.
#[derive(Clone, PartialEq, Eq)]
pub struct BusMessage {
    /// What it was published to; for requests the server's word on who sent it.
    pub subject: String,
    /// Where the answer goes.
    pub reply: Option<String>,
    /// [`NO_RESPONDERS`] when it is no message but the server's answer for one.
    pub status: Option<u16>,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
}

impl BusMessage {
    /// What a node sent to an orchestrator, which answers to inboxes only; see [`subjects::is_inbox_of`].
    pub fn of_node(self) -> BusMessage {
        let sender = subjects::sender(&self.subject);
        let named = sender.zip(self.reply.as_deref());
        let is_inbox = named.is_some_and(|(node_id, reply)| subjects::is_inbox_of(node_id, reply));
        BusMessage { reply: self.reply.filter(|_| is_inbox), ..self }
    }
}

impl fmt::Debug for BusMessage {
    /// Without the payload: it is long and may hold secrets of users.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BusMessage { subject, reply, status, payload, .. } = self;
        write!(f, "BusMessage({subject} reply {reply:?} status {status:?}, {} bytes)", payload.len())
    }
}

/// Why the bus did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Nobody subscribes to the subject of a request.
    #[error("nobody answers on {subject}")]
    NoResponders {
        /// The request's subject.
        subject: String,
    },
    /// The answer did not come in time.
    #[error("no answer on {subject} within {after:?}")]
    Timeout {
        /// The request's subject.
        subject: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection or the server is gone for good; a new one is needed.
    #[error("the connection to the orchestrator's message bus is closed")]
    Closed,
    /// Headers and body exceed what the server takes.
    #[error("message for {subject} is too large: {size} bytes, the server takes at most {limit}")]
    TooLarge {
        /// Where it should have gone.
        subject: String,
        /// Headers and body, bytes.
        size: usize,
        /// The server's `max_payload`, bytes.
        limit: usize,
    },
    /// A queue is full: receivers or the network are slower than the sender. The same call may work later.
    #[error("the message bus is busy: {0}")]
    Busy(String),
    /// A subject that cannot be used.
    #[error("invalid subject {subject:?}: {reason}")]
    Subject {
        /// The subject.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// NATS as this house needs it. Implementations bound every queue.
pub trait Bus: Send + Sync {
    /// Sends a message. `Ok` means that it was taken over for sending, not that anybody received it.
    fn publish<'a>(
        &'a self,
        subject: &'a str,
        reply: Option<&'a str>,
        headers: &'a Headers,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), BusError>>;

    /// Receives what is published to a subject (with `*` and `>`) from now on: the server knows of the subscription
    /// before it sees anything that is published through this bus later.
    fn subscribe<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Subscription, BusError>>;

    /// Sends a message and waits for one answer. Dropping the future forgets the answer.
    fn request<'a>(
        &'a self,
        subject: &'a str,
        headers: &'a Headers,
        payload: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<BusMessage, BusError>>;

    /// A subject of its own for answers that come outside [`Bus::request`].
    fn new_inbox(&self) -> String {
        format!("_INBOX.{}.{}", crate::inbox::nuid(), crate::inbox::token8())
    }

    /// Most that one message may have, headers and body, bytes.
    fn max_payload(&self) -> usize;
}

/// What arrives on a subject, until it is dropped. [`Subscription::next`] returns `None` once the bus is closed. A
/// reader that is so slow that messages are lost finds that in the log; on the embedded bus its subscription ends.
pub struct Subscription(BoxStream<'static, BusMessage>);

impl Subscription {
    /// Wraps the bounded stream of an implementation.
    pub fn new(messages: impl Stream<Item = BusMessage> + Send + 'static) -> Subscription {
        Subscription(messages.boxed())
    }

    /// The next message; safe to cancel.
    pub async fn next(&mut self) -> Option<BusMessage> {
        self.0.next().await
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}
