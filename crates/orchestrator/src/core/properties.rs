//! What holds for the core whatever happens: random inputs, checked after every step.

use super::*;
use bacalhau_model::execution::ComputeState;
use bacalhau_model::{
    ComputeNodeInfo, Event, Job, JobState, NodeInfo, NodeType, Requirement, Resources, SpecConfig, Task,
};
use bacalhau_store::orchestrator::Change;
use bacalhau_wire::messages::NodeMessage;
use proptest::prelude::*;

/// Nodes 0 to 3, the last of which has GPUs.
const NODES: usize = 4;

#[derive(Clone, Debug)]
enum Act {
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
    /// The n-th live execution is answered in one of four ways.
    Report(usize, u8),
    Pass(i64),
}

fn act() -> impl Strategy<Value = Act> {
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
        8 => (0..16usize, 0..4u8).prop_map(|(n, how)| Act::Report(n, how)),
        2 => (1..400i64).prop_map(Act::Pass),
    ]
}

fn info(n: usize, red: bool) -> NodeInfo {
    let (cpu, gpu) = ([2.0, 4.0, 4.0, 8.0][n], if n == 3 { 2 } else { 0 });
    let most = Resources { cpu, memory: 1 << 34, disk: 1 << 34, gpu, ..Resources::default() };
    NodeInfo {
        node_id: format!("n-{n}"),
        node_type: NodeType::Compute,
        labels: [("color".to_owned(), if red { "red" } else { "blue" }.to_owned())].into(),
        compute_node_info: ComputeNodeInfo {
            execution_engines: vec!["wasm".into()],
            max_capacity: most.clone(),
            max_job_requirements: most,
            ..ComputeNodeInfo::default()
        },
        ..NodeInfo::default()
    }
}

struct World {
    core: Core,
    now: i64,
    red: [bool; NODES],
    submitted: Vec<Job>,
    latest: BTreeMap<String, Arc<Job>>,
    executions: BTreeMap<String, Execution>,
    /// Everything that came out, as text.
    log: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            core: Core::new(Settings { node_id: "o".into(), ..Settings::default() }, seed),
            now: SECOND,
            red: [true, true, false, false],
            submitted: Vec::new(),
            latest: BTreeMap::new(),
            executions: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn step(&mut self, input: Input<()>) {
        self.now += 1_000_000;
        let mut out = Output::default();
        let live: BTreeSet<String> = self.live().into_iter().map(|e| e.id).collect();
        self.core.step(self.now, input, &mut out);
        for change in &out.changes {
            match change {
                Change::PutJob(job) => drop(self.latest.insert(job.id.clone(), Arc::clone(job))),
                Change::PutExecution { execution, .. } => {
                    drop(self.executions.insert(execution.id.clone(), execution.clone()));
                }
                _ => {}
            }
        }
        self.log.push(format!("{:?} {:?}", out.changes, out.effects));
        let batch = self.core.seal();
        self.core.settled(batch);
        self.check(&live);
    }

    fn live(&self) -> Vec<Execution> {
        let mut live: Vec<Execution> = self.core.live_executions().map(|(_, e)| e.clone()).collect();
        live.sort_by(|a, b| {
            (a.create_time, a.partition_index, &a.id).cmp(&(b.create_time, b.partition_index, &b.id))
        });
        live
    }

    /// `before`: executions that were live before the step.
    fn check(&mut self, before: &BTreeSet<String>) {
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
            let request = job.task().unwrap().resources.parse().unwrap();
            let sum = booked.entry(execution.node_id.clone()).or_default();
            *sum = sum.plus(&request);
            if !before.contains(&execution.id) {
                let node = self.core.nodes.get(&execution.node_id).unwrap();
                assert!(node.state.is_schedulable(), "placed on a node that takes no work");
                assert!(job.constraints.iter().all(|c| c.matches(&node.state.info.labels)), "wrong label");
            }
        }
        for (job_id, job) in &self.latest {
            let done = self
                .executions
                .values()
                .filter(|e| e.job_id == *job_id && e.compute_state.state_type == ComputeState::Completed);
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
    fn nobody_waits_in_vain(&self) {
        let mut nodes = self.core.nodes.clone();
        let mut random = fastrand::Rng::with_seed(1);
        for entry in self.core.jobs.values().filter(|e| self.core.waiting.contains(&e.job.id)) {
            let placement = place::place(entry, &mut nodes, &self.core.settings, &mut random);
            assert_eq!(placement.chosen, vec![], "{} waits in vain", entry.job.id);
        }
    }

    fn pass(&mut self, seconds: i64) {
        let until = self.now + seconds * SECOND;
        while let Some(at) = self.core.next_wakeup().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.step(Input::Tick);
        }
        self.now = until;
        self.step(Input::Tick);
    }

