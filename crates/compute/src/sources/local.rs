//! `local` (older name `localDirectory`): a folder or file of the node itself that an administrator has allowed.

use super::allowlist::{Access, PathAllowList, real_path};
use super::{Mount, MountData, Source, failed, invalid, normalise_guest_path};
use crate::executor::LazyFolder;
use bacalhau_model::{Error, InputSource, SpecConfig};
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ALLOW_LIST_HINT: &str = "Verify Compute.AllowListedLocalPaths configuration property";

/// The `local` source.
#[derive(Clone, Debug, Default)]
pub struct Local {
    allowed: Arc<PathAllowList>,
}

#[derive(Debug)]
struct Params {
    /// As the user wrote it.
    source_path: String,
    read_write: bool,
    create_as: CreateAs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CreateAs {
    Folder,
    File,
    NoCreate,
}

impl Local {
    /// Offers what the list allows.
    pub fn new(allowed: PathAllowList) -> Local {
        Local { allowed: Arc::new(allowed) }
    }

    /// The real path, if the list allows it; it may not exist.
    fn allowed_path(&self, params: &Params) -> Result<PathBuf, Error> {
        let shown = &params.source_path;
        let denied = || {
            // A path that cannot be resolved is denied with the same words: no probing of the host's files.
            invalid(format!("volume {shown} is not allowlisted")).hint(ALLOW_LIST_HINT)
        };
        let real = real_path(Path::new(shown)).map_err(|_| denied())?;
        match self.allowed.access(&real) {
            None => Err(denied()),
            Some(Access::Read) if params.read_write => {
                Err(invalid(format!("volume {shown} is not granted write access")).hint(ALLOW_LIST_HINT))
            }
            Some(_) => Ok(real),
        }
    }

    fn check(&self, input: &InputSource) -> Result<(Params, PathBuf), Error> {
        let params = Params::read(&input.source)?;
        let real = self.allowed_path(&params)?;
        if !real.exists() && (params.create_as == CreateAs::NoCreate || !params.read_write) {
            let message = format!("volume {} does not exist and creation is not allowed", params.source_path);
            return Err(invalid(message)
                .hint("Set CreateAs to 'dir' or 'file' and ReadWrite to true to have it created"));
        }
        Ok((params, real))
    }
}

impl Source for Local {
    fn names(&self) -> &'static [&'static str] {
        if self.allowed.is_empty() { &[] } else { &["local", "localdirectory"] }
    }

    fn validate(&self, input: &InputSource) -> Result<(), Error> {
        self.check(input).map(|_| ())
    }

    fn is_local(&self, input: &InputSource) -> bool {
        self.check(input).is_ok()
    }

    fn size<'a>(&'a self, input: &'a InputSource) -> BoxFuture<'a, Result<u64, Error>> {
        // It takes no room of its own: the task sees the host's files.
        Box::pin(async move { self.check(input).map(|_| 0) })
    }

    fn prepare<'a>(
        &'a self,
        input: &'a InputSource,
        _folder: LazyFolder,
    ) -> BoxFuture<'a, Result<Mount, Error>> {
        Box::pin(async move {
            let target = normalise_guest_path(&input.target)?;
            let (params, real) = self.check(input)?;
            let shown = params.source_path.clone();
            if !real.exists() {
                create(&real, params.create_as)
                    .map_err(|e| failed(format!("cannot create volume {shown}: {e}")))?;
            }
            // Whoever may write around it could have put a link in its place since it was looked at.
            if real.canonicalize().is_ok_and(|now| now != real) {
                return Err(invalid(format!("volume {shown} is not allowlisted")).hint(ALLOW_LIST_HINT));
            }
            let metadata =
                fs::metadata(&real).map_err(|e| failed(format!("cannot open volume {shown}: {e}")))?;
            let data = if metadata.is_dir() {
                MountData::Folder(real)
            } else if metadata.is_file() {
                MountData::File(real)
            } else {
                return Err(invalid(format!("volume {shown} is neither a folder nor a regular file")));
            };
            Ok(Mount { data, target, read_only: !params.read_write })
        })
    }
}

fn create(path: &Path, create_as: CreateAs) -> io::Result<()> {
    let folder = |path: &Path| DirBuilder::new().recursive(true).mode(0o755).create(path);
    match create_as {
        CreateAs::Folder => folder(path),
        CreateAs::File => {
            path.parent().map_or(Ok(()), folder)?;
            OpenOptions::new().write(true).create_new(true).open(path).map(|_| ())
        }
        CreateAs::NoCreate => Ok(()),
    }
}

impl Params {
    fn read(spec: &SpecConfig) -> Result<Params, Error> {
        let text = |key: &str| spec.param(key).and_then(Value::as_str).unwrap_or_default();
        let source_path = text("SourcePath").trim();
        if source_path.is_empty() {
            return Err(invalid("invalid local params: source path cannot be empty"));
        }
        let create_as = match text("CreateAs").trim().to_ascii_lowercase().as_str() {
            "dir" => CreateAs::Folder,
            "file" => CreateAs::File,
            "" | "nocreate" => CreateAs::NoCreate,
            _ => {
                return Err(invalid(format!("invalid CreateAs value {}", text("CreateAs")))
                    .hint("Valid values are: dir, file, noCreate"));
            }
        };
        let read_write = match spec.param("ReadWrite") {
            Some(Value::Bool(value)) => *value,
            Some(Value::String(value)) => value.trim().eq_ignore_ascii_case("true"),
            _ => false,
        };
        Ok(Params { source_path: source_path.to_owned(), read_write, create_as })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn input(path: impl AsRef<Path>) -> InputSource {
        let spec = SpecConfig::new("local").with("sourcepath", path.as_ref().to_string_lossy().into_owned());
        InputSource { source: spec, target: "/in".into(), ..InputSource::default() }
    }

    fn source(entries: &[String]) -> Local {
        Local::new(PathAllowList::new(entries).unwrap())
    }

    #[test]
    fn links_and_parents_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::write(dir.path().join("secret"), "s").unwrap();
        symlink(dir.path().join("secret"), open.join("link")).unwrap();
        let source = source(&[format!("{}/**", open.display())]);

        source.validate(&input(&open)).unwrap();
        for path in [
            open.join("link"),
            open.join("../secret"),
            open.join("x/../../secret"),
            dir.path().join("secret"),
        ] {
            let error = source.validate(&input(&path)).unwrap_err();
            assert_eq!(error.message, format!("volume {} is not allowlisted", path.display()));
            assert_eq!(error.hint, ALLOW_LIST_HINT);
        }
    }

    #[test]
    fn writing_needs_an_entry_and_creation_needs_writing() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().display().to_string();
        let read_only = source(std::slice::from_ref(&base));
        let mut wanted = input(&base);
        wanted.source = wanted.source.with("ReadWrite", "true");
        let error = read_only.validate(&wanted).unwrap_err();
        assert_eq!(error.message, format!("volume {base} is not granted write access"));

        let writable = source(&[format!("{base}/**:rw")]);
        let missing = dir.path().join("new");
        let error = writable.validate(&input(&missing)).unwrap_err();
        assert!(error.message.ends_with("does not exist and creation is not allowed"), "{error}");
        let mut creating = input(&missing);
        creating.source = creating.source.with("CreateAs", "DIR").with("ReadWrite", true);
        writable.validate(&creating).unwrap();
        creating.source = creating.source.with("CreateAs", "tree");
        assert_eq!(writable.validate(&creating).unwrap_err().message, "invalid CreateAs value tree");
    }

    #[test]
    fn without_entries_it_is_not_offered() {
        assert!(source(&[]).names().is_empty());
    }
}
