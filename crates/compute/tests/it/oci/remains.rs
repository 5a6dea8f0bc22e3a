//! A node that is killed, and its next life.

use super::networks::request;
use super::{left, next_life, node, nothing_left, site};
use crate::support::in_time;
use bacalhau_compute::engines::{Engine, EngineError};
use std::collections::BTreeSet;
use std::path::Path;
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
    let cgroup = format!("{}former", super::cgroup_prefix(&node));
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

#[tokio::test]
async fn the_guard_ends_containers_when_the_node_is_gone() {
    let Some(site) = site() else { return };
    let node = node().await;
    let execution = Arc::new(site.script("echo ready; sleep 6173").execution());
    let engine = next_life(&node);
    let (request, _cancel) = request(&node, &execution, Vec::new());
    let run = tokio::spawn(async move { engine.run(request).await });
    in_time(async {
        while !is_running("6173") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // The same program as the guard of this container with an input that ends at once, as if the node had been killed.
    let guard = guard_of(node.dir.path());
    assert_eq!(guard.len(), 1);
    run_guard_now(node.dir.path());
    in_time(async {
        while is_running("6173") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let ended = in_time(run).await.unwrap();
    assert!(matches!(ended, Ok(137)), "{ended:?}");
}

fn guard_of(folder: &Path) -> Vec<Vec<String>> {
    let commands = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|pid| {
        let command = std::fs::read(pid.path().join("cmdline")).ok()?;
        let words: Vec<String> =
            command.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let ours = words.get(3).is_some_and(|name| name == "bacalhau-guard")
            && words.iter().any(|word| word.starts_with(folder.to_str().unwrap()));
        ours.then_some(words)
    });
    commands.collect()
}

/// Runs the same program with an input that ends at once.
fn run_guard_now(folder: &Path) {
    let words = guard_of(folder).remove(0);
    let status = Command::new(&words[0])
        .args(words[1..].iter().filter(|word| !word.is_empty()))
        .stdin(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.code().is_some());
}

#[tokio::test]
async fn a_run_that_is_given_up_leaves_nothing() {
    let Some(site) = site() else { return };
    let node = node().await;
    node.run(site.script("true").execution()).await.unwrap();
    for pause in (0..20).map(|step| step * 4).chain([150]) {
        let execution = Arc::new(site.script("sleep 3600").execution());
        let engine = next_life(&node);
        let (request, _cancel) = request(&node, &execution, Vec::new());
        let given_up = tokio::time::timeout(Duration::from_millis(pause), engine.run(request)).await;
        assert!(given_up.is_err());
        in_time(async {
            while left(&node).is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn nothing_is_adopted() {
    let Some(site) = site() else { return };
    let node = node().await;
    let execution = Arc::new(site.script("true").execution());
    let (mut request, _cancel) = request(&node, &execution, Vec::new());
    request.adopt = true;
    let engine = next_life(&node);
    assert!(!engine.outlives_the_node());
    assert!(matches!(engine.run(request).await, Err(EngineError::Gone)));
}
