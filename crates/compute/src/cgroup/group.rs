//! The group of one task: in every hierarchy a folder.

use super::base::explain;
use super::layout::Layout;
use super::usage::{Usage, field, number};
use super::{Controller, kill};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Time the kernel gets to let go of a group whose processes have been killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two tries; a killed process ends within milliseconds.
const PAUSE: Duration = Duration::from_millis(2);

/// A group. Can be written down and found again by a later life of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cgroup {
    pub(super) unified: Option<PathBuf>,
    pub(super) legacy: Vec<(Vec<Controller>, PathBuf)>,
}

impl Cgroup {
    /// Its folders. A process joins when its number is written into `cgroup.procs` of each.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.unified
            .iter()
            .map(PathBuf::as_path)
            .chain(self.legacy.iter().map(|(_, folder)| folder.as_path()))
    }

    /// Whether it is there, in every hierarchy.
    pub(super) fn exists(&self) -> bool {
        self.folders().all(Path::is_dir)
    }

    /// Moves this process, with all its threads, into the group.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn join(&self) -> io::Result<()> {
        for folder in self.folders() {
            let file = folder.join("cgroup.procs");
            fs::write(&file, std::process::id().to_string()).map_err(|e| explain(&file, &e))?;
        }
        Ok(())
    }

    /// Where this process is in the same hierarchies.
    ///
    /// # Errors
    /// The kernel's files cannot be read.
    pub fn current(&self) -> io::Result<Cgroup> {
        let layout = Layout::parse(
            &fs::read_to_string("/proc/self/mountinfo")?,
            &fs::read_to_string("/proc/self/cgroup")?,
        );
        let legacy = layout.legacy.into_iter().filter(|(c, _)| self.legacy.iter().any(|(own, _)| own == c));
        Ok(Cgroup {
            unified: self.unified.as_ref().and(layout.unified).map(|tree| tree.own_folder()),
            legacy: legacy.map(|(controllers, tree)| (controllers, tree.own_folder())).collect(),
        })
    }

    /// What it used until now.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        let read = |folder: &Path, file: &str| fs::read_to_string(folder.join(file)).ok();
        if let Some(folder) = &self.unified {
            let micros = read(folder, "cpu.stat").and_then(|text| field(&text, "usage_usec"));
            usage.cpu_time = Duration::from_micros(micros.unwrap_or(0));
            usage.memory_peak = read(folder, "memory.peak").and_then(|text| number(&text)).unwrap_or(0);
            usage.oom_kills = read(folder, "memory.events").and_then(|t| field(&t, "oom_kill")).unwrap_or(0);
        }
        for (_, folder) in &self.legacy {
            if let Some(nanos) = read(folder, "cpuacct.usage").and_then(|text| number(&text)) {
                usage.cpu_time = Duration::from_nanos(nanos);
            }
            if let Some(peak) = read(folder, "memory.max_usage_in_bytes").and_then(|text| number(&text)) {
                usage.memory_peak = peak;
            }
            if let Some(kills) = read(folder, "memory.oom_control").and_then(|t| field(&t, "oom_kill")) {
                usage.oom_kills = kills;
            }
        }
        usage
    }

    /// Processes in it, those of groups below included.
    pub fn pids(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self.folders().flat_map(kill::pids).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills what is in it now and does not wait. A process that was just being made may escape.
    pub fn kill_once(&self) {
        self.folders().for_each(kill::kill_once);
    }

    /// Kills every process in it. Those that were just being made are killed as well.
    ///
    /// # Errors
    /// There are processes left after ten seconds, such as some that hang in the kernel.
    pub fn kill(&self) -> io::Result<()> {
        let began = Instant::now();
        loop {
            self.kill_once();
            if self.pids().is_empty() {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let message = format!("processes {:?} do not end", self.pids());
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Removes the group with everything below, killing what is still in it, and the folders of the node and of all
    /// nodes with their last group. One that is gone is fine.
    ///
    /// # Errors
    /// See [`Cgroup::kill`]; or the kernel does not let go.
    pub fn remove(&self) -> io::Result<()> {
        self.dissolve()?;
        for folder in self.folders() {
            // The kernel keeps those in use.
            for parent in folder.ancestors().skip(1).take(2) {
                let _ = fs::remove_dir(parent);
            }
        }
        Ok(())
    }

    /// Removes the group if nothing is in it.
    pub fn remove_empty(&self) {
        for folder in self.folders() {
            // The kernel keeps those in use.
            let _ = fs::remove_dir(folder);
        }
    }

    /// Removes the group with everything below, killing what is still in it, and leaves what is above. One that is gone
    /// is fine.
    ///
    /// # Errors
    /// See [`Cgroup::kill`]; or the kernel does not let go.
    pub fn dissolve(&self) -> io::Result<()> {
        // The common case: nobody is in it any more, and the kernel says so.
        if self.folders().filter(|folder| remove_tree(folder).is_err()).count() == 0 {
            return Ok(());
        }
        self.kill()?;
        let began = Instant::now();
        for folder in self.folders() {
            loop {
                match remove_tree(folder) {
                    Ok(()) => break,
                    // A process that ended a moment ago may still be counted.
                    Err(_) if began.elapsed() < PATIENCE => thread::sleep(PAUSE),
                    Err(error) => return Err(explain(folder, &error)),
                }
            }
        }
        Ok(())
    }
}

/// Removes a folder of groups from below. The files in it are the kernel's and go with it.
fn remove_tree(folder: &Path) -> io::Result<()> {
    for below in kill::groups_below(folder) {
        remove_tree(&below)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
