//! Unpacks one layer into an empty folder.
//!
//! The archive is hostile until proven otherwise: sizes and counts are bounded, and what was read must have the digest that
//! the image says. What its entries become is the matter of [`super::entries`].

use super::entries::{Entries, plain_name};
use crate::digest::Digest;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tar::Archive;

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
    entries: Entries,
    limits: Limits,
    bytes: u64,
    count: u64,
}

impl Unpacker {
    fn open(folder: &Path, limits: Limits) -> Result<Unpacker, String> {
        let entries = Entries::open(folder, limits.names)
            .map_err(|e| format!("cannot open {}: {e}", folder.display()))?;
        Ok(Unpacker { entries, limits, bytes: 0, count: 0 })
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
            self.entries.add(&name, &mut entry).map_err(|e| cannot_unpack(&name, e))?;
            io::copy(&mut entry, &mut io::sink()).map_err(damaged)?;
        }
        self.entries.finish().map_err(|(name, e)| cannot_unpack(&name, e))?;
        Ok(self.bytes)
    }

    fn count(&mut self, size: u64) -> Result<(), String> {
        self.count += 1;
        let size = size.saturating_add(ENTRY_BYTES);
        self.bytes = self.bytes.saturating_add(size);
        if self.count > self.limits.entries {
            return Err(format!("it has more than {} files", self.limits.entries));
        }
        self.limits.room.take(size)
    }
}

fn cannot_unpack(name: &str, error: io::Error) -> String {
    format!("cannot unpack '{name}': {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;
    use tar::EntryType;

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
