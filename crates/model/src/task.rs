//! A task: what to run, on which inputs, with which resources, and where its results go.

use crate::network::NetworkConfig;
use crate::policy::RetryPolicy;
use crate::spec::SpecConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The one task of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Task {
    /// Name.
    pub name: String,
    /// Engine and its parameters.
    pub engine: SpecConfig,
    /// Publisher; an empty type means none.
    pub publisher: SpecConfig,
    /// Environment: literal values or `env:NAME` of the node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Free-form notes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// Inputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input_sources: Vec<InputSource>,
    /// Outputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub result_paths: Vec<ResultPath>,
    /// Resources asked for.
    pub resources: ResourcesConfig,
    /// Network access. `None` travels to compute nodes for the default, as Bacalhau 1.9 does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkConfig>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// What happens when an attempt fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
}

impl Task {
    /// The network section, with the default where none is set.
    pub fn network(&self) -> NetworkConfig {
        self.network.clone().unwrap_or_default()
    }
}

/// One input of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InputSource {
    /// Where the data comes from.
    pub source: SpecConfig,
    /// A name for it; empty when none.
    pub alias: String,
    /// Where the task finds it.
    pub target: String,
}

/// One output of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResultPath {
    /// Folder name in the results.
    pub name: String,
    /// Absolute path inside the task.
    pub path: String,
}

/// Resources as users write them; see [`crate::resources::Resources`] for amounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResourcesConfig {
    /// Kubernetes quantity: `500m`, `0.5`, `2`.
    #[serde(rename = "CPU", skip_serializing_if = "String::is_empty")]
    pub cpu: String,
    /// Bytes: `512mb` is 512,000,000, `512mib` is 2^29.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub memory: String,
    /// Bytes, as memory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub disk: String,
    /// Whole number.
    #[serde(rename = "GPU", skip_serializing_if = "String::is_empty")]
    pub gpu: String,
}

/// Time limits in seconds; 0 means none (for the queue: do not wait at all).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Timeouts {
    /// One attempt.
    #[serde(skip_serializing_if = "is_zero")]
    pub execution_timeout: i64,
    /// Waiting for nodes.
    #[serde(skip_serializing_if = "is_zero")]
    pub queue_timeout: i64,
    /// The job as a whole.
    #[serde(skip_serializing_if = "is_zero")]
    pub total_timeout: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl Timeouts {
    /// Seconds one attempt may take: its own limit, else the total one; 0 means no limit.
    pub fn execution_limit(&self) -> i64 {
        if self.execution_timeout > 0 { self.execution_timeout } else { self.total_timeout }
    }
}
