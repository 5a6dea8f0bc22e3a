//! Nodes: what they are, what they offer, and how the orchestrator sees them.

use crate::resources::Resources;
use crate::time::Time;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// Role of a node. A node with both roles says `Compute`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeType {
    /// Orchestrator only.
    #[default]
    Requester,
    /// Runs executions.
    Compute,
}

/// Whether the orchestrator lets a node work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Membership {
    /// Not known.
    #[default]
    #[serde(rename = "")]
    Unknown,
    /// Waits for approval.
    #[serde(rename = "PENDING")]
    Pending,
    /// May work.
    #[serde(rename = "APPROVED")]
    Approved,
    /// May not.
    #[serde(rename = "REJECTED")]
    Rejected,
}

impl Membership {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Membership::Unknown => "",
            Membership::Pending => "PENDING",
            Membership::Approved => "APPROVED",
            Membership::Rejected => "REJECTED",
        }
    }
}

/// Whether a node is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Connection {
    /// Not connected.
    #[default]
    Disconnected,
    /// Connected.
    Connected,
}

impl Connection {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Connection::Disconnected => "DISCONNECTED",
            Connection::Connected => "CONNECTED",
        }
    }
}

/// A build of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BuildVersion {
    /// Major version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub major: String,
    /// Minor version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub minor: String,
    /// With a leading `v`.
    pub git_version: String,
    /// Commit.
    pub git_commit: String,
    /// When it was built.
    pub build_date: Time,
    /// Operating system, Go's word.
    #[serde(rename = "GOOS")]
    pub goos: String,
    /// Architecture, Go's word.
    #[serde(rename = "GOARCH")]
    pub goarch: String,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeInfo {
    /// ID; one subject token on NATS.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Role.
    pub node_type: NodeType,
    /// Labels, always with `name`, `os_type` and `os_arch`.
    pub labels: BTreeMap<String, String>,
    /// Protocols spoken, see [`protocol`].
    pub supported_protocols: Vec<String>,
    /// What it offers as a compute node.
    pub compute_node_info: ComputeNodeInfo,
    /// Its build.
    pub bacalhau_version: BuildVersion,
}

/// Names of the protocols between orchestrator and compute node.
pub mod protocol {
    /// The current one.
    pub const NCL_V1: &str = "ncl/v1";
    /// An addition to [`NCL_V1`]: nodes report that a task runs, that its results are being published, and how far its
    /// preparation is. Spoken when both sides name it in the handshake; others ignore the name.
    pub const EXECUTION_PROGRESS: &str = "execution-progress/v1";
    /// The old request/reply one; named for compatibility, not spoken.
    pub const BPROTOCOL_V2: &str = "bprotocol/v2";
}

impl NodeInfo {
    /// True when the node speaks the protocol; see [`protocol`].
    pub fn speaks(&self, protocol: &str) -> bool {
        self.supported_protocols.iter().any(|name| name == protocol)
    }
}

/// What a compute node offers and how busy it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ComputeNodeInfo {
    /// Engines, lower-case; `null` when none.
    #[serde(with = "null_when_empty")]
    pub execution_engines: Vec<String>,
    /// Versions of these by name, as far as they are known. Bacalhau 1.9 has no such field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub engine_versions: BTreeMap<String, String>,
    /// Publishers, lower-case; `null` when none.
    #[serde(with = "null_when_empty")]
    pub publishers: Vec<String>,
    /// Sources, lower-case; `null` when none.
    #[serde(with = "null_when_empty")]
    pub storage_sources: Vec<String>,
    /// All it may use.
    pub max_capacity: Resources,
    /// Used by queued executions (the name is Bacalhau 1.9's).
    pub queue_capacity: Resources,
    /// Free now.
    pub available_capacity: Resources,
    /// Most that one job may ask for.
    pub max_job_requirements: Resources,
    /// Running now.
    pub running_executions: i64,
    /// Queued now.
    pub enqueued_executions: i64,
    /// Advertised address, often empty.
    #[serde(rename = "address")]
    pub address: String,
}

/// Empty lists travel as `null`, as Go prints nil slices.
mod null_when_empty {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(list: &Vec<String>, serializer: S) -> Result<S::Ok, S::Error> {
        if list.is_empty() { serializer.serialize_none() } else { list.serialize(serializer) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        Ok(Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default())
    }
}

/// A node as the orchestrator sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeState {
    /// What it says of itself.
    pub info: NodeInfo,
    /// Whether it may work.
    pub membership: Membership,
    /// Copy of `ConnectionState.Status` for older readers.
    pub connection: Connection,
    /// The link to it.
    pub connection_state: ConnectionState,
    /// Gets no new work, by an operator's wish.
    #[serde(skip_serializing_if = "is_false")]
    pub cordoned: bool,
    /// Its work is being moved away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// An operator's wish that a node become empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Drain {
    /// When it was asked for.
    pub started: Time,
    /// Until then batch and ops executions may finish; what is left is stopped.
    pub deadline: Time,
    /// Live executions still on the node.
    pub remaining: usize,
    /// When the node was empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
}

impl NodeState {
    /// May get work now.
    pub fn is_schedulable(&self) -> bool {
        self.info.node_type == NodeType::Compute
            && self.membership == Membership::Approved
            && self.connection_state.status == Connection::Connected
            && !self.cordoned
    }
}

/// The link to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConnectionState {
    /// Connected or not.
    pub status: Connection,
    /// Last sign of life.
    pub last_heartbeat: Time,
    /// Last message of the node that was processed here.
    #[serde(skip_serializing_if = "is_zero")]
    pub last_compute_seq_num: u64,
    /// Last message of this orchestrator that the node processed.
    #[serde(skip_serializing_if = "is_zero")]
    pub last_orchestrator_seq_num: u64,
    /// Since when connected.
    pub connected_since: Time,
    /// Since when not.
    pub disconnected_since: Time,
    /// Why not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}
