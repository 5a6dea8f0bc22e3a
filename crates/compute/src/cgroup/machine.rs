//! All hierarchies of the machine, for groups that lie directly below their roots: those of containers, which their
//! runtime makes in every hierarchy there is. What lies there goes on when the node's own group is emptied, as service
//! managers do when they restart a service.

use super::layout::{Layout, Mounts};
use super::{Cgroup, Controller};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where cgroups are on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    mounts: Mounts,
}

impl Machine {
    /// Looks. Without any cgroup file system there are no groups, and nothing fails for that.
    pub fn find() -> Machine {
        Machine::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(mountinfo: &str) -> Machine {
        Machine { mounts: Mounts::parse(mountinfo) }
    }

    /// Version 2 alone, without any hierarchy of version 1.
    pub fn only_v2(&self) -> bool {
        self.mounts.legacy.is_empty() && self.mounts.unified.is_some()
    }

    /// Whether the kernel counts swap, so that memory and swap together can be limited.
    pub fn counts_swap(&self) -> bool {
        let memory = self.mounts.legacy.iter().find(|tree| tree.controllers.contains(&Controller::Memory));
        match memory {
            Some(tree) => tree.root.join("memory.memsw.limit_in_bytes").exists(),
            // The root of version 2 has no such file; where there is no swap there is nothing to limit.
            None => fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1),
        }
    }

    /// The group at this path below the roots, whether it is there or not.
    pub fn group(&self, path: &str) -> Cgroup {
        let path = path.trim_start_matches('/');
        let legacy = self.mounts.legacy.iter();
        Cgroup {
            unified: self.mounts.unified.as_ref().map(|root| root.join(path)),
            legacy: legacy.map(|tree| (tree.controllers.clone(), tree.root.join(path))).collect(),
        }
    }

    /// Names of the groups directly below the one at `path`, in whatever hierarchy.
    pub fn groups_below(&self, path: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for folder in self.group(path).folders() {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            names.extend(folders.filter_map(|entry| entry.file_name().into_string().ok()));
        }
        names
    }

    /// Moves this process out of the group in which a service manager keeps track of it, if it is in one, to the group
    /// at `path`. What the manager does not track stays where it is: moving costs milliseconds in each hierarchy.
    ///
    /// # Errors
    /// The kernel refuses; the process may then be ended with the service.
    pub fn leave_service(&self, path: &str) -> io::Result<()> {
        let membership = fs::read_to_string("/proc/self/cgroup")?;
        let path = path.trim_start_matches('/');
        let named = self.mounts.legacy.iter().filter_map(|tree| Some((tree.name.as_deref()?, &tree.root)));
        for (name, root) in self.mounts.unified.iter().map(|root| ("", root)).chain(named) {
            if Layout::own_group(&membership, name).is_some_and(|own| own != "/") {
                join(&root.join(path))?;
            }
        }
        Ok(())
    }
}

fn join(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("cgroup.procs"), std::process::id().to_string())
}

/// A hierarchy of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Legacy {
    pub(super) root: PathBuf,
    /// As far as they are of use here.
    pub(super) controllers: Vec<Controller>,
    /// What the options of the mount say; the same hierarchy says the same.
    pub(super) options: String,
    /// Its name, if it has no controllers: `name=systemd`.
    pub(super) name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
27 25 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
28 25 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
29 25 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
30 25 0:27 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
31 25 0:24 / /mnt/again rw - cgroup cgroup rw,memory\n";

    #[test]
    fn every_hierarchy_counts_once() {
        let machine = Machine::parse(HYBRID);
        assert!(!machine.only_v2());
        let group = machine.group("/a/b");
        let folders: Vec<&Path> = group.folders().collect();
        let expected = ["unified", "cpu,cpuacct", "memory", "systemd", "devices"]
            .map(|name| PathBuf::from(format!("/sys/fs/cgroup/{name}/a/b")));
        assert_eq!(folders, expected);
        let names: Vec<&str> = machine.mounts.legacy.iter().filter_map(|tree| tree.name.as_deref()).collect();
        assert_eq!(names, ["systemd"]);
        let unified = Machine::parse("1 2 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup rw");
        assert!(unified.only_v2() && unified.group("x").folders().count() == 1);
        assert_eq!(Machine::parse("nonsense"), Machine::default());
    }
}
