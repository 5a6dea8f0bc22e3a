//! Where groups can be made: below the node's own group, in every hierarchy that has something to offer.

use super::group::Cgroup;
use super::layout::{Layout, Tree};
use super::limits;
use super::{Controller, Limits};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folder of all groups of all nodes of this machine.
const FOLDER: &str = "bacalhau";

/// Where the node's own process goes when its group has to have groups below (version 2 does not allow both).
const LEAF: &str = "node";

/// The hierarchies in which this process can make groups.
#[derive(Clone, Debug)]
pub struct Cgroups {
    unified: Option<Unified>,
    legacy: Vec<(Vec<Controller>, PathBuf)>,
}

/// The node's place in version 2.
#[derive(Clone, Debug)]
struct Unified {
    /// From the group that everything is below to the node's own folder.
    folders: [PathBuf; 3],
    /// Controllers that are passed on to the node's groups.
    controllers: Vec<Controller>,
}

/// Tries to make a group while others, nodes of the same machine included, take the empty folders above it away. Each
/// costs some system calls.
const TRIES: usize = 100;

impl Cgroups {
    /// Finds out. `node` names the node among those of this machine: a plain file name. It may move this process into
    /// a group below its present one. Blocks.
    ///
    /// # Errors
    /// There is no place for groups; the text says why. Tasks can then run without limits only.
    pub fn detect(node: &str) -> io::Result<Cgroups> {
        let layout = Layout::parse(
            &fs::read_to_string("/proc/self/mountinfo")?,
            &fs::read_to_string("/proc/self/cgroup")?,
        );
        let mut legacy = Vec::new();
        let mut trouble = io::Error::new(io::ErrorKind::Unsupported, "no cgroup file system is mounted");
        for (controllers, tree) in layout.legacy {
            let folder = tree.own_folder().join(FOLDER).join(node);
            match fs::create_dir_all(&folder) {
                Ok(()) => legacy.push((controllers, folder)),
                Err(error) => trouble = explain(&folder, &error),
            }
        }
        let taken: Vec<Controller> = legacy.iter().flat_map(|(c, _)| c.clone()).collect();
        let mut unified = None;
        if let Some(tree) = &layout.unified {
            let wanted: Vec<Controller> =
                Controller::LIMITING.into_iter().filter(|c| !taken.contains(c)).collect();
            match prepare_unified(tree, node, &wanted) {
                Ok(found) => unified = Some(found),
                Err(error) => trouble = error,
            }
        }
        if unified.is_none() && legacy.is_empty() {
            return Err(trouble);
        }
        Ok(Cgroups { unified, legacy })
    }

    /// Limits that cannot be set here.
    pub fn missing(&self) -> Vec<Controller> {
        let has = |wanted: &Controller| {
            self.unified.as_ref().is_some_and(|unified| unified.controllers.contains(wanted))
                || self.legacy.iter().any(|(controllers, _)| controllers.contains(wanted))
        };
        Controller::LIMITING.into_iter().filter(|c| !has(c)).collect()
    }

    /// The group of that name, whether it is there or not.
    pub fn group(&self, name: &str) -> Cgroup {
        Cgroup {
            unified: self.unified.as_ref().map(|unified| unified.folder().join(name)),
            legacy: self.legacy.iter().map(|(c, folder)| (c.clone(), folder.join(name))).collect(),
        }
    }

    /// Makes a group with limits. `name` is a plain file name. A group of that name that exists is taken over.
    ///
    /// # Errors
    /// The kernel refuses; what was made is removed again.
    pub fn create(&self, name: &str, limits: &Limits) -> io::Result<Cgroup> {
        let group = self.group(name);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.fill(&group, limits) {
                Ok(()) => return Ok(group),
                // The folder above went while this was made: the kernel then says ENOENT, EEXIST or ENODEV.
                Err(_) if tries < TRIES && !group.exists() => {}
                Err(error) => {
                    // This error is the one to tell.
                    let _ = group.remove();
                    return Err(error);
                }
            }
        }
    }

    fn fill(&self, group: &Cgroup, limits: &Limits) -> io::Result<()> {
        if let (Some(folder), Some(unified)) = (&group.unified, &self.unified) {
            unified.prepare()?;
            fs::create_dir_all(folder).map_err(|e| explain(folder, &e))?;
            for controller in &unified.controllers {
                write_all(folder, limits::unified(*controller, limits))?;
            }
        }
        for (controllers, folder) in &group.legacy {
            fs::create_dir_all(folder).map_err(|e| explain(folder, &e))?;
            for controller in controllers {
                write_all(folder, limits::legacy(*controller, limits))?;
            }
        }
        Ok(())
    }
}

impl Unified {
    /// The node's own folder.
    fn folder(&self) -> &Path {
        let [_, _, folder] = &self.folders;
        folder
    }

    /// Makes the folders and passes the controllers on.
    fn prepare(&self) -> io::Result<()> {
        let folder = self.folder();
        fs::create_dir_all(folder).map_err(|e| explain(folder, &e))?;
        if self.controllers.is_empty() {
            return Ok(());
        }
        self.folders.iter().try_for_each(|folder| pass_on(folder, &self.controllers))
    }
}

