//! What leaves for the nodes: an outbox per connected node, answers and acknowledgements.
//!
//! Nothing here waits. While the postman's queue is full, messages stay in their outbox and are tried again.

use crate::core::{Core, SECOND};
use bacalhau_model::Error;
use bacalhau_store::orchestrator::PendingMessage;
use bacalhau_wire::delivery::Outbox;
use bacalhau_wire::messages::ControlResponse;
use bacalhau_wire::postman::Postman;
use bacalhau_wire::{control, data, subjects};
use std::collections::HashMap;

/// A message about an execution.
type Key = (String, PendingMessage);

pub(super) struct Post {
    outboxes: HashMap<String, Outbox<Key>>,
    postman: Postman,
    /// Name of this life of the orchestrator, in the subjects on which nodes acknowledge.
    life: String,
}

impl Post {
    /// A post office; nodes acknowledge on [`subjects::acks`] with `life`.
    pub(super) fn new(postman: Postman, life: String) -> Post {
        Post { outboxes: HashMap::new(), postman, life }
    }

    /// The node takes messages from now on. Numbers start at the clock, so they grow across restarts.
    pub(super) fn node_up(&mut self, node_id: String, now: i64) {
        let start = self.next_seq(now).max(self.outboxes.get(&node_id).map_or(0, Outbox::last_seq));
        self.outboxes.insert(node_id, Outbox::new(start));
    }

    pub(super) fn node_down(&mut self, node_id: &str) {
        self.outboxes.remove(node_id);
    }

    /// The number below which no later message is: microseconds since 1970.
    pub(super) fn next_seq(&self, now: i64) -> u64 {
        u64::try_from(now / 1_000).unwrap_or(0)
    }

    /// Queues a message. Without a connection it is not needed: the handshake brings it up again.
    pub(super) fn push(&mut self, node_id: &str, execution_id: String, kind: PendingMessage) {
        if let Some(outbox) = self.outboxes.get_mut(node_id) {
            outbox.push((execution_id, kind));
        }
    }

    /// Publishes every message that is due. Stale ones vanish.
    pub(super) fn deliver(&mut self, now: i64, core: &Core) {
        for (node_id, outbox) in &mut self.outboxes {
            while !self.postman.is_full() {
                let Some(attempt) = outbox.poll(now) else { break };
                let message = core.message(&attempt.key.0, attempt.key.1);
                let encoded = message.map(|m| data::to_node(node_id, attempt.seq, now, &m));
                match encoded {
                    Some(Ok(outgoing)) => {
                        let reply_to = format!("{}.{}", subjects::acks(node_id, &self.life), attempt.seq);
                        if self.postman.post(outgoing, Some(reply_to)).is_err() {
                            outbox.failed(attempt.seq, now);
                        }
                    }
                    Some(Err(error)) => {
                        tracing::error!(execution = attempt.key.0, %error, "message cannot be encoded");
                        outbox.acked(attempt.seq);
                    }
                    None => {
                        outbox.acked(attempt.seq);
                    }
                }
            }
        }
    }

    /// A node answered a message. Gives the message when it is delivered.
    pub(super) fn answered(
        &mut self,
        node_id: &str,
        seq: u64,
        result: Result<(), String>,
        now: i64,
    ) -> Option<Key> {
        let outbox = self.outboxes.get_mut(node_id)?;
        match result {
            Ok(()) => outbox.acked(seq),
            Err(why) => {
                tracing::debug!(node = node_id, seq, why, "message was not taken, trying again");
                outbox.failed(seq, now);
                None
            }
        }
    }

    /// Acknowledges a report. When that gets lost the node sends the report again.
    pub(super) fn acknowledge(&self, reply_to: String) {
        if let Err(full) = self.postman.acknowledge(reply_to) {
            tracing::warn!(%full, "an acknowledgement was dropped");
        }
    }

    /// Answers a control request. When that gets lost the node asks again.
    pub(super) fn control(&self, now: i64, reply_to: String, response: Result<ControlResponse, Error>) {
        match control::answer(&reply_to, &response, now) {
            Ok(outgoing) => {
                if let Err(full) = self.postman.post(outgoing, None) {
                    tracing::warn!(%full, "an answer was dropped");
                }
            }
            Err(error) => tracing::error!(%error, "control response cannot be encoded"),
        }
    }

    /// When something is due at the latest, nanoseconds since 1970.
    pub(super) fn next_wakeup(&self) -> Option<i64> {
        let due = self.outboxes.values().filter_map(Outbox::next_wakeup).min()?;
        // With a full queue nothing can be delivered at once: look again shortly.
        Some(if self.postman.is_full() { due.saturating_add(SECOND / 100) } else { due })
    }
}
