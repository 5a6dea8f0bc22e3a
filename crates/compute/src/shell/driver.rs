//! The one task that owns the compute node's core.
//!
//! It steps whatever waits, hands the changes to the store, and releases the effects of each batch when that batch is
//! on disk. Batches are pipelined and bounded: while too many are on their way to the disk, nothing new is taken in.

use super::runs::Runs;
use crate::core::{Core, Declined, Effect, Failed, Finished, Input, Output};
use bacalhau_model::error::code;
use bacalhau_model::{Error, Resources};
use bacalhau_store::compute::{Change, PendingReport};
use bacalhau_store::{Committed, Pipeline, StoreError, Writer};
use bacalhau_wire::data;
use bacalhau_wire::delivery::Outbox;
use bacalhau_wire::messages::OrchestratorMessage;
use bacalhau_wire::postman::Postman;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};

/// Inputs stepped into one batch at most.
const MOST_PER_BATCH: usize = 256;
/// Longest sleep without anything to do.
const IDLE: Duration = Duration::from_secs(3600);

/// One thing for the driver to do.
pub(super) enum Command {
    Message {
        message: Box<OrchestratorMessage>,
        seq: u64,
        reply_to: Option<String>,
    },
    /// A message that cannot be read: acknowledged, so that its sender does not repeat it for ever.
    Unreadable {
        reply_to: Option<String>,
    },
    Probed {
        execution_id: String,
        result: Result<u64, Declined>,
    },
    /// A line for the history of an execution that is being prepared.
    Preparing {
        execution_id: String,
        topic: &'static str,
        text: String,
    },
    Started {
        execution_id: String,
    },
    Publishing {
        execution_id: String,
    },
    /// What was to be adopted is not there.
    Gone {
        execution_id: String,
    },
    /// The engines that are available changed.
    Engines(Vec<String>),
    Finished {
        execution_id: String,
        result: Box<Result<Finished, Failed>>,
    },
    /// The orchestrator answered a report: it has it, or why not.
    Answered {
        seq: u64,
        result: Result<(), String>,
    },
    /// Connected and welcome.
    Connected(Link),
    Disconnected,
    Load(oneshot::Sender<Load>),
    /// Whether the execution may still print something.
    MayPrint {
        execution_id: String,
        answer: oneshot::Sender<bool>,
    },
}

impl Command {
    pub(super) fn finished(execution_id: String, result: Result<Finished, Failed>) -> Command {
        Command::Finished { execution_id, result: Box::new(result) }
    }
}

/// The way to the orchestrator.
pub(super) struct Link {
    pub(super) postman: Postman,
    /// Prefix of the subjects on which the orchestrator acknowledges; ends with a dot.
    pub(super) ack_prefix: String,
    /// It understands reports of progress.
    pub(super) progress: bool,
}

/// How busy the node is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Capacity nobody runs on.
    pub available: Resources,
    /// What waiting executions ask for.
    pub queued: Resources,
    /// Executions that run.
    pub running: usize,
    /// Executions that wait.
    pub enqueued: usize,
}

/// Whoever waits for an acknowledgement, and the number of its message.
pub(super) struct Token {
    reply_to: Option<String>,
    seq: u64,
}

pub(super) struct Driver {
    node_id: String,
    core: Core,
    pipeline: Pipeline<Change, Effect<Token>>,
    runs: Runs,
    link: Option<Link>,
    outbox: Outbox<(String, PendingReport)>,
    /// Highest number of a message that was processed.
    processed: watch::Sender<u64>,
    last_now: i64,
    /// When the node stops, tasks that outlive it are left alone.
    leaves_tasks: bool,
}

impl Driver {
    pub(super) fn new(
        node_id: String,
        core: Core,
        writer: Writer<Change>,
        runs: Runs,
        processed: watch::Sender<u64>,
        leaves_tasks: bool,
    ) -> (Driver, mpsc::Receiver<Committed>) {
        let (pipeline, committed) = Pipeline::new(writer);
        let mut driver = Driver {
            node_id,
            core,
            pipeline,
            runs,
            link: None,
            outbox: Outbox::new(0),
            processed,
            last_now: 0,
            leaves_tasks,
        };
        // Numbers start at the clock, in microseconds, so they grow across restarts.
        driver.outbox = Outbox::new(u64::try_from(driver.now() / 1_000).unwrap_or(0));
        (driver, committed)
    }

