//! What users do in a run.

use crate::MS;
use bacalhau_model::{Job, SpecConfig, Task, Timeouts};

/// One thing a user does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Submits a job.
    Submit(Box<Job>),
    /// Stops the n-th job submitted.
    Stop(usize),
    /// Submits a new version of the n-th job.
    Update(usize),
}

/// Draws what users do until `until`.
pub(crate) fn plan(random: &mut fastrand::Rng, until: i64) -> Vec<(i64, Action)> {
    let jobs = random.usize(1..12);
    let mut actions = Vec::new();
    for n in 0..jobs {
        let at = random.i64(0..until / 2);
        actions.push((at, Action::Submit(Box::new(job(random, n)))));
        if random.u32(0..100) < 15 {
            actions.push((at + random.i64(0..5_000) * MS, Action::Stop(n)));
        }
        if random.u32(0..100) < 15 {
            actions.push((at + random.i64(0..5_000) * MS, Action::Update(n)));
        }
    }
    actions.sort_by_key(|(at, _)| *at);
    actions
}

fn job(random: &mut fastrand::Rng, n: usize) -> Job {
    let ops = random.u32(0..100) < 20;
    let mut task = Task { name: "main".into(), engine: SpecConfig::new("wasm"), ..Task::default() };
    task.resources.cpu = (*random.choice(["100m", "500m", "1", "2"].iter()).unwrap_or(&"1")).to_owned();
    task.timeouts = Timeouts {
        queue_timeout: if random.bool() { 3_600 } else { 0 },
        execution_timeout: if random.u32(0..4) == 0 { random.i64(1..20) } else { 0 },
        total_timeout: if random.u32(0..8) == 0 { random.i64(20..200) } else { 0 },
    };
    Job {
        id: format!("j-{n}"),
        name: format!("job-{n}"),
        namespace: "default".into(),
        r#type: if ops { "ops" } else { "batch" }.into(),
        priority: random.i64(0..3),
        count: if ops { 0 } else { random.i64(0..6) },
        tasks: vec![task],
        ..Job::default()
    }
}

/// How one run of the engine goes: how long it takes and whether it fails.
pub(crate) fn engine_run(random: &mut fastrand::Rng) -> (i64, bool) {
    let length = match random.u32(0..10) {
        0..=6 => random.i64(1..500),
        7..=8 => random.i64(500..10_000),
        _ => random.i64(10_000..60_000),
    };
    (length * MS, random.u32(0..100) < 10)
}
