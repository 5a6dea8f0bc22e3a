//! A compute node around its engines: what it has, shows and refuses.

use crate::cluster::{Cluster, NOTHING, UP_FOREVER, eventually, free_port, request, wat_input};
use serde_json::{Value, json};
use std::path::Path;

/// Prints its environment.
const ENVIRONMENT: &str = r#"(module
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (drop (call $sizes (i32.const 0) (i32.const 4)))
        (drop (call $environ (i32.const 1024) (i32.const 8192)))
        (i32.store (i32.const 16) (i32.const 8192))
        (i32.store (i32.const 20) (i32.load (i32.const 4)))
        (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))"#;

/// Asked about each job: takes all but those with "unwanted" in their name.
const PROBE: &str = r#"if [[ $(cat) == *unwanted* ]]; then echo "not on this node" >&2; exit 1; fi"#;

fn job(name: &str, module: &str, task: Value) -> Value {
    let mut job = json!({
        "Name": name, "Type": "batch", "Count": 1,
        "Tasks": [{
            "Name": "main",
            "Engine": { "Type": "wasm", "Params": { "EntryModule": "/m.wasm", "Entrypoint": "_start" } },
            "InputSources": [wat_input(module)],
            "Resources": { "CPU": "100m", "Memory": "16Mb" },
        }],
    });
    for (field, value) in task.as_object().unwrap() {
        job["Tasks"][0][field] = value.clone();
    }
    job
}

fn submit(cluster: &Cluster, job: &Value) {
    let name = job["Name"].as_str().unwrap();
    let file = cluster.file(&format!("{name}.json"), &job.to_string());
    cluster.ok(&["job", "run", "--id-only", "--wait=false", &file]);
}

/// Installs a program, written by a process of its own: nobody else must hold it open for writing when it starts.
fn install(path: &Path, script: &str) {
    let written = std::process::Command::new("sh")
        .args(["-c", "printf '#!/bin/sh\n%s\n' \"$1\" > \"$2\" && chmod +x \"$2\"", "sh", script])
        .arg(path)
        .status();
    assert!(written.unwrap().success());
}

