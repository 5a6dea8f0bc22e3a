//! The ask in a shape that every compute node understands, and whether it can travel at all.
//!
//! Nodes of Bacalhau 1.9 silently drop an ask that breaks one of their rules, and end their process on some. What can
//! be put right without changing the work is put right here; the rest is the business of job validation.

use super::ask_for_bid;
use crate::data;
use crate::subjects::MAX_NODE_ID;
use bacalhau_model::error::code;
use bacalhau_model::{
    AllocatedResources, ComputeState, Error, Execution, Job, NetworkType, RunCommandResult, SpecConfig, State,
};
use std::sync::Arc;

/// Room for what differs between the copy that is measured and the one that is sent: other IDs and numbers.
const MARGIN: usize = 1024;

/// The execution as it may be sent: network type `Host` under its old name `Full`, no network section for the
/// default, a state and a revision that a node accepts, a namespace, and nothing that only the orchestrator needs and
/// that would make the message longer than it was when the job was submitted.
pub fn sanitized(mut execution: Execution) -> Execution {
    if execution.compute_state.state_type != ComputeState::BidAccepted {
        execution.compute_state = State::new(ComputeState::New);
    }
    execution.revision = 1;
    execution.start_time = 0;
    execution.run_output = RunCommandResult::default();
    execution.published_result = SpecConfig::default();
    execution.allocated_resources = AllocatedResources::default();
    let Some(job) = &mut execution.job else { return execution };
    if execution.namespace.trim().is_empty() {
        execution.namespace.clone_from(&job.namespace);
    }
    if !(job.state.message.is_empty() && job.state.details.is_empty()) {
        let state = job.state.state_type;
        Arc::make_mut(job).state = State::new(state);
    }
    if needs_old_network_names(job) {
        for task in &mut Arc::make_mut(job).tasks {
            match task.network.as_mut() {
                Some(network) if network.r#type == NetworkType::Host => network.r#type = NetworkType::Full,
                Some(network) if network.r#type == NetworkType::Default => task.network = None,
                _ => {}
            }
        }
    }
    execution
}

fn needs_old_network_names(job: &Job) -> bool {
    let new = [NetworkType::Host, NetworkType::Default];
    job.tasks.iter().any(|task| task.network.as_ref().is_some_and(|network| new.contains(&network.r#type)))
}

/// Whether an ask for this job fits into one message, headers and body together. Called when a job is submitted, so
/// that no node's messages are ever held up by one that cannot be sent.
///
/// `max_payload` is the server's limit in bytes.
pub fn check_fits(job: &Job, max_payload: usize) -> Result<(), Error> {
    let node_id = "x".repeat(MAX_NODE_ID);
    let execution = Execution {
        id: "x".repeat(38),
        eval_id: "x".repeat(38),
        namespace: job.namespace.clone(),
        node_id: node_id.clone(),
        job_id: job.id.clone(),
        job: Some(Arc::new(job.clone())),
        ..Execution::default()
    };
    let message = data::to_node(&node_id, u64::MAX, i64::MAX, &ask_for_bid(execution))
        .map_err(|e| Error::new(code::INTERNAL_ERROR, format!("measuring job {}: {e}", job.name)))?;
    let size = message.size() + MARGIN;
    if size <= max_payload {
        return Ok(());
    }
    Err(Error::new(
        code::BAD_REQUEST,
        format!("job is too large: it needs {size} bytes to reach a compute node, at most {max_payload} fit"),
    )
    .hint("Move large inline inputs or parameters to a source that nodes fetch themselves (urlDownload, s3, localDirectory)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::execution::DesiredState;
    use bacalhau_model::{JobState, NetworkConfig, Resources, Task, json};

    fn execution(network: Option<NetworkType>) -> Execution {
        let network = network.map(|kind| NetworkConfig { r#type: kind, ..NetworkConfig::default() });
        let task = Task { name: "main".into(), network, ..Task::default() };
        let job = Job { id: "j-1".into(), namespace: "ns".into(), tasks: vec![task], ..Job::default() };
        Execution { id: "e-1".into(), job: Some(Arc::new(job)), revision: 9, ..Execution::default() }
    }

    fn network(execution: &Execution) -> Option<NetworkType> {
        execution.job.as_ref()?.task()?.network.as_ref().map(|n| n.r#type)
    }

    #[test]
    fn old_nodes_get_the_network_names_they_know() {
        for (given, sent) in [
            (None, None),
            (Some(NetworkType::Default), None),
            (Some(NetworkType::Host), Some(NetworkType::Full)),
            (Some(NetworkType::Full), Some(NetworkType::Full)),
            (Some(NetworkType::Bridge), Some(NetworkType::Bridge)),
        ] {
            assert_eq!(network(&sanitized(execution(given))), sent, "{given:?}");
        }
    }

    #[test]
    fn what_a_node_insists_on_is_there() {
        let mut execution = execution(None);
        execution.compute_state = State::with_message(ComputeState::AskForBid, "x");
        execution.desired_state = State::new(DesiredState::Running);
        execution.run_output.stdout = "old".into();
        let before = Arc::clone(execution.job.as_ref().unwrap());
        let sent = sanitized(execution);
        assert_eq!((sent.compute_state.state_type, sent.revision), (ComputeState::New, 1));
        assert_eq!((sent.namespace.as_str(), sent.run_output.stdout.as_str()), ("ns", ""));
        assert_eq!(sent.desired_state.state_type, DesiredState::Running);
        assert!(Arc::ptr_eq(sent.job.as_ref().unwrap(), &before), "copied the job without need");
        assert!(json::to_string(&sent).unwrap().contains(r#""Meta":{}"#));
    }

    #[test]
    fn what_the_orchestrator_notes_later_does_not_travel() {
        let mut execution = execution(None);
        let mut job = (**execution.job.as_ref().unwrap()).clone();
        job.state = State::with_message(JobState::Queued, "x".repeat(5000));
        execution.job = Some(Arc::new(job));
        execution.allocated_resources.tasks.insert("main".into(), Resources::default());
        let sent = sanitized(execution);
        assert_eq!(sent.job.unwrap().state, State::new(JobState::Queued));
        assert!(sent.allocated_resources.tasks.is_empty());
    }

    #[test]
    fn the_limit_is_exact_to_the_margin() {
        let mut job = (**execution(None).job.as_ref().unwrap()).clone();
        assert!(check_fits(&job, 1 << 20).is_ok());
        job.meta.insert("k".into(), "v".repeat(1 << 20));
        let error = check_fits(&job, 1 << 20).unwrap_err();
        assert!(error.message.contains("at most 1048576 fit"), "{}", error.message);
        assert_eq!(error.http_status(), 400);
        job.meta.insert("k".into(), "v".repeat((1 << 20) - 2 * MARGIN - 5 * MAX_NODE_ID - 4096));
        assert!(check_fits(&job, 1 << 20).is_ok());
    }
}
