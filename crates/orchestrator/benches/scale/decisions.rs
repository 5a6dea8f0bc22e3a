//! How fast the core decides: inputs are stepped through it, nothing is stored or sent.

use crate::jobs;
use crate::measure::{line, median};
use bacalhau_model::Job;
use bacalhau_orchestrator::core::{Core, Effect, Input, Output, SECOND, Settings};
use bacalhau_store::orchestrator::PendingMessage;
use std::time::{Duration, Instant};

const NODES: usize = 1_000;
const ROUNDS: u64 = 5;
/// As the driver does.
const PER_BATCH: usize = 256;
const GOAL: &str = ">= 100,000/s";

/// A core with connected nodes.
pub fn core(nodes: usize, seed: u64) -> Core {
    let mut core = Core::new(Settings { node_id: "o".into(), ..Settings::default() }, seed);
    let mut out = Output::default();
    for n in 0..nodes {
        core.step(SECOND, Input::Handshake { info: Box::new(jobs::node(n)), token: () }, &mut out);
    }
    core
}

pub fn submit(job: Job) -> Input<()> {
    Input::Submit { job: Box::new(job), stored: None, id_taken: false, force: false, token: () }
}

pub fn run() {
    let ones = |seed| time(seed, (0..100_000).map(jobs::varied).collect());
    let thousands = |seed| {
        let job = |n| jobs::plain(format!("j-{n:08x}-807e-4c1c-b3ab-5e2b0d9c9a11"), 1_000, "0.25", "256mb");
        time(seed, (0..100).map(job).collect())
    };
    let rate = |of: &dyn Fn(u64) -> f64| format!("{:.0}/s", median((0..ROUNDS).map(of).collect()));
    line("decisions, 1,000 nodes, 100,000 jobs of Count 1", &rate(&ones), GOAL);
    line("decisions, 1,000 nodes, 100 jobs of Count 1,000", &rate(&thousands), GOAL);
}

/// Executions placed per second.
fn time(seed: u64, jobs: Vec<Job>) -> f64 {
    let mut core = core(NODES, seed);
    let mut inputs = jobs.into_iter().map(submit);
    let (mut now, mut spent, mut placed) = (2 * SECOND, Duration::ZERO, 0);
    loop {
        let mut batch: Vec<Input<()>> = inputs.by_ref().take(PER_BATCH).collect();
        now += SECOND / 1_000;
        if batch.is_empty() {
            if core.next_wakeup().is_none_or(|at| at > now) {
                break;
            }
            batch.push(Input::Tick);
        }
        let mut out = Output::default();
        let started = Instant::now();
        batch.into_iter().for_each(|input| core.step(now, input, &mut out));
        spent += started.elapsed();
        let asks =
            out.effects.iter().filter(|e| matches!(e, Effect::Send { kind: PendingMessage::AskForBid, .. }));
        placed += asks.count();
    }
    assert_eq!(placed, 100_000, "everything fits");
    f64::from(u32::try_from(placed).expect("few")) / spent.as_secs_f64()
}
