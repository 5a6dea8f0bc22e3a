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
    let _remains = Remains(cluster.root.path().to_owned());
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
    assert_eq!(outputs(&cluster, "pinned"), ["first 0\n", "first 1\n"]);
    let described = cluster.json(&["job", "describe", "pinned"]);
    assert_eq!(described["Job"]["Meta"]["bacalhau.org/image-digest"], first);
    // The user's own words are as they were.
    assert_eq!(described["Job"]["Tasks"][0]["Engine"]["Params"]["Image"], image);

    // An unknown image: refused by every node, in words.
    let printed = cluster.cli(&["docker", "run", "--network", "none", &registry.name("missing:1")]);
    let printed =
        String::from_utf8_lossy(&printed.stdout).into_owned() + &String::from_utf8_lossy(&printed.stderr);
    assert!(printed.contains("image not available") && printed.contains("missing:1"), "{printed}");

    // A node that is killed finds its containers again: none is disturbed, no line is lost or printed twice.
    let job = |name: &str, kind: &str, engine: &str, script: &str| {
        let job = json!({
            "Name": name, "Type": kind,
            "Tasks": [{"Name": "main", "Engine": {"Type": engine, "Params": {"Image": image, "Parameters": [script]}},
                "Network": {"Type": "None"}}],
        });
        cluster.file(&format!("{name}.json"), &job.to_string())
    };
    // Others may test on this machine, too.
    let pid = std::process::id();
    let (stays, leaves) = (format!("7{pid}1"), format!("7{pid}2"));
    let counting =
        job("counting", "batch", "docker", "for i in $(seq 1 150); do echo line $i; sleep 0.02; done");
    let serving = job("serving", "service", "oci", &format!("echo up; sleep {stays}"));
    let leaving = job("leaving", "service", "oci", &format!("echo up; sleep {leaves}"));
    cluster.ok(&["job", "run", &serving, "--wait=false"]);
    cluster.ok(&["job", "run", &leaving, "--wait=false"]);
    cluster.ok(&["job", "run", &counting, "--wait=false"]);
    let has_begun =
        || is_running(&stays) && is_running(&leaves) && logs_of(&cluster, "counting").contains("line 5\n");
    eventually("the containers run", || has_begun().then_some(()));
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    assert!(is_running(&stays) && is_running(&leaves));
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.wait_connected(2);
    assert_eq!(cluster.wait_final("counting"), "Completed");
    let lines: String = (1..=150).map(|n| format!("line {n}\n")).collect();
    let executions = || cluster.json(&["job", "executions", "counting"]);
    assert_eq!(outputs(&cluster, "counting"), [lines], "{}", executions());

    // The same when it is stopped and started again; what was stopped meanwhile ends.
    cluster.nodes.iter_mut().for_each(|node| assert!(node.terminate()));
    assert!(is_running(&stays) && is_running(&leaves));
    cluster.ok(&["job", "stop", "leaving"]);
    cluster.nodes.iter_mut().for_each(|node| node.start());
    cluster.wait_connected(2);
    eventually("what was stopped is gone", || (!is_running(&leaves)).then_some(()));
    assert!(is_running(&stays));
    assert_eq!(cluster.json(&["job", "executions", "serving"]).as_array().unwrap().len(), 1);
    cluster.ok(&["job", "stop", "serving"]);
    eventually("the container is gone", || (!is_running(&stays)).then_some(()));
    let folder = cluster.root.path().to_str().unwrap().to_owned();
    let is_left = || std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&folder);
    eventually("no mount is left", || (!is_left()).then_some(()));
}

/// Ends what a test that fails leaves: containers outlive their nodes.
struct Remains(std::path::PathBuf);

impl Drop for Remains {
    fn drop(&mut self) {
        let folder = self.0.to_str().unwrap();
        for pid in std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()) {
            let is_ours = std::fs::read_link(pid.join("fd/1")).is_ok_and(|end| {
                end.to_string_lossy().starts_with(folder)
                    && end.to_string_lossy().contains("/oci/containers/")
            });
            let children = pid.join("task").join(pid.file_name().unwrap()).join("children");
            let children = is_ours.then(|| std::fs::read_to_string(children).unwrap_or_default());
            for child in children.iter().flat_map(|list| list.split_whitespace()) {
                let _ = std::process::Command::new("kill").args(["-9", child]).status();
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|m| m.starts_with(folder));
        for mount in ours {
            let _ = std::process::Command::new("umount").args(["-l", mount]).status();
        }
    }
}

/// Whether somebody sleeps for so many seconds.
fn is_running(seconds: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|pid| {
        let command = std::fs::read(pid.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command) == format!("sleep\0{seconds}\0")
    })
}

fn logs_of(cluster: &Cluster, job: &str) -> String {
    String::from_utf8_lossy(&cluster.cli(&["job", "logs", job]).stdout).into_owned()
}

/// What the executions of a job printed.
fn outputs(cluster: &Cluster, job: &str) -> Vec<String> {
    let executions = cluster.json(&["job", "executions", job]);
    // A node that is busy may have refused a bid before.
    let text = |e: &serde_json::Value| Some(e["RunOutput"]["Stdout"].as_str()?.to_owned());
    let mut outputs: Vec<String> = executions.as_array().unwrap().iter().filter_map(text).collect();
    outputs.retain(|text| !text.is_empty());
    outputs.sort();
    outputs
}
