//! What a container may use, and what happens when it wants more.

use super::daemon::shared;
use super::{node, sh};
use bacalhau_model::Execution;

/// The first of these files of a control group that is there, version 1 or 2.
fn cat(paths: &[&str]) -> String {
    let tries: Vec<String> = paths.iter().map(|path| format!("cat {path} 2>/dev/null")).collect();
    format!("({}) | head -n 1", tries.join(" || "))
}

fn with_cpu(mut execution: Execution, cpu: f64) -> Execution {
    execution.allocated_resources.tasks.get_mut("main").unwrap().cpu = cpu;
    execution
}

#[tokio::test]
async fn limits_are_set_on_the_control_group() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    let script = [
        cat(&["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"]),
        cat(&["/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max"]),
        cat(&[
            "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us",
            "/sys/fs/cgroup/cpu.max",
        ]),
        "grep NoNewPrivs /proc/self/status".to_owned(),
    ];
    let case = sh(&script.join("; ")).memory(64 << 20);
    let output = node.run(with_cpu(case.execution(), 0.25)).await.unwrap().run_output;
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[..2], ["67108864", "4096"], "{output:?}");
    // A quarter of a period of 100 ms.
    assert!(lines[2] == "25000" || lines[2] == "25000 100000", "{output:?}");
    assert_eq!(lines[3].split_whitespace().last(), Some("1"), "{output:?}");
}

#[tokio::test]
async fn what_asks_for_more_cores_than_there_are_still_runs() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    node.run(with_cpu(sh("true").execution(), 4000.0)).await.unwrap();
    node.run(with_cpu(sh("true").memory(4096).execution(), 0.0001)).await.unwrap();
}

const EAT: &str = "x=x; while true; do x=$x$x$x$x; done";

#[tokio::test]
async fn more_memory_than_allowed_is_a_failure_in_words() {
    let Some(daemon) = shared().await else { return };
    let (node, id) = node(&daemon).await;
    let failure = node.run(sh(EAT).memory(16 << 20).execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "memory limit exceeded");
    assert_eq!(failure.run_output.unwrap().exit_code, 137);
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_it_writes_anywhere_counts_against_the_disk_limit() {
    let Some(daemon) = shared().await else { return };
    let (node, id) = node(&daemon).await;
    let mut case = sh("dd if=/dev/zero of=/large bs=1M count=40; echo written; sleep 3600");
    case.task.resources.disk = "20Mb".into();
    let failure = node.run(case.execution()).await.unwrap_err();
    assert!(failure.error.message.starts_with("disk limit exceeded"), "{}", failure.error.message);
    assert_eq!(daemon.leftovers(&id).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_child_that_was_killed_for_want_of_memory_counts_too() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    let script = format!("echo before; sh -c '{EAT}'; echo $?; exit 5");
    let failure = node.run(sh(&script).memory(16 << 20).execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "memory limit exceeded");
    let output = failure.run_output.unwrap();
    assert_eq!((output.exit_code, output.stdout.as_str()), (5, "before\n137\n"));
}

#[tokio::test]
async fn killing_itself_is_not_want_of_memory() {
    let Some(daemon) = shared().await else { return };
    let (node, _) = node(&daemon).await;
    // PID 1 cannot kill itself; its child's end becomes its own.
    let output =
        node.run(sh("sh -c 'kill -9 $$'; exit $?").memory(64 << 20).execution()).await.unwrap().run_output;
    assert_eq!(output.exit_code, 137);
}
