//! Compiled modules, kept by content: each is compiled once, however many executions start at the same time.
//!
//! In memory the least recently used go first when the machine code of all together grows too large. wasmtime's own
//! cache on disk lies below this one.

use super::error;
use super::guest::Guest;
use super::linking::WASI;
use bacalhau_model::Error;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use wasmtime::{InstancePre, Linker, Module};

/// Modules kept in memory at most.
const MAX_MODULES: usize = 1024;

/// Magic number and layer of a component, which starts like a module.
const COMPONENT_HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// A compiled module and what is known of it.
pub(super) struct Prepared {
    pub(super) module: Module,
    /// Names of the modules it imports from, except WASI.
    pub(super) imports: BTreeSet<String>,
    /// It can ask for files; one that cannot needs none presented.
    pub(super) uses_files: bool,
    /// Ready to instantiate, if it imports from WASI alone.
    pub(super) ready: Option<InstancePre<Guest>>,
}

type Slot = Arc<OnceLock<Result<Arc<Prepared>, Error>>>;

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
    max_bytes: usize,
    entries: Mutex<Entries>,
}

impl ModuleCache {
    pub(super) fn new(engine: wasmtime::Engine, linker: Linker<Guest>, max_bytes: usize) -> ModuleCache {
        ModuleCache { engine, linker, max_bytes, entries: Mutex::default() }
    }

    /// The compiled form of a module. Blocks while it is compiled, here or by another caller. `name` is for errors.
    ///
    /// # Errors
    /// The bytes are no module this engine can run.
    pub(super) fn get(&self, name: &str, bytes: &[u8]) -> Result<Arc<Prepared>, Error> {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let slot = self.slot(digest);
        let mut fresh = false;
        let result = slot.get_or_init(|| {
            fresh = true;
            self.compile(bytes).map(Arc::new)
        });
        if fresh {
            match result {
                Ok(prepared) => self.account(digest, prepared.code_bytes()),
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

    fn compile(&self, bytes: &[u8]) -> Result<Prepared, Error> {
        if bytes.starts_with(COMPONENT_HEADER) {
            return Err(error(
                "it is a WebAssembly component; this node runs core modules with WASI preview 1",
            )
            .hint("Build the program for the target wasm32-wasip1"));
        }
        let module = Module::from_binary(&self.engine, bytes).map_err(|e| error(format!("{e:#}")))?;
        let uses_files = module.imports().any(|i| i.module() == WASI && can_reach_files(i.name()));
        let imports =
            module.imports().map(|i| i.module().to_owned()).filter(|m| m != WASI).collect::<BTreeSet<_>>();
        let ready = if imports.is_empty() {
            Some(self.linker.instantiate_pre(&module).map_err(|e| error(format!("{e:#}")))?)
        } else {
            None
        };
        Ok(Prepared { module, imports, uses_files, ready })
    }
}

impl Prepared {
    fn code_bytes(&self) -> usize {
        let image = self.module.image_range();
        (image.end as usize).saturating_sub(image.start as usize)
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
        ModuleCache::new(engine, linker, max_bytes)
    }

    fn module(number: u32) -> Vec<u8> {
        wat::parse_str(format!("(module (func (export \"f\") (result i32) (i32.const {number})))")).unwrap()
    }

    #[test]
    fn all_callers_get_the_one_that_was_compiled() {
        let cache = cache(1 << 30);
        let bytes = module(1);
        let prepared: Vec<Arc<Prepared>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| cache.get("m", &bytes).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(prepared.iter().all(|p| Arc::ptr_eq(p, &prepared[0])));
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let one = cache(0).get("m", &module(0)).unwrap().code_bytes();
        let cache = cache(3 * one);
        let kept = cache.get("m", &module(0)).unwrap();
        for number in 1..20 {
            cache.get("m", &module(number)).unwrap();
            assert!(Arc::ptr_eq(&kept, &cache.get("m", &module(0)).unwrap()));
        }
        let entries = cache.entries.lock().unwrap();
        assert!(entries.bytes <= 3 * one && entries.by_digest.len() <= 3);
        assert_eq!(entries.bytes, entries.by_digest.values().map(|e| e.bytes).sum::<usize>());
    }

    #[test]
    fn what_cannot_be_compiled_is_not_kept() {
        let cache = cache(1 << 30);
        let error = cache.get("/m.wasm", b"nonsense").err().unwrap();
        assert!(error.message.starts_with("failed to load module \"/m.wasm\": "), "{error}");
        assert!(cache.entries.lock().unwrap().by_digest.is_empty());
    }
}
