//! The world of random inputs: every step is checked against what must hold for the core whatever happens.

use super::*;
use crate::core::place;
use bacalhau_model::{Requirement, UpdatePolicy};
use proptest::prelude::*;

/// Nodes 0 to 3, the last of which has GPUs.
pub(super) const NODES: usize = 4;

#[derive(Clone, Debug)]
pub(super) enum Act {
    Join(usize),
    Lose(usize),
    Leave(usize),
    Relabel(usize, bool),
    Submit {
        r#type: usize,
        count: i64,
        cpu: u32,
        gpu: u32,
        picky: bool,
        priority: i64,
        patient: bool,
    },
    Stop(usize),
    /// The n-th job again with another count; with other resources too where they are given.
    Update {
        n: usize,
        count: i64,
        cpu: Option<u32>,
        rolls: bool,
    },
    /// The node is drained until so many seconds from now.
    Drain(usize, i64),
    Uncordon(usize),
    /// The n-th live execution is answered in one of four ways.
    Report(usize, u8),
    Pass(i64),
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let submit = (0..4usize, 1..6i64, 1..9u32, 0..8u32, any::<bool>(), 0..3i64, any::<bool>());
    let submit = submit.prop_map(|(r#type, count, cpu, gpu, picky, priority, patient)| Act::Submit {
        r#type,
        count,
        cpu,
        gpu: gpu.saturating_sub(5),
        picky,
        priority,
        patient,
    });
    prop_oneof![
        3 => (0..NODES).prop_map(Act::Join),
        1 => (0..NODES).prop_map(Act::Lose),
        1 => (0..NODES).prop_map(Act::Leave),
        1 => (0..NODES, any::<bool>()).prop_map(|(n, on)| Act::Relabel(n, on)),
        5 => submit,
        1 => (0..8usize).prop_map(Act::Stop),
        2 => (0..8usize, 0..6i64, proptest::option::of(1..9u32), any::<bool>())
            .prop_map(|(n, count, cpu, rolls)| Act::Update { n, count, cpu, rolls }),
        1 => (0..NODES, 0..100i64).prop_map(|(n, seconds)| Act::Drain(n, seconds)),
        1 => (0..NODES).prop_map(Act::Uncordon),
        8 => (0..16usize, 0..4u8).prop_map(|(n, how)| Act::Report(n, how)),
        2 => (1..400i64).prop_map(Act::Pass),
    ]
}

pub(super) fn info(n: usize, red: bool) -> NodeInfo {
    let (cpu, gpu) = ([2.0, 4.0, 4.0, 8.0][n], if n == 3 { 2 } else { 0 });
    let color = if red { "red" } else { "blue" };
    NodeInfo {
        labels: [("color".to_owned(), color.to_owned())].into(),
        ..node_info(&format!("n-{n}"), Resources { gpu, ..amounts(cpu) })
    }
}

pub(super) struct Checked {
    pub(super) core: Core,
    pub(super) now: i64,
    pub(super) red: [bool; NODES],
    pub(super) submitted: Vec<Job>,
    pub(super) latest: BTreeMap<String, Arc<Job>>,
    /// All versions.
    pub(super) versions: BTreeMap<(String, u64), Arc<Job>>,
    pub(super) executions: BTreeMap<String, Execution>,
    /// Everything that came out, as text.
    pub(super) log: Vec<String>,
}

