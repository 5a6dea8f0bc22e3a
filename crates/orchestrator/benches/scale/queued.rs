//! What waiting costs in memory, and how long a wake-up takes among many that wait.

use crate::decisions::{core, submit};
use crate::jobs;
use crate::measure::{line, resident_mb};
use bacalhau_orchestrator::core::{Effect, Input, Output, SECOND};
use bacalhau_wire::messages;
use std::time::{Duration, Instant};

const JOBS: u32 = 100_000;

pub fn run() {
    partitions();
    jobs_of_one();
}

/// A million partitions of one job, of which some are placed.
fn partitions() {
    let mut core = core(1_000, 1);
    let before = resident_mb();
    let mut now = 2 * SECOND;
    let job = jobs::plain("j-00000001-807e-4c1c-b3ab-5e2b0d9c9a11".into(), 1_000_000, "8", "8gb");
    core.step(now, submit(job), &mut Output::default());
    while core.next_wakeup().is_some_and(|at| at <= now + 1) {
        now += 1;
        core.step(now, Input::<()>::Tick, &mut Output::default());
    }
    let live = core.census().live_executions;
    let what = format!("queued, one job with Count 1,000,000 ({live} of them placed)");
    line(&what, &format!("{:.0} MB", resident_mb() - before), "<= 200 MB");
}

/// Jobs that wait because all nodes are full; then one execution ends.
fn jobs_of_one() {
    let mut core = core(1_000, 1);
    let mut now = 2 * SECOND;
    let fill = jobs::plain("j-fill".into(), 100_000, "4", "1gb");
    let mut running = None;
    let mut take = |out: Output<()>| {
        for effect in out.effects {
            if let Effect::Send { node_id, execution_id, .. } = effect {
                running = Some((node_id, execution_id));
            }
        }
    };
    let mut out = Output::default();
    core.step(now, submit(fill), &mut out);
    take(out);
    while core.next_wakeup().is_some_and(|at| at <= now + 1) {
        now += 1;
        let mut out = Output::default();
        core.step(now, Input::Tick, &mut out);
        take(out);
    }
    let (node_id, execution_id) = running.expect("something runs");
    let before = resident_mb();
    let mut spent = Duration::ZERO;
    for n in 0..JOBS {
        now += 1_000;
        let mut job = jobs::varied(n as usize);
        job.tasks[0].resources.cpu = format!("{}", 2.0 + f64::from(n % 1_000) / 1_000.0);
        let started = Instant::now();
        core.step(now, submit(job), &mut Output::default());
        spent += started.elapsed();
    }
    let (used, census) = (resident_mb() - before, core.census());
    assert_eq!(census.jobs, JOBS as usize + 1);
    line(
        "queued, 100,000 jobs of Count 1 in 50,000 sizes and wishes, times ten",
        &format!("{:.0} MB", used * 10.0),
        "(see docs)",
    );
    line("queued, entering the queue, one job", &micros(spent / JOBS), "");
    let execution = core.live_executions().find(|(_, e)| e.id == execution_id).expect("it lives").1.clone();
    let live = core.census().live_executions;
    let message = messages::run_result(&execution, None);
    now += SECOND;
    let mut out = Output::default();
    let started = Instant::now();
    core.step(now, Input::Report { node_id, message, seq: 1, token: () }, &mut out);
    let first = started.elapsed();
    while core.next_wakeup().is_some_and(|at| at <= now + 1) {
        now += 1;
        core.step(now, Input::Tick, &mut out);
    }
    let (took, placed) = (started.elapsed(), core.census().live_executions + 1 - live);
    line(&format!("queued, room for {placed} of 100,000: the longest step"), &micros(first), "milliseconds");
    line(&format!("queued, room for {placed} of 100,000: all placed"), &micros(took), "milliseconds");
}

fn micros(time: Duration) -> String {
    format!("{:.1} us", time.as_secs_f64() * 1e6)
}
