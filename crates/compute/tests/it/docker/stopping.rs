//! Ends that somebody else decides: cancelled, timed out, removed, not wanted any more.

use super::daemon::shared;
use super::{node, sh};
use crate::support::{Node, in_time};
use bacalhau_compute::executor::{Failure, Finished, Phase, RunContext};
use bacalhau_compute::logs::{LogStart, ReadOptions};
use bacalhau_model::Execution;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Starts a run and waits until its process runs.
pub(super) async fn running(
    node: &Node,
    execution: Execution,
) -> (CancellationToken, JoinHandle<Result<Finished, Failure>>) {
    let cancel = CancellationToken::new();
    let (tell, mut told) = mpsc::channel(10);
    let phase = Arc::new(move |phase| {
        if phase == Phase::Running {
            tell.try_send(()).unwrap();
        }
    });
    let context = RunContext { cancel: cancel.clone(), phase };
    let executor = node.executor.clone();
    let mut task = tokio::spawn(async move { executor.run(Arc::new(execution), context).await });
    tokio::select! {
        _ = in_time(told.recv()) => {}
        ended = &mut task => panic!("it ended: {ended:?}"),
    }
    (cancel, task)
}

/// Waits until an execution has printed something.
pub(super) async fn has_printed(node: &Node, execution_id: &str) {
    let options = ReadOptions { start: LogStart::Beginning, follow: true };
    let mut reader = node.executor.logs().read(execution_id, options).unwrap().expect("a log");
    in_time(reader.next()).await.unwrap().expect("output");
}

const TERM: &str = "trap 'echo got TERM; exit 0' TERM; echo ready; while true; do sleep 0.05; done";
const DEAF: &str = "trap '' TERM; echo ready; while true; do sleep 0.05; done";

#[tokio::test]
async fn a_cancelled_run_gets_a_chance_and_its_last_words_are_logged() {
    let Some(daemon) = shared().await else { return };
    let (node, id) = node(&daemon).await;
    let execution = sh(TERM).execution();
    let execution_id = execution.id.clone();
    let (cancel, task) = running(&node, execution).await;
    has_printed(&node, &execution_id).await;
    cancel.cancel();
    let failure = in_time(task).await.unwrap().unwrap_err();
    assert!(failure.is_cancelled());
    assert_eq!(failure.run_output.unwrap().stdout, "ready\ngot TERM\n");
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());
}

#[tokio::test]
async fn who_does_not_listen_is_killed() {
    let Some(daemon) = shared().await else { return };
    let (node, id) = node(&daemon).await;
    let execution = sh(DEAF).execution();
    let execution_id = execution.id.clone();
    let (cancel, task) = running(&node, execution).await;
    has_printed(&node, &execution_id).await;
    cancel.cancel();
    assert!(in_time(task).await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_ended() {
    let Some(daemon) = shared().await else { return };
    let (node, id) = node(&daemon).await;
    let failure = node.run(sh("echo begun; sleep 600").timeout(1).execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "Execution timed out after 1s");
    assert_eq!(failure.run_output.unwrap().stdout, "begun\n");
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_container_that_somebody_removes_is_an_error_in_words() {
    let Some(daemon) = shared().await else { return };
    let (node, id) = node(&daemon).await;
    let (_cancel, task) = running(&node, sh("sleep 600").execution()).await;
    let name = daemon.leftovers(&id).await.pop().unwrap();
    let options = bollard::query_parameters::RemoveContainerOptionsBuilder::new().force(true).build();
    daemon.docker.remove_container(name.trim_start_matches('/'), Some(options)).await.unwrap();
    let failure = in_time(task).await.unwrap().unwrap_err();
    assert_eq!(failure.error.message, "the container was removed while it ran");
    assert!(failure.error.retryable);
}
