//! Replaces a file as a whole: a crash leaves the old one or the new one, never a part. For its owner only.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells writers within this process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Writes a file with mode 0600, making its folder when it is missing. A symbolic link stays; what it points to is replaced.
pub fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    std::fs::create_dir_all(&folder)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}-{number}.tmp", std::process::id()));
    let done = fill(&temporary, text).and_then(|()| std::fs::rename(&temporary, &target));
    if done.is_err() {
        // The first error is the one to tell; a file left behind does no harm.
        let _ = std::fs::remove_file(&temporary);
        return done;
    }
    File::open(&folder)?.sync_all()
}

fn fill(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaces_what_a_link_points_to_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real/x.yaml"), dir.path().join("x.yaml"));
        write(&file, "a").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, "b").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "b");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        assert!(write(dir.path(), "c").is_err(), "a folder is no file");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
