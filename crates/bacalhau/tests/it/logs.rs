//! Logs of jobs, as people and scripts read them.

use crate::cluster::{Cluster, UP_FOREVER, eventually, example, wat_job};
use serde_json::Value;
use std::process::{Child, Output};

/// Says `out` and `err`, each in two pieces.
const BOTH: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\20\00\00\00\02\00\00\00\22\00\00\00\02\00\00\00\24\00\00\00\04\00\00\00")
    (data (i32.const 32) "out\0aerr\0a")
    (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))
        (drop (call $write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 64)))
        (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 64)))))"#;

/// Says a line of a hundred bytes two thousand times.
const MUCH: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\20\00\00\00\64\00\00\00")
    (func (export "_start") (local $n i32)
        (memory.fill (i32.const 32) (i32.const 120) (i32.const 99))
        (i32.store8 (i32.const 131) (i32.const 10))
        (loop $again
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 2000))))))"#;

fn cluster(nodes: usize, settings: &[&str]) -> Cluster {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["-c", setting]).collect();
    for _ in 0..nodes {
        cluster.add_node(&address, &settings);
    }
    cluster.wait_connected(nodes);
    cluster
}

/// One node, whose work is not given up while it is away.
fn patient_cluster() -> Cluster {
    let mut cluster = Cluster::new("", &["Orchestrator.NodeManager.ReconnectGrace=60s"]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    cluster
}

fn submit(cluster: &Cluster, name: &str, job: &str) {
    let file = cluster.file(&format!("{name}.yaml"), job);
    cluster.ok(&["job", "run", &file, "--wait=false"]);
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits for a command that was started.
pub(crate) fn ended(mut child: Child) -> Output {
    eventually("the command ended", || child.try_wait().unwrap());
    child.wait_with_output().unwrap()
}

fn executions(cluster: &Cluster, job: &str) -> Vec<Value> {
    cluster.json(&["job", "executions", job]).as_array().cloned().unwrap_or_default()
}

#[test]
fn all_executions_at_once_each_with_its_name() {
    let cluster = cluster(2, &[]);
    submit(&cluster, "both", &wat_job("both", BOTH, "").replace("Count: 1", "Count: 4"));
    // From the start or later: the lines are the same, and standard error stays apart.
    for follow in [&["-f"][..], &[]] {
        let output = cluster.cli(&[&["job", "logs", "both"][..], follow].concat());
        let (out, err) = (out(&output), err(&output));
        assert!(output.status.success(), "{err}");
        for partition in 0..4 {
            assert_eq!(out.matches(&format!("/{partition} | out\n")).count(), 1, "{out}");
            assert_eq!(err.matches(&format!("/{partition} | err\n")).count(), 1, "{err}");
        }
        assert_eq!(out.lines().count(), 4, "{out}");
    }
    assert_eq!(cluster.wait_final("both"), "Completed");
    assert_eq!(cluster.ok(&["job", "logs", "both", "--no-prefix"]), "out\n".repeat(4));
    assert_eq!(cluster.ok(&["job", "logs", "both", "--tail=0"]), "");
    assert_eq!(cluster.ok(&["job", "logs", "both", "--tail", "2", "--no-prefix"]), "out\n".repeat(4));
    assert_eq!(cluster.ok(&["job", "logs", "both", "--since", "2999-01-01T00:00:00Z"]), "");
    assert_eq!(cluster.ok(&["job", "logs", "both", "--since", "1h", "--no-prefix"]), "out\n".repeat(4));

    // Objects for scripts: pieces of a line are one line, with the time of its beginning.
    let lines = cluster.ok(&["job", "logs", "both", "--output", "json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 8);
    for execution in executions(&cluster, "both") {
        let of_it: Vec<&Value> = lines.iter().filter(|line| line["ExecutionID"] == execution["ID"]).collect();
        let texts: Vec<_> =
            of_it.iter().map(|line| (line["Stream"].as_str(), line["Line"].as_str())).collect();
        assert!(
            texts.contains(&(Some("stdout"), Some("out"))) && texts.contains(&(Some("stderr"), Some("err")))
        );
        assert_eq!(of_it[0]["NodeID"], execution["NodeID"]);
        assert!(of_it.iter().all(|line| line["Time"].as_str().is_some_and(|time| time.starts_with("20"))));

        let id = execution["ID"].as_str().unwrap();
        assert_eq!(cluster.ok(&["job", "logs", "both", "--execution-id", id]), "out\n");
        let timed = cluster.ok(&["job", "logs", "both", "-e", id, "--timestamps"]);
        assert!(timed.ends_with("Z out\n") && timed.starts_with("20") && timed.len() == 35, "{timed}");
    }
    let nosuch = cluster.cli(&["job", "logs", "both", "-e", "e-none"]);
    assert!(err(&nosuch).contains("unable to find execution e-none"), "{}", err(&nosuch));
    let nosuch = cluster.cli(&["job", "logs", "both", "--version", "9"]);
    assert!(err(&nosuch).contains("and version 9"), "{}", err(&nosuch));
}

#[test]
fn a_follower_waits_for_a_job_without_nodes_and_is_told() {
    let mut cluster = cluster(0, &[]);
    submit(&cluster, "early", &wat_job("early", BOTH, "    Timeouts:\n      QueueTimeout: 600\n"));
    let now = cluster.cli(&["job", "logs", "early"]);
    assert!(!now.status.success());
    assert!(err(&now).contains("no executions found") && err(&now).contains("--follow"), "{}", err(&now));
    let follower = cluster.spawn(&["job", "logs", "-f", "early"]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    let output = ended(follower);
    assert_eq!((out(&output).as_str(), output.status.success()), ("out\n", true), "{}", err(&output));
}

#[test]
fn an_orchestrator_that_restarts_interrupts_no_follower() {
    let mut cluster = cluster(1, &[]);
    cluster.ok(&["job", "run", &example("ticker.yaml"), "--wait=false"]);
    let follower = cluster.spawn(&["job", "logs", "--follow", "ticker"]);
    eventually("it prints", || cluster.ok(&["job", "logs", "ticker"]).contains("tick 2 ").then_some(()));
    cluster.orchestrator.kill();
    cluster.orchestrator.start();
    let output = ended(follower);
    let out = out(&output);
    assert!(output.status.success(), "{}", err(&output));
    for tick in 1..=20 {
        assert_eq!(
            out.matches(&format!("tick {tick} of 20\n")).count(),
            1,
            "{tick}: {out}\n{}",
            err(&output)
        );
    }
}

#[test]
fn a_node_that_is_gone_is_named() {
    let mut cluster = patient_cluster();
    submit(&cluster, "up", &wat_job("up", UP_FOREVER, "").replace("Type: batch", "Type: service"));
    eventually("it is up", || cluster.ok(&["job", "logs", "up"]).contains("up").then_some(()));
    let up = executions(&cluster, "up")[0]["ID"].as_str().unwrap().to_owned();
    submit(&cluster, "done", &wat_job("done", BOTH, ""));
    assert_eq!(cluster.wait_final("done"), "Completed");
    cluster.nodes[0].kill();
    eventually("the loss of the connection is seen", || (cluster.connected() == 0).then_some(()));
    // What has ended shows what its record holds.
    let done = cluster.cli(&["job", "logs", "done"]);
    assert_eq!(out(&done), "out\n", "{}", err(&done));
    let words = err(&done);
    assert!(
        words.contains("node node-0 is not connected since ")
            && words.contains("its output is left in its record"),
        "{words}"
    );
    // What is on the node alone cannot be shown, and nobody is left waiting for it.
    for args in [&["job", "logs", "up"][..], &["job", "logs", "up", "-e", up.as_str()]] {
        let output = cluster.cli(args);
        let words = err(&output);
        assert!(words.contains("node node-0 is not connected since "), "{words}");
        assert!(words.contains("Start the node again") && !output.status.success(), "{words}");
    }
}

#[test]
fn a_log_that_is_gone_is_shown_from_the_results() {
    let cluster = cluster(1, &["Compute.Logs.Retention=1s"]);
    let publisher = "    Publisher:\n      Type: local\n";
    submit(&cluster, "kept", &wat_job("kept", BOTH, publisher));
    submit(&cluster, "unpublished", &wat_job("unpublished", BOTH, ""));
    let folder = cluster.nodes[0].dir.join("compute/executions");
    assert_eq!(cluster.wait_final("kept"), "Completed");
    assert_eq!(cluster.wait_final("unpublished"), "Completed");
    eventually("the logs are gone", || {
        let names = std::fs::read_dir(&folder).ok()?.flatten().map(|entry| entry.file_name());
        names.into_iter().all(|name| !name.to_string_lossy().contains(".log")).then_some(())
    });
    let output = cluster.cli(&["job", "logs", "kept"]);
    assert_eq!(out(&output), "out\n", "{}", err(&output));
    let words = err(&output);
    assert!(
        words.contains("shown from published results, without times") && words.contains("err\n"),
        "{words}"
    );
    let output = cluster.cli(&["job", "logs", "unpublished"]);
    assert_eq!(out(&output), "out\n", "{}", err(&output));
    assert!(err(&output).contains("its log is not kept on its node any more"), "{}", err(&output));
}

#[test]
fn a_log_keeps_its_newest_part_within_its_limit() {
    let cluster = cluster(1, &["Compute.Logs.MaxExecutionSize=64Ki"]);
    submit(&cluster, "much", &wat_job("much", MUCH, ""));
    assert_eq!(cluster.wait_final("much"), "Completed");
    let output = cluster.cli(&["job", "logs", "much"]);
    assert!(err(&output).contains("bytes of older output are not kept any more"), "{}", err(&output));
    let kept = out(&output).lines().count();
    assert!((300..700).contains(&kept), "{kept}");
    assert_eq!(cluster.ok(&["job", "logs", "much", "--tail=50"]).lines().count(), 50);
    let folder = cluster.nodes[0].dir.join("compute/executions");
    let bytes: u64 =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 64 << 10, "{bytes}");
}
