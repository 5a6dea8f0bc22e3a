//! What the orchestrator's core wants stored, and what it gets back at the start.

use bacalhau_model::{EncodedEvent, Execution, Job, JobHistory, NodeState};
use std::sync::Arc;

/// A message about an execution that its node has not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PendingMessage {
    /// Would you run this?
    AskForBid,
    /// Run it.
    BidAccepted,
    /// Stop it.
    CancelExecution,
}

impl PendingMessage {
    /// Number in the database.
    pub(super) fn number(self) -> i64 {
        match self {
            PendingMessage::AskForBid => 1,
            PendingMessage::BidAccepted => 2,
            PendingMessage::CancelExecution => 3,
        }
    }

    /// From the number in the database.
    pub(super) fn from_number(number: i64) -> Option<PendingMessage> {
        match number {
            1 => Some(PendingMessage::AskForBid),
            2 => Some(PendingMessage::BidAccepted),
            3 => Some(PendingMessage::CancelExecution),
            _ => None,
        }
    }
}

/// One change. Changes of a batch are applied in order, all or none.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most changes are executions; boxing them would cost an allocation each"
)]
pub enum Change {
    /// Creates or updates a version of a job and makes it the latest. The spec of a version is written once.
    PutJob(Arc<Job>),
    /// Creates or updates an execution. Its job is not stored with it.
    PutExecution {
        /// The record.
        execution: Arc<Execution>,
        /// What its node has not acknowledged.
        pending: Option<PendingMessage>,
    },
    /// Adds a line to the history of its job.
    AppendHistory(JobHistory),
    /// Creates or updates a node.
    PutNode(NodeState),
    /// Forgets a node.
    DeleteNode(String),
    /// Deletes a job with all its versions, executions and history. It is gone at once; the room comes free in
    /// slices. Executions with a message that is not acknowledged are kept, without their job, until it is.
    DeleteJob(String),
    /// Adds to the event stream. The shell makes these from the core's changes; see the orchestrator's feed.
    AppendEvents {
        /// In order, with numbers that were not given before.
        events: Vec<Arc<EncodedEvent>>,
        /// Older events are forgotten; 0 for none.
        forget_below: u64,
    },
    /// Deletes executions that are over, by their IDs.
    DeleteExecutions(Vec<String>),
    /// Deletes the beginning of a job's history.
    DeleteHistory {
        /// The job.
        job_id: String,
        /// Number of the first line that stays.
        before: u64,
    },
}

/// A job with its place in the history.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredJob {
    /// Latest version.
    pub job: Job,
    /// Number of the next line of its history.
    pub next_history_seq: u64,
    /// The version that an unfinished rolling update started from.
    pub previous: Option<Job>,
    /// During a rolling update: all versions but the latest of which executions still live.
    pub replaced: Vec<Job>,
}

/// What a starting orchestrator has to know.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Jobs that are not final.
    pub jobs: Vec<StoredJob>,
    /// All executions of these jobs, and others whose node has not acknowledged a message. Those of deleted jobs
    /// name no job.
    pub executions: Vec<(Execution, Option<PendingMessage>)>,
    /// All nodes.
    pub nodes: Vec<NodeState>,
}
