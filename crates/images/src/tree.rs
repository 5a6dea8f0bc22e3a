//! Removes a folder with everything below, whoever made it and however.
//!
//! What tasks and images leave behind may be deeper than a stack or the number of open files allows, so this walks down a
//! few levels only and lifts what is deeper to the top. It follows no links, and goes into no mount: what is mounted below
//! may be somebody's data.

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Levels that are walked down at once; each holds two files open.
const LEVELS: usize = 32;

/// Flags of every folder that is opened.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes the folder at `path`, or whatever is there. Blocks.
///
/// # Errors
/// It is not there, something below is a mount, or the kernel refuses. The rest may be gone by then.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    remove_at(CWD, path)
}

/// The same for what is called `name` in an open folder.
pub(crate) fn remove_at(parent: impl AsFd, name: &Path) -> io::Result<()> {
    let top = match fs::openat(&parent, name, FOLDER, Mode::empty()) {
        // A file or a link.
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(fs::unlinkat(parent, name, AtFlags::empty())?),
        opened => opened?,
    };
    // What is lifted to the top may have been passed already.
    while clear(&top, &top, LEVELS)? {}
    Ok(fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Empties a folder. True when something of it was lifted to the top.
fn clear(folder: &OwnedFd, top: &OwnedFd, levels: usize) -> io::Result<bool> {
    let mut lifted = false;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if !is_folder(folder, name, entry.file_type())? {
            fs::unlinkat(folder, name, AtFlags::empty())?;
        } else if let Some(levels) = levels.checked_sub(1) {
            lifted |= clear(&open(folder, name)?, top, levels)?;
            fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?;
        } else {
            fs::renameat(folder, name, top, format!(".{}", uuid::Uuid::new_v4().simple()))?;
            lifted = true;
        }
    }
    Ok(lifted)
}

fn is_folder(parent: &OwnedFd, name: &CStr, kind: FileType) -> io::Result<bool> {
    if kind != FileType::Unknown {
        return Ok(kind == FileType::Directory);
    }
    let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Opens a folder below another one, unless something is mounted there.
fn open(parent: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let mounted = || {
        let name = name.to_string_lossy();
        io::Error::new(
            io::ErrorKind::CrossesDevices,
            format!("'{name}' is a mount, and what is mounted is not removed"),
        )
    };
    match fs::openat2(parent, name, FOLDER, Mode::empty(), ResolveFlags::NO_XDEV) {
        Err(Errno::XDEV) => Err(mounted()),
        // An old kernel, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {
            let opened = fs::openat(parent, name, FOLDER, Mode::empty())?;
            let same = fs::fstat(&opened)?.st_dev == fs::fstat(parent)?.st_dev;
            if same { Ok(opened) } else { Err(mounted()) }
        }
        opened => Ok(opened?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs as files;
    use std::os::unix::fs::symlink;

    /// A chain of folders, each with a file; made from below, for no path is as long.
    fn chain(top: &Path, depth: usize) {
        files::create_dir(top).unwrap();
        let mut folder = fs::open(top, FOLDER, Mode::empty()).unwrap();
        for _ in 0..depth {
            fs::mkdirat(&folder, "d", Mode::from_raw_mode(0o755)).unwrap();
            fs::openat(&folder, "f", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).unwrap();
            folder = fs::openat(&folder, "d", FOLDER, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn no_depth_is_too_deep() {
        let dir = tempfile::tempdir().unwrap();
        for depth in [0, 1, LEVELS, LEVELS + 1, 2_000] {
            let top = dir.path().join(depth.to_string());
            chain(&top, depth);
            remove_tree(&top).unwrap();
            assert!(!top.exists(), "{depth}");
        }
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, top) = (dir.path().join("outside"), dir.path().join("top"));
        files::create_dir_all(outside.join("kept")).unwrap();
        files::create_dir_all(top.join("a/b")).unwrap();
        symlink(&outside, top.join("a/link")).unwrap();
        remove_tree(&top).unwrap();
        symlink(&outside, &top).unwrap();
        remove_tree(&top).unwrap();
        assert!(outside.join("kept").exists() && !top.is_symlink());
        files::write(&top, "x").unwrap();
        remove_tree(&top).unwrap();
        assert_eq!(remove_tree(&top).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_mounted_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (data, place) = (dir.path().join("data"), dir.path().join("top/place"));
        files::create_dir(&data).unwrap();
        files::write(data.join("precious"), "x").unwrap();
        files::create_dir_all(&place).unwrap();
        if rustix::mount::mount_bind(&data, &place).is_err() {
            eprintln!("SKIPPED: to mount something needs root");
            return;
        }
        let removed = remove_tree(&dir.path().join("top"));
        rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH).unwrap();
        let error = removed.unwrap_err();
        assert!(error.to_string().contains("'place' is a mount"), "{error}");
        assert!(data.join("precious").exists());
        remove_tree(&dir.path().join("top")).unwrap();
    }
}
