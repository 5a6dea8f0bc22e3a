//! One guest: its WASI context, its limits, its store, and words for how it broke down.
//!
//! A guest is a module with WASI preview 1 or a component; both get the same arguments, streams, files and limits.

use super::http::outgoing::Hooks;
use super::http::{Http, Redirects, Tls};
use super::limits::{self, Limits};
use super::network::Access;
use super::params::Params;
use super::poll::Monotonic;
use super::roots::{Root, Roots};
use super::stdio::Output;
use super::{error, files};
use crate::engines::EngineRequest;
use crate::logs::LogStream;
use bacalhau_model::Error;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, Trap, WasmBacktrace};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Functions named in the text about a trap.
const SHOWN_FRAMES: usize = 5;

/// Characters of a function's name shown there.
const SHOWN_NAME: usize = 200;

/// Bytes a guest may have the node copy in one call: what wasmtime itself takes.
const COPIED_BYTES: usize = 128 << 20;

/// What the store of a module holds.
pub(super) struct Guest {
    pub(super) wasi: WasiP1Ctx,
    pub(super) limits: Limits,
    pub(super) clock: Monotonic,
    pub(super) http: Http,
    _root: Option<Arc<Root>>,
}

/// What the store of a component holds.
pub(super) struct ComponentGuest {
    wasi: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    limits: Limits,
    _root: Option<Arc<Root>>,
}

/// What both have.
pub(super) trait Bounded {
    fn limits(&mut self) -> &mut Limits;

    /// Bytes one call of a function of the node may take from the guest.
    fn call_bytes(&self) -> usize;
}

impl Bounded for Guest {
    fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// Files are read and written in the guest's own memory, in pieces as large as the program likes.
    fn call_bytes(&self) -> usize {
        usize::try_from(self.limits.limit()).unwrap_or(usize::MAX).max(COPIED_BYTES)
    }
}

impl Bounded for ComponentGuest {
    fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// What a component hands over is copied.
    fn call_bytes(&self) -> usize {
        COPIED_BYTES
    }
}

impl WasiView for ComponentGuest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for ComponentGuest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// What a guest is made from.
pub(super) struct Setup<'a> {
    pub(super) params: &'a Params,
    pub(super) request: &'a EngineRequest,
    pub(super) access: Arc<Access>,
    pub(super) tls: &'a Tls,
    pub(super) roots: &'a Roots,
    /// Bytes of all its memories together.
    pub(super) memory_limit: u64,
    /// It can ask for files: they are presented.
    pub(super) uses_files: bool,
}

impl Setup<'_> {
    pub(super) fn module(&self) -> Result<Guest, Error> {
        let clock = Monotonic(Instant::now());
        let (mut wasi, root) = self.wasi(clock)?;
        let mut wasi = wasi.build_p1();
        wasi.ctx().table.set_max_capacity(limits::max_resources());
        let (limits, http) = (Limits::new(self.memory_limit), self.http(Redirects::Client));
        Ok(Guest { wasi, limits, clock, http, _root: root })
    }

    pub(super) fn component(&self) -> Result<ComponentGuest, Error> {
        let (mut wasi, root) = self.wasi(Monotonic(Instant::now()))?;
        if self.access.allows_sockets() {
            wasi.inherit_network().allow_ip_name_lookup(true).allow_tcp(true).allow_udp(true);
        } else {
            wasi.allow_ip_name_lookup(false).allow_tcp(false).allow_udp(false);
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::max_resources());
        Ok(ComponentGuest {
            wasi: wasi.build(),
            table,
            http: WasiHttpCtx::new(),
            hooks: Hooks { http: self.http(Redirects::Guest) },
            limits: Limits::new(self.memory_limit),
            _root: root,
        })
    }

    fn http(&self, redirects: Redirects) -> Http {
        Http::new(Arc::clone(&self.access), redirects, self.tls.clone())
    }

    /// Arguments, environment, streams and, if the guest can use them, files.
    fn wasi(&self, clock: Monotonic) -> Result<(WasiCtxBuilder, Option<Arc<Root>>), Error> {
        let (params, request) = (self.params, self.request);
        let mut wasi = WasiCtxBuilder::new();
        wasi.monotonic_clock(clock);
        // Each guest has a thread of its own, so its file operations may block it.
        wasi.allow_blocking_current_thread(true);
        wasi.arg("").args(&params.arguments).envs(&request.env);
        wasi.stdout(Output { log: request.log.clone(), stream: LogStream::Stdout });
        wasi.stderr(Output { log: request.log.clone(), stream: LogStream::Stderr });
        let mut root = None;
        if self.uses_files {
            let files = files::present(request, self.roots)?;
            root = files.root;
            for folder in files.folders {
                wasi.preopened_dir(&folder.host_path, &folder.guest_path, folder.permissions).map_err(
                    |e| {
                        error(format!("cannot present {} to the module: {e:#}", folder.guest_path))
                            .retryable()
                    },
                )?;
            }
        }
        Ok((wasi, root))
    }
}

/// A store that enforces the limits and yields with every tick.
pub(super) fn store<T: Bounded + Send + 'static>(
    engine: &Engine,
    guest: T,
    fuel: Option<u64>,
) -> Result<Store<T>, Error> {
    let call_bytes = guest.call_bytes();
    let mut store = Store::new(engine, guest);
    store.set_hostcall_fuel(call_bytes);
    store.limiter(|guest| guest.limits());
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    if let Some(fuel) = fuel {
        store.set_fuel(fuel).map_err(|e| error(format!("cannot give the module fuel: {e:#}")))?;
    }
    Ok(store)
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
            Some(name) => name.chars().take(SHOWN_NAME).collect(),
            None => format!("function {}", frame.func_index()),
        })
        .collect();
    if !frames.is_empty() {
        text = format!("{text} (in {})", frames.join(" < "));
    }
    text
}
