//! The orchestrator as a host: its core, its disk, its outboxes, what waits to be taken in and what is on the way to the
//! disk. Does what the real shell does, in the same order.

mod intake;
mod release;

use crate::bugs::Bug;
use crate::clock::Clock;
use crate::disk::OrchestratorDisk;
use crate::invariants::{Promise, Truth, Violation, Watch, placed_well, same_after_restart, within};
use crate::network::{Packet, ToNode};
use crate::pipeline::{Left, Pipeline};
use crate::workload::Action;
use bacalhau_model::Job;
use bacalhau_orchestrator::core::{Core, Effect, Input, Output, Settings};
use bacalhau_store::orchestrator::Change;
use bacalhau_wire::delivery::Outbox;
use release::{asked, promise};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

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
    pub(crate) fn new(manual_approval: bool, oversubscription: f64, bug: Option<Bug>) -> OrchestratorHost {
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
                oversubscription,
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
            let name = match change {
                Change::AppendHistory(_) => "H1",
                Change::DeleteJob(_) | Change::DeleteExecutions(_) | Change::DeleteHistory { .. } => "J9",
                _ => "J5 or J6",
            };
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
        self.look_up(|core| core.unknown_runs(local));
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
