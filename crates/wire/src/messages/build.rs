//! Makes messages from an execution's present state.

use super::ask::sanitized;
use super::{
    AskForBid, BidAccepted, BidRejected, BidResult, CancelExecution, ComputeError, ExecutionProgress,
    NodeMessage, OrchestratorMessage, RunResult,
};
use bacalhau_model::execution::ComputeState;
use bacalhau_model::{Event, Execution};

/// Asks a node for a bid, in a shape that every node understands (see [`sanitized`]). The job must be inside.
pub fn ask_for_bid(execution: Execution) -> OrchestratorMessage {
    let ask = AskForBid { events: None, execution: Some(sanitized(execution)) };
    OrchestratorMessage::AskForBid(Box::new(ask))
}

/// Tells a node to run what it bid for.
pub fn bid_accepted(execution_id: &str) -> OrchestratorMessage {
    let execution_id = execution_id.to_owned();
    OrchestratorMessage::BidAccepted(BidAccepted { events: None, execution_id, accepted: true })
}

/// Turns a bid down. Nodes of Bacalhau 1.9 understand it, its orchestrators cancel instead.
pub fn bid_rejected(execution_id: &str, reason: Event) -> OrchestratorMessage {
    let execution_id = execution_id.to_owned();
    OrchestratorMessage::BidRejected(BidRejected { events: Some(vec![reason]), execution_id })
}

/// Stops an execution.
pub fn cancel_execution(execution_id: &str, reason: Event) -> OrchestratorMessage {
    let execution_id = execution_id.to_owned();
    OrchestratorMessage::CancelExecution(CancelExecution { events: Some(vec![reason]), execution_id })
}

/// ID of the execution, ID and type of its job: what every report starts with.
fn subject_of(execution: &Execution) -> (String, String, String) {
    let job_type = execution.job.as_ref().map(|job| job.r#type.clone()).unwrap_or_default();
    (execution.id.clone(), execution.job_id.clone(), job_type)
}

/// Answers an ask. `events` say why not.
pub fn bid_result(execution: &Execution, accepted: bool, events: Option<Vec<Event>>) -> NodeMessage {
    let (execution_id, job_id, job_type) = subject_of(execution);
    NodeMessage::BidResult(BidResult { execution_id, job_id, job_type, events, accepted })
}

/// Reports the end of a run, with the execution's output and published result.
pub fn run_result(execution: &Execution, events: Option<Vec<Event>>) -> NodeMessage {
    let (execution_id, job_id, job_type) = subject_of(execution);
    NodeMessage::RunResult(RunResult {
        execution_id,
        job_id,
        job_type,
        events,
        publish_result: Some(execution.published_result.clone()),
        run_command_result: Some(execution.run_output.clone()),
    })
}

/// Reports a failure; `event` says what failed.
pub fn compute_error(execution: &Execution, event: Event) -> NodeMessage {
    let (execution_id, job_id, job_type) = subject_of(execution);
    NodeMessage::ComputeError(ComputeError { execution_id, job_id, job_type, events: Some(vec![event]) })
}

/// Reports how far an execution is. `running_for` in nanoseconds; see [`ExecutionProgress`].
pub fn execution_progress(
    execution: &Execution,
    state: ComputeState,
    running_for: i64,
    events: Vec<Event>,
) -> NodeMessage {
    let (execution_id, job_id, job_type) = subject_of(execution);
    let events = (!events.is_empty()).then_some(events);
    NodeMessage::Progress(ExecutionProgress { execution_id, job_id, job_type, state, running_for, events })
}
