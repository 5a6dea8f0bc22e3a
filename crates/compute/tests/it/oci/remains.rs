//! A node that is killed, and its next life.

use super::networks::request;
use super::{left, next_life, node, nothing_left, site};
use crate::support::in_time;
use bacalhau_compute::engines::Engine;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn what_a_killed_node_left_is_removed() {
    let Some(site) = site() else { return };
    let node = node().await;
    node.run(site.script("true").execution()).await.unwrap();
    // As if the node had been killed: a container of a former life, its root mounted, nobody who knows of it.
    let compute = node.dir.path().join("compute");
    let work = compute.join("executions/e-former/root/oci");
    let life = compute.join("oci/former");
    let image =
        std::fs::read_dir(compute.join("images/layers")).unwrap().next().unwrap().unwrap().path().join("fs");
    for folder in ["merged", "upper", "work"] {
        std::fs::create_dir_all(work.join(folder)).unwrap();
    }
    let merged = work.join("merged");
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        image.display(),
        work.join("upper").display(),
        work.join("work").display()
    );
    run("mount", &["-t", "overlay", "overlay", "-o", &options, merged.to_str().unwrap()]);
    run("runc", &["spec", "--bundle", work.to_str().unwrap()]);
    let cgroup = format!("{}-former", super::cgroup_prefix(&node));
    let config = std::fs::read_to_string(work.join("config.json")).unwrap();
    let config = config
        .replace("\"rootfs\"", &format!("{:?}", merged.to_str().unwrap()))
        .replace("\"sh\"", "\"sleep\", \"5813\"")
        .replace("\"terminal\": true", "\"terminal\": false")
        .replace("\"linux\": {", &format!("\"linux\": {{ \"cgroupsPath\": \"/{cgroup}/e-former/c\","));
    std::fs::write(work.join("config.json"), config).unwrap();
    let root = life.to_str().unwrap();
    run("runc", &["--root", root, "run", "--detach", "--bundle", work.to_str().unwrap(), "e-former"]);
    in_time(async {
        while !is_running("5813") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(
        is_running("5813") && std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains("e-former")
    );

    next_life(&node).clean_up(&BTreeSet::new()).await;
    assert!(!is_running("5813"));
    assert!(!life.exists());
    node.executor.sweep(&BTreeSet::new()).unwrap();
    nothing_left(&node);
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success(), "{program} {arguments:?}");
}

/// Whether somebody sleeps for so many seconds.
fn is_running(seconds: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|pid| {
        let command = std::fs::read(pid.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&format!("sleep\0{seconds}"))
    })
}

/// Whenever a node dies: its next life removes what it does not go on with.
#[tokio::test]
async fn of_a_run_that_is_given_up_the_next_life_leaves_nothing() {
    let Some(site) = site() else { return };
    let node = node().await;
    node.run(site.script("true").execution()).await.unwrap();
    for pause in (0..20).map(|step| step * 4).chain([150]) {
        let execution = Arc::new(site.script("sleep 3600").execution());
        let engine = next_life(&node);
        let (request, _cancel) = request(&node, &execution, Vec::new());
        // A folder in use is not removed by a node that dies.
        std::mem::forget(Arc::clone(&request.work));
        let given_up = tokio::time::timeout(Duration::from_millis(pause), engine.run(request)).await;
        assert!(given_up.is_err());
        in_time(async {
            while left(&node).is_some() {
                next_life(&node).clean_up(&BTreeSet::new()).await;
                node.executor.sweep(&BTreeSet::new()).unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}
