//! What belongs to a container beside its supervisor, so that the next life of the node can go on with it or remove it.
//!
//! Written before the container starts, into the supervisor's folder, and gone when nothing is left of the container. It
//! needs no fsync: a machine that restarts has ended its containers.

use super::Shared;
use super::network::NetworkRecord;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Name of the file.
const FILE: &str = "record.json";

/// Different after every start of the machine.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The record of one container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    boot: String,
    /// Folders of the image's layers.
    pub(super) layers: Vec<PathBuf>,
    pub(super) network: NetworkRecord,
}

impl Record {
    pub(super) fn new(layers: Vec<PathBuf>, network: NetworkRecord) -> Record {
        Record { boot: boot(), layers, network }
    }

    /// Makes the supervisor's folder and writes the record. Blocks.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::write(folder.join(FILE), serde_json::to_vec(self)?)
    }

    /// The record of a container that may still run. `None` when there is none, also because the machine was restarted.
    /// Blocks.
    pub(super) fn read(folder: &Path) -> Option<Record> {
        let record: Record = serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()?;
        (record.boot == boot()).then_some(record)
    }
}

fn boot() -> String {
    fs::read_to_string(BOOT).unwrap_or_default().trim().to_owned()
}

/// Executions that have such folders. Blocks.
pub(super) fn all(shared: &Shared) -> Vec<String> {
    let entries = fs::read_dir(shared.config.folder.join("containers")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_of_the_machine_ends_everything() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("e-1");
        assert!(Record::read(&folder).is_none());
        let mut record = Record::new(vec!["/l".into()], NetworkRecord::default());
        record.write(&folder).unwrap();
        assert_eq!(Record::read(&folder).unwrap().layers, record.layers);
        record.boot = "another".into();
        record.write(&folder).unwrap();
        assert!(Record::read(&folder).is_none());
    }
}
