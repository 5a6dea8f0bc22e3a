//! Messages about executions, in both directions.

use super::{Family, family};
use crate::envelope::{self, Envelope, EnvelopeError, Payload};
use crate::metadata::Metadata;
use bacalhau_model::execution::ComputeState;
use bacalhau_model::{Event, Execution, RunCommandResult, SpecConfig};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Would you run this? With desired state `Running`: run it if you would.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AskForBid {
    /// What led to it.
    pub events: Option<Vec<Event>>,
    /// The execution with its job inside.
    pub execution: Option<Execution>,
}

/// Run it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BidAccepted {
    /// What led to it.
    pub events: Option<Vec<Event>>,
    /// The execution.
    #[serde(rename = "ExecutionID")]
    pub execution_id: String,
    /// Always true.
    pub accepted: bool,
}

/// Do not run it. Bacalhau 1.9 sends [`CancelExecution`] instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BidRejected {
    /// Why.
    pub events: Option<Vec<Event>>,
    /// The execution.
    #[serde(rename = "ExecutionID")]
    pub execution_id: String,
}

/// Stop it; harmless when it is over or unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CancelExecution {
    /// Why: the message of the first one.
    pub events: Option<Vec<Event>>,
    /// The execution.
    #[serde(rename = "ExecutionID")]
    pub execution_id: String,
}

/// Answer to [`AskForBid`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BidResult {
    /// The execution.
    #[serde(rename = "ExecutionID")]
    pub execution_id: String,
    /// Its job.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// Type of its job; a Bacalhau 1.9 orchestrator uses it as it comes.
    pub job_type: String,
    /// Why not, for a refusal.
    pub events: Option<Vec<Event>>,
    /// Would run it.
    pub accepted: bool,
}

/// It ran to its end, whatever the exit code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunResult {
    /// The execution.
    #[serde(rename = "ExecutionID")]
    pub execution_id: String,
    /// Its job.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// Type of its job.
    pub job_type: String,
    /// What happened.
    pub events: Option<Vec<Event>>,
    /// Where the results are.
    pub publish_result: Option<SpecConfig>,
    /// What it printed and how it exited.
    pub run_command_result: Option<RunCommandResult>,
}

/// It could not be started, finished or published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ComputeError {
    /// The execution.
    #[serde(rename = "ExecutionID")]
    pub execution_id: String,
    /// Its job.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// Type of its job.
    pub job_type: String,
    /// The first one is the error.
    pub events: Option<Vec<Event>>,
}

/// How far an execution is. Not part of Bacalhau 1.9: sent only when both sides named `execution-progress/v1` in the
/// handshake. Only the latest state counts; what the orchestrator knows already it ignores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecutionProgress {
    /// The execution.
    #[serde(rename = "ExecutionID")]
    pub execution_id: String,
    /// Its job.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// Type of its job.
    pub job_type: String,
    /// `BidAccepted` while it is being prepared, `Running` or `Publishing`.
    pub state: ComputeState,
    /// How long the task had run when this state was entered, nanoseconds; 0 while it is being prepared.
    pub running_for: i64,
    /// What happened since the last report that was acknowledged, at most [`MOST_PROGRESS_EVENTS`].
    pub events: Option<Vec<Event>>,
}

/// Lines for the history in one [`ExecutionProgress`] at most; further ones are ignored.
pub const MOST_PROGRESS_EVENTS: usize = 8;

/// Gives payload types their names on the wire.
macro_rules! named {
    ($($payload:ident),*) => {
        $(impl Payload for $payload { const TYPE: &'static str = stringify!($payload); })*
    };
}
named!(
    AskForBid,
    BidAccepted,
    BidRejected,
    CancelExecution,
    BidResult,
    RunResult,
    ComputeError,
    ExecutionProgress
);

/// What an orchestrator tells a node.
#[derive(Clone, Debug, PartialEq)]
pub enum OrchestratorMessage {
    /// Would you run this?
    AskForBid(Box<AskForBid>),
    /// Run it.
    BidAccepted(BidAccepted),
    /// Do not run it.
    BidRejected(BidRejected),
    /// Stop it.
    CancelExecution(CancelExecution),
}

family!(OrchestratorMessage, "AskForBid, BidAccepted, BidRejected or CancelExecution", {
    AskForBid(Box<AskForBid>),
    BidAccepted(BidAccepted),
    BidRejected(BidRejected),
    CancelExecution(CancelExecution),
});

impl<P: Payload> Payload for Box<P> {
    const TYPE: &'static str = P::TYPE;
}

impl OrchestratorMessage {
    /// The execution it is about; empty when an [`AskForBid`] came without one.
    pub fn execution_id(&self) -> &str {
        match self {
            OrchestratorMessage::AskForBid(m) => m.execution.as_ref().map_or("", |e| &e.id),
            OrchestratorMessage::BidAccepted(m) => &m.execution_id,
            OrchestratorMessage::BidRejected(m) => &m.execution_id,
            OrchestratorMessage::CancelExecution(m) => &m.execution_id,
        }
    }
}

/// What a node tells its orchestrator.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeMessage {
    /// Answer to an ask.
    BidResult(BidResult),
    /// It ran.
    RunResult(RunResult),
    /// It failed.
    ComputeError(ComputeError),
    /// How far it is.
    Progress(ExecutionProgress),
}

family!(NodeMessage, "BidResult, RunResult, ComputeError or ExecutionProgress", {
    BidResult(BidResult),
    RunResult(RunResult),
    ComputeError(ComputeError),
    Progress(ExecutionProgress),
});

/// A [`NodeMessage`] without its content, for log lines and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeMessageKind {
    /// See [`NodeMessage::BidResult`].
    BidResult,
    /// See [`NodeMessage::RunResult`].
    RunResult,
    /// See [`NodeMessage::ComputeError`].
    ComputeError,
    /// See [`NodeMessage::Progress`].
    Progress,
}

impl NodeMessage {
    /// The execution it is about.
    pub fn execution_id(&self) -> &str {
        match self {
            NodeMessage::BidResult(m) => &m.execution_id,
            NodeMessage::RunResult(m) => &m.execution_id,
            NodeMessage::ComputeError(m) => &m.execution_id,
            NodeMessage::Progress(m) => &m.execution_id,
        }
    }

    /// Which one it is.
    pub fn kind(&self) -> NodeMessageKind {
        match self {
            NodeMessage::BidResult(_) => NodeMessageKind::BidResult,
            NodeMessage::RunResult(_) => NodeMessageKind::RunResult,
            NodeMessage::ComputeError(_) => NodeMessageKind::ComputeError,
            NodeMessage::Progress(_) => NodeMessageKind::Progress,
        }
    }
}
