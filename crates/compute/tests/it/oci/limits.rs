//! Limits, and the ends that are not a program's own.

use super::{node, nothing_left, site};
use crate::support::{Node, in_time};
use bacalhau_model::{AllocatedResources, Execution, Resources};

fn with(mut execution: Execution, cpu: f64, memory: u64) -> Execution {
    let resources = Resources { cpu, memory, ..Resources::default() };
    execution.allocated_resources = AllocatedResources { tasks: [("main".to_owned(), resources)].into() };
    execution
}

/// Waits until the log of an execution has this text.
async fn until_logged(node: &Node, execution: &str, text: &str) {
    let path = node.dir.path().join(format!("compute/executions/{execution}.log"));
    in_time(async {
        while !String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).contains(text) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn limits_are_what_the_cgroup_says() {
    let Some(site) = site() else { return };
    let node = node().await;
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null; \
                  cat cpu/cpu.cfs_quota_us cpu.max 2>/dev/null; cat pids/pids.max pids.max 2>/dev/null";
    let execution = with(site.script(script).execution(), 0.5, 64 << 20);
    let output = node.run(execution).await.unwrap().run_output.stdout;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], (64 << 20).to_string(), "{output}");
    assert!(lines[1] == "50000" || lines[1] == "50000 100000", "{output}");
    assert_eq!(lines[2], "4096", "{output}");
    nothing_left(&node);
}

#[tokio::test]
async fn too_much_memory_is_told_apart() {
    let Some(site) = site() else { return };
    let node = node().await;
    let execution = with(site.script("tail /dev/zero").execution(), 1.0, 32 << 20);
    let failure = node.run(execution).await.unwrap_err();
    assert!(failure.error.message.starts_with("memory limit exceeded"), "{}", failure.error.message);
    assert_eq!(failure.run_output.unwrap().exit_code, 137);
    // Killed by somebody else: no word about memory.
    let execution = with(site.script("sh -c 'kill -9 $$'; exit 137").execution(), 1.0, 32 << 20);
    assert_eq!(node.run(execution).await.unwrap().run_output.exit_code, 137);
    // A program that survives the end of its child has not failed.
    let execution = with(site.script("sh -c 'tail /dev/zero'; echo $?").execution(), 1.0, 32 << 20);
    assert_eq!(node.run(execution).await.unwrap().run_output.stdout, "137\n");
    nothing_left(&node);
}

#[tokio::test]
async fn too_many_processes() {
    let Some(site) = site() else { return };
    let node = Node::with(|config| {
        config.oci = super::settings(config.oci.clone());
        config.oci.pids_limit = 20;
    })
    .await;
    let script = "for i in $(seq 40); do sleep 100 & done; echo made";
    let output = node.run(site.script(script).execution()).await.unwrap().run_output;
    assert!(output.stderr.contains("can't fork"), "{output:?}");
    nothing_left(&node);
}

#[tokio::test]
async fn a_program_gets_time_to_end() {
    let Some(site) = site() else { return };
    let node = Node::with(|config| {
        config.oci = super::settings(config.oci.clone());
        // The machine may be busy.
        config.oci.grace = crate::support::PATIENCE;
    })
    .await;
    let script = "trap 'echo ending; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    let execution = site.script(script).execution();
    let id = execution.id.clone();
    let (cancel, run) = node.start(execution);
    until_logged(&node, &id, "ready").await;
    cancel.cancel();
    let failure = in_time(run).await.unwrap().unwrap_err();
    assert!(failure.error.message.contains("cancel"), "{}", failure.error.message);
    until_logged(&node, &id, "ending").await;
    nothing_left(&node);
}

#[tokio::test]
async fn one_that_does_not_want_to_end_is_ended_with_all_its_children() {
    let Some(site) = site() else { return };
    let node = node().await;
    let script = "trap '' TERM; (trap '' TERM; setsid sleep 4711 &) ; echo ready; sleep 4711";
    let execution = site.script(script).execution();
    let id = execution.id.clone();
    let (cancel, run) = node.start(execution);
    until_logged(&node, &id, "ready").await;
    cancel.cancel();
    in_time(run).await.unwrap().unwrap_err();
    nothing_left(&node);
    for pid in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(pid.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        assert!(
            !command.contains("sleep\x004711"),
            "{command:?} {:?}",
            std::fs::read_to_string(pid.path().join("status"))
        );
    }
}

#[tokio::test]
async fn the_time_limit() {
    let Some(site) = site() else { return };
    let node = node().await;
    let failure = node.run(site.script("echo begun; sleep 3600").timeout(1).execution()).await.unwrap_err();
    assert!(failure.error.message.contains("timed out"), "{}", failure.error.message);
    assert_eq!(failure.run_output.unwrap().stdout, "begun\n");
    nothing_left(&node);
}

#[tokio::test]
async fn cancelled_before_and_while_it_starts() {
    let Some(site) = site() else { return };
    let node = node().await;
    node.run(site.script("true").execution()).await.unwrap();
    for pause in [0, 1, 5, 10, 20, 30, 50] {
        let (cancel, run) = node.start(site.script("sleep 3600").execution());
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        cancel.cancel();
        in_time(run).await.unwrap().unwrap_err();
        nothing_left(&node);
    }
}

#[tokio::test]
async fn what_it_writes_anywhere_counts_against_the_disk_limit() {
    let Some(site) = site() else { return };
    let node = node().await;
    let mut case = site.script("dd if=/dev/zero of=/large bs=1M count=40; echo written; sleep 3600");
    case.task.resources.disk = "20Mb".into();
    let failure = node.run(case.execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("disk limit exceeded"), "{}", failure.error.message);
    nothing_left(&node);
}
