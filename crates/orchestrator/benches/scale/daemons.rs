//! What it costs that nodes join while daemons want to run on each: every daemon is looked at for every node.

use crate::decisions::submit;
use crate::jobs;
use crate::measure::{line, own_time};
use bacalhau_orchestrator::core::{Core, Input, Output, SECOND, Settings};

const NODES: usize = 5_000;
const DAEMONS: usize = 20;

pub fn run() {
    let mut core = Core::new(Settings { node_id: "o".into(), ..Settings::default() }, 1);
    let mut out = Output::default();
    for n in 0..DAEMONS {
        let mut job = jobs::plain(format!("j-{n:08x}"), 0, "0.1", "100mb");
        job.r#type = "daemon".into();
        core.step(SECOND, submit(job), &mut out);
    }
    let mut slowest = std::time::Duration::ZERO;
    let started = own_time();
    for n in 0..NODES {
        let before = own_time();
        out.changes.clear();
        out.effects.clear();
        let now = SECOND + i64::try_from(n).expect("few") * SECOND / 1_000;
        core.step(now, Input::Handshake { info: Box::new(jobs::node(n)), token: () }, &mut out);
        slowest = slowest.max(own_time() - before);
    }
    let spent = own_time() - started;
    assert_eq!(core.live_executions().count(), NODES * DAEMONS, "each daemon runs on each node");
    let figure = format!("{:.1} ms", spent.as_secs_f64() * 1e3 / NODES as f64);
    line("5,000 nodes join, 20 daemons start on each: processor time per node", &figure, "");
    line("the slowest of them", &format!("{:.1} ms", slowest.as_secs_f64() * 1e3), "");
}
