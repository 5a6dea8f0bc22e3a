//! Unpacks one layer into an empty folder, as overlayfs wants it.
//!
//! The archive is hostile until proven otherwise: nothing leaves the folder (see [`super::root`]), devices are left
//! out, sizes and counts are bounded, and what was read must have the digest that the image says. What the layer
//! removes from those below becomes overlayfs's whiteouts and opaque folders.

use super::root::{Place, Root};
use crate::digest::Digest;
use flate2::bufread::MultiGzDecoder;
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tar::{Archive, Entry, EntryType};

/// Bounds of one layer.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Bytes that its image may unpack to.
    pub(super) room: Arc<Room>,
    /// Files, folders and links.
    pub(super) entries: u64,
    /// Bytes of the names of its folders.
    pub(super) names: usize,
}

/// Bytes that the layers of one image share.
#[derive(Debug)]
pub(super) struct Room {
    all: u64,
    left: AtomicU64,
}

impl Room {
    pub(super) fn new(bytes: u64) -> Arc<Room> {
        Arc::new(Room { all: bytes, left: AtomicU64::new(bytes) })
    }

    /// Takes some. `Err` says that there are no more.
    pub(super) fn take(&self, bytes: u64) -> Result<(), String> {
        let taken =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(drop).map_err(|_| format!("it unpacks to more than {} bytes", self.all))
    }
}

/// Bytes of names and attributes of one entry at most; they are held in memory.
const LARGEST_HEADER: u64 = 2 << 20;

/// What each entry costs on disk at least, roughly.
const ENTRY_BYTES: u64 = 512;

/// Prefix of names that stand for something removed.
const WHITEOUT: &str = ".wh.";

/// Name that says that a folder hides the one below.
const OPAQUE: &str = ".wh..wh..opq";

/// Unpacks `file` into `folder`, which must be empty; checks that the tar inside has the digest `expected`. Gives the
/// bytes it takes.
pub(super) fn unpack(file: File, folder: &Path, expected: &Digest, limits: &Limits) -> Result<u64, String> {
    let mut file = BufReader::with_capacity(128 << 10, file);
    let magic = file.fill_buf().map_err(damaged)?;
    let plain: Box<dyn Read> = match magic {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(file).map_err(damaged)?),
        _ => Box::new(file),
    };
    let allowance = Rc::new(Cell::new(u64::MAX));
    // An archive has headers and padding beside its files.
    let total = limits.room.all.saturating_mul(2).saturating_add(LARGEST_HEADER);
    let mut tar = Tar { plain: plain.take(total), hasher: Sha256::new(), allowance: Rc::clone(&allowance) };
    let unpacked = Unpacker::open(folder, limits.clone())?.run(&mut tar, &allowance)?;
    // What follows the end of the archive belongs to the digest.
    allowance.set(u64::MAX);
    io::copy(&mut tar, &mut io::sink()).map_err(damaged)?;
    let found = Digest::from_hasher(tar.hasher);
    if found != *expected {
        return Err(format!("it unpacks to {found}, the image says {expected}"));
    }
    Ok(unpacked)
}

fn damaged(error: io::Error) -> String {
    format!("its archive is damaged: {error}")
}

/// The tar on its way: hashed, and cut off where more comes than allowed.
struct Tar<R> {
    plain: R,
    hasher: Sha256,
    allowance: Rc<Cell<u64>>,
}

impl<R: Read> Read for Tar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.allowance.get();
        if left == 0 {
            return Err(io::Error::other("an entry has a name or attributes of more than 2 MiB"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..most).unwrap_or_default();
        let read = self.plain.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        self.allowance.set(left - read as u64);
        Ok(read)
    }
}

struct Unpacker {
    root: Root,
    limits: Limits,
    bytes: u64,
    entries: u64,
    /// Only root can give files away and make whiteouts.
    is_root: bool,
    /// Times of folders are set when nothing changes in them any more.
    folders: Vec<(String, Timestamps)>,
    /// Bytes of their names.
    names: usize,
}

