//! What runs right now: probes and executions, each in a task of its own that reports back to the driver.

use super::driver::Command;
use crate::core::{Declined, Failed, Finished};
use crate::executor::{Executor, Phase, RunContext};
use bacalhau_model::{Error, Execution};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) struct Runs {
    executor: Executor,
    commands: mpsc::Sender<Command>,
    cancels: HashMap<String, CancellationToken>,
    tasks: TaskTracker,
}

impl Runs {
    pub(super) fn new(executor: Executor, commands: mpsc::Sender<Command>) -> Runs {
        Runs { executor, commands, cancels: HashMap::new(), tasks: TaskTracker::new() }
    }

    /// Finds out what only IO can tell about an execution.
    pub(super) fn probe(&self, execution: Arc<Execution>) {
        let (executor, commands) = (self.executor.clone(), self.commands.clone());
        self.tasks.spawn(async move {
            let result = executor.probe(&execution).await.map(|p| p.disk_bytes).map_err(declined);
            let command = Command::Probed { execution_id: execution.id.clone(), result };
            // An error means that the driver is gone and nobody wants to know.
            let _ = commands.send(command).await;
        });
    }

    /// Runs an execution.
    pub(super) fn start(&mut self, execution: Arc<Execution>) {
        let id = execution.id.clone();
        let cancel = CancellationToken::new();
        self.cancels.insert(id.clone(), cancel.clone());
        let (executor, commands) = (self.executor.clone(), self.commands.clone());
        let (phases, phase_id) = (commands.clone(), id.clone());
        self.tasks.spawn(async move {
            let phase = move |phase| {
                if phase == Phase::Publishing {
                    // Only news: when the queue is full the end of the run says enough.
                    let _ = phases.try_send(Command::Publishing { execution_id: phase_id.clone() });
                }
            };
            let context = RunContext { cancel, phase: Arc::new(phase) };
            let result = match executor.run(execution, context).await {
                Ok(done) => {
                    Ok(Finished { run_output: done.run_output, published_result: done.published_result })
                }
                Err(failure) => Err(Failed {
                    topic: failure.topic.to_owned(),
                    error: *failure.error,
                    run_output: failure.run_output.map(|output| *output),
                }),
            };
            // An error means that the driver is gone and nobody wants to know.
            let _ = commands.send(Command::Finished { execution_id: id, result: Box::new(result) }).await;
        });
    }

    /// Ends a run; its end is reported as usual. Whoever waits for the output of one that never started stops waiting.
    pub(super) fn cancel(&mut self, execution_id: &str) {
        match self.cancels.get(execution_id) {
            Some(cancel) => cancel.cancel(),
            None => self.executor.logs().end(execution_id),
        }
    }

    /// A run came to its end, or will not begin. Also ends readers that began to wait for output after the last of it
    /// had been written and before the core knew.
    pub(super) fn ended(&mut self, execution_id: &str) {
        self.cancels.remove(execution_id);
        self.executor.logs().end(execution_id);
    }

    /// Ends everything and waits until it has ended. Nobody reads the reports any more.
    pub(super) async fn cancel_all(&mut self) {
        self.cancels.values().for_each(CancellationToken::cancel);
        self.tasks.close();
        let limit = std::time::Duration::from_secs(10);
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!("executions did not end within {limit:?}");
        }
    }
}

/// What a node cannot do is a refusal. What it could not find out, and what is wrong with the job whatever the node, is
/// an error.
fn declined(error: Error) -> Declined {
    if error.retryable || error.fails_execution {
        Declined::Error(error)
    } else {
        Declined::Refused(error.message)
    }
}
