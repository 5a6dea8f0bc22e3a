//! Limits of the kernel, as a task meets them. They need cgroups, which root has.

use super::{assert_nothing_left, is_root, node, node_with, sh};

#[tokio::test]
async fn too_much_memory_is_told_apart() {
    if !is_root("limiting memory") {
        return;
    }
    let node = node().await;
    let execution = sh("echo before; head -c 200000000 /dev/zero | tail -c 199999999 | wc -c")
        .memory(32 << 20)
        .execution();
    let id = execution.id.clone();
    let result = node.run(execution).await;
    // The shell survives the death of its child; a task whose own process dies has run out of memory.
    assert!(result.is_ok() || result.unwrap_err().error.message.contains("memory limit exceeded"));
    let execution = sh("exec tail /dev/zero").memory(32 << 20).execution();
    let failure = node.run(execution).await.unwrap_err();
    assert!(failure.error.message.contains("memory limit exceeded"), "{failure}");
    assert_eq!(failure.run_output.unwrap().exit_code, 137);
    assert_nothing_left(&node, &id);
}

#[tokio::test]
async fn a_fork_bomb_meets_a_wall() {
    if !is_root("limiting processes") {
        return;
    }
    let node = node_with(|config| config.pids = 20).await;
    let script = "i=0; while [ $i -lt 60 ]; do sleep 3600 & i=$((i+1)); done; echo all";
    let execution = sh(script).execution();
    let id = execution.id.clone();
    let finished = node.run(execution).await.unwrap();
    assert_ne!(finished.run_output.stdout, "all\n");
    assert!(finished.run_output.stderr.to_lowercase().contains("fork"), "{}", finished.run_output.stderr);
    assert_nothing_left(&node, &id);
}

#[tokio::test]
async fn limits_are_those_of_the_job() {
    if !is_root("limiting cores") {
        return;
    }
    let node = node().await;
    // Whatever version of cgroups this machine has, the task's own file says the same.
    let script = "for f in $(sed 's/^[0-9]*:\\([^:]*\\):\\(.*\\)/\\1 \\2/' /proc/self/cgroup | grep bacalhau | sed 's/^.* //' | sort -u); do
        cat /sys/fs/cgroup/cpu$f/cpu.cfs_quota_us /sys/fs/cgroup$f/cpu.max 2>/dev/null
        cat /sys/fs/cgroup/memory$f/memory.limit_in_bytes /sys/fs/cgroup$f/memory.max 2>/dev/null; done; true";
    let mut execution = sh(script).memory(64 << 20).execution();
    execution.allocated_resources.tasks.get_mut("main").unwrap().cpu = 0.5;
    let output = node.run(execution).await.unwrap().run_output.stdout;
    assert!(output.contains("50000"), "{output}");
    assert!(output.contains("67108864"), "{output}");
}
