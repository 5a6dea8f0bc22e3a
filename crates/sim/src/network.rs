//! The pipe between the hosts: drops, delays, duplicates, reorders and cuts, by the seed's will.

use crate::MS;
use bacalhau_model::{Error, NodeInfo, Resources};
use bacalhau_store::compute::PendingReport;
use bacalhau_store::orchestrator::PendingMessage;
use bacalhau_wire::messages::{NodeMessage, OrchestratorMessage};

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
    /// Orchestrator to node, with the sequence number to acknowledge.
    Message(u64, OrchestratorMessage),
    /// Node to orchestrator.
    MessageAck(u64),
    /// Node to orchestrator, with the sequence number to acknowledge.
    Report(u64, NodeMessage),
    /// Orchestrator to node.
    ReportAck(u64),
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
    pub(crate) fn deliver(self, random: &mut fastrand::Rng) -> Vec<i64> {
        let mut copies = Vec::new();
        if random.u32(0..100) >= self.drop {
            copies.push(random.i64(1..=self.delay) * MS);
        }
        if random.u32(0..100) < self.duplicate {
            copies.push(random.i64(1..=self.delay * 3) * MS);
        }
        copies
    }
}
