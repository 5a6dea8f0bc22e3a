//! Messages about executions as NATS messages: subject, headers, envelope, delivery number, acknowledgement.

use crate::bus::BusMessage;
use crate::envelope::{Envelope, EnvelopeError};
use crate::headers::Headers;
use crate::messages::{Family, NodeMessage, OrchestratorMessage};
use crate::metadata::{Metadata, key};
use crate::subjects;
use bytes::Bytes;

/// The acknowledgement: an empty JSON object, no envelope.
pub const ACK: &[u8] = b"{}";

/// A message ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub subject: String,
    /// Copy of the metadata.
    pub headers: Headers,
    /// The envelope.
    pub payload: Bytes,
}

impl Outgoing {
    /// Bytes that count towards the server's maximum payload: headers and body.
    pub fn size(&self) -> usize {
        self.headers.wire_size() + self.payload.len()
    }

    pub(crate) fn new<F: Family>(
        subject: String,
        metadata: &Metadata,
        message: &F,
    ) -> Result<Outgoing, EnvelopeError> {
        let payload = message.encode(metadata)?;
        Ok(Outgoing { subject, headers: metadata.to_headers(), payload })
    }
}

/// A message that arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming<M> {
    /// Delivery number, 0 when there was none.
    pub seq: u64,
    /// The message.
    pub message: M,
}

/// A message of the orchestrator to a node. `at` in nanoseconds since 1970.
pub fn to_node(
    node_id: &str,
    seq: u64,
    at: i64,
    message: &OrchestratorMessage,
) -> Result<Outgoing, EnvelopeError> {
    let subject = subjects::messages(node_id);
    let metadata = Metadata::new(message.type_name(), &format!("orchestrator-{node_id}"), at)
        .with_seq(seq)
        .with(key::SUBJECT, subject.clone());
    Outgoing::new(subject, &metadata, message)
}

/// A report of a node. `at` in nanoseconds since 1970.
pub fn to_orchestrator(
    node_id: &str,
    seq: u64,
    at: i64,
    message: &NodeMessage,
) -> Result<Outgoing, EnvelopeError> {
    let metadata = Metadata::new(message.type_name(), node_id, at).with_seq(seq);
    Outgoing::new(subjects::reports(node_id), &metadata, message)
}

/// Reads a message of the orchestrator. An error is for the log: the message is acknowledged all the same, for a
/// refusal only makes a Bacalhau 1.9 sender repeat everything.
pub fn from_orchestrator(payload: &[u8]) -> Result<Incoming<OrchestratorMessage>, EnvelopeError> {
    read(payload)
}

/// Reads a report of a node. Errors as for [`from_orchestrator`]. Who sent it says the subject, see
/// [`subjects::node_of`].
pub fn from_node(payload: &[u8]) -> Result<Incoming<NodeMessage>, EnvelopeError> {
    read(payload)
}

/// A report as it arrived at the orchestrator.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The node, by the subject that the server let it publish to. Whether the execution is one of its own is for the
    /// orchestrator to check; whatever else the message says about its sender does not count.
    pub node_id: String,
    /// What it says.
    pub incoming: Incoming<NodeMessage>,
    /// Where the acknowledgement goes.
    pub reply: Option<String>,
}

/// Reads a message from [`subjects::ALL_REPORTS`]. The error is for the log, as with [`from_orchestrator`].
pub fn read_report(message: &BusMessage) -> Result<Report, String> {
    let BusMessage { subject, reply, payload, .. } = message;
    let node_id = subjects::node_of(subject).ok_or_else(|| format!("subject {subject:?} names no node"))?;
    let incoming = from_node(payload).map_err(|e| format!("report of node {node_id}: {e}"))?;
    Ok(Report { node_id: node_id.to_owned(), incoming, reply: reply.clone() })
}

fn read<F: Family>(payload: &[u8]) -> Result<Incoming<F>, EnvelopeError> {
    let envelope = Envelope::decode(payload)?;
    let seq = envelope.metadata.seq();
    Ok(Incoming { seq, message: F::from_envelope(envelope)? })
}

/// Whether a reply acknowledges the message it answers; otherwise why not.
///
/// `status` is that of the reply's headers: 503 means that nobody listens.
pub fn check_ack(status: Option<u16>, payload: &[u8]) -> Result<(), String> {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Ack {
        error: String,
    }
    if let Some(status) = status {
        return Err(format!("nobody took it (status {status})"));
    }
    let ack: Ack = match payload.len() {
        0..=MAX_ACK => {
            bacalhau_model::lenient::from_slice(payload).map_err(|e| format!("no acknowledgement: {e}"))?
        }
        size => return Err(format!("no acknowledgement: reply of {size} bytes")),
    };
    if ack.error.is_empty() { Ok(()) } else { Err(ack.error) }
}

/// Longest reply that is looked at, bytes.
const MAX_ACK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::bid_accepted;

    #[test]
    fn a_report_is_from_the_node_of_its_subject() {
        let execution = bacalhau_model::Execution { id: "e-1".into(), ..Default::default() };
        let report = crate::messages::bid_result(&execution, true, None);
        let out = to_orchestrator("liar", 7, 0, &report).unwrap();
        let mut message = BusMessage {
            subject: subjects::reports("n-1"),
            reply: None,
            status: None,
            headers: out.headers,
            payload: out.payload,
        };
        let read = read_report(&message).unwrap();
        assert_eq!((read.node_id.as_str(), read.incoming.seq), ("n-1", 7));
        assert_eq!(read.incoming.message, report);
        message.payload = to_node("n-1", 1, 0, &bid_accepted("e-1")).unwrap().payload;
        let error = read_report(&message).unwrap_err();
        assert!(
            error.contains("report of node n-1: message type \"BidAccepted\" is not expected"),
            "{error}"
        );
        message.subject = "x".into();
        assert!(read_report(&message).is_err());
    }

    #[test]
    fn only_an_empty_object_acknowledges() {
        assert_eq!(check_ack(None, ACK), Ok(()));
        assert_eq!(check_ack(None, br#"{"error":"no","delay":100}"#), Err("no".to_owned()));
        assert!(check_ack(Some(503), b"").unwrap_err().contains("503"));
        for payload in [&b""[..], b"x", b"[]", &vec![b' '; MAX_ACK + 1]] {
            assert!(check_ack(None, payload).is_err());
        }
    }
}
