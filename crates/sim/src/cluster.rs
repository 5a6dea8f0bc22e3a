//! Runs one cluster from a seed: first with faults, then without, until everything has converged.

use crate::compute::NodeHost;
use crate::faults::{self, Fault};
use crate::invariants::Violation;
use crate::network::{Packet, Weather};
use crate::orchestrator::{OrchestratorHost, commit_time};
use crate::workload::{self, Action};
use crate::{MS, SECOND};
use bacalhau_model::Job;
use bacalhau_orchestrator::core::Input;
use std::collections::BTreeMap;

/// What kind of run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Decides everything.
    pub seed: u64,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Jobs acknowledged to users.
    pub jobs: usize,
    /// Executions created.
    pub executions: usize,
    /// Faults injected.
    pub faults: usize,
    /// Events handled.
    pub events: u64,
    /// Virtual seconds.
    pub seconds: i64,
}

/// Faults and users act during this time.
const STORM: i64 = 120 * SECOND;
/// Without faults, everything must have converged after this much more.
const PATIENCE: i64 = 4 * 3_600 * SECOND;
/// More events than this in one run means that something runs in circles.
const MOST_EVENTS: u64 = 2_000_000;

/// Host number of the orchestrator; the nodes are 0, 1, ...
const ORCHESTRATOR: usize = usize::MAX;

enum Event {
    Arrive { host: usize, node: usize, packet: Box<Packet> },
    Committed { host: usize, life: u64 },
    Wake { host: usize, life: u64 },
    Start { host: usize, life: u64 },
    Fault(Fault),
    User(Action),
}

impl Event {
    fn is_for_orchestrator(&self) -> bool {
        match self {
            Event::Arrive { host, .. }
            | Event::Committed { host, .. }
            | Event::Wake { host, .. }
            | Event::Start { host, .. } => *host == ORCHESTRATOR,
            // A node's crash or a cut also tells the orchestrator at once, so they wait too.
            Event::Fault(_) | Event::User(_) => true,
        }
    }
}

struct Cluster {
    random: fastrand::Rng,
    now: i64,
    order: u64,
    events: BTreeMap<(i64, u64), Event>,
    orchestrator: OrchestratorHost,
    nodes: Vec<NodeHost>,
    weather: Weather,
    /// The orchestrator does not run until then.
    frozen_until: i64,
    /// Until when each node's link is cut.
    cut_until: Vec<i64>,
    /// When the last commit of each host finishes: commits are in order.
    busy_until: BTreeMap<usize, i64>,
    /// The next wake-up asked for, by host.
    wake_at: BTreeMap<usize, i64>,
    submitted: Vec<Job>,
    report: Report,
}

/// Runs one seed to its end.
pub fn run(scenario: Scenario) -> Result<Report, Violation> {
    let mut random = fastrand::Rng::with_seed(scenario.seed);
    let nodes = random.usize(1..6);
    let (weather, faults) = faults::plan(&mut random, nodes, STORM);
    let actions = workload::plan(&mut random, STORM);
    let mut cluster = Cluster {
        now: SECOND,
        order: 0,
        events: BTreeMap::new(),
        orchestrator: OrchestratorHost::new(),
        nodes: (0..nodes).map(|n| NodeHost::new(n, f64::from(random.u32(1..5)))).collect(),
        weather,
        frozen_until: 0,
        cut_until: vec![0; nodes],
        busy_until: BTreeMap::new(),
        wake_at: BTreeMap::new(),
        submitted: Vec::new(),
        report: Report { faults: faults.len(), ..Report::default() },
        random,
    };
    cluster.at(0, Event::Start { host: ORCHESTRATOR, life: 0 });
    for host in 0..nodes {
        cluster.at(0, Event::Start { host, life: 0 });
    }
    // A moment for the nodes to join, then users and faults.
    faults.into_iter().for_each(|(at, fault)| cluster.at(at + SECOND, Event::Fault(fault)));
    actions.into_iter().for_each(|(at, action)| cluster.at(at + SECOND, Event::User(action)));
    cluster.go()
}

