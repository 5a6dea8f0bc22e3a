//! Which nodes get a job, and what happens when they refuse or fail it.

use super::programs::{END, GO_ON, program};
use super::{count, job, nodes, on, with_task};
use crate::cluster::Cluster;
use bacalhau_model::ComputeState::{AskForBidRejected, Cancelled, Completed, Failed};
use serde_json::{Value, json};

/// Two good nodes, one on which [`picky`] programs fail, and one that refuses them, and one without an engine.
fn zoo() -> Cluster {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    for (labels, allows) in [
        ("env=prod,role=good", true),
        ("env=prod,role=failing", true),
        ("env=test,role=refusing", false),
        ("env=test,role=good,spare=yes", true),
    ] {
        let labels = format!("Labels={labels}");
        let allow =
            if allows { "Compute.Env.AllowList=BACALHAU_DIR" } else { "Compute.Env.AllowList=NOTHING" };
        cluster.add_node(&address, &["-c", &labels, "-c", allow]);
    }
    cluster.add_node(&address, &["-c", "Labels=role=idle", "-c", "Engines.Disabled=wasm"]);
    cluster.wait_connected(5);
    cluster
}

/// Fails on the second node and is refused by the third: it asks for a variable of the node, which says where it is.
fn picky(name: &str, count: i64) -> Value {
    let task = job(name, "batch", count, &program(&["/node-1\n"], END));
    with_task(task, "Env", json!({ "WHERE": "env:BACALHAU_DIR" }))
}

#[test]
fn labels_refusals_failures_and_partitions() {
    let cluster = zoo();
    by_labels(&cluster);
    retries(&cluster);
    failures_of_one_partition(&cluster);
    partitions(&cluster);
}

fn by_labels(cluster: &Cluster) {
    let place = |name: &str, requirements: &[(&str, &str, &[&str])]| {
        let plain = job(name, "ops", 0, &program(&[], END));
        let job = requirements.iter().fold(plain, |job, (k, o, v)| on(job, k, o, v));
        let (state, executions) = cluster.run(&job);
        (state, executions.iter().map(|e| e.node_id.clone()).collect::<std::collections::BTreeSet<_>>())
    };
    for (name, requirements, expected) in [
        ("by-name", &[("name", "=", &["node-3"][..])][..], &["node-3"][..]),
        ("by-env", &[("env", "=", &["prod"])], &["node-0", "node-1"]),
        ("by-both", &[("env", "=", &["test"]), ("name", "=", &["node-2"])], &["node-2"]),
        ("negated", &[("env", "exists", &[]), ("env", "!=", &["prod"])], &["node-2", "node-3"]),
        ("several", &[("name", "in", &["node-0", "node-3", "moon"])], &["node-0", "node-3"]),
    ] {
        let (state, found) = place(name, requirements);
        assert_eq!(state, "Completed", "{name}");
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{name}");
    }
    let (state, found) = place("nowhere", &[("env", "=", &["moon"])]);
    assert!(state == "Failed" && found.is_empty(), "{found:?}");
    // One node that is preferred, then two.
    let one = on(job("prefer-one", "batch", 1, &program(&[], END)), "favour_spare", "=", &["yes"]);
    assert_eq!(nodes(&cluster.run(&one).1), ["node-3"]);
    let two = on(job("prefer-two", "batch", 2, &program(&[], END)), "favour_env", "=", &["prod"]);
    assert_eq!(nodes(&cluster.run(&two).1), ["node-0", "node-1"]);
    // A switched-off engine is one that the node does not have.
    let idle = on(job("idle", "batch", 1, &program(&[], END)), "role", "=", &["idle"]);
    assert_eq!(cluster.run(&idle), ("Failed".to_owned(), vec![]));
    assert!(cluster.message("idle").contains("does not support wasm"), "{}", cluster.message("idle"));
}

