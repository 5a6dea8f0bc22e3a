//! What the three worlds have in common: nodes, jobs, and the passing of time.

use super::*;

/// Plenty of everything that nobody counts in a story, next to this many CPUs.
pub(super) fn amounts(cpu: f64) -> Resources {
    Resources { cpu, memory: 1 << 34, disk: 1 << 34, ..Resources::default() }
}

/// A compute node that has the engine `wasm` and this much, all of which one job may have.
pub(super) fn node_info(id: &str, most: Resources) -> NodeInfo {
    NodeInfo {
        node_id: id.into(),
        node_type: NodeType::Compute,
        compute_node_info: ComputeNodeInfo {
            execution_engines: vec!["wasm".into()],
            max_capacity: most.clone(),
            max_job_requirements: most,
            ..ComputeNodeInfo::default()
        },
        ..NodeInfo::default()
    }
}

/// A job with one task that asks for one CPU.
pub(super) fn job(id: &str, r#type: &str, count: i64) -> Job {
    let mut task = Task { name: "main".into(), engine: SpecConfig::new("wasm"), ..Task::default() };
    task.resources.cpu = "1".into();
    Job {
        id: id.into(),
        name: id.into(),
        namespace: "default".into(),
        r#type: r#type.into(),
        count,
        tasks: vec![task],
        ..Job::default()
    }
}

/// A job of one execution that asks for so many cores, and waits for them.
pub(super) fn sized(id: &str, r#type: &str, cpu: &str) -> Job {
    let mut job = job(id, r#type, 1);
    job.tasks[0].resources.cpu = cpu.into();
    job.tasks[0].timeouts.queue_timeout = 10_000;
    job
}

/// A job with time limits.
pub(super) fn with_timeouts(mut job: Job, timeouts: Timeouts) -> Job {
    job.tasks[0].timeouts = timeouts;
    job
}

/// A user submits a job that the store has no job of the name of.
pub(super) fn submission(job: Job) -> Input<()> {
    Input::Submit { job: Box::new(job), stored: None, id_taken: false, force: false, token: () }
}

/// A node introduces itself.
pub(super) fn handshake(info: NodeInfo) -> Input<()> {
    Input::Handshake { info: Box::new(info), token: () }
}

/// A node shows that it lives.
pub(super) fn heartbeat(node: &str) -> Input<()> {
    let nothing = Resources::default;
    let (node_id, available, queued) = (node.to_owned(), nothing(), nothing());
    Input::Heartbeat { node_id, available, queued, last_orchestrator_seq: 0, token: () }
}

/// A world whose time passes.
pub(super) trait Timeline {
    fn core(&self) -> &Core;
    fn clock(&mut self) -> &mut i64;
    fn step(&mut self, input: Input<()>);

    /// Until `until`; the core is stepped whenever it asked for it, as the shell does.
    fn run_until(&mut self, until: i64) {
        while let Some(at) = self.core().next_wakeup().filter(|at| *at <= until) {
            let now = self.clock();
            *now = at.max(*now);
            self.step(Input::Tick);
        }
    }

    /// So many seconds pass, and the core is stepped at the end of them at the latest.
    fn pass(&mut self, seconds: i64) {
        let until = *self.clock() + seconds * SECOND;
        self.run_until(until);
        *self.clock() = until;
        self.step(Input::Tick);
    }
}
