//! What all guests share: wasmtime's engine, what guests can import, compiled modules; and how one guest is run.

use super::component;
use super::error;
use super::guest::{self, Bounded, Guest, Setup};
use super::http::{Tls, host_module};
use super::library::Library;
use super::limits::{self, Limits};
use super::linking::{self, Plan, Trouble};
use super::modules::{Compiled, ModuleCache};
use super::network::Access;
use super::params::Params;
use super::pool::{self, Kind};
use super::roots::Roots;
use super::stop::Stop;
use super::ticker::Ticker;
use super::{WasmConfig, poll};
use crate::engines::{EngineError, EngineRequest};
use bacalhau_model::Error;
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use wasmtime::component::ResourceTableError;
use wasmtime::{Cache, CacheConfig, Caller, Config, Linker, Store, Trap};
use wasmtime_wasi::I32Exit;

/// What all guests share.
pub(super) struct Runtime {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    modules: ModuleCache,
    ticker: Ticker,
    tls: Tls,
    roots: Arc<Roots>,
}

/// What one guest is to do.
pub(super) struct Job {
    pub(super) params: Params,
    pub(super) access: Arc<Access>,
    /// Modules from registries, by reference.
    pub(super) pulled: HashMap<String, Bytes>,
    pub(super) request: EngineRequest,
}

impl Runtime {
    /// Sets everything up.
    pub(super) fn new(config: &WasmConfig, kind: Kind, roots: Arc<Roots>) -> Result<Runtime, Error> {
        let explain =
            |what: &str, e: &wasmtime::Error| error(format!("cannot set up the WASM runtime: {what}: {e:#}"));
        let mut settings = Config::new();
        // No memory beyond 4 GiB; memory shared between threads is left out of the build. Both would slip past the limit.
        settings.wasm_memory64(false);
        settings.epoch_interruption(true).native_unwind_info(false).max_wasm_stack(1 << 20);
        settings.async_stack_size(2 << 20);
        settings.consume_fuel(kind == Kind::Fuelled);
        if kind == Kind::Pooled {
            settings.allocation_strategy(pool::strategy());
        }
        if let Some(folder) = &config.cache_folder {
            match open_cache(folder, config.cache_folder_bytes) {
                Ok(cache) => {
                    settings.cache(Some(cache));
                }
                // Slower after a restart, nothing else.
                Err(e) => {
                    tracing::warn!(folder = %folder.display(), error = %e, "cannot keep compiled modules on disk")
                }
            }
        }
        let engine = wasmtime::Engine::new(&settings).map_err(|e| explain("engine", &e))?;
        let linker = wasi_linker(&engine).map_err(|e| explain("WASI", &e))?;
        let components = component::linker(&engine).map_err(|e| explain("WASI 0.2", &e))?;
        let modules = ModuleCache::new(engine.clone(), linker.clone(), components, config.cache_memory_bytes);
        let ticker = Ticker::new(engine.clone());
        Ok(Runtime { engine, linker, modules, ticker, tls: Tls::default(), roots })
    }

    /// Runs a guest on this thread.
    pub(super) fn run(&self, job: &Job, stop: &Stop, handle: &Handle) -> Result<i64, EngineError> {
        let entry = self.library(job).load(&job.params.entry_module).map_err(EngineError::not_started)?.1;
        self.run_entry(entry, job, stop, handle)
    }

    /// The same if it is one module or component that this runtime can take; `None` if another has to see about it.
    pub(super) fn run_alone(
        &self,
        job: &Job,
        stop: &Stop,
        handle: &Handle,
    ) -> Option<Result<i64, EngineError>> {
        let entry = self.library(job).load(&job.params.entry_module).ok()?.1;
        let is_alone = match &entry {
            Compiled::Module(module) => module.imports.is_empty(),
            Compiled::Component(_) => true,
        };
        is_alone.then(|| self.run_entry(entry, job, stop, handle))
    }

    fn library<'a>(&'a self, job: &'a Job) -> Library<'a> {
        Library {
            mounts: &job.request.mounts,
            pulled: &job.pulled,
            modules: &self.modules,
            progress: &job.request.progress,
        }
    }

