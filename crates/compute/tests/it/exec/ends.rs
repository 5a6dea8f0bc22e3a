//! How processes end, and that everything they made ends with them.

use super::{assert_nothing_left, marker, node, node_with, processes, sh};
use crate::support::in_time;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

/// The parent of the process with this text in its arguments.
fn parent(marker: &str) -> Pid {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let found = entries.filter(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(marker))
    });
    let stat = found.map(|entry| std::fs::read_to_string(entry.path().join("stat")).unwrap()).next().unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    Pid::from_raw(rest.split_whitespace().nth(1).unwrap().parse().unwrap()).unwrap()
}

/// Waits until the task has printed this.
async fn printed(node: &super::Node, id: &str, text: &str) {
    let path = node.dir.path().join("compute/executions").join(format!("{id}.log"));
    in_time(async {
        while !std::fs::read(&path).is_ok_and(|log| String::from_utf8_lossy(&log).contains(text)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn signals_are_told_as_shells_do() {
    let node = node().await;
    for (script, code) in [("kill -TERM $$", 143), ("kill -SEGV $$", 139), ("exit 255", 255)] {
        assert_eq!(node.run(sh(script).execution()).await.unwrap().run_output.exit_code, code);
    }
}

#[tokio::test]
async fn daemons_end_with_the_task() {
    let (node, marker) = (node().await, marker());
    // A child, one of a session of its own, and one that has lost its parent twice, which all hold the output open.
    let script = format!(
        "sh -c 'sleep 3600; : {marker}' & setsid sh -c 'sleep 3600; : {marker}' & (setsid sh -c '(sleep 3600; : {marker}) & sleep 3600; : {marker}' &) ; echo done"
    );
    let execution = sh(&script).execution();
    let id = execution.id.clone();
    let finished = node.run(execution).await.unwrap();
    assert_eq!(finished.run_output.stdout, "done\n");
    assert_eq!(processes(&marker), Vec::<String>::new());
    assert_nothing_left(&node, &id);
}

#[tokio::test]
async fn what_is_dropped_half_way_ends_before_its_folder_goes() {
    let (node, marker) = (node().await, marker());
    // It writes as fast as it can where the node removes.
    let script = format!(
        "trap '' TERM; mkdir /tmp/d; echo ready; while :; do for n in 1 2 3 4 5 6 7 8 9; do : > /tmp/d/$n; done; rm -f /tmp/d/*; done; : {marker}"
    );
    let execution = sh(&script).execution();
    let id = execution.id.clone();
    let (_cancel, task) = node.start(execution);
    printed(&node, &id, "ready").await;
    let folder = node.dir.path().join("compute/executions").join(&id);
    let note = node.dir.path().join("compute/exec").join(&id);
    // Its supervisor takes its time.
    let supervisor = parent(&marker);
    kill_process(supervisor, Signal::STOP).unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    for _ in 0..20 {
        let was_there = folder.exists();
        assert!(was_there || processes(&marker).is_empty(), "its folder went first");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kill_process(supervisor, Signal::CONT).unwrap();
    in_time(async {
        while folder.exists() || note.exists() || !processes(&marker).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_nothing_left(&node, &id);
}

#[tokio::test]
async fn cancelling_ends_everything_politely() {
    let (node, marker) = (node().await, marker());
    let script = format!(
        "setsid sh -c 'trap \"echo child; exit\" TERM; echo ready-1; while :; do sleep 0.01; done; : {marker}' & trap 'echo parent; wait; exit 0' TERM; echo ready-2; while :; do sleep 0.01; done"
    );
    let execution = sh(&script).execution();
    let id = execution.id.clone();
    let (cancel, task) = node.start(execution);
    printed(&node, &id, "ready-1").await;
    printed(&node, &id, "ready-2").await;
    cancel.cancel();
    let failure = in_time(task).await.unwrap().unwrap_err();
    assert!(failure.is_cancelled(), "{failure}");
    let output = failure.run_output.unwrap().stdout;
    assert!(output.contains("child") && output.contains("parent"), "{output}");
    assert_eq!(processes(&marker), Vec::<String>::new());
    assert_nothing_left(&node, &id);
}

#[tokio::test]
async fn what_does_not_listen_is_killed() {
    let node = node_with(|config| config.grace = Duration::from_millis(50)).await;
    let marker = marker();
    let script = format!(
        "trap '' TERM; (trap '' TERM; setsid sh -c 'sleep 3600; : {marker}' &); sleep 3600; : {marker}"
    );
    let execution = sh(&script).timeout(1).execution();
    let id = execution.id.clone();
    let failure = node.run(execution).await.unwrap_err();
    assert_eq!(failure.error.message, "Execution timed out after 1s");
    assert_eq!(processes(&marker), Vec::<String>::new());
    assert_nothing_left(&node, &id);
}

#[tokio::test]
async fn a_run_that_is_dropped_ends_as_well() {
    let (node, marker) = (node().await, marker());
    let execution = sh(&format!("echo ready; sleep 3600; : {marker}")).execution();
    let id = execution.id.clone();
    let (_cancel, task) = node.start(execution);
    printed(&node, &id, "ready").await;
    assert!(!processes(&marker).is_empty());
    task.abort();
    in_time(async {
        while !processes(&marker).is_empty() || !super::groups(&id).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_task_whose_supervisor_is_killed_ends_too() {
    if !super::is_root("ending a task without its supervisor") {
        return;
    }
    let (node, marker) = (node().await, marker());
    let script = format!("echo $PPID ready; (setsid sleep 3600 &); sleep 3600; : {marker}");
    let execution = sh(&script).execution();
    let id = execution.id.clone();
    let (_cancel, task) = node.start(execution);
    printed(&node, &id, "ready").await;
    let path = node.dir.path().join("compute/executions").join(format!("{id}.log"));
    let log = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
    let line = log.rsplit_once(" ready").unwrap().0;
    let digits: String = line.chars().rev().take_while(char::is_ascii_digit).collect();
    let supervisor: i32 = digits.chars().rev().collect::<String>().parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(supervisor).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let failure = in_time(task).await.unwrap().unwrap_err();
    assert!(failure.error.message.contains("lost its supervisor"), "{failure}");
    assert_eq!(processes(&marker), Vec::<String>::new());
    assert_nothing_left(&node, &id);
}

#[tokio::test]
async fn many_at_once() {
    let node = node().await;
    let runs = (0..40).map(|n| {
        let execution = sh(&format!("echo {n}; exit {n}")).execution();
        let (_, task) = node.start(execution);
        async move { (n, in_time(task).await.unwrap().unwrap()) }
    });
    for (n, finished) in futures_util::future::join_all(runs).await {
        assert_eq!(finished.run_output.exit_code, n);
        assert_eq!(finished.run_output.stdout, format!("{n}\n"));
    }
}

#[tokio::test]
async fn large_output_is_whole() {
    let node = node().await;
    let case = sh(
        "i=0; while [ $i -lt 20 ]; do head -c 100000 /dev/zero | tr '\\0' a; i=$((i+1)); done; echo end >&2",
    )
    .publisher("local");
    let finished = node.run(case.execution()).await.unwrap();
    assert!(finished.run_output.stdout_truncated);
    let files = super::published(&node);
    assert_eq!(files["stdout"].len(), 2_000_000);
    assert_eq!(files["stderr"], b"end\n");
}

#[tokio::test]
async fn a_former_life_of_the_node_is_cleaned_up() {
    use bacalhau_compute::cgroup::{Cgroup, Cgroups, Limits};
    use bacalhau_compute::engines::Engine;
    use bacalhau_compute::engines::exec::ExecEngine;
    use std::collections::BTreeSet;

    if !super::is_root("a cgroup") {
        return;
    }
    let (folder, marker) = (tempfile::tempdir().unwrap(), marker());
    let cgroups = Cgroups::detect(&marker).unwrap();
    let left_behind = |id: &str| -> (Cgroup, std::process::Child) {
        let group = cgroups.create(id, &Limits::default()).unwrap();
        let join: String =
            group.folders().map(|f| format!("echo $$ > {}/cgroup.procs && ", f.display())).collect();
        let script = format!("{join} echo; sleep 3600; exit # {marker}-{id}");
        let mut child = std::process::Command::new("sh")
            .args(["-c", &script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        std::fs::write(folder.path().join(id), serde_json::to_vec(&Some(&group)).unwrap()).unwrap();
        (group, child)
    };
    let (kept, mut kept_child) = left_behind("e-kept");
    let (_, mut ended) = left_behind("e-ended");
    std::fs::write(folder.path().join("e-torn"), "{\"unif").unwrap();
    std::fs::write(folder.path().join("e-without"), "null").unwrap();

    let reaping = std::thread::spawn(move || ended.wait().unwrap());
    let engine = ExecEngine::new(super::config(folder.path())).unwrap();
    in_time(engine.clean_up(&BTreeSet::from(["e-kept".to_owned()]))).await;
    assert!(!reaping.join().unwrap().success());
    assert_eq!(processes(&format!("{marker}-e-kept")).len(), 1);
    let notes: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(notes, ["e-kept"]);

    let reaping = std::thread::spawn(move || kept_child.wait().unwrap());
    kept.remove().unwrap();
    reaping.join().unwrap();
    assert_eq!(super::groups(&marker), Vec::<std::path::PathBuf>::new());
}
