//! Finds a module among the inputs of a job.

use super::error;
use super::files::{below, join};
use crate::sources::{Mount, MountData};
use bacalhau_model::Error;
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, Read};

/// Bytes of a module at most.
pub(super) const MAX_MODULE: u64 = 512 << 20;

/// A module found among the inputs.
pub(super) struct ModuleSource {
    /// Its path inside the task.
    pub(super) path: String,
    pub(super) bytes: Bytes,
}

/// Finds a module by its path inside the task: an input, a file in an input folder, or a folder with one `.wasm`.
pub(super) fn find_module(mounts: &[Mount], path: &str) -> Result<ModuleSource, Error> {
    let missing = || {
        let targets: Vec<&str> = mounts.iter().map(|m| m.target.as_str()).collect();
        let hint = format!(
            "Inputs are at: {}",
            if targets.is_empty() { "(none)".to_owned() } else { targets.join(", ") }
        );
        error(format!("module not found \"{path}\"")).hint(hint)
    };
    if let Some(mount) = mounts.iter().find(|m| m.target == path && m.is_file()) {
        return read_module(path.to_owned(), &mount.data);
    }
    let mut candidates: Vec<(String, MountData)> = Vec::new();
    for mount in mounts {
        match &mount.data {
            MountData::Folder(folder) => {
                let Some(inner) = below(path, &mount.target) else { continue };
                // Links inside an input must not lead out of it.
                let (Ok(base), Ok(real)) = (folder.canonicalize(), folder.join(inner).canonicalize()) else {
                    continue;
                };
                if !real.starts_with(&base) {
                    continue;
                }
                if real.is_file() {
                    return read_module(path.to_owned(), &MountData::File(real));
                }
                for entry in fs::read_dir(&real).into_iter().flatten().flatten() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    if name.ends_with(".wasm") && entry.file_type().is_ok_and(|t| t.is_file()) {
                        candidates.push((join(path, &name), MountData::File(entry.path())));
                    }
                }
            }
            data => {
                let inside =
                    below(&mount.target, path).is_some_and(|name| !name.is_empty() && !name.contains('/'));
                if inside && mount.target.ends_with(".wasm") {
                    candidates.push((mount.target.clone(), data.clone()));
                }
            }
        }
    }
    match candidates.as_slice() {
        [] => Err(missing()),
        [(path, data)] => read_module(path.clone(), data),
        several => {
            let names: Vec<&str> = several.iter().map(|(path, _)| path.as_str()).collect();
            Err(error(format!("folder \"{path}\" holds more than one .wasm file: {}", names.join(", ")))
                .hint("Name one of them"))
        }
    }
}

fn read_module(path: String, data: &MountData) -> Result<ModuleSource, Error> {
    let host_path = match data {
        MountData::Bytes(bytes) => return Ok(ModuleSource { path, bytes: bytes.clone() }),
        MountData::File(host_path) | MountData::Folder(host_path) => host_path,
    };
    let explain = |e: io::Error| error(format!("cannot read module \"{path}\": {e}"));
    let file = File::open(host_path).map_err(explain)?;
    let mut bytes = Vec::new();
    file.take(MAX_MODULE + 1).read_to_end(&mut bytes).map_err(explain)?;
    if bytes.len() as u64 > MAX_MODULE {
        return Err(error(format!("module \"{path}\" is larger than {MAX_MODULE} bytes")));
    }
    Ok(ModuleSource { path, bytes: Bytes::from(bytes) })
}
