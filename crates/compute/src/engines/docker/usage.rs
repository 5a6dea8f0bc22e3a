//! What a container writes into its own file system, which Docker keeps: counted where the execution has a disk limit.

use super::daemon::Connected;
use crate::executor::WorkFolder;
use bollard::query_parameters::InspectContainerOptionsBuilder;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(3);
/// A look may take this part of the time at most: Docker walks through all that was written.
const SHARE: u32 = 20;

/// Counts until it is dropped.
pub(super) fn count(
    daemon: Arc<Connected>,
    container: String,
    work: Arc<WorkFolder>,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut pause = INTERVAL;
        loop {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            let options = InspectContainerOptionsBuilder::new().size(true).build();
            match daemon.docker.inspect_container(&container, Some(options)).await {
                Ok(found) => {
                    let bytes = found.size_rw.and_then(|bytes| u64::try_from(bytes).ok());
                    bytes.into_iter().for_each(|bytes| work.wrote_elsewhere(bytes));
                }
                // Whoever waits for its end hears of it, too.
                Err(error) => tracing::debug!(container, %error, "a container cannot be measured"),
            }
            pause = INTERVAL.max(began.elapsed() * SHARE);
        }
    }))
}
