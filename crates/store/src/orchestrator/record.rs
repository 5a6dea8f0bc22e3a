//! Records as compact JSON text. What is in columns anyway is left out.

use crate::error::StoreError;
use bacalhau_model::execution::Execution;
use bacalhau_model::state::State;
use bacalhau_model::{Event, HistoryType, Job, JobHistory, JobState, RunCommandResult, SpecConfig, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Encodes a record.
pub(super) fn encode<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

/// Decodes a record; an error names where it stands.
pub(super) fn decode<T: DeserializeOwned>(
    table: &'static str,
    key: &str,
    text: &str,
) -> Result<T, StoreError> {
    decode_with(table, || key.to_owned(), serde_json::from_str(text))
}

/// The same for what was decoded elsewhere.
pub(super) fn decode_with<T>(
    table: &'static str,
    key: impl FnOnce() -> String,
    decoded: Result<T, serde_json::Error>,
) -> Result<T, StoreError> {
    decoded.map_err(|e| StoreError::Corrupt { table, key: key(), error: e.to_string() })
}

/// The part of a job that a version fixes: everything but its state.
pub(super) fn spec_of(job: &Job) -> Job {
    Job { state: State::default(), revision: 0, modify_time: 0, ..job.clone() }
}

/// The part of a job that changes within a version.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Progress(JobState, String, BTreeMap<String, String>, u64, i64);

impl Progress {
    pub(super) fn of(job: &Job) -> Progress {
        let state = &job.state;
        Progress(
            state.state_type,
            state.message.clone(),
            state.details.clone(),
            job.revision,
            job.modify_time,
        )
    }

    pub(super) fn apply(self, job: &mut Job) {
        job.state = State { state_type: self.0, message: self.1, details: self.2 };
        job.revision = self.3;
        job.modify_time = self.4;
    }
}

/// An execution without what its columns and its job tell.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ExecutionRecord {
    #[serde(rename = "n")]
    node_id: String,
    #[serde(rename = "e", default, skip_serializing_if = "String::is_empty")]
    eval_id: String,
    #[serde(rename = "p", default, skip_serializing_if = "is_zero")]
    partition_index: i64,
    #[serde(rename = "t", default, skip_serializing_if = "is_not_known")]
    attempt: u64,
    #[serde(rename = "d")]
    desired: State<bacalhau_model::DesiredState>,
    #[serde(rename = "c")]
    compute: State<bacalhau_model::ComputeState>,
    #[serde(rename = "a", default, skip_serializing_if = "is_default")]
    allocated: bacalhau_model::AllocatedResources,
    #[serde(rename = "r", default, skip_serializing_if = "SpecConfig::is_empty")]
    published_result: SpecConfig,
    #[serde(rename = "o", default, skip_serializing_if = "is_default")]
    run_output: RunCommandResult,
    #[serde(rename = "s", default, skip_serializing_if = "is_zero")]
    start_time: i64,
    #[serde(rename = "v")]
    revision: u64,
    #[serde(rename = "m")]
    modify_time: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn is_not_known(attempt: &u64) -> bool {
    *attempt == 0
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ExecutionRecord {
    pub(super) fn of(execution: &Execution) -> ExecutionRecord {
        ExecutionRecord {
            node_id: execution.node_id.clone(),
            eval_id: execution.eval_id.clone(),
            partition_index: execution.partition_index,
            attempt: execution.attempt,
            desired: execution.desired_state.clone(),
            compute: execution.compute_state.clone(),
            allocated: execution.allocated_resources.clone(),
            published_result: execution.published_result.clone(),
            run_output: execution.run_output.clone(),
            start_time: execution.start_time,
            revision: execution.revision,
            modify_time: execution.modify_time,
        }
    }

    /// The execution again; `id`, `job_id`, `namespace`, `version` and `create_time` come from columns.
    pub(super) fn into_execution(self, known: Execution) -> Execution {
        Execution {
            node_id: self.node_id,
            eval_id: self.eval_id,
            partition_index: self.partition_index,
            attempt: self.attempt,
            desired_state: self.desired,
            compute_state: self.compute,
            allocated_resources: self.allocated,
            published_result: self.published_result,
            run_output: self.run_output,
            start_time: self.start_time,
            revision: self.revision,
            modify_time: self.modify_time,
            ..known
        }
    }
}

/// A line of history: type, version, execution, topic, message, when it happened, details, when it was recorded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HistoryRecord(
    HistoryType,
    u64,
    String,
    String,
    String,
    Time,
    BTreeMap<String, String>,
    i64,
);

impl HistoryRecord {
    pub(super) fn of(line: &JobHistory) -> HistoryRecord {
        let event = &line.event;
        HistoryRecord(
            line.r#type,
            line.job_version,
            line.execution_id.clone(),
            event.topic.clone(),
            event.message.clone(),
            event.timestamp,
            event.details.clone(),
            line.time.unix_nanos(),
        )
    }

    pub(super) fn into_line(self, job_id: String, seq_num: u64) -> JobHistory {
        JobHistory {
            seq_num,
            r#type: self.0,
            job_id,
            job_version: self.1,
            execution_id: self.2,
            event: Event { topic: self.3, message: self.4, timestamp: self.5, details: self.6 },
            time: Time::from_unix_nanos(self.7),
        }
    }
}
