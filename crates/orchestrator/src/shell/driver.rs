//! The one task that owns the core.
//!
//! It steps whatever waits, hands the changes to the store, and releases the effects of each batch when that batch is
//! on disk. Batches are pipelined and bounded: while too many are on their way to the disk, nothing new is taken in.

use super::command::{Command, ControlKind, Token};
use super::feed::Feed;
use super::housekeeping::Bell;
use super::lookup;
use super::post::Post;
use crate::core::{Core, Effect, Input, Output, Reply};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use bacalhau_store::orchestrator::{Change, Reader, StoredJob};
use bacalhau_store::{Committed, Pipeline, StoreError, Writer};
use bacalhau_wire::messages::{
    ControlRequest, ControlResponse, HandshakeResponse, HeartbeatResponse, ShutdownNoticeResponse,
    UpdateNodeInfoResponse,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};

/// Inputs stepped into one batch at most.
const MOST_PER_BATCH: usize = 256;
/// Longest sleep without anything to do.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) struct Driver {
    core: Core,
    pipeline: Pipeline<Change, Effect<Token>>,
    reader: Reader,
    post: Post,
    feed: Feed,
    bell: Bell,
    last_now: i64,
    /// A subscription ended.
    deaf: bool,
}

impl Driver {
    pub(super) fn new(
        core: Core,
        writer: Writer<Change>,
        reader: Reader,
        post: Post,
        feed: Feed,
        bell: Bell,
    ) -> (Driver, mpsc::Receiver<Committed>) {
        let (pipeline, committed) = Pipeline::new(writer);
        (Driver { core, pipeline, reader, post, feed, bell, last_now: 0, deaf: false }, committed)
    }

