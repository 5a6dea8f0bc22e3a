//! How long a start takes with many unfinished jobs on disk: open, read, rebuild, first look at everything.

use crate::decisions::{core, submit};
use crate::jobs;
use crate::measure::{line, median};
use bacalhau_orchestrator::core::{Core, Input, Output, SECOND, Settings};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

const JOBS: usize = 100_000;
const ROUNDS: usize = 3;

pub fn run() {
    let dir = tempfile::tempdir().expect("a folder");
    fill(dir.path());
    let rounds = (0..ROUNDS).map(|_| time(dir.path())).collect();
    line(
        "restart with 100,000 unfinished jobs, half of them running",
        &format!("{:.2} s", median(rounds)),
        "<= 3 s",
    );
}

/// 1,000 nodes with 50,000 executions, and 50,000 jobs that wait for nodes of another kind.
fn fill(dir: &std::path::Path) {
    let (writer, _) = bacalhau_store::orchestrator::open(dir).expect("a store");
    let mut core = core(1_000, 1);
    for n in 0..1_000 {
        let mut out = Output::default();
        core.step(SECOND, Input::Handshake { info: Box::new(jobs::node(n)), token: () }, &mut out);
        writer.commit(out.changes, Box::new(|result| result.expect("a commit")));
    }
    for start in (0..JOBS).step_by(1_000) {
        let mut out = Output::default();
        for n in start..start + 1_000 {
            let mut job = jobs::varied(n);
            if n % 2 == 1 {
                job.tasks[0].publisher.r#type = "ipfs".into();
            }
            core.step(2 * SECOND, submit(job), &mut out);
        }
        let (done, wait) = sync_channel(1);
        writer.commit(
            out.changes,
            Box::new(move |result| {
                result.expect("a commit");
                done.send(()).expect("somebody waits");
            }),
        );
        wait.recv().expect("an answer");
    }
    writer.close();
}

fn time(dir: &std::path::Path) -> f64 {
    let started = Instant::now();
    let (writer, reader) = bacalhau_store::orchestrator::open(dir).expect("a store");
    let snapshot = reader.load().expect("a snapshot");
    let read = started.elapsed();
    let mut core = Core::new(Settings { node_id: "o".into(), ..Settings::default() }, 1);
    core.restore(3 * SECOND, snapshot);
    let restored = started.elapsed();
    core.step(3 * SECOND, Input::<()>::Tick, &mut Output::default());
    let all = started.elapsed();
    assert_eq!(core.census().jobs, JOBS);
    if std::env::var_os("VERBOSE").is_some() {
        println!("    read {read:.2?}, restored {restored:.2?}, first step {all:.2?}");
    }
    drop(reader);
    writer.close();
    all.as_secs_f64()
}
