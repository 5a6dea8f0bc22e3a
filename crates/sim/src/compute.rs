//! A compute node as a host: its core, its disk, its link to the orchestrator, and an engine that takes time.

mod checks;
mod engine;
mod link;

use crate::bugs::Bug;
use crate::clock::Clock;
use crate::disk::ComputeDisk;
use crate::invariants::{Truth, Violation, within};
use crate::network::{Packet, ToOrchestrator};
use crate::pipeline::{Left, Pipeline};
use crate::workload;
use crate::{MS, SECOND};
use bacalhau_compute::core::{BidPolicy, Core, Effect, Input, Output, begun};
use bacalhau_model::Resources;
use bacalhau_store::compute::Change;
use bacalhau_wire::delivery::Outbox;
use engine::Run;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The host.
pub(crate) struct NodeHost {
    pub(crate) id: String,
    pub(crate) zone: &'static str,
    /// Bids need IO.
    probes: bool,
    /// It reports how far its executions are, unlike nodes of Bacalhau 1.9.
    pub(crate) tells_progress: bool,
    /// What its engine runs survives a crash of the node.
    outlives: bool,
    /// Executions whose tasks ended with results that are complete; survives a crash.
    complete: BTreeSet<String>,
    capacity: Resources,
    pub(crate) core: Option<Core>,
    pub(crate) disk: ComputeDisk,
    pub(crate) clock: Clock,
    pub(crate) pipeline: Pipeline<Change, Effect<u64>>,
    inbox: VecDeque<Packet>,
    outbox: Outbox<ToOrchestrator>,
    runs: BTreeMap<String, Run>,
    /// What runs on after a crash, until it is adopted.
    orphans: BTreeMap<String, Run>,
    probing: BTreeMap<String, i64>,
    /// Executions that were to be adopted and are not there.
    missing: Vec<String>,
    /// Reports that the orchestrator acknowledged since the last look.
    pub(crate) acknowledged: Vec<ToOrchestrator>,
    connected: bool,
    /// The zone that the orchestrator was told and knows, as far as this node can tell.
    told: &'static str,
    /// The zone that it was told last.
    telling: &'static str,
    last_answer: i64,
    next_call: i64,
    bug: Option<Bug>,
    /// It left and does not come back.
    pub(crate) gone: bool,
    pub(crate) life: u64,
}

impl NodeHost {
    pub(crate) fn new(index: usize, random: &mut fastrand::Rng, bug: Option<Bug>) -> NodeHost {
        // Most clocks are good, some are off by minutes.
        let most = if random.u32(0..3) == 0 { 600 * SECOND } else { 20 * MS };
        NodeHost {
            id: workload::node_id(index),
            zone: workload::zone(random),
            probes: random.u32(0..3) == 0,
            tells_progress: random.u32(0..3) > 0,
            outlives: random.u32(0..3) == 0,
            complete: BTreeSet::new(),
            capacity: Resources {
                cpu: f64::from(random.u32(1..5)),
                memory: 8 << 30,
                disk: 8 << 30,
                ..Resources::default()
            },
            core: None,
            disk: ComputeDisk::default(),
            clock: Clock::new(random.i64(-most..most)),
            pipeline: Pipeline::new(),
            inbox: VecDeque::new(),
            outbox: Outbox::new(0),
            runs: BTreeMap::new(),
            orphans: BTreeMap::new(),
            probing: BTreeMap::new(),
            missing: Vec::new(),
            acknowledged: Vec::new(),
            connected: false,
            told: "",
            telling: "",
            last_answer: 0,
            next_call: 0,
            bug,
            gone: false,
            life: 0,
        }
    }

