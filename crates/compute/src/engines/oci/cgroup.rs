//! Cgroups of containers: whether one ran out of memory, and their end. The runtime makes them and sets the limits.
//!
//! Each container has `/<node>/<execution>/c`; the folder in between is there so that what the kernel counts outlives
//! the runtime where it removes its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often and how long a cgroup is waited for whose last process is just going.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Where cgroups are on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hierarchies {
    /// Of v1: folder and controllers.
    v1: Vec<(PathBuf, String)>,
    /// Of v2.
    v2: Option<PathBuf>,
}

impl Hierarchies {
    pub(super) fn find() -> Hierarchies {
        Hierarchies::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(mountinfo: &str) -> Hierarchies {
        let mut found = Hierarchies::default();
        for line in mountinfo.lines() {
            let Some((mount, file_system)) = line.split_once(" - ") else { continue };
            let Some(path) = mount.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut fields = file_system.split(' ');
            match (fields.next(), fields.nth(1)) {
                (Some("cgroup2"), _) if found.v2.is_none() => found.v2 = Some(path),
                (Some("cgroup"), Some(options)) if !found.v1.iter().any(|(p, _)| *p == path) => {
                    found.v1.push((path, options.to_owned()));
                }
                _ => {}
            }
        }
        found
    }

    /// V2 alone, without any controller of v1.
    pub(super) fn only_v2(&self) -> bool {
        self.v1.is_empty() && self.v2.is_some()
    }

    fn v1_of(&self, controller: &str) -> Option<&Path> {
        let has = |options: &str| options.split(',').any(|option| option == controller);
        self.v1.iter().find(|(_, options)| has(options)).map(|(path, _)| path.as_path())
    }

    /// Whether the kernel counts swap, so that memory and swap together can be limited.
    pub(super) fn counts_swap(&self) -> bool {
        match self.v1_of("memory") {
            Some(memory) => memory.join("memory.memsw.limit_in_bytes").exists(),
            // The root has no such file; where there is no swap there is nothing to limit.
            None => fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1),
        }
    }

    /// Processes of a container's cgroup that the kernel killed for want of memory.
    pub(super) fn killed_for_memory(&self, cgroup: &str) -> u64 {
        let (file, folder) = match (self.v1_of("memory"), &self.v2) {
            (Some(memory), _) => ("memory.oom_control", below(memory, cgroup)),
            (None, Some(v2)) => ("memory.events", below(v2, cgroup)),
            (None, None) => return 0,
        };
        let read =
            |folder: &Path| counter(&fs::read_to_string(folder.join(file)).unwrap_or_default(), "oom_kill");
        // V2 counts for the folder above too, which is there even when the runtime has removed its own.
        let above = if self.v1_of("memory").is_none() { folder.parent().map(read) } else { None };
        read(&folder).max(above.unwrap_or(0))
    }

    /// Removes a cgroup with everything below, in all hierarchies. Its processes must be gone or going. Blocks.
    pub(super) fn remove(&self, cgroup: &str) -> io::Result<()> {
        let mut result = Ok(());
        for folder in self.folders(cgroup) {
            if let Err(error) = remove_tree(&folder) {
                result = Err(error);
            }
        }
        result
    }

    /// Where a cgroup is in all hierarchies.
    pub(super) fn folders(&self, cgroup: &str) -> Vec<PathBuf> {
        self.v1.iter().map(|(path, _)| path).chain(&self.v2).map(|root| below(root, cgroup)).collect()
    }

    /// Removes all cgroups directly below the root whose names begin with `prefix`, but `except`. Blocks.
    pub(super) fn remove_all(&self, prefix: &str, except: &str) -> io::Result<()> {
        let mut names = std::collections::BTreeSet::new();
        for root in self.folders("/") {
            let entries = fs::read_dir(root).into_iter().flatten().flatten();
            names.extend(entries.filter_map(|entry| Some(format!("/{}", entry.file_name().to_str()?))));
        }
        let ours = names.iter().filter(|name| name.starts_with(prefix) && name.as_str() != except);
        ours.map(|name| self.remove(name)).fold(Ok(()), Result::and)
    }
}

fn below(root: &Path, cgroup: &str) -> PathBuf {
    root.join(cgroup.trim_start_matches('/'))
}

fn counter(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    for _ in 0..TRIES {
        match fs::remove_dir(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
27 25 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
28 25 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn hierarchies_are_found() {
        let hybrid = Hierarchies::parse(HYBRID);
        assert!(!hybrid.only_v2());
        assert_eq!(hybrid.v1_of("memory"), Some(Path::new("/sys/fs/cgroup/memory")));
        assert_eq!(hybrid.v1_of("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        let unified = Hierarchies::parse("1 2 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup rw");
        assert!(unified.only_v2() && unified.v1_of("memory").is_none());
    }

    #[test]
    fn counters() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!((counter(v1, "oom_kill"), counter(v1, "under_oom"), counter("", "x")), (3, 0, 0));
    }
}