impl Unpacker {
    fn open(folder: &Path, limits: Limits) -> Result<Unpacker, String> {
        let root = Root::open(folder).map_err(|e| format!("cannot open {}: {e}", folder.display()))?;
        let is_root = rustix::process::geteuid().is_root();
        Ok(Unpacker { root, limits, bytes: 0, entries: 0, is_root, folders: Vec::new(), names: 0 })
    }

    fn run<R: Read>(mut self, tar: &mut Tar<R>, allowance: &Cell<u64>) -> Result<u64, String> {
        let mut archive = Archive::new(tar);
        let mut entries = archive.entries().map_err(damaged)?;
        loop {
            // Up to the next entry's content only its header is read, into memory.
            allowance.set(LARGEST_HEADER);
            let Some(entry) = entries.next() else { break };
            let mut entry = entry.map_err(damaged)?;
            allowance.set(u64::MAX);
            self.count(entry.size())?;
            let name = plain_name(&entry.path_bytes())?;
            let explain = |e: io::Error| format!("cannot unpack '{name}': {e}");
            self.place(&name, &mut entry).map_err(explain)?;
            io::copy(&mut entry, &mut io::sink()).map_err(damaged)?;
        }
        for (path, times) in self.folders.iter().rev() {
            // A folder may have been replaced since by something else.
            if let Ok(folder) = self.root.open_below(path, OFlags::RDONLY | OFlags::DIRECTORY) {
                fs::futimens(&folder, times).map_err(|e| format!("cannot unpack '{path}': {e}"))?;
            }
        }
        Ok(self.bytes)
    }

    fn count(&mut self, size: u64) -> Result<(), String> {
        self.entries += 1;
        let size = size.saturating_add(ENTRY_BYTES);
        self.bytes = self.bytes.saturating_add(size);
        if self.entries > self.limits.entries {
            return Err(format!("it has more than {} files", self.limits.entries));
        }
        self.limits.room.take(size)
    }

