//! A compute node as a host: its core, its disk, its link to the orchestrator, and an engine that takes time.

use crate::bugs::Bug;
use crate::clock::Clock;
use crate::disk::ComputeDisk;
use crate::invariants::{Truth, Violation, broken, within};
use crate::network::{Packet, ToOrchestrator};
use crate::pipeline::{Left, Pipeline};
use crate::workload::{self, Course};
use crate::{MS, SECOND};
use bacalhau_compute::core::{
    BidPolicy, Core, Declined, Effect, Failed, Finished, Input, Output, Start, begun,
};
use bacalhau_model::execution::{Execution, RunCommandResult};
use bacalhau_model::node::protocol;
use bacalhau_model::{ComputeNodeInfo, Error, NodeInfo, NodeType, Resources};
use bacalhau_store::compute::{Change, PendingReport};
use bacalhau_wire::delivery::Outbox;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Between heartbeats.
const HEARTBEAT: i64 = 15 * SECOND;
/// Between attempts to shake hands.
const HANDSHAKE: i64 = SECOND;
/// Without an answer for this long the link counts as broken.
const SILENCE: i64 = 40 * SECOND;

/// Longer than any run, as a length and as a time.
const FOR_EVER: i64 = i64::MAX / 4;

/// A run of the engine. Times are true ones: work takes as long as it takes, whatever the clock says.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// When the task begins, after its preparation; `None` once it has.
    starts: Option<i64>,
    ends: i64,
    fails: bool,
    exit_code: i64,
    /// The task is done, its results take this long to publish.
    publishing: i64,
}

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

    fn effect(
        &mut self,
        effect: Effect<u64>,
        world: &mut World<'_>,
        outgoing: &mut Vec<Packet>,
    ) -> Result<(), Violation> {
        match effect {
            Effect::Acknowledge(seq) => outgoing.push(Packet::MessageAck(seq)),
            Effect::Report { execution_id, kind } => self.outbox.push((execution_id, kind)),
            Effect::Run(execution, Start::Afresh) => self.run(&execution, world)?,
            Effect::Run(execution, Start::Adopt) => self.adopt(&execution.id, world),
            Effect::Run(execution, Start::Publish) => self.publish(&execution.id, world)?,
            Effect::Cancel(id) => {
                if let Some(run) = self.runs.get_mut(&id) {
                    let stubborn = if world.random.u32(0..5) == 0 { 20 * SECOND } else { 50 * MS };
                    let ends = world.now + world.random.i64(MS..stubborn);
                    *run = Run { ends: ends.min(run.ends), fails: true, publishing: 0, ..*run };
                }
            }
            Effect::Probe(execution) => {
                self.probing.insert(execution.id.clone(), world.now + world.random.i64(1..3_000) * MS);
            }
        }
        Ok(())
    }

    /// Goes on with what survived the crash; now and then it did not.
    fn adopt(&mut self, id: &str, world: &mut World<'_>) {
        let lost = world.random.u32(0..5) == 0;
        match self.orphans.remove(id).filter(|_| !lost) {
            // It says again that it runs.
            Some(run) => {
                let starts = run.starts.or(Some(world.now));
                self.runs.insert(id.to_owned(), Run { starts, ..run });
            }
            None => self.missing.push(id.to_owned()),
        }
    }

    /// Publishes what was complete before the crash.
    fn publish(&mut self, id: &str, world: &mut World<'_>) -> Result<(), Violation> {
        if !self.complete.contains(id) {
            return broken("N4", format!("{id} is published on {}, it never ended there", self.id));
        }
        let ends = world.now + world.random.i64(MS..5 * SECOND);
        self.runs
            .insert(id.to_owned(), Run { starts: None, ends, fails: false, exit_code: 0, publishing: 0 });
        Ok(())
    }

    fn run(&mut self, execution: &Execution, world: &mut World<'_>) -> Result<(), Violation> {
        let job = execution.job.as_ref();
        let long_running =
            job.and_then(|job| job.job_type()).is_some_and(bacalhau_model::JobType::is_long_running);
        let again = !world.truth.started.insert((execution.id.clone(), self.id.clone()));
        if self.runs.contains_key(&execution.id) || (again && !long_running) {
            return broken("N1", format!("{} is started twice on {}", execution.id, self.id));
        }
        let Course { length, fails, exit_code, publishing } =
            workload::course(world.random, long_running, world.calm);
        let limit = job.and_then(|job| job.task()).map_or(0, |task| task.timeouts.execution_limit());
        let limit = if limit > 0 && !long_running { limit * SECOND } else { FOR_EVER };
        let length = length.unwrap_or(FOR_EVER);
        // Images and modules are there already, or not.
        let preparation = if world.random.bool() { 0 } else { world.random.i64(MS..8 * SECOND) };
        let starts = world.now + preparation;
        let run = Run {
            starts: Some(starts),
            ends: starts + length.min(limit),
            fails: fails || length > limit,
            exit_code,
            publishing,
        };
        self.runs.insert(execution.id.clone(), run);
        Ok(())
    }

    /// What the next life of the node can go on with.
    pub(crate) fn going_on(&self) -> Vec<String> {
        let goes_on = |id: &&String| self.outlives || self.complete.contains(*id);
        self.runs.keys().filter(goes_on).cloned().collect()
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

    /// What the engine and the probes came to.
    fn engine(&mut self, world: &mut World<'_>, inputs: &mut Vec<Input<u64>>) {
        let now = world.now;
        let due = |ends: i64| ends <= now;
        let probed: Vec<String> =
            self.probing.iter().filter(|(_, ends)| due(**ends)).map(|(id, _)| id.clone()).collect();
        for execution_id in probed {
            self.probing.remove(&execution_id);
            let result = match world.random.u32(0..if world.calm { 12 } else { 14 }) {
                0..=11 => Ok(world.random.u64(0..1 << 20)),
                12 => Err(Declined::Refused("not today".into())),
                _ => Err(Declined::Error(Error::plain("the probe broke"))),
            };
            inputs.push(Input::Probed { execution_id, result });
        }
        for execution_id in std::mem::take(&mut self.missing) {
            inputs.push(Input::Gone { execution_id });
        }
        for (execution_id, run) in &mut self.runs {
            if run.starts.is_none_or(|at| at > now.min(run.ends)) {
                continue;
            }
            if world.random.u32(0..4) == 0 {
                let (topic, text) = ("Preparing Environment", "Pulling image: 100%".to_owned());
                inputs.push(Input::Preparing { execution_id: execution_id.clone(), topic, text });
            }
            run.starts = None;
            world.truth.running.insert((execution_id.clone(), self.id.clone()));
            inputs.push(Input::Started { execution_id: execution_id.clone() });
        }
        let ended: Vec<(String, Run)> =
            self.runs.iter().filter(|(_, run)| due(run.ends)).map(|(id, run)| (id.clone(), *run)).collect();
        for (execution_id, run) in ended {
            if run.publishing > 0 {
                let published = Run { ends: now + run.publishing, publishing: 0, ..run };
                self.runs.insert(execution_id.clone(), published);
                self.complete.insert(execution_id.clone());
                inputs.push(Input::Publishing { execution_id });
                continue;
            }
            self.runs.remove(&execution_id);
            self.complete.remove(&execution_id);
            let result = if run.fails {
                let error = Error::plain("boom");
                Err(Failed { topic: "Running Execution".into(), error, run_output: None })
            } else {
                world.truth.completed.insert((execution_id.clone(), self.id.clone()));
                let run_output = RunCommandResult { exit_code: run.exit_code, ..RunCommandResult::default() };
                Ok(Finished { run_output, ..Finished::default() })
            };
            inputs.push(Input::Finished { execution_id, result });
        }
    }

    fn input(&mut self, now: i64, packet: Packet, outgoing: &mut Vec<Packet>) -> Option<Input<u64>> {
        Some(match packet {
            Packet::HandshakeAnswer(true) => {
                self.last_answer = now;
                if self.connected {
                    return None;
                }
                self.connected = true;
                self.next_call = now + HEARTBEAT;
                self.outbox = Outbox::new(self.outbox.last_seq());
                Input::Connected { progress: self.tells_progress }
            }
            Packet::HeartbeatAnswer(Ok(_)) => {
                self.last_answer = now;
                return None;
            }
            Packet::HeartbeatAnswer(Err(_)) => {
                self.connected = false;
                self.next_call = now;
                return None;
            }
            Packet::InfoAnswer(true) => {
                self.told = self.telling;
                return None;
            }
            Packet::Message(seq, message) => {
                if self.bug == Some(Bug::MessagesAcknowledgedEarly) {
                    outgoing.push(Packet::MessageAck(seq));
                }
                Input::Message { message, token: seq }
            }
            Packet::ReportAck(seq) => {
                let (execution_id, kind) = self.outbox.acked(seq)?;
                self.acknowledged.push((execution_id.clone(), kind));
                Input::Delivered { execution_id, kind }
            }
            _ => return None,
        })
    }

    /// Shakes hands, sends heartbeats and reports that are due.
    pub(crate) fn deliver(&mut self, now: i64) -> Vec<Packet> {
        let local = self.clock.read(now);
        let mut outgoing = Vec::new();
        self.call(now, &mut outgoing);
        if let (true, Some(core)) = (self.connected, &self.core) {
            while let Some(attempt) = self.outbox.poll(local) {
                match core.message(&attempt.key.0, attempt.key.1) {
                    Some(message) => outgoing.push(Packet::Report(attempt.seq, message)),
                    None => {
                        self.outbox.acked(attempt.seq);
                    }
                }
            }
        }
        outgoing
    }

    fn call(&mut self, now: i64, outgoing: &mut Vec<Packet>) {
        let Some(core) = &self.core else { return };
        if self.connected && now - self.last_answer > SILENCE {
            self.connected = false;
            self.next_call = now;
        }
        if now < self.next_call {
            return;
        }
        if self.connected {
            let (free, queued, _, _) = core.load();
            outgoing.push(Packet::Heartbeat(free, queued));
            if self.told != self.zone {
                outgoing.push(Packet::Info(Box::new(self.info())));
                self.telling = self.zone;
            }
            self.next_call = now + HEARTBEAT;
        } else {
            outgoing.push(Packet::Handshake(Box::new(self.info())));
            (self.told, self.telling) = (self.zone, self.zone);
            self.next_call = now + HANDSHAKE;
        }
    }

    /// Moves to another zone. The orchestrator is told with the next heartbeat.
    pub(crate) fn relabel(&mut self, zone: &'static str) {
        self.zone = zone;
    }

    fn info(&self) -> NodeInfo {
        NodeInfo {
            node_id: self.id.clone(),
            node_type: NodeType::Compute,
            labels: [("zone".to_owned(), self.zone.to_owned())].into(),
            compute_node_info: ComputeNodeInfo {
                execution_engines: vec!["wasm".into()],
                max_capacity: self.capacity.clone(),
                max_job_requirements: self.capacity.clone(),
                ..ComputeNodeInfo::default()
            },
            supported_protocols: self
                .tells_progress
                .then(|| protocol::EXECUTION_PROGRESS.to_owned())
                .into_iter()
                .collect(),
            ..NodeInfo::default()
        }
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

    /// True when nothing runs that will end.
    pub(crate) fn is_idle(&self) -> bool {
        self.runs.values().all(|run| run.ends > FOR_EVER)
    }

    /// Executions that it was told to run and that are not being cancelled.
    pub(crate) fn told_to_run(&self) -> impl Iterator<Item = &Execution> {
        let slots = self.core.iter().flat_map(|core| core.slots());
        slots.filter(|slot| slot.state().is_executing()).map(|slot| &slot.execution)
    }

    /// N3 and that no more engines run than the core knows of.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        let Some(core) = self.core.as_ref().filter(|_| self.is_quiet()) else { return Ok(()) };
        let (_, _, running, _) = core.load();
        if self.runs.len() > running {
            return broken(
                "N1",
                format!("{} engines run on {}, {running} are known", self.runs.len(), self.id),
            );
        }
        let in_memory: Vec<String> = core
            .slots()
            .map(|slot| line(&slot.execution, slot.pending.filter(|_| slot.state().is_terminal())))
            .collect();
        let on_disk: Vec<String> = self
            .disk
            .executions
            .values()
            .map(|(execution, pending, _)| line(execution, pending.filter(|_| execution.is_terminal())))
            .collect();
        if in_memory == on_disk {
            return Ok(());
        }
        broken("N3", format!("{} knows {in_memory:?} and stored {on_disk:?}", self.id))
    }
}

/// The acknowledgement of a bid is not stored.
fn line(execution: &Execution, pending: Option<PendingReport>) -> String {
    format!("{} {} {pending:?}", execution.id, execution.compute_state.state_type)
}

/// What is outside of the hosts.
pub(crate) struct World<'a> {
    pub(crate) now: i64,
    pub(crate) random: &'a mut fastrand::Rng,
    pub(crate) truth: &'a mut Truth,
    /// Faults are over.
    pub(crate) calm: bool,
}
