//! Brings the results of several executions together in one folder.
//!
//! `stdout`, `stderr` and `exitCode` of several results are joined in the given order; any other name may come from one
//! result only. Everything is checked before the first file is moved.

use crate::failure::fail;
use bacalhau_model::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Files that every execution has.
const SHARED: [&str; 3] = ["stdout", "stderr", "exitCode"];

/// Moves the content of `parts` into `target`, which must exist.
pub(crate) fn merge(parts: &[PathBuf], target: &Path) -> Result<(), Error> {
    let io = |e: io::Error| fail(format!("cannot merge results into {}: {e}", target.display()));
    let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
    let mut files: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for part in parts {
        collect(part, Path::new(""), &mut folders, &mut files).map_err(io)?;
    }
    for (inside, from) in &files {
        let shared = SHARED.iter().any(|name| inside == Path::new(name));
        let to = target.join(inside);
        if to.symlink_metadata().is_ok() || (from.len() > 1 && !shared) || folders.contains(inside) {
            return Err(clash(&to));
        }
    }
    for inside in &folders {
        let to = target.join(inside);
        if to.symlink_metadata().is_ok_and(|m| !m.is_dir()) {
            return Err(clash(&to));
        }
        fs::create_dir_all(&to).map_err(io)?;
    }
    for (inside, from) in files {
        let to = target.join(&inside);
        match from.as_slice() {
            [only] => fs::rename(only, &to).map_err(io)?,
            many => join(many, &to, inside == Path::new("exitCode")).map_err(io)?,
        }
    }
    Ok(())
}

fn clash(at: &Path) -> Error {
    fail(format!(
        "cannot merge results as output already exists: {}. Try --raw to download raw results instead of merging them",
        at.display()
    ))
}

fn collect(
    part: &Path,
    inside: &Path,
    folders: &mut BTreeSet<PathBuf>,
    files: &mut BTreeMap<PathBuf, Vec<PathBuf>>,
) -> io::Result<()> {
    for entry in fs::read_dir(part.join(inside))? {
        let entry = entry?;
        let inside = inside.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            folders.insert(inside.clone());
            collect(part, &inside, folders, files)?;
        } else {
            files.entry(inside).or_default().push(entry.path());
        }
    }
    Ok(())
}

/// Appends files to a new one; numbers get a line each.
fn join(from: &[PathBuf], to: &Path, lines: bool) -> io::Result<()> {
    let mut out = fs::OpenOptions::new().write(true).create_new(true).open(to)?;
    for (at, path) in from.iter().enumerate() {
        if lines && at > 0 {
            io::Write::write_all(&mut out, b"\n")?;
        }
        io::copy(&mut fs::File::open(path)?, &mut out)?;
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(dir: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let part = dir.join(name);
        for (file, content) in files {
            let path = part.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        part
    }

    #[test]
    fn joins_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::create_dir(&target).unwrap();
        let a = part(dir.path(), "a", &[("stdout", "1\n"), ("exitCode", "0"), ("outputs/a", "A")]);
        let b = part(dir.path(), "b", &[("stdout", "2\n"), ("exitCode", "3"), ("outputs/b", "B")]);
        merge(&[b, a], &target).unwrap();
        let read = |name: &str| fs::read_to_string(target.join(name)).unwrap();
        assert_eq!(read("stdout"), "2\n1\n");
        assert_eq!(read("exitCode"), "3\n0");
        assert_eq!((read("outputs/a"), read("outputs/b")), ("A".to_owned(), "B".to_owned()));
    }

    #[test]
    fn a_clash_moves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::create_dir(&target).unwrap();
        let a = part(dir.path(), "a", &[("stdout", "1"), ("outputs/x", "A")]);
        let b = part(dir.path(), "b", &[("stdout", "2"), ("outputs/x", "B")]);
        let error = merge(&[a.clone(), b], &target).unwrap_err();
        assert!(error.message.contains("cannot merge results as output already exists"), "{}", error.message);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        fs::write(target.join("stdout"), "mine").unwrap();
        assert!(merge(&[a], &target).is_err());
        assert_eq!(fs::read_to_string(target.join("stdout")).unwrap(), "mine");
    }
}
