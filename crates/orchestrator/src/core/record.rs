//! Writes down what happens to a job: its state, its executions and its history. No decisions here.

use super::entry::JobEntry;
use super::io::Output;
use super::live::Live;
use bacalhau_model::event::{detail, topic};
use bacalhau_model::state::State;
use bacalhau_model::{Event, HistoryType, JobHistory, JobState, Time};
use bacalhau_store::orchestrator::Change;
use std::sync::Arc;

/// Adds a job-level line to the history.
pub(crate) fn job_event<T>(entry: &mut JobEntry, event: Event, now: i64, out: &mut Output<T>) {
    history(entry, HistoryType::JobLevel, String::new(), event, now, out);
}

/// Adds an execution-level line to the history.
pub(crate) fn execution_event<T>(
    entry: &mut JobEntry,
    execution_id: &str,
    event: Event,
    now: i64,
    out: &mut Output<T>,
) {
    history(entry, HistoryType::ExecutionLevel, execution_id.to_owned(), event, now, out);
}

fn history<T>(
    entry: &mut JobEntry,
    r#type: HistoryType,
    execution_id: String,
    event: Event,
    now: i64,
    out: &mut Output<T>,
) {
    let seq_num = entry.next_history_seq;
    entry.next_history_seq += 1;
    out.changes.push(Change::AppendHistory(JobHistory {
        seq_num,
        r#type,
        job_id: entry.job.id.clone(),
        job_version: entry.job.version,
        execution_id,
        event,
        time: Time::from_unix_nanos(now),
    }));
}

/// Sets the job's state and stores it, without a line in the history. How far a rolling update is stays with the state
/// until it is over: a restart knows the update by it.
pub(crate) fn set_state<T>(entry: &mut JobEntry, mut state: State<JobState>, now: i64, out: &mut Output<T>) {
    if let Some(progress) = entry.job.state.details.get(detail::ROLLOUT)
        && entry.previous.is_some()
        && !state.state_type.is_terminal()
    {
        state.details.entry(detail::ROLLOUT.to_owned()).or_insert_with(|| progress.clone());
    }
    let job = Arc::make_mut(&mut entry.job);
    job.state = state;
    job.revision += 1;
    job.modify_time = now;
    out.changes.push(Change::PutJob(Arc::clone(&entry.job)));
}

/// Sets the job's state and says so in the history.
pub(crate) fn enter_state<T>(
    entry: &mut JobEntry,
    state: JobState,
    message: &str,
    now: i64,
    out: &mut Output<T>,
) {
    set_state(entry, State::with_message(state, message), now, out);
    let event = Event::new(topic::STATE_UPDATE, state.as_str(), Time::from_unix_nanos(now))
        .with(detail::NEW_STATE, state.as_str());
    job_event(entry, event, now, out);
}

/// The job has something running: Pending and Queued become Running.
pub(crate) fn running<T>(entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
    if matches!(entry.job.state.state_type, JobState::Pending | JobState::Queued) {
        enter_state(entry, JobState::Running, "", now, out);
    }
}

/// Stores an execution after a change.
pub(crate) fn put_execution<T>(live: &mut Live, now: i64, out: &mut Output<T>) {
    let execution = live.execution_mut();
    execution.revision += 1;
    execution.modify_time = now;
    out.changes.push(Change::PutExecution { execution: Arc::clone(&live.execution), pending: live.pending });
}

/// An event that reports a scheduling decision about an execution.
pub(crate) fn scheduling(message: impl Into<String>, now: i64) -> Event {
    Event::new(topic::SCHEDULING, message, Time::from_unix_nanos(now))
}