    /// Runs until shutdown is asked for or the store fails. `restored` is what the restart made necessary.
    pub(super) async fn run(
        mut self,
        restored: Output<Token>,
        commands: mpsc::Receiver<Command>,
        mut committed: mpsc::Receiver<Committed>,
        shutdown: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let result = self.work(restored, commands, &mut committed, shutdown).await;
        // However this ended, the runs that end from now on have nobody to tell.
        self.runs.stop(self.leaves_tasks).await;
        result?;
        self.drain(&mut committed).await
    }

    async fn work(
        &mut self,
        restored: Output<Token>,
        mut commands: mpsc::Receiver<Command>,
        committed: &mut mpsc::Receiver<Committed>,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let mut waiting = Vec::with_capacity(MOST_PER_BATCH);
        self.hand_over(restored);
        loop {
            let room = self.pipeline.has_room();
            let sleep = self.until_next();
            tokio::select! {
                biased;
                Some(done) = committed.recv() => self.settle(done)?,
                count = commands.recv_many(&mut waiting, MOST_PER_BATCH), if room => {
                    if count == 0 {
                        return Ok(());
                    }
                    let commands = std::mem::take(&mut waiting);
                    self.step_batch(commands);
                }
                () = tokio::time::sleep(sleep), if room => {
                    if self.core.next_wakeup().is_some_and(|at| at <= self.now()) {
                        let mut out = Output::default();
                        let now = self.now();
                        self.core.step(now, Input::Tick, &mut out);
                        self.hand_over(out);
                    }
                }
                () = asked_to_stop(&mut shutdown) => return Ok(()),
            }
            self.deliver();
        }
    }

    /// Waits for what is on its way to the disk.
    async fn drain(mut self, committed: &mut mpsc::Receiver<Committed>) -> Result<(), Error> {
        // Acknowledgements and reports that leave only now come again after the next start; they are harmless.
        while self.pipeline.is_writing() {
            let Some(done) = committed.recv().await else { break };
            self.pipeline.committed(done).map_err(|e| store_failed(&e))?;
        }
        self.pipeline.close();
        Ok(())
    }

