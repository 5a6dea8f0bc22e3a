//! What runs right now: probes and executions, each in a task of its own that reports back to the driver.
//!
//! None waits for another: a registry that does not answer delays only those who ask it. Probes are bounded in number
//! and time, and end when nobody wants to know any more.

use super::driver::Command;
use super::engines::{Told, tell_before};
use super::phases::Phases;
use crate::core::{Declined, Failed, Finished, Start};
use crate::executor::{Ending, Executor, Phase, Resume, RunContext};
use crate::metrics::Metrics;
use bacalhau_model::error::code;
use bacalhau_model::event::topic;
use bacalhau_model::{Error, Execution};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Probes at the same time; further ones wait.
const MOST_PROBES: usize = 256;
/// A probe that takes longer could not find out. Well below the two minutes after which an orchestrator gives up.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
/// Runs get this long to end when the node stops.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How to end one of them.
struct Running {
    cancel: CancellationToken,
    leave: CancellationToken,
    /// The next life of the node can go on with it.
    lasts: bool,
}

/// Executions that the next life of the node can go on with. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Lasting(Arc<Mutex<BTreeSet<String>>>);

impl Lasting {
    /// The first `most` of them.
    pub(super) fn list(&self, most: usize) -> Vec<String> {
        self.lock().iter().take(most).cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Runs {
    executor: Executor,
    commands: mpsc::Sender<Command>,
    running: HashMap<String, Running>,
    probing: HashMap<String, CancellationToken>,
    probes: Arc<Semaphore>,
    tasks: TaskTracker,
    lasting: Lasting,
    /// The engines that the orchestrator knows of.
    told: watch::Receiver<Told>,
}

impl Runs {
    pub(super) fn new(
        executor: Executor,
        commands: mpsc::Sender<Command>,
        told: watch::Receiver<Told>,
    ) -> Runs {
        Runs {
            told,
            executor,
            commands,
            running: HashMap::new(),
            probing: HashMap::new(),
            probes: Arc::new(Semaphore::new(MOST_PROBES)),
            tasks: TaskTracker::new(),
            lasting: Lasting::default(),
        }
    }

    /// What the next life of the node can go on with.
    pub(super) fn lasting(&self) -> Lasting {
        self.lasting.clone()
    }

    /// The task has ended and its results are complete: to publish them is all that is left, and can be done later.
    pub(super) fn publishing(&mut self, execution_id: &str) {
        if let Some(running) = self.running.get_mut(execution_id)
            && !std::mem::replace(&mut running.lasts, true)
        {
            self.lasting.lock().insert(execution_id.to_owned());
        }
    }

    /// What happened so far, in figures.
    pub(super) fn metrics(&self) -> &Metrics {
        self.executor.metrics()
    }

    /// Finds out what only IO can tell about an execution.
    pub(super) fn probe(&mut self, execution: Arc<Execution>) {
        let (executor, commands, told) = (self.executor.clone(), self.commands.clone(), self.told.clone());
        let (cancel, permits) = (CancellationToken::new(), Arc::clone(&self.probes));
        self.probing.insert(execution.id.clone(), cancel.clone());
        self.tasks.spawn(async move {
            let look = async {
                // The semaphore is never closed; without a permit there would only be more probes than meant.
                let _permit = permits.acquire_owned().await;
                let found = tokio::time::timeout(PROBE_LIMIT, executor.probe(&execution)).await;
                let found = found.unwrap_or_else(|_| Err(too_slow()));
                if let Err(error) = &found {
                    tell_before(error, &executor, told).await;
                }
                found
            };
            let result = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                result = look => result.map(|p| p.disk_bytes).map_err(declined),
            };
            let command = Command::Probed { execution_id: execution.id.clone(), result };
            // An error means that the driver is gone and nobody wants to know.
            let _ = commands.send(command).await;
        });
    }

    /// A probe came to its end.
    pub(super) fn probed(&mut self, execution_id: &str) {
        self.probing.remove(execution_id);
    }

    /// Runs an execution.
    pub(super) fn start(&mut self, execution: Arc<Execution>, start: Start) {
        let id = execution.id.clone();
        let (cancel, leave) = (CancellationToken::new(), CancellationToken::new());
        let lasts = self.executor.outlives_the_node(&execution);
        if lasts {
            self.lasting.lock().insert(id.clone());
        }
        let running = Running { cancel: cancel.clone(), leave: leave.clone(), lasts };
        self.running.insert(id.clone(), running);
        let (executor, commands, told) = (self.executor.clone(), self.commands.clone(), self.told.clone());
        self.tasks.spawn(async move {
            let phases = Phases::default();
            let teller = phases.clone();
            let context = RunContext { cancel, phase: Arc::new(move |phase| teller.tell(phase)) };
            let resume = Resume { start, leave };
            let run = async {
                let ending = executor.run_from(execution, context, resume).await;
                if let Ending::Failed(failure) = &ending {
                    tell_before(&failure.error, &executor, told).await;
                }
                ending
            };
            let mut run = std::pin::pin!(run);
            let ending = loop {
                tokio::select! {
                    biased;
                    ending = &mut run => break ending,
                    phase = phases.next() => {
                        // An error means that the driver is gone and nobody wants to know.
                        let _ = commands.send(reached(&id, phase)).await;
                    }
                }
            };
            let command = match ending {
                Ending::Finished(done) => {
                    let (run_output, published_result) = (done.run_output, done.published_result);
                    Command::finished(id, Ok(Finished { run_output, published_result }))
                }
                Ending::Failed(failure) => Command::finished(
                    id,
                    Err(Failed {
                        topic: failure.topic.to_owned(),
                        error: *failure.error,
                        run_output: failure.run_output.map(|output| *output),
                    }),
                ),
                Ending::Gone => Command::Gone { execution_id: id },
                // The next life of the node goes on with it.
                Ending::Left => return,
            };
            // An error means that the driver is gone and nobody wants to know.
            let _ = commands.send(command).await;
        });
    }

    /// Ends a run or a probe; the end of a run is reported as usual. Whoever waits for the output of one that never
    /// started stops waiting.
    pub(super) fn cancel(&mut self, execution_id: &str) {
        if let Some(probe) = self.probing.remove(execution_id) {
            probe.cancel();
        }
        match self.running.get(execution_id) {
            Some(running) => running.cancel.cancel(),
            None => self.executor.logs().end(execution_id),
        }
    }

    /// A run came to its end, or will not begin. Also ends readers that began to wait for output after the last of it
    /// had been written and before the core knew.
    pub(super) fn ended(&mut self, execution_id: &str) {
        if self.running.remove(execution_id).is_some_and(|running| running.lasts) {
            self.lasting.lock().remove(execution_id);
        }
        self.executor.logs().end(execution_id);
    }

    /// Ends everything, or leaves what the next life of the node can go on with, and waits until that is done. Nobody
    /// reads the reports any more.
    pub(super) async fn stop(&mut self, leaves_tasks: bool) {
        self.probing.values().for_each(CancellationToken::cancel);
        for running in self.running.values() {
            if leaves_tasks { running.leave.cancel() } else { running.cancel.cancel() }
        }
        self.tasks.close();
        if tokio::time::timeout(STOP_LIMIT, self.tasks.wait()).await.is_err() {
            tracing::warn!("executions did not end within {STOP_LIMIT:?}");
        }
    }
}

fn reached(id: &str, phase: Phase) -> Command {
    let execution_id = id.to_owned();
    match phase {
        Phase::Downloading(text) => {
            Command::Preparing { execution_id, topic: topic::DOWNLOADING_INPUTS, text }
        }
        Phase::Preparing(text) => {
            Command::Preparing { execution_id, topic: topic::PREPARING_ENVIRONMENT, text }
        }
        Phase::Running => Command::Started { execution_id },
        Phase::Publishing => Command::Publishing { execution_id },
    }
}

fn too_slow() -> Error {
    let seconds = PROBE_LIMIT.as_secs();
    Error::new(code::TIME_OUT, format!("could not find out within {seconds} s whether the node can run this"))
        .hint("A registry, a server of inputs or a probe of the node answers too slowly")
        .retryable()
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
