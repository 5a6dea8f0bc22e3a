//! The orchestrator as a host: its core, its disk, its outboxes, what waits to be taken in and what is on the way to the
//! disk. Does what the real shell does, in the same order.

use crate::bugs::Bug;
use crate::clock::Clock;
use crate::disk::OrchestratorDisk;
use crate::invariants::{Promise, Truth, Violation, Watch, placed_well, same_after_restart, within};
use crate::network::{Packet, ToNode};
use crate::pipeline::{Left, Pipeline};
use crate::workload::{self, Action};
use bacalhau_model::Job;
use bacalhau_orchestrator::core::{Core, Effect, Input, NodeAction, Output, Reply, Settings};
use bacalhau_store::orchestrator::Change;
use bacalhau_wire::delivery::Outbox;
use bacalhau_wire::messages::NodeMessage;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Nodes are not given more than they have: work queued behind services, which never end, would wait for ever.
const OVERSUBSCRIPTION: f64 = 1.0;

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(crate) enum Token {
    /// A user, by the number of what was asked.
    User(u64),
    /// A node that shook hands or sent a heartbeat.
    Node(String),
    /// A node that described itself anew.
    Info(String),
    /// A report to acknowledge.
    Ack(String, u64),
    /// Nobody.
    Nobody,
}

/// Something to take in.
#[derive(Debug)]
pub(crate) enum Command {
    /// A user or operator acts.
    User(Box<Action>),
    /// A packet of a node arrived.
    Packet(String, Box<Packet>),
    /// The server noticed that a connection broke.
    ConnectionLost(String),
    /// Time passed.
    Tick,
}

/// The host.
pub(crate) struct OrchestratorHost {
    pub(crate) core: Option<Core>,
    pub(crate) disk: OrchestratorDisk,
    pub(crate) watch: Watch,
    pub(crate) clock: Clock,
    pub(crate) pipeline: Pipeline<Change, Effect<Token>>,
    inbox: VecDeque<Command>,
    outboxes: BTreeMap<String, Outbox<ToNode>>,
    /// What is promised to users who wait for an answer.
    promises: BTreeMap<u64, Promise>,
    asked: u64,
    /// Jobs as the core stored them last, be it on disk or not.
    planned: BTreeMap<String, Arc<Job>>,
    /// Messages that nodes acknowledged since the last look.
    pub(crate) acknowledged: Vec<(String, ToNode)>,
    settings: Settings,
    bug: Option<Bug>,
    /// Counts crashes, so that events of a former life are ignored.
    pub(crate) life: u64,
}

/// A packet for a node.
pub(crate) type Outgoing = Vec<(String, Packet)>;

impl OrchestratorHost {
    pub(crate) fn new(manual_approval: bool, bug: Option<Bug>) -> OrchestratorHost {
        OrchestratorHost {
            core: None,
            disk: OrchestratorDisk::default(),
            watch: Watch::default(),
            clock: Clock::new(0),
            pipeline: Pipeline::new(),
            inbox: VecDeque::new(),
            outboxes: BTreeMap::new(),
            promises: BTreeMap::new(),
            asked: 0,
            planned: BTreeMap::new(),
            acknowledged: Vec::new(),
            settings: Settings {
                node_id: "orchestrator".into(),
                manual_approval,
                oversubscription: OVERSUBSCRIPTION,
                ..Settings::default()
            },
            bug,
            life: 0,
        }
    }

    pub(crate) fn has_bug(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.core.is_some()
    }

    pub(crate) fn start(&mut self, now: i64, seed: u64) {
        self.clock.restart();
        let local = self.clock.read(now);
        self.core = Some(self.restored(local, seed));
        self.inbox.push_back(Command::Tick);
    }

    fn restored(&self, local: i64, seed: u64) -> Core {
        let mut snapshot = self.disk.snapshot();
        if self.bug == Some(Bug::CancellationsForgotten) {
            snapshot.executions.iter_mut().for_each(|(_, pending)| *pending = None);
        }
        let mut core = Core::new(self.settings.clone(), seed);
        core.restore(local, snapshot);
        core
    }

    /// Dies. Some of the transaction under way may have reached the disk, without anybody being told.
    pub(crate) fn crash(&mut self, left: Left, truth: &Truth) -> Result<(), Violation> {
        self.core = None;
        self.life += 1;
        self.inbox.clear();
        self.outboxes.clear();
        self.promises.clear();
        self.planned.clear();
        let changes = self.pipeline.crash(left);
        self.write(&changes, truth)?;
        self.watch.all_kept(&self.disk)
    }