    /// Runs until all handles are gone, shutdown is asked for, or the store fails. Gives the reason of a failure.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut committed: mpsc::Receiver<Committed>,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let mut waiting = Vec::with_capacity(MOST_PER_BATCH);
        self.step_batch(std::iter::once(Input::Tick));
        loop {
            let room = self.pipeline.has_room();
            let sleep = self.until_next();
            tokio::select! {
                biased;
                Some(done) = committed.recv() => self.settle(done)?,
                // Before the commands: under load there are always some.
                () = super::asked_to_stop(&mut shutdown) => break,
                count = commands.recv_many(&mut waiting, MOST_PER_BATCH), if room => {
                    if count == 0 {
                        break;
                    }
                    let inputs: Vec<_> = waiting.drain(..).filter_map(|c| self.input(c)).collect();
                    self.step_batch(inputs.into_iter());
                }
                () = tokio::time::sleep(sleep), if room => {
                    if self.core.next_wakeup().is_some_and(|at| at <= self.now()) {
                        self.step_batch(std::iter::once(Input::Tick));
                    }
                }
            }
            if self.deaf {
                return Err(deaf());
            }
            let now = self.now();
            self.post.deliver(now, &self.core);
        }
        // Callers that still wait learn that this is the end.
        drop(commands);
        self.drain(&mut committed).await
    }

    /// Waits for what is on its way to the disk.
    async fn drain(mut self, committed: &mut mpsc::Receiver<Committed>) -> Result<(), Error> {
        while self.pipeline.is_writing() {
            let Some(done) = committed.recv().await else { break };
            self.settle(done)?;
        }
        self.pipeline.close();
        Ok(())
    }

    /// Nanoseconds since 1970, never going back.
    fn now(&mut self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        self.last_now = now.max(self.last_now);
        self.last_now
    }

    fn until_next(&mut self) -> Duration {
        let now = self.now();
        let next = self.core.next_wakeup().into_iter().chain(self.post.next_wakeup()).min();
        next.map_or(IDLE, |at| Duration::from_nanos(u64::try_from(at - now).unwrap_or(0))).min(IDLE)
    }

    /// Turns a command into an input, with what the core cannot know by itself. `None` when it was answered at once.
    fn input(&mut self, command: Command) -> Option<Input<Token>> {
        Some(match command {
            Command::Submit { job, own_id, force, answer } => {
                let held = self.core.job_named(&job.namespace, &job.name).is_some();
                // A job named by its fresh ID cannot exist.
                let stored = match held || (!own_id && job.name == job.id) {
                    true => Ok(None),
                    false => self.reader.find_job_by_name(&job.namespace, &job.name),
                };
                let id_taken = match own_id {
                    true => self.stored_unless_held(&job.id).map(|stored| stored.is_some()),
                    false => Ok(false),
                };
                if let Err(error) = lookup::for_submission(&mut self.core, &self.reader, &job) {
                    return refuse(answer, read_failed(&error));
                }
                match (stored.map_err(|e| read_failed(&e)), id_taken) {
                    (Ok(stored), Ok(id_taken)) => {
                        Input::Submit { job, stored, id_taken, force, token: Token::Submit(answer) }
                    }
                    (Err(error), _) | (_, Err(error)) => return refuse(answer, error),
                }
            }
            Command::Stop { job_id, reason, answer } => match self.stored_unless_held(&job_id) {
                Ok(stored) => Input::Stop { job_id, reason, stored, token: Token::Stop(answer) },
                Err(error) => return refuse(answer, error),
            },
            Command::Rerun { job_id, version, answer } => {
                // What is in memory is newer: it may be on its way to the disk.
                let latest = self.core.job(&job_id).filter(|_| version == 0).map(Arc::clone);
                let spec = latest.map_or_else(|| self.reader.job(&job_id, version).map(Arc::new), Ok);
                match (spec, self.stored_unless_held(&job_id)) {
                    (Ok(spec), Ok(stored)) => {
                        if let Err(error) = lookup::for_rerun(&mut self.core, &self.reader, &spec) {
                            return refuse(answer, read_failed(&error));
                        }
                        Input::Rerun { job_id, spec, stored, token: Token::Rerun(answer) }
                    }
                    (Err(error), _) | (_, Err(error)) => return refuse(answer, error),
                }
            }
            Command::Delete { job_id, answer } => match self.stored_unless_held(&job_id) {
                Ok(stored) => Input::Delete { job_id, stored, token: Token::Delete(answer) },
                Err(error) => return refuse(answer, error),
            },
            Command::Tidy { found, answer } => match found.check(&self.reader) {
                Ok(found) => Input::Tidy { found, token: Token::Tidy(answer) },
                Err(error) => return refuse(answer, read_failed(&error)),
            },
            Command::UpdateNode { node_id, action, answer } => {
                Input::UpdateNode { node_id, action, token: Token::UpdateNode(answer) }
            }
            Command::Explain { job, answer } => Input::Explain { job, token: Token::Explain(answer) },
            Command::ListNodes { answer } => Input::ListNodes { token: Token::ListNodes(answer) },
            Command::Census { answer } => {
                // A caller that went away needs no answer.
                let _ = answer.send(self.core.census());
                return None;
            }
            Command::Control { request, reply_to } => control_input(*request, reply_to),
            Command::Report { node_id, message, seq, reply_to } => {
                Input::Report { node_id, message: *message, seq, token: Token::Report { reply_to } }
            }
            Command::Refuse { reply_to, error } => {
                let now = self.now();
                self.post.control(now, reply_to, Err(error));
                return None;
            }
            Command::Unreadable { reply_to } => {
                reply_to.into_iter().for_each(|reply_to| self.post.acknowledge(reply_to));
                return None;
            }
            Command::Answered { node_id, seq, result } => {
                let now = self.now();
                let (execution_id, kind) = self.post.answered(&node_id, seq, result, now)?;
                Input::Delivered { execution_id, kind }
            }
            Command::ConnectionLost { node_id } => Input::ConnectionLost { node_id },
            Command::Deaf => {
                self.deaf = true;
                return None;
            }
        })
    }

    fn stored_unless_held(&self, job_id: &str) -> Result<Option<StoredJob>, Error> {
        if self.core.holds_job(job_id) {
            return Ok(None);
        }
        self.reader.stored_job(job_id).map_err(|e| read_failed(&e))
    }

    /// Steps inputs and hands what they changed to the store.
    fn step_batch(&mut self, inputs: impl Iterator<Item = Input<Token>>) {
        let now = self.now();
        if let Err(error) = lookup::for_runs(&mut self.core, &self.reader, now) {
            // Not knowing that a name is taken is no reason to leave runs out; the store refuses a name that is.
            tracing::error!(%error, "looking up the names of runs that are due failed");
        }
        let mut out = Output::default();
        inputs.for_each(|input| self.core.step(now, input, &mut out));
        let batch = self.core.seal();
        self.feed.append(now, batch, &mut out.changes);
        self.pipeline.hand_over(out.changes, out.effects, batch);
        self.release();
    }

    /// A commit ended.
    fn settle(&mut self, done: Committed) -> Result<(), Error> {
        self.pipeline.committed(done).map_err(|e| store_failed(&e))?;
        self.release();
        Ok(())
    }

    /// Lets the effects of the oldest durable batches happen.
    fn release(&mut self) {
        while let Some((batch, effects)) = self.pipeline.release() {
            self.core.settled(batch);
            self.feed.release(batch);
            self.bell.ends(self.core.ends());
            let now = self.now();
            effects.into_iter().for_each(|effect| self.effect(now, effect));
        }
    }

    fn effect(&mut self, now: i64, effect: Effect<Token>) {
        match effect {
            Effect::Reply(token, reply) => self.reply(now, token, reply),
            Effect::Acknowledge(Token::Report { reply_to: Some(reply_to) }) => {
                self.post.acknowledge(reply_to)
            }
            Effect::Acknowledge(_) => {}
            Effect::Send { node_id, execution_id, kind } => self.post.push(&node_id, execution_id, kind),
            Effect::NodeUp(node_id) => self.post.node_up(node_id, now),
            Effect::NodeDown(node_id) => self.post.node_down(&node_id),
        }
    }

    fn reply(&mut self, now: i64, token: Token, reply: Reply) {
        // Callers that went away need no answer, so failed sends are fine.
        match (token, reply) {
            (Token::Submit(answer), Reply::Submitted(result)) => drop(answer.send(result)),
            (Token::Stop(answer), Reply::Stopped(result)) => drop(answer.send(result)),
            (Token::Rerun(answer), Reply::Rerun(result)) => drop(answer.send(result)),
            (Token::Delete(answer), Reply::Deleted(result)) => drop(answer.send(result)),
            (Token::Tidy(answer), Reply::Tidied(count)) => drop(answer.send(Ok(count))),
            (Token::UpdateNode(answer), Reply::NodeUpdated(result)) => drop(answer.send(result)),
            (Token::ListNodes(answer), Reply::Nodes(nodes)) => drop(answer.send(nodes)),
            (Token::Explain(answer), Reply::Explained(found)) => drop(answer.send(found)),
            (Token::Control { reply_to, what }, reply) => {
                if let Some(response) = control_response(what, reply, self.post.next_seq(now)) {
                    self.post.control(now, reply_to, response);
                }
            }
            _ => tracing::error!("the core answered a question that nobody asked"),
        }
    }
}

