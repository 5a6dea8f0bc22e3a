//! Unpacks a tar.gz that came from outside into an empty folder, or only measures it.
//!
//! Nothing is ever written outside the folder: absolute names, `..` and links that lead out are refused, devices and
//! pipes are skipped, and the totals are bounded, so that a small archive cannot fill the disk.

use flate2::read::GzDecoder;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Entry, EntryType};

/// Bounds of one archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of all files together.
    pub(super) bytes: u64,
    /// Files, folders and links.
    pub(super) entries: u64,
}

/// Sum of the sizes of the files inside, checked against the limits.
pub(super) fn measure(archive: impl Read, limits: Limits) -> Result<u64, String> {
    walk(archive, limits, |_, _| Ok(()))
}

/// Unpacks everything below `folder`, which must exist and be empty. Returns the sum of the file sizes.
pub(super) fn unpack(archive: impl Read, folder: &Path, limits: Limits) -> Result<u64, String> {
    let base = folder.canonicalize().map_err(|e| format!("cannot open {}: {e}", folder.display()))?;
    let mut links = Vec::new();
    let bytes = walk(archive, limits, |name, entry| {
        if entry.header().entry_type() == EntryType::Symlink {
            links.push(name.to_owned());
        }
        place(&base, name, entry)
    })?;
    // Each stays inside by its name; together they may lead elsewhere all the same.
    for name in links {
        if base.join(&name).canonicalize().is_ok_and(|real| !real.starts_with(&base)) {
            return Err(leads_out(&name));
        }
    }
    Ok(bytes)
}

fn leads_out(name: &Path) -> String {
    format!("the archive contains the link '{}', which leads out of its folder", name.display())
}

/// Name and content of the only entry, if it is a file of at most so many bytes at the top. `None` for whatever else it is.
pub(super) fn only_file(archive: impl Read, most: u64) -> Option<(String, Vec<u8>)> {
    let mut archive = Archive::new(GzDecoder::new(archive));
    let mut entries = archive.entries().ok()?;
    let mut entry = entries.next()?.ok()?;
    let size = entry.size();
    if entry.header().entry_type() != EntryType::Regular || size > most {
        return None;
    }
    let name = safe_name(&entry).ok()?;
    let name = name.to_str().filter(|name| !name.is_empty() && !name.contains('/'))?.to_owned();
    let mut content = Vec::new();
    (&mut entry).take(most).read_to_end(&mut content).ok()?;
    drop(entry);
    (content.len() as u64 == size && entries.next().is_none()).then_some((name, content))
}

type Visit<'a, R> = dyn FnMut(&Path, &mut Entry<'_, GzDecoder<io::Take<R>>>) -> Result<(), String> + 'a;

fn walk<R: Read>(
    archive: R,
    limits: Limits,
    mut visit: impl FnMut(&Path, &mut Entry<'_, GzDecoder<io::Take<R>>>) -> Result<(), String>,
) -> Result<u64, String> {
    let visit: &mut Visit<'_, R> = &mut visit;
    let mut archive = Archive::new(GzDecoder::new(archive.take(limits.bytes)));
    let (mut bytes, mut entries) = (0u64, 0u64);
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        entries += 1;
        if entries > limits.entries {
            return Err(format!("the archive has more than {} entries", limits.entries));
        }
        let name = safe_name(&entry)?;
        bytes = bytes.saturating_add(entry.size());
        if bytes > limits.bytes {
            return Err(format!("the files of the archive have more than {} bytes", limits.bytes));
        }
        visit(&name, &mut entry)?;
    }
    Ok(bytes)
}

fn damaged(error: io::Error) -> String {
    format!("the archive is no tar.gz or is damaged: {error}")
}

/// The relative name of an entry; refuses everything that could lead out of the folder.
fn safe_name<R: Read>(entry: &Entry<'_, R>) -> Result<PathBuf, String> {
    let name = entry.path().map_err(damaged)?;
    let mut safe = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => safe.push(part),
            Component::CurDir => {}
            _ => {
                return Err(format!(
                    "the archive contains '{}', which leads out of its folder",
                    name.display()
                ));
            }
        }
    }
    Ok(safe)
}

