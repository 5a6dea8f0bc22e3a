//! What the machine has: cores, memory, free disk.
//!
//! Reads files of the kernel and asks the file system; starts no process and keeps nothing. A limit set on the
//! process's control group counts as the machine's size, because the kernel enforces it.

use bacalhau_model::Resources;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Physical resources of this machine as an execution could use them: logical cores, total memory in bytes, free disk
/// in bytes at `disk_path` (or its nearest existing parent). GPUs are not looked for.
///
/// Something that cannot be read counts as 0, except the cores, which are at least 1.
pub fn physical_resources(disk_path: &Path) -> Resources {
    Resources {
        cpu: logical_cpus(),
        memory: total_memory(Path::new("/")).unwrap_or(0),
        disk: disk(disk_path).map_or(0, |disk| disk.free),
        ..Resources::default()
    }
}

/// Cores this process may use (affinity and CPU quota included).
#[allow(clippy::cast_precision_loss)] // a core count is far below 2^52
fn logical_cpus() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64)
}

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What a user without privileges may still write.
    pub free: u64,
    /// Its size.
    pub total: u64,
}

/// The file system at `path` or its nearest existing parent.
pub fn disk(path: &Path) -> io::Result<Disk> {
    let existing = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let stat = rustix::fs::statvfs(existing)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Disk { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
}

/// Total memory in bytes: the smaller of the machine's and the control group's limit.
fn total_memory(root: &Path) -> Option<u64> {
    let physical = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| mem_total(&text));
    match (physical, cgroup_memory_limit(root)) {
        (Some(physical), Some(limit)) => Some(physical.min(limit)),
        (physical, limit) => physical.or(limit),
    }
}

/// `MemTotal` of `/proc/meminfo` in bytes; the file counts in units of 1024.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest memory limit on the way from the root control group to this process's, version 2 or 1.
fn cgroup_memory_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    groups
        .lines()
        .filter_map(|line| {
            // `hierarchy:controllers:path`; version 2 has hierarchy 0 and no controllers.
            let mut parts = line.splitn(3, ':');
            let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let (base, file) = if hierarchy == "0" && controllers.is_empty() {
                (root.join("sys/fs/cgroup"), "memory.max")
            } else if controllers.split(',').any(|c| c == "memory") {
                (root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes")
            } else {
                return None;
            };
            smallest_limit(&base, Path::new(path.trim_start_matches('/')), file)
        })
        .min()
}

fn smallest_limit(base: &Path, group: &Path, file: &str) -> Option<u64> {
    let folders = group.ancestors().map(|part| base.join(part));
    folders.filter_map(|folder: PathBuf| read_limit(&folder.join(file))).min()
}

/// A limit file holds bytes or `max`; version 1 writes a number near 2^63 for "none".
fn read_limit(path: &Path) -> Option<u64> {
    let limit = fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()?;
    (limit < 1 << 60).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something_of_everything() {
        let found = physical_resources(&std::env::temp_dir().join("not/there"));
        assert!(found.cpu >= 1.0 && found.memory > 1 << 20 && found.disk > 0, "{found:?}");
    }

    #[test]
    fn the_smallest_cgroup_limit_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("proc/self")).unwrap();
        fs::create_dir_all(root.join("sys/fs/cgroup/a/b")).unwrap();
        fs::write(root.join("proc/meminfo"), "MemTotal:       1000 kB\nMemFree: 1 kB\n").unwrap();
        assert_eq!(total_memory(root), Some(1_024_000));

        fs::write(root.join("proc/self/cgroup"), "0::/a/b\n").unwrap();
        fs::write(root.join("sys/fs/cgroup/a/memory.max"), "500000\n").unwrap();
        fs::write(root.join("sys/fs/cgroup/a/b/memory.max"), "max\n").unwrap();
        assert_eq!(total_memory(root), Some(500_000));

        fs::write(root.join("sys/fs/cgroup/a/memory.max"), "9000000\n").unwrap();
        assert_eq!(total_memory(root), Some(1_024_000));
    }

    #[test]
    fn version_1_without_a_limit_is_no_limit() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.limit_in_bytes");
        fs::write(&file, "9223372036854771712\n").unwrap();
        assert_eq!(read_limit(&file), None);
        fs::write(&file, "4096\n").unwrap();
        assert_eq!(read_limit(&file), Some(4096));
    }
}
