//! Compiled modules and components, kept by content: each is compiled once, however many executions start together.
//!
//! In memory the least recently used go first when the machine code of all together grows too large. wasmtime's own
//! cache on disk lies below this one.

use super::component::{self, PreparedComponent};
use super::error;
use super::guest::{ComponentGuest, Guest};
use super::http::host_module;
use super::linking::WASI;
use crate::engines::Progress;
use bacalhau_model::Error;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use wasmtime::{InstancePre, Linker, Module};

/// How the binary format begins.
const MAGIC: &[u8] = b"\0asm";
/// Modules of at least this many bytes take so long to compile that it is worth a line in the history.
const LARGE: usize = 1 << 20;

/// Modules kept in memory at most.
const MAX_MODULES: usize = 1024;

/// A compiled module and what is known of it.
pub(super) struct Prepared {
    pub(super) module: Module,
    /// Names of the modules it imports from, except those the node offers.
    pub(super) imports: BTreeSet<String>,
    /// It imports the module for HTTP requests.
    pub(super) uses_network: bool,
    /// It can ask for files; one that cannot needs none presented.
    pub(super) uses_files: bool,
    /// Ready to instantiate, if it imports nothing else than the node offers.
    pub(super) ready: Option<InstancePre<Guest>>,
}

/// What is in the cache.
#[derive(Clone)]
pub(super) enum Compiled {
    /// A module, for WASI preview 1 or for other modules.
    Module(Arc<Prepared>),
    /// A component, for WASI 0.2.
    Component(Arc<PreparedComponent>),
}

type Slot = Arc<OnceLock<Result<Compiled, Error>>>;

struct Entry {
    slot: Slot,
    last_used: u64,
    bytes: usize,
}

#[derive(Default)]
struct Entries {
    by_digest: HashMap<[u8; 32], Entry>,
    clock: u64,
    bytes: usize,
}

/// The modules of one engine.
pub(super) struct ModuleCache {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    component_linker: wasmtime::component::Linker<ComponentGuest>,
    max_bytes: usize,
    entries: Mutex<Entries>,
}

impl ModuleCache {
    pub(super) fn new(
        engine: wasmtime::Engine,
        linker: Linker<Guest>,
        component_linker: wasmtime::component::Linker<ComponentGuest>,
        max_bytes: usize,
    ) -> ModuleCache {
        ModuleCache { engine, linker, component_linker, max_bytes, entries: Mutex::default() }
    }

    /// The compiled form of a module that others import from; see [`ModuleCache::get`].
    ///
    /// # Errors
    /// It is a component as well.
    pub(super) fn module(&self, name: &str, bytes: &[u8], tell: &Progress) -> Result<Arc<Prepared>, Error> {
        match self.get(name, bytes, tell)? {
            Compiled::Module(module) => Ok(module),
            Compiled::Component(_) => {
                Err(error(format!("\"{name}\" is a component; a module can import from modules only")))
            }
        }
    }

    /// The compiled form of a module or component. Blocks while it is compiled, here or by another caller. `name` is
    /// for errors and for what is told.
    ///
    /// # Errors
    /// The bytes are nothing this engine can run.
    pub(super) fn get(&self, name: &str, bytes: &[u8], tell: &Progress) -> Result<Compiled, Error> {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let slot = self.slot(digest);
        let mut fresh = false;
        let result = slot.get_or_init(|| {
            fresh = true;
            if bytes.len() >= LARGE {
                tell.preparing(format!("Compiling \"{name}\" ({} MiB)", bytes.len() >> 20));
            }
            self.compile(bytes)
        });
        if fresh {
            match result {
                Ok(compiled) => self.account(digest, compiled.code_bytes()),
                Err(_) => self.forget(digest),
            }
        }
        result
            .clone()
            .map_err(|e| Error { message: format!("failed to load module \"{name}\": {}", e.message), ..e })
    }

    fn slot(&self, digest: [u8; 32]) -> Slot {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock += 1;
        let clock = entries.clock;
        let entry = entries.by_digest.entry(digest);
        let entry = entry.or_insert_with(|| Entry { slot: Slot::default(), last_used: clock, bytes: 0 });
        entry.last_used = clock;
        Arc::clone(&entry.slot)
    }

