//! What reaches the driver from callers and from the bus, and who waits for the answer.

use crate::core::{Census, NodeAction, Rerun, Submitted};
use bacalhau_model::explain::Explanation;
use bacalhau_model::{Error, Job, NodeState};
use bacalhau_wire::messages::{ControlRequest, NodeMessage};
use tokio::sync::oneshot;

/// One thing for the driver to do.
pub(super) enum Command {
    Submit {
        job: Box<Job>,
        /// The user chose its ID.
        own_id: bool,
        force: bool,
        answer: Answer<Submitted>,
    },
    Stop {
        job_id: String,
        reason: String,
        answer: Answer<String>,
    },
    Rerun {
        job_id: String,
        version: u64,
        answer: Answer<Rerun>,
    },
    Delete {
        job_id: String,
        answer: Answer<()>,
    },
    Tidy {
        found: super::housekeeping::Found,
        /// With how much was deleted.
        answer: Answer<usize>,
    },
    UpdateNode {
        node_id: String,
        action: NodeAction,
        answer: Answer<()>,
    },
    ListNodes {
        answer: oneshot::Sender<Vec<NodeState>>,
    },
    Explain {
        job: Box<Job>,
        answer: oneshot::Sender<Option<Explanation>>,
    },
    Census {
        answer: oneshot::Sender<Census>,
    },
    Control {
        request: Box<ControlRequest>,
        reply_to: String,
    },
    Report {
        node_id: String,
        message: Box<NodeMessage>,
        seq: u64,
        reply_to: Option<String>,
    },
    /// A control request that makes no sense: its sender gets the error.
    Refuse {
        reply_to: String,
        error: Error,
    },
    /// A report that cannot be read: it is acknowledged, so that its sender does not repeat it for ever.
    Unreadable {
        reply_to: Option<String>,
    },
    /// A node answered a message: it has it, or why not.
    Answered {
        node_id: String,
        seq: u64,
        result: Result<(), String>,
    },
    ConnectionLost {
        node_id: String,
    },
    /// A subscription ended: nothing of what nodes send arrives any more.
    Deaf,
}

/// Where a result goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// Who waits for what the core says; travels through the core unseen.
pub(super) enum Token {
    Submit(Answer<Submitted>),
    Stop(Answer<String>),
    Rerun(Answer<Rerun>),
    Delete(Answer<()>),
    Tidy(Answer<usize>),
    UpdateNode(Answer<()>),
    ListNodes(oneshot::Sender<Vec<NodeState>>),
    Explain(oneshot::Sender<Option<Explanation>>),
    Control { reply_to: String, what: ControlKind },
    Report { reply_to: Option<String> },
}

/// Which answer a control request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlKind {
    Handshake,
    Heartbeat,
    UpdateNodeInfo,
    ShutdownNotice,
}