    fn join(&mut self, n: usize) {
        let info = Box::new(info(n, self.red[n]));
        self.step(Input::Handshake { info, token: () });
    }

    /// All connected nodes show that they live.
    fn heartbeats(&mut self) {
        for n in 0..NODES {
            let nothing = Resources::default;
            let (node_id, available, queued) = (format!("n-{n}"), nothing(), nothing());
            self.step(Input::Heartbeat { node_id, available, queued, last_orchestrator_seq: 0, token: () });
        }
    }

    fn report(&mut self, execution: &Execution, how: u8) {
        let event = || Event::new("Execution", "so it is", Default::default());
        let message: NodeMessage = match how {
            0 => messages::bid_result(execution, true, None),
            1 => messages::run_result(execution, None),
            2 => messages::compute_error(execution, event()),
            _ => messages::bid_result(execution, false, Some(vec![event()])),
        };
        self.step(Input::Report { node_id: execution.node_id.clone(), message, seq: 1, token: () });
    }

    fn act(&mut self, act: &Act) {
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
                let mut task =
                    Task { name: "main".into(), engine: SpecConfig::new("wasm"), ..Task::default() };
                task.resources.cpu = cpu.to_string();
                task.resources.gpu = gpu.to_string();
                task.timeouts.queue_timeout = if patient { 1_000_000 } else { 0 };
                let r#type = ["batch", "service", "ops", "daemon"][r#type];
                let id = format!("j-{}", self.submitted.len());
                let red =
                    Requirement { key: "color".into(), operator: "=".into(), values: vec!["red".into()] };
                let job = Job {
                    name: id.clone(),
                    id,
                    namespace: format!("ns-{}", self.submitted.len() % 2),
                    r#type: r#type.into(),
                    count,
                    priority,
                    constraints: if picky { vec![red] } else { vec![] },
                    tasks: vec![task],
                    ..Job::default()
                };
                self.submitted.push(job.clone());
                let job = Box::new(job);
                self.step(Input::Submit { job, stored: None, id_taken: false, force: false, token: () });
            }
            Act::Stop(n) => {
                let stored = |job: &Arc<Job>| bacalhau_store::orchestrator::StoredJob {
                    job: (**job).clone(),
                    next_history_seq: 1_000,
                    previous: None,
                };
                let Some(job_id) = self.submitted.get(n).map(|j| j.id.clone()) else { return };
                let stored = (!self.core.holds_job(&job_id)).then(|| stored(&self.latest[&job_id]));
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Plans never exceed Count or capacity, nothing of a stopped job runs, one live execution per partition, nobody
    /// waits while there is room for it; and the same inputs with the same seed give the same plan.
    #[test]
    fn the_rules_hold_whatever_happens(acts in proptest::collection::vec(act(), 1..60), seed: u64) {
        let run = || {
            let mut world = World::new(seed);
            acts.iter().for_each(|act| world.act(act));
            world.log
        };
        prop_assert_eq!(run(), run());
    }

    /// The short and the long form of the question whether a node suits a job have one answer.
    #[test]
    fn the_index_and_the_explanation_agree(red: bool, picky: bool, gpu in 0..4u32, cpu in 1..10u32, n in 0..NODES) {
        let mut world = World::new(1);
        world.red = [red; NODES];
        world.join(n);
        world.act(&Act::Submit { r#type: 0, count: 1, cpu, gpu, picky, priority: 0, patient: true });
        let entry = world.core.jobs.values().next().map(|e| (**e).clone());
        let Some(entry) = entry else { return Ok(()) };
        let placed = !entry.live.is_empty();
        let node = world.core.nodes.get(&format!("n-{n}")).cloned().unwrap();
        let reason = suitable::unsuitable(&entry, &node);
        prop_assert_eq!(reason.is_some(), suitable::unsuitable_in_brief(&entry, &node).is_some());
        prop_assert_eq!(placed, reason.is_none(), "{:?}", reason);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// When nodes stay and executions end, every batch job that some node can take ends, whatever its size and however
    /// many others come: nothing starves.
    #[test]
    fn nothing_starves(acts in proptest::collection::vec(act(), 1..40), seed: u64) {
        let mut world = World::new(seed);
        (0..NODES).for_each(|n| world.join(n));
        acts.iter().for_each(|act| world.act(act));
        for round in 0..80 {
            // Small ones keep coming, as much as the nodes can do.
            if round < 50 {
                world.act(&Act::Submit { r#type: 0, count: 6, cpu: 1, gpu: 0, picky: false, priority: 0, patient: true });
            }
            (0..NODES).for_each(|n| world.red[n] = true);
            (0..NODES).for_each(|n| world.join(n));
            for execution in world.live() {
                if world.latest[&execution.job_id].job_type().unwrap().is_long_running() {
                    // Services make room in the end too.
                    let n = world.submitted.iter().position(|j| j.id == execution.job_id).unwrap();
                    if round > 5 { world.act(&Act::Stop(n)); }
                } else {
                    world.report(&execution, 0);
                    world.report(&execution, 1);
                }
            }
            world.heartbeats();
            world.pass(30);
        }
        let refused_everywhere = |job: &Job| {
            let entry = world.core.jobs.get(&job.id);
            entry.is_some_and(|e| world.core.nodes.iter().all(|n| suitable::unsuitable(e, n).is_some()))
        };
        let jobs = world.latest.values().filter(|job| job.r#type == "batch");
        for job in jobs.filter(|job| !refused_everywhere(job)) {
            prop_assert!(job.state.state_type != JobState::Queued && job.is_terminal(), "{:?}", job);
        }
    }
}

/// A core with one node of four CPUs (six with oversubscription) and patient jobs of the given CPU.
fn one_node() -> World {
    let mut world = World::new(7);
    world.join(1);
    world
}

fn batch(cpu: u32, priority: i64) -> Act {
    Act::Submit { r#type: 0, count: 1, cpu, gpu: 0, picky: false, priority, patient: true }
}

/// Ends everything that lives and gives the jobs that were placed since, in the order of their IDs.
fn end_all(world: &mut World) -> Vec<String> {
    let before = world.live();
    for execution in &before {
        world.report(execution, 1);
    }
    world.live().into_iter().map(|e| e.job_id).collect()
}

#[test]
fn namespaces_take_turns_however_long_their_queues_are() {
    let mut world = one_node();
    world.act(&batch(4, 0));
    let mut queue = |namespace: &str, id: &str| {
        let mut task = Task { name: "main".into(), engine: SpecConfig::new("wasm"), ..Task::default() };
        task.resources.cpu = "4".into();
        task.timeouts.queue_timeout = 1_000_000;
        let job = Job {
            id: id.into(),
            name: id.into(),
            namespace: namespace.into(),
            r#type: "batch".into(),
            count: 1,
            tasks: vec![task],
            ..Job::default()
        };
        let job = Box::new(job);
        world.step(Input::Submit { job, stored: None, id_taken: false, force: false, token: () });
    };
    ["a1", "a2", "a3"].into_iter().for_each(|id| queue("a", id));
    ["b1", "b2"].into_iter().for_each(|id| queue("b", id));
    let order: Vec<String> = (0..5).flat_map(|_| end_all(&mut world)).collect();
    assert_eq!(order, ["a1", "b1", "a2", "b2", "a3"]);
}

#[test]
fn priority_overtakes_by_its_worth_in_time_and_no_more() {
    let mut world = one_node();
    world.act(&batch(4, 0));
    world.act(&Act::Report(0, 0));
    world.act(&batch(4, 0)); // j-1
    for _ in 0..11 {
        world.pass(29);
        (0..NODES).for_each(|_| world.heartbeats());
    }
    world.act(&batch(4, 1)); // j-2, more than five minutes later
    world.act(&batch(4, 2)); // j-3
    let order: Vec<String> = (0..3).flat_map(|_| end_all(&mut world)).collect();
    assert_eq!(order, ["j-3", "j-1", "j-2"]);
}

#[test]
fn a_large_job_gets_a_node_although_small_ones_always_fit_sooner() {
    let mut world = one_node();
    (0..6).for_each(|_| world.act(&batch(1, 0)));
    world.act(&batch(4, 0));
    let large = world.submitted.last().unwrap().id.clone();
    let mut rounds = 0;
    while !world.live().iter().any(|e| e.job_id == large) {
        rounds += 1;
        assert!(rounds < 200, "it starves");
        // One small one ends, the next one comes.
        let first = world.live().first().cloned();
        if let Some(first) = first {
            world.report(&first, 1);
        }
        world.act(&batch(1, 0));
        world.heartbeats();
        world.pass(10);
    }
    assert!(rounds > 20, "the small ones run as long as nobody has waited for long");
}