fn control_input(request: ControlRequest, reply_to: String) -> Input<Token> {
    let token = |what| Token::Control { reply_to, what };
    match request {
        ControlRequest::Handshake(m) => {
            Input::Handshake { info: Box::new(m.node_info), token: token(ControlKind::Handshake) }
        }
        ControlRequest::Heartbeat(m) => Input::Heartbeat {
            node_id: m.node_id,
            available: m.available_capacity,
            queued: m.queue_used_capacity,
            last_orchestrator_seq: m.last_orchestrator_seq_num,
            token: token(ControlKind::Heartbeat),
        },
        ControlRequest::UpdateNodeInfo(m) => {
            Input::UpdateNodeInfo { info: Box::new(m.node_info), token: token(ControlKind::UpdateNodeInfo) }
        }
        ControlRequest::ShutdownNotice(m) => Input::ShutdownNotice {
            node_id: m.node_id,
            tasks_go_on: m.tasks_go_on,
            token: token(ControlKind::ShutdownNotice),
        },
    }
}

fn control_response(
    what: ControlKind,
    reply: Reply,
    next_seq: u64,
) -> Option<Result<ControlResponse, Error>> {
    Some(match (what, reply) {
        (ControlKind::Handshake, Reply::Handshake(h)) => Ok(ControlResponse::Handshake(HandshakeResponse {
            accepted: h.accepted,
            reason: h.reason,
            last_compute_seq_num: h.last_compute_seq,
            last_orchestrator_seq_num: next_seq,
            supported_protocols: h.protocols,
        })),
        (ControlKind::UpdateNodeInfo, Reply::Handshake(h)) => {
            Ok(ControlResponse::UpdateNodeInfo(UpdateNodeInfoResponse {
                accepted: h.accepted,
                reason: h.reason,
            }))
        }
        (ControlKind::Heartbeat, Reply::Heartbeat(result)) => {
            result.map(|last| ControlResponse::Heartbeat(HeartbeatResponse { last_compute_seq_num: last }))
        }
        (ControlKind::ShutdownNotice, Reply::Heartbeat(result)) => result.map(|last| {
            ControlResponse::ShutdownNotice(ShutdownNoticeResponse { last_compute_seq_num: last })
        }),
        _ => return None,
    })
}

fn refuse<T, R>(answer: super::command::Answer<T>, error: Error) -> Option<R> {
    // A caller that went away needs no answer.
    let _ = answer.send(Err(error));
    None
}

fn read_failed(error: &StoreError) -> Error {
    tracing::error!(%error, "reading the job store failed");
    Error::new(code::INTERNAL_ERROR, "reading the job store failed")
        .hint("See the orchestrator's log")
        .retryable()
}

/// Going on without hearing the nodes would declare them all lost.
fn deaf() -> Error {
    Error::new(code::SERVICE_UNAVAILABLE, "a subscription on NATS ended: nodes send faster than they can be heard, or the NATS server is gone; stopping")
        .hint("Start the orchestrator again; everything acknowledged is on disk")
}

fn store_failed(error: &StoreError) -> Error {
    Error::new(code::INTERNAL_ERROR, format!("the job store cannot be written, stopping: {error}"))
        .hint("Free space or repair the disk, then start the orchestrator again; everything acknowledged is on disk")
}
