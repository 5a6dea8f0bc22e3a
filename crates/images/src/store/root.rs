//! A folder that stands for the root of a file system: paths and links below it never lead out of it.
//!
//! Every step is made relative to an open folder, and the kernel resolves links as if the folder were `/`. Whatever an
//! archive contains, nothing outside is opened, created, changed or removed.

use crate::tree::remove_at;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Links and steps on the way to one file at most.
const DEEPEST: usize = 512;

/// Links that lead to folders which have to be created, one behind the other, at most.
const MOST_LINKS: usize = 10;

/// A folder taken as `/`.
pub struct Root {
    folder: OwnedFd,
}

/// A place in the tree: the folder it is in, and its name there.
pub(super) struct Place {
    pub(super) parent: OwnedFd,
    pub(super) name: String,
}

impl Root {
    /// Opens the folder.
    ///
    /// # Errors
    /// It is none.
    pub fn open(path: &Path) -> io::Result<Root> {
        let folder = fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Root { folder })
    }

    /// Opens something below it; links are followed inside.
    ///
    /// # Errors
    /// It is not there, or the kernel refuses.
    pub fn open_below(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match fs::openat2(&self.folder, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // Somebody renamed something meanwhile; the kernel asks for another try.
                Err(Errno::AGAIN) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Reads a file below it as far as `most` bytes; `None` when it is not there or no plain file.
    ///
    /// # Errors
    /// Reading fails.
    pub fn read(&self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let opened = match self.open_below(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Err(e)
                if matches!(
                    e.raw_os_error().map(Errno::from_raw_os_error),
                    Some(Errno::NOENT | Errno::NOTDIR)
                ) =>
            {
                return Ok(None);
            }
            opened => File::from(opened?),
        };
        if !opened.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(opened, most), &mut bytes)?;
        Ok(Some(bytes))
    }

    /// The folder of a path, created if need be, and the last name.
    pub(super) fn place(&self, path: &str) -> io::Result<Place> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(Place { parent: self.make_folder(folder)?, name: name.to_owned() })
    }

    /// Opens a folder, creating what is missing on the way.
    pub(super) fn make_folder(&self, path: &str) -> io::Result<OwnedFd> {
        self.make_folder_by(path, MOST_LINKS)
    }

    fn make_folder_by(&self, path: &str, links: usize) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open_below(path, flags) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if parts.len() > DEEPEST {
            return Err(io::Error::other("its path is too deep"));
        }
        let mut so_far = String::new();
        let mut current = self.open_below("", flags)?;
        for part in parts {
            let before = so_far.clone();
            so_far.push('/');
            so_far.push_str(part);
            current = match self.open_below(&so_far, flags) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    match fs::mkdirat(&current, part, Mode::from_raw_mode(0o755)) {
                        // A link to a folder that is not there, perhaps because a layer below has it.
                        Err(Errno::EXIST) if links > 0 => {
                            let target = fs::readlinkat(&current, part, Vec::new())?;
                            let target = target.to_str().map_err(io::Error::other)?;
                            let target = follow(&before, target);
                            drop(self.make_folder_by(&target, links - 1)?);
                        }
                        done => done?,
                    }
                    self.open_below(&so_far, flags)?
                }
                opened => opened?,
            };
        }
        Ok(current)
    }
}

/// Where a link in `folder` points to, judged by the names alone; never above the root.
fn follow(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

impl AsFd for Root {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

impl Place {
    /// What is there now, links not followed.
    pub(super) fn kind(&self) -> io::Result<Option<FileType>> {
        match fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            found => Ok(Some(FileType::from_raw_mode(found?.st_mode))),
        }
    }

    /// Removes what is there, with everything below.
    pub(super) fn clear(&self) -> io::Result<()> {
        match self.kind()? {
            None => Ok(()),
            Some(FileType::Directory) => remove_at(&self.parent, Path::new(&self.name)),
            Some(_) => Ok(fs::unlinkat(&self.parent, &self.name, AtFlags::empty())?),
        }
    }
}
