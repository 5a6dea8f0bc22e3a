//! The link of a compute node to the orchestrator: handshakes, heartbeats, reports, and what arrives.

use super::NodeHost;
use crate::SECOND;
use crate::bugs::Bug;
use crate::network::Packet;
use bacalhau_compute::core::Input;
use bacalhau_model::node::protocol;
use bacalhau_model::{ComputeNodeInfo, NodeInfo, NodeType};
use bacalhau_wire::delivery::Outbox;

/// Between heartbeats.
pub(super) const HEARTBEAT: i64 = 15 * SECOND;

/// Between attempts to shake hands.
pub(super) const HANDSHAKE: i64 = SECOND;

/// Without an answer for this long the link counts as broken.
pub(super) const SILENCE: i64 = 40 * SECOND;

impl NodeHost {
    pub(super) fn input(
        &mut self,
        now: i64,
        packet: Packet,
        outgoing: &mut Vec<Packet>,
    ) -> Option<Input<u64>> {
        Some(match packet {
            Packet::HandshakeAnswer(true) => {
                self.last_answer = now;
                if self.connected {
                    return None;
                }
                self.connected = true;
                self.next_call = now + HEARTBEAT;
                self.outbox = Outbox::new(self.outbox.last_seq());
                Input::Connected { progress: self.tells_progress }
            }
            Packet::HeartbeatAnswer(Ok(_)) => {
                self.last_answer = now;
                return None;
            }
            Packet::HeartbeatAnswer(Err(_)) => {
                self.connected = false;
                self.next_call = now;
                return None;
            }
            Packet::InfoAnswer(true) => {
                self.told = self.telling;
                return None;
            }
            Packet::Message(seq, message) => {
                if self.bug == Some(Bug::MessagesAcknowledgedEarly) {
                    outgoing.push(Packet::MessageAck(seq));
                }
                Input::Message { message, token: seq }
            }
            Packet::ReportAck(seq) => {
                let (execution_id, kind) = self.outbox.acked(seq)?;
                self.acknowledged.push((execution_id.clone(), kind));
                Input::Delivered { execution_id, kind }
            }
            _ => return None,
        })
    }

    /// Shakes hands, sends heartbeats and reports that are due.
    pub(crate) fn deliver(&mut self, now: i64) -> Vec<Packet> {
        let local = self.clock.read(now);
        let mut outgoing = Vec::new();
        self.call(now, &mut outgoing);
        if let (true, Some(core)) = (self.connected, &self.core) {
            while let Some(attempt) = self.outbox.poll(local) {
                match core.message(&attempt.key.0, attempt.key.1) {
                    Some(message) => outgoing.push(Packet::Report(attempt.seq, message)),
                    None => {
                        self.outbox.acked(attempt.seq);
                    }
                }
            }
        }
        outgoing
    }

    fn call(&mut self, now: i64, outgoing: &mut Vec<Packet>) {
        let Some(core) = &self.core else { return };
        if self.connected && now - self.last_answer > SILENCE {
            self.connected = false;
            self.next_call = now;
        }
        if now < self.next_call {
            return;
        }
        if self.connected {
            let (free, queued, _, _) = core.load();
            outgoing.push(Packet::Heartbeat(free, queued));
            if self.told != self.zone {
                outgoing.push(Packet::Info(Box::new(self.info())));
                self.telling = self.zone;
            }
            self.next_call = now + HEARTBEAT;
        } else {
            outgoing.push(Packet::Handshake(Box::new(self.info())));
            (self.told, self.telling) = (self.zone, self.zone);
            self.next_call = now + HANDSHAKE;
        }
    }

    /// Moves to another zone. The orchestrator is told with the next heartbeat.
    pub(crate) fn relabel(&mut self, zone: &'static str) {
        self.zone = zone;
    }

    fn info(&self) -> NodeInfo {
        NodeInfo {
            node_id: self.id.clone(),
            node_type: NodeType::Compute,
            labels: [("zone".to_owned(), self.zone.to_owned())].into(),
            compute_node_info: ComputeNodeInfo {
                execution_engines: vec!["wasm".into()],
                max_capacity: self.capacity.clone(),
                max_job_requirements: self.capacity.clone(),
                ..ComputeNodeInfo::default()
            },
            supported_protocols: self
                .tells_progress
                .then(|| protocol::EXECUTION_PROGRESS.to_owned())
                .into_iter()
                .collect(),
            ..NodeInfo::default()
        }
    }
}
