//! Where the modules of one job are found: among its inputs, and what was pulled from registries for it.

use super::module_files::{self, ModuleSource};
use super::modules::{Compiled, ModuleCache, Prepared};
use crate::engines::Progress;
use crate::sources::Mount;
use bacalhau_model::Error;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// The modules a job can name.
pub(super) struct Library<'a> {
    pub(super) mounts: &'a [Mount],
    /// By reference, as the job spells it.
    pub(super) pulled: &'a HashMap<String, Bytes>,
    pub(super) modules: &'a ModuleCache,
    pub(super) progress: &'a Progress,
}

impl Library<'_> {
    /// Finds and compiles a module or component; gives its full path as well. Blocks.
    pub(super) fn load(&self, path: &str) -> Result<(String, Compiled), Error> {
        let source = self.find(path)?;
        let compiled = self.modules.get(&source.path, &source.bytes, self.progress)?;
        Ok((source.path, compiled))
    }

    /// The same for a module that others import from.
    pub(super) fn load_module(&self, path: &str) -> Result<(String, Arc<Prepared>), Error> {
        let source = self.find(path)?;
        let module = self.modules.module(&source.path, &source.bytes, self.progress)?;
        Ok((source.path, module))
    }

    /// Finds a module without compiling it.
    pub(super) fn find(&self, path: &str) -> Result<ModuleSource, Error> {
        match self.pulled.get(path) {
            Some(bytes) => Ok(ModuleSource { path: path.to_owned(), bytes: bytes.clone() }),
            None => module_files::find_module(self.mounts, path),
        }
    }
}
