//! What is known of the images in the store: one small file per name, replaced as a whole.

use crate::digest::Digest;
use crate::manifest::RunConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Bytes of a record at most; larger files are none.
const LARGEST: u64 = 4 << 20;

/// An image under one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Record {
    /// In full: `docker.io/library/busybox:latest`.
    pub(super) name: String,
    /// What the name stands for.
    digest: String,
    /// Of the manifest for this platform.
    manifest_digest: String,
    /// How it is run.
    pub(super) config: RunConfig,
    /// Unpacked layers, lowest first.
    layers: Vec<String>,
    /// Seconds since 1970 when the registry was asked.
    pub(super) checked: u64,
    /// Seconds since 1970 when it was used.
    pub(super) used: u64,
}

impl Record {
    pub(super) fn new(name: String, image: &crate::Described, now: u64) -> Record {
        Record {
            name,
            digest: image.digest.to_string(),
            manifest_digest: image.manifest_digest.to_string(),
            config: image.config.config.clone(),
            layers: image.layers.iter().map(|(_, diff_id)| diff_id.to_string()).collect(),
            checked: now,
            used: now,
        }
    }

    /// Whether this is what a digest stands for.
    pub(super) fn is(&self, digest: &str) -> bool {
        self.digest == digest || self.manifest_digest == digest
    }

    pub(super) fn digest(&self) -> Option<Digest> {
        Digest::parse(&self.digest)
    }

    pub(super) fn layers(&self) -> Vec<Digest> {
        self.layers.iter().filter_map(|text| Digest::parse(text)).collect()
    }

    fn file_name(&self) -> String {
        format!("{}.json", Digest::of(self.name.as_bytes()).hex())
    }

    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join(self.file_name());
        // Not even another one of the same image is written there. What a crash leaves is no record, and goes at the start.
        let temporary = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
        let mut file = fs::File::create_new(&temporary)?;
        file.write_all(&serde_json::to_vec(self).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    }

    pub(super) fn remove(&self, folder: &Path) -> io::Result<()> {
        match fs::remove_file(folder.join(self.file_name())) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

/// All records of a folder; what is no record is removed.
pub(super) fn read_all(folder: &Path) -> io::Result<BTreeMap<String, Record>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let readable = entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST);
        let bytes = if readable { fs::read(entry.path()).unwrap_or_default() } else { Vec::new() };
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) if entry.file_name().to_string_lossy() == record.file_name() => {
                found.insert(record.name.clone(), record);
            }
            _ => {
                tracing::warn!(path = %entry.path().display(), "removing a file that describes no image");
                let _ = fs::remove_file(entry.path());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_write_the_same_at_the_same_time() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record {
            name: "docker.io/library/a:latest".to_owned(),
            digest: Digest::of(b"a").to_string(),
            manifest_digest: String::new(),
            config: RunConfig::default(),
            layers: Vec::new(),
            checked: 1,
            used: 1,
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| record.write(dir.path()).unwrap()));
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(read_all(dir.path()).unwrap()[&record.name], record);
    }
}
