//! Jobs and nodes over time, as users drive them: retries, restarts, updates, drains, explanations.

use crate::cluster::{Cluster, FOREVER, NOTHING, UP_FOREVER, eventually, wat_job};
use serde_json::Value;

/// Ends with exit code 3.
const EXITS_3: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (call $exit (i32.const 3))))"#;

/// Prints its environment, as `NAME=VALUE` ended by zeros.
const PRINTS_ENV: &str = r#"(module
    (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func (export "_start")
        (drop (call $sizes (i32.const 0) (i32.const 4)))
        (drop (call $get (i32.const 1024) (i32.const 4096)))
        (i32.store (i32.const 8) (i32.const 4096))
        (i32.store (i32.const 12) (i32.load (i32.const 4)))
        (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))"#;

fn cluster(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    for _ in 0..nodes {
        cluster.add_node(&address, &[]);
    }
    cluster.wait_connected(nodes);
    cluster
}

fn run(cluster: &Cluster, name: &str, job: &str) {
    let file = cluster.file(&format!("{name}.yaml"), job);
    cluster.ok(&["job", "run", &file, "--wait=false"]);
}

fn executions(cluster: &Cluster, job: &str) -> Vec<Value> {
    cluster.json(&["job", "executions", job]).as_array().cloned().unwrap_or_default()
}

fn live(cluster: &Cluster, job: &str) -> Vec<Value> {
    // Desired state Stopped is 2 on the wire.
    executions(cluster, job).into_iter().filter(|e| e["DesiredState"]["StateType"] != 2).collect()
}

fn node_of(execution: &Value) -> String {
    execution["NodeID"].as_str().unwrap_or_default().to_owned()
}

fn up(cluster: &Cluster, job: &str, count: usize) {
    eventually(&format!("{count} of {job} are up"), || {
        let up = live(cluster, job).into_iter().filter(|e| {
            let id = e["ID"].as_str().unwrap_or_default();
            let output = cluster.cli(&["job", "logs", job, "--execution-id", id]);
            String::from_utf8_lossy(&output.stdout).contains("up")
        });
        (up.count() == count).then_some(())
    });
}

#[test]
fn a_retry_policy_decides_about_exit_codes_and_attempts_are_numbered() {
    let cluster = cluster(1);
    run(&cluster, "plain", &wat_job("plain", EXITS_3, ""));
    assert_eq!(cluster.wait_final("plain"), "Completed", "the exit code is part of the result");
    let retry = "    Retry:\n      MaxAttempts: 2\n      FailOnExitCode: true\n";
    run(&cluster, "strict", &wat_job("strict", EXITS_3, retry));
    assert_eq!(cluster.wait_final("strict"), "Failed");
    let attempts: Vec<u64> =
        executions(&cluster, "strict").iter().filter_map(|e| e["Attempt"].as_u64()).collect();
    assert_eq!(attempts, [1, 2]);
    let described = cluster.ok(&["job", "describe", "strict"]);
    assert!(described.contains("retried too many times"), "{described}");

    run(&cluster, "env", &wat_job("env", PRINTS_ENV, ""));
    assert_eq!(cluster.wait_final("env"), "Completed");
    let log = cluster.ok(&["job", "logs", "env"]);
    assert!(log.contains("BACALHAU_ATTEMPT=1\0"), "{log}");
}

#[test]
fn a_service_that_exits_is_restarted_and_says_that_it_loops() {
    let mut cluster = cluster(1);
    run(&cluster, "loop", &wat_job("loop", NOTHING, "").replace("Type: batch", "Type: service"));
    eventually("it says that it loops", || {
        let described = cluster.json(&["job", "describe", "loop"]);
        let state = &described["Job"]["State"];
        (state["Details"]["CrashLoop"] == "true" && state["StateType"] == "Running").then_some(())
    });
    cluster.orchestrator.kill();
    cluster.orchestrator.start();
    cluster.wait_alive();
    cluster.wait_connected(1);
    let before = executions(&cluster, "loop").len();
    eventually("it goes on after a restart", || (executions(&cluster, "loop").len() > before).then_some(()));
    let attempts: Vec<u64> =
        executions(&cluster, "loop").iter().filter_map(|e| e["Attempt"].as_u64()).collect();
    assert_eq!(attempts, (1..=attempts.len() as u64).collect::<Vec<_>>(), "numbered without gaps");
    cluster.ok(&["job", "stop", "loop"]);
}

