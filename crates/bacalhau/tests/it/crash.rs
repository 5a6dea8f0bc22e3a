//! `kill -9` of either side at any moment, many times: no acknowledged job is lost and all come to an end.

use crate::cluster::{Cluster, NOTHING, eventually, wat_job};
use std::time::Duration;

/// Rounds of killing one side while jobs are submitted.
const ROUNDS: usize = 12;
/// Jobs submitted in each round.
const JOBS: usize = 6;

#[test]
fn no_acknowledged_job_is_lost_whoever_is_killed() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.add_node(&address, &[]);
    cluster.wait_connected(2);
    let mut random = Moments(0x9E37_79B9_7F4A_7C15);
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        for n in 0..JOBS {
            let name = format!("job-{round}-{n}");
            let more = "    Timeouts:\n      QueueTimeout: 600\n";
            let file = cluster.file("job.yaml", &wat_job(&name, NOTHING, more));
            let output = cluster.cli(&["job", "run", &file, "--id-only", "--wait=false"]);
            if output.status.success() {
                acknowledged.push(String::from_utf8(output.stdout).unwrap().trim().to_owned());
            }
            if n == round % JOBS {
                std::thread::sleep(Duration::from_micros(random.next() % 30_000));
                match round % 3 {
                    0 => cluster.orchestrator.kill(),
                    node => cluster.nodes[node - 1].kill(),
                }
            }
        }
        match round % 3 {
            0 => {
                cluster.orchestrator.start();
                cluster.wait_alive();
            }
            node => cluster.nodes[node - 1].start(),
        }
    }
    assert!(
        acknowledged.len() > ROUNDS * JOBS / 2,
        "most submissions were acknowledged: {}",
        acknowledged.len()
    );
    for id in &acknowledged {
        let state = eventually(&format!("{id} is final"), || {
            let state = cluster.state(id);
            ["Completed", "Failed", "Stopped"].contains(&state.as_str()).then_some(state)
        });
        assert_eq!(state, "Completed", "{id}: {}", cluster.ok(&["job", "describe", id]));
        let executions = cluster.json(&["job", "executions", id]);
        let completed =
            executions.as_array().unwrap().iter().filter(|e| e["ComputeState"]["StateType"] == 9).count();
        assert_eq!(completed, 1, "{id} completed once: {executions}");
    }
}

/// A small generator, so that a run can be repeated.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
