//! What the entries of a layer become in its folder, as overlayfs wants it.
//!
//! Nothing leaves the folder (see [`super::root`]), and devices are left out. What the layer removes from those below
//! becomes overlayfs's whiteouts and opaque folders.

use super::root::{Place, Root};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use tar::{Entry, EntryType};

/// Prefix of names that stand for something removed.
const WHITEOUT: &str = ".wh.";

/// Name that says that a folder hides the one below.
const OPAQUE: &str = ".wh..wh..opq";

/// How folders are opened: never through a link.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How files are made: never over something that is there.
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The folder of a layer while its entries come.
pub(super) struct Entries {
    root: Root,
    /// Only root can give files away and make whiteouts.
    is_root: bool,
    /// Times of folders are set when nothing changes in them any more.
    folders: Vec<(String, Timestamps)>,
    /// Bytes of their names, and how many there may be.
    names: usize,
    most_names: usize,
}

impl Entries {
    /// Opens the folder, which must be empty. `most_names` bounds the bytes of the names of folders.
    pub(super) fn open(folder: &Path, most_names: usize) -> io::Result<Entries> {
        let is_root = rustix::process::geteuid().is_root();
        Ok(Entries { root: Root::open(folder)?, is_root, folders: Vec::new(), names: 0, most_names })
    }

    /// Adds one entry under its [plain name](plain_name). Reads no more of it than it needs.
    pub(super) fn add<R: Read>(&mut self, name: &str, entry: &mut Entry<'_, R>) -> io::Result<()> {
        if name.is_empty() {
            let folder = self.root.open_below("", OFlags::RDONLY | OFlags::DIRECTORY)?;
            return self.set_folder(&folder, name, entry);
        }
        let place = self.root.place(name)?;
        if place.name == OPAQUE {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let folder = self.root.open_below(name.strip_suffix(OPAQUE).unwrap_or_default(), flags)?;
            return hide_below(folder);
        }
        if let Some(hidden) = place.name.strip_prefix(WHITEOUT) {
            return whiteout(place.parent, hidden);
        }
        match entry.header().entry_type() {
            EntryType::Directory => self.folder(&place, name, entry),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(&place, entry),
            EntryType::Symlink => self.symbolic_link(&place, entry),
            EntryType::Link => self.hard_link(&place, name, entry),
            EntryType::Fifo => self.fifo(&place, entry),
            // Devices are none of an image's business; the runtime makes those that every container has.
            _ => Ok(()),
        }
    }

    /// Gives the folders their times. The error comes with the name of its folder.
    pub(super) fn finish(self) -> Result<(), (String, io::Error)> {
        for (path, times) in self.folders.into_iter().rev() {
            // A folder may have been replaced since by something else.
            if let Ok(folder) = self.root.open_below(&path, OFlags::RDONLY | OFlags::DIRECTORY) {
                fs::futimens(&folder, &times).map_err(|e| (path, e.into()))?;
            }
        }
        Ok(())
    }

    fn folder<R: Read>(&mut self, place: &Place, name: &str, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let before = place.kind()?;
        if before != Some(FileType::Directory) {
            place.clear()?;
            fs::mkdirat(&place.parent, &place.name, Mode::from_raw_mode(0o700))?;
        }
        let folder = fs::openat(&place.parent, &place.name, FOLDER, Mode::empty())?;
        // In the place of a whiteout: what that has hidden stays hidden.
        if before == Some(FileType::CharacterDevice) {
            hide_below(&folder)?;
        }
        self.set_folder(&folder, name, entry)
    }

