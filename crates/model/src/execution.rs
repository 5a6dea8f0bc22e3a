//! An execution: one attempt to run a job's task on one node.

use crate::job::Job;
use crate::resources::AllocatedResources;
use crate::spec::SpecConfig;
use crate::state::State;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::sync::Arc;

/// Declares an enum that travels as an integer, with its names for people.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            #[default]
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The number on the wire.
            pub fn number(self) -> u8 {
                match self { $($name::$variant => $number,)* }
            }

            /// From the number on the wire.
            pub fn from_number(number: u64) -> Option<$name> {
                match number { $($number => Some($name::$variant),)* _ => None }
            }

            /// Name for people.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => stringify!($variant),)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u8(self.number())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = u64::deserialize(deserializer)?;
                $name::from_number(number)
                    .ok_or_else(|| de::Error::custom(format!("{number} is no {}", stringify!($name))))
            }
        }
    };
}

wire_enum!(
    /// Where the attempt stands on its node.
    ComputeState {
        /// Not known.
        Undefined = 0,
        /// Created, the node has not answered yet.
        New = 1,
        /// The node is being asked (unused by current protocols).
        AskForBid = 2,
        /// The node would run it.
        AskForBidAccepted = 3,
        /// The node refused.
        AskForBidRejected = 4,
        /// The node was told to run it.
        BidAccepted = 5,
        /// The engine runs.
        Running = 6,
        /// Results are being published.
        Publishing = 7,
        /// The orchestrator turned the bid down.
        BidRejected = 8,
        /// Done.
        Completed = 9,
        /// Failed.
        Failed = 10,
        /// Cancelled.
        Cancelled = 11,
    }
);

wire_enum!(
    /// What the orchestrator wants of the attempt.
    DesiredState {
        /// Wait for approval.
        Pending = 0,
        /// Run.
        Running = 1,
        /// Stop, or nothing more to do.
        Stopped = 2,
    }
);

impl ComputeState {
    /// No further change follows.
    pub fn is_terminal(self) -> bool {
        self.is_discarded() || self == ComputeState::Completed
    }

    /// Ended without a result; the partition is free again.
    pub fn is_discarded(self) -> bool {
        matches!(
            self,
            ComputeState::AskForBidRejected
                | ComputeState::BidRejected
                | ComputeState::Cancelled
                | ComputeState::Failed
        )
    }

    /// Told to run and not finished.
    pub fn is_executing(self) -> bool {
        matches!(self, ComputeState::BidAccepted | ComputeState::Running | ComputeState::Publishing)
    }
}

/// What the task printed and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunCommandResult {
    /// First bytes of standard output, at most [`RunCommandResult::INLINE_LIMIT`].
    pub stdout: String,
    /// There was more.
    pub stdout_truncated: bool,
    /// First bytes of standard error, at most [`RunCommandResult::INLINE_LIMIT`].
    #[serde(rename = "stderr")]
    pub stderr: String,
    /// There was more.
    pub stderr_truncated: bool,
    /// Exit code of the process.
    pub exit_code: i64,
    /// Why it could not run or finish.
    pub error_msg: String,
}

impl RunCommandResult {
    /// Bytes of each stream that travel inside the execution record.
    pub const INLINE_LIMIT: usize = 2048;
}

/// One attempt. The JSON order is Bacalhau 1.9's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Execution {
    /// `e-<uuid4>`; also the fencing token of the attempt.
    #[serde(rename = "ID")]
    pub id: String,
    /// Namespace of the job.
    pub namespace: String,
    /// Evaluation that created it.
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    /// Unused, empty.
    pub name: String,
    /// The node.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// The job.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// The job as it was when the attempt was planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<Arc<Job>>,
    /// Version of the job.
    pub job_version: u64,
    /// What the node set aside.
    pub allocated_resources: AllocatedResources,
    /// What the orchestrator wants.
    pub desired_state: State<DesiredState>,
    /// Where it stands.
    pub compute_state: State<ComputeState>,
    /// Where the results are.
    pub published_result: SpecConfig,
    /// What it printed.
    pub run_output: RunCommandResult,
    /// Earlier attempt, if any.
    pub previous_execution: String,
    /// Later attempt, if any.
    pub next_execution: String,
    /// Unused, empty.
    #[serde(rename = "FollowupEvalID")]
    pub followup_eval_id: String,
    /// Partition, 0..Count; left out when 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub partition_index: i64,
    /// Number of the attempt at its partition in this version of the job (on its node for ops and daemon jobs), from 1;
    /// 0 where it is not known.
    #[serde(skip_serializing_if = "is_not_known")]
    pub attempt: u64,
    /// When its task began to run, nanoseconds since 1970 by the orchestrator's clock; 0 while it does not run and where
    /// the node does not tell. For a task that ended before its node would have told: when it ended.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_time: i64,
    /// From 1, one more with every stored change.
    pub revision: u64,
    /// Nanoseconds since 1970.
    pub create_time: i64,
    /// Nanoseconds since 1970.
    pub modify_time: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn is_not_known(attempt: &u64) -> bool {
    *attempt == 0
}

impl Execution {
    /// Nothing more will happen to it.
    pub fn is_terminal(&self) -> bool {
        self.desired_state.state_type == DesiredState::Stopped || self.compute_state.state_type.is_terminal()
    }
}
