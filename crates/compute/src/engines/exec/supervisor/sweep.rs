//! Everything a task made: found by descent, for a supervisor adopts what loses its parent, and by group.

use crate::cgroup::Cgroup;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Sends a signal to all descendants.
pub(super) fn signal(signal: Signal) {
    for pid in descendants().into_iter().filter_map(Pid::from_raw) {
        // It may have ended in between.
        let _ = kill_process(pid, signal);
    }
}

/// Kills all descendants and what is in the group.
pub(super) fn kill(cgroup: Option<&Cgroup>) {
    if let Some(cgroup) = cgroup {
        cgroup.kill_once();
    }
    signal(Signal::KILL);
}

/// Kills and buries until nobody is left. A process that was just being made shows up when its parent is buried.
pub(super) fn all(cgroup: Option<&Cgroup>) {
    loop {
        // The common case: the task left nothing behind.
        match wait(WaitOptions::NOHANG) {
            Err(rustix::io::Errno::INTR) | Ok(Some(_)) => continue,
            Err(_) => return,
            Ok(None) => {}
        }
        kill(cgroup);
        // Whatever was killed ends, so this does not wait for ever; unless it hangs in the kernel, where nothing helps.
        let _ = wait(WaitOptions::empty());
    }
}

/// Numbers of all processes below this one.
fn descendants() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let parent = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| parent(&stat));
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut next = vec![getpid().as_raw_pid()];
    while let Some(pid) = next.pop() {
        // A number seen twice was reused while the list was made.
        next.extend(children.get(&pid).into_iter().flatten().copied().filter(|child| found.insert(*child)));
    }
    found.into_iter().collect()
}

/// The parent's number in `/proc/<pid>/stat`. The program's name before it may contain anything.
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_read_behind_odd_names() {
        assert_eq!(parent("12 (a) b (c) S 7 12 12 0"), Some(7));
        assert_eq!(parent("12 (sh) R 1 12"), Some(1));
        assert_eq!(parent("nonsense"), None);
    }

    #[test]
    fn children_are_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(descendants().contains(&(child.id() as i32)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
