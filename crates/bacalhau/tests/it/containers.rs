//! Containers on nodes without a Docker Engine, as users run them: image from a registry, one digest for the whole job.

use crate::cluster::{Cluster, eventually};
use crate::test_registry::{TestRegistry, busybox, is_installed};
use serde_json::json;
use std::os::unix::fs::MetadataExt;

#[test]
fn docker_run_without_docker() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("SKIPPED: containers need root");
        return;
    }
    if !is_installed("runc") && !is_installed("crun") {
        eprintln!("SKIPPED: neither runc nor crun is installed");
        return;
    }
    let Some(layer) = busybox() else { return };
    let Some(registry) = TestRegistry::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let layers = [layer];
    let push = |tag: &str, word: &str| {
        let config =
            json!({"Entrypoint": ["sh", "-c"], "Cmd": [format!("echo {word} $BACALHAU_PARTITION_INDEX")]});
        runtime.block_on(registry.push(tag, architecture, &config, &layers))
    };
    let first = push("app:latest", "first");

    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    for _ in 0..2 {
        cluster.add_node(&address, &["-c", "Engines.Types.Docker.Backend=oci"]);
    }
    cluster.wait_connected(2);
    let image = registry.name("app");
    let job = json!({
        "Name": "pinned", "Type": "batch", "Count": 2,
        "Tasks": [{"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": image}},
            "Network": {"Type": "None"}, "Resources": {"CPU": "0.5", "Memory": "64Mb"}}],
    });
    let file = cluster.file("pinned.json", &job.to_string());
    cluster.ok(&["job", "run", &file]);
    assert_eq!(cluster.state("pinned"), "Completed");
    let outputs = |name: &str| -> Vec<String> {
        let executions = cluster.json(&["job", "executions", name]);
        let text = |e: &serde_json::Value| e["RunOutput"]["Stdout"].as_str().unwrap_or_default().to_owned();
        let mut outputs: Vec<String> = executions.as_array().unwrap().iter().map(text).collect();
        outputs.sort();
        outputs
    };
    assert_eq!(outputs("pinned"), ["first 0\n", "first 1\n"]);
    let described = cluster.json(&["job", "describe", "pinned"]);
    assert_eq!(described["Job"]["Meta"]["bacalhau.org/image-digest"], first);
    // The user's own words are as they were.
    assert_eq!(described["Job"]["Tasks"][0]["Engine"]["Params"]["Image"], image);

    // An unknown image: refused by every node, in words.
    let printed = cluster.cli(&["docker", "run", "--network", "none", &registry.name("missing:1")]);
    let printed =
        String::from_utf8_lossy(&printed.stdout).into_owned() + &String::from_utf8_lossy(&printed.stderr);
    assert!(printed.contains("image not available") && printed.contains("missing:1"), "{printed}");

    // A node that is killed takes its containers with it.
    let long = json!({
        "Name": "long", "Type": "batch",
        "Tasks": [{"Name": "main", "Engine": {"Type": "oci", "Params": {"Image": image, "Parameters": ["sleep 7351"]}},
            "Network": {"Type": "None"}}],
    });
    let file = cluster.file("long.json", &long.to_string());
    cluster.ok(&["job", "run", &file, "--wait=false"]);
    let is_running = || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|pid| {
            let command = std::fs::read(pid.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains("sleep\x007351")
        })
    };
    eventually("the container runs", || is_running().then_some(()));
    for node in &mut cluster.nodes {
        node.kill();
    }
    eventually("the container is gone", || (!is_running()).then_some(()));
}