    fn place<R: Read>(&mut self, name: &str, entry: &mut Entry<'_, R>) -> io::Result<()> {
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
        let kind = entry.header().entry_type();
        if kind == EntryType::Directory && place.kind()? == Some(FileType::Directory) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let folder = fs::openat(&place.parent, &place.name, flags, Mode::empty())?;
            return self.set_folder(&folder, name, entry);
        }
        match kind {
            EntryType::Directory => {
                let replaces = place.kind()? == Some(FileType::CharacterDevice);
                place.clear()?;
                fs::mkdirat(&place.parent, &place.name, Mode::from_raw_mode(0o700))?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let folder = fs::openat(&place.parent, &place.name, flags, Mode::empty())?;
                if replaces {
                    hide_below(&folder)?;
                }
                self.set_folder(&folder, name, entry)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                place.clear()?;
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file =
                    File::from(fs::openat(&place.parent, &place.name, flags, Mode::from_raw_mode(0o600))?);
                io::copy(entry, &mut file)?;
                self.set_all(&file, entry)
            }
            EntryType::Symlink => {
                let target = link_target(entry)?;
                place.clear()?;
                fs::symlinkat(target, &place.parent, &place.name)?;
                self.set_owner(&place, entry)?;
                let times = times(entry);
                Ok(fs::utimensat(&place.parent, &place.name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
            }
            EntryType::Link => {
                let target = plain_name(link_target(entry)?.as_bytes()).map_err(io::Error::other)?;
                let from = self.root.place(&target)?;
                match from.kind()? {
                    None => {
                        return Err(io::Error::other(format!("it links to '{target}', which is not there")));
                    }
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
            EntryType::Fifo => {
                place.clear()?;
                fs::mknodat(&place.parent, &place.name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
                self.set_owner(&place, entry)?;
                let mode = Mode::from_raw_mode(entry.header().mode()? & 0o777);
                Ok(fs::chmodat(&place.parent, &place.name, mode, AtFlags::empty())?)
            }
            // Devices are none of an image's business; the runtime makes those that every container has.
            _ => Ok(()),
        }
    }

    fn set_folder<R: Read>(
        &mut self,
        folder: impl std::os::fd::AsFd,
        name: &str,
        entry: &mut Entry<'_, R>,
    ) -> io::Result<()> {
        self.names = self.names.saturating_add(name.len());
        if self.names > self.limits.names {
            return Err(io::Error::other(format!(
                "the names of its folders have more than {} bytes",
                self.limits.names
            )));
        }
        self.folders.push((name.to_owned(), times(entry)));
        self.set_all(folder, entry)
    }

    /// Owner, attributes, mode and times of an open file. In this order: a new owner takes set-user-ID and file
    /// capabilities away.
    fn set_all<R: Read>(&self, file: impl std::os::fd::AsFd, entry: &mut Entry<'_, R>) -> io::Result<()> {
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
fn whiteout(parent: std::os::fd::OwnedFd, name: &str) -> io::Result<()> {
    // `.wh..wh.*` are notes of an old file system; without a name there is nothing to hide.
    if name.is_empty() || name.starts_with(WHITEOUT) || name == "." || name == ".." {
        return Ok(());
    }
    let place = Place { parent, name: name.to_owned() };
    // What this layer has itself under the name stays: the whiteout is about the layers below.
    match place.kind()? {
        None => Ok(fs::mknodat(&place.parent, &place.name, FileType::CharacterDevice, Mode::empty(), 0)?),
        Some(FileType::Directory) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            hide_below(fs::openat(&place.parent, &place.name, flags, Mode::empty())?)
        }
        Some(_) => Ok(()),
    }
}

/// Makes a folder stand alone instead of being one with that of the layers below.
fn hide_below(folder: impl std::os::fd::AsFd) -> io::Result<()> {
    Ok(fs::fsetxattr(folder, "trusted.overlay.opaque", b"y", XattrFlags::empty())?)
}

/// The name of an entry without `.` and double slashes, relative. `..` is refused.
fn plain_name(name: &[u8]) -> Result<String, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;

    fn layer(fill: impl FnOnce(&mut tar::Builder<&mut File>)) -> (File, Digest) {
        let mut file = tempfile::tempfile().unwrap();
        let mut tar = tar::Builder::new(&mut file);
        fill(&mut tar);
        tar.into_inner().unwrap();
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        file.rewind().unwrap();
        (file, Digest::of(&bytes))
    }

    fn add(tar: &mut tar::Builder<&mut File>, kind: EntryType, name: &str, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, name, content).unwrap();
    }

    fn limits(bytes: u64, names: usize) -> Limits {
        Limits { room: Room::new(bytes), entries: 100, names }
    }

    #[test]
    fn the_layers_of_an_image_share_its_room() {
        let limits = limits(10_000, 100);
        let unpack = |name: &str| {
            let dir = tempfile::tempdir().unwrap();
            let (file, digest) = layer(|tar| add(tar, EntryType::Regular, name, &[0; 4_000]));
            unpack(file, dir.path(), &digest, &limits)
        };
        assert_eq!(unpack("a"), Ok(4_000 + ENTRY_BYTES));
        assert_eq!(unpack("b"), Ok(4_000 + ENTRY_BYTES));
        assert_eq!(unpack("c"), Err("it unpacks to more than 10000 bytes".to_owned()));
    }

    #[test]
    fn names_of_folders_are_bounded() {
        let unpack = |count: usize| {
            let dir = tempfile::tempdir().unwrap();
            // The same one again and again costs no disk.
            let (file, digest) =
                layer(|tar| (0..count).for_each(|_| add(tar, EntryType::Directory, "0123456789", b"")));
            unpack(file, dir.path(), &digest, &limits(1 << 20, 100))
        };
        assert!(unpack(10).is_ok());
        assert!(unpack(11).unwrap_err().contains("names of its folders"));
    }
}
