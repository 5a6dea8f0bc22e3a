//! Jobs that run on every node: ops on those that are there, daemons on those that come.

use super::programs::{END, program};
use super::{count, job, nodes, on, with_task};
use crate::cluster::{Cluster, UP_FOREVER, eventually};
use bacalhau_model::ComputeState::{Completed, Failed};
use serde_json::json;

fn ops(name: &str) -> serde_json::Value {
    job(name, "ops", 0, &program(&[], END))
}

fn add(cluster: &mut Cluster, kind: &str) {
    let (address, labels) = (cluster.nats(), format!("Labels=kind={kind}"));
    let node = cluster.add_node(&address, &["-c", &labels, "-c", "Compute.Env.AllowList=BACALHAU_DIR"]);
    cluster.wait_connected(node + 1);
}

/// Nodes with a live execution of the daemon, once there are that many.
fn alive(cluster: &Cluster, count: usize) -> Vec<String> {
    eventually(&format!("{count} daemons live"), || {
        let all = cluster.executions("daemon", &[]);
        let live: Vec<_> = all.into_iter().filter(|e| !e.is_terminal()).collect();
        (live.len() == count).then(|| nodes(&live).into_iter().map(str::to_owned).collect())
    })
}

#[test]
fn ops_jobs_and_daemons_follow_the_nodes() {
    let mut cluster = Cluster::new("", &[]);
    assert_eq!(cluster.run(&ops("none")), ("Failed".to_owned(), vec![]));
    assert!(
        cluster.message("none").starts_with("not matching nodes to run job"),
        "{}",
        cluster.message("none")
    );

    add(&mut cluster, "yes");
    let (state, executions) = cluster.run(&ops("one"));
    assert_eq!((state.as_str(), count(&executions, Completed)), ("Completed", 1));

    add(&mut cluster, "yes");
    add(&mut cluster, "no");
    cluster.submit(&on(job("daemon", "daemon", 0, UP_FOREVER), "kind", "=", &["yes"]));
    cluster.wait_up("daemon", 2);
    assert_eq!(alive(&cluster, 2), ["node-0", "node-1"]);
    // One that matches and one that does not.
    add(&mut cluster, "yes");
    add(&mut cluster, "no");
    assert_eq!(alive(&cluster, 3), ["node-0", "node-1", "node-3"]);

    let (state, executions) = cluster.run(&ops("five"));
    assert_eq!((state.as_str(), count(&executions, Completed)), ("Completed", 5));
    assert_eq!(nodes(&executions), ["node-0", "node-1", "node-2", "node-3", "node-4"]);
    let six = cluster.run(&job("six", "batch", 6, &program(&[], END)));
    assert_eq!((six.0.as_str(), count(&six.1, Completed)), ("Completed", 6));

    let broken = job("partly", "ops", 0, &program(&["/node-2\n"], END));
    let (state, executions) = cluster.run(&with_task(broken, "Env", json!({ "WHERE": "env:BACALHAU_DIR" })));
    assert_eq!((state.as_str(), count(&executions, Failed), count(&executions, Completed)), ("Failed", 1, 4));

    // A node that leaves takes its execution with it, and gets another one when it is back.
    assert!(cluster.nodes[1].terminate());
    assert_eq!(alive(&cluster, 2), ["node-0", "node-3"]);
    let lost = cluster.executions("daemon", &[]).into_iter().find(|e| e.is_terminal()).unwrap();
    assert_eq!((lost.node_id.as_str(), lost.compute_state.state_type), ("node-1", Failed));
    cluster.nodes[1].start();
    assert_eq!(alive(&cluster, 3), ["node-0", "node-1", "node-3"]);
    assert_eq!(cluster.state("daemon"), "Running");
}
