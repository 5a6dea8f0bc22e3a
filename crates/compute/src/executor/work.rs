//! The private folder of one execution: created when first needed, removed when the last user lets go.

use bacalhau_images::remove_tree;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Sub-folder with prepared inputs.
const INPUTS: &str = "inputs";

/// Sub-folder in which an engine lays out what the task sees.
const ROOT: &str = "root";

/// Folder of one execution. An execution that needs no files never has it.
#[derive(Debug)]
pub struct WorkFolder {
    path: PathBuf,
    /// Something was created; until then no system call is made for it.
    used: AtomicBool,
    /// The next life of the node needs it.
    kept: AtomicBool,
    /// What the task writes outside of the folder counts as well.
    counted: AtomicBool,
    /// So much of that is known, bytes.
    elsewhere: AtomicU64,
}

impl WorkFolder {
    /// The folder at `path`, which is not created yet.
    pub fn new(path: PathBuf) -> WorkFolder {
        WorkFolder {
            path,
            used: AtomicBool::new(false),
            kept: AtomicBool::new(false),
            counted: AtomicBool::new(false),
            elsewhere: AtomicU64::new(0),
        }
    }

    /// One that a former life of the node left behind on purpose.
    pub(super) fn of_former_life(path: PathBuf) -> WorkFolder {
        let folder = WorkFolder::new(path);
        folder.used.store(true, Ordering::Release);
        folder
    }

    /// Leaves the folder where it is when everybody lets go of it.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// Asks the engine to tell what the task writes outside of the folder.
    pub(super) fn count_elsewhere(&self) {
        self.counted.store(true, Ordering::Release);
    }

    /// Whether somebody wants to know what the task writes outside of the folder.
    pub fn is_elsewhere_counted(&self) -> bool {
        self.counted.load(Ordering::Acquire)
    }

    /// The engine tells how much the task has written outside of the folder until now, bytes.
    pub fn wrote_elsewhere(&self, bytes: u64) {
        self.elsewhere.store(bytes, Ordering::Release);
    }

    /// What the engine told last.
    pub(super) fn elsewhere(&self) -> u64 {
        self.elsewhere.load(Ordering::Acquire)
    }

    /// Where it is or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a sub-folder with all folders on the way, accessible to this user only.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn create(&self, name: &str) -> io::Result<PathBuf> {
        self.used.store(true, Ordering::Release);
        let path = self.path.join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(path)
    }

    /// Removes inputs and what was laid out for the engine; results stay.
    pub(super) async fn remove_inputs(self: &Arc<Self>) {
        if !self.used.load(Ordering::Acquire) {
            return;
        }
        let work = Arc::clone(self);
        // The outcome of a panic in there is what a failed removal is: the folder's end tries again.
        let _ = tokio::task::spawn_blocking(move || {
            for name in [ROOT, INPUTS] {
                remove(&work.path.join(name));
            }
        })
        .await;
    }

    /// Lets go of the folder and waits for its removal, unless somebody else still holds it.
    pub(super) async fn discard(self: Arc<Self>) {
        if self.used.load(Ordering::Acquire) {
            let _ = tokio::task::spawn_blocking(move || drop(self)).await;
        }
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if self.used.load(Ordering::Acquire) && !self.kept.load(Ordering::Acquire) {
            remove(&self.path);
        }
    }
}

fn remove(path: &Path) {
    match remove_tree(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot remove a folder; it is tried again at the next start");
        }
        _ => {}
    }
}

/// A sub-folder that exists once somebody asks for it.
#[derive(Clone, Debug)]
pub struct LazyFolder {
    work: Arc<WorkFolder>,
    name: String,
}

impl LazyFolder {
    /// The folder of the n-th input.
    pub(super) fn input(work: &Arc<WorkFolder>, number: usize) -> LazyFolder {
        LazyFolder { work: Arc::clone(work), name: format!("{INPUTS}/{number}") }
    }

    /// Creates it.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn create(&self) -> io::Result<PathBuf> {
        self.work.create(&self.name)
    }
}

/// Removes the folders below `executions` whose names are not in `keep`. Files (logs) stay.
pub(super) fn sweep(executions: &Path, keep: &BTreeSet<String>) -> io::Result<usize> {
    let entries = match fs::read_dir(executions) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries.flatten() {
        let wanted = entry.file_name().to_str().is_some_and(|name| keep.contains(name));
        if !wanted && entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove(&entry.path());
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exists_only_while_needed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("executions/e-1");
        let work = Arc::new(WorkFolder::new(path.clone()));
        assert!(!dir.path().join("executions").exists());
        let input = LazyFolder::input(&work, 3).create().unwrap();
        assert!(input.is_dir() && input.ends_with("e-1/inputs/3"));
        drop(work);
        assert!(!path.exists());
    }

    #[test]
    fn sweeping_keeps_logs() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["e-1/inputs", "e-2/results"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("e-3.log"), "x").unwrap();
        let keep = BTreeSet::from(["e-2".to_owned()]);
        assert_eq!(sweep(dir.path(), &keep).unwrap(), 1);
        assert!(!dir.path().join("e-1").exists() && dir.path().join("e-2/results").exists());
        assert_eq!(sweep(dir.path(), &BTreeSet::new()).unwrap(), 1);
        assert!(dir.path().join("e-3.log").exists());
        assert_eq!(sweep(&dir.path().join("missing"), &keep).unwrap(), 0);
    }
}