/// Whoever waits for the update hears how it ended.
fn goes_back(cluster: &Cluster, job: &str, why: &str) {
    let ended = cluster.cli(&["job", "run", &cluster.file("update.yaml", job)]);
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    assert!(said.contains("the update was taken back"), "{said}");
    let message = cluster.json(&["job", "describe", "s"])["Job"]["State"]["Message"].clone();
    assert!(message.as_str().unwrap().contains(why), "{message}");
}

#[test]
fn a_count_scales_in_place_and_a_failing_update_goes_back() {
    let cluster = cluster(1);
    let service = |count: usize, module: &str| {
        wat_job("s", module, "")
            .replace(
                "Type: batch",
                "Type: service\nUpdate:\n  MaxParallel: 1\n  HealthyAfter: 1\n  AutoRevert: true",
            )
            .replace("Count: 1", &format!("Count: {count}"))
    };
    run(&cluster, "one", &service(1, UP_FOREVER));
    up(&cluster, "s", 1);
    let first = live(&cluster, "s")[0]["ID"].clone();
    run(&cluster, "two", &service(2, UP_FOREVER));
    up(&cluster, "s", 2);
    assert!(live(&cluster, "s").iter().any(|e| e["ID"] == first), "the first goes on");

    let lost = service(2, NOTHING) + "Constraints:\n  - {Key: name, Operator: \"=\", Values: [moon]}\n";
    goes_back(&cluster, &lost, "going back to version 2: not enough nodes");
    assert_eq!(cluster.json(&["job", "describe", "s"])["Job"]["Version"], 4);
    up(&cluster, "s", 2);
    goes_back(&cluster, &service(2, NOTHING), "going back to version 4: execution completed unexpectedly");
    assert_eq!(cluster.json(&["job", "describe", "s"])["Job"]["Version"], 6);
    up(&cluster, "s", 2);
    // A good update goes through.
    let good =
        service(2, &UP_FOREVER.replace("(export \"_start\")", "(export \"_start\") (export \"other\")"));
    let said = cluster.ok(&["job", "run", &cluster.file("good.yaml", &good)]);
    assert!(said.contains("Rolling update from version 6 started"), "{said}");
    assert!(said.contains("Rolling update finished"), "{said}");
    let live = live(&cluster, "s");
    assert!(live.len() == 2 && live.iter().all(|e| e["JobVersion"] == 7), "{live:?}");
    cluster.ok(&["job", "stop", "s"]);
}

#[test]
fn a_drain_moves_work_and_explain_says_why() {
    let mut cluster = cluster(1);
    run(&cluster, "s", &wat_job("s", UP_FOREVER, "").replace("Type: batch", "Type: service"));
    run(&cluster, "b", &wat_job("b", FOREVER, ""));
    up(&cluster, "s", 1);
    eventually("the batch job runs", || {
        (live(&cluster, "b").first()?["ComputeState"]["StateType"] == 6).then_some(())
    });
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(2);
    let said = cluster.ok(&["node", "drain", "node-0", "--deadline", "1h"]);
    assert!(said.contains("1 execution is left") && said.contains("1h"), "{said}");
    eventually("the service is on the other node", || {
        let live = live(&cluster, "s");
        (live.len() == 1 && node_of(&live[0]) == "node-1").then_some(())
    });
    let explained = cluster.json(&["job", "explain", "s"]);
    assert_eq!(explained["Nodes"][0]["NodeID"], "node-1");
    assert_eq!(explained["Nodes"][0]["Verdict"], "Running");
    assert_eq!(explained["Nodes"][1]["Reason"], "node is drained");
    assert!(cluster.ok(&["job", "explain", "s"]).contains("1 live, 0 completed, 0 to be placed."));

    // A second drain sets another deadline; waiting ends when the node is empty.
    let said = cluster.ok(&["node", "drain", "node-0", "--deadline", "1s", "--wait"]);
    assert_eq!(said, "1 execution is left\nThe node is empty\n");
    eventually("the batch job is on the other node", || {
        let live = live(&cluster, "b");
        (live.len() == 1 && node_of(&live[0]) == "node-1").then_some(())
    });
    assert!(cluster.ok(&["node", "list"]).contains("DRAINED"));
    let refused = cluster.cli(&["node", "cordon", "node-0"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("already cordoned"));
    cluster.ok(&["node", "uncordon", "node-0"]);

    let file = cluster.file("dry.yaml", &wat_job("dry", NOTHING, ""));
    let dry = cluster.ok(&["job", "run", &file, "--dry-run"]);
    assert!(dry.contains("1 execution would run now.") && dry.contains("Chosen"), "{dry}");
    assert!(!cluster.cli(&["job", "describe", "dry"]).status.success(), "nothing was submitted");
    for job in ["s", "b"] {
        cluster.ok(&["job", "stop", job]);
    }
}
