//! A container's root: the image's layers, read-only, with a folder of its own on top.
//!
//! Mounted in the node's own view. Whoever holds [`Mounted`] has it; it is unmounted when that is dropped, unless it is
//! left to a container that runs. What a killed node leaves is found by [`mounted_below`].

use super::bundle::Layout;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Bytes of a mount's options at most: one page.
const LONGEST_OPTIONS: usize = 4_000;

/// A mount that goes away by itself.
#[derive(Debug)]
pub(super) struct Mounted {
    path: Option<PathBuf>,
}

impl Mounted {
    /// Leaves it mounted.
    pub(super) fn leave(mut self) {
        self.path = None;
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            detach(path);
        }
    }
}

/// Takes a mount away, now from sight and for good when nobody uses it any more.
pub(super) fn detach(path: &Path) {
    match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot unmount the root of a container");
        }
    }
}

/// Mounts `layers`, lowest first, with the upper folder of `layout` on top. Blocks.
pub(super) fn assemble(layers: &[PathBuf], layout: &Layout) -> io::Result<Mounted> {
    for folder in [layout.upper(), layout.work(), layout.merged()] {
        DirBuilder::new().mode(0o755).create(folder)?;
    }
    let empty = layout.folder.join("empty");
    let mut lower: Vec<PathBuf> = layers.iter().rev().cloned().collect();
    if lower.is_empty() {
        DirBuilder::new().mode(0o755).create(&empty)?;
        lower.push(empty);
    }
    let long = options(&lower, layout)?;
    let path = layout.merged();
    if long.len() <= LONGEST_OPTIONS {
        overlay(&path, &long)?;
    } else {
        // Images of many layers: what is open has a short name.
        let open = |path: &PathBuf| {
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        };
        let folders: Vec<OwnedFd> = lower.iter().map(open).collect::<Result<_, _>>()?;
        let short: Vec<PathBuf> = folders
            .iter()
            .map(|folder| PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())))
            .collect();
        overlay(&path, &options(&short, layout)?)?;
    }
    Ok(Mounted { path: Some(path) })
}

fn overlay(path: &Path, options: &str) -> io::Result<()> {
    let options = CString::new(options)?;
    Ok(mount("overlay", path, "overlay", MountFlags::NODEV, options.as_c_str())?)
}

fn options(lower: &[PathBuf], layout: &Layout) -> io::Result<String> {
    let mut text = String::from("lowerdir=");
    for (number, layer) in lower.iter().enumerate() {
        if number > 0 {
            text.push(':');
        }
        text.push_str(plain(layer)?);
    }
    text.push_str(",upperdir=");
    text.push_str(plain(&layout.upper())?);
    text.push_str(",workdir=");
    text.push_str(plain(&layout.work())?);
    Ok(text)
}

/// Paths go into the options as they are; some characters mean something there.
fn plain(path: &Path) -> io::Result<&str> {
    let text = path.to_str().filter(|text| !text.contains([':', ',', '\\', '\0']));
    text.ok_or_else(|| {
        io::Error::other(format!("the path {} has a colon, a comma or a backslash", path.display()))
    })
}

/// Mounts below a folder, the innermost first.
pub(super) fn mounted_below(folder: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .filter(|path| path.starts_with(folder))
        .collect();
    found.sort();
    found.reverse();
    found
}

/// The kernel writes blanks and the like as `\040`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        match code {
            Some(code) if *first == b'\\' => {
                bytes.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_table_of_mounts() {
        assert_eq!(unescape(r"/a\040b\134c"), "/a b\\c");
        assert_eq!(unescape(r"/plain\0"), r"/plain\0");
        assert!(mounted_below(Path::new("/")).contains(&PathBuf::from("/proc")));
        assert!(mounted_below(Path::new("/surely/not")).is_empty());
    }

    #[test]
    fn paths_with_a_meaning_are_refused() {
        for path in ["/a:b", "/a,b", "/a\\b"] {
            assert!(plain(Path::new(path)).is_err(), "{path}");
        }
        assert_eq!(plain(Path::new("/a b")).unwrap(), "/a b");
    }
}