    fn policy(&self) -> BidPolicy {
        BidPolicy {
            engines: vec!["wasm".into()],
            outliving: if self.outlives { vec!["wasm".into()] } else { Vec::new() },
            capacity: self.capacity.clone(),
            default_resources: Resources { cpu: 0.1, memory: 100 << 20, ..Resources::default() },
            external_probe: self.probes,
            ..BidPolicy::default()
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected && self.core.is_some()
    }

    /// Starts with what is on the disk.
    pub(crate) fn start(&mut self, now: i64) {
        self.clock.restart();
        let local = self.clock.read(now);
        let mut core = Core::new(self.policy());
        let mut out = Output::default();
        let stored = self.disk.load();
        let begun: BTreeSet<String> = begun(&stored).map(|execution| execution.id.clone()).collect();
        // What nobody knows any more is removed at the start, as are the folders of what goes on no more.
        self.orphans.retain(|id, _| begun.contains(id));
        self.complete.retain(|id| begun.contains(id));
        core.restore(local, stored, &self.complete, &mut out);
        self.core = Some(core);
        self.outbox = Outbox::new(u64::try_from(local / 1_000).unwrap_or(0));
        self.connected = false;
        self.next_call = now;
        self.pipeline.hand_over(out.changes, out.effects, 0);
    }

    /// Dies, with its engine. Some of the transaction under way may have reached the disk.
    pub(crate) fn crash(&mut self, left: Left, wipe: bool, truth: &mut Truth) {
        self.core = None;
        self.life += 1;
        self.connected = false;
        self.inbox.clear();
        self.orphans.clear();
        let (outlives, complete) = (self.outlives, &self.complete);
        // To publish is the node's own work: that does not go on without it.
        let survive = |(id, _): &(String, Run)| outlives && !complete.contains(id);
        self.orphans.extend(std::mem::take(&mut self.runs).into_iter().filter(survive));
        self.probing.clear();
        self.missing.clear();
        for change in self.pipeline.crash(left) {
            self.disk.apply(change);
        }
        if wipe {
            self.disk = ComputeDisk::default();
            truth.started.retain(|(_, node)| *node != self.id);
        }
    }

    /// The transaction under way is on disk; its effects wait for [`NodeHost::release`].
    pub(crate) fn committed(&mut self) {
        if self.bug == Some(Bug::CommitsReordered) {
            self.pipeline.swap();
        }
        self.pipeline.commit().into_iter().flatten().for_each(|change| self.disk.apply(change));
    }

    /// Lets the effects of the oldest durable batches happen; of `most` batches at most.
    pub(crate) fn release(&mut self, most: usize, world: &mut World<'_>) -> Result<Vec<Packet>, Violation> {
        let mut outgoing = Vec::new();
        for _ in 0..most {
            let Some((_, effects)) = self.pipeline.release() else { break };
            for effect in effects {
                self.effect(effect, world, &mut outgoing)?;
            }
        }
        Ok(outgoing)
    }

    /// A packet of the orchestrator arrived.
    pub(crate) fn push(&mut self, packet: Packet) {
        if self.core.is_some() {
            self.inbox.push_back(packet);
        }
    }

    /// Takes in everything that waits and is due, in one batch, if there is room.
    pub(crate) fn work(&mut self, world: &mut World<'_>) -> Result<Vec<Packet>, Violation> {
        let local = self.clock.read(world.now);
        let mut outgoing = Vec::new();
        if self.core.is_none() || !self.pipeline.has_room() {
            return Ok(outgoing);
        }
        let mut inputs: Vec<Input<u64>> = Vec::new();
        for packet in std::mem::take(&mut self.inbox) {
            inputs.extend(self.input(world.now, packet, &mut outgoing));
        }
        self.engine(world, &mut inputs);
        let Some(core) = &mut self.core else { return Ok(outgoing) };
        if core.next_wakeup().is_some_and(|at| at <= local) {
            inputs.push(Input::Tick);
        }
        if inputs.is_empty() {
            return Ok(outgoing);
        }
        let mut out = Output::default();
        for input in inputs {
            core.step(local, input, &mut out);
            within(&format!("in use on {}", self.id), core.in_use(), &self.capacity)?;
        }
        if self.bug == Some(Bug::RunsBeforeCommit) {
            let (runs, effects): (Vec<_>, Vec<_>) =
                out.effects.into_iter().partition(|effect| matches!(effect, Effect::Run(..)));
            self.pipeline.hand_over(out.changes, effects, 0);
            for run in runs {
                self.effect(run, world, &mut outgoing)?;
            }
        } else {
            self.pipeline.hand_over(out.changes, out.effects, 0);
        }
        Ok(outgoing)
    }

    /// When something is due at the latest, by the true time.
    pub(crate) fn next_wakeup(&self) -> Option<i64> {
        let core = self.core.as_ref()?;
        let runs = self.runs.values().flat_map(|run| run.starts.into_iter().chain([run.ends]));
        let engine = runs.chain(self.probing.values().copied());
        let outbox = self.outbox.next_wakeup().filter(|_| self.connected);
        let local = outbox.into_iter().chain(core.next_wakeup()).map(|local| self.clock.when(local));
        engine.chain([self.next_call]).chain(local).min()
    }

    /// True when there is nothing to do right now.
    pub(crate) fn is_quiet(&self) -> bool {
        self.inbox.is_empty() && self.pipeline.is_empty()
    }
}

/// What is outside of the hosts.
pub(crate) struct World<'a> {
    pub(crate) now: i64,
    pub(crate) random: &'a mut fastrand::Rng,
    pub(crate) truth: &'a mut Truth,
    /// Faults are over.
    pub(crate) calm: bool,
}
