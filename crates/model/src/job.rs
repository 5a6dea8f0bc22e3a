//! A job: the versioned description of work and its state.

use crate::policy::{Dependency, Schedule, UpdatePolicy};
use crate::selector::Requirement;
use crate::state::State;
use crate::task::Task;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;

/// Keys of [`Job::meta`] that the system writes.
pub mod meta {
    /// Reserved prefix; users' keys under it are dropped with a warning.
    pub const PREFIX: &str = "bacalhau.org/";
    /// Node ID of the orchestrator.
    pub const ORCHESTRATOR_ID: &str = "bacalhau.org/orchestrator.id";
    /// Older name of the same.
    pub const REQUESTER_ID: &str = "bacalhau.org/requester.id";
    /// Protocol that brought an execution to a compute node.
    pub const ORCHESTRATOR_PROTOCOL: &str = "bacalhau.org/orchestrator.protocol";
    /// Instance ID of the client.
    pub const CLIENT_INSTANCE_ID: &str = "bacalhau.org/client.instance.id";
    /// Installation ID of the client.
    pub const CLIENT_INSTALLATION_ID: &str = "bacalhau.org/client.installation.id";
    /// ID of the scheduled job that made this one.
    pub const SCHEDULED_BY: &str = "bacalhau.org/scheduled-by";
    /// Earlier versions whose executions go on in this one; see [`crate::kept`].
    pub const KEEPS_VERSIONS: &str = "bacalhau.org/keeps-versions";
    /// Version that a rolling update started from.
    pub const ROLLS_FROM: &str = "bacalhau.org/rolls-from";
    /// There in a version that a failed rolling update went back to: it is not taken back itself.
    pub const GOES_BACK: &str = "bacalhau.org/goes-back";
    /// When a version after the first was submitted: nanoseconds since 1970.
    pub const VERSION_TIME: &str = "bacalhau.org/version-time";
    /// IDs of the jobs that this one depends on, in the order of `DependsOn`, with blanks between them.
    pub const DEPENDS_ON: &str = "bacalhau.org/depends-on";
    /// Digest that the tag of the task's image stood for at submit, so that all executions run the same image.
    pub const IMAGE_DIGEST: &str = "bacalhau.org/image-digest";
    /// Instance ID of the orchestrator.
    pub const SERVER_INSTANCE_ID: &str = "bacalhau.org/server.instance.id";
}

/// Job type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobType {
    /// Runs `Count` partitions to their end.
    Batch,
    /// Runs to its end on every matching node.
    Ops,
    /// Keeps `Count` copies running.
    Service,
    /// Keeps one copy running on every matching node.
    Daemon,
}

impl JobType {
    /// The word users write, exactly lower-case; `None` for anything else.
    pub fn parse(text: &str) -> Option<JobType> {
        match text {
            "batch" => Some(JobType::Batch),
            "ops" => Some(JobType::Ops),
            "service" => Some(JobType::Service),
            "daemon" => Some(JobType::Daemon),
            _ => None,
        }
    }

    /// The word users write.
    pub fn as_str(self) -> &'static str {
        match self {
            JobType::Batch => "batch",
            JobType::Ops => "ops",
            JobType::Service => "service",
            JobType::Daemon => "daemon",
        }
    }

    /// Service and daemon jobs run until stopped.
    pub fn is_long_running(self) -> bool {
        matches!(self, JobType::Service | JobType::Daemon)
    }

    /// Ops and daemon jobs run on every matching node and have no count.
    pub fn is_on_all_nodes(self) -> bool {
        matches!(self, JobType::Ops | JobType::Daemon)
    }
}

/// State of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobState {
    /// Not known.
    #[default]
    Undefined,
    /// Submitted, nothing placed yet.
    Pending,
    /// Waits for nodes.
    Queued,
    /// At least one execution was asked to run.
    Running,
    /// Done.
    Completed,
    /// Given up.
    Failed,
    /// Stopped by a user.
    Stopped,
}

impl JobState {
    const ALL: [JobState; 7] = [
        JobState::Undefined,
        JobState::Pending,
        JobState::Queued,
        JobState::Running,
        JobState::Completed,
        JobState::Failed,
        JobState::Stopped,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Undefined => "Undefined",
            JobState::Pending => "Pending",
            JobState::Queued => "Queued",
            JobState::Running => "Running",
            JobState::Completed => "Completed",
            JobState::Failed => "Failed",
            JobState::Stopped => "Stopped",
        }
    }

    /// Completed, Failed and Stopped are final.
    pub fn is_terminal(self) -> bool {
        matches!(self, JobState::Completed | JobState::Failed | JobState::Stopped)
    }

    /// Reads the word in any case; unknown words are [`JobState::Undefined`].
    pub fn parse(text: &str) -> JobState {
        JobState::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(text)).unwrap_or_default()
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for JobState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for JobState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = JobState;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a job state")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<JobState, E> {
                Ok(JobState::parse(text))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// A job. The JSON order is Bacalhau 1.9's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Job {
    /// `j-<uuid4>`.
    #[serde(rename = "ID")]
    pub id: String,
    /// Unique in its namespace; the ID when the user gave none.
    pub name: String,
    /// Namespace, `default` unless set.
    pub namespace: String,
    /// See [`JobType`]; kept as text so that a wrong word can be reported.
    pub r#type: String,
    /// Higher first.
    pub priority: i64,
    /// Partitions; 0 for ops and daemon jobs.
    pub count: i64,
    /// Which nodes may run it.
    pub constraints: Vec<Requirement>,
    /// Free-form notes; keys under [`meta::PREFIX`] belong to the system.
    pub meta: BTreeMap<String, String>,
    /// Labels for `job list`.
    pub labels: BTreeMap<String, String>,
    /// Exactly one task once accepted.
    pub tasks: Vec<Task>,
    /// How a new version of a service or daemon replaces the old one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdatePolicy>,
    /// When it runs; without one, now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Jobs that have to end first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// State.
    pub state: State<JobState>,
    /// From 1, one more with every update and rerun.
    pub version: u64,
    /// From 1, one more with every stored change.
    pub revision: u64,
    /// Nanoseconds since 1970.
    pub create_time: i64,
    /// Nanoseconds since 1970.
    pub modify_time: i64,
}

impl Job {
    /// The type, if it is a known word.
    pub fn job_type(&self) -> Option<JobType> {
        JobType::parse(&self.r#type)
    }

    /// The task, if there is one.
    pub fn task(&self) -> Option<&Task> {
        self.tasks.first()
    }

    /// When this version was submitted, nanoseconds since 1970. `None` for a later version whose orchestrator did not note
    /// it yet.
    pub fn submitted_at(&self) -> Option<i64> {
        match self.version {
            0 | 1 => Some(self.create_time),
            _ => self.meta.get(meta::VERSION_TIME)?.parse().ok(),
        }
    }

    /// True in a final state.
    pub fn is_terminal(&self) -> bool {
        self.state.state_type.is_terminal()
    }
}
