//! Removes what nobody will ask for any more: old logs and old published results. The disk of a node is bounded.

use crate::executor::Executor;
use std::time::Duration;
use tokio::sync::watch;

/// Longest time between two looks. Shorter where logs are kept for less than ten times that.
const INTERVAL: Duration = Duration::from_secs(600);
const SHORTEST: Duration = Duration::from_secs(1);

/// Tidies at once and from time to time, until the node stops.
pub(super) async fn run(executor: Executor, mut stopping: watch::Receiver<bool>) {
    let interval = (executor.log_age() / 10).clamp(SHORTEST, INTERVAL);
    loop {
        let tidied = executor.clone();
        let work = move || tidied.tidy();
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "removed old logs and results"),
            Ok(Err(error)) => tracing::warn!(%error, "old logs and results could not be removed"),
            Err(error) => tracing::error!(%error, "removing old logs and results ended abnormally"),
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            stopped = stopping.wait_for(|stop| *stop) => {
                // An error means that the node is gone, which is a stop as well.
                drop(stopped);
                return;
            }
        }
    }
}
