//! Runs one cluster from a seed: first with faults, then without, until everything has converged and stays so.

mod act;

use crate::bugs::Bug;
use crate::compute::{NodeHost, World};
use crate::faults::{self, CrashPoint, Fault, Host, commit_time};
use crate::goal;
use crate::invariants::{Truth, Violation, broken};
use crate::network::{Link, Packet, Weather};
use crate::orchestrator::{Command, OrchestratorHost, Outgoing};
use crate::trace::{Failure, Trace};
use crate::workload::{self, Action};
use crate::{HOUR, MINUTE, MS, SECOND};
use bacalhau_store::compute::PendingReport;
use bacalhau_store::orchestrator::PendingMessage;
use std::collections::BTreeMap;

/// What kind of run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Decides everything.
    pub seed: u64,
    /// A known mistake in the shells.
    pub bug: Option<Bug>,
    /// Instead of the faults of the seed: one crash, at this commit of this host (from 0).
    pub crash: Option<(Host, usize, CrashPoint)>,
    /// What happens is written down, so that two runs can be compared by [`Report::trace`].
    pub traced: bool,
}

impl Scenario {
    /// A run with the faults of its seed.
    pub fn new(seed: u64) -> Scenario {
        Scenario { seed, bug: None, crash: None, traced: false }
    }
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
    /// Crashes of any host, at any point.
    pub crashes: usize,
    /// Events handled.
    pub events: u64,
    /// Virtual seconds.
    pub seconds: i64,
    /// Transactions of the orchestrator and of each node.
    pub commits: BTreeMap<Host, usize>,
    /// Times that a restart of the orchestrator was compared with its memory.
    pub restarts_compared: usize,
    /// Stands for everything that happened, in order; 0 in a run that is not traced.
    pub trace: u64,
}

/// When runs begin, nanoseconds since 1970: some day, so that clocks can be wrong in both directions.
const BEGINNING: i64 = 1_700_000_000 * SECOND;
/// Without faults, the goal must be reached after this much more.
const PATIENCE: i64 = 2 * HOUR;
/// Then it must stay reached for this long.
const STABLE: i64 = 10 * MINUTE;
/// Times that a reached goal may be left again, because a job's patience ended.
const MOST_RESTLESS: usize = 8;
/// More events than this in one run means that something runs in circles.
const MOST_EVENTS: u64 = 5_000_000;

enum Event {
    Arrive {
        to: Host,
        from: Host,
        life: u64,
        packet: Box<Packet>,
    },
    Committed {
        host: Host,
        life: u64,
    },
    Wake {
        host: Host,
        life: u64,
    },
    Start {
        host: Host,
        life: u64,
    },
    Fault(Fault),
    User(Box<Action>),
    LostConnection(usize),
    /// Is the goal reached?
    Look,
}

impl Event {
    /// The host that has to run for it.
    fn host(&self) -> Option<Host> {
        match self {
            Event::Arrive { to, .. } => Some(*to),
            Event::Committed { host, .. } | Event::Wake { host, .. } => Some(*host),
            Event::User(_) | Event::LostConnection(_) => Some(Host::Orchestrator),
            Event::Start { .. } | Event::Fault(_) | Event::Look => None,
        }
    }
}

/// What the seed does to one host.
#[derive(Clone, Copy, Debug, Default)]
struct Hardship {
    /// It does not run until then.
    frozen_until: i64,
    /// Its commits take up to `slow_most` until then.
    slow_until: i64,
    slow_most: i64,
    /// It dies at its next commit, for this long.
    dies: Option<(CrashPoint, i64)>,
    /// The next wake-up asked for.
    wake_at: Option<i64>,
    commits: usize,
}

struct Cluster {
    seed: u64,
    random: fastrand::Rng,
    now: i64,
    order: u64,
    events: BTreeMap<(i64, u64), Event>,
    orchestrator: OrchestratorHost,
    nodes: Vec<NodeHost>,
    links: Vec<Link>,
    weather: Weather,
    hardships: BTreeMap<Host, Hardship>,
    truth: Truth,
    calm: bool,
    /// Users and faults that are still to come.
    to_come: usize,
    /// Since when the goal is reached, and how many executions there were then.
    reached: Option<(i64, usize)>,
    /// Times that there were new executions after that.
    restless: usize,
    storm_ends: i64,
    planned_crash: Option<(Host, usize, CrashPoint)>,
    trace: Trace,
    report: Report,
}

