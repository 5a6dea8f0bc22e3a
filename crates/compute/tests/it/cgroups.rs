//! Groups of the kernel this runs on, whatever version it has. They need root.

use crate::exec::{groups, is_root};
use bacalhau_compute::cgroup::{Cgroups, Limits};
use std::process::{Child, Command, Stdio};

fn in_group(group: &bacalhau_compute::cgroup::Cgroup, script: &str) -> Child {
    // A process joins before it starts anything.
    let join: String =
        group.folders().map(|folder| format!("echo $$ > {}/cgroup.procs && ", folder.display())).collect();
    let script = format!("{join}{script}");
    Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_group_is_made_used_killed_and_removed() {
    if !is_root("a cgroup") {
        return;
    }
    let name = format!("test-{}", uuid::Uuid::new_v4());
    let cgroups = Cgroups::detect(&name).unwrap();
    let group = cgroups.create("e-1", &Limits { cpu: 1.0, memory: 64 << 20, pids: 50 }).unwrap();
    assert!(group.pids().is_empty());
    let mut child = in_group(&group, "(setsid sleep 3600 &); sleep 3600 & echo; exec sleep 3600");
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    assert!(group.pids().len() >= 3, "{:?}", group.pids());
    // What is written down finds the same group again.
    let again: bacalhau_compute::cgroup::Cgroup =
        serde_json::from_str(&serde_json::to_string(&group).unwrap()).unwrap();
    assert_eq!(again, group);
    let killing = std::thread::spawn(move || again.remove());
    assert!(!child.wait().unwrap().success());
    killing.join().unwrap().unwrap();
    assert_eq!(groups(&name), Vec::<std::path::PathBuf>::new());
    group.remove().unwrap();
}

#[test]
fn running_out_of_memory_is_counted() {
    if !is_root("a cgroup") {
        return;
    }
    let name = format!("test-{}", uuid::Uuid::new_v4());
    let cgroups = Cgroups::detect(&name).unwrap();
    if cgroups.missing().iter().any(|c| c.name() == "memory") {
        eprintln!("SKIPPED: no memory controller");
        return;
    }
    let group = cgroups.create("e-1", &Limits { memory: 32 << 20, ..Limits::default() }).unwrap();
    assert!(!in_group(&group, "exec tail /dev/zero").wait().unwrap().success());
    assert!(group.usage().oom_kills >= 1, "{:?}", group.usage());
    assert!(group.usage().memory_peak > 16 << 20, "{:?}", group.usage());
    group.remove().unwrap();
    assert_eq!(groups(&name), Vec::<std::path::PathBuf>::new());
}

#[test]
fn groups_come_and_go_at_the_same_time() {
    if !is_root("a cgroup") {
        return;
    }
    let name = format!("test-{}", uuid::Uuid::new_v4());
    let cgroups = Cgroups::detect(&name).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let cgroups = &cgroups;
            scope.spawn(move || {
                for n in 0..25 {
                    cgroups.create(&format!("e-{worker}-{n}"), &Limits::default()).unwrap().remove().unwrap();
                }
            });
        }
    });
    assert_eq!(groups(&name), Vec::<std::path::PathBuf>::new());
}