fn place<R: Read>(base: &Path, name: &Path, entry: &mut Entry<'_, R>) -> Result<(), String> {
    if name.as_os_str().is_empty() {
        return Ok(());
    }
    let path = base.join(name);
    let explain = |error: io::Error| format!("cannot unpack '{}': {error}", name.display());
    match entry.header().entry_type() {
        EntryType::Directory => make_folder(base, &path).map_err(explain),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            make_parent(base, &path).map_err(explain)?;
            let executable = entry.header().mode().unwrap_or(0) & 0o100 != 0;
            write_file(&path, entry, executable).map_err(explain)
        }
        EntryType::Symlink => {
            let target =
                entry.link_name().map_err(damaged)?.ok_or("the archive has a link without a target")?;
            if !stays_inside(name.parent().unwrap_or(Path::new("")), &target) {
                return Err(format!(
                    "the archive contains the link '{}' to '{}', which leads out of its folder",
                    name.display(),
                    target.display()
                ));
            }
            make_parent(base, &path).map_err(explain)?;
            remove_existing(&path).map_err(explain)?;
            std::os::unix::fs::symlink(target, &path).map_err(explain)
        }
        EntryType::Link => {
            let target =
                entry.link_name().map_err(damaged)?.ok_or("the archive has a link without a target")?;
            let target = base.join(target);
            let real = target.canonicalize().map_err(explain)?;
            if !real.starts_with(base) {
                return Err(leads_out(name));
            }
            make_parent(base, &path).map_err(explain)?;
            remove_existing(&path).map_err(explain)?;
            fs::hard_link(real, &path).map_err(explain)
        }
        _ => Ok(()),
    }
}

/// True when a link in `folder` to `target` stays inside the archive's folder, judged by the names alone.
fn stays_inside(folder: &Path, target: &Path) -> bool {
    let mut depth = folder.components().count();
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

fn make_parent(base: &Path, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => make_folder(base, parent),
        None => Ok(()),
    }
}

