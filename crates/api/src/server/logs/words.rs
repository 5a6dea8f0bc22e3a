//! Why there is no output, or not yet, in words.

use crate::server::App;
use bacalhau_model::{ComputeState, Connection, Error, Execution, Job, Membership};

/// Why a node cannot be asked: which one, since when, and what can be done. To connect again at once would not help, so
/// clients are not asked to.
pub(super) async fn unreachable(app: &App, node_id: &str, error: Error) -> Error {
    let Ok(backend) = app.backend() else { return error };
    let node = match backend.node(node_id).await {
        Ok(node) if node.info.node_id == node_id => node,
        _ => {
            let message = format!("node {node_id} has left the cluster, and the logs on it are gone with it");
            return final_one(message, error).hint("Published results are still there: bacalhau job get");
        }
    };
    let link = &node.connection_state;
    if node.membership == Membership::Rejected {
        let message = format!("node {node_id} was rejected, so the logs on it cannot be read");
        return final_one(message, error)
            .hint(format!("To let it in again: bacalhau node approve {node_id}"));
    }
    if link.status == Connection::Connected {
        return error;
    }
    let since = match link.disconnected_since.is_zero() {
        true => String::new(),
        false => format!(" since {}", link.disconnected_since),
    };
    let why = match link.last_error.trim() {
        "" => String::new(),
        why => format!(" ({why})"),
    };
    let message =
        format!("node {node_id} is not connected{since}{why}, so the logs on it cannot be read now");
    final_one(message, error).hint(format!(
        "Start the node again or repair its connection (bacalhau node describe {node_id}), then try again; \
         published results can be fetched with bacalhau job get"
    ))
}

fn final_one(message: String, error: Error) -> Error {
    Error { message, retryable: false, ..error }
}

/// Why an execution that has not ended has no output.
pub(super) fn not_yet(execution: &Execution) -> String {
    let (id, node) = (&execution.id, &execution.node_id);
    let state = &execution.compute_state;
    let why = match state.message.trim() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    match state.state_type {
        ComputeState::Undefined
        | ComputeState::New
        | ComputeState::AskForBid
        | ComputeState::AskForBidAccepted => {
            format!("execution {id} on node {node} has not started yet ({}){why}", state.state_type)
        }
        _ => format!("execution {id} on node {node} has not printed anything yet ({})", state.state_type),
    }
}

/// Why an execution that has ended never ran, if it did not.
pub(super) fn never(execution: &Execution) -> Option<String> {
    let (id, node) = (&execution.id, &execution.node_id);
    let state = &execution.compute_state;
    let what = match state.state_type {
        ComputeState::AskForBidRejected => "refused it",
        ComputeState::BidRejected => "was not chosen in the end",
        _ => return None,
    };
    let why = match state.message.trim() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    Some(format!("execution {id} never started: node {node} {what}{why}"))
}

/// Where a job stands that has no executions.
pub(super) fn no_executions(job: &Job) -> String {
    let why = match job.state.message.trim() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    format!("job {} has no executions yet ({}){why}", job.id, job.state.state_type)
}

/// Whether the results of an execution are somewhere.
pub(super) fn is_published(execution: &Execution) -> bool {
    !execution.published_result.is_empty()
}
