//! Events and history: what happened to a job and its executions, in words that users see.

use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Topics, the word before each event in `job history`.
pub mod topic {
    /// A job was submitted, updated or rerun.
    pub const SUBMISSION: &str = "Submission";
    /// A job changed state.
    pub const STATE_UPDATE: &str = "State Update";
    /// A scheduling decision.
    pub const SCHEDULING: &str = "Scheduling";
    /// A job waits.
    pub const QUEUEING: &str = "Queueing";
    /// An execution took too long.
    pub const EXEC_TIMEOUT: &str = "Exec Timeout";
    /// A job took too long.
    pub const JOB_TIMEOUT: &str = "Job Timeout";
    /// Progress of an execution.
    pub const EXECUTION: &str = "Execution";
    /// The compute node looked at a bid.
    pub const EXEC_SCANNING: &str = "Exec Scanning";
    /// The compute node fetches inputs.
    pub const DOWNLOADING_INPUTS: &str = "Downloading Inputs";
    /// The compute node queues or prepares an execution.
    pub const PREPARING_ENVIRONMENT: &str = "Preparing Environment";
    /// The engine runs.
    pub const RUNNING_EXECUTION: &str = "Running Execution";
    /// Results are published.
    pub const PUBLISHING_RESULTS: &str = "Publishing Results";
}

/// Keys of [`Event::details`] that clients understand.
pub mod detail {
    /// `"true"` when the event is an error.
    pub const IS_ERROR: &str = "IsError";
    /// What the user can do about it.
    pub const HINT: &str = "Hint";
    /// `"true"` when trying again may help.
    pub const RETRYABLE: &str = "Retryable";
    /// `"true"` when the event ends the execution.
    pub const FAILS_EXECUTION: &str = "FailsExecution";
    /// The job state entered.
    pub const NEW_STATE: &str = "NewState";
    /// `component:code` of the error.
    pub const ERROR_CODE: &str = "ErrorCode";
    /// Why a user or the scheduler did it.
    pub const REASON: &str = "Reason";
    /// Full ID of the node concerned.
    pub const NODE_ID: &str = "NodeID";
    /// On an execution that was given up because its node disappeared: `running` or `asked`, as it was before.
    pub const NODE_LOST: &str = "NodeLost";
    /// `"true"` on a job of which an execution keeps failing.
    pub const CRASH_LOOP: &str = "CrashLoop";
    /// How far a rolling update is: of a job's state, `REPLACED/ALL`; of an event, `started`, `finished` or `failed`.
    pub const ROLLOUT: &str = "Rollout";
}

/// One thing that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Event {
    /// Text for people.
    pub message: String,
    /// One of [`topic`], or an engine's own word.
    pub topic: String,
    /// When it happened, by the clock of who saw it.
    pub timestamp: Time,
    /// See [`detail`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl Event {
    /// An event without details.
    pub fn new(topic: &str, message: impl Into<String>, at: Time) -> Event {
        Event { message: message.into(), topic: topic.to_owned(), timestamp: at, details: BTreeMap::new() }
    }

    /// The same event with one more detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Event {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// An error as an event: message, hint, code and marks become details.
    pub fn from_error(topic: &str, error: &crate::Error, at: Time) -> Event {
        let mut event = Event::new(topic, error.message.clone(), at).with(detail::IS_ERROR, "true");
        if !error.hint.is_empty() {
            event = event.with(detail::HINT, error.hint.clone());
        }
        if !error.code.is_empty() {
            event = event.with(detail::ERROR_CODE, format!("{}:{}", error.component, error.code));
        }
        if error.retryable {
            event = event.with(detail::RETRYABLE, "true");
        }
        if error.fails_execution {
            event = event.with(detail::FAILS_EXECUTION, "true");
        }
        for (key, value) in &error.details {
            event.details.entry(key.clone()).or_insert_with(|| value.clone());
        }
        event
    }

    /// True when the event reports an error.
    pub fn is_error(&self) -> bool {
        self.details.get(detail::IS_ERROR).is_some_and(|v| v == "true")
    }
}

/// Whether a history record concerns the job or one of its executions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HistoryType {
    /// Not known.
    #[default]
    Undefined,
    /// The job as a whole.
    JobLevel,
    /// One execution.
    ExecutionLevel,
}

/// One line of a job's history. Sequence numbers count from 1 without gaps, per job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JobHistory {
    /// Position in the job's history, from 1.
    pub seq_num: u64,
    /// Job or execution.
    pub r#type: HistoryType,
    /// The job.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// The job's version at that time.
    pub job_version: u64,
    /// The execution, empty for job-level records.
    #[serde(rename = "ExecutionID", skip_serializing_if = "String::is_empty")]
    pub execution_id: String,
    /// What happened.
    pub event: Event,
    /// When it was recorded, UTC.
    pub time: Time,
}
