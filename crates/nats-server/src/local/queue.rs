//! Commands from one local client to the loop thread, in the order they were given, and bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::message::Message;
use super::subscription::{Receiver, SubscriptionEnd};
use crate::error::Error;
use crate::hub::{Hub, lock};

/// What a command costs besides its payload; bounds the number of empty messages that may wait.
const COMMAND_COST: usize = 256;

/// One command.
pub(crate) enum Command {
    Subscribe {
        sid: u64,
        pattern: Box<[u8]>,
        queue: Option<Box<[u8]>>,
        receiver: Receiver,
    },
    Unsubscribe {
        sid: u64,
    },
    Publish(Message),
    /// The client is gone.
    Close,
}

/// The queue of one local client.
pub(crate) struct ClientQueue {
    pub(crate) name: Arc<str>,
    hub: Arc<Hub>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    commands: VecDeque<Command>,
    bytes: usize,
    /// The loop knows that there are commands, or holds this client back.
    announced: bool,
    /// The loop has ended or has dropped this client.
    closed: bool,
    /// The loop's number for this client, once it has seen it.
    peer: Option<u32>,
}

impl ClientQueue {
    pub(crate) fn new(hub: Arc<Hub>, name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), hub, inner: Mutex::default() })
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Queues a publication or subscription.
    ///
    /// # Errors
    /// [`Error::Busy`] if too much waits already, [`Error::Closed`] after shutdown.
    pub(crate) fn push(self: &Arc<Self>, command: Command) -> Result<(), Error> {
        let size = match &command {
            Command::Publish(message) => message.size(),
            _ => 0,
        };
        self.add(command, size + COMMAND_COST, self.hub.limits().max_pending)
    }

    /// Queues the end of something; never refused for lack of room, since each can come only once.
    pub(crate) fn push_end(self: &Arc<Self>, command: Command) {
        // Closed: the loop has already ended everything of this client.
        let _ = self.add(command, 0, usize::MAX);
    }

    fn add(self: &Arc<Self>, command: Command, size: usize, limit: usize) -> Result<(), Error> {
        let announce = {
            let mut inner = lock(&self.inner);
            if inner.closed {
                return Err(Error::Closed);
            }
            if inner.bytes.saturating_add(size) > limit.saturating_add(COMMAND_COST) {
                return Err(Error::Busy { client: self.name.to_string(), pending: inner.bytes });
            }
            inner.bytes += size;
            inner.commands.push_back(command);
            !std::mem::replace(&mut inner.announced, true)
        };
        if announce && !self.hub.announce(self.clone()) {
            self.close();
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Loop thread: the number it gave to this client.
    pub(crate) fn peer(&self) -> Option<u32> {
        lock(&self.inner).peer
    }

    /// Loop thread: remembers the number.
    pub(crate) fn set_peer(&self, peer: u32) {
        lock(&self.inner).peer = Some(peer);
    }

    /// Loop thread: takes all commands into `spare`, which must be empty. If there are none, the next one is announced.
    pub(crate) fn take(&self, spare: &mut VecDeque<Command>) {
        let mut inner = lock(&self.inner);
        std::mem::swap(&mut inner.commands, spare);
        inner.bytes = 0;
        if spare.is_empty() {
            inner.announced = false;
        }
    }

    /// Refuses everything from now on, and ends what waits.
    pub(crate) fn close(&self) {
        let commands = {
            let mut inner = lock(&self.inner);
            inner.closed = true;
            std::mem::take(&mut inner.commands)
        };
        // Outside the lock, because dropping a callback runs the embedder's code.
        for command in commands {
            if let Command::Subscribe { receiver, .. } = command {
                receiver.end(SubscriptionEnd::Closed);
            }
        }
    }
}
