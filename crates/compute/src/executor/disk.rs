//! How much an execution may write: measured while its task runs, and before its results are published.
//!
//! What counts is what appears in the execution's own folder after its inputs: result folders, and what its engine
//! keeps there for it. Links are not followed, and other file systems are not entered. What a task writes where only its
//! engine sees it, such as the root of a container of Docker, the engine tells.

use super::work::WorkFolder;
use crate::sources::{Mount, MountData};
use bacalhau_model::{Error, Task, error::code, quantity};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// A look may take this part of the time at most, so that folders with millions of files do not keep the disk busy.
const SHARE: u32 = 20;
/// Name of the note in the execution's folder.
const FILE: &str = "disk.json";

/// Bytes that an execution may write: the task's own figure, or the node's; `None` is no limit.
pub(super) fn limit(task: &Task, of_node: Option<u64>) -> Option<u64> {
    let asked = task.resources.parse().map(|resources| resources.disk).unwrap_or(0);
    if asked > 0 { Some(asked) } else { of_node }
}

/// What one execution may write.
#[derive(Clone, Copy, Debug)]
pub(super) struct DiskLimit {
    /// Bytes.
    limit: u64,
    /// Bytes in its folder that are not its own doing.
    given: u64,
}

impl DiskLimit {
    /// A limit for an execution whose inputs are in its folder and that does not run yet. Engines lay out single files
    /// once more. An adopted task began in a former life of the node, which noted what had been there.
    pub(super) async fn new(
        limit: u64,
        work: &Arc<WorkFolder>,
        mounts: &[Mount],
        adopted: bool,
    ) -> DiskLimit {
        work.count_elsewhere();
        let mounts: Vec<MountData> = mounts.iter().map(|mount| mount.data.clone()).collect();
        let given = off_thread(work, move |folder| {
            let note = folder.join(FILE);
            if adopted {
                // Without the note it is given what it has written until now.
                let noted = fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok());
                return noted.unwrap_or_else(|| measure(folder, u64::MAX));
            }
            let laid_out: u64 = mounts.iter().map(single_file).fold(0, u64::saturating_add);
            let given = measure(folder, u64::MAX).saturating_add(laid_out);
            if folder.exists() && fs::write(&note, given.to_string()).is_err() {
                tracing::debug!(folder = %folder.display(), "cannot note what was in the folder when the task began");
            }
            given
        });
        DiskLimit { limit, given: given.await }
    }

    /// Completes when the execution has written more than it may, with what to tell about it.
    pub(super) async fn exceeded(self, work: &Arc<WorkFolder>) -> Error {
        let mut pause = INTERVAL;
        loop {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            let found =
                off_thread(work, move |folder| measure(folder, self.given.saturating_add(self.limit))).await;
            let found = found.saturating_sub(self.given).saturating_add(work.elsewhere());
            if found > self.limit {
                return too_much(found, self.limit);
            }
            pause = INTERVAL.max(began.elapsed() * SHARE);
        }
    }

    /// Checks the results of a task that has ended.
    ///
    /// # Errors
    /// They are larger than the limit.
    pub(super) async fn check_results(self, work: &Arc<WorkFolder>, results: PathBuf) -> Result<(), Error> {
        let found = off_thread(work, move |_| measure(&results, self.limit)).await;
        if found > self.limit { Err(too_much(found, self.limit)) } else { Ok(()) }
    }
}

/// Bytes of an input that is one file.
fn single_file(data: &MountData) -> u64 {
    match data {
        MountData::Folder(_) => 0,
        MountData::File(path) => fs::metadata(path).map_or(0, |meta| meta.len()),
        MountData::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
    }
}

fn too_much(found: u64, limit: u64) -> Error {
    let message = format!(
        "disk limit exceeded: the execution has written at least {} ({found} bytes), and may write {} ({limit} bytes)",
        quantity::format_bytes(found),
        quantity::format_bytes(limit),
    );
    Error::new(code::RESOURCE_EXHAUSTED, message)
        .component("Executor")
        .hint("Ask for more disk (Task.Resources.Disk), or write less")
}

async fn off_thread(work: &Arc<WorkFolder>, look: impl FnOnce(&Path) -> u64 + Send + 'static) -> u64 {
    let work = Arc::clone(work);
    // That a look panicked has been told by the panic itself; the next one may work.
    tokio::task::spawn_blocking(move || look(work.path())).await.unwrap_or(0)
}

/// Bytes that a folder takes on its file system; gives up, with what it has found, once that is more than `enough`.
/// Files with several names count once. What vanishes meanwhile does not count.
fn measure(folder: &Path, enough: u64) -> u64 {
    let Ok(top) = fs::symlink_metadata(folder) else { return 0 };
    let mut seen = HashSet::new();
    let mut waiting = vec![folder.to_owned()];
    let mut sum = 0u64;
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev() || (meta.nlink() > 1 && !meta.is_dir() && !seen.insert(meta.ino())) {
                continue;
            }
            sum = sum.saturating_add(meta.blocks().saturating_mul(512));
            if sum > enough {
                return sum;
            }
            if meta.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    sum
}

/// Adds what to do to an error of the file system that is full.
pub(super) fn explain_full(error: Error, why: &io::Error) -> Error {
    if !matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return error;
    }
    error
        .hint("The disk of the compute node is full: free some space there, or run the job on another node")
        .retryable()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::ResourcesConfig;

    #[test]
    fn the_task_comes_before_the_node() {
        let task = |disk: &str| Task {
            resources: ResourcesConfig { disk: disk.into(), ..ResourcesConfig::default() },
            ..Task::default()
        };
        assert_eq!(limit(&task("1kb"), Some(5)), Some(1000));
        assert_eq!(limit(&task(""), Some(5)), Some(5));
        assert_eq!(limit(&task(""), None), None);
    }

    #[test]
    fn what_takes_room_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(measure(&dir.path().join("none"), 9), 0);
        let file = |name: &str, bytes: usize| fs::write(dir.path().join(name), vec![7; bytes]).unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        let empty = measure(dir.path(), u64::MAX);
        file("a/x", 1 << 20);
        let one = measure(dir.path(), u64::MAX);
        assert!((1 << 20..1 << 21).contains(&(one - empty)), "{empty} {one}");
        fs::hard_link(dir.path().join("a/x"), dir.path().join("y")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        fs::File::create(dir.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
        assert!(measure(dir.path(), u64::MAX) - one < 1 << 16);
        file("z", 1 << 20);
        assert!(measure(dir.path(), 100) > 100);
    }
}