impl Checked {
    pub(super) fn new(seed: u64) -> Checked {
        Checked {
            core: Core::new(Settings { node_id: "o".into(), ..Settings::default() }, seed),
            now: SECOND,
            red: [true, true, false, false],
            submitted: Vec::new(),
            latest: BTreeMap::new(),
            versions: BTreeMap::new(),
            executions: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    pub(super) fn live(&self) -> Vec<Execution> {
        let mut live: Vec<Execution> = self.core.live_executions().map(|(_, e)| e.clone()).collect();
        live.sort_by(|a, b| {
            (a.create_time, a.partition_index, &a.id).cmp(&(b.create_time, b.partition_index, &b.id))
        });
        live
    }

    /// `before`: executions that were live before the step.
    pub(super) fn check(&mut self, before: &BTreeSet<String>) {
        let live = self.live();
        let mut taken = BTreeSet::new();
        let mut booked: BTreeMap<String, Resources> = BTreeMap::new();
        for execution in &live {
            let job = &self.latest[&execution.job_id];
            assert!(!job.is_terminal(), "an execution of a finished job is live: {execution:?}");
            let on_all = job.job_type().unwrap().is_on_all_nodes();
            let slot = if on_all { execution.node_id.clone() } else { execution.partition_index.to_string() };
            assert!(taken.insert((execution.job_id.clone(), slot)), "two live executions: {execution:?}");
            assert!(on_all || (0..job.count).contains(&execution.partition_index), "{execution:?}");
            // What a rolling update has not replaced yet holds what its own version asks for.
            let own = &self.versions[&(execution.job_id.clone(), execution.job_version)];
            let request = own.task().unwrap().resources.parse().unwrap();
            let sum = booked.entry(execution.node_id.clone()).or_default();
            *sum = sum.plus(&request);
            if !job.job_type().unwrap().is_long_running() && execution.start_time == 0 {
                let node = self.core.nodes.get(&execution.node_id).unwrap();
                let beside = node.lasting.plus(&request);
                assert!(beside.fits_in(&node.limit(1.0)), "it waits behind services for ever: {execution:?}");
            }
            if !before.contains(&execution.id) {
                let node = self.core.nodes.get(&execution.node_id).unwrap();
                assert!(node.state.is_schedulable(), "placed on a node that takes no work");
                // What runs may go on where the labels changed meanwhile, and be adopted there, too.
                let adopted = execution.create_time < self.now;
                let matches = job.constraints.iter().all(|c| c.matches(&node.state.info.labels));
                assert!(adopted || matches, "wrong label");
            }
        }
        for (job_id, job) in &self.latest {
            let kept = job.kept_versions();
            let done = self
                .executions
                .values()
                .filter(|e| e.job_id == *job_id && e.compute_state.state_type == ComputeState::Completed)
                // A smaller count forgets those above it.
                .filter(|e| kept.contains(&e.job_version) && e.partition_index < job.count);
            assert!(
                job.job_type().unwrap().is_on_all_nodes() || done.count() as i64 <= job.count,
                "beyond Count"
            );
        }
        for (state, reserved, limit) in self.core.bookings() {
            assert!(reserved.fits_in(&limit), "{} is booked beyond its limit", state.info.node_id);
            let sum = booked.remove(&state.info.node_id).unwrap_or_default();
            assert!(reserved.fits_in(&sum) && sum.fits_in(reserved), "{reserved:?} set aside for {sum:?}");
        }
        self.nobody_waits_in_vain();
    }

    /// Whoever waits has no room anywhere now.
    pub(super) fn nobody_waits_in_vain(&self) {
        let mut nodes = self.core.nodes.clone();
        let mut random = fastrand::Rng::with_seed(1);
        for entry in self.core.jobs.values().filter(|e| self.core.waiting.contains(&e.job.id)) {
            let placement = place::place(entry, &mut nodes, &self.core.settings, &mut random);
            assert_eq!(placement.chosen, vec![], "{} waits in vain", entry.job.id);
        }
    }

    pub(super) fn join(&mut self, n: usize) {
        self.step(handshake(info(n, self.red[n])));
    }

    /// All connected nodes show that they live.
    pub(super) fn heartbeats(&mut self) {
        (0..NODES).for_each(|n| self.step(heartbeat(&format!("n-{n}"))));
    }

    pub(super) fn report(&mut self, execution: &Execution, how: u8) {
        let event = || Event::new("Execution", "so it is", Default::default());
        let message: NodeMessage = match how {
            0 => messages::bid_result(execution, true, None),
            1 => messages::run_result(execution, None),
            2 => messages::compute_error(execution, event()),
            _ => messages::bid_result(execution, false, Some(vec![event()])),
        };
        self.step(Input::Report { node_id: execution.node_id.clone(), message, seq: 1, token: () });
    }

    /// What the shell would look up of a job that the core does not hold.
    fn stored(&self, job_id: &str) -> Option<StoredJob> {
        let job = self.latest.get(job_id).filter(|_| !self.core.holds_job(job_id))?;
        Some(StoredJob {
            job: (**job).clone(),
            next_history_seq: 1_000,
            previous: None,
            replaced: Vec::new(),
        })
    }

    pub(super) fn act(&mut self, act: &Act) {
        match act.clone() {
            Act::Join(n) => self.join(n),
            Act::Lose(n) => self.step(Input::ConnectionLost { node_id: format!("n-{n}") }),
            Act::Leave(n) => self.step(Input::ShutdownNotice {
                node_id: format!("n-{n}"),
                tasks_go_on: Vec::new(),
                token: (),
            }),
            Act::Relabel(n, red) => {
                self.red[n] = red;
                let info = Box::new(info(n, red));
                self.step(Input::UpdateNodeInfo { info, token: () });
            }
            Act::Submit { r#type, count, cpu, gpu, picky, priority, patient } => {
                let id = format!("j-{}", self.submitted.len());
                let mut job = job(&id, ["batch", "service", "ops", "daemon"][r#type], count);
                let task = &mut job.tasks[0];
                task.resources.cpu = cpu.to_string();
                task.resources.gpu = gpu.to_string();
                task.timeouts.queue_timeout = if patient { 1_000_000 } else { 0 };
                let red =
                    Requirement { key: "color".into(), operator: "=".into(), values: vec!["red".into()] };
                job.namespace = format!("ns-{}", self.submitted.len() % 2);
                job.priority = priority;
                job.constraints = if picky { vec![red] } else { vec![] };
                self.submitted.push(job.clone());
                self.step(submission(job));
            }
            Act::Update { n, count, cpu, rolls } => {
                let Some(mut job) = self.submitted.get(n).cloned() else { return };
                job.count = if job.job_type().unwrap().is_on_all_nodes() { 0 } else { count };
                if let Some(cpu) = cpu {
                    job.tasks[0].resources.cpu = cpu.to_string();
                }
                let policy = UpdatePolicy { max_parallel: 1, healthy_after: 10, auto_revert: count > 2 };
                job.update = (rolls && job.job_type().unwrap().is_long_running()).then_some(policy);
                let (stored, job) = (self.stored(&job.id), Box::new(job));
                self.step(Input::Submit { job, stored, id_taken: true, force: false, token: () });
            }
            Act::Drain(n, seconds) => {
                let action = NodeAction::Drain { deadline: seconds * SECOND };
                self.step(Input::UpdateNode { node_id: format!("n-{n}"), action, token: () });
            }
            Act::Uncordon(n) => {
                let (node_id, action) = (format!("n-{n}"), NodeAction::Uncordon);
                self.step(Input::UpdateNode { node_id, action, token: () });
            }
            Act::Stop(n) => {
                let Some(job_id) = self.submitted.get(n).map(|j| j.id.clone()) else { return };
                let stored = self.stored(&job_id);
                self.step(Input::Stop { job_id, reason: "enough".into(), stored, token: () });
            }
            Act::Report(n, how) => {
                if let Some(execution) = self.live().get(n).cloned() {
                    self.report(&execution, how);
                }
            }
            Act::Pass(seconds) => self.pass(seconds),
        }
    }
}

impl Timeline for Checked {
    fn core(&self) -> &Core {
        &self.core
    }

    fn clock(&mut self) -> &mut i64 {
        &mut self.now
    }

    fn step(&mut self, input: Input<()>) {
        self.now += 1_000_000;
        let mut out = Output::default();
        let live: BTreeSet<String> = self.live().into_iter().map(|e| e.id).collect();
        self.core.step(self.now, input, &mut out);
        for change in &out.changes {
            match change {
                Change::PutJob(job) => {
                    self.versions.insert((job.id.clone(), job.version), Arc::clone(job));
                    self.latest.insert(job.id.clone(), Arc::clone(job));
                }
                Change::PutExecution { execution, .. } => {
                    drop(self.executions.insert(execution.id.clone(), Execution::clone(execution)));
                }
                _ => {}
            }
        }
        self.log.push(format!("{:?} {:?}", out.changes, out.effects));
        let batch = self.core.seal();
        self.core.settled(batch);
        self.check(&live);
    }
}
