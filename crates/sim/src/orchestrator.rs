//! The orchestrator as a host: its core, its disk, its outboxes, and what is still on the way to the disk.

use crate::MS;
use crate::disk::OrchestratorDisk;
use crate::invariants::{Violation, Watch, within};
use crate::network::{Packet, ToNode};
use crate::workload::Action;
use bacalhau_model::Job;
use bacalhau_orchestrator::core::{Core, Effect, Input, Output, Reply, Settings};
use bacalhau_store::orchestrator::Change;
use bacalhau_wire::delivery::Outbox;
use std::collections::{BTreeMap, VecDeque};

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(crate) enum Token {
    /// A user who submitted.
    User,
    /// A node that shook hands or sent a heartbeat.
    Node(String),
    /// A report to acknowledge.
    Ack(String, u64),
}

/// A batch on its way to the disk.
struct Batch {
    number: u64,
    changes: Vec<Change>,
    effects: Vec<Effect<Token>>,
}

/// The host.
pub(crate) struct OrchestratorHost {
    pub(crate) core: Option<Core>,
    pub(crate) disk: OrchestratorDisk,
    pub(crate) watch: Watch,
    on_the_way: VecDeque<Batch>,
    outboxes: BTreeMap<String, Outbox<ToNode>>,
    /// Counts crashes, so that events of a former life are ignored.
    pub(crate) life: u64,
}

/// A packet for a node.
pub(crate) type Outgoing = Vec<(String, Packet)>;

impl OrchestratorHost {
    pub(crate) fn new() -> OrchestratorHost {
        OrchestratorHost {
            core: None,
            disk: OrchestratorDisk::default(),
            watch: Watch::default(),
            on_the_way: VecDeque::new(),
            outboxes: BTreeMap::new(),
            life: 0,
        }
    }

    pub(crate) fn start(&mut self, now: i64, seed: u64) {
        let mut core = Core::new(Settings { node_id: "orchestrator".into(), ..Settings::default() }, seed);
        core.restore(now, self.disk.snapshot());
        self.core = Some(core);
    }

    /// Dies. Some of what was on the way may have reached the disk, in order, without anybody being told.
    pub(crate) fn crash(&mut self, random: &mut fastrand::Rng) -> Result<(), Violation> {
        self.core = None;
        self.life += 1;
        self.outboxes.clear();
        let made_it = random.usize(0..=self.on_the_way.len());
        for batch in std::mem::take(&mut self.on_the_way).into_iter().take(made_it) {
            self.write(batch.changes)?;
        }
        self.watch.check(&self.disk)
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), Violation> {
        for change in changes {
            self.disk.apply(change).map_err(|what| Violation { name: "H1", what })?;
        }
        Ok(())
    }

    /// Steps the core. True when a batch was started whose commit is to be scheduled.
    pub(crate) fn step(&mut self, now: i64, input: Input<Token>) -> Result<bool, Violation> {
        let Some(core) = &mut self.core else { return Ok(false) };
        let mut out = Output::default();
        core.step(now, input, &mut out);
        for (node, reserved, limit) in core.bookings() {
            within(&format!("reserved on {}", node.info.node_id), reserved, &limit)?;
        }
        if out.changes.is_empty() && out.effects.is_empty() {
            return Ok(false);
        }
        let number = core.seal();
        self.on_the_way.push_back(Batch { number, changes: out.changes, effects: out.effects });
        Ok(true)
    }

    /// What a user does.
    pub(crate) fn user(&mut self, now: i64, action: &Action, submitted: &[Job]) -> Result<bool, Violation> {
        let Some(core) = &self.core else { return Ok(false) };
        let stored_unless_held = |id: &str| match core.holds_job(id) {
            true => None,
            false => self.disk.jobs.get(id).map(|job| self.disk.stored(job)),
        };
        let input = match action {
            Action::Submit(job) => Input::Submit {
                job: job.clone(),
                stored: None,
                id_taken: false,
                force: false,
                token: Token::User,
            },
            Action::Stop(n) => {
                let Some(job) = submitted.get(*n) else { return Ok(false) };
                let stored = stored_unless_held(&job.id);
                Input::Stop { job_id: job.id.clone(), reason: "user".into(), stored, token: Token::User }
            }
            Action::Update(n) => {
                let Some(job) = submitted.get(*n) else { return Ok(false) };
                let stored = stored_unless_held(&job.id);
                Input::Submit {
                    job: Box::new(job.clone()),
                    stored,
                    id_taken: false,
                    force: true,
                    token: Token::User,
                }
            }
        };
        self.step(now, input)
    }

