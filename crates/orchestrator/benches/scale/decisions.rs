//! How fast the core decides: inputs are stepped through it, nothing is stored or sent.

use crate::jobs;
use crate::measure::{line, median, own_time};
use bacalhau_model::Job;
use bacalhau_orchestrator::core::{Core, Effect, Input, Output, SECOND, Settings};
use bacalhau_store::orchestrator::PendingMessage;

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

/// Executions placed per second of processor time, the release of what the steps made included.
fn time(seed: u64, jobs: Vec<Job>) -> f64 {
    let mut core = core(NODES, seed);
    let inputs: Vec<Input<()>> = jobs.into_iter().map(submit).collect();
    let mut inputs = inputs.into_iter();
    let (mut now, mut placed) = (2 * SECOND, 0);
    let mut out = Output::default();
    let started = own_time();
    loop {
        now += SECOND / 1_000;
        out.changes.clear();
        out.effects.clear();
        let mut stepped = 0;
        for input in inputs.by_ref().take(PER_BATCH) {
            core.step(now, input, &mut out);
            stepped += 1;
        }
        if stepped == 0 {
            if core.next_wakeup().is_none_or(|at| at > now) {
                break;
            }
            core.step(now, Input::Tick, &mut out);
        }
        let asks = |e: &&Effect<()>| matches!(e, Effect::Send { kind: PendingMessage::AskForBid, .. });
        placed += out.effects.iter().filter(asks).count();
    }
    let spent = own_time() - started;
    assert_eq!(placed, 100_000, "everything fits");
    f64::from(u32::try_from(placed).expect("few")) / spent.as_secs_f64()
}
