//! Both ends of a local subscription: the loop thread puts messages in, the embedder takes them out.
//!
//! The queue between them is bounded in messages and bytes. Near the bound publishers are held back like those of a slow
//! socket; beyond it the subscription ends, the reader is told so after what is queued, and a counter goes up.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::client::LocalClient;
use super::message::Message;
use super::queue::Command;
use crate::hub::{Hub, LocalLimits};

/// Why a local subscription gives no more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriptionEnd {
    /// The reader did not keep up and messages were lost from here on.
    Overflow,
    /// The server has shut down.
    Closed,
}

/// What both ends see.
struct Shared {
    bytes: AtomicUsize,
    congested: AtomicBool,
    end: OnceLock<SubscriptionEnd>,
    hub: Arc<Hub>,
}

/// The loop's end.
pub(crate) enum Receiver {
    Channel(ChannelReceiver),
    Callback(Box<dyn Fn(Message) + Send>),
}

/// The loop's end of a queue.
pub(crate) struct ChannelReceiver {
    to: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// Queued.
    Done,
    /// Queued, and the queue is nearly full.
    Congested,
    /// No room: the subscription must end.
    Overflow,
    /// The reader is gone.
    Gone,
}

impl Receiver {
    /// Hands a message over; never blocks.
    pub(crate) fn put(&self, message: Message, limits: &LocalLimits) -> Put {
        match self {
            Self::Channel(channel) => channel.put(message, limits),
            Self::Callback(callback) => {
                // A panic in the embedder's code must not take the bus down with it.
                let call = std::panic::AssertUnwindSafe(|| callback(message));
                match std::panic::catch_unwind(call) {
                    Ok(()) => Put::Done,
                    Err(_) => {
                        tracing::error!(
                            "NATS server: a local subscription's callback panicked; it is removed"
                        );
                        Put::Gone
                    }
                }
            }
        }
    }

    /// Tells the reader why there will be no more.
    pub(crate) fn end(&self, end: SubscriptionEnd) {
        if let Self::Channel(channel) = self {
            // The first reason stays.
            let _ = channel.shared.end.set(end);
        }
    }
}

impl ChannelReceiver {
    fn put(&self, message: Message, limits: &LocalLimits) -> Put {
        let size = message.size();
        let bytes = self.shared.bytes.fetch_add(size, Ordering::Relaxed) + size;
        // One message always fits, whatever its size.
        if bytes > limits.max_pending && bytes > size {
            return Put::Overflow;
        }
        match self.to.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Put::Overflow,
            Err(mpsc::error::TrySendError::Closed(_)) => return Put::Gone,
        }
        let waiting = self.to.max_capacity() - self.to.capacity();
        if waiting > self.to.max_capacity() / 4 * 3 || bytes > limits.max_pending / 4 * 3 {
            self.shared.congested.store(true, Ordering::Release);
            return Put::Congested;
        }
        Put::Done
    }
}

/// A subscription of a [`LocalClient`](super::LocalClient). Dropping it unsubscribes.
#[must_use = "dropping a subscription unsubscribes"]
pub struct LocalSubscription {
    sid: u64,
    /// Keeps the client alive while one of its subscriptions is.
    client: LocalClient,
    from: Option<mpsc::Receiver<Message>>,
    shared: Arc<Shared>,
}

impl LocalSubscription {
    /// A queue with the loop's end.
    pub(crate) fn new(sid: u64, client: &LocalClient) -> (Self, Receiver) {
        let hub = client.queue().hub();
        let (to, from) = mpsc::channel(hub.limits().max_msgs);
        let shared = Arc::new(Shared {
            bytes: AtomicUsize::new(0),
            congested: AtomicBool::new(false),
            end: OnceLock::new(),
            hub: hub.clone(),
        });
        let receiver = Receiver::Channel(ChannelReceiver { to, shared: shared.clone() });
        (Self { sid, client: client.clone(), from: Some(from), shared }, receiver)
    }

    /// A handle on a subscription whose messages go to a callback.
    pub(crate) fn for_callback(sid: u64, client: &LocalClient) -> Self {
        let (mut handle, _) = Self::new(sid, client);
        handle.from = None;
        handle
    }

    /// The next message, in the order of publishing per publisher. `None`: there will be no more; ask
    /// [`end`](Self::end) why. Cancel safe: a message is not lost if the future is dropped. A subscription with a
    /// callback gives `None` at once.
    pub async fn next(&mut self) -> Option<Message> {
        let message = self.from.as_mut()?.recv().await;
        message.inspect(|message| self.taken(message))
    }

    /// The next message if one waits.
    pub fn try_next(&mut self) -> Option<Message> {
        let message = self.from.as_mut()?.try_recv().ok();
        message.inspect(|message| self.taken(message))
    }

    /// Why there are no more messages; `None` while there may be, and always for a callback.
    pub fn end(&self) -> Option<SubscriptionEnd> {
        let Some(from) = &self.from else { return None };
        if !from.is_empty() {
            return None;
        }
        // Without a reason the loop did not end as it should; for the reader that is the same as a shutdown.
        self.shared.end.get().copied().or(from.is_closed().then_some(SubscriptionEnd::Closed))
    }

    fn taken(&self, message: &Message) {
        let size = message.size();
        let bytes = self.shared.bytes.fetch_sub(size, Ordering::Relaxed).saturating_sub(size);
        let waiting = self.from.as_ref().map_or(0, mpsc::Receiver::len);
        let limits = self.shared.hub.limits();
        if waiting < limits.max_msgs / 2
            && bytes < limits.max_pending / 2
            && self.shared.congested.swap(false, Ordering::AcqRel)
        {
            self.shared.hub.drained();
        }
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
        self.client.queue().push_end(Command::Unsubscribe { sid: self.sid });
    }
}

impl std::fmt::Debug for LocalSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalSubscription")
            .field("sid", &self.sid)
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}