    /// Nanoseconds since 1970, never going back.
    fn now(&mut self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_now = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX).max(self.last_now);
        self.last_now
    }

    fn until_next(&mut self) -> Duration {
        let now = self.now();
        let reports = self.link.as_ref().and_then(|_| self.outbox.next_wakeup());
        let next = self.core.next_wakeup().into_iter().chain(reports).min();
        next.map_or(IDLE, |at| Duration::from_nanos(u64::try_from(at - now).unwrap_or(0))).min(IDLE)
    }

    fn step_batch(&mut self, commands: Vec<Command>) {
        let now = self.now();
        let mut out = Output::default();
        for command in commands {
            if let Some(input) = self.input(now, command) {
                self.core.step(now, input, &mut out);
            }
        }
        self.hand_over(out);
    }

    /// Turns a command into an input. `None` when it was dealt with at once.
    fn input(&mut self, now: i64, command: Command) -> Option<Input<Token>> {
        Some(match command {
            Command::Message { message, seq, reply_to } => {
                Input::Message { message: *message, token: Token { reply_to, seq } }
            }
            Command::Unreadable { reply_to } => {
                self.acknowledge(Token { reply_to, seq: 0 });
                return None;
            }
            Command::Probed { execution_id, result } => {
                self.runs.probed(&execution_id);
                if result.is_err() {
                    self.runs.ended(&execution_id);
                }
                Input::Probed { execution_id, result }
            }
            Command::Preparing { execution_id, topic, text } => {
                Input::Preparing { execution_id, topic, text }
            }
            Command::Started { execution_id } => Input::Started { execution_id },
            Command::Publishing { execution_id } => {
                self.runs.publishing(&execution_id);
                Input::Publishing { execution_id }
            }
            Command::Gone { execution_id } => {
                self.runs.ended(&execution_id);
                Input::Gone { execution_id }
            }
            Command::Engines(names) => Input::Engines(names),
            Command::Finished { execution_id, result } => {
                self.runs.ended(&execution_id);
                Input::Finished { execution_id, result: *result }
            }
            Command::Answered { seq, result: Ok(()) } => {
                let (execution_id, kind) = self.outbox.acked(seq)?;
                Input::Delivered { execution_id, kind }
            }
            Command::Answered { seq, result: Err(why) } => {
                tracing::debug!(seq, why, "report was not taken, trying again");
                self.outbox.failed(seq, now);
                return None;
            }
            Command::Connected(link) => {
                let progress = link.progress;
                self.link = Some(link);
                // The core names again what is unacknowledged; what the old outbox held must not stay beside that.
                self.outbox = Outbox::new(self.outbox.last_seq());
                Input::Connected { progress }
            }
            Command::Disconnected => {
                self.link = None;
                return None;
            }
            Command::MayPrint { execution_id, answer } => {
                let slot = self.core.slot(&execution_id);
                // A caller that went away needs no answer.
                let _ = answer.send(slot.is_some_and(|s| !s.state().is_terminal()));
                return None;
            }
            Command::Load(answer) => {
                let (available, queued, running, enqueued) = self.core.load();
                // A caller that went away needs no answer.
                let _ = answer.send(Load { available, queued, running, enqueued });
                return None;
            }
        })
    }

    /// Hands what a batch changed to the store; its effects wait for that.
    fn hand_over(&mut self, out: Output<Token>) {
        self.runs.metrics().bids(self.core.tally());
        self.pipeline.hand_over(out.changes, out.effects, 0);
        self.release();
    }

    fn settle(&mut self, done: Committed) -> Result<(), Error> {
        self.pipeline.committed(done).map_err(|e| store_failed(&e))?;
        self.release();
        Ok(())
    }

    /// Lets the effects of the oldest durable batches happen.
    fn release(&mut self) {
        while let Some((_, effects)) = self.pipeline.release() {
            for effect in effects {
                match effect {
                    Effect::Acknowledge(token) => self.acknowledge(token),
                    Effect::Probe(execution) => self.runs.probe(execution),
                    Effect::Run(execution, start) => self.runs.start(execution, start),
                    Effect::Cancel(id) => self.runs.cancel(&id),
                    Effect::Report { execution_id, kind } => self.outbox.push((execution_id, kind)),
                }
            }
        }
    }

    fn acknowledge(&mut self, token: Token) {
        self.processed.send_if_modified(|last| {
            let newer = token.seq > *last;
            *last = token.seq.max(*last);
            newer
        });
        let (Some(link), Some(reply_to)) = (&self.link, token.reply_to) else { return };
        if let Err(full) = link.postman.acknowledge(reply_to) {
            tracing::warn!(%full, "an acknowledgement was dropped");
        }
    }

    /// Publishes every report that is due. Stale ones vanish.
    fn deliver(&mut self) {
        let now = self.now();
        let Some(link) = &self.link else { return };
        while !link.postman.is_full() {
            let Some(attempt) = self.outbox.poll(now) else { break };
            let message = self.core.message(&attempt.key.0, attempt.key.1);
            match message.map(|m| data::to_orchestrator(&self.node_id, attempt.seq, now, &m)) {
                Some(Ok(outgoing)) => {
                    let reply_to = format!("{}{}", link.ack_prefix, attempt.seq);
                    if link.postman.post(outgoing, Some(reply_to)).is_err() {
                        self.outbox.failed(attempt.seq, now);
                    }
                }
                Some(Err(error)) => {
                    tracing::error!(execution = attempt.key.0, %error, "report cannot be encoded");
                    self.outbox.acked(attempt.seq);
                }
                None => {
                    self.outbox.acked(attempt.seq);
                }
            }
        }
    }
}

fn store_failed(error: &StoreError) -> Error {
    Error::new(code::INTERNAL_ERROR, format!("the execution store cannot be written, stopping: {error}"))
        .hint("Free space or repair the disk, then start the node again; everything acknowledged is on disk")
}

/// Completes when a stop is asked for, or nobody is left who could.
pub(super) async fn asked_to_stop(shutdown: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live across other awaits, so it ends here.
    let _ = shutdown.wait_for(|stop| *stop).await;
}