    fn write(&mut self, batch: &[Change], truth: &Truth) -> Result<(), Violation> {
        for change in batch {
            let name = if matches!(change, Change::AppendHistory(_)) { "H1" } else { "J5" };
            self.disk.apply(change).map_err(|what| Violation { name, what })?;
        }
        self.watch.written(batch, &self.disk, truth)
    }

    /// The transaction under way is on disk; its effects wait for [`OrchestratorHost::release`].
    pub(crate) fn committed(&mut self, truth: &Truth) -> Result<(), Violation> {
        if self.bug == Some(Bug::CommitsReordered) {
            self.pipeline.swap();
        }
        for batch in self.pipeline.commit() {
            self.write(&batch, truth)?;
        }
        Ok(())
    }

    /// Lets the effects of the oldest durable batches happen; of `most` batches at most.
    pub(crate) fn release(&mut self, now: i64, most: usize) -> Result<Outgoing, Violation> {
        let local = self.clock.read(now);
        let mut outgoing = Vec::new();
        for _ in 0..most {
            let Some((tag, effects)) = self.pipeline.release() else { break };
            if let Some(core) = &mut self.core {
                core.settled(tag);
            }
            for effect in effects {
                self.effect(local, effect, &mut outgoing)?;
            }
        }
        Ok(outgoing)
    }

    /// Something is there to be taken in when there is room.
    pub(crate) fn push(&mut self, command: Command) {
        if self.core.is_some() {
            self.inbox.push_back(command);
        }
    }

    /// Takes in everything that waits, in one batch, if there is room, and whatever is due.
    pub(crate) fn work(&mut self, now: i64) -> Result<Outgoing, Violation> {
        let local = self.clock.read(now);
        let due = self.core.as_ref().and_then(Core::next_wakeup).is_some_and(|at| at <= local);
        let mut outgoing = Vec::new();
        if self.core.is_none() || !self.pipeline.has_room() || (self.inbox.is_empty() && !due) {
            return Ok(outgoing);
        }
        let commands = std::mem::take(&mut self.inbox);
        let mut inputs: Vec<Input<Token>> = Vec::with_capacity(commands.len());
        for command in commands {
            inputs.extend(self.input(command, &mut outgoing));
        }
        if inputs.is_empty() && due {
            inputs.push(Input::Tick);
        }
        self.step(local, inputs, &mut outgoing)?;
        Ok(outgoing)
    }

    fn step(
        &mut self,
        local: i64,
        inputs: Vec<Input<Token>>,
        outgoing: &mut Outgoing,
    ) -> Result<(), Violation> {
        let Some(core) = &mut self.core else { return Ok(()) };
        let mut out = Output::default();
        for input in inputs {
            let (before, asked) = (out.changes.len(), asked(&input));
            core.step(local, input, &mut out);
            let changes = out.changes.get(before..).unwrap_or_default();
            for change in changes {
                if let Change::PutJob(job) = change {
                    self.planned.insert(job.id.clone(), Arc::clone(job));
                }
            }
            let job = |id: &str| self.planned.get(id).or_else(|| self.disk.jobs.get(id)?.latest());
            placed_well(changes, |id| core.nodes().find(|n| n.info.node_id == id), job)?;
            for (node, reserved, limit) in core.bookings() {
                within(&format!("reserved on {}", node.info.node_id), reserved, &limit)?;
            }
            if let Some((number, job_id, stop)) = asked {
                self.promises.extend(promise(changes, &job_id, stop).map(|promise| (number, promise)));
            }
        }
        let tag = core.seal();
        if self.bug == Some(Bug::EffectsBeforeCommit) {
            self.pipeline.hand_over(out.changes, Vec::new(), tag);
            for effect in out.effects {
                self.effect(local, effect, outgoing)?;
            }
        } else {
            self.pipeline.hand_over(out.changes, out.effects, tag);
        }
        Ok(())
    }

    /// Turns a command into an input, with what the core cannot know by itself.
    fn input(&mut self, command: Command, outgoing: &mut Outgoing) -> Option<Input<Token>> {
        match command {
            Command::Tick => Some(Input::Tick),
            Command::ConnectionLost(node_id) => Some(Input::ConnectionLost { node_id }),
            Command::User(action) => self.user(*action),
            Command::Packet(node, packet) => self.packet(node, *packet, outgoing),
        }
    }

