//! Looks which engines are available, so that bids and the node's description follow when a daemon goes away or comes
//! back. Nothing ever waits for a look.

use super::driver::{Command, asked_to_stop};
use crate::executor::Executor;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);

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
