//! The handle with which the embedding program takes part in the bus. It checks arguments and queues commands; routing
//! happens on the loop thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::message::{HeaderBlock, Message, Subject};
use super::queue::{ClientQueue, Command};
use super::subscription::{LocalSubscription, Receiver};
use crate::error::Error;
use crate::hub::Hub;
use crate::subject;

/// An in-process client. Clones are the same client; a subscription keeps it alive.
///
/// Its commands take effect in the order given. A subscription made before a socket client was told about it receives
/// what that client then publishes.
#[derive(Clone)]
pub struct LocalClient {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Arc<ClientQueue>,
    next_sid: AtomicU64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.push_end(Command::Close);
    }
}

impl LocalClient {
    pub(crate) fn new(hub: Arc<Hub>, name: &str) -> Self {
        Self { inner: Arc::new(Inner { queue: ClientQueue::new(hub, name), next_sid: AtomicU64::new(1) }) }
    }

    /// The name given at creation.
    pub fn name(&self) -> &str {
        &self.inner.queue.name
    }

    /// Queues a message; never blocks. `headers` is a raw block as [`HeaderBlock::to_bytes`] makes it. If there is a
    /// `reply` and nobody receives the message, the client's own subscription on `reply` gets a message for which
    /// [`Message::is_no_responders`] is true.
    ///
    /// # Errors
    /// Invalid subject, reply or headers; [`Error::PayloadTooLarge`]; [`Error::Busy`] if receivers are too slow and the
    /// bounded queue is full; [`Error::Closed`].
    pub fn publish(
        &self,
        subject: &str,
        reply: Option<&str>,
        headers: Option<Bytes>,
        payload: impl Into<Bytes>,
    ) -> Result<(), Error> {
        self.check_literal("subject", subject)?;
        if let Some(reply) = reply {
            self.check_literal("reply subject", reply)?;
        }
        if let Some(block) = &headers {
            HeaderBlock::check(block)?;
        }
        let message = Message {
            subject: subject.into(),
            reply: reply.map(Subject::from),
            headers,
            payload: payload.into(),
        };
        let limit = self.inner.queue.hub().limits().max_payload;
        if message.size() > limit {
            return Err(Error::PayloadTooLarge { size: message.size(), limit });
        }
        self.inner.queue.push(Command::Publish(message))
    }

    /// Receives every message on `pattern`, which may have wildcards.
    ///
    /// # Errors
    /// Invalid pattern; [`Error::Busy`]; [`Error::Closed`].
    pub fn subscribe(&self, pattern: &str) -> Result<LocalSubscription, Error> {
        self.subscribe_queued(pattern, None)
    }

    /// Like [`subscribe`](Self::subscribe), sharing the messages with the other members of queue group `group`.
    ///
    /// # Errors
    /// As for `subscribe`; also an invalid group name.
    pub fn queue_subscribe(&self, pattern: &str, group: &str) -> Result<LocalSubscription, Error> {
        self.subscribe_queued(pattern, Some(group))
    }

    /// Calls `callback` for each message, on the server's loop thread: it must return at once (push into a bounded
    /// channel) and must not call [`Server::shutdown`](crate::Server::shutdown). A callback that panics is removed.
    /// The subscription lasts until the returned handle is dropped.
    ///
    /// # Errors
    /// As for [`subscribe`](Self::subscribe).
    pub fn subscribe_with(
        &self,
        pattern: &str,
        callback: Box<dyn Fn(Message) + Send>,
    ) -> Result<LocalSubscription, Error> {
        let sid = self.next_sid();
        let handle = LocalSubscription::for_callback(sid, self);
        self.send_subscribe(sid, pattern, None, Receiver::Callback(callback))?;
        Ok(handle)
    }

    fn subscribe_queued(&self, pattern: &str, group: Option<&str>) -> Result<LocalSubscription, Error> {
        let sid = self.next_sid();
        let (subscription, receiver) = LocalSubscription::new(sid, self);
        self.send_subscribe(sid, pattern, group, receiver)?;
        Ok(subscription)
    }

    fn send_subscribe(
        &self,
        sid: u64,
        pattern: &str,
        group: Option<&str>,
        receiver: Receiver,
    ) -> Result<(), Error> {
        self.check_text("subject", pattern)?;
        if !subject::is_valid_pattern(pattern.as_bytes()) {
            let problem = "no token may be empty, and '>' may only be the last one";
            return Err(invalid("subject", pattern, problem));
        }
        if let Some(group) = group {
            self.check_text("queue group", group)?;
        }
        let (pattern, queue) = (pattern.as_bytes().into(), group.map(|group| group.as_bytes().into()));
        self.inner.queue.push(Command::Subscribe { sid, pattern, queue, receiver })
    }

    pub(crate) fn queue(&self) -> &Arc<ClientQueue> {
        &self.inner.queue
    }

    fn next_sid(&self) -> u64 {
        self.inner.next_sid.fetch_add(1, Ordering::Relaxed)
    }

    fn check_literal(&self, what: &'static str, text: &str) -> Result<(), Error> {
        self.check_text(what, text)?;
        if subject::is_valid_literal(text.as_bytes()) {
            return Ok(());
        }
        Err(invalid(what, text, "no token may be empty, '*' or '>'"))
    }

    fn check_text(&self, what: &'static str, text: &str) -> Result<(), Error> {
        if !subject::is_printable(text.as_bytes()) {
            return Err(invalid(what, text, "it must not be empty or have blanks or line ends"));
        }
        // A longer one could not be written to a socket client in a line that it accepts.
        if text.len() > self.inner.queue.hub().limits().max_subject {
            return Err(invalid(what, text, "it is longer than a protocol line may be"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for LocalClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalClient").field("name", &self.name()).finish_non_exhaustive()
    }
}

fn invalid(what: &'static str, text: &str, problem: &'static str) -> Error {
    Error::Subject { what, text: text.chars().take(100).collect(), problem }
}
