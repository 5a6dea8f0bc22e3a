//! Commands of local clients, carried out in their order, a bounded number per turn.

use std::sync::Arc;

use crate::local::SubscriptionEnd;
use crate::local::queue::{ClientQueue, Command};
use crate::peer::{LocalPeer, Peer};
use crate::proto::write::Outgoing;

use crate::fabric::{Congestion, LocalEnd};

use super::Reactor;

/// Commands of one client per turn.
const MAX_COMMANDS: usize = 1024;
/// Message bytes of one client per turn.
const MAX_BYTES: usize = 256 * 1024;

/// What to do after a command.
enum Next {
    /// The next command, or a pause if a receiver is near its limit.
    Go(Congestion),
    /// The client is gone.
    Gone,
}

impl Reactor {
    /// A local client has commands.
    pub(super) fn local_announced(&mut self, queue: &Arc<ClientQueue>) {
        let key = match queue.peer() {
            Some(key) => key,
            None => {
                let key = self.fabric.peers.insert(Peer::Local(Box::new(LocalPeer::new(queue.clone()))));
                queue.set_peer(key);
                self.fabric.stats.local_clients += 1;
                key
            }
        };
        self.make_local_ready(key);
    }

    /// Puts a local client on the list of those with work.
    pub(super) fn make_local_ready(&mut self, key: u32) {
        let Some(local) = self.fabric.peers.get_mut(key).and_then(Peer::local) else { return };
        if !local.in_ready && !local.parked {
            local.in_ready = true;
            self.local_ready.push_back(key);
        }
    }

    /// Gives each local client with work one turn.
    pub(super) fn run_local_ready(&mut self) {
        for _ in 0..self.local_ready.len() {
            let Some(key) = self.local_ready.pop_front() else { return };
            self.run_local(key);
            self.drop_doomed();
        }
    }

    fn run_local(&mut self, key: u32) {
        let Some(local) = self.fabric.peers.get_mut(key).and_then(Peer::local) else { return };
        local.in_ready = false;
        if local.parked {
            return;
        }
        // After a pause one whole turn is free, so that a receiver that does not move cannot stop the client for ever.
        let may_pause = !std::mem::take(&mut local.paused_before);
        let (mut commands, mut bytes) = (0, 0);
        let turn_ends = self.fabric.work + self.turns.length(self.fabric.now);
        while commands < MAX_COMMANDS && bytes < MAX_BYTES && self.fabric.work <= turn_ends {
            let Some(local) = self.fabric.peers.get_mut(key).and_then(Peer::local) else { return };
            if local.backlog.is_empty() {
                local.queue.take(&mut local.backlog);
                self.hear_change();
            }
            let Some(local) = self.fabric.peers.get_mut(key).and_then(Peer::local) else { return };
            let Some(command) = local.backlog.pop_front() else {
                if local.backlog.capacity() > MAX_COMMANDS {
                    local.backlog = Default::default();
                }
                return;
            };
            commands += 1;
            if let Command::Publish(message) = &command {
                bytes += message.size();
            }
            match self.run_command(key, command) {
                Next::Go(Congestion::None) => {}
                Next::Go(Congestion::Socket) if !may_pause => {}
                Next::Go(_) => {
                    if let Some(local) = self.fabric.peers.get_mut(key).and_then(Peer::local) {
                        local.paused_before = true;
                    }
                    return self.park(key);
                }
                Next::Gone => return,
            }
        }
        self.make_local_ready(key);
    }

    fn run_command(&mut self, key: u32, command: Command) -> Next {
        match command {
            Command::Publish(message) => {
                let subject = message.subject.as_bytes();
                let outgoing = Outgoing {
                    subject,
                    reply: message.reply.as_ref().map(|reply| reply.as_bytes()),
                    headers: message.headers.as_deref(),
                    body: &message.payload,
                    sizes: None,
                    forward: None,
                };
                let outcome = self.fabric.publish(key, true, &outgoing, &mut || message.clone());
                if let (Some(reply), 0) = (outgoing.reply, outcome.delivered) {
                    self.fabric.no_responders(key, subject, reply);
                }
                Next::Go(outcome.congestion)
            }
            Command::Subscribe { sid, pattern, queue, receiver } => {
                let end = LocalEnd { sid, receiver };
                let id = self.fabric.subscribe(key, b"", &pattern, queue.as_deref(), Some(end));
                if let Some(local) = self.fabric.peers.get_mut(key).and_then(Peer::local) {
                    local.subs.insert(sid, id);
                }
                Next::Go(Congestion::None)
            }
            Command::Unsubscribe { sid } => {
                let local = self.fabric.peers.get_mut(key).and_then(Peer::local);
                if let Some(id) = local.and_then(|local| local.subs.remove(&sid)) {
                    self.fabric.unsubscribe(id, None);
                }
                Next::Go(Congestion::None)
            }
            Command::Close => {
                self.drop_local(key, SubscriptionEnd::Closed);
                Next::Gone
            }
        }
    }

    /// Ends a local client and its subscriptions.
    pub(super) fn drop_local(&mut self, key: u32, end: SubscriptionEnd) {
        let Some(local) = self.fabric.peers.get_mut(key).and_then(Peer::local) else { return };
        let subs = std::mem::take(&mut local.subs);
        let backlog = std::mem::take(&mut local.backlog);
        local.queue.close();
        for command in backlog {
            if let Command::Subscribe { receiver, .. } = command {
                receiver.end(end);
            }
        }
        for id in subs.into_values() {
            self.fabric.unsubscribe(id, Some(end));
        }
        self.fabric.peers.remove(key);
        self.fabric.stats.local_clients = self.fabric.stats.local_clients.saturating_sub(1);
    }
}
