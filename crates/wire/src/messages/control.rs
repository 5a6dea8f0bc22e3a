//! Control messages: how a node joins, shows that it lives, and leaves.

use super::{Family, family};
use crate::envelope::{self, Envelope, EnvelopeError, Payload};
use crate::metadata::Metadata;
use bacalhau_model::{NodeInfo, Resources, Time};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A node introduces itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HandshakeRequest {
    /// What it is.
    pub node_info: NodeInfo,
    /// When its process started.
    pub start_time: Time,
    /// Last message of the orchestrator that it processed; the orchestrator keeps its own count.
    pub last_orchestrator_seq_num: u64,
}

/// Answer to [`HandshakeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HandshakeResponse {
    /// May take part.
    #[serde(rename = "accepted")]
    pub accepted: bool,
    /// In words, for success too.
    #[serde(rename = "reason", skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Last report of the node that the orchestrator processed.
    pub last_compute_seq_num: u64,
    /// Messages to the node follow with higher numbers.
    pub last_orchestrator_seq_num: u64,
    /// Additions to the protocol (`execution-progress/v1`, ...) that the node named and the orchestrator speaks too; left
    /// out for nodes that named none, such as those of Bacalhau 1.9.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supported_protocols: Vec<String>,
}

/// A node lives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeartbeatRequest {
    /// The node.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Free now.
    pub available_capacity: Resources,
    /// Used by executions that wait.
    pub queue_used_capacity: Resources,
    /// Last message of the orchestrator that it processed.
    pub last_orchestrator_seq_num: u64,
}

/// Answer to [`HeartbeatRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeartbeatResponse {
    /// Last report of the node that the orchestrator processed.
    pub last_compute_seq_num: u64,
}

/// A node describes itself anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateNodeInfoRequest {
    /// What it is now.
    pub node_info: NodeInfo,
}

/// Answer to [`UpdateNodeInfoRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateNodeInfoResponse {
    /// Noted.
    #[serde(rename = "accepted")]
    pub accepted: bool,
    /// In words.
    #[serde(rename = "reason", skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A node leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ShutdownNoticeRequest {
    /// The node.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Last message of the orchestrator that it processed.
    pub last_orchestrator_seq_num: u64,
    /// Executions that go on while the node's process is away: it means to be back soon, and they are not to be given up
    /// at once. Left out when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks_go_on: Vec<String>,
}

/// Answer to [`ShutdownNoticeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ShutdownNoticeResponse {
    /// Last report of the node that the orchestrator processed.
    pub last_compute_seq_num: u64,
}

/// Gives payload types their names on the wire.
macro_rules! named {
    ($($payload:ident),* $(,)?) => {
        $(impl Payload for $payload { const TYPE: &'static str = concat!("transport.", stringify!($payload)); })*
    };
}
named!(
    HandshakeRequest,
    HandshakeResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    UpdateNodeInfoRequest,
    UpdateNodeInfoResponse,
    ShutdownNoticeRequest,
    ShutdownNoticeResponse,
);

/// What a node asks on its control subject.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlRequest {
    /// It joins.
    Handshake(Box<HandshakeRequest>),
    /// It lives.
    Heartbeat(HeartbeatRequest),
    /// It changed.
    UpdateNodeInfo(Box<UpdateNodeInfoRequest>),
    /// It leaves.
    ShutdownNotice(ShutdownNoticeRequest),
}

family!(ControlRequest, "a control request (transport.HandshakeRequest, ...)", {
    Handshake(Box<HandshakeRequest>),
    Heartbeat(HeartbeatRequest),
    UpdateNodeInfo(Box<UpdateNodeInfoRequest>),
    ShutdownNotice(ShutdownNoticeRequest),
});

impl ControlRequest {
    /// The node that the payload names.
    pub fn node_id(&self) -> &str {
        match self {
            ControlRequest::Handshake(m) => &m.node_info.node_id,
            ControlRequest::Heartbeat(m) => &m.node_id,
            ControlRequest::UpdateNodeInfo(m) => &m.node_info.node_id,
            ControlRequest::ShutdownNotice(m) => &m.node_id,
        }
    }
}

/// What the orchestrator answers; errors travel as [`super::BacError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlResponse {
    /// To a handshake.
    Handshake(HandshakeResponse),
    /// To a heartbeat.
    Heartbeat(HeartbeatResponse),
    /// To a new description.
    UpdateNodeInfo(UpdateNodeInfoResponse),
    /// To a good-bye.
    ShutdownNotice(ShutdownNoticeResponse),
}

family!(ControlResponse, "a control response (transport.HandshakeResponse, ...)", {
    Handshake(HandshakeResponse),
    Heartbeat(HeartbeatResponse),
    UpdateNodeInfo(UpdateNodeInfoResponse),
    ShutdownNotice(ShutdownNoticeResponse),
});
