//! Looks which engines are available, so that bids and the node's description follow when a daemon goes away or comes
//! back. Nothing waits for a look but the news of a failure that the engine itself is to blame for.

use super::driver::{Command, asked_to_stop};
use crate::engines::UNAVAILABLE;
use crate::executor::Executor;
use bacalhau_model::Error;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// Longest time for which the news of a failure is kept back until the orchestrator knows which engines there are.
const TELL_LIMIT: Duration = Duration::from_secs(3);

/// The engines that the orchestrator knows of; `None` while there is no connection.
pub(super) type Told = Option<Vec<String>>;

/// Looks until the node stops. The link learns of changes from the executor, the core from here.
pub(super) async fn watch(
    executor: Executor,
    commands: mpsc::Sender<Command>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut engines = executor.watch_engines();
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => executor.look_at_engines().await,
            Ok(()) = engines.changed() => {
                let names = engines.borrow_and_update().clone();
                if commands.send(Command::Engines(names)).await.is_err() {
                    return;
                }
            }
            () = asked_to_stop(&mut stopping) => return,
        }
    }
}

/// After an error that means that an engine is gone: looks at once, and waits until the orchestrator knows, so that the
/// next try is not wasted on this node. Returns at once after any other error.
pub(super) async fn tell_before(error: &Error, executor: &Executor, mut told: watch::Receiver<Told>) {
    if error.code != UNAVAILABLE {
        return;
    }
    executor.look_at_engines().await;
    // Without a connection the next handshake tells, before any report.
    let knows = told.wait_for(|told| told.as_ref().is_none_or(|names| *names == executor.engines()));
    if tokio::time::timeout(TELL_LIMIT, knows).await.is_err() {
        tracing::debug!("the orchestrator has not yet heard which engines are available");
    }
}
