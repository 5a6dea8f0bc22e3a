//! Packs a folder of results into a tar.gz, streaming, and puts it in place in one step. Blocks.
//!
//! Names inside are relative and sorted. Links are kept when they stay inside the folder and left out otherwise;
//! devices and pipes are left out.

use flate2::{Compression, write::GzEncoder};
use std::fs::{self, DirBuilder, File, FileType, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use tar::{Builder, EntryType, Header, HeaderMode};

/// A file that is removed unless it is put in its place.
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // Nothing to do about a failure; a later archive of the same name replaces it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Ends the names of archives that are not complete yet.
const PART: &str = "part";

/// Removes what a crash left half written in a folder of archives.
pub(super) fn remove_parts(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == PART)
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove a half-written archive");
        }
    }
}

/// Packs `folder` into `target`. The target appears complete and synced to disk, or not at all.
pub(super) fn pack(folder: &Path, target: &Path) -> io::Result<()> {
    let parent = target.parent().ok_or_else(|| io::Error::other("an archive needs a folder"))?;
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let path = target.with_added_extension(PART);
    let mut temporary = Temporary(Some(path.clone()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let mut builder = Builder::new(GzEncoder::new(BufWriter::new(file), Compression::fast()));
    builder.mode(HeaderMode::Deterministic);
    builder.follow_symlinks(false);
    append_all(&mut builder, folder)?;
    let file = builder.into_inner()?.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&path, target)?;
    temporary.0 = None;
    File::open(parent)?.sync_all()
}

/// Without recursion, and with one folder open at a time: a task may make folders as deep as it likes.
fn append_all<W: io::Write>(builder: &mut Builder<W>, folder: &Path) -> io::Result<()> {
    let mut levels = vec![list(folder, Path::new(""))?];
    while let Some(level) = levels.last_mut() {
        let Some(Found { path, name, kind }) = level.next() else {
            levels.pop();
            continue;
        };
        if kind.is_dir() {
            builder.append_dir(&name, &path)?;
            levels.push(list(&path, &name)?);
        } else if kind.is_file() {
            builder.append_file(&name, &mut File::open(&path)?)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path)?;
            if stays_inside(&name, &target) {
                let mut header = Header::new_gnu();
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                header.set_mode(0o777);
                builder.append_link(&mut header, &name, &target)?;
            }
        }
    }
    Ok(())
}

/// Something in a folder of results.
struct Found {
    path: PathBuf,
    /// In the archive.
    name: PathBuf,
    kind: FileType,
}

/// What is in a folder, sorted by name.
fn list(folder: &Path, name: &Path) -> io::Result<std::vec::IntoIter<Found>> {
    let found = fs::read_dir(folder)?.map(|entry| {
        let entry = entry?;
        Ok(Found { path: entry.path(), name: name.join(entry.file_name()), kind: entry.file_type()? })
    });
    let mut found = found.collect::<io::Result<Vec<_>>>()?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found.into_iter())
}

/// True when the link `name` to `target` stays inside the archive, judged by the names alone.
fn stays_inside(name: &Path, target: &Path) -> bool {
    let mut depth = name.components().count().saturating_sub(1);
    target.components().all(|component| match component {
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::CurDir => true,
        Component::ParentDir if depth > 0 => {
            depth -= 1;
            true
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::os::unix::fs::symlink;

    #[test]
    fn deep_folders_need_no_deep_stack() {
        let dir = tempfile::tempdir().unwrap();
        let results = dir.path().join("r");
        let deepest = results.join(vec!["d"; 1_500].join("/"));
        fs::create_dir_all(&deepest).unwrap();
        fs::write(deepest.join("f"), "x").unwrap();
        let target = dir.path().join("r.tar.gz");
        let packing = {
            let (results, target) = (results.clone(), target.clone());
            std::thread::Builder::new().stack_size(128 << 10).spawn(move || pack(&results, &target))
        };
        packing.unwrap().join().unwrap().unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(&target).unwrap()));
        assert_eq!(archive.entries().unwrap().count(), 1_501);
        bacalhau_images::remove_tree(&results).unwrap();
    }

    #[test]
    fn packs_what_is_there_and_leaves_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let results = dir.path().join("results");
        fs::create_dir_all(results.join("out/deep")).unwrap();
        fs::write(results.join("stdout"), "hello").unwrap();
        fs::write(results.join("out/deep/x"), vec![7u8; 100_000]).unwrap();
        symlink("deep/x", results.join("out/inside")).unwrap();
        symlink("../../../etc/passwd", results.join("out/outside")).unwrap();
        let target = dir.path().join("published/e-1.tar.gz");
        pack(&results, &target).unwrap();

        let mut archive = tar::Archive::new(GzDecoder::new(File::open(&target).unwrap()));
        let names: Vec<String> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["out", "out/deep", "out/deep/x", "out/inside", "stdout"]);
        fs::write(dir.path().join("published/e-2.tar.gz.part"), "torn").unwrap();
        remove_parts(target.parent().unwrap());
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("p/e.tar.gz");
        assert!(pack(&dir.path().join("missing"), &target).is_err());
        assert_eq!(fs::read_dir(dir.path().join("p")).unwrap().count(), 0);
    }
}
