//! The pipe between the hosts: drops, delays, duplicates, reorders and cuts, by the seed's will.

use crate::MS;
use bacalhau_model::{Error, NodeInfo, Resources};
use bacalhau_store::compute::PendingReport;
use bacalhau_store::orchestrator::PendingMessage;
use bacalhau_wire::messages::{NodeMessage, OrchestratorMessage};
use std::fmt;

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    /// Node to orchestrator.
    Handshake(Box<NodeInfo>),
    /// Orchestrator to node: welcome or not.
    HandshakeAnswer(bool),
    /// Node to orchestrator.
    Heartbeat(Resources, Resources),
    /// Orchestrator to node.
    HeartbeatAnswer(Result<u64, Error>),
    /// Node to orchestrator: the description changed.
    Info(Box<NodeInfo>),
    /// Orchestrator to node: the description was taken.
    InfoAnswer(bool),
    /// Node to orchestrator: good-bye, and these executions go on.
    Goodbye(Vec<String>),
    /// Orchestrator to node, with the sequence number to acknowledge.
    Message(u64, OrchestratorMessage),
    /// Node to orchestrator.
    MessageAck(u64),
    /// Node to orchestrator, with the sequence number to acknowledge.
    Report(u64, NodeMessage),
    /// Orchestrator to node.
    ReportAck(u64),
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Packet::Handshake(info) => write!(f, "handshake {:?}", info.labels),
            Packet::HandshakeAnswer(welcome) => write!(f, "handshake answer {welcome}"),
            Packet::Heartbeat(..) => f.write_str("heartbeat"),
            Packet::HeartbeatAnswer(answer) => write!(f, "heartbeat answer {}", answer.is_ok()),
            Packet::Info(info) => write!(f, "description {:?}", info.labels),
            Packet::InfoAnswer(taken) => write!(f, "description answer {taken}"),
            Packet::Goodbye(go_on) => write!(f, "good-bye, {} go on", go_on.len()),
            Packet::Message(seq, message) => {
                let kind = match message {
                    OrchestratorMessage::AskForBid(_) => "AskForBid",
                    OrchestratorMessage::BidAccepted(_) => "BidAccepted",
                    OrchestratorMessage::BidRejected(_) => "BidRejected",
                    OrchestratorMessage::CancelExecution(_) => "CancelExecution",
                };
                write!(f, "#{seq} {kind} {}", message.execution_id())
            }
            Packet::MessageAck(seq) => write!(f, "ack of message #{seq}"),
            Packet::Report(seq, report) => write!(f, "#{seq} {:?} {}", report.kind(), report.execution_id()),
            Packet::ReportAck(seq) => write!(f, "ack of report #{seq}"),
        }
    }
}

/// Key of an outbox entry on the orchestrator.
pub(crate) type ToNode = (String, PendingMessage);
/// Key of an outbox entry on a node.
pub(crate) type ToOrchestrator = (String, PendingReport);

/// How bad the network is, in percent and milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Packets lost.
    pub(crate) drop: u32,
    /// Packets that arrive twice.
    pub(crate) duplicate: u32,
    /// Longest delay; shortest is one.
    pub(crate) delay: i64,
}

impl Weather {
    /// A good day.
    pub(crate) const FAIR: Weather = Weather { drop: 0, duplicate: 0, delay: 3 };

    /// Delays of the copies of one packet that arrive. Longer delays overtake: that is the reordering.
    pub(crate) fn deliver(self, random: &mut fastrand::Rng) -> [Option<i64>; 2] {
        let first = (random.u32(0..100) >= self.drop).then(|| random.i64(1..=self.delay) * MS);
        // A copy may be very late: it was sent again over another connection.
        let late = if random.u32(0..10) == 0 { 200 } else { 3 };
        let second = (random.u32(0..100) < self.duplicate).then(|| random.i64(1..=self.delay * late) * MS);
        [first, second]
    }
}

/// What still passes between one node and the orchestrator.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    /// Nothing reaches the node until then.
    pub(crate) down_until: i64,
    /// Nothing reaches the orchestrator until then.
    pub(crate) up_until: i64,
}
