//! Modules from registries: pulled once for each digest, and kept on disk.
//!
//! What a tag stands for is asked each time, what a digest stands for never changes. A file is named after the digest
//! of the name and of its content, so that one that was damaged is not believed.

use super::module_files::MAX_MODULE;
use super::params::{OCI, Params};
use crate::engines::Progress;
use bacalhau_images::{Digest, Reference, Registry, RegistryConfig, parse_reference, pinned};
use bacalhau_model::{Error, Job};
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

/// Pulls modules for one node.
pub(super) struct Puller {
    config: RegistryConfig,
    /// Set up with the first pull: it loads the machine's certificates.
    registry: OnceLock<Result<Registry, Error>>,
    /// Where modules are kept; `None` keeps none.
    folder: Option<PathBuf>,
    /// Bytes there at most.
    folder_bytes: u64,
    /// One lock for each digest being pulled, so that many executions of a job pull it once.
    pulling: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// The references among a job's modules, as the job spells them.
fn references(params: &Params) -> impl Iterator<Item = &String> {
    [&params.entry_module].into_iter().chain(&params.import_modules).filter(|path| path.starts_with(OCI))
}

/// Reads a reference as a job spells it.
fn parse(path: &str) -> Result<Reference, Error> {
    parse_reference(path.strip_prefix(OCI).unwrap_or(path)).map_err(|e| Error {
        message: format!("invalid wasm engine params: module \"{path}\": {}", e.message),
        ..e
    })
}

/// Checks references without asking anybody.
///
/// # Errors
/// One that is none.
pub(super) fn validate(params: &Params) -> Result<(), Error> {
    references(params).try_for_each(|path| parse(path).map(|_| ()))
}

impl Puller {
    pub(super) fn new(config: RegistryConfig, folder: Option<PathBuf>, folder_bytes: u64) -> Puller {
        Puller { config, registry: OnceLock::new(), folder, folder_bytes, pulling: Mutex::default() }
    }

    fn registry(&self) -> Result<&Registry, Error> {
        self.registry.get_or_init(|| Registry::new(self.config.clone())).as_ref().map_err(Error::clone)
    }

    /// Asks the registries whether the modules of a job exist.
    ///
    /// # Errors
    /// One does not, or its registry cannot be asked (retryable).
    pub(super) async fn check(&self, params: &Params, job: Option<&Job>) -> Result<(), Error> {
        for path in references(params) {
            self.registry()?.resolve(&self.reference(path, params, job)?).await?;
        }
        Ok(())
    }

    /// Fetches the modules of a job that are in registries, by the references of the job.
    ///
    /// # Errors
    /// As [`Puller::check`]; one is too large or no module.
    pub(super) async fn pull(
        &self,
        params: &Params,
        job: Option<&Job>,
        progress: &Progress,
    ) -> Result<HashMap<String, Bytes>, Error> {
        let mut pulled = HashMap::new();
        for path in references(params) {
            if !pulled.contains_key(path) {
                let reference = self.reference(path, params, job)?;
                pulled.insert(path.clone(), self.module(path, &reference, progress).await?);
            }
        }
        Ok(pulled)
    }

    /// All executions of a job run the entry module that its tag stood for at submit.
    fn reference(&self, path: &str, params: &Params, job: Option<&Job>) -> Result<Reference, Error> {
        let reference = parse(path)?;
        Ok(match job {
            Some(job) if path == params.entry_module => pinned(reference, job),
            _ => reference,
        })
    }

    async fn module(&self, path: &str, reference: &Reference, progress: &Progress) -> Result<Bytes, Error> {
        let registry = self.registry()?;
        let digest = registry.resolve(reference).await?;
        let key = file_part(&digest);
        let lock = self.lock_of(&key);
        let guard = lock.lock().await;
        let result = self.locked(registry, path, reference, &digest, progress).await;
        drop(guard);
        let mut pulling = self.pulling.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else waits for it: the map has it, and this function.
        if Arc::strong_count(&lock) <= 2 {
            pulling.remove(&key);
        }
        result
    }

    fn lock_of(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut pulling = self.pulling.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pulling.entry(key.to_owned()).or_default())
    }