/// Runs one seed to its end.
///
/// # Errors
/// The first broken invariant, with what happened before.
pub fn run(scenario: Scenario) -> Result<Report, Failure> {
    match Cluster::new(scenario, scenario.traced).go() {
        Ok(report) => Ok(report),
        // The same again, this time writing down what happens.
        Err(failure) => Err(Cluster::new(scenario, true).go().err().unwrap_or(failure)),
    }
}

impl Cluster {
    fn new(scenario: Scenario, traced: bool) -> Cluster {
        let mut random = fastrand::Rng::with_seed(scenario.seed);
        let nodes = random.usize(1..6);
        let storm = if scenario.crash.is_some() { MINUTE } else { workload::storm(&mut random) };
        let manual = random.u32(0..5) == 0;
        let (weather, faults) = match scenario.crash {
            Some(_) => (Weather::FAIR, Vec::new()),
            None => faults::plan(&mut random, nodes, storm),
        };
        let actions = workload::plan(&mut random, nodes, manual, storm);
        let hosts = (0..nodes).map(|n| NodeHost::new(n, &mut random, scenario.bug)).collect();
        let late: Vec<i64> =
            (0..nodes).map(|_| if random.u32(0..4) == 0 { random.i64(0..storm) } else { 0 }).collect();
        let mut cluster = Cluster {
            seed: scenario.seed,
            now: BEGINNING,
            order: 0,
            events: BTreeMap::new(),
            orchestrator: OrchestratorHost::new(manual, scenario.bug),
            nodes: hosts,
            links: vec![Link::default(); nodes],
            weather,
            hardships: BTreeMap::new(),
            truth: Truth::default(),
            calm: false,
            to_come: faults.len() + actions.len(),
            reached: None,
            restless: 0,
            storm_ends: BEGINNING + storm,
            planned_crash: scenario.crash,
            trace: Trace::new(traced),
            report: Report { faults: faults.len(), ..Report::default() },
            random,
        };
        cluster.at(storm, Event::Look);
        cluster.at(0, Event::Start { host: Host::Orchestrator, life: 0 });
        for (n, late) in late.into_iter().enumerate() {
            cluster.at(late, Event::Start { host: Host::Node(n), life: 0 });
        }
        // A moment for the nodes to join, then users and faults.
        faults.into_iter().for_each(|(at, fault)| cluster.at(at + SECOND, Event::Fault(fault)));
        actions.into_iter().for_each(|(at, action)| cluster.at(at + SECOND, Event::User(Box::new(action))));
        if manual {
            // In the end every node that still waits is let in.
            for n in 0..nodes {
                cluster.to_come += 1;
                cluster.at(storm + 2 * SECOND, Event::User(Box::new(Action::Approve(n))));
            }
        }
        cluster
    }

