//! A compute node as a host: its core, its disk, its link to the orchestrator, and an engine that takes time.

use crate::disk::ComputeDisk;
use crate::invariants::{Violation, within};
use crate::network::{Packet, ToOrchestrator};
use crate::{MS, SECOND};
use bacalhau_compute::core::{BidPolicy, Core, Effect, Failed, Finished, Input, Output};
use bacalhau_model::{ComputeNodeInfo, Error, NodeInfo, NodeType, Resources};
use bacalhau_store::compute::Change;
use bacalhau_wire::delivery::Outbox;
use std::collections::{BTreeMap, VecDeque};

/// Between heartbeats.
const HEARTBEAT: i64 = 5 * SECOND;
/// Between attempts to shake hands.
const HANDSHAKE: i64 = SECOND;
/// Without an answer for this long the link counts as broken.
const SILENCE: i64 = 20 * SECOND;

/// A batch on its way to the disk.
struct Batch {
    changes: Vec<Change>,
    effects: Vec<Effect<u64>>,
}

/// What a run of the engine will do.
#[derive(Clone, Copy, Debug)]
struct Run {
    ends: i64,
    fails: bool,
}

/// The host.
pub(crate) struct NodeHost {
    pub(crate) id: String,
    capacity: Resources,
    core: Option<Core>,
    disk: ComputeDisk,
    on_the_way: VecDeque<Batch>,
    outbox: Outbox<ToOrchestrator>,
    runs: BTreeMap<String, Run>,
    connected: bool,
    last_answer: i64,
    next_call: i64,
    pub(crate) life: u64,
}

impl NodeHost {
    pub(crate) fn new(index: usize, cpu: f64) -> NodeHost {
        NodeHost {
            id: format!("n-{index}"),
            capacity: Resources { cpu, memory: 8 << 30, disk: 8 << 30, ..Resources::default() },
            core: None,
            disk: ComputeDisk::default(),
            on_the_way: VecDeque::new(),
            outbox: Outbox::new(0),
            runs: BTreeMap::new(),
            connected: false,
            last_answer: 0,
            next_call: 0,
            life: 0,
        }
    }

    fn policy(&self) -> BidPolicy {
        BidPolicy {
            engines: vec!["wasm".into()],
            capacity: self.capacity.clone(),
            default_resources: Resources { cpu: 0.1, memory: 100 << 20, ..Resources::default() },
            ..BidPolicy::default()
        }
    }

    /// Starts with what is on the disk. True when a batch was started whose commit is to be scheduled.
    pub(crate) fn start(&mut self, now: i64) -> bool {
        let mut core = Core::new(self.policy());
        let mut out = Output::default();
        core.restore(now, self.disk.load(), &mut out);
        self.core = Some(core);
        self.outbox = Outbox::new(u64::try_from(now / 1_000).unwrap_or(0));
        self.connected = false;
        self.next_call = now;
        self.batch(out)
    }

    /// Dies, with its engine. Some of what was on the way may have reached the disk.
    pub(crate) fn crash(&mut self, wipe: bool, random: &mut fastrand::Rng) {
        self.core = None;
        self.life += 1;
        self.runs.clear();
        let made_it = random.usize(0..=self.on_the_way.len());
        for batch in std::mem::take(&mut self.on_the_way).into_iter().take(made_it) {
            batch.changes.into_iter().for_each(|change| self.disk.apply(change));
        }
        if wipe {
            self.disk = ComputeDisk::default();
        }
    }

    fn batch(&mut self, out: Output<u64>) -> bool {
        if out.changes.is_empty() && out.effects.is_empty() {
            return false;
        }
        self.on_the_way.push_back(Batch { changes: out.changes, effects: out.effects });
        true
    }

    fn step(&mut self, now: i64, input: Input<u64>) -> Result<bool, Violation> {
        let Some(core) = &mut self.core else { return Ok(false) };
        let mut out = Output::default();
        core.step(now, input, &mut out);
        within(&format!("in use on {}", self.id), core.in_use(), &self.capacity)?;
        Ok(self.batch(out))
    }

