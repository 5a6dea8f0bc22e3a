//! How a node joins, shows that it lives and leaves: the asking side and the answering side of control requests.

use crate::bus::{Bus, BusError, BusMessage};
use crate::data::Outgoing;
use crate::envelope::{Envelope, EnvelopeError, Payload, encode};
use crate::messages::{
    BacError, ControlRequest, ControlResponse, Family, HANDSHAKE_REQUIRED, HandshakeRequest,
    HandshakeResponse, HeartbeatRequest, HeartbeatResponse, ShutdownNoticeRequest, ShutdownNoticeResponse,
    UpdateNodeInfoRequest, UpdateNodeInfoResponse,
};
use crate::metadata::{Metadata, key};
use crate::subjects;
use bacalhau_model::error::code;
use bacalhau_model::{Error, NodeInfo, Resources};
use std::sync::Arc;
use std::time::Duration;

/// How long a node waits for an answer, as Bacalhau 1.9 does.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the orchestrator calls itself in answers.
const ORCHESTRATOR: &str = "orchestrator-control";

/// Why a control request got no answer that helps.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ControlError {
    /// The orchestrator does not know this node as connected: shake hands (again).
    #[error("the orchestrator asks for a new handshake: {0}")]
    HandshakeRequired(Error),
    /// The orchestrator says no.
    #[error("the orchestrator refused the request: {0}")]
    Refused(Error),
    /// Nobody answered; the orchestrator may be starting.
    #[error("no answer from the orchestrator: {0}")]
    Bus(#[from] BusError),
    /// The answer makes no sense.
    #[error("answer of the orchestrator: {0}")]
    Answer(#[from] EnvelopeError),
}

/// A node's side.
#[derive(Clone)]
pub struct ControlClient {
    bus: Arc<dyn Bus>,
    node_id: String,
}

impl ControlClient {
    /// For a node on a bus.
    pub fn new(bus: Arc<dyn Bus>, node_id: impl Into<String>) -> ControlClient {
        ControlClient { bus, node_id: node_id.into() }
    }

    /// Joins. `accepted` in the answer says whether it worked.
    pub async fn handshake(&self, request: HandshakeRequest) -> Result<HandshakeResponse, ControlError> {
        match self.ask(&ControlRequest::Handshake(Box::new(request))).await? {
            ControlResponse::Handshake(response) => Ok(response),
            other => Err(odd(&other)),
        }
    }

    /// Shows that the node lives and what it has to offer.
    pub async fn heartbeat(&self, request: HeartbeatRequest) -> Result<HeartbeatResponse, ControlError> {
        match self.ask(&ControlRequest::Heartbeat(request)).await? {
            ControlResponse::Heartbeat(response) => Ok(response),
            other => Err(odd(&other)),
        }
    }

    /// Describes the node anew.
    pub async fn update_info(
        &self,
        request: UpdateNodeInfoRequest,
    ) -> Result<UpdateNodeInfoResponse, ControlError> {
        match self.ask(&ControlRequest::UpdateNodeInfo(Box::new(request))).await? {
            ControlResponse::UpdateNodeInfo(response) => Ok(response),
            other => Err(odd(&other)),
        }
    }

    /// Leaves.
    pub async fn shutdown_notice(
        &self,
        request: ShutdownNoticeRequest,
    ) -> Result<ShutdownNoticeResponse, ControlError> {
        match self.ask(&ControlRequest::ShutdownNotice(request)).await? {
            ControlResponse::ShutdownNotice(response) => Ok(response),
            other => Err(odd(&other)),
        }
    }

    async fn ask(&self, request: &ControlRequest) -> Result<ControlResponse, ControlError> {
        let metadata = Metadata::new(request.type_name(), &self.node_id, crate::now());
        let out = Outgoing::new(subjects::control(&self.node_id), &metadata, request)?;
        let answer = self.bus.request(&out.subject, &out.headers, out.payload, REQUEST_TIMEOUT).await?;
        read_answer(&answer.payload)
    }
}

fn odd(response: &ControlResponse) -> ControlError {
    let found = response.type_name().to_owned();
    EnvelopeError::Type { found, expected: "the response that belongs to the request" }.into()
}

fn read_answer(payload: &[u8]) -> Result<ControlResponse, ControlError> {
    let envelope = Envelope::decode(payload)?;
    if envelope.message_type() != BacError::TYPE {
        return Ok(ControlResponse::from_envelope(envelope)?);
    }
    let error = Error::from(envelope.payload::<BacError>()?);
    Err(match error.code == HANDSHAKE_REQUIRED {
        true => ControlError::HandshakeRequired(error),
        false => ControlError::Refused(error),
    })
}

/// A control request as it arrived at the orchestrator.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The node, by the subject that the server let it publish to.
    pub node_id: String,
    /// What it wants. The node that it names is `node_id`.
    pub request: ControlRequest,
    /// Where the answer goes.
    pub reply: String,
}

/// Reads a message from [`subjects::ALL_CONTROL`]. The error is the answer to give, if an answer is awaited.
pub fn read_request(message: &BusMessage) -> Result<Asked, Error> {
    let bad = |text: String| Error::new(code::BAD_REQUEST, text).component("ConnectionManager");
    let node_id = subjects::node_of(&message.subject)
        .ok_or_else(|| bad(format!("subject {:?} names no node", message.subject)))?;
    let request = Envelope::decode(&message.payload)
        .and_then(ControlRequest::from_envelope)
        .map_err(|e| bad(format!("control request of node {node_id}: {e}")))?;
    if request.node_id() != node_id {
        return Err(bad(format!(
            "node {node_id} sent a {} in the name of node {:?}",
            request.type_name(),
            request.node_id()
        ))
        .hint("Every node needs an ID of its own; the ID in a request must be that of the subject it is sent to"));
    }
    for (what, amount) in capacities(&request) {
        amount.check().map_err(|why| bad(format!("{what} of node {node_id}: {why}")))?;
    }
    let reply = message
        .reply
        .clone()
        .ok_or_else(|| bad(format!("request of node {node_id} names no inbox for the answer")))?;
    Ok(Asked { node_id: node_id.to_owned(), request, reply })
}

