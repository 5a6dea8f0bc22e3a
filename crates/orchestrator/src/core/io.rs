//! What goes into the core and what comes out of it.
//!
//! `T` is a token of the shell's own (a reply channel, a message to acknowledge). The core hands it back unseen.

use super::retention::Tidy;
use bacalhau_model::explain::Explanation;
use bacalhau_model::{Error, Job, NodeInfo, NodeState, Resources};
use bacalhau_store::orchestrator::{Change, PendingMessage, StoredJob};
use bacalhau_wire::messages::NodeMessage;
use std::sync::Arc;

/// One thing that happened.
#[derive(Debug)]
pub enum Input<T> {
    /// A user submits a job. It is validated, has its defaults and an ID of its own.
    Submit {
        /// The job.
        job: Box<Job>,
        /// The stored job of the same name and namespace when the core does not hold it in memory.
        stored: Option<StoredJob>,
        /// The user chose the job's ID, and a stored job that the core does not hold in memory has it.
        id_taken: bool,
        /// Take it even when nothing changed.
        force: bool,
        /// Answered with [`Reply::Submitted`].
        token: T,
    },
    /// A user stops a job.
    Stop {
        /// Full job ID.
        job_id: String,
        /// Why.
        reason: String,
        /// The stored job when the core does not hold it in memory.
        stored: Option<StoredJob>,
        /// Answered with [`Reply::Stopped`].
        token: T,
    },
    /// A user runs a job again.
    Rerun {
        /// Full job ID.
        job_id: String,
        /// The version whose spec is used.
        spec: Arc<Job>,
        /// The stored job (latest version) when the core does not hold it in memory.
        stored: Option<StoredJob>,
        /// Answered with [`Reply::Rerun`].
        token: T,
    },
    /// A user deletes a finished job.
    Delete {
        /// Full job ID.
        job_id: String,
        /// The stored job when the core does not hold it in memory.
        stored: Option<StoredJob>,
        /// Answered with [`Reply::Deleted`].
        token: T,
    },
    /// Housekeeping found what is beyond the limits.
    Tidy {
        /// What it found.
        found: Tidy,
        /// Answered with [`Reply::Tidied`].
        token: T,
    },
    /// A compute node introduces itself.
    Handshake {
        /// What it says of itself.
        info: Box<NodeInfo>,
        /// Answered with [`Reply::Handshake`].
        token: T,
    },
    /// A compute node is alive.
    Heartbeat {
        /// The node.
        node_id: String,
        /// Free capacity, by the node's own count.
        available: Resources,
        /// Capacity used by what waits in its queue.
        queued: Resources,
        /// Last message of ours that it processed.
        last_orchestrator_seq: u64,
        /// Answered with [`Reply::Heartbeat`].
        token: T,
    },
    /// A compute node describes itself anew.
    UpdateNodeInfo {
        /// The new description.
        info: Box<NodeInfo>,
        /// Answered with [`Reply::Handshake`].
        token: T,
    },
    /// A compute node says good-bye.
    ShutdownNotice {
        /// The node.
        node_id: String,
        /// Executions that go on, for it means to be back: they are given up as late as those of a node that is silent.
        tasks_go_on: Vec<String>,
        /// Answered with [`Reply::Heartbeat`].
        token: T,
    },
    /// The connection of a node broke.
    ConnectionLost {
        /// The node.
        node_id: String,
    },
    /// A compute node reports on an execution.
    Report {
        /// The node whose subject carried the message.
        node_id: String,
        /// The report.
        message: NodeMessage,
        /// The node's sequence number, 0 when it sent none.
        seq: u64,
        /// Released with [`Effect::Acknowledge`].
        token: T,
    },
    /// A node acknowledged a message of ours.
    Delivered {
        /// The execution.
        execution_id: String,
        /// The message.
        kind: PendingMessage,
    },
    /// An operator approves, rejects or deletes a node.
    UpdateNode {
        /// Full node ID.
        node_id: String,
        /// What to do.
        action: NodeAction,
        /// Answered with [`Reply::NodeUpdated`].
        token: T,
    },
    /// Somebody wants to know where a job runs, would run, and why not elsewhere.
    Explain {
        /// The job, submitted or not.
        job: Box<Job>,
        /// Answered with [`Reply::Explained`].
        token: T,
    },
    /// Somebody wants to see the nodes.
    ListNodes {
        /// Answered with [`Reply::Nodes`].
        token: T,
    },
    /// Time passed; see [`super::Core::next_wakeup`].
    Tick,
}