    fn at(&mut self, delay: i64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + delay.max(0), self.order), event);
    }

    fn go(mut self) -> Result<Report, Failure> {
        let storm_ends = self.storm_ends;
        match self.until_the_end(storm_ends) {
            Ok(()) => Ok(self.finish()),
            Err(violation) => {
                let at = clock_text(self.now);
                Err(Failure { seed: self.seed, violation, at, trace: self.trace.lines() })
            }
        }
    }

    fn until_the_end(&mut self, storm_ends: i64) -> Result<(), Violation> {
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.report.events += 1;
            if let Some(host) = event.host() {
                let until = self.hardship(host).frozen_until;
                if at < until {
                    self.at(until - at, event);
                    continue;
                }
            }
            if !self.calm && at >= storm_ends {
                self.calm_down();
            }
            if matches!(event, Event::Look) {
                if self.look()? {
                    return Ok(());
                }
            } else {
                self.handle(event)?;
            }
            if at > storm_ends + PATIENCE || self.report.events > MOST_EVENTS {
                return broken("M1", self.unfinished());
            }
        }
        broken("M1", "nothing happens any more")
    }

    fn calm_down(&mut self) {
        self.trace.add(|| format!("{} -- the storm is over --", clock_text(self.now)));
        self.calm = true;
        self.weather = Weather::FAIR;
        self.links.iter_mut().for_each(|link| *link = Link::default());
        for hardship in self.hardships.values_mut() {
            (hardship.frozen_until, hardship.slow_until, hardship.dies) = (0, 0, None);
        }
    }

    /// Looks again, never in step with what hosts do at fixed times.
    fn look_in(&mut self, delay: i64) {
        let jitter = self.random.i64(0..1_000) * MS;
        self.at(delay + jitter, Event::Look);
    }

    /// Looks whether the goal is reached. True when it was for long enough.
    fn look(&mut self) -> Result<bool, Violation> {
        if self.unmet().is_some() {
            self.reached = None;
            self.look_in(SECOND);
            return Ok(false);
        }
        let executions = self.orchestrator.disk.executions();
        let (since, then) = *self.reached.get_or_insert((self.now, executions));
        if executions != then {
            // A job that waited may have failed, which is somebody else's chance; but that comes to an end.
            self.restless += 1;
            if self.restless > MOST_RESTLESS {
                return broken(
                    "M2",
                    format!("{} executions more, and it goes on like that", executions - then),
                );
            }
            self.reached = None;
            self.look_in(SECOND);
            return Ok(false);
        }
        if self.now - since < STABLE {
            self.look_in(20 * SECOND);
            return Ok(false);
        }
        self.orchestrator.check_restart(self.now)?;
        self.orchestrator.watch.all_kept(&self.orchestrator.disk)?;
        Ok(true)
    }

    fn unmet(&self) -> Option<String> {
        if self.to_come > 0 {
            return Some(format!("{} users and faults are still to come", self.to_come));
        }
        goal::unmet(&self.orchestrator, &self.nodes)
    }

    fn finish(mut self) -> Report {
        self.report.jobs = self.orchestrator.disk.jobs.len();
        self.report.executions = self.orchestrator.disk.executions();
        self.report.seconds = (self.now - BEGINNING) / SECOND;
        self.report.commits = self.hardships.iter().map(|(host, h)| (*host, h.commits)).collect();
        self.report.trace = self.trace.digest();
        self.report
    }

    fn unfinished(&self) -> String {
        let census = self.orchestrator.core.as_ref().map(|core| core.census());
        let unmet = self.unmet().unwrap_or_else(|| "the goal does not last".to_owned());
        let audit = self.orchestrator.core.as_ref().map(|core| core.audit()).unwrap_or_default();
        let audit: Vec<String> =
            audit.iter().map(|(subject, what)| format!("\n    {subject}: {what}")).collect();
        format!("not converged after {} events: {unmet}; {census:?}{}", self.report.events, audit.concat())
    }

    fn hardship(&mut self, host: Host) -> &mut Hardship {
        self.hardships.entry(host).or_default()
    }

    fn life(&self, host: Host) -> u64 {
        match host {
            Host::Orchestrator => self.orchestrator.life,
            Host::Node(n) => self.nodes.get(n).map_or(0, |node| node.life),
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Start { host, life } if life == self.life(host) => self.start(host),
            Event::Committed { host, life } if life == self.life(host) => self.committed(host),
            Event::Wake { host, life } if life == self.life(host) => {
                let now = self.now;
                let hardship = self.hardship(host);
                if hardship.wake_at.is_some_and(|at| at > now) {
                    // An earlier one came first and asked for the next by itself.
                    return Ok(());
                }
                hardship.wake_at = None;
                self.turn(host)
            }
            // A packet belongs to a connection, and a connection to a process.
            Event::Arrive { to, from, life, packet } if life == self.life(to) => {
                self.arrive(to, from, *packet)
            }
            Event::Fault(fault) => {
                self.to_come -= 1;
                if self.calm { Ok(()) } else { self.fault(fault) }
            }
            Event::User(action) => self.user(*action),
            Event::LostConnection(n) => {
                self.orchestrator.push(Command::ConnectionLost(workload::node_id(n)));
                self.turn(Host::Orchestrator)
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, host: Host) -> Result<(), Violation> {
        self.trace.add(|| format!("{} {host:?} starts", clock_text(self.now)));
        match host {
            Host::Orchestrator => self.orchestrator.start(self.now, self.random.u64(..)),
            Host::Node(n) => {
                if let Some(node) = self.nodes.get_mut(n) {
                    node.start(self.now);
                }
            }
        }
        self.turn(host)
    }

    fn arrive(&mut self, to: Host, from: Host, packet: Packet) -> Result<(), Violation> {
        if !matches!(packet, Packet::Heartbeat(..) | Packet::HeartbeatAnswer(_)) {
            self.trace.add(|| format!("{} {from:?} > {to:?}: {packet}", clock_text(self.now)));
        }
        match (to, from) {
            (Host::Orchestrator, Host::Node(n)) => {
                self.orchestrator.push(Command::Packet(workload::node_id(n), Box::new(packet)));
            }
            (Host::Node(n), _) => {
                if let Some(node) = self.nodes.get_mut(n) {
                    node.push(packet);
                }
            }
            _ => {}
        }
        // Sometimes a busy host takes in several things at once.
        if self.random.u32(0..8) == 0 {
            let (life, delay) = (self.life(to), self.random.i64(1..20) * MS);
            let at = self.now + delay;
            let now = self.now;
            let hardship = self.hardship(to);
            if hardship.wake_at.is_none_or(|already| already > at || already <= now) {
                hardship.wake_at = Some(at);
                self.at(delay, Event::Wake { host: to, life });
            }
            return Ok(());
        }
        self.turn(to)
    }

    /// The transaction of a host is on disk, or its end is.
    fn committed(&mut self, host: Host) -> Result<(), Violation> {
        let number = self.hardship(host).commits;
        self.hardship(host).commits += 1;
        if let Some((planned, at, point)) = self.planned_crash
            && planned == host
            && at == number
        {
            self.planned_crash = None;
            self.hardship(host).dies = Some((point, SECOND));
        }
        if let Some((point, length)) = self.hardship(host).dies.take() {
            return self.crash_at(host, point, length);
        }
        self.write(host)?;
        self.turn(host)
    }

    fn write(&mut self, host: Host) -> Result<(), Violation> {
        match host {
            Host::Orchestrator => self.orchestrator.committed(&self.truth)?,
            Host::Node(n) => {
                if let Some(node) = self.nodes.get_mut(n) {
                    node.committed();
                }
            }
        }
        Ok(())
    }

    /// A host does everything it can do now, as its shell's loop would.
    fn turn(&mut self, host: Host) -> Result<(), Violation> {
        loop {
            self.release(host, usize::MAX)?;
            let before = self.in_flight(host);
            self.work(host)?;
            self.begin(host);
            if self.in_flight(host) == before {
                break;
            }
            // What has no changes needs no disk and leaves at once.
        }
        self.deliver(host);
        self.sleep(host);
        self.check(host)
    }

    fn in_flight(&self, host: Host) -> usize {
        match host {
            Host::Orchestrator => self.orchestrator.pipeline.len(),
            Host::Node(n) => self.nodes.get(n).map_or(0, |node| node.pipeline.len()),
        }
    }

    fn release(&mut self, host: Host, most: usize) -> Result<(), Violation> {
        match host {
            Host::Orchestrator => {
                let outgoing = self.orchestrator.release(self.now, most)?;
                self.send_to_nodes(outgoing);
            }
            Host::Node(n) => {
                let mut world = World {
                    now: self.now,
                    random: &mut self.random,
                    truth: &mut self.truth,
                    calm: self.calm,
                };
                let Some(node) = self.nodes.get_mut(n) else { return Ok(()) };
                let outgoing = node.release(most, &mut world)?;
                self.send_to_orchestrator(n, outgoing);
            }
        }
        Ok(())
    }

    fn work(&mut self, host: Host) -> Result<(), Violation> {
        match host {
            Host::Orchestrator => {
                let outgoing = self.orchestrator.work(self.now)?;
                self.send_to_nodes(outgoing);
                self.check_messages()
            }
            Host::Node(n) => {
                let mut world = World {
                    now: self.now,
                    random: &mut self.random,
                    truth: &mut self.truth,
                    calm: self.calm,
                };
                let Some(node) = self.nodes.get_mut(n) else { return Ok(()) };
                let outgoing = node.work(&mut world)?;
                self.send_to_orchestrator(n, outgoing);
                self.check_reports(n)
            }
        }
    }

    /// D2: what a node acknowledged is on its disk.
    fn check_messages(&mut self) -> Result<(), Violation> {
        for (node_id, (id, kind)) in std::mem::take(&mut self.orchestrator.acknowledged) {
            let node = self.nodes.iter().find(|node| node.id == node_id);
            let record = node.and_then(|node| node.disk.executions.get(&id));
            let runs = record.is_some_and(|(e, _, _)| e.compute_state.state_type.is_executing());
            if kind == PendingMessage::CancelExecution && runs {
                return broken("D2", format!("{node_id} acknowledged the end of {id} and would run it"));
            }
        }
        Ok(())
    }

    /// D1: what the orchestrator acknowledged is on its disk.
    fn check_reports(&mut self, n: usize) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(n) else { return Ok(()) };
        for (id, kind) in std::mem::take(&mut node.acknowledged) {
            let record = self.orchestrator.disk.execution(&id);
            let open = record.map(|(e, _)| e).filter(|e| !e.is_terminal());
            let ends = !matches!(kind, PendingReport::BidResult | PendingReport::Progress);
            if let Some(e) = open.filter(|_| ends) {
                let state = e.compute_state.state_type;
                return broken("D1", format!("{kind:?} of {id} was acknowledged, it is stored as {state}"));
            }
        }
        Ok(())
    }

    /// Begins a transaction when there is something to write.
    fn begin(&mut self, host: Host) {
        let begun = match host {
            Host::Orchestrator => self.orchestrator.pipeline.begin(),
            Host::Node(n) => self.nodes.get_mut(n).is_some_and(|node| node.pipeline.begin()),
        };
        if begun {
            let (now, hardship) = (self.now, *self.hardship(host));
            let time = match now < hardship.slow_until {
                true => self.random.i64(MS..hardship.slow_most.max(2 * MS)),
                false => commit_time(&mut self.random),
            };
            let life = self.life(host);
            self.at(time, Event::Committed { host, life });
        }
    }

    fn deliver(&mut self, host: Host) {
        match host {
            Host::Orchestrator => {
                let outgoing = self.orchestrator.deliver(self.now);
                self.send_to_nodes(outgoing);
            }
            Host::Node(n) => {
                let Some(node) = self.nodes.get_mut(n) else { return };
                let outgoing = node.deliver(self.now);
                self.send_to_orchestrator(n, outgoing);
            }
        }
    }

    /// Wakes a host when something is due, once. While its pipeline is full the next commit wakes it.
    fn sleep(&mut self, host: Host) {
        let next = match host {
            Host::Orchestrator => {
                self.orchestrator.next_wakeup().filter(|_| self.orchestrator.pipeline.has_room())
            }
            Host::Node(n) => {
                let node = self.nodes.get(n);
                node.filter(|node| node.pipeline.has_room()).and_then(NodeHost::next_wakeup)
            }
        };
        let Some(at) = next.map(|at| at.max(self.now + MS)) else { return };
        let now = self.now;
        let wake_at = &mut self.hardship(host).wake_at;
        if wake_at.is_some_and(|already| already <= at && already > now) {
            return;
        }
        *wake_at = Some(at);
        let life = self.life(host);
        self.at(at - now, Event::Wake { host, life });
    }

    /// What must hold between two events.
    fn check(&mut self, host: Host) -> Result<(), Violation> {
        match host {
            Host::Orchestrator => {
                if self.orchestrator.is_quiet() && self.random.u32(0..64) == 0 {
                    self.report.restarts_compared += 1;
                    self.orchestrator.check_restart(self.now)?;
                }
                Ok(())
            }
            Host::Node(n) => {
                let Some(node) = self.nodes.get(n) else { return Ok(()) };
                node.check()?;
                node.told_to_run().try_for_each(|execution| self.wanted(&node.id, &execution.id))
            }
        }
    }

    /// N2 for one execution.
    fn wanted(&self, node: &str, id: &str) -> Result<(), Violation> {
        match self.orchestrator.disk.execution(id) {
            None => broken("N2", format!("{node} runs {id}, which was never stored")),
            Some((execution, pending))
                if execution.is_terminal() && *pending != Some(PendingMessage::CancelExecution) =>
            {
                let state = execution.compute_state.state_type;
                broken("N2", format!("{node} runs {id}, which is {state}, and nobody will tell it to stop"))
            }
            Some(_) => Ok(()),
        }
    }

    fn send_to_nodes(&mut self, outgoing: Outgoing) {
        for (id, packet) in outgoing {
            let Some(n) = self.nodes.iter().position(|node| node.id == id) else { continue };
            if self.links.get(n).is_some_and(|link| link.down_until > self.now) {
                continue;
            }
            self.send(Host::Node(n), Host::Orchestrator, packet);
        }
    }

    fn send_to_orchestrator(&mut self, n: usize, outgoing: Vec<Packet>) {
        if self.links.get(n).is_some_and(|link| link.up_until > self.now) {
            return;
        }
        for packet in outgoing {
            self.send(Host::Orchestrator, Host::Node(n), packet);
        }
    }

    fn send(&mut self, to: Host, from: Host, packet: Packet) {
        let life = self.life(to);
        for delay in self.weather.deliver(&mut self.random).into_iter().flatten() {
            self.at(delay, Event::Arrive { to, from, life, packet: Box::new(packet.clone()) });
        }
    }
}

/// Virtual time since the beginning, for people.
fn clock_text(now: i64) -> String {
    let since = (now - BEGINNING) / MS;
    format!("{}:{:02}:{:02}.{:03}", since / 3_600_000, since / 60_000 % 60, since / 1_000 % 60, since % 1_000)
}