    async fn locked(
        &self,
        registry: &Registry,
        path: &str,
        reference: &Reference,
        digest: &Digest,
        progress: &Progress,
    ) -> Result<Bytes, Error> {
        let key = file_part(digest);
        if let Some(folder) = self.folder.clone() {
            let key = key.clone();
            if let Ok(Some(bytes)) = tokio::task::spawn_blocking(move || find(&folder, &key)).await {
                return Ok(bytes);
            }
        }
        progress.preparing(format!("Pulling module \"{path}\""));
        let exactly = reference.clone_with_digest(digest.to_string());
        let artifact = registry.artifact(&exactly, MAX_MODULE).await?;
        let bytes = artifact.bytes;
        progress.preparing(format!("Pulled module \"{path}\" ({} bytes, {digest})", bytes.len()));
        if let Some(folder) = self.folder.clone() {
            let (most, content) = (self.folder_bytes, bytes.clone());
            let kept = tokio::task::spawn_blocking(move || keep(&folder, &key, &content, most)).await;
            // Pulled again the next time, nothing else.
            if let Ok(Err(e)) = kept {
                tracing::warn!(module = path, error = %e, "cannot keep a pulled module on disk");
            }
        }
        Ok(bytes)
    }
}

/// A digest as part of a file's name.
fn file_part(digest: &Digest) -> String {
    digest.to_string().replace(':', "-")
}

/// The kept module of a digest, if it is there and undamaged.
fn find(folder: &Path, key: &str) -> Option<Bytes> {
    let prefix = format!("{key}.");
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let name = entry.file_name();
        let Some(content) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else { continue };
        let bytes = fs::read(entry.path()).ok()?;
        if file_part(&Digest::of(&bytes)) == content {
            // Used: it goes later than others. The time is only a hint.
            let _ = File::open(entry.path()).and_then(|file| file.set_modified(SystemTime::now()));
            return Some(Bytes::from(bytes));
        }
        let _ = fs::remove_file(entry.path());
    }
    None
}

/// Keeps a module, and lets those go that were not used for longest until all fit.
fn keep(folder: &Path, key: &str, bytes: &[u8], most: u64) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(format!("{key}.{}", file_part(&Digest::of(bytes))));
    let partial = folder.join(format!("{key}.partial"));
    let mut file = File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, &path)?;
    let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let meta = entry.metadata()?;
        kept.push((meta.modified()?, meta.len(), entry.path()));
    }
    kept.sort();
    let mut together: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, old) in kept {
        if together <= most || old == path {
            break;
        }
        fs::remove_file(old)?;
        together = together.saturating_sub(bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_keeps_what_was_used_last() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("modules");
        assert_eq!(find(&folder, "sha256-a"), None);
        keep(&folder, "sha256-a", b"one", 7).unwrap();
        keep(&folder, "sha256-b", b"two", 7).unwrap();
        assert_eq!(find(&folder, "sha256-a").as_deref(), Some(&b"one"[..]));
        for (name, seconds) in [("sha256-a", 10), ("sha256-b", 20)] {
            let entry = fs::read_dir(&folder).unwrap().flatten();
            let mut entry = entry.filter(|e| e.file_name().to_str().unwrap().starts_with(name));
            let file = File::open(entry.next().unwrap().path()).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        }
        keep(&folder, "sha256-c", b"three", 7).unwrap();
        assert_eq!(find(&folder, "sha256-a"), None);
        assert_eq!(find(&folder, "sha256-b"), None);
        assert_eq!(find(&folder, "sha256-c").as_deref(), Some(&b"three"[..]));
    }

    #[test]
    fn what_was_damaged_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        keep(dir.path(), "sha256-a", b"one", 100).unwrap();
        let file = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        fs::write(&file, b"two").unwrap();
        assert_eq!(find(dir.path(), "sha256-a"), None);
        assert!(!file.exists());
    }

    #[test]
    fn references_are_read() {
        assert_eq!(parse("oci://r.example/a:1").unwrap().to_string(), "r.example/a:1");
        assert!(parse("oci://A B").unwrap_err().message.contains("oci://A B"));
    }
}
