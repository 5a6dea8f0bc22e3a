//! Notes about what runs, so that a later life of the node ends what this one could not.
//!
//! A note is written before the task starts and removed when nothing of it is left. It needs no fsync: what a power
//! failure ends needs no killing.

use crate::cgroup::Cgroup;
use crate::executor::WorkFolder;
use rustix::process::{Pid, test_kill_process};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The folder of notes of one node.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    folder: PathBuf,
}

/// What belongs to a task outside of the node's folders, and the note about it. Dropped, both are removed in the
/// background; [`Note::settle`] does it and waits.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
    pub(super) cgroup: Option<Cgroup>,
    /// The process that ends the task, once there is one.
    pub(super) supervisor: Option<Pid>,
    /// The task's folder, which must not go before the task.
    pub(super) work: Option<Arc<WorkFolder>>,
    settled: bool,
}

/// Time for a supervisor to end everything, when nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(15);

/// Between two looks whether it has ended.
const PAUSE: Duration = Duration::from_millis(20);

impl Notes {
    pub(super) fn new(folder: &Path) -> Notes {
        Notes { folder: folder.to_owned() }
    }

    /// Writes a note. Blocks.
    pub(super) fn write(&self, execution_id: &str, cgroup: Option<Cgroup>) -> io::Result<Note> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.folder.join(execution_id);
        let note = Note { path, cgroup, supervisor: None, work: None, settled: false };
        fs::write(&note.path, serde_json::to_vec(&note.cgroup)?)?;
        Ok(note)
    }

    /// Kills and removes whatever notes of a former life are about, but for those in `keep`. Blocks.
    pub(super) fn clean_up(&self, keep: &BTreeSet<String>) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|id| keep.contains(id)) {
                continue;
            }
            let path = entry.path();
            // A note that was cut off was written before anything started.
            let cgroup = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).flatten();
            remove(&path, cgroup.as_ref());
        }
    }
}

impl Note {
    /// Removes the group with whatever is in it, and then the note. Blocks.
    pub(super) fn settle(mut self) {
        self.settled = true;
        remove(&self.path, self.cgroup.as_ref());
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let (path, cgroup) = (std::mem::take(&mut self.path), self.cgroup.take());
        let (supervisor, work) = (self.supervisor, self.work.take());
        // The runtime may be ending, so this needs a thread of its own. Without one, the next life does it.
        let _ = std::thread::Builder::new().name("exec-clean-up".to_owned()).spawn(move || {
            let began = Instant::now();
            while supervisor.is_some_and(|pid| test_kill_process(pid).is_ok()) && began.elapsed() < PATIENCE {
                std::thread::sleep(PAUSE);
            }
            remove(&path, cgroup.as_ref());
            drop(work);
        });
    }
}

fn remove(path: &Path, cgroup: Option<&Cgroup>) {
    if let Some(Err(error)) = cgroup.map(Cgroup::remove) {
        tracing::warn!(note = %path.display(), %error, "cannot remove what a task left behind; it is tried again at the next start");
        return;
    }
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(note = %path.display(), %error, "cannot remove a note about a task");
    }
}
