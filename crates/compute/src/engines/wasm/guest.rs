//! One guest: its WASI context, its limits, its store, and words for how it broke down.

use super::limits::Limits;
use super::params::Params;
use super::poll::Monotonic;
use super::stdio::Output;
use super::{error, files};
use crate::engines::EngineRequest;
use crate::logs::LogStream;
use bacalhau_model::Error;
use std::time::Instant;
use wasmtime::{Engine, Store, Trap, WasmBacktrace};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::WasiP1Ctx;

/// Functions named in the text about a trap.
const SHOWN_FRAMES: usize = 5;

/// What a store holds.
pub(super) struct Guest {
    pub(super) wasi: WasiP1Ctx,
    pub(super) limits: Limits,
    pub(super) clock: Monotonic,
}

/// Sets up arguments, environment, streams and, if the module can use them, files.
pub(super) fn prepare(
    params: &Params,
    request: &EngineRequest,
    memory_limit: u64,
    uses_files: bool,
) -> Result<Guest, Error> {
    let mut wasi = WasiCtxBuilder::new();
    let clock = Monotonic(Instant::now());
    wasi.monotonic_clock(clock);
    // Each guest has a thread of its own, so its file operations may block it.
    wasi.allow_blocking_current_thread(true);
    wasi.arg("").args(&params.arguments).envs(&request.env);
    wasi.stdout(Output { log: request.log.clone(), stream: LogStream::Stdout });
    wasi.stderr(Output { log: request.log.clone(), stream: LogStream::Stderr });
    if uses_files {
        for folder in files::present(request)? {
            wasi.preopened_dir(&folder.host_path, &folder.guest_path, folder.permissions).map_err(|e| {
                error(format!("cannot present {} to the module: {e:#}", folder.guest_path)).retryable()
            })?;
        }
    }
    Ok(Guest { wasi: wasi.build_p1(), limits: Limits::new(memory_limit), clock })
}

/// A store that enforces the limits and yields with every tick.
pub(super) fn store(engine: &Engine, guest: Guest) -> Store<Guest> {
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.limits);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store
}

/// A trap in words: what happened, and in which functions.
pub(super) fn trap_text(trap: &wasmtime::Error) -> String {
    let what = match trap.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => trap.root_cause().to_string(),
    };
    let mut text = format!("the WASM module broke down: {}", what.trim_start_matches("wasm trap: "));
    let Some(backtrace) = trap.downcast_ref::<WasmBacktrace>() else { return text };
    let frames: Vec<String> = backtrace
        .frames()
        .iter()
        .take(SHOWN_FRAMES)
        .map(|frame| match frame.func_name() {
            Some(name) => name.to_owned(),
            None => format!("function {}", frame.func_index()),
        })
        .collect();
    if !frames.is_empty() {
        text = format!("{text} (in {})", frames.join(" < "));
    }
    text
}
