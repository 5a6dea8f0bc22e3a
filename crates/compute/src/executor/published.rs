//! Removes published results that nobody will fetch any more: those that are too old, and the oldest beyond a size.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Results younger than this stay even if there are too many: somebody may be fetching them, or they are being written.
const YOUNG: Duration = Duration::from_secs(600);

/// Removes the files of a folder that were not changed for longer than `age`, then the oldest until the others take no
/// more than `together` bytes. A folder that is not there has none. Blocks; gives how many were removed.
pub(super) fn prune(folder: &Path, age: Duration, together: u64) -> io::Result<usize> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut files: Vec<(Duration, u64, PathBuf)> =
        entries.flatten().filter_map(|entry| look(&entry)).collect();
    // The youngest are kept first.
    files.sort();
    let (mut removed, mut kept) = (0, 0u64);
    for (old, bytes, path) in files {
        let with_it = kept.saturating_add(bytes);
        let stays = old <= age && (with_it <= together || old < YOUNG);
        if stays {
            kept = with_it;
        } else {
            match fs::remove_file(&path) {
                Ok(()) => removed += 1,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "an old result could not be removed")
                }
            }
        }
    }
    Ok(removed)
}

/// How long ago a file was changed, what it takes, and where it is. One from the future has just been changed.
fn look(entry: &fs::DirEntry) -> Option<(Duration, u64, PathBuf)> {
    let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    let old = SystemTime::now().duration_since(meta.modified().ok()?).unwrap_or_default();
    Some((old, meta.blocks().saturating_mul(512), entry.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, hours: u64) {
        let path = folder.join(name);
        fs::write(&path, vec![1; 8192]).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }

    #[test]
    fn old_ones_go_and_then_the_oldest() {
        let dir = tempfile::tempdir().unwrap();
        let week = Duration::from_secs(168 * 3600);
        assert_eq!(prune(&dir.path().join("none"), Duration::ZERO, 0).unwrap(), 0);
        for (name, hours) in [("old", 200), ("c", 9), ("b", 5), ("a", 1), ("new", 0)] {
            file(dir.path(), name, hours);
        }
        assert_eq!(prune(dir.path(), week, u64::MAX).unwrap(), 1);
        assert!(!dir.path().join("old").exists());
        assert_eq!(prune(dir.path(), week, 3 * 8192 + 4096).unwrap(), 1);
        assert!(!dir.path().join("c").exists() && dir.path().join("b").exists());
        assert_eq!(prune(dir.path(), week, 0).unwrap(), 2);
        assert!(dir.path().join("new").exists(), "somebody may be fetching it");
    }
}