impl Cluster {
    fn at(&mut self, delay: i64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + delay.max(0), self.order), event);
    }

    fn go(mut self) -> Result<Report, Violation> {
        let storm_ends = self.now + STORM;
        let mut calm = false;
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.report.events += 1;
            if at < self.frozen_until && event.is_for_orchestrator() {
                let thawed = self.frozen_until - at;
                self.at(thawed, event);
                continue;
            }
            if !calm && at >= storm_ends {
                calm = true;
                self.weather = Weather::FAIR;
                self.cut_until.iter_mut().for_each(|until| *until = 0);
            }
            self.handle(event)?;
            if calm && self.is_idle() {
                return Ok(self.finish());
            }
            if at > storm_ends + PATIENCE || self.report.events > MOST_EVENTS {
                return Err(Violation { name: "M2", what: self.unfinished() });
            }
        }
        Err(Violation { name: "M2", what: "nothing happens any more".to_owned() })
    }

    fn is_idle(&self) -> bool {
        let users_done = !self.events.values().any(|e| matches!(e, Event::User(_) | Event::Fault(_)));
        users_done && self.orchestrator.is_idle() && self.nodes.iter().all(NodeHost::is_idle)
    }

    fn finish(mut self) -> Report {
        self.report.jobs = self.orchestrator.disk.jobs.len();
        self.report.executions = self.orchestrator.disk.executions.len();
        self.report.seconds = self.now / SECOND;
        self.report
    }

    fn unfinished(&self) -> String {
        let census = self.orchestrator.core.as_ref().map(|c| c.census());
        let busy: Vec<&str> = self.nodes.iter().filter(|n| !n.is_idle()).map(|n| n.id.as_str()).collect();
        format!("not converged after {} events: {census:?}, busy nodes {busy:?}", self.report.events)
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Start { host: ORCHESTRATOR, life } if life == self.orchestrator.life => {
                let seed = self.random.u64(..);
                self.orchestrator.start(self.now, seed);
                self.step_orchestrator(Input::Tick)?;
            }
            Event::Start { host, life } => {
                if let Some(node) = self.nodes.get_mut(host).filter(|n| n.life == life) {
                    let batch = node.start(self.now);
                    self.commit_if(batch, host, life);
                    self.poll_node(host)?;
                }
            }
            Event::Committed { host: ORCHESTRATOR, life } if life == self.orchestrator.life => {
                let outgoing = self.orchestrator.committed(self.now)?;
                self.send_to_nodes(outgoing);
                self.poll_orchestrator()?;
            }
            Event::Committed { host, life } => {
                let random = &mut self.random;
                let node = self.nodes.get_mut(host).filter(|n| n.life == life);
                if let Some(outgoing) = node.map(|n| n.committed(self.now, random)) {
                    self.send_to_orchestrator(host, outgoing);
                    self.poll_node(host)?;
                }
            }
            Event::Wake { host, life } => self.wake(host, life)?,
            Event::Arrive { host: ORCHESTRATOR, node, packet } => {
                self.arrive_at_orchestrator(node, *packet)?
            }
            Event::Arrive { host, packet, .. } => {
                if let Some(node) = self.nodes.get_mut(host) {
                    let (batch, life) = (node.receive(self.now, *packet)?, node.life);
                    self.commit_if(batch, host, life);
                    self.poll_node(host)?;
                }
            }
            Event::Fault(fault) => self.fault(fault)?,
            Event::User(action) => self.user(action)?,
        }
        Ok(())
    }

    fn wake(&mut self, host: usize, life: u64) -> Result<(), Violation> {
        self.wake_at.remove(&host);
        if host != ORCHESTRATOR {
            return self.poll_node(host);
        }
        if life == self.orchestrator.life { self.step_orchestrator(Input::Tick) } else { Ok(()) }
    }

    fn user(&mut self, action: Action) -> Result<(), Violation> {
        if self.orchestrator.core.is_none() {
            return Ok(());
        }
        let batch = self.orchestrator.user(self.now, &action, &self.submitted)?;
        if let Action::Submit(job) = action {
            self.submitted.push(*job);
        }
        self.commit_if(batch, ORCHESTRATOR, self.orchestrator.life);
        self.poll_orchestrator()
    }

    fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
        match fault {
            Fault::CrashOrchestrator(length) => {
                if self.orchestrator.core.is_some() {
                    self.orchestrator.crash(&mut self.random)?;
                    self.busy_until.remove(&ORCHESTRATOR);
                    self.at(length, Event::Start { host: ORCHESTRATOR, life: self.orchestrator.life });
                }
            }
            Fault::Freeze(length) => self.frozen_until = self.now + length,
            Fault::CrashNode(host, length) => self.crash_node(host, length, false)?,
            Fault::WipeNode(host, length) => self.crash_node(host, length, true)?,
            Fault::Cut(host, length) => {
                if let Some(until) = self.cut_until.get_mut(host) {
                    *until = self.now + length;
                    self.connection_lost(host)?;
                }
            }
        }
        Ok(())
    }

    fn crash_node(&mut self, host: usize, length: i64, wipe: bool) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(host) else { return Ok(()) };
        node.crash(wipe, &mut self.random);
        let life = node.life;
        self.busy_until.remove(&host);
        self.at(length, Event::Start { host, life });
        self.connection_lost(host)
    }

    /// The orchestrator's server notices a broken connection, sometimes.
    fn connection_lost(&mut self, host: usize) -> Result<(), Violation> {
        let Some(node) = self.nodes.get(host) else { return Ok(()) };
        let node_id = node.id.clone();
        if self.random.bool() { self.step_orchestrator(Input::ConnectionLost { node_id }) } else { Ok(()) }
    }

    fn step_orchestrator(&mut self, input: Input<crate::orchestrator::Token>) -> Result<(), Violation> {
        let batch = self.orchestrator.step(self.now, input)?;
        self.commit_if(batch, ORCHESTRATOR, self.orchestrator.life);
        self.poll_orchestrator()
    }

    fn arrive_at_orchestrator(&mut self, node: usize, packet: Packet) -> Result<(), Violation> {
        let Some(id) = self.nodes.get(node).map(|n| n.id.clone()) else { return Ok(()) };
        let batch = self.orchestrator.receive(self.now, &id, packet)?;
        self.commit_if(batch, ORCHESTRATOR, self.orchestrator.life);
        self.poll_orchestrator()
    }

    fn poll_orchestrator(&mut self) -> Result<(), Violation> {
        let outgoing = self.orchestrator.poll(self.now);
        self.send_to_nodes(outgoing);
        let (next, life) = (self.orchestrator.next_wakeup(), self.orchestrator.life);
        self.wake_by(ORCHESTRATOR, life, next);
        Ok(())
    }

    fn poll_node(&mut self, host: usize) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(host) else { return Ok(()) };
        let (outgoing, batches) = node.poll(self.now)?;
        let (next, life) = (node.next_wakeup(), node.life);
        for _ in 0..batches {
            self.commit_if(true, host, life);
        }
        self.send_to_orchestrator(host, outgoing);
        self.wake_by(host, life, next);
        Ok(())
    }

    /// Wakes a host when something is due, once.
    fn wake_by(&mut self, host: usize, life: u64, at: Option<i64>) {
        let Some(at) = at.map(|at| at.max(self.now + MS)) else { return };
        if self.wake_at.get(&host).is_some_and(|already| *already <= at && *already > self.now) {
            return;
        }
        self.wake_at.insert(host, at);
        self.at(at - self.now, Event::Wake { host, life });
    }

    /// Schedules a commit behind the host's earlier ones.
    fn commit_if(&mut self, batch: bool, host: usize, life: u64) {
        if batch {
            let busy = self.busy_until.get(&host).copied().unwrap_or(0).max(self.now);
            let done = busy + commit_time(&mut self.random);
            self.busy_until.insert(host, done);
            self.at(done - self.now, Event::Committed { host, life });
        }
    }

    fn is_cut(&self, node: usize) -> bool {
        self.cut_until.get(node).is_some_and(|until| *until > self.now)
    }

    fn send_to_nodes(&mut self, outgoing: Vec<(String, Packet)>) {
        for (id, packet) in outgoing {
            let Some(node) = self.nodes.iter().position(|n| n.id == id) else { continue };
            if !self.is_cut(node) {
                for delay in self.weather.deliver(&mut self.random) {
                    self.at(delay, Event::Arrive { host: node, node, packet: Box::new(packet.clone()) });
                }
            }
        }
    }

    fn send_to_orchestrator(&mut self, node: usize, outgoing: Vec<Packet>) {
        if self.is_cut(node) {
            return;
        }
        for packet in outgoing {
            for delay in self.weather.deliver(&mut self.random) {
                self.at(delay, Event::Arrive { host: ORCHESTRATOR, node, packet: Box::new(packet.clone()) });
            }
        }
    }
}