    fn user(&mut self, action: Action) -> Option<Input<Token>> {
        self.asked += 1;
        let token = Token::User(self.asked);
        let core = self.core.as_ref()?;
        let unless_held = |id: &str| if core.holds_job(id) { None } else { self.disk.stored(id) };
        let node =
            |n, action| Input::UpdateNode { node_id: workload::node_id(n), action, token: Token::Nobody };
        Some(match action {
            Action::Submit(job) | Action::Update(_, job) => {
                let held = core.job_named(&job.namespace, &job.name).is_some();
                let stored = if held { None } else { self.disk.named(&job.namespace, &job.name) };
                let id_taken = unless_held(&job.id).is_some();
                Input::Submit { job, stored, id_taken, force: false, token }
            }
            Action::Stop(n) => {
                let job_id = workload::job_id(n);
                Input::Stop { stored: unless_held(&job_id), job_id, reason: "user".into(), token }
            }
            Action::Rerun(n, back) => {
                let job_id = workload::job_id(n);
                let versions = &self.disk.jobs.get(&job_id)?.versions;
                let wanted = versions.last_key_value()?.0.saturating_sub(back).max(1);
                let spec = Arc::clone(versions.get(&wanted)?);
                Input::Rerun { stored: unless_held(&job_id), job_id, spec, token }
            }
            Action::Approve(n) => node(n, NodeAction::Approve),
            Action::Reject(n) => node(n, NodeAction::Reject),
            Action::Delete(n) => node(n, NodeAction::Delete),
            Action::Cordon(n) => node(n, NodeAction::Cordon),
            Action::Uncordon(n) => node(n, NodeAction::Uncordon),
            Action::Drain(n, deadline) => node(n, NodeAction::Drain { deadline }),
        })
    }

    fn packet(&mut self, node: String, packet: Packet, outgoing: &mut Outgoing) -> Option<Input<Token>> {
        Some(match packet {
            Packet::Handshake(info) => Input::Handshake { info, token: Token::Node(node) },
            Packet::Info(info) => Input::UpdateNodeInfo { info, token: Token::Info(node) },
            Packet::Goodbye(tasks_go_on) => {
                Input::ShutdownNotice { node_id: node, tasks_go_on, token: Token::Nobody }
            }
            Packet::Heartbeat(available, queued) => Input::Heartbeat {
                node_id: node.clone(),
                available,
                queued,
                last_orchestrator_seq: 0,
                token: Token::Node(node),
            },
            Packet::Report(seq, message) => {
                let token = Token::Ack(node.clone(), seq);
                if self.bug == Some(Bug::ReportsAcknowledgedEarly) {
                    outgoing.push((node.clone(), Packet::ReportAck(seq)));
                }
                let (node_id, message) = self.fenced(node, message);
                Input::Report { node_id, message, seq, token }
            }
            Packet::MessageAck(seq) => {
                let (execution_id, kind) = self.outboxes.get_mut(&node)?.acked(seq)?;
                self.acknowledged.push((node, (execution_id.clone(), kind)));
                Input::Delivered { execution_id, kind }
            }
            _ => return None,
        })
    }

    /// The report as it came; with [`Bug::NoFencing`] in the name of whoever holds the partition now.
    fn fenced(&self, node: String, mut message: NodeMessage) -> (String, NodeMessage) {
        if self.bug != Some(Bug::NoFencing) {
            return (node, message);
        }
        let same_place = |id: &str| {
            let (late, _) = self.disk.execution(id).filter(|(e, _)| e.is_terminal())?;
            let (_, now) = self
                .core
                .as_ref()?
                .live_executions()
                .find(|(job, e)| *job == late.job_id && e.partition_index == late.partition_index)?;
            Some((now.node_id.clone(), now.id.clone()))
        };
        let Some((node_id, id)) = same_place(message.execution_id()) else { return (node, message) };
        match &mut message {
            NodeMessage::BidResult(m) => m.execution_id = id,
            NodeMessage::RunResult(m) => m.execution_id = id,
            NodeMessage::ComputeError(m) => m.execution_id = id,
            NodeMessage::Progress(m) => m.execution_id = id,
        }
        (node_id, message)
    }