    fn file<R: Read>(&self, place: &Place, entry: &mut Entry<'_, R>) -> io::Result<()> {
        place.clear()?;
        let file = fs::openat(&place.parent, &place.name, NEW_FILE, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(file);
        io::copy(entry, &mut file)?;
        self.set_all(&file, entry)
    }

    fn symbolic_link<R: Read>(&self, place: &Place, entry: &Entry<'_, R>) -> io::Result<()> {
        let target = link_target(entry)?;
        place.clear()?;
        fs::symlinkat(target, &place.parent, &place.name)?;
        self.set_owner(place, entry)?;
        Ok(fs::utimensat(&place.parent, &place.name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn hard_link<R: Read>(&self, place: &Place, name: &str, entry: &Entry<'_, R>) -> io::Result<()> {
        let target = plain_name(link_target(entry)?.as_bytes()).map_err(io::Error::other)?;
        let from = self.root.place(&target)?;
        match from.kind()? {
            None => return Err(io::Error::other(format!("it links to '{target}', which is not there"))),
            Some(FileType::Directory) => return Err(io::Error::other("it links to a folder")),
            Some(_) => {}
        }
        if from.name.starts_with(WHITEOUT) {
            return Err(io::Error::other("it links to a whiteout"));
        }
        if target != name {
            place.clear()?;
            fs::linkat(&from.parent, &from.name, &place.parent, &place.name, AtFlags::empty())?;
        }
        Ok(())
    }

    fn fifo<R: Read>(&self, place: &Place, entry: &Entry<'_, R>) -> io::Result<()> {
        place.clear()?;
        fs::mknodat(&place.parent, &place.name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        self.set_owner(place, entry)?;
        let mode = Mode::from_raw_mode(entry.header().mode()? & 0o777);
        Ok(fs::chmodat(&place.parent, &place.name, mode, AtFlags::empty())?)
    }

    fn set_folder<R: Read>(
        &mut self,
        folder: impl AsFd,
        name: &str,
        entry: &mut Entry<'_, R>,
    ) -> io::Result<()> {
        self.names = self.names.saturating_add(name.len());
        if self.names > self.most_names {
            let text = format!("the names of its folders have more than {} bytes", self.most_names);
            return Err(io::Error::other(text));
        }
        self.folders.push((name.to_owned(), times(entry)));
        self.set_all(folder, entry)
    }

    /// Owner, attributes, mode and times of an open file. In this order: a new owner takes set-user-ID and file
    /// capabilities away.
    fn set_all<R: Read>(&self, file: impl AsFd, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let file = file.as_fd();
        if self.is_root {
            let (uid, gid) = owner(entry)?;
            fs::fchown(file, Some(uid), Some(gid))?;
        }
        for (name, value) in attributes(entry)? {
            match fs::fsetxattr(file, name.as_str(), &value, XattrFlags::empty()) {
                // A file system without them, or a user who may not set them.
                Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => {}
                done => done?,
            }
        }
        fs::fchmod(file, Mode::from_raw_mode(entry.header().mode()? & 0o7777))?;
        Ok(fs::futimens(file, &times(entry))?)
    }

    fn set_owner<R: Read>(&self, place: &Place, entry: &Entry<'_, R>) -> io::Result<()> {
        if self.is_root {
            let (uid, gid) = owner(entry)?;
            fs::chownat(&place.parent, &place.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}

/// Hides `name` of the layers below.
fn whiteout(parent: OwnedFd, name: &str) -> io::Result<()> {
    // `.wh..wh.*` are notes of an old file system; without a name there is nothing to hide.
    if name.is_empty() || name.starts_with(WHITEOUT) || name == "." || name == ".." {
        return Ok(());
    }
    let place = Place { parent, name: name.to_owned() };
    // What this layer has itself under the name stays: the whiteout is about the layers below.
    match place.kind()? {
        None => Ok(fs::mknodat(&place.parent, &place.name, FileType::CharacterDevice, Mode::empty(), 0)?),
        Some(FileType::Directory) => {
            hide_below(fs::openat(&place.parent, &place.name, FOLDER, Mode::empty())?)
        }
        Some(_) => Ok(()),
    }
}

/// Makes a folder stand alone instead of being one with that of the layers below.
fn hide_below(folder: impl AsFd) -> io::Result<()> {
    Ok(fs::fsetxattr(folder, "trusted.overlay.opaque", b"y", XattrFlags::empty())?)
}

/// The name of an entry without `.` and double slashes, relative. `..` is refused.
pub(super) fn plain_name(name: &[u8]) -> Result<String, String> {
    let name = std::str::from_utf8(name).map_err(|_| "a name in it is not UTF-8".to_owned())?;
    if name.contains('\0') {
        return Err("a name in it has a null character".to_owned());
    }
    let mut plain = String::with_capacity(name.len());
    for part in name.split('/') {
        match part {
            "" | "." => continue,
            ".." => return Err(format!("it contains '{name}', which leads out of its folder")),
            part if plain.is_empty() => plain.push_str(part),
            part => {
                plain.push('/');
                plain.push_str(part);
            }
        }
    }
    Ok(plain)
}

fn link_target<R: Read>(entry: &Entry<'_, R>) -> io::Result<String> {
    let target = entry.link_name_bytes().ok_or_else(|| io::Error::other("it is a link without a target"))?;
    String::from_utf8(target.into_owned()).map_err(|_| io::Error::other("its target is not UTF-8"))
}

fn owner<R: Read>(entry: &Entry<'_, R>) -> io::Result<(Uid, Gid)> {
    let number =
        |value: u64| u32::try_from(value).map_err(|_| io::Error::other("its owner is no number of one"));
    Ok((Uid::from_raw(number(entry.header().uid()?)?), Gid::from_raw(number(entry.header().gid()?)?)))
}

fn times<R: Read>(entry: &Entry<'_, R>) -> Timestamps {
    let seconds = i64::try_from(entry.header().mtime().unwrap_or(0)).unwrap_or(0);
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// Extended attributes that an image may set: capabilities of files and those of users. The others mean something to
/// overlayfs or to the kernel's security.
fn attributes<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for extension in extensions {
        let extension = extension?;
        let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) else {
            continue;
        };
        if name == "security.capability" || name.starts_with("user.") {
            found.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    Ok(found)
}