    fn run_entry(
        &self,
        entry: Compiled,
        job: &Job,
        stop: &Stop,
        handle: &Handle,
    ) -> Result<i64, EngineError> {
        let (params, request) = (&job.params, &job.request);
        let memory_limit =
            limits::memory_limit(request.resources.memory).map_err(EngineError::not_started)?;
        let setup = |uses_files| Setup {
            params,
            request,
            access: Arc::clone(&job.access),
            tls: &self.tls,
            roots: &self.roots,
            memory_limit,
            uses_files,
        };
        match entry {
            Compiled::Module(module) => {
                let plan = Plan::make(module, params, &self.library(job), job.access.has_network())
                    .map_err(EngineError::not_started)?;
                let guest = || setup(plan.uses_files()).module();
                let call =
                    async |store: &mut Store<Guest>| plan.call(&self.linker, store, &params.entrypoint).await;
                self.drive(job, stop, handle, guest, call)
            }
            Compiled::Component(component) => {
                component::check(params).map_err(EngineError::not_started)?;
                let guest = || setup(component.uses_files).component();
                let call = async |store: &mut Store<_>| component.call(store, &params.entrypoint).await;
                self.drive(job, stop, handle, guest, call)
            }
        }
    }

    /// Lets a guest's code run until it ends or is to stop.
    fn drive<T: Bounded + Send + 'static>(
        &self,
        job: &Job,
        stop: &Stop,
        handle: &Handle,
        guest: impl FnOnce() -> Result<T, Error>,
        call: impl AsyncFnOnce(&mut Store<T>) -> Result<i64, Trouble>,
    ) -> Result<i64, EngineError> {
        if stop.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let guest = guest().map_err(EngineError::not_started)?;
        let mut store =
            guest::store(&self.engine, guest, job.params.fuel).map_err(EngineError::not_started)?;
        let ticking = self.ticker.start().map_err(EngineError::not_started)?;
        stop.begin();
        job.request.progress.started();
        let outcome = handle.block_on(async {
            tokio::select! {
                biased;
                reason = stop.reached() => Err(reason),
                outcome = call(&mut store) => Ok(outcome),
            }
        })?;
        drop(ticking);
        outcome.or_else(|trouble| ending(trouble, store.data_mut().limits(), job.params.fuel))
    }
}

/// How a guest that did not simply return has ended.
fn ending(trouble: Trouble, limits: &Limits, fuel: Option<u64>) -> Result<i64, EngineError> {
    let trap = match trouble {
        Trouble::Setup(error) => return Err(EngineError::not_started(error)),
        Trouble::Guest(trap) => trap,
    };
    if let Some(exit) = trap.downcast_ref::<I32Exit>() {
        // The guest's number is unsigned.
        return Ok(i64::from(exit.0.cast_unsigned()));
    }
    if limits.refused_table() {
        let error = error(format!(
            "table limit exceeded: the module asked for more than {} table elements",
            limits::MAX_TABLE_ELEMENTS
        ))
        .fails_execution();
        return Err(EngineError::Failed { exit_code: Some(1), error });
    }
    if let Some(refused) = limits.refused() {
        let error = error(format!(
            "memory limit exceeded: the module asked for {refused} bytes, the limit is {} bytes",
            limits.limit()
        ))
        .hint("Ask for more memory in the task's Resources, or have the program use less")
        .fails_execution();
        return Err(EngineError::Failed { exit_code: Some(1), error });
    }
    let error = match fuel {
        Some(fuel) if trap.downcast_ref() == Some(&Trap::OutOfFuel) => {
            error(format!("fuel limit exceeded: the module executed more than {fuel} instructions"))
                .hint("Give the task more Fuel, or none for no limit")
        }
        _ if matches!(trap.downcast_ref(), Some(ResourceTableError::Full)) => error(format!(
            "the module holds more than {} files, streams and requests",
            limits::max_resources()
        ))
        .hint("Close what is not needed any more"),
        _ => error(guest::trap_text(&trap)),
    };
    Err(EngineError::Failed { exit_code: Some(1), error: error.fails_execution() })
}

fn open_cache(folder: &Path, bytes: u64) -> Result<Cache, String> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| e.to_string())?;
    let mut config = CacheConfig::new();
    config.with_directory(folder).with_files_total_size_soft_limit(bytes).with_file_count_soft_limit(10_000);
    config.with_cleanup_interval(Duration::from_secs(3600));
    Cache::new(config).map_err(|e| format!("{e:#}"))
}

fn wasi_linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |guest: &mut Guest| &mut guest.wasi)?;
    // wasmtime's own refuses codes from 126 on, which programs do use.
    linker.allow_shadowing(true);
    linker.func_wrap(linking::WASI, "proc_exit", |code: i32| -> wasmtime::Result<()> {
        Err(I32Exit(code).into())
    })?;
    // wasmtime's own would sleep where it cannot be stopped.
    linker.func_wrap_async(
        linking::WASI,
        "poll_oneoff",
        |caller: Caller<'_, Guest>, (list, events, count, written): (u32, u32, u32, u32)| {
            Box::new(poll::poll_oneoff(caller, list, events, count, written))
        },
    )?;
    linker.allow_shadowing(false);
    host_module::add_to_linker(&mut linker)?;
    Ok(linker)
}
