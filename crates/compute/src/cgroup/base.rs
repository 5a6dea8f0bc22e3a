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
#[derive(Debug)]
pub struct Cgroups {
    unified: Option<PathBuf>,
    /// Controllers that version 2 offers below its folder.
    unified_controllers: Vec<Controller>,
    legacy: Vec<(Vec<Controller>, PathBuf)>,
}

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
        let mut unified_controllers = Vec::new();
        if let Some(tree) = &layout.unified {
            let wanted: Vec<Controller> =
                Controller::LIMITING.into_iter().filter(|c| !taken.contains(c)).collect();
            match prepare_unified(tree, node, &wanted) {
                Ok((folder, controllers)) => (unified, unified_controllers) = (Some(folder), controllers),
                Err(error) => trouble = error,
            }
        }
        if unified.is_none() && legacy.is_empty() {
            return Err(trouble);
        }
        Ok(Cgroups { unified, unified_controllers, legacy })
    }

    /// Limits that cannot be set here.
    pub fn missing(&self) -> Vec<Controller> {
        let has = |wanted: &Controller| {
            self.unified_controllers.contains(wanted)
                || self.legacy.iter().any(|(controllers, _)| controllers.contains(wanted))
        };
        Controller::LIMITING.into_iter().filter(|c| !has(c)).collect()
    }

    /// The group of that name, whether it is there or not.
    pub fn group(&self, name: &str) -> Cgroup {
        Cgroup {
            unified: self.unified.as_ref().map(|folder| folder.join(name)),
            legacy: self.legacy.iter().map(|(c, folder)| (c.clone(), folder.join(name))).collect(),
        }
    }

    /// Makes a group with limits. `name` is a plain file name. A group of that name that exists is taken over.
    ///
    /// # Errors
    /// The kernel refuses; what was made is removed again.
    pub fn create(&self, name: &str, limits: &Limits) -> io::Result<Cgroup> {
        let group = self.group(name);
        let made = self.fill(&group, limits);
        if made.is_err() {
            // The first error is the one to tell.
            let _ = group.remove();
        }
        made.map(|()| group)
    }

    fn fill(&self, group: &Cgroup, limits: &Limits) -> io::Result<()> {
        if let Some(folder) = &group.unified {
            fs::create_dir_all(folder).map_err(|e| explain(folder, &e))?;
            for controller in &self.unified_controllers {
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

impl Drop for Cgroups {
    /// Takes the node's empty folders away. One that is in use stays: the kernel does not remove it.
    fn drop(&mut self) {
        for folder in self.unified.iter().chain(self.legacy.iter().map(|(_, folder)| folder)) {
            if fs::remove_dir(folder).is_ok()
                && let Some(parent) = folder.parent()
            {
                let _ = fs::remove_dir(parent);
            }
        }
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
fn prepare_unified(tree: &Tree, node: &str, wanted: &[Controller]) -> io::Result<(PathBuf, Vec<Controller>)> {
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

fn prepare_below(
    tree: &Tree,
    base: &Path,
    node: &str,
    wanted: &[Controller],
) -> io::Result<(PathBuf, Vec<Controller>)> {
    let offered = fs::read_to_string(base.join("cgroup.controllers"))?;
    let controllers: Vec<Controller> = wanted
        .iter()
        .copied()
        .filter(|controller| offered.split_whitespace().any(|name| name == controller.name()))
        .collect();
    let middle = base.join(FOLDER);
    let folder = middle.join(node);
    fs::create_dir_all(&folder).map_err(|e| explain(&folder, &e))?;
    if !controllers.is_empty() {
        if base != tree.mount {
            make_room(base)?;
        }
        for parent in [base, &middle, &folder] {
            pass_on(parent, &controllers)?;
        }
    }
    Ok((folder, controllers))
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
