//! Room on the disk that is the database's own before it is needed. Somebody else may fill the disk, such as a job on a
//! compute node: then what has to be recorded of that still fits.
//!
//! The blocks belong to the database's files, behind their ends, so nobody else can take them. What is not possible on a
//! file system is done without.

use crate::files;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// Set aside behind the end of the database and of its log each, bytes: a thousand pages.
const ASIDE: u64 = 4 << 20;
/// A disk with less free space than this keeps it for others, bytes.
const LEAST_FREE: u64 = 4 * ASIDE;

/// The files of a database.
pub(crate) struct Room {
    // Open as long as the connections are: to close it would let go of their locks.
    database: Option<File>,
    log: PathBuf,
}

impl Room {
    /// Sets room aside for a database that is open.
    pub(crate) fn of(database: &Path) -> Room {
        let room = Room { database: open(database), log: files::log_of(database) };
        room.refill();
        room
    }

    /// Sets aside what is missing.
    pub(crate) fn refill(&self) {
        for file in self.database.as_ref().into_iter().chain(open(&self.log).as_ref()) {
            set_aside(file);
        }
    }
}

fn open(path: &Path) -> Option<File> {
    OpenOptions::new().write(true).open(path).ok()
}

fn set_aside(file: &File) {
    let (Ok(meta), Ok(disk)) = (file.metadata(), fstatvfs(file)) else { return };
    if disk.f_bavail.saturating_mul(disk.f_frsize) < LEAST_FREE {
        return;
    }
    // Blocks that are there already stay as they are.
    if let Err(error) = fallocate(file, FallocateFlags::KEEP_SIZE, 0, meta.len().saturating_add(ASIDE)) {
        tracing::debug!(%error, "no room can be set aside for the database");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn blocks_are_there_and_the_file_is_as_long_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        for name in [path.clone(), files::log_of(&path)] {
            std::fs::write(name, "x").unwrap();
        }
        let room = Room::of(&path);
        room.refill();
        for name in [path.clone(), files::log_of(&path)] {
            let meta = std::fs::metadata(&name).unwrap();
            assert_eq!(meta.len(), 1);
            if fallocate(room.database.as_ref().unwrap(), FallocateFlags::KEEP_SIZE, 0, 2).is_ok() {
                assert!(meta.blocks() * 512 >= ASIDE, "{}", meta.blocks());
            }
        }
    }
}
