//! Removes what nobody will ask for any more: old logs and old published results. The disk of a node is bounded.

use crate::executor::Executor;
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(600);
/// Logs are kept this long after their last line.
const LOG_AGE: Duration = Duration::from_secs(24 * 3600);

/// Tidies at once and from time to time, until the node stops.
pub(super) async fn run(executor: Executor, mut stopping: watch::Receiver<bool>) {
    loop {
        let tidied = executor.clone();
        let work = move || tidied.tidy(LOG_AGE);
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "removed old logs and results"),
            Ok(Err(error)) => tracing::warn!(%error, "old logs and results could not be removed"),
            Err(error) => tracing::error!(%error, "removing old logs and results ended abnormally"),
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            stopped = stopping.wait_for(|stop| *stop) => {
                // An error means that the node is gone, which is a stop as well.
                drop(stopped);
                return;
            }
        }
    }
}
