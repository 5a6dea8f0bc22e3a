//! Answers of the API as the client reads them, and the request bodies it sends.
//!
//! Field names are those of Bacalhau 1.9. Answers are decoded leniently: missing fields are empty, unknown ones are
//! ignored.

use crate::credentials::NodeCredential;
use bacalhau_model::explain::Explanation;
use bacalhau_model::{Execution, Job, JobHistory, NodeInfo, NodeState};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `null` and absence both mean an empty value.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, bound(deserialize = "T: Deserialize<'de> + Default"))]
pub struct Page<T> {
    /// Where the next page starts; empty when there is none.
    pub next_token: String,
    /// The records.
    #[serde(deserialize_with = "or_default")]
    pub items: Vec<T>,
}

/// The server as a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentNode {
    /// What any node says of itself.
    #[serde(flatten)]
    pub info: NodeInfo,
    /// How a compute node's connection to its orchestrator stands; servers of Bacalhau 1.9 do not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Value>,
}

/// Answer to a submission.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Submitted {
    /// The job, new or updated.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// The evaluation that was started.
    #[serde(rename = "EvaluationID")]
    pub evaluation_id: String,
    /// What the server changed or ignored.
    #[serde(deserialize_with = "or_default")]
    pub warnings: Vec<String>,
}

/// Answer to a rerun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Rerun {
    /// The job.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// Its new version.
    pub job_version: u64,
    /// The evaluation that was started.
    #[serde(rename = "EvaluationID")]
    pub evaluation_id: String,
    /// What the server changed or ignored.
    #[serde(deserialize_with = "or_default")]
    pub warnings: Vec<String>,
}

/// Answer to a comparison with the stored job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Diff {
    /// Text for people, `+` and `-` lines; empty when nothing differs.
    pub diff: String,
    /// What the server would change or ignore.
    #[serde(deserialize_with = "or_default")]
    pub warnings: Vec<String>,
}

/// Answer to a stop request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Stopped {
    /// The evaluation that was started; empty when the job had already been stopped.
    #[serde(rename = "EvaluationID")]
    pub evaluation_id: String,
}

/// Answer to a request to delete a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Deleted {
    /// Full ID of the job that is gone.
    #[serde(rename = "JobID")]
    pub job_id: String,
}

/// A job with the records that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JobDetails {
    /// The job.
    pub job: Job,
    /// Its history, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Page<JobHistory>>,
    /// Its executions, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executions: Option<Page<Execution>>,
}

/// `{"Status":"OK"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Alive {
    /// `OK` when the server answers at all.
    pub status: String,
}

/// Effective configuration of the server, secrets masked.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct AgentConfig {
    pub(super) config: Value,
}

/// What the server says about single sign-on.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthConfig {
    /// Version of this description.
    pub version: String,
    /// The provider, empty fields when there is none.
    pub config: Oauth2,
}

/// The part of the provider's description that is shown to people.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Oauth2 {
    /// ID of the provider; empty when single sign-on is off.
    #[serde(rename = "ProviderID")]
    pub provider_id: String,
    /// Its name for people.
    pub provider_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct AllCredentials {
    #[serde(deserialize_with = "or_default")]
    pub(super) credentials: Vec<NodeCredential>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyBody<'a> {
    pub(super) public_key: &'a str,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Nodes {
    #[serde(deserialize_with = "or_default")]
    pub(super) nodes: Vec<NodeState>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct OneNode {
    pub(super) node: NodeState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Explained {
    pub(super) explanation: Explanation,
}

/// Answer to approve, reject, delete, cordon, uncordon and drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeUpdated {
    /// Whether it was done.
    pub success: bool,
    /// Why not.
    pub error: String,
}

/// The error body of the API.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ErrorBody {
    pub(super) status: u16,
    pub(super) message: String,
    #[serde(rename = "RequestID")]
    pub(super) request_id: String,
    pub(super) code: String,
    pub(super) component: String,
    pub(super) hint: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) details: BTreeMap<String, String>,
    /// Only in the answers of the version gate.
    pub(super) error: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SubmitBody<'a> {
    pub(super) namespace: &'a str,
    pub(super) idempotency_token: &'a str,
    pub(super) job: &'a Job,
    pub(super) force: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DiffBody<'a> {
    pub(super) namespace: &'a str,
    pub(super) job: &'a Job,
}

#[derive(Debug, Serialize)]
pub(super) struct StopBody<'a> {
    #[serde(rename = "Namespace")]
    pub(super) namespace: &'a str,
    pub(super) reason: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RerunBody<'a> {
    pub(super) namespace: &'a str,
    pub(super) job_version: u64,
    pub(super) reason: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NodeBody<'a> {
    pub(super) action: &'a str,
    pub(super) message: &'a str,
    #[serde(rename = "NodeID")]
    pub(super) node_id: &'a str,
    /// Seconds, for a drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deadline: Option<u64>,
}
