//! Runs one cluster from a seed: first with faults, then without, until everything has converged and stays so.

mod act;
mod checks;
mod course;
mod turn;

use crate::bugs::Bug;
use crate::compute::NodeHost;
use crate::faults::{self, CrashPoint, Fault, Host};
use crate::invariants::Truth;
use crate::network::{Link, Packet, Weather};
use crate::orchestrator::OrchestratorHost;
use crate::trace::{Failure, Trace};
use crate::workload::{self, Action};
use crate::{HOUR, MINUTE, MS, SECOND};
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
    /// Runs that schedules made.
    pub runs: usize,
    /// Jobs whose record was deleted.
    pub deleted: usize,
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
        // How much of what they have the nodes are given.
        let oversubscription = *random.choice([1.0, 1.5, 2.0].iter()).unwrap_or(&1.0);
        let late: Vec<i64> =
            (0..nodes).map(|_| if random.u32(0..4) == 0 { random.i64(0..storm) } else { 0 }).collect();
        let mut cluster = Cluster {
            seed: scenario.seed,
            now: BEGINNING,
            order: 0,
            events: BTreeMap::new(),
            orchestrator: OrchestratorHost::new(manual, oversubscription, scenario.bug),
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

    fn hardship(&mut self, host: Host) -> &mut Hardship {
        self.hardships.entry(host).or_default()
    }

    fn life(&self, host: Host) -> u64 {
        match host {
            Host::Orchestrator => self.orchestrator.life,
            Host::Node(n) => self.nodes.get(n).map_or(0, |node| node.life),
        }
    }
}

/// Virtual time since the beginning, for people.
fn clock_text(now: i64) -> String {
    let since = (now - BEGINNING) / MS;
    format!("{}:{:02}:{:02}.{:03}", since / 3_600_000, since / 60_000 % 60, since / 1_000 % 60, since % 1_000)
}
