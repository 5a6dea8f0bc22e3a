//! Label selectors: which nodes may run a job, which jobs a listing shows.

use serde::{Deserialize, Serialize};

/// One requirement on a label, e.g. `{"Key":"os_type","Operator":"=","Values":["linux"]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Requirement {
    /// Label name.
    pub key: String,
    /// `in notin exists ! = == != gt lt`.
    pub operator: String,
    /// Values; how many depends on the operator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}
