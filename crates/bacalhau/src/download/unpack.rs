//! Unpacks result archives. What an archive says is not trusted: only plain files and folders below the target are
//! written, never links, never anything outside, and the total is bounded.

use crate::failure::fail;
use bacalhau_model::Error;
use flate2::read::MultiGzDecoder;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

/// Most bytes unpacked from one archive.
const MAX_BYTES: u64 = 100 << 30;
/// Most entries in one archive.
const MAX_ENTRIES: u64 = 10_000_000;

/// True for names of archives.
pub(crate) fn is_archive(name: &str) -> bool {
    name.ends_with(".tar.gz") || name.ends_with(".tgz")
}

/// The name without the ending of an archive.
pub(crate) fn stem(name: &str) -> &str {
    name.strip_suffix(".tar.gz").or_else(|| name.strip_suffix(".tgz")).unwrap_or(name)
}

/// Unpacks a `.tar.gz` into a folder that must not exist yet.
pub(crate) fn unpack(archive: &Path, target: &Path) -> Result<(), Error> {
    unpack_only(archive, target, None).map(drop)
}

/// As [`unpack`], but only the file or folder `only`. Tells whether anything was there.
pub(crate) fn unpack_only(archive: &Path, target: &Path, only: Option<&Path>) -> Result<bool, Error> {
    let shown = archive.display();
    let write = |e: io::Error| fail(format!("cannot unpack {shown} into {}: {e}", target.display()));
    let read = |e: io::Error| fail(format!("{shown} is no readable tar.gz archive: {e}"));
    fs::create_dir(target).map_err(write)?;
    let file = fs::File::open(archive).map_err(read)?;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(io::BufReader::new(file)));
    let (mut bytes, mut entries, mut found) = (0u64, 0u64, false);
    for entry in tar.entries().map_err(read)? {
        let mut entry = entry.map_err(read)?;
        entries += 1;
        let inside = inside(&entry.path().map_err(read)?).ok_or_else(|| {
            fail(format!("{shown} has an entry outside of it; nobody should trust this archive"))
        })?;
        if only.is_some_and(|only| !inside.starts_with(only)) || inside.as_os_str().is_empty() {
            continue;
        }
        let path = target.join(&inside);
        match entry.header().entry_type() {
            EntryType::Directory => {
                found = true;
                fs::create_dir_all(&path).map_err(write)?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                found = true;
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(write)?;
                }
                let mode = entry.header().mode().unwrap_or(0o644);
                let left = MAX_BYTES.saturating_sub(bytes);
                let mut out = create(&path).map_err(write)?;
                let copied =
                    io::copy(&mut (&mut entry).take(left.saturating_add(1)), &mut out).map_err(write)?;
                bytes = bytes.saturating_add(copied);
                // The owner must be able to read and remove what was fetched.
                let mode = (mode & 0o777) | 0o600;
                out.set_permissions(fs::Permissions::from_mode(mode)).map_err(write)?;
            }
            // Links and devices: results are data.
            _ => {}
        }
        if bytes > MAX_BYTES || entries > MAX_ENTRIES {
            return Err(fail(format!(
                "{shown} unpacks to more than {MAX_BYTES} bytes or {MAX_ENTRIES} entries"
            )));
        }
    }
    Ok(found)
}

/// A repeated entry replaces the earlier one; links are never followed because none are made.
fn create(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The path below the archive's root; `None` when it would leave it.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    /// An archive with files; a name ending in `/` is a folder.
    pub(in crate::download) fn archive(at: &Path, files: &[(&str, &str)]) {
        let mut tar = tar::Builder::new(GzEncoder::new(fs::File::create(at).unwrap(), Compression::fast()));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_mode(0o640);
            header.set_size(content.len() as u64);
            header.set_entry_type(if name.ends_with('/') {
                EntryType::Directory
            } else {
                EntryType::Regular
            });
            header.set_cksum();
            tar.append(&header, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
    }

    #[test]
    fn unpacks_files_and_folders() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar.gz");
        archive(&file, &[("./", ""), ("./stdout", "hi"), ("out/deep/x", "1"), ("empty/", "")]);
        let to = dir.path().join("to");
        unpack(&file, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("stdout")).unwrap(), "hi");
        assert_eq!(fs::read_to_string(to.join("out/deep/x")).unwrap(), "1");
        assert!(to.join("empty").is_dir());
        let one = dir.path().join("one");
        assert!(unpack_only(&file, &one, Some(Path::new("out/deep"))).unwrap());
        assert!(one.join("out/deep/x").exists() && !one.join("stdout").exists());
        assert!(!unpack_only(&file, &dir.path().join("none"), Some(Path::new("nope"))).unwrap());
    }

    #[test]
    fn hostile_archives_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (at, name) in ["../evil", "/etc/evil", "a/../../evil"].into_iter().enumerate() {
            let file = dir.path().join(format!("{at}.tgz"));
            archive(&file, &[(name, "x")]);
            let error = unpack(&file, &dir.path().join(format!("to{at}"))).unwrap_err();
            assert!(error.message.contains("outside"), "{}", error.message);
        }
        assert!(!dir.path().join("evil").exists());
        let noise = dir.path().join("n.tgz");
        fs::write(&noise, "no archive").unwrap();
        assert!(unpack(&noise, &dir.path().join("n")).unwrap_err().message.contains("no readable tar.gz"));
        assert!(is_archive("x.tgz") && !is_archive("x.gz"));
        assert_eq!(stem("a.tar.gz"), "a");
    }
}
