//! What guests see as `/`, laid out once for all executions that get the same.
//!
//! To create and remove files costs more than to run a short program, on a busy disk a hundred times as much. Most guests
//! get nothing there but their module, and none can write there, so they share it. Never put anything here that a
//! guest may change, or that is not told apart by its key.

use bacalhau_images::remove_tree;
use bacalhau_model::Error;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Bytes and roots kept at most; those in use go when their last guest does.
const MAX_BYTES: u64 = 256 << 20;
const MAX_ROOTS: usize = 256;

/// A root larger than this is laid out for its execution alone.
pub(super) const MAX_SHARED: u64 = 32 << 20;

/// Says what is in a root: the same key, the same content.
pub(super) type Key = [u8; 32];

/// Makes a key of all parts, each with its length.
pub(super) fn key<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// One root; its folder goes with it.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a folder; it is tried again at the next start");
        }
    }
}

struct Entry {
    root: Arc<Root>,
    bytes: u64,
    last_used: u64,
}

#[derive(Default)]
struct Kept {
    by_key: HashMap<Key, Entry>,
    bytes: u64,
    clock: u64,
}

/// The roots of one engine.
pub(super) struct Roots {
    folder: Option<PathBuf>,
    /// The folder is there, and empty of what a former life of the node left.
    ready: OnceLock<Result<(), io::ErrorKind>>,
    numbers: AtomicU64,
    kept: Mutex<Kept>,
}

impl Roots {
    /// Roots below a folder that nobody else uses; `None` shares nothing.
    pub(super) fn new(folder: Option<PathBuf>) -> Roots {
        Roots { folder, ready: OnceLock::new(), numbers: AtomicU64::new(0), kept: Mutex::default() }
    }

    /// The root with this key and these bytes; `lay_out` makes it if it is not there. `None` where none can be shared: the
    /// execution needs one of its own. Blocks.
    ///
    /// # Errors
    /// Those of `lay_out`.
    pub(super) fn get(
        &self,
        key: Key,
        bytes: u64,
        lay_out: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Option<Arc<Root>>, Error> {
        let Some(folder) = self.folder.as_ref().filter(|folder| self.is_ready(folder)) else {
            return Ok(None);
        };
        if let Some(root) = self.find(key) {
            return Ok(Some(root));
        }
        let path = folder.join(self.numbers.fetch_add(1, Ordering::Relaxed).to_string());
        if DirBuilder::new().mode(0o700).create(&path).is_err() {
            return Ok(None);
        }
        let root = Arc::new(Root { path });
        lay_out(&root.path)?;
        Ok(Some(self.keep(key, bytes, root)))
    }

    fn is_ready(&self, folder: &Path) -> bool {
        let made = || {
            match remove_tree(folder) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.kind()),
                _ => {}
            }
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| e.kind())
        };
        let ready = self.ready.get_or_init(|| {
            made().inspect_err(|error| {
                tracing::warn!(folder = %folder.display(), %error, "cannot share files between WebAssembly programs");
            })
        });
        ready.is_ok()
    }

    fn find(&self, key: Key) -> Option<Arc<Root>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let clock = kept.clock;
        let entry = kept.by_key.get_mut(&key)?;
        entry.last_used = clock;
        Some(Arc::clone(&entry.root))
    }

    /// Keeps a new root, unless somebody else was quicker, and lets go of those that were not used for longest.
    fn keep(&self, key: Key, bytes: u64, root: Arc<Root>) -> Arc<Root> {
        // Removed after the lock is released.
        let mut gone = Vec::new();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let last_used = kept.clock;
        if let Some(entry) = kept.by_key.get(&key) {
            let other = Arc::clone(&entry.root);
            drop(kept);
            return other;
        }
        kept.by_key.insert(key, Entry { root: Arc::clone(&root), bytes, last_used });
        kept.bytes = kept.bytes.saturating_add(bytes);
        while kept.bytes > MAX_BYTES || kept.by_key.len() > MAX_ROOTS {
            let oldest = kept.by_key.iter().min_by_key(|(_, entry)| entry.last_used).map(|(key, _)| *key);
            let Some(entry) = oldest.and_then(|key| kept.by_key.remove(&key)) else { break };
            kept.bytes = kept.bytes.saturating_sub(entry.bytes);
            gone.push(entry);
        }
        drop(kept);
        drop(gone);
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn get(roots: &Roots, number: u64, bytes: u64) -> Arc<Root> {
        let key = key([&number.to_le_bytes()[..]].into_iter());
        let lay_out = |path: &Path| {
            fs::write(path.join("f"), number.to_string()).unwrap();
            Ok(())
        };
        roots.get(key, bytes, lay_out).unwrap().unwrap()
    }

    #[test]
    fn the_same_is_laid_out_once_and_goes_when_nobody_needs_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("roots");
        fs::create_dir_all(folder.join("of a former life")).unwrap();
        let roots = Roots::new(Some(folder.clone()));
        let first = get(&roots, 1, 1);
        assert!(!folder.join("of a former life").exists());
        assert!(Arc::ptr_eq(&first, &get(&roots, 1, 1)));
        // Others push it out; it stays while it is used.
        for number in 2..20 {
            get(&roots, number, MAX_BYTES / 4);
        }
        assert_eq!(fs::read(first.path.join("f")).unwrap(), b"1");
        assert!(!Arc::ptr_eq(&first, &get(&roots, 1, 1)));
        let path = first.path.clone();
        drop(first);
        assert!(!path.exists());
        assert!(fs::read_dir(&folder).unwrap().count() <= 4);
        drop(roots);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::new(Some(dir.path().join("roots")));
        let failed = roots.get([0; 32], 1, |_| Err(super::super::error("no")));
        assert_eq!(failed.unwrap_err().message, "no");
        assert_eq!(fs::read_dir(dir.path().join("roots")).unwrap().count(), 0);
        assert!(Roots::new(None).get([0; 32], 1, |_| Ok(())).unwrap().is_none());
    }

    #[test]
    fn parts_do_not_run_together() {
        let of = |parts: &[&str]| key(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
    }
}
