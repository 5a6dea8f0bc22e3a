//! What a guest sees as files: inputs at their targets, result folders at their names and paths, and `/`.
//!
//! Host folders that were allowed are presented as they are; single files lie in a private folder of the execution, because
//! WASI can present folders only. `/` itself is that private folder, read-only; executions whose private folders are the
//! same, and cannot change, share one (see `roots`).

use super::error;
use super::roots::{self, Key, Root, Roots};
use crate::engines::EngineRequest;
use crate::sources::{Mount, MountData, make_folder};
use bacalhau_model::Error;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmtime_wasi::FsPerms;

/// A folder to open for the guest.
#[derive(Debug)]
pub(super) struct Presented {
    pub(super) guest_path: String,
    pub(super) host_path: PathBuf,
    pub(super) permissions: FsPerms,
}

/// The rest of `path` below `folder` (empty for the folder itself); `None` when it is elsewhere.
pub(super) fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder.trim_end_matches('/'))?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

pub(super) fn join(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

/// What a guest sees.
pub(super) struct Files {
    /// What to open, `/` first.
    pub(super) folders: Vec<Presented>,
    /// Held while the guest runs.
    pub(super) root: Option<Arc<Root>>,
}

/// Lays out what is not laid out yet, and lists what to open.
pub(super) fn present(request: &EngineRequest, roots: &Roots) -> Result<Files, Error> {
    if let Some((key, bytes)) = shared(request) {
        let lay_out = |path: &Path| view(request, path.to_owned(), false).map(|_| ());
        if let Some(root) = roots.get(key, bytes, lay_out)? {
            let folders = view(request, root.path.clone(), true)?;
            return Ok(Files { folders, root: Some(root) });
        }
    }
    let root = request.work.create("root").map_err(|e| unpresented("/", &e))?;
    Ok(Files { folders: view(request, root, false)?, root: None })
}

fn unpresented(what: &str, e: &io::Error) -> Error {
    error(format!("cannot present {what} to the module: {e}")).retryable()
}

/// Key and size of the private folder, if others can share it: all in it is known by its content, and the guest can change
/// nothing.
fn shared(request: &EngineRequest) -> Option<(Key, u64)> {
    let mut parts: Vec<Cow<'_, [u8]>> = Vec::new();
    let mut size = 0u64;
    for mount in &request.mounts {
        let target = mount.target.as_bytes();
        match &mount.data {
            MountData::Folder(_) => parts.extend([Cow::Borrowed(&b"folder"[..]), target.into()]),
            MountData::File(_) => return None,
            MountData::Bytes(bytes) => {
                let is_fixed = mount.read_only || parent(&mount.target) == "/";
                let mut folders = request.mounts.iter().filter(|m| !m.is_file());
                if !is_fixed || folders.any(|folder| below(&mount.target, &folder.target).is_some()) {
                    return None;
                }
                size = size.saturating_add(bytes.len() as u64);
                let digest = Sha256::digest(bytes).to_vec();
                parts.extend([Cow::Borrowed(&b"file"[..]), target.into(), digest.into()]);
            }
        }
    }
    for result in &request.results {
        parts.extend([
            Cow::Borrowed(&b"result"[..]),
            result.path.as_bytes().into(),
            result.name.as_bytes().into(),
        ]);
    }
    (size <= roots::MAX_SHARED).then(|| (roots::key(parts.iter().map(AsRef::as_ref)), size))
}

/// Lists what to open, `/` first, which is at `root`: there already if it is `laid_out`, else it is laid out now.
fn view(request: &EngineRequest, root: PathBuf, laid_out: bool) -> Result<Vec<Presented>, Error> {
    let explain = |what: &str, e: io::Error| unpresented(what, &e);
    let mut view = View { root, laid_out, folders: BTreeMap::new() };
    view.folders.insert("/".to_owned(), (view.root.clone(), FsPerms::ReadOnly));

    for mount in request.mounts.iter().filter(|m| !m.is_file()) {
        if let MountData::Folder(folder) = &mount.data {
            view.add(&mount.target, folder, mount.read_only).map_err(|e| explain(&mount.target, e))?;
        }
    }
    let files: Vec<&Mount> = request.mounts.iter().filter(|m| m.is_file()).collect();
    // Presenting a file writable makes its whole private folder writable, and everything below it.
    let any_writable = files.iter().any(|m| !m.read_only && parent(&m.target) != "/");
    for mount in files {
        view.place(mount, any_writable, request.work.path()).map_err(|e| explain(&mount.target, e))?;
    }
    for result in &request.results {
        if view.is_taken(&result.path) {
            let message =
                format!("result path '{}' is also the target of an input or of another result", result.path);
            return Err(error(message).hint("Give inputs and results different paths"));
        }
        view.add(&result.path, &result.host_path, false).map_err(|e| explain(&result.path, e))?;
    }
    // Bacalhau 1.9 shows a result folder at `/<Name>` only; here that is a second name where it is free.
    for result in &request.results {
        let by_name = join("/", &result.name);
        if !view.is_taken(&by_name) {
            view.add(&by_name, &result.host_path, false).map_err(|e| explain(&by_name, e))?;
        }
    }
    let open = |(guest_path, (host_path, permissions))| Presented { guest_path, host_path, permissions };
    Ok(view.folders.into_iter().map(open).collect())
}

struct View {
    root: PathBuf,
    laid_out: bool,
    /// Guest path to host folder; sorted, so `/` comes first.
    folders: BTreeMap<String, (PathBuf, FsPerms)>,
}

impl View {
    fn is_taken(&self, path: &str) -> bool {
        self.folders.contains_key(path) || fs::symlink_metadata(self.in_root(path)).is_ok_and(|m| !m.is_dir())
    }

    fn in_root(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Presents a folder, and an empty one of the same name where listings of `/` look.
    fn add(&mut self, path: &str, host: &Path, read_only: bool) -> io::Result<()> {
        if !self.laid_out {
            create_folder(&self.in_root(path))?;
        }
        let permissions = if read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
        self.folders.insert(path.to_owned(), (host.to_path_buf(), permissions));
        Ok(())
    }

    /// Puts a file where the guest looks for it: in the private folder, or in a private input folder around it.
    fn place(&mut self, mount: &Mount, any_writable: bool, private: &Path) -> io::Result<()> {
        let around = self.folders.iter().filter(|(path, _)| path.as_str() != "/");
        let around = around.filter_map(|(path, (host, _))| Some((host.clone(), below(&mount.target, path)?)));
        let mut host = self.in_root(&mount.target);
        let mut inside_input = false;
        if let Some((folder, name)) = around.min_by_key(|(_, name)| name.len())
            && !folder.starts_with(&self.root)
        {
            if !folder.starts_with(private) {
                return Err(io::Error::other(
                    "it lies inside an input that is a folder of the host; give it another target",
                ));
            }
            // What was unpacked there may have links.
            let folder = folder.canonicalize()?;
            host = folder.join(name);
            make_folder(&folder, host.parent().unwrap_or(&folder))?;
            inside_input = true;
        } else if let Some(folder) = host.parent().filter(|_| !self.laid_out) {
            create_folder(folder)?;
        }
        // A read-only file of the host must not be reachable through a writable folder.
        let may_link = !mount.read_only || !(any_writable || inside_input);
        if !self.laid_out {
            put_file(mount, &host, may_link)?;
        }
        let folder = parent(&mount.target);
        if !inside_input && folder != "/" {
            let permissions = if mount.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            let entry = self.folders.entry(folder.to_owned());
            let entry =
                entry.or_insert_with(|| (host.parent().unwrap_or(Path::new("/")).to_path_buf(), permissions));
            if permissions == FsPerms::ReadWrite {
                entry.1 = FsPerms::ReadWrite;
            }
        }
        Ok(())
    }
}

fn put_file(mount: &Mount, path: &Path, may_link: bool) -> io::Result<()> {
    let source = match &mount.data {
        MountData::Bytes(bytes) => return File::create_new(path)?.write_all(bytes),
        MountData::File(source) | MountData::Folder(source) => source,
    };
    if may_link && fs::hard_link(source, path).is_ok() {
        return Ok(());
    }
    if may_link && !mount.read_only {
        return Err(io::Error::other(format!(
            "{} must be writable, but is on another file system than the node's data folder: give its folder as the input",
            source.display()
        )));
    }
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::Error::other("there is another file at its target"));
    }
    fs::copy(source, path).map(|_| ())
}

fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
