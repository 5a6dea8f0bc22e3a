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
use std::collections::{BTreeSet, HashMap};

/// A message about an execution.
type Key = (String, PendingMessage);

/// An outbox, and the time under which it stands in the schedule.
struct Scheduled {
    outbox: Outbox<Key>,
    at: Option<i64>,
}

impl Scheduled {
    fn renew(&mut self, node_id: &str, schedule: &mut BTreeSet<(i64, String)>) {
        let at = self.outbox.next_wakeup();
        if at != self.at {
            self.leave(node_id, schedule);
            self.at = at;
            schedule.extend(at.map(|at| (at, node_id.to_owned())));
        }
    }

    fn leave(&self, node_id: &str, schedule: &mut BTreeSet<(i64, String)>) {
        if let Some(at) = self.at {
            schedule.remove(&(at, node_id.to_owned()));
        }
    }
}

pub(super) struct Post {
    outboxes: HashMap<String, Scheduled>,
    /// Outboxes that will have something to send, by the time when they do: the others cost nothing.
    schedule: BTreeSet<(i64, String)>,
    postman: Postman,
    /// Name of this life of the orchestrator, in the subjects on which nodes acknowledge.
    life: String,
}

impl Post {
    /// A post office; nodes acknowledge on [`subjects::acks`] with `life`.
    pub(super) fn new(postman: Postman, life: String) -> Post {
        Post { outboxes: HashMap::new(), schedule: BTreeSet::new(), postman, life }
    }

    /// The node takes messages from now on. Numbers start at the clock, so they grow across restarts.
    pub(super) fn node_up(&mut self, node_id: String, now: i64) {
        let start =
            self.next_seq(now).max(self.outboxes.get(&node_id).map_or(0, |known| known.outbox.last_seq()));
        self.node_down(&node_id);
        self.outboxes.insert(node_id, Scheduled { outbox: Outbox::new(start), at: None });
    }

    pub(super) fn node_down(&mut self, node_id: &str) {
        if let Some(gone) = self.outboxes.remove(node_id) {
            gone.leave(node_id, &mut self.schedule);
        }
    }

    /// The number below which no later message is: microseconds since 1970.
    pub(super) fn next_seq(&self, now: i64) -> u64 {
        u64::try_from(now / 1_000).unwrap_or(0)
    }

    /// Queues a message. Without a connection it is not needed: the handshake brings it up again.
    pub(super) fn push(&mut self, node_id: &str, execution_id: String, kind: PendingMessage) {
        if let Some(known) = self.outboxes.get_mut(node_id) {
            known.outbox.push((execution_id, kind));
            known.renew(node_id, &mut self.schedule);
        }
    }

    /// Publishes every message that is due. Stale ones vanish.
    pub(super) fn deliver(&mut self, now: i64, core: &Core) {
        while !self.postman.is_full() {
            let Some((at, node_id)) = self.schedule.first().filter(|(at, _)| *at <= now).cloned() else {
                return;
            };
            let Some(known) = self.outboxes.get_mut(&node_id) else {
                // It left the schedule when it went.
                self.schedule.remove(&(at, node_id));
                continue;
            };
            while !self.postman.is_full() {
                let Some(attempt) = known.outbox.poll(now) else { break };
                let message = core.message(&attempt.key.0, attempt.key.1);
                let encoded = message.map(|m| data::to_node(&node_id, attempt.seq, now, &m));
                match encoded {
                    Some(Ok(outgoing)) => {
                        let reply_to = format!("{}.{}", subjects::acks(&node_id, &self.life), attempt.seq);
                        if self.postman.post(outgoing, Some(reply_to)).is_err() {
                            known.outbox.failed(attempt.seq, now);
                        }
                    }
                    Some(Err(error)) => {
                        tracing::error!(execution = attempt.key.0, %error, "message cannot be encoded");
                        known.outbox.acked(attempt.seq);
                    }
                    None => {
                        known.outbox.acked(attempt.seq);
                    }
                }
            }
            known.renew(&node_id, &mut self.schedule);
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
        let known = self.outboxes.get_mut(node_id)?;
        let delivered = match result {
            Ok(()) => known.outbox.acked(seq),
            Err(why) => {
                tracing::debug!(node = node_id, seq, why, "message was not taken, trying again");
                known.outbox.failed(seq, now);
                None
            }
        };
        known.renew(node_id, &mut self.schedule);
        delivered
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
        let due = self.schedule.first().map(|(at, _)| *at)?;
        // With a full queue nothing can be delivered at once: look again shortly.
        Some(if self.postman.is_full() { due.saturating_add(SECOND / 100) } else { due })
    }
}
