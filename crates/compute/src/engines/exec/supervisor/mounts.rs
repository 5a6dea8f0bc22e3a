//! What a task sees: the folders of the host's root, a `/tmp` of its own, and its data at the places it names.
//!
//! All of it is mounted in a namespace that ends with the task, over a root in memory: nothing is made on the host, and
//! nothing has to be taken away.

use super::super::plan::{Bind, View};
use crate::sources::make_folder;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Name of the task's own folder for temporary files.
const TMP: &str = "tmp";

/// Puts the view together and makes it this process's root.
pub(super) fn enter(view: &View) -> Result<(), String> {
    let at = |path: &Path, e: io::Error| format!("cannot lay out {}: {e}", path.display());
    let root = &view.root.canonicalize().map_err(|e| at(&view.root, e))?;
    base(root).map_err(|e| at(root, e))?;
    host(root)?;
    let tmp = root.join(TMP);
    fs::create_dir(&tmp)
        .and_then(|()| Ok(mount_bind_recursive(&view.tmp, &tmp)?))
        .map_err(|e| at(&tmp, e))?;
    for bind in &view.binds {
        place(root, bind).map_err(|e| at(Path::new(&bind.to), e))?;
    }
    // Last, because places are made in it.
    mount_remount(root, MountFlags::BIND | MountFlags::RDONLY | BASE, c"").map_err(|e| at(root, e.into()))?;
    switch(root).map_err(|e| at(root, e))
}

/// Whether mounts can be made here.
pub(super) fn probe() -> io::Result<()> {
    base(Path::new("/proc"))
}

/// Flags of the root in memory.
const BASE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Nothing that happens here is seen outside; then an empty root.
fn base(root: &Path) -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(mount("tmpfs", root, "tmpfs", BASE, Some(c"mode=0755,size=1m"))?)
}

/// The host's own folders, but for `/tmp`.
fn host(root: &Path) -> Result<(), String> {
    let entries = fs::read_dir("/").map_err(|e| format!("cannot list /: {e}"))?;
    for entry in entries.flatten().filter(|entry| entry.file_name() != TMP) {
        let from = entry.path();
        let to = root.join(entry.file_name());
        show(&from, &to).map_err(|e| format!("cannot lay out {}: {e}", from.display()))?;
    }
    Ok(())
}

fn show(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
    } else if kind.is_file() {
        fs::File::create(to)?;
    } else {
        // Sockets and the like in the root folder are nobody's data.
        return Ok(());
    }
    Ok(mount_bind_recursive(from, to)?)
}

/// Shows data at its place, which is made if it is not there. Links on the way there, which other data may bring, must not lead
/// out of the view: the host's root is still this process's.
fn place(root: &Path, bind: &Bind) -> io::Result<()> {
    let to = root.join(bind.to.trim_start_matches('/'));
    if bind.is_file {
        if let Some(parent) = to.parent() {
            make_folder(root, parent)?;
        }
        // Never one that is there: a link could lead out of the view, and data of others would be emptied.
        fs::File::create_new(&to)?;
    } else {
        make_folder(root, &to)?;
    }
    mount_bind_recursive(&bind.from, &to)?;
    if bind.read_only {
        for mount in mounts_at(&to)? {
            protect(&mount)?;
        }
    }
    Ok(())
}

/// A place and every mount below it.
fn mounts_at(place: &Path) -> io::Result<Vec<PathBuf>> {
    let info = fs::read_to_string("/proc/self/mountinfo")?;
    let points = info.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).map(PathBuf::from);
    Ok(points.filter(|point| point.starts_with(place)).collect())
}

/// mountinfo writes spaces and the like as octal numbers.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Makes one mount read-only. What else the mount forbids must be said again.
fn protect(mount: &Path) -> io::Result<()> {
    let path = CString::new(mount.as_os_str().as_encoded_bytes())?;
    let kept = rustix::fs::statvfs(path.as_c_str())?.f_flag.bits();
    // The low bits of both are the same: read-only, no set-user-ID, no devices, no programs.
    let kept = MountFlags::from_bits_truncate(u32::try_from(kept & 0xf).unwrap_or(0));
    Ok(mount_remount(path.as_c_str(), MountFlags::BIND | MountFlags::RDONLY | kept, c"")?)
}

/// Makes the view the root and forgets the former one.
fn switch(root: &Path) -> io::Result<()> {
    chdir(root)?;
    // The former root comes to lie over the new one, and is taken off.
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(chdir("/")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_both_worlds_agree() {
        use rustix::fs::StatVfsMountFlags as Stat;
        for (stat, mount) in [
            (Stat::RDONLY.bits(), MountFlags::RDONLY),
            (Stat::NOSUID.bits(), MountFlags::NOSUID),
            (Stat::NODEV.bits(), MountFlags::NODEV),
            (Stat::NOEXEC.bits(), MountFlags::NOEXEC),
        ] {
            assert_eq!(stat, u64::from(mount.bits()));
        }
        assert_eq!(unescape("/a\\040b"), "/a b");
    }
}
