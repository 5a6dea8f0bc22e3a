//! Which host paths jobs may see: `<glob>[:ro|:rw]` entries of the node's configuration.
//!
//! Only real paths are compared: links and `..` are resolved first, both in the path asked for and in the fixed part
//! of an entry. `*` stays inside one folder, `**` crosses folders, `/data/**` includes `/data` itself.

use globset::{GlobBuilder, GlobMatcher};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// What an entry allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// Allowed host paths.
#[derive(Clone, Debug, Default)]
pub struct PathAllowList {
    entries: Vec<(GlobMatcher, Access)>,
}

impl PathAllowList {
    /// Reads the entries; the error names the first that is no glob.
    ///
    /// # Errors
    /// A malformed glob, in words.
    pub fn new(entries: &[String]) -> Result<PathAllowList, String> {
        let mut list = PathAllowList::default();
        for entry in entries.iter().map(|e| e.trim()).filter(|e| !e.is_empty()) {
            let (pattern, access) = split_mode(entry);
            for glob in globs(pattern) {
                let matcher = GlobBuilder::new(&glob)
                    .literal_separator(true)
                    .build()
                    .map_err(|e| format!("'{entry}' is no path pattern: {e}"))?
                    .compile_matcher();
                list.entries.push((matcher, access));
            }
        }
        Ok(list)
    }

    /// True when nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is allowed for a real path (see [`real_path`]); `None` when nothing.
    pub fn access(&self, real: &Path) -> Option<Access> {
        self.entries.iter().filter(|(glob, _)| glob.is_match(real)).map(|(_, access)| *access).max()
    }
}

fn split_mode(entry: &str) -> (&str, Access) {
    if let Some(pattern) = entry.strip_suffix(":rw") {
        (pattern, Access::ReadWrite)
    } else {
        (entry.strip_suffix(":ro").unwrap_or(entry), Access::Read)
    }
}

/// The pattern with its fixed part resolved, and for `x/**` also `x` itself.
fn globs(pattern: &str) -> Vec<String> {
    let pattern = resolve_fixed_part(pattern);
    match pattern.strip_suffix("/**") {
        Some("") => vec!["/".to_owned(), pattern],
        Some(folder) => vec![folder.to_owned(), pattern.clone()],
        None => vec![pattern],
    }
}

/// Resolves links in the folders before the first wildcard, because paths are resolved before they are compared.
fn resolve_fixed_part(pattern: &str) -> String {
    let absolute = if pattern.starts_with('/') { pattern.to_owned() } else { absolute_pattern(pattern) };
    let is_wild = |part: &str| part.contains(['*', '?', '[', '{', '\\']);
    let parts: Vec<&str> = absolute.split('/').filter(|part| !part.is_empty()).collect();
    let fixed = parts.iter().take_while(|part| !is_wild(part)).count();
    let (fixed, wild) = parts.split_at_checked(fixed).unwrap_or((&parts, &[]));
    let folder = PathBuf::from(format!("/{}", fixed.join("/")));
    let folder = real_path(&folder).unwrap_or(folder);
    let folder = escape(folder.to_string_lossy().trim_end_matches('/'));
    if wild.is_empty() && !folder.is_empty() { folder } else { format!("{folder}/{}", wild.join("/")) }
}

/// A relative entry is relative to the node's working folder.
fn absolute_pattern(pattern: &str) -> String {
    let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    format!("{}/{}", folder.to_string_lossy().trim_end_matches('/'), pattern.trim_start_matches("./"))
}

/// Wildcard characters that a resolved link brought in are plain characters.
fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for character in path.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The path with links and `..` resolved. The end of the path need not exist, but then must not contain `..`.
///
/// # Errors
/// A folder on the way cannot be read, or `..` follows something that does not exist.
pub(super) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut existing = std::path::absolute(path)?;
    let mut missing: Vec<OsString> = Vec::new();
    loop {
        match existing.canonicalize() {
            Ok(mut real) => {
                real.extend(missing.iter().rev());
                return Ok(real);
            }
            // A dangling link exists itself; going on would let it be created later and lead anywhere.
            Err(error) if error.kind() != io::ErrorKind::NotFound || existing.is_symlink() => {
                return Err(error);
            }
            Err(error) => match existing.components().next_back() {
                Some(Component::Normal(name)) => {
                    missing.push(name.to_owned());
                    existing.pop();
                }
                _ => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn list(entries: &[String]) -> PathAllowList {
        PathAllowList::new(entries).unwrap()
    }

    #[test]
    fn stars_stay_in_a_folder_and_double_stars_do_not() {
        let list = list(&["/x/*:rw".into(), "/y/**".into(), "/z/a.txt:ro".into(), "/m/**/*.csv".into()]);
        let access = |path: &str| list.access(Path::new(path));
        assert_eq!(access("/x/a"), Some(Access::ReadWrite));
        assert_eq!(access("/x/a/b"), None);
        assert_eq!(access("/x"), None);
        assert_eq!(access("/y"), Some(Access::Read));
        assert_eq!(access("/y/a/b"), Some(Access::Read));
        assert_eq!(access("/yy"), None);
        assert_eq!(access("/z/a.txt"), Some(Access::Read));
        assert_eq!(access("/z/a.txt2"), None);
        assert_eq!(access("/m/1/2/x.csv"), Some(Access::Read));
        assert_eq!(access("/m/x.txt"), None);
        assert!(PathAllowList::new(&["/a[".into()]).is_err());
        assert!(PathAllowList::new(&[String::new()]).unwrap().is_empty());
    }

    #[test]
    fn everything_may_be_allowed() {
        let list = list(&["/**".into()]);
        assert_eq!(list.access(Path::new("/")), Some(Access::Read));
        assert_eq!(list.access(Path::new("/etc/passwd")), Some(Access::Read));
    }

    #[test]
    fn an_entry_behind_a_link_allows_what_it_points_to() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("disk[1]");
        fs::create_dir(&real).unwrap();
        symlink(&real, dir.path().join("data")).unwrap();
        let list = list(&[format!("{}/data/**", dir.path().display())]);
        assert_eq!(list.access(&real.join("file")), Some(Access::Read));
        assert_eq!(list.access(&dir.path().join("disk1/file")), None);
    }

    #[test]
    fn missing_ends_are_fine_but_not_dangling_links_or_parents() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        assert_eq!(real_path(&base.join("a/b")).unwrap(), base.join("a/b"));
        assert!(real_path(&base.join("a/../b")).is_err());
        symlink("/nonexistent/place", base.join("dangling")).unwrap();
        assert!(real_path(&base.join("dangling/x")).is_err());
    }
}