fn retries(cluster: &Cluster) {
    let roles = |name: &str, count: i64, roles: &[&str]| on(picky(name, count), "role", "in", roles);
    let refused = on(roles("refused-then-good", 1, &["refusing", "good"]), "favour_role", "=", &["refusing"]);
    let (state, executions) = cluster.run(&refused);
    assert_eq!((state.as_str(), count(&executions, AskForBidRejected)), ("Completed", 1));
    assert_eq!(count(&executions, Completed), 1);

    let (state, executions) = cluster.run(&roles("only-refused", 1, &["refusing"]));
    assert_eq!((state.as_str(), executions.len()), ("Failed", 1));
    assert_eq!(count(&executions, AskForBidRejected), 1);
    let why = &executions[0].compute_state.message;
    assert!(why.contains("environment variable 'BACALHAU_DIR' is not in allowed patterns"), "{why}");

    // Two partitions spread over the two nodes; the one that fails goes to the node that did not try it yet.
    let failing = on(picky("failing-then-good", 2), "name", "in", &["node-0", "node-1"]);
    let (state, executions) = cluster.run(&failing);
    assert_eq!(
        (state.as_str(), count(&executions, Failed), count(&executions, Completed)),
        ("Completed", 1, 2)
    );

    let (state, executions) = cluster.run(&roles("only-failing", 1, &["failing"]));
    assert_eq!((state.as_str(), executions.len(), count(&executions, Failed)), ("Failed", 2, 2));
    let why = &executions[0].compute_state.message;
    assert!(why.contains("unreachable"), "the engine's own words are missing: {why}");

    let (state, executions) = cluster.run(&roles("a-mix", 4, &["refusing", "failing", "good"]));
    assert_eq!((state.as_str(), count(&executions, Completed)), ("Completed", 4));
    let seen: std::collections::BTreeSet<i64> = executions
        .iter()
        .filter(|e| e.compute_state.state_type == Completed)
        .map(|e| e.partition_index)
        .collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

/// A partition that fails everywhere fails the job; the other, which would go on for ever, is cancelled.
fn failures_of_one_partition(cluster: &Cluster) {
    let module = program(&["BACALHAU_PARTITION_INDEX=1\n"], GO_ON);
    let bad = on(job("one-bad", "batch", 2, &module), "name", "in", &["node-0", "node-1"]);
    let (state, executions) = cluster.run(&bad);
    assert_eq!((state.as_str(), count(&executions, Cancelled)), ("Failed", 1));
    // Two tries on each of two nodes.
    assert_eq!((count(&executions, Failed), executions.len()), (4, 5));
    assert!(executions.iter().all(|e| (e.partition_index == 1) == (e.compute_state.state_type == Failed)));
}

fn partitions(cluster: &Cluster) {
    let published = |job| with_task(job, "Publisher", json!({ "Type": "local" }));
    let (_, one) = cluster.run(&on(job("one", "batch", 1, &program(&[], END)), "role", "=", &["good"]));
    let stdout = &one[0].run_output.stdout;
    assert!(stdout.contains("BACALHAU_PARTITION_INDEX=0\n"), "{stdout}");
    assert!(stdout.contains("BACALHAU_PARTITION_COUNT=1\n"), "{stdout}");

    let three = on(job("three", "batch", 3, &program(&[], END)), "role", "=", &["good"]);
    let (state, executions) = cluster.run(&published(three));
    assert_eq!((state.as_str(), executions.len()), ("Completed", 3));
    for execution in &executions {
        let own = format!("BACALHAU_PARTITION_INDEX={}\n", execution.partition_index);
        let stdout = &execution.run_output.stdout;
        assert!(stdout.contains(&own) && stdout.contains("BACALHAU_PARTITION_COUNT=3\n"), "{stdout}");
    }
    let out = cluster.root.path().join("three");
    std::fs::create_dir(&out).unwrap();
    cluster.ok(&["job", "get", "three", "--output-dir", out.to_str().unwrap()]);
    let stdout = std::fs::read_to_string(out.join("stdout")).unwrap();
    let order: Vec<&str> =
        stdout.lines().filter(|line| line.starts_with("BACALHAU_PARTITION_INDEX=")).collect();
    assert_eq!(order, [0, 1, 2].map(|n| format!("BACALHAU_PARTITION_INDEX={n}")));

    // Partition 1 fails twice on the node that it prefers and succeeds elsewhere with the same index.
    let module = program(&["BACALHAU_PARTITION_INDEX=1\n", "/node-1\n"], END);
    let again = with_task(job("again", "batch", 2, &module), "Env", json!({ "WHERE": "env:BACALHAU_DIR" }));
    let again = on(on(again, "name", "in", &["node-0", "node-1"]), "favour_role", "=", &["failing"]);
    let (state, executions) = cluster.run(&published(again));
    assert_eq!(
        (state.as_str(), count(&executions, Completed), count(&executions, Failed)),
        ("Completed", 2, 2)
    );
    let last = executions.iter().find(|e| e.partition_index == 1 && e.compute_state.state_type == Completed);
    assert_eq!(last.map(|e| e.node_id.as_str()), Some("node-0"));
}
