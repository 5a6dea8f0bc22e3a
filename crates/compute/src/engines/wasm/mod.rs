//! The `wasm` engine: WASI preview 1 modules and WASI 0.2 components under wasmtime.
//!
//! Each guest runs on its own thread of the blocking pool. It yields there every tick of an epoch clock, so that a
//! loop that never ends is stopped as promptly as a guest that sleeps. What a guest may reach of the network is decided
//! in `network`, and everything that goes there passes `http` or WASI's sockets.

mod component;
mod files;
mod guest;
mod http;
mod library;
mod limits;
mod linking;
mod module_files;
mod modules;
mod network;
mod params;
mod poll;
mod pool;
mod pull;
mod refusals;
mod roots;
mod runtime;
mod stdio;
mod stop;
mod ticker;

use self::network::Access;
use self::params::Params;
use self::pool::{Kind, Runtimes};
use self::pull::Puller;
use self::runtime::Job;
use self::stop::Stop;
use super::{Engine, EngineError, EngineRequest};
use bacalhau_images::RegistryConfig;
use bacalhau_model::{Error, Execution, Task, error::code};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Component named in errors.
const COMPONENT: &str = "WASM";

/// Characters of an error's message or hint at most.
const MAX_TEXT: usize = 2000;

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
    /// How registries are asked for modules.
    pub registry: RegistryConfig,
    /// Folder for modules that were pulled. `None` pulls them again for each execution.
    pub modules_folder: Option<PathBuf>,
    /// Bytes of that folder at most.
    pub modules_folder_bytes: u64,
    /// Folder for files that guests only read and share. Emptied when the first guest comes. `None` lays them out for each
    /// execution.
    pub roots_folder: Option<PathBuf>,
}

impl Default for WasmConfig {
    /// No folders, 512 MiB of machine code and 1 GiB of modules there, 64 MiB in memory.
    fn default() -> WasmConfig {
        WasmConfig {
            cache_folder: None,
            cache_folder_bytes: 512 << 20,
            cache_memory_bytes: 64 << 20,
            registry: RegistryConfig::default(),
            modules_folder: None,
            modules_folder_bytes: 1 << 30,
            roots_folder: None,
        }
    }
}

/// The engine. Costs next to nothing until the first guest runs.
pub struct WasmEngine {
    runtimes: Arc<Runtimes>,
    puller: Puller,
}

impl WasmEngine {
    /// An engine with these settings.
    pub fn new(config: WasmConfig) -> WasmEngine {
        let puller =
            Puller::new(config.registry.clone(), config.modules_folder.clone(), config.modules_folder_bytes);
        WasmEngine { runtimes: Arc::new(Runtimes::new(config)), puller }
    }
}

/// Runs a guest on this thread: in the pool if it fits there, else by itself.
fn run(runtimes: &Runtimes, job: &Job, stop: &Stop, handle: &Handle) -> Result<i64, EngineError> {
    let params = &job.params;
    let is_ordinary = params.fuel.is_none() && params.import_modules.is_empty();
    if is_ordinary
        && let Some((pooled, _place)) = runtimes.place()
        && let Some(result) = pooled.run_alone(job, stop, handle)
    {
        return result;
    }
    let kind = if params.fuel.is_some() { Kind::Fuelled } else { Kind::Plain };
    runtimes.get(kind).map_err(EngineError::not_started)?.run(job, stop, handle)
}

impl Engine for WasmEngine {
    fn name(&self) -> &'static str {
        "wasm"
    }

    /// It is part of the node.
    fn version(&self) -> Option<String> {
        Some(format!("Wasmtime {}", wasmtime_environ::VERSION))
    }

    /// What the program itself is made of: nobody writes there.
    fn program_inputs(&self, task: &Task) -> Vec<String> {
        Params::read(&task.engine).map_or(Vec::new(), |params| {
            [params.entry_module].into_iter().chain(params.import_modules).collect()
        })
    }

    fn validate(&self, task: &Task) -> Result<(), Error> {
        pull::validate(&Params::read(&task.engine)?)?;
        Access::of(&task.network()).map(|_| ())
    }

    fn check<'a>(&'a self, execution: &'a Execution, task: &'a Task) -> BoxFuture<'a, Result<(), Error>> {
        async move { self.puller.check(&Params::read(&task.engine)?, execution.job.as_deref()).await }.boxed()
    }

    fn run(&self, request: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>> {
        async move { self.run_here(request).await.map_err(shortened) }.boxed()
    }
}

impl WasmEngine {
    async fn run_here(&self, request: EngineRequest) -> Result<i64, EngineError> {
        let params = Params::read(&request.engine).map_err(EngineError::not_started)?;
        let access = Access::of(&request.network).map_err(EngineError::not_started)?;
        let stop = Stop::new(&request);
        // Its thread does not notice that this future is gone.
        let _guard = stop.when_dropped();
        let pulled = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(EngineError::Cancelled),
            pulled = self.puller.pull(&params, request.execution.job.as_deref(), &request.progress) => {
                pulled.map_err(EngineError::not_started)?
            }
        };
        let job = Job { params, access: Arc::new(access), pulled, request };
        let (thread_stop, handle) = (stop.clone(), Handle::current());
        let runtimes = Arc::clone(&self.runtimes);
        let thread = tokio::task::spawn_blocking(move || run(&runtimes, &job, &thread_stop, &handle));
        tokio::select! {
            result = thread => result.unwrap_or_else(|panic| {
                Err(EngineError::not_started(error(format!("the WASM runtime broke down: {panic}"))))
            }),
            reason = stop.without_the_guest() => Err(reason),
        }
    }
}

/// The names in a program may have 100,000 bytes each; an error that quotes some still has to fit into a message.
fn shortened(error: EngineError) -> EngineError {
    match error {
        EngineError::Failed { exit_code, mut error } => {
            for text in [&mut error.message, &mut error.hint] {
                if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
                    text.truncate(end);
                    text.push_str("...");
                }
            }
            EngineError::Failed { exit_code, error }
        }
        other => other,
    }
}

/// An error of this engine.
fn error(message: impl Into<String>) -> Error {
    Error::new(code::BAD_REQUEST, message).component(COMPONENT)
}
