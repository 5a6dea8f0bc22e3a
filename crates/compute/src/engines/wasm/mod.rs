//! The `wasm` engine: WASI preview 1 commands under wasmtime.
//!
//! Each guest runs on its own thread of the blocking pool. It yields there every tick of an epoch clock, so that a
//! loop that never ends is stopped as promptly as a guest that sleeps. Guests have no network.

mod files;
mod guest;
mod limits;
mod linking;
mod modules;
mod params;
mod poll;
mod stdio;
mod ticker;

use self::guest::Guest;
use self::linking::Plan;
use self::modules::ModuleCache;
use self::params::Params;
use self::ticker::Ticker;
use super::{Engine, EngineError, EngineRequest};
use bacalhau_model::{Error, Task, error::code};
use futures_util::future::BoxFuture;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime::{Cache, CacheConfig, Caller, Config, Linker};
use wasmtime_wasi::I32Exit;

/// Component named in errors.
const COMPONENT: &str = "WASM";

/// Time a guest's thread has to answer when it is to stop; it does so within milliseconds unless a file operation
/// of the host hangs. The execution then ends without it.
const GRACE: Duration = Duration::from_secs(5);

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct WasmConfig {
    /// Folder for compiled modules, so that a restart compiles nothing again. Whoever can write there can run code as
    /// the node: it is created 0700. `None` keeps compiled modules in memory only.
    pub cache_folder: Option<PathBuf>,
    /// Bytes of the folder at most, roughly; wasmtime removes what was used least recently.
    pub cache_folder_bytes: u64,
    /// Machine code kept in memory, in bytes.
    pub cache_memory_bytes: usize,
}

impl Default for WasmConfig {
    /// No folder, 512 MiB there, 64 MiB in memory.
    fn default() -> WasmConfig {
        WasmConfig { cache_folder: None, cache_folder_bytes: 512 << 20, cache_memory_bytes: 64 << 20 }
    }
}

/// The engine. Costs next to nothing until the first guest runs.
pub struct WasmEngine {
    config: WasmConfig,
    runtime: OnceLock<Result<Arc<Runtime>, Error>>,
}

/// What all guests share.
struct Runtime {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    modules: ModuleCache,
    ticker: Ticker,
}

impl WasmEngine {
    /// An engine with these settings.
    pub fn new(config: WasmConfig) -> WasmEngine {
        WasmEngine { config, runtime: OnceLock::new() }
    }

    fn runtime(&self) -> Result<Arc<Runtime>, Error> {
        self.runtime.get_or_init(|| Runtime::new(&self.config).map(Arc::new)).clone()
    }
}

impl Engine for WasmEngine {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn validate(&self, task: &Task) -> Result<(), Error> {
        Params::read(&task.engine).map(|_| ())
    }

    fn run(&self, request: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>> {
        Box::pin(async move {
            let params = Params::read(&request.engine).map_err(EngineError::not_started)?;
            let runtime = self.runtime().map_err(EngineError::not_started)?;
            let stop = Stop::new(&request);
            let (thread_stop, handle) = (stop.clone(), Handle::current());
            let thread =
                tokio::task::spawn_blocking(move || runtime.run(&params, request, &thread_stop, &handle));
            tokio::select! {
                result = thread => result.unwrap_or_else(|panic| {
                    Err(EngineError::not_started(error(format!("the WASM runtime broke down: {panic}"))))
                }),
                reason = stop.without_the_guest() => Err(reason),
            }
        })
    }
}

/// When a guest must stop, and whether it has begun.
#[derive(Clone)]
struct Stop {
    cancel: CancellationToken,
    deadline: Option<Instant>,
    begun: Arc<AtomicBool>,
}

impl Stop {
    fn new(request: &EngineRequest) -> Stop {
        let deadline = request.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Stop { cancel: request.cancel.clone(), deadline, begun: Arc::new(AtomicBool::new(false)) }
    }

    /// Resolves when it is time to stop.
    async fn reached(&self) -> EngineError {
        let deadline = self.deadline;
        let timeout = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => EngineError::Cancelled,
            () = timeout => EngineError::TimedOut,
        }
    }

    /// The same for a thread that does not answer: while it compiles, which cannot be interrupted (it goes on by
    /// itself and leaves its result in the cache), or when the host's file system hangs under the guest.
    async fn without_the_guest(&self) -> EngineError {
        let reason = self.reached().await;
        if self.begun.load(Ordering::Acquire) {
            tokio::time::sleep(GRACE).await;
        }
        reason
    }
}

impl Runtime {
    fn new(config: &WasmConfig) -> Result<Runtime, Error> {
        let explain =
            |what: &str, e: &wasmtime::Error| error(format!("cannot set up the WASM runtime: {what}: {e:#}"));
        let mut settings = Config::new();
        // No memory beyond 4 GiB; memory shared between threads is left out of the build. Both would slip past the limit.
        settings.wasm_memory64(false);
        settings.epoch_interruption(true).native_unwind_info(false).max_wasm_stack(1 << 20);
        settings.async_stack_size(2 << 20);
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
        let modules = ModuleCache::new(engine.clone(), linker.clone(), config.cache_memory_bytes);
        let ticker = Ticker::new(engine.clone());
        Ok(Runtime { engine, linker, modules, ticker })
    }

    /// Runs a guest on this thread.
    fn run(
        &self,
        params: &Params,
        request: EngineRequest,
        stop: &Stop,
        handle: &Handle,
    ) -> Result<i64, EngineError> {
        let limit = limits::memory_limit(request.resources.memory).map_err(EngineError::not_started)?;
        let plan = Plan::make(params, &request.mounts, &self.modules).map_err(EngineError::not_started)?;
        if stop.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let guest =
            guest::prepare(params, &request, limit, plan.uses_files()).map_err(EngineError::not_started)?;
        let ticking = self.ticker.start().map_err(EngineError::not_started)?;
        request.progress.started();
        stop.begun.store(true, Ordering::Release);
        let mut store = guest::store(&self.engine, guest);
        let outcome = handle.block_on(async {
            tokio::select! {
                biased;
                reason = stop.reached() => Err(reason),
                outcome = plan.call(&self.linker, &mut store, &params.entrypoint) => Ok(outcome),
            }
        })?;
        drop(ticking);
        outcome.or_else(|trouble| ending(trouble, &store.data().limits))
    }
}

/// How a guest that did not simply return has ended.
fn ending(trouble: linking::Trouble, limits: &limits::Limits) -> Result<i64, EngineError> {
    let trap = match trouble {
        linking::Trouble::Setup(error) => return Err(EngineError::not_started(error)),
        linking::Trouble::Guest(trap) => trap,
    };
    if let Some(exit) = trap.downcast_ref::<I32Exit>() {
        // The guest's number is unsigned.
        return Ok(i64::from(exit.0.cast_unsigned()));
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
    let error = error(guest::trap_text(&trap)).fails_execution();
    Err(EngineError::Failed { exit_code: Some(1), error })
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
    Ok(linker)
}

/// An error of this engine.
fn error(message: impl Into<String>) -> Error {
    Error::new(code::BAD_REQUEST, message).component(COMPONENT)
}