fn write_all(folder: &Path, settings: Vec<limits::Setting>) -> io::Result<()> {
    for setting in settings {
        let path = folder.join(setting.file);
        match fs::write(&path, &setting.value) {
            Err(_) if setting.optional => {}
            Err(error) => return Err(explain(&path, &error)),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Makes the node's folder of version 2 and passes on the `wanted` controllers, as far as they are there.
fn prepare_unified(tree: &Tree, node: &str, wanted: &[Controller]) -> io::Result<Unified> {
    let own = tree.own_folder();
    // A node that was moved by a former call makes its groups beside itself.
    let own = match own.parent() {
        Some(parent)
            if own.file_name().is_some_and(|name| name == LEAF) && parent.starts_with(&tree.mount) =>
        {
            parent.to_owned()
        }
        _ => own,
    };
    prepare_below(tree, &own, node, wanted).or_else(|error| {
        // What is not delegated may still be open at the top, where other container managers make theirs too.
        if own == tree.mount { Err(error) } else { prepare_below(tree, &tree.mount, node, wanted) }
    })
}

fn prepare_below(tree: &Tree, base: &Path, node: &str, wanted: &[Controller]) -> io::Result<Unified> {
    let file = base.join("cgroup.controllers");
    let offered = fs::read_to_string(&file).map_err(|e| explain(&file, &e))?;
    let controllers: Vec<Controller> = wanted
        .iter()
        .copied()
        .filter(|controller| offered.split_whitespace().any(|name| name == controller.name()))
        .collect();
    let middle = base.join(FOLDER);
    let unified = Unified { folders: [base.to_owned(), middle.clone(), middle.join(node)], controllers };
    if !unified.controllers.is_empty() && base != tree.mount {
        make_room(base)?;
    }
    unified.prepare().map(|()| unified)
}

/// Moves the own process out of a group that is to have groups below. If others are in there it is not the node's.
fn make_room(base: &Path) -> io::Result<()> {
    let procs = fs::read_to_string(base.join("cgroup.procs"))?;
    let own = std::process::id().to_string();
    if procs.lines().any(|pid| pid != own) {
        let message = format!("the cgroup {} is shared with other processes", base.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    if procs.is_empty() {
        return Ok(());
    }
    let leaf = base.join(LEAF);
    fs::create_dir_all(&leaf).map_err(|e| explain(&leaf, &e))?;
    let file = leaf.join("cgroup.procs");
    fs::write(&file, own).map_err(|e| explain(&file, &e))
}

fn pass_on(parent: &Path, controllers: &[Controller]) -> io::Result<()> {
    let words: Vec<String> = controllers.iter().map(|c| format!("+{}", c.name())).collect();
    let file = parent.join("cgroup.subtree_control");
    fs::write(&file, words.join(" ")).map_err(|e| explain(&file, &e))
}

/// An error that names the file.
pub(super) fn explain(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hierarchy of plain files, which shows what is written where. The kernel's own is tested with real tasks.
    fn tree(dir: &Path, own: &str, procs: &str) -> Tree {
        let tree = Tree { mount: dir.to_owned(), own: own.into() };
        fs::create_dir_all(tree.own_folder()).unwrap();
        fs::write(dir.join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        fs::write(tree.own_folder().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        fs::write(tree.own_folder().join("cgroup.procs"), procs).unwrap();
        tree
    }

    fn read(path: PathBuf) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_delegated_group_of_version_2_is_shared_out() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("system.slice/x.service");
        let tree = tree(dir.path(), "system.slice/x.service", &format!("{}\n", std::process::id()));
        let unified = prepare_unified(&tree, "n1", &Controller::LIMITING).unwrap();
        assert_eq!(unified.folder(), own.join("bacalhau/n1"));
        assert_eq!(read(own.join("node/cgroup.procs")), std::process::id().to_string());
        for folder in [own.clone(), own.join("bacalhau"), own.join("bacalhau/n1")] {
            assert_eq!(read(folder.join("cgroup.subtree_control")), "+cpu +memory +pids");
        }
        // The next life of the node is in the leaf and finds the same place.
        let moved = Tree { own: "system.slice/x.service/node".into(), ..tree };
        fs::write(own.join("cgroup.procs"), "").unwrap();
        assert_eq!(prepare_unified(&moved, "n1", &[]).unwrap().folder(), own.join("bacalhau/n1"));

        let groups = Cgroups { unified: Some(unified), legacy: Vec::new() };
        assert!(groups.missing().is_empty());
        let group = groups.create("e-1", &Limits { cpu: 2.0, memory: 1 << 20, pids: 9 }).unwrap();
        let folder = own.join("bacalhau/n1/e-1");
        assert_eq!(group.folders().collect::<Vec<_>>(), [folder.as_path()]);
        assert_eq!(read(folder.join("cpu.max")), "200000 100000");
        assert_eq!(read(folder.join("memory.max")), "1048576");
        assert_eq!(read(folder.join("pids.max")), "9");
    }

    #[test]
    fn a_shared_group_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(dir.path(), "user.slice/session", "1\n2\n");
        let unified = prepare_unified(&tree, "n1", &Controller::LIMITING).unwrap();
        assert_eq!(unified.folder(), dir.path().join("bacalhau/n1"));
        assert!(!dir.path().join("user.slice/session/cgroup.subtree_control").exists());
    }
}
