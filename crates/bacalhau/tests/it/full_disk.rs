//! A node whose disk is full: jobs fail in words, nothing is left of them, and with room it serves again.

use crate::cluster::{Cluster, eventually};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A small file system, taken away at the end.
struct Disk(PathBuf);

impl Disk {
    /// `None`, said aloud, where this user may not mount.
    fn mount(folder: &Path, size: &str) -> Option<Disk> {
        std::fs::create_dir_all(folder).unwrap();
        let mount = ["-t", "tmpfs", "-o", size, "tmpfs"];
        let mounted = Command::new("mount").args(mount).arg(folder).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Disk(folder.to_owned()));
        }
        eprintln!("SKIPPED: a file system cannot be mounted here, so what a full disk does is not tested");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A node that runs processes, on a disk of its own.
fn cluster(size: &str) -> Option<(Disk, Cluster)> {
    let mut cluster = Cluster::new("", &["Orchestrator.NodeManager.ReconnectGrace=60s"]);
    let disk = Disk::mount(&cluster.root.path().join("node-0"), size)?;
    let settings = [
        "Engines.Types.Exec.Enabled=true",
        "Engines.Types.Exec.AllowListedPrograms=/**",
        "Engines.Types.Exec.User=root",
    ];
    let args: Vec<&str> = settings.iter().flat_map(|setting| ["-c", setting]).collect();
    let address = cluster.nats();
    cluster.add_node(&address, &args);
    cluster.wait_connected(1);
    Some((disk, cluster))
}

fn submit(cluster: &Cluster, name: &str, script: &str) {
    let job = json!({"Name": name, "Type": "batch", "Count": 1, "Tasks": [{
        "Name": "main",
        "Engine": {"Type": "exec", "Params": {"Command": "sh", "Arguments": ["-c", script]}},
        "ResultPaths": [{"Name": "out", "Path": "/out"}],
        "Publisher": {"Type": "local"},
        // What is written to this file system counts as memory.
        "Resources": {"CPU": "100m", "Memory": "400Mb"},
    }]});
    let file = cluster.file(&format!("{name}.json"), &job.to_string());
    cluster.ok(&["job", "run", &file, "--wait=false"]);
}

fn executions(cluster: &Cluster, job: &str) -> Vec<Value> {
    cluster.json(&["job", "executions", job]).as_array().cloned().unwrap_or_default()
}

/// Folders of executions and published results.
fn left(cluster: &Cluster) -> Vec<PathBuf> {
    let compute = cluster.nodes[0].dir.join("compute");
    let entries =
        ["executions", "results/local-publisher"].map(|folder| std::fs::read_dir(compute.join(folder)));
    let entries = entries.into_iter().flatten().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir() || path.to_string_lossy().contains(".tar.gz")).collect()
}

#[test]
fn a_job_that_fills_the_disk_fails_in_words_and_the_next_one_completes() {
    let Some((_disk, cluster)) = cluster("size=64m") else { return };
    submit(&cluster, "fills", "cat /dev/zero > /out/big; while echo >> /out/big; do :; done; echo full");
    assert_eq!(cluster.wait_final("fills"), "Failed");
    let (history, described) =
        (cluster.ok(&["job", "history", "fills"]), cluster.ok(&["job", "describe", "fills"]));
    assert!(history.contains("No space left on device"), "{history}\n{described}");
    eventually("nothing is left", || left(&cluster).is_empty().then_some(()));
    submit(&cluster, "next", "echo small > /out/file");
    assert_eq!(cluster.wait_final("next"), "Completed");
    assert_eq!(executions(&cluster, "next").len(), 1);
}

#[test]
fn a_node_without_any_room_lives_on_and_says_so() {
    let Some((_disk, cluster)) = cluster("size=64m") else { return };
    submit(&cluster, "before", "echo before > /out/file");
    assert_eq!(cluster.wait_final("before"), "Completed");
    let published = left(&cluster);
    let ballast = cluster.nodes[0].dir.join("ballast");
    let fill = "cat /dev/zero > $0; while echo >> $0; do :; done";
    Command::new("sh").args(["-c", fill]).arg(&ballast).stderr(Stdio::null()).status().unwrap();
    for number in 0..10 {
        let name = format!("full-{number}");
        submit(&cluster, &name, "echo full > /out/file");
        assert_eq!(cluster.wait_final(&name), "Failed");
        let history = cluster.ok(&["job", "history", &name]);
        assert!(history.contains("No space left on device"), "{history}");
    }
    assert_eq!(left(&cluster), published);
    std::fs::remove_file(&ballast).unwrap();
    // The same process as before.
    assert_eq!(cluster.nodes[0].log().matches("Starting bacalhau").count(), 1);
    submit(&cluster, "after", "echo after > /out/file");
    assert_eq!(cluster.wait_final("after"), "Completed");
}