/// What an operator can do to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAction {
    /// Let it work.
    Approve,
    /// Do not let it work.
    Reject,
    /// Forget it.
    Delete,
    /// Give it no new work.
    Cordon,
    /// Give it new work again; ends a drain.
    Uncordon,
    /// Give it no new work and move away what it has.
    Drain {
        /// How long batch and ops executions may go on, nanoseconds from now.
        deadline: i64,
    },
}

impl NodeAction {
    /// True for what only makes sense with a node that takes part.
    pub(crate) fn needs_member(self) -> bool {
        matches!(self, NodeAction::Cordon | NodeAction::Uncordon | NodeAction::Drain { .. })
    }
}

/// The answer to an input that carried a token.
#[derive(Debug)]
pub enum Reply {
    /// To [`Input::Submit`].
    Submitted(Result<Submitted, Error>),
    /// To [`Input::Stop`]: the evaluation ID, empty when the job was stopped already.
    Stopped(Result<String, Error>),
    /// To [`Input::Rerun`].
    Rerun(Result<Rerun, Error>),
    /// To [`Input::Delete`].
    Deleted(Result<(), Error>),
    /// To [`Input::Tidy`]: how many jobs, executions and pieces of history are deleted.
    Tidied(usize),
    /// To [`Input::Handshake`] and [`Input::UpdateNodeInfo`].
    Handshake(Handshake),
    /// To [`Input::Heartbeat`] and [`Input::ShutdownNotice`]: the last report of the node that was processed.
    Heartbeat(Result<u64, Error>),
    /// To [`Input::UpdateNode`].
    NodeUpdated(Result<(), Error>),
    /// To [`Input::ListNodes`].
    Nodes(Vec<NodeState>),
    /// To [`Input::Explain`]; `None` for a job that cannot be read.
    Explained(Option<Explanation>),
}

/// A job was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// ID of the job, new or existing.
    pub job_id: String,
    /// ID of the evaluation that the submission caused.
    pub evaluation_id: String,
    /// What was ignored or changed.
    pub warnings: Vec<String>,
}

/// A job runs again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rerun {
    /// ID of the evaluation.
    pub evaluation_id: String,
    /// The new version.
    pub job_version: u64,
    /// ID of the run that was made, when the job has a schedule: the job itself stays as it is.
    pub run: Option<String>,
}

/// The answer to a node that introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Welcome or not.
    pub accepted: bool,
    /// In words.
    pub reason: String,
    /// Last report of the node that was processed here.
    pub last_compute_seq: u64,
    /// Additions to the protocol that both sides speak.
    pub protocols: Vec<String>,
}

/// What the shell has to do once the changes of the same batch are on disk.
#[derive(Debug)]
pub enum Effect<T> {
    /// Answer a caller.
    Reply(T, Reply),
    /// Acknowledge a node's report.
    Acknowledge(T),
    /// Deliver a message about an execution to its node; built from [`super::Core::message`] when it is sent.
    Send {
        /// The node.
        node_id: String,
        /// The execution.
        execution_id: String,
        /// The message.
        kind: PendingMessage,
    },
    /// The node is there: start (again) to deliver to it.
    NodeUp(String),
    /// The node is gone: stop delivering, forget what was queued.
    NodeDown(String),
}

/// Everything one or more steps produced. Changes are committed first, effects follow.
#[derive(Debug)]
pub struct Output<T> {
    /// For the store, in order.
    pub changes: Vec<Change>,
    /// For the shell, in order, after the commit.
    pub effects: Vec<Effect<T>>,
}

impl<T> Default for Output<T> {
    fn default() -> Self {
        Output { changes: Vec::new(), effects: Vec::new() }
    }
}

impl<T> Output<T> {
    pub(crate) fn reply(&mut self, token: T, reply: Reply) {
        self.effects.push(Effect::Reply(token, reply));
    }
}
