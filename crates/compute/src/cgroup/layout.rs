//! Which hierarchies there are and where the own process is in them, from `/proc/self/{mountinfo,cgroup}`. Pure.

use super::Controller;
use super::machine::Legacy;
use std::path::{Component, Path, PathBuf};

/// The hierarchies of this machine as this process sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Version 2.
    pub(super) unified: Option<Tree>,
    /// Version 1: the controllers of each hierarchy, and where it is.
    pub(super) legacy: Vec<(Vec<Controller>, Tree)>,
}

/// One hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// The own group below the mount; empty when it is the mount's root.
    pub(super) own: PathBuf,
}

impl Tree {
    /// Folder of the own group.
    pub(super) fn own_folder(&self) -> PathBuf {
        if self.own.as_os_str().is_empty() { self.mount.clone() } else { self.mount.join(&self.own) }
    }
}

/// Controllers that are of use here, with their kernel names.
const KNOWN: [Controller; 4] = [Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Freezer];

impl Layout {
    /// Reads both files. What cannot be understood is left out.
    pub(super) fn parse(mountinfo: &str, cgroup: &str) -> Layout {
        let mut layout = Layout::default();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            if mount.kind == "cgroup2" {
                let own = membership(cgroup, |controllers| controllers.is_empty());
                if let (None, Some(own)) = (&layout.unified, own.and_then(|own| mount.below(own))) {
                    layout.unified = Some(Tree { mount: mount.point, own });
                }
                continue;
            }
            let controllers = mount.controllers();
            let Some(first) = controllers.first() else { continue };
            // The same hierarchy may be mounted twice.
            if layout.legacy.iter().any(|(known, _)| known.contains(first)) {
                continue;
            }
            let own = membership(cgroup, |list| list.split(',').any(|name| name == first.name()));
            if let Some(own) = own.and_then(|own| mount.below(own)) {
                layout.legacy.push((controllers, Tree { mount: mount.point, own }));
            }
        }
        layout
    }

    /// The group of this process in the hierarchy of version 1 with this name, or in version 2 (no name), from
    /// `/proc/self/cgroup`.
    pub(super) fn own_group<'a>(cgroup: &'a str, name: &str) -> Option<&'a str> {
        membership(cgroup, |list| list.strip_prefix("name=").unwrap_or(list) == name)
    }
}

/// Where hierarchies are mounted as a whole, whatever they have to offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mounts {
    /// Version 2.
    pub(super) unified: Option<PathBuf>,
    /// Version 1.
    pub(super) legacy: Vec<Legacy>,
}

impl Mounts {
    /// Reads `/proc/self/mountinfo`. What cannot be understood is left out.
    pub(super) fn parse(mountinfo: &str) -> Mounts {
        let mut mounts = Mounts::default();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            if mount.kind == "cgroup2" {
                mounts.unified.get_or_insert(mount.point);
            } else if !mounts.legacy.iter().any(|known| known.options == mount.options) {
                let controllers = mount.controllers();
                let name = mount.options.split(',').find_map(|option| option.strip_prefix("name="));
                let name = name.map(str::to_owned);
                mounts.legacy.push(Legacy { root: mount.point, controllers, options: mount.options, name });
            }
        }
        mounts
    }
}

/// A line of mountinfo, as far as it matters.
struct Mount {
    /// What of the hierarchy is mounted.
    root: String,
    point: PathBuf,
    kind: String,
    options: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Mount> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let kind = right.next()?;
        let options = right.nth(1)?;
        matches!(kind, "cgroup" | "cgroup2").then(|| Mount {
            root: unescape(root),
            point: PathBuf::from(unescape(point)),
            kind: kind.to_owned(),
            options: options.to_owned(),
        })
    }

    fn controllers(&self) -> Vec<Controller> {
        KNOWN.into_iter().filter(|c| self.options.split(',').any(|option| option == c.name())).collect()
    }

    /// A group's path below the mount. None if it is outside of what is mounted.
    fn below(&self, group: &str) -> Option<PathBuf> {
        let path = Path::new(group).strip_prefix(&self.root).ok()?;
        path.components().all(|part| matches!(part, Component::Normal(_))).then(|| path.to_owned())
    }
}

/// The path of the line of `/proc/self/cgroup` whose controllers `fit`.
fn membership(cgroup: &str, fit: impl Fn(&str) -> bool) -> Option<&str> {
    cgroup.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        fit(controllers).then_some(path)
    })
}

/// mountinfo writes spaces and the like as octal numbers.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(mount: &str, own: &str) -> Tree {
        Tree { mount: mount.into(), own: own.into() }
    }

    #[test]
    fn version_2_alone() {
        let mounts = "24 1 0:22 / /proc rw - proc proc rw\n30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let layout = Layout::parse(mounts, "0::/system.slice/bacalhau.service\n");
        assert_eq!(layout.unified, Some(tree("/sys/fs/cgroup", "system.slice/bacalhau.service")));
        assert!(layout.legacy.is_empty());
        assert_eq!(
            layout.unified.unwrap().own_folder(),
            Path::new("/sys/fs/cgroup/system.slice/bacalhau.service")
        );
    }

    #[test]
    fn both_versions_at_once() {
        let mounts = "\
31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 24 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 24 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
35 24 0:30 / /mnt/again rw - cgroup cgroup rw,pids
36 24 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
37 24 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
38 24 0:33 / /sys/fs/cgroup/freezer\\040x rw - cgroup cgroup rw,freezer
";
        let own =
            "9:name=systemd:/s\n8:pids:/\n6:freezer:/\n4:memory:/a/b\n3:cpuset:/\n2:cpu,cpuacct:/c\n0::/\n";
        let layout = Layout::parse(mounts, own);
        assert_eq!(layout.unified, Some(tree("/sys/fs/cgroup/unified", "")));
        assert_eq!(layout.unified.clone().unwrap().own_folder(), Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(
            layout.legacy,
            vec![
                (vec![Controller::Cpu], tree("/sys/fs/cgroup/cpu,cpuacct", "c")),
                (vec![Controller::Memory], tree("/sys/fs/cgroup/memory", "a/b")),
                (vec![Controller::Pids], tree("/sys/fs/cgroup/pids", "")),
                (vec![Controller::Freezer], tree("/sys/fs/cgroup/freezer x", "")),
            ]
        );
    }

    #[test]
    fn inside_a_container() {
        let mounts = "33 24 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let layout = Layout::parse(mounts, "4:memory:/docker/abc\n");
        assert_eq!(layout.legacy, vec![(vec![Controller::Memory], tree("/sys/fs/cgroup/memory", ""))]);
        // A group outside of what is mounted is none that could be used.
        for outside in ["4:memory:/docker/other\n", "4:memory:/../x\n", "nonsense\n", ""] {
            assert_eq!(Layout::parse(mounts, outside), Layout::default(), "{outside}");
        }
    }
}
