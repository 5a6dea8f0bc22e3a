//! Why a job runs where it runs: a verdict on every node, from the data that the scheduler itself uses.

use serde::{Deserialize, Serialize};

/// What the scheduler thinks of a node for a job, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// Something of the job is live on it.
    Running,
    /// It would get something of the job now.
    Chosen,
    /// It could run the job, and others are better or nothing is left to place.
    Possible,
    /// It could run the job if it had room.
    Busy,
    /// It cannot run the job.
    Unsuitable,
    /// It gets no work of anybody at the moment.
    #[default]
    Unavailable,
}

impl Verdict {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Running => "Running",
            Verdict::Chosen => "Chosen",
            Verdict::Possible => "Possible",
            Verdict::Busy => "Busy",
            Verdict::Unsuitable => "Unsuitable",
            Verdict::Unavailable => "Unavailable",
        }
    }
}

/// A verdict and its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeVerdict {
    /// The node.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// What is thought of it.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: String,
    /// Executions of the job that are live on it.
    pub live: usize,
    /// Executions that it would get now.
    pub would_get: usize,
}

/// All verdicts on one job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Explanation {
    /// The job; empty for one that is not submitted.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// The answer in one or a few lines.
    pub summary: String,
    /// Executions that want a node now.
    pub wanted: usize,
    /// Executions that would get one.
    pub placeable: usize,
    /// Every compute node: best verdict first, then by ID.
    pub nodes: Vec<NodeVerdict>,
}
