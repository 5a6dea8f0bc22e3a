//! What the machine has: cores, memory, free disk, GPUs.
//!
//! Reads files of the kernel, asks the file system and the tools of GPU vendors; keeps nothing. A limit set on the
//! process's control group counts as the machine's size, because the kernel enforces it.

mod gpus;

pub use gpus::gpus;

use bacalhau_model::Resources;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Physical resources of this machine as an execution could use them: logical cores, total memory in bytes, free disk
/// in bytes at `disk_path` (or its nearest existing parent). GPUs are not looked for, see [`gpus`].
///
/// Something that cannot be read counts as 0, except the cores, which are at least 1.
pub fn physical_resources(disk_path: &Path) -> Resources {
    Resources {
        cpu: cores(Path::new("/")),
        memory: total_memory(Path::new("/")).unwrap_or(0),
        disk: disk(disk_path).map_or(0, |disk| disk.free),
        ..Resources::default()
    }
}

/// Cores this process may use: those it may run on, or what its control group may use of them if that is less.
#[allow(clippy::cast_precision_loss)] // a core count is far below 2^52
fn cores(root: &Path) -> f64 {
    let status = fs::read_to_string(root.join("proc/self/status")).ok();
    let allowed = status.and_then(|text| allowed_cpus(&text)).map(|count| count as f64);
    let logical =
        allowed.unwrap_or_else(|| std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64));
    let quota = control_group_limits(root, "cpu", "cpu.max", "cpu.cfs_quota_us", quota);
    // Less than a hundredth of a core is no machine to run something on.
    quota.fold(logical, f64::min).max(0.01)
}

/// How many `Cpus_allowed_list` names, such as `0-3,8`.
fn allowed_cpus(status: &str) -> Option<u64> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim();
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',').map(count).sum::<Option<u64>>().filter(|count| *count > 0)
}

/// Cores that a quota comes to: `cpu.max` holds quota and period, version 1 has them in two files, with -1 for "none".
#[allow(clippy::cast_precision_loss)] // microseconds of some cores
fn quota(path: &Path) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let mut parts = text.split_whitespace();
    let quota: u64 = parts.next()?.parse().ok()?;
    let period = match parts.next() {
        Some(period) => period.to_owned(),
        None => fs::read_to_string(path.with_file_name("cpu.cfs_period_us")).ok()?,
    };
    let period: u64 = period.trim().parse().ok().filter(|period| *period > 0)?;
    (quota > 0).then(|| quota as f64 / period as f64)
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
    control_group_limits(root, "memory", "memory.max", "memory.limit_in_bytes", read_limit).min()
}

/// What `read` finds in a file of each control group on the way from this process's to the root, version 2 and 1.
fn control_group_limits<T>(
    root: &Path,
    controller: &'static str,
    file: &'static str,
    file_of_version_1: &'static str,
    read: fn(&Path) -> Option<T>,
) -> impl Iterator<Item = T> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut files: Vec<PathBuf> = Vec::new();
    for line in groups.lines() {
        // `hierarchy:controllers:path`; version 2 has hierarchy 0 and no controllers.
        let mut parts = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (base, file) = if hierarchy == "0" && controllers.is_empty() {
            (root.join("sys/fs/cgroup"), file)
        } else if controllers.split(',').any(|c| c == controller) {
            (root.join("sys/fs/cgroup").join(controller), file_of_version_1)
        } else {
            continue;
        };
        files.extend(
            Path::new(path.trim_start_matches('/')).ancestors().map(|part| base.join(part).join(file)),
        );
    }
    files.into_iter().filter_map(move |file| read(&file))
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
        assert!(found.cpu > 0.0 && found.memory > 1 << 20 && found.disk > 0, "{found:?}");
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
    fn a_quota_of_cores_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for folder in ["proc/self", "sys/fs/cgroup/a/b", "sys/fs/cgroup/cpu/c"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("proc/self/status"), "Name:\tx\nCpus_allowed_list:\t0-3,8\n").unwrap();
        assert_eq!(cores(root), 5.0);
        fs::write(root.join("proc/self/cgroup"), "4:cpu,cpuacct:/c\n0::/a/b\n").unwrap();
        fs::write(root.join("sys/fs/cgroup/a/cpu.max"), "max 100000\n").unwrap();
        fs::write(root.join("sys/fs/cgroup/a/b/cpu.max"), "250000 100000\n").unwrap();
        assert_eq!(cores(root), 2.5);
        fs::write(root.join("sys/fs/cgroup/cpu/c/cpu.cfs_period_us"), "100000\n").unwrap();
        fs::write(root.join("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us"), "-1\n").unwrap();
        assert_eq!(cores(root), 2.5);
        fs::write(root.join("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us"), "50000\n").unwrap();
        assert_eq!(cores(root), 0.5);
        for (list, count) in [("0", Some(1)), ("0-1,4-5", Some(4)), ("", None), ("3-1", None), ("x", None)] {
            assert_eq!(allowed_cpus(&format!("Cpus_allowed_list:\t{list}\n")), count, "{list}");
        }
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