    /// Notes the size of a new module and lets the least recently used go until all fit.
    fn account(&self, digest: [u8; 32], bytes: usize) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.by_digest.get_mut(&digest) {
            entry.bytes = bytes;
            entries.bytes = entries.bytes.saturating_add(bytes);
        }
        while entries.bytes > self.max_bytes || entries.by_digest.len() > MAX_MODULES {
            let oldest = entries.by_digest.iter().filter(|(_, e)| e.slot.get().is_some());
            let Some(oldest) = oldest.min_by_key(|(_, entry)| entry.last_used).map(|(digest, _)| *digest)
            else {
                break;
            };
            if let Some(entry) = entries.by_digest.remove(&oldest) {
                entries.bytes = entries.bytes.saturating_sub(entry.bytes);
            }
        }
    }

    fn forget(&self, digest: [u8; 32]) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_digest.remove(&digest);
    }

    fn compile(&self, bytes: &[u8]) -> Result<Compiled, Error> {
        if component::is_component(bytes) {
            let component = PreparedComponent::compile(&self.engine, &self.component_linker, bytes)?;
            return Ok(Compiled::Component(Arc::new(component)));
        }
        if !bytes.starts_with(MAGIC) {
            let start = bytes.get(..MAGIC.len()).unwrap_or(bytes).escape_ascii();
            return Err(error(format!("it is not a WebAssembly binary: it begins with \"{start}\""))
                .hint("Compile it first; the text format is compiled by wat2wasm or `wasm-tools parse`"));
        }
        let module = Module::from_binary(&self.engine, bytes).map_err(|e| error(format!("{e:#}")))?;
        let uses_files = module.imports().any(|i| i.module() == WASI && can_reach_files(i.name()));
        let uses_network = module.imports().any(|i| i.module() == host_module::MODULE);
        let offered = [WASI, host_module::MODULE];
        let others = module.imports().map(|i| i.module()).filter(|name| !offered.contains(name));
        let imports: BTreeSet<String> = others.map(str::to_owned).collect();
        let ready = if imports.is_empty() {
            Some(self.linker.instantiate_pre(&module).map_err(|e| error(format!("{e:#}")))?)
        } else {
            None
        };
        Ok(Compiled::Module(Arc::new(Prepared { module, imports, uses_files, uses_network, ready })))
    }
}

impl Compiled {
    fn code_bytes(&self) -> usize {
        match self {
            Compiled::Module(prepared) => {
                let image = prepared.module.image_range();
                (image.end as usize).saturating_sub(image.start as usize)
            }
            Compiled::Component(component) => component.code_bytes(),
        }
    }
}

/// WASI functions with which a guest can open, list or discover files.
fn can_reach_files(function: &str) -> bool {
    function.starts_with("path_") || function.starts_with("fd_prestat_") || function == "fd_readdir"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(max_bytes: usize) -> ModuleCache {
        let engine = wasmtime::Engine::default();
        let linker = Linker::new(&engine);
        let component_linker = wasmtime::component::Linker::new(&engine);
        ModuleCache::new(engine, linker, component_linker, max_bytes)
    }

    fn get(cache: &ModuleCache, bytes: &[u8]) -> Result<Arc<Prepared>, Error> {
        cache.module("/m.wasm", bytes, &Progress::new(|_| {}))
    }

    fn module(number: u32) -> Vec<u8> {
        wat::parse_str(format!("(module (func (export \"f\") (result i32) (i32.const {number})))")).unwrap()
    }

    #[test]
    fn all_callers_get_the_one_that_was_compiled() {
        let cache = cache(1 << 30);
        let bytes = module(1);
        let prepared: Vec<Arc<Prepared>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| get(&cache, &bytes).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(prepared.iter().all(|p| Arc::ptr_eq(p, &prepared[0])));
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let one = Compiled::Module(get(&cache(0), &module(0)).unwrap()).code_bytes();
        let cache = cache(3 * one);
        let kept = get(&cache, &module(0)).unwrap();
        for number in 1..20 {
            get(&cache, &module(number)).unwrap();
            assert!(Arc::ptr_eq(&kept, &get(&cache, &module(0)).unwrap()));
        }
        let entries = cache.entries.lock().unwrap();
        assert!(entries.bytes <= 3 * one && entries.by_digest.len() <= 3);
        assert_eq!(entries.bytes, entries.by_digest.values().map(|e| e.bytes).sum::<usize>());
    }

    #[test]
    fn what_cannot_be_compiled_is_not_kept() {
        let cache = cache(1 << 30);
        let error = get(&cache, b"nonsense").err().unwrap();
        let expected =
            r#"failed to load module "/m.wasm": it is not a WebAssembly binary: it begins with "nons""#;
        assert_eq!(error.message, expected);
        assert!(error.hint.contains("wat2wasm"), "{error}");
        let error = get(&cache, b"\0as").err().unwrap();
        assert!(error.message.ends_with(r#"it begins with "\x00as""#), "{error}");
        let error = get(&cache, b"\0asm\x01\0\0\0nonsense").err().unwrap();
        assert!(error.message.contains("offset"), "{error}");
        assert!(cache.entries.lock().unwrap().by_digest.is_empty());
    }
}
