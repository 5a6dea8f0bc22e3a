//! Killing what is in a group.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};

/// Groups directly below one.
pub(super) fn groups_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Processes of a group and of those below. Empty when it is not there.
pub(super) fn pids(folder: &Path) -> Vec<i32> {
    let mut pids: Vec<i32> = fs::read_to_string(folder.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect();
    for below in groups_below(folder) {
        pids.extend(self::pids(&below));
    }
    pids
}

/// Kills what is in a group. Where the kernel can do it at once nothing escapes; otherwise it is frozen first, and
/// where that is not possible either a fork may get away, so the caller looks again.
pub(super) fn kill_once(folder: &Path) {
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let freezer = folder.join("freezer.state");
    let frozen = fs::write(&freezer, "FROZEN").is_ok();
    for pid in pids(folder).into_iter().filter_map(Pid::from_raw) {
        // It may have ended in between.
        let _ = kill_process(pid, Signal::KILL);
    }
    if frozen {
        // A frozen process does not die.
        let _ = fs::write(&freezer, "THAWED");
    }
}
