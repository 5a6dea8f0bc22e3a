//! How much a node takes at once, and what waits.

use super::{job, with_task};
use crate::cluster::{Cluster, NOTHING, UP_FOREVER, eventually};
use serde_json::{Value, json};

fn asking(name: &str, cpu: &str, module: &str) -> Value {
    with_task(job(name, "batch", 1, module), "Resources", json!({ "CPU": cpu, "Memory": "16Mb" }))
}

fn with_cpus(cpus: &str) -> Cluster {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    let cpus = format!("Compute.AllocatedCapacity.CPU={cpus}");
    cluster.add_node(&address, &["-c", &cpus, "-c", "Compute.AllocatedCapacity.Disk=1Gb"]);
    cluster.wait_connected(1);
    cluster
}

#[test]
fn a_node_takes_half_more_than_it_can_run() {
    let cluster = with_cpus("2");
    // The whole node twice is too much.
    cluster.submit(&asking("whole", "2", UP_FOREVER));
    cluster.wait_up("whole", 1);
    let (state, executions) = cluster.run(&asking("whole-again", "2", NOTHING));
    assert_eq!((state.as_str(), executions.len()), ("Failed", 0));
    assert!(cluster.message("whole-again").starts_with("not enough nodes to run job. requested: 1"));
    cluster.ok(&["job", "stop", "whole"]);

    // Half of it three times is not, but only two run at once. The fourth has no place to wait.
    for name in ["a", "b"] {
        cluster.submit(&asking(name, "1", UP_FOREVER));
        cluster.wait_up(name, 1);
    }
    cluster.submit(&asking("c", "1", UP_FOREVER));
    wait_queued(&cluster, "CPU", 1.0);
    assert_eq!(cluster.run(&asking("d", "1", NOTHING)).0, "Failed");
    let waiting = with_task(asking("e", "1", NOTHING), "Timeouts", json!({ "QueueTimeout": 3600 }));
    cluster.submit(&waiting);
    eventually("the fifth is queued", || (cluster.state("e") == "Queued").then_some(()));
    // Room wakes whoever waits for it: first the one on the node, then the one at the orchestrator.
    cluster.ok(&["job", "stop", "a"]);
    cluster.wait_up("c", 1);
    cluster.ok(&["job", "stop", "b"]);
    assert_eq!(cluster.wait_final("e"), "Completed");
    cluster.ok(&["job", "stop", "c"]);

    // Two of 600 MB of disk on 1 GB: one after the other.
    let disk = json!({ "CPU": "100m", "Memory": "16Mb", "Disk": "600Mb" });
    for name in ["first", "second"] {
        cluster.submit(&with_task(job(name, "batch", 1, UP_FOREVER), "Resources", disk.clone()));
        match name {
            "first" => cluster.wait_up(name, 1),
            _ => wait_queued(&cluster, "Disk", 6e8),
        }
    }
    cluster.ok(&["job", "stop", "first"]);
    cluster.wait_up("second", 1);
    cluster.ok(&["job", "stop", "second"]);
}

/// Waits until so much waits in the queue of the node.
fn wait_queued(cluster: &Cluster, what: &str, amount: f64) {
    eventually("the node has queued it", || {
        let node = cluster.json(&["node", "describe", "node-0"]);
        let queued = node["Info"]["ComputeNodeInfo"]["QueueCapacity"][what].as_f64();
        (queued == Some(amount)).then_some(())
    });
}