/// A node with two cards, a probe, and 2 ports for jobs.
fn cluster() -> (Cluster, u16, u16) {
    let mut cluster = Cluster::new("", &[]);
    let tools = cluster.root.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    install(&tools.join("nvidia-smi"), "echo '0, Tesla T4, 15360'; echo '1, Tesla T4, 15360'");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let (api_port, first) = (free_port(), free_port());
    let settings = [
        format!("JobAdmissionControl.ProbeExec={PROBE}"),
        format!("Compute.Network.PortRangeStart={first}"),
        format!("Compute.Network.PortRangeEnd={first}"),
        "Compute.AllocatedCapacity.Memory=900Tb".to_owned(),
    ];
    let more: Vec<&str> = settings.iter().flat_map(|setting| ["-c", setting.as_str()]).collect();
    cluster.add_node_with(&cluster.nats(), api_port, &more, vec![("PATH".to_owned(), path)]);
    cluster.wait_connected(1);
    (cluster, api_port, first)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn agent_node(port: u16) -> Value {
    serde_json::from_str(body(&request(port, "GET", "/api/v1/agent/node", "").unwrap())).unwrap()
}

/// A line of the figures of Prometheus.
fn figure(port: u16, name: &str) -> Option<String> {
    let answer = request(port, "GET", "/metrics", "").unwrap();
    let lines: Vec<&str> = answer.lines().collect();
    lines.iter().find_map(|line| line.strip_prefix(&format!("{name} "))).map(str::to_owned)
}

#[test]
fn a_node_around_its_engines() {
    let (cluster, api_port, first) = cluster();

    // GPUs: found, offered, picked, shown, given back.
    let info = &cluster.json(&["node", "describe", "node-0"])["Info"]["ComputeNodeInfo"];
    assert_eq!(info["MaxCapacity"]["GPU"], 2);
    assert_eq!(info["MaxCapacity"]["GPUs"][1]["Name"], "Tesla T4");
    let with_gpu = json!({ "Resources": { "CPU": "100m", "Memory": "16Mb", "GPU": "1" } });
    submit(&cluster, &job("gpu", UP_FOREVER, with_gpu));
    eventually("it runs", || {
        let compute = &agent_node(api_port)["ComputeNodeInfo"];
        let free = compute["AvailableCapacity"]["GPUs"].as_array()?;
        (free.len() == 1 && free[0]["Index"] == 1 && compute["RunningExecutions"] == 1).then_some(())
    });
    let me = agent_node(api_port);
    assert_eq!(me["Connection"]["ConnectedTo"], cluster.nats());
    let port = api_port.to_string();
    let shown = std::process::Command::new(crate::cluster::BACALHAU)
        .args(["agent", "node", "--output", "json", "--api-host", "127.0.0.1", "--api-port", &port])
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["Connection"], me["Connection"], "{shown}");

    // Figures of both sides.
    for (name, value) in [
        ("bacalhau_compute_gpus{state=\"capacity\"}", "2"),
        ("bacalhau_compute_gpus{state=\"free\"}", "1"),
        ("bacalhau_compute_executions{state=\"running\"}", "1"),
        ("bacalhau_compute_orchestrator_connected", "1"),
        ("bacalhau_compute_bids_total{answer=\"made\"}", "1"),
        ("bacalhau_compute_engine_executions{engine=\"wasm\"}", "1"),
    ] {
        eventually(name, || (figure(api_port, name).as_deref() == Some(value)).then_some(()));
    }
    for (name, value) in [
        ("bacalhau_orchestrator_jobs{state=\"running\"}", "1"),
        ("bacalhau_orchestrator_executions", "1"),
        ("bacalhau_orchestrator_nodes{membership=\"approved\",connection=\"connected\"}", "1"),
        ("bacalhau_orchestrator_nodes_schedulable", "1"),
        ("bacalhau_nats_connections", "1"),
    ] {
        eventually(name, || (figure(cluster.api_port, name).as_deref() == Some(value)).then_some(()));
    }
    cluster.ok(&["job", "stop", "gpu"]);
    eventually("the card is free", || {
        let free = figure(api_port, "bacalhau_compute_gpus{state=\"free\"}");
        (free.as_deref() == Some("2")).then_some(())
    });

    // What the machine does not have is told.
    assert!(
        cluster.nodes[0].log().contains("Compute.AllocatedCapacity.Memory is 900 TB, but this machine has")
    );

    // The operator has a say.
    submit(&cluster, &job("unwanted-by-the-operator", NOTHING, json!({})));
    assert_eq!(cluster.wait_final("unwanted-by-the-operator"), "Failed");
    let history = cluster.ok(&["job", "history", "unwanted-by-the-operator"]);
    assert!(history.contains("not on this node"), "{history}");
    submit(&cluster, &job("welcome", NOTHING, json!({})));
    assert_eq!(cluster.wait_final("welcome"), "Completed");

    // Ports: one of the range for whoever does not choose, and a fixed one for one execution only.
    let any = json!({ "Network": { "Type": "Host", "Ports": [{ "Name": "http" }] } });
    submit(&cluster, &job("any-port", ENVIRONMENT, any.clone()));
    assert_eq!(cluster.wait_final("any-port"), "Completed");
    let executions = cluster.json(&["job", "executions", "any-port"]);
    let printed = executions[0]["RunOutput"]["Stdout"].as_str().unwrap();
    for name in ["BACALHAU_HOST_PORT_http", "BACALHAU_PORT_http"] {
        assert!(printed.split('\0').any(|line| line == format!("{name}={first}")), "{printed:?}");
    }
    let fixed =
        json!({ "Network": { "Type": "Host", "Ports": [{ "Name": "http", "Static": free_port() }] } });
    submit(&cluster, &job("holds-port", UP_FOREVER, fixed.clone()));
    eventually("it runs", || {
        (agent_node(api_port)["ComputeNodeInfo"]["RunningExecutions"] == 1).then_some(())
    });
    submit(&cluster, &job("wants-port", NOTHING, fixed));
    assert_eq!(cluster.wait_final("wants-port"), "Failed");
    let history = cluster.ok(&["job", "history", "wants-port"]);
    assert!(history.contains("does not have port"), "{history}");
    // The only port of the range is taken by one that asks for it by number.
    cluster.ok(&["job", "stop", "holds-port"]);
    let two = json!({ "Network": { "Type": "Host", "Ports": [{ "Name": "a" }, { "Name": "b" }] } });
    submit(&cluster, &job("two-ports", NOTHING, two));
    assert_eq!(cluster.wait_final("two-ports"), "Failed");
    let history = cluster.ok(&["job", "history", "two-ports"]);
    assert!(history.contains("no free port for"), "{history}");
}

#[test]
fn figures_can_be_switched_off() {
    let cluster = Cluster::new("", &["API.Metrics=false"]);
    let answer = cluster.http("GET", "/metrics");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