    /// The oldest batch is on disk: its effects happen.
    pub(crate) fn committed(&mut self, now: i64, random: &mut fastrand::Rng) -> Vec<Packet> {
        let Some(batch) = self.on_the_way.pop_front() else { return Vec::new() };
        batch.changes.into_iter().for_each(|change| self.disk.apply(change));
        let mut outgoing = Vec::new();
        for effect in batch.effects {
            match effect {
                Effect::Acknowledge(seq) => outgoing.push(Packet::MessageAck(seq)),
                Effect::Report { execution_id, kind } => self.outbox.push((execution_id, kind)),
                Effect::Run(execution) => {
                    let (length, fails) = crate::workload::engine_run(random);
                    let limit = execution
                        .job
                        .as_ref()
                        .and_then(|j| j.task())
                        .map_or(0, |t| t.timeouts.execution_limit());
                    let limit = if limit > 0 { limit * SECOND } else { i64::MAX };
                    let run = Run { ends: now + length.min(limit), fails: fails || length > limit };
                    self.runs.insert(execution.id.clone(), run);
                }
                Effect::Cancel(id) => {
                    if let Some(run) = self.runs.get_mut(&id) {
                        *run = Run { ends: now + random.i64(1..50) * MS, fails: true };
                    }
                }
                Effect::Probe(_) => {}
            }
        }
        outgoing
    }

    /// Everything that is due by now, engine and link.
    pub(crate) fn poll(&mut self, now: i64) -> Result<(Vec<Packet>, usize), Violation> {
        let mut batches = 0;
        let ended: Vec<_> =
            self.runs.iter().filter(|(_, run)| run.ends <= now).map(|(id, r)| (id.clone(), *r)).collect();
        for (execution_id, run) in ended {
            self.runs.remove(&execution_id);
            let result = match run.fails {
                false => Ok(Finished::default()),
                true => Err(Failed {
                    topic: "Running Execution".into(),
                    error: Error::plain("boom"),
                    run_output: None,
                }),
            };
            batches += usize::from(self.step(now, Input::Finished { execution_id, result })?);
        }
        if self.core.as_ref().and_then(Core::next_wakeup).is_some_and(|at| at <= now) {
            batches += usize::from(self.step(now, Input::Tick)?);
        }
        let mut outgoing = Vec::new();
        self.call(now, &mut outgoing);
        if let (true, Some(core)) = (self.connected, &self.core) {
            while let Some(attempt) = self.outbox.poll(now) {
                match core.message(&attempt.key.0, attempt.key.1) {
                    Some(message) => outgoing.push(Packet::Report(attempt.seq, message)),
                    None => {
                        self.outbox.acked(attempt.seq);
                    }
                }
            }
        }
        Ok((outgoing, batches))
    }

    /// Shakes hands until that succeeds, then sends heartbeats.
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
            self.next_call = now + HEARTBEAT;
        } else {
            outgoing.push(Packet::Handshake(Box::new(self.info())));
            self.next_call = now + HANDSHAKE;
        }
    }

    fn info(&self) -> NodeInfo {
        NodeInfo {
            node_id: self.id.clone(),
            node_type: NodeType::Compute,
            compute_node_info: ComputeNodeInfo {
                execution_engines: vec!["wasm".into()],
                max_capacity: self.capacity.clone(),
                max_job_requirements: self.capacity.clone(),
                ..ComputeNodeInfo::default()
            },
            ..NodeInfo::default()
        }
    }

    /// A packet of the orchestrator arrived.
    pub(crate) fn receive(&mut self, now: i64, packet: Packet) -> Result<bool, Violation> {
        let input = match packet {
            Packet::HandshakeAnswer(true) => {
                self.last_answer = now;
                if self.connected {
                    return Ok(false);
                }
                self.connected = true;
                self.next_call = now + HEARTBEAT;
                self.outbox = Outbox::new(self.outbox.last_seq());
                Input::Connected
            }
            Packet::HeartbeatAnswer(Ok(_)) => {
                self.last_answer = now;
                return Ok(false);
            }
            Packet::HeartbeatAnswer(Err(_)) => {
                self.connected = false;
                self.next_call = now;
                return Ok(false);
            }
            Packet::Message(seq, message) => Input::Message { message, token: seq },
            Packet::ReportAck(seq) => match self.outbox.acked(seq) {
                Some((execution_id, kind)) => Input::Delivered { execution_id, kind },
                None => return Ok(false),
            },
            _ => return Ok(false),
        };
        self.step(now, input)
    }

    /// When something is due at the latest.
    pub(crate) fn next_wakeup(&self) -> Option<i64> {
        let core = self.core.as_ref()?;
        let runs = self.runs.values().map(|run| run.ends);
        let link = [self.next_call];
        let outbox = self.outbox.next_wakeup().filter(|_| self.connected);
        runs.chain(link).chain(outbox).chain(core.next_wakeup()).min()
    }

    /// True when nothing is left to do: the faults-off goal.
    pub(crate) fn is_idle(&self) -> bool {
        self.on_the_way.is_empty()
            && self.runs.is_empty()
            && self.core.as_ref().is_some_and(|c| c.slots().next().is_none())
    }
}