    /// The oldest batch is on disk: its effects happen.
    pub(crate) fn committed(&mut self, now: i64) -> Result<Outgoing, Violation> {
        let Some(batch) = self.on_the_way.pop_front() else { return Ok(Vec::new()) };
        self.write(batch.changes)?;
        self.watch.check(&self.disk)?;
        if let Some(core) = &mut self.core {
            core.settled(batch.number);
        }
        let mut outgoing = Vec::new();
        for effect in batch.effects {
            self.effect(now, effect, &mut outgoing);
        }
        Ok(outgoing)
    }

    fn effect(&mut self, now: i64, effect: Effect<Token>, outgoing: &mut Outgoing) {
        match effect {
            Effect::Reply(_, Reply::Submitted(Ok(submitted))) => self.watch.acknowledge(&submitted.job_id),
            Effect::Reply(Token::Node(node), Reply::Handshake(answer)) => {
                outgoing.push((node, Packet::HandshakeAnswer(answer.accepted)));
            }
            Effect::Reply(Token::Node(node), Reply::Heartbeat(answer)) => {
                outgoing.push((node, Packet::HeartbeatAnswer(answer)));
            }
            Effect::Reply(..) => {}
            Effect::Acknowledge(Token::Ack(node, seq)) => outgoing.push((node, Packet::ReportAck(seq))),
            Effect::Acknowledge(_) => {}
            Effect::Send { node_id, execution_id, kind } => {
                if let Some(outbox) = self.outboxes.get_mut(&node_id) {
                    outbox.push((execution_id, kind));
                }
            }
            Effect::NodeUp(node) => {
                let start = u64::try_from(now / 1_000).unwrap_or(0);
                self.outboxes.insert(node, Outbox::new(start));
            }
            Effect::NodeDown(node) => {
                self.outboxes.remove(&node);
            }
        }
    }

    /// Messages that are due, built from the present state; stale ones vanish.
    pub(crate) fn poll(&mut self, now: i64) -> Outgoing {
        let mut outgoing = Vec::new();
        let Some(core) = &self.core else { return outgoing };
        for (node, outbox) in &mut self.outboxes {
            while let Some(attempt) = outbox.poll(now) {
                match core.message(&attempt.key.0, attempt.key.1) {
                    Some(message) => outgoing.push((node.clone(), Packet::Message(attempt.seq, message))),
                    None => {
                        outbox.acked(attempt.seq);
                    }
                }
            }
        }
        outgoing
    }

    /// A packet of a node arrived.
    pub(crate) fn receive(&mut self, now: i64, node: &str, packet: Packet) -> Result<bool, Violation> {
        let token = Token::Node(node.to_owned());
        let input = match packet {
            Packet::Handshake(info) => Input::Handshake { info, token },
            Packet::Heartbeat(available, queued) => Input::Heartbeat {
                node_id: node.to_owned(),
                available,
                queued,
                last_orchestrator_seq: 0,
                token,
            },
            Packet::Report(seq, message) => Input::Report {
                node_id: node.to_owned(),
                message,
                seq,
                token: Token::Ack(node.to_owned(), seq),
            },
            Packet::MessageAck(seq) => {
                let key = self.outboxes.get_mut(node).and_then(|outbox| outbox.acked(seq));
                let Some((execution_id, kind)) = key else { return Ok(false) };
                Input::Delivered { execution_id, kind }
            }
            _ => return Ok(false),
        };
        self.step(now, input)
    }

    /// When something is due at the latest.
    pub(crate) fn next_wakeup(&self) -> Option<i64> {
        let core = self.core.as_ref().and_then(Core::next_wakeup);
        self.outboxes.values().filter_map(Outbox::next_wakeup).chain(core).min()
    }

    /// True when nothing is left to do: the faults-off goal.
    pub(crate) fn is_idle(&self) -> bool {
        let census = self.core.as_ref().map(Core::census);
        self.on_the_way.is_empty()
            && census.is_some_and(|c| c.jobs == 0 && c.live_executions == 0 && c.cancelling == 0)
            && self.outboxes.values().all(|outbox| outbox.is_empty())
    }
}

/// How long a commit takes.
pub(crate) fn commit_time(random: &mut fastrand::Rng) -> i64 {
    if random.u32(0..50) == 0 { random.i64(1..500) * MS } else { random.i64(1..5) * MS }
}