    fn effect(
        &mut self,
        local: i64,
        effect: Effect<Token>,
        outgoing: &mut Outgoing,
    ) -> Result<(), Violation> {
        match effect {
            Effect::Reply(Token::User(number), reply) => self.reply(number, &reply)?,
            Effect::Reply(Token::Node(node), Reply::Handshake(answer)) => {
                outgoing.push((node, Packet::HandshakeAnswer(answer.accepted)));
            }
            Effect::Reply(Token::Info(node), Reply::Handshake(answer)) => {
                outgoing.push((node, Packet::InfoAnswer(answer.accepted)));
            }
            Effect::Reply(Token::Node(node), Reply::Heartbeat(answer)) => {
                outgoing.push((node, Packet::HeartbeatAnswer(answer)));
            }
            Effect::Acknowledge(Token::Ack(node, seq)) => outgoing.push((node, Packet::ReportAck(seq))),
            Effect::Send { node_id, execution_id, kind } => {
                if let Some(outbox) = self.outboxes.get_mut(&node_id) {
                    outbox.push((execution_id, kind));
                }
            }
            Effect::NodeUp(node) => {
                let start = u64::try_from(local / 1_000).unwrap_or(0);
                let start = start.max(self.outboxes.get(&node).map_or(0, Outbox::last_seq));
                self.outboxes.insert(node, Outbox::new(start));
            }
            Effect::NodeDown(node) => {
                self.outboxes.remove(&node);
            }
            _ => {}
        }
        Ok(())
    }

    fn reply(&mut self, number: u64, reply: &Reply) -> Result<(), Violation> {
        let promise = self.promises.remove(&number);
        let done = match reply {
            Reply::Submitted(result) => result.is_ok(),
            Reply::Stopped(result) => result.is_ok(),
            Reply::Rerun(result) => result.is_ok(),
            _ => false,
        };
        match promise.filter(|_| done) {
            Some(promise) if self.bug == Some(Bug::EffectsBeforeCommit) => {
                // The user believes it; the disk will tell.
                self.watch.believed(promise);
                Ok(())
            }
            Some(promise) => self.watch.promised(promise, &self.disk),
            None => Ok(()),
        }
    }

    /// Messages that are due, built from the present state; stale ones vanish.
    pub(crate) fn deliver(&mut self, now: i64) -> Outgoing {
        let local = self.clock.read(now);
        let mut outgoing = Vec::new();
        let Some(core) = &self.core else { return outgoing };
        for (node, outbox) in &mut self.outboxes {
            while let Some(attempt) = outbox.poll(local) {
                let message = core.message(&attempt.key.0, attempt.key.1);
                match message {
                    Some(message) => outgoing.push((node.clone(), Packet::Message(attempt.seq, message))),
                    None => {
                        outbox.acked(attempt.seq);
                    }
                }
            }
        }
        outgoing
    }

    /// When something is due at the latest, by the true time.
    pub(crate) fn next_wakeup(&self) -> Option<i64> {
        let core = self.core.as_ref()?.next_wakeup();
        let next = self.outboxes.values().filter_map(Outbox::next_wakeup).chain(core).min()?;
        Some(self.clock.when(next))
    }

    /// True when there is nothing to do right now.
    pub(crate) fn is_quiet(&self) -> bool {
        self.inbox.is_empty() && self.pipeline.is_empty()
    }

    /// True when no node is owed a message.
    pub(crate) fn is_delivered(&self) -> bool {
        self.outboxes.values().all(Outbox::is_empty)
    }

    /// S1, when it can be checked.
    pub(crate) fn check_restart(&mut self, now: i64) -> Result<(), Violation> {
        let Some(core) = self.core.as_ref().filter(|_| self.is_quiet()) else { return Ok(()) };
        let mut clock = self.clock;
        same_after_restart(&core.audit(), &self.restored(clock.read(now), 0).audit())
    }
}

/// The number of what a user asked for, the job, and whether it was a stop.
fn asked(input: &Input<Token>) -> Option<(u64, String, bool)> {
    match input {
        Input::Stop { token: Token::User(number), job_id, .. } => Some((*number, job_id.clone(), true)),
        Input::Rerun { token: Token::User(number), job_id, .. } => Some((*number, job_id.clone(), false)),
        Input::Submit { token: Token::User(number), job, .. } => Some((*number, job.id.clone(), false)),
        _ => None,
    }
}

/// What the answer to a user will promise, by what the step stores.
fn promise(changes: &[Change], job_id: &str, stopped: bool) -> Option<Promise> {
    changes.iter().find_map(|change| match change {
        Change::PutJob(job) if job.id == job_id && (!stopped || job.is_terminal()) => {
            Some(Promise { job_id: job.id.clone(), version: job.version, stopped })
        }
        _ => None,
    })
}