fn described(info: &NodeInfo) -> Vec<(&'static str, &Resources)> {
    let compute = &info.compute_node_info;
    vec![
        ("MaxCapacity", &compute.max_capacity),
        ("QueueCapacity", &compute.queue_capacity),
        ("AvailableCapacity", &compute.available_capacity),
        ("MaxJobRequirements", &compute.max_job_requirements),
    ]
}

/// Every amount that a node claims to have, with its name.
fn capacities(request: &ControlRequest) -> Vec<(&'static str, &Resources)> {
    match request {
        ControlRequest::Handshake(request) => described(&request.node_info),
        ControlRequest::UpdateNodeInfo(request) => described(&request.node_info),
        ControlRequest::Heartbeat(request) => vec![
            ("AvailableCapacity", &request.available_capacity),
            ("QueueUsedCapacity", &request.queue_used_capacity),
        ],
        ControlRequest::ShutdownNotice(_) => Vec::new(),
    }
}

/// Writes an answer to a control request. `at` in nanoseconds since 1970.
pub fn answer(
    reply: &str,
    result: &Result<ControlResponse, Error>,
    at: i64,
) -> Result<Outgoing, EnvelopeError> {
    match result {
        Ok(response) => {
            let metadata = Metadata::new(response.type_name(), ORCHESTRATOR, at);
            Outgoing::new(reply.to_owned(), &metadata, response)
        }
        Err(error) => error_answer(reply, ORCHESTRATOR, error, at),
    }
}

/// Writes an error as the answer to any request. `source` is who answers.
pub fn error_answer(reply: &str, source: &str, error: &Error, at: i64) -> Result<Outgoing, EnvelopeError> {
    let wire = BacError::from(error);
    let metadata = Metadata::new(BacError::TYPE, source, at)
        .with(key::STATUS_CODE, wire.http_status_code.to_string())
        .with(key::ERROR_CODE, wire.code.clone());
    Ok(Outgoing {
        subject: reply.to_owned(),
        headers: metadata.to_headers(),
        payload: encode(&metadata, &wire)?,
    })
}

/// The answer to a node that is not known as connected.
pub fn handshake_required(node_id: &str) -> Error {
    Error::new(HANDSHAKE_REQUIRED, format!("node {node_id} not connected - handshake required"))
        .component("NodesManager")
        .status(428)
        .retryable()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Headers;

    fn message(node_id: &str, request: &ControlRequest) -> BusMessage {
        let metadata = Metadata::new(request.type_name(), "whoever", 0);
        BusMessage {
            subject: subjects::control(node_id),
            reply: Some("_INBOX.a.b".to_owned()),
            status: None,
            headers: Headers::NONE,
            payload: request.encode(&metadata).unwrap(),
        }
    }

    fn heartbeat(node_id: &str) -> ControlRequest {
        ControlRequest::Heartbeat(HeartbeatRequest { node_id: node_id.into(), ..Default::default() })
    }

    #[test]
    fn a_node_speaks_only_for_itself() {
        let asked = read_request(&message("n-1", &heartbeat("n-1"))).unwrap();
        assert_eq!((asked.node_id.as_str(), asked.reply.as_str()), ("n-1", "_INBOX.a.b"));
        let error = read_request(&message("n-1", &heartbeat("n-2"))).unwrap_err();
        assert!(error.message.contains("in the name of node \"n-2\""), "{}", error.message);
        let other = BusMessage { subject: "x.y".into(), ..message("n-1", &heartbeat("n-1")) };
        assert!(read_request(&other).is_err());
        let broken =
            BusMessage { payload: bytes::Bytes::from_static(b"{}"), ..message("n-1", &heartbeat("n-1")) };
        assert!(read_request(&broken).unwrap_err().message.contains("too short"));
        let mut impossible = HeartbeatRequest { node_id: "n-1".into(), ..Default::default() };
        for cpu in [-5.0, 1e308] {
            impossible.available_capacity.cpu = cpu;
            let request = ControlRequest::Heartbeat(impossible.clone());
            let error = read_request(&message("n-1", &request)).unwrap_err();
            assert!(error.message.contains("AvailableCapacity of node n-1: CPU is "), "{}", error.message);
        }
        let silent = BusMessage { reply: None, ..message("n-1", &heartbeat("n-1")) };
        assert!(read_request(&silent).is_err());
    }

    #[test]
    fn answers_come_back_as_what_they_were() {
        let yes = ControlResponse::Heartbeat(HeartbeatResponse { last_compute_seq_num: 7 });
        let out = answer("r", &Ok(yes.clone()), 5).unwrap();
        assert_eq!(read_answer(&out.payload).unwrap(), yes);
        let out = answer("r", &Err(handshake_required("n-1")), 5).unwrap();
        assert_eq!(out.headers.get(key::STATUS_CODE), Some("428"));
        let error = read_answer(&out.payload).unwrap_err();
        assert_eq!(error, ControlError::HandshakeRequired(handshake_required("n-1")));
        let out = answer("r", &Err(Error::new(code::FORBIDDEN, "no")), 5).unwrap();
        assert!(matches!(read_answer(&out.payload), Err(ControlError::Refused(e)) if e.http_status() == 403));
        assert!(matches!(read_answer(b"x"), Err(ControlError::Answer(_))));
    }
}