/// Creates a folder one step at a time. A link on the way is followed only if it ends inside the base, whose path must have
/// no links.
pub(crate) fn make_folder(base: &Path, path: &Path) -> io::Result<()> {
    let relative = path.strip_prefix(base).map_err(io::Error::other)?;
    let mut current = base.to_path_buf();
    for part in relative.components() {
        current.push(part);
        match fs::symlink_metadata(&current) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let real = current.canonicalize()?;
                if !real.starts_with(base) || !real.is_dir() {
                    return Err(io::Error::other(
                        "a folder of its path is a link that leads out, or no folder",
                    ));
                }
                current = real;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().mode(0o755).create(&current)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_file(path: &Path, content: &mut impl Read, executable: bool) -> io::Result<()> {
    remove_existing(path)?;
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    io::copy(content, &mut file)?;
    file.set_permissions(Permissions::from_mode(mode))
}

/// A name that occurs twice: the later one wins, and a link is replaced, never written through.
fn remove_existing(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(io::Error::other("a folder of that name is there already")),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    use tar::{Builder, Header};

    const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 50 };

    #[derive(Clone, Copy)]
    enum Item<'a> {
        File(&'a str, &'a [u8]),
        Folder(&'a str),
        Link(&'a str, &'a str),
        Hard(&'a str, &'a str),
        Fifo(&'a str),
    }

    /// Writes names straight into the header, as an attacker would; the library refuses bad ones.
    fn archive(items: &[Item<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for item in items {
            let (name, kind, link, content): (&str, _, &str, &[u8]) = match item {
                Item::File(name, content) => (name, EntryType::Regular, "", content),
                Item::Folder(name) => (name, EntryType::Directory, "", b""),
                Item::Link(name, target) => (name, EntryType::Symlink, target, b""),
                Item::Hard(name, target) => (name, EntryType::Link, target, b""),
                Item::Fifo(name) => (name, EntryType::Fifo, "", b""),
            };
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o000);
            header.set_size(content.len() as u64);
            let gnu = header.as_gnu_mut().unwrap();
            gnu.name[..name.len()].copy_from_slice(name.as_bytes());
            gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn try_unpack(items: &[Item<'_>]) -> (tempfile::TempDir, Result<u64, String>) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("in");
        fs::create_dir(&folder).unwrap();
        let result = unpack(archive(items).as_slice(), &folder, LIMITS);
        (dir, result)
    }

    #[test]
    fn an_honest_archive() {
        let items = [
            Item::Folder("a/"),
            Item::File("a/b/c.txt", b"hello"),
            Item::Link("l", "a/b/c.txt"),
            Item::Fifo("f"),
        ];
        let (dir, result) = try_unpack(&items);
        assert_eq!(result, Ok(5));
        assert_eq!(fs::read(dir.path().join("in/l")).unwrap(), b"hello");
        assert!(!dir.path().join("in/f").exists());
        assert_eq!(measure(archive(&items).as_slice(), LIMITS), Ok(5));
    }

    #[test]
    fn nothing_leaves_the_folder() {
        let attacks: [&[Item<'_>]; 7] = [
            &[Item::File("../evil", b"x")],
            &[Item::File("/tmp/evil", b"x")],
            &[Item::File("a/../../evil", b"x")],
            &[Item::Link("l", "/etc"), Item::File("l/evil", b"x")],
            &[Item::Link("l", ".."), Item::File("l/evil", b"x")],
            &[Item::Hard("h", "/etc/passwd")],
            &[Item::Folder("a"), Item::Link("a/l", "../../x")],
        ];
        for items in attacks {
            let (dir, result) = try_unpack(items);
            assert!(result.is_err());
            assert!(!dir.path().join("evil").exists());
        }
    }

    #[test]
    fn links_that_combine_to_lead_out_are_not_written_through() {
        // a -> b/.. looks harmless until b is itself a link elsewhere.
        let items = [
            Item::Folder("x/y"),
            Item::Link("x/y/up", "../.."),
            Item::Link("deep", "x/y/up/.."),
            Item::File("deep/evil", b"x"),
        ];
        let (dir, result) = try_unpack(&items);
        assert!(result.is_err());
        assert!(!dir.path().join("evil").exists());
        // Nor do they stay there for others to follow, in whatever order they come.
        for order in [[0, 1, 2], [2, 0, 1]] {
            let (_, result) = try_unpack(&order.map(|at| items[at]));
            assert!(result.unwrap_err().contains("leads out"));
        }
        // What leads inside, or nowhere, is fine.
        let links = [Item::Link("a", "x/./y"), Item::Link("b", "a"), Item::Link("c", "nowhere"), items[0]];
        assert_eq!(try_unpack(&links).1, Ok(0));
    }

    #[test]
    fn folders_are_not_made_through_links_that_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap().join("in");
        fs::create_dir_all(base.join("real")).unwrap();
        std::os::unix::fs::symlink("..", base.join("out")).unwrap();
        std::os::unix::fs::symlink("real", base.join("in")).unwrap();
        assert!(make_folder(&base, &base.join("out/evil")).is_err());
        assert!(!dir.path().join("evil").exists());
        make_folder(&base, &base.join("in/good/deep")).unwrap();
        assert!(base.join("real/good/deep").is_dir());
    }

    #[test]
    fn an_only_file_needs_no_folder() {
        let only = |items: &[Item<'_>]| only_file(archive(items).as_slice(), 100);
        assert_eq!(only(&[Item::File("m.wasm", b"x")]), Some(("m.wasm".to_owned(), b"x".to_vec())));
        assert_eq!(only(&[Item::File("./m.wasm", b"x")]).unwrap().0, "m.wasm");
        assert_eq!(only(&[Item::File("m.wasm", &[0; 101])]), None);
        for others in [
            &[][..],
            &[Item::Folder("d")],
            &[Item::File("d/m.wasm", b"x")],
            &[Item::File("../m.wasm", b"x")],
            &[Item::Link("m.wasm", "x")],
            &[Item::File("a.wasm", b"x"), Item::File("b.wasm", b"x")],
        ] {
            assert_eq!(only(others), None);
        }
        assert_eq!(only_file(&b"not gzip"[..], 100), None);
    }

    #[test]
    fn a_file_over_a_link_replaces_the_link() {
        let (dir, result) =
            try_unpack(&[Item::File("real", b"keep"), Item::Link("l", "real"), Item::File("l", b"new")]);
        assert_eq!(result, Ok(7));
        assert_eq!(fs::read(dir.path().join("in/real")).unwrap(), b"keep");
    }

    #[test]
    fn bombs_are_refused() {
        let zeros = vec![0u8; 2 << 20];
        assert!(try_unpack(&[Item::File("big", &zeros)]).1.unwrap_err().contains("bytes"));
        let names: Vec<String> = (0..60).map(|n| format!("f{n}")).collect();
        let many: Vec<Item<'_>> = names.iter().map(|n| Item::Folder(n)).collect();
        assert!(try_unpack(&many).1.unwrap_err().contains("entries"));
        let mut garbage = GzEncoder::new(Vec::new(), Compression::fast());
        garbage.write_all(b"not a tar file at all").unwrap();
        assert!(measure(garbage.finish().unwrap().as_slice(), LIMITS).is_err());
        assert!(measure(&b"not gzip"[..], LIMITS).is_err());
    }
}
