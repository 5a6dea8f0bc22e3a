//! Bounds how many files a module has open: beyond it gets `EMFILE`, as from an operating system.
//!
//! wasmtime's own functions know no such bound, and the node's files are one budget for all it does. They still do the
//! work here; these wrappers count.

use super::guest::Guest;
use super::linking::WASI;
use std::sync::Arc;
use wasmtime::{Caller, Linker, TypedFunc, error::Context};

/// Files of one module at most.
const MAX_OPEN: u32 = 1024;

const SUCCESS: i32 = 0;
const TOO_MANY: i32 = 33;

/// Parameters of `path_open`: folder, lookup flags, path and length, open flags, rights twice, flags, result address.
type Open = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

/// What one module has open, and wasmtime's functions in its store.
#[derive(Default)]
pub(super) struct OpenFiles {
    count: u32,
    open: Option<TypedFunc<Open, i32>>,
    close: Option<TypedFunc<i32, i32>>,
    renumber: Option<TypedFunc<(i32, i32), i32>>,
}

/// Puts the wrappers into a linker that has wasmtime's functions.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let own = Arc::new(linker.clone());
    linker.allow_shadowing(true);
    let linker_of = Arc::clone(&own);
    linker.func_wrap_async(WASI, "path_open", move |mut caller: Caller<'_, Guest>, parameters: Open| {
        let own = Arc::clone(&linker_of);
        Box::new(async move {
            if caller.data().open_files.count >= MAX_OPEN {
                return Ok(TOO_MANY);
            }
            let known = caller.data().open_files.open.clone();
            let open = match known {
                Some(open) => open,
                None => find(&own, &mut caller, "path_open")?.typed(&caller)?,
            };
            caller.data_mut().open_files.open = Some(open.clone());
            let errno = open.call_async(&mut caller, parameters).await?;
            if errno == SUCCESS {
                caller.data_mut().open_files.count += 1;
            }
            wasmtime::Result::Ok(errno)
        })
    })?;
    let linker_of = Arc::clone(&own);
    linker.func_wrap_async(WASI, "fd_close", move |mut caller: Caller<'_, Guest>, (fd,): (i32,)| {
        let own = Arc::clone(&linker_of);
        Box::new(async move {
            let known = caller.data().open_files.close.clone();
            let close = match known {
                Some(close) => close,
                None => find(&own, &mut caller, "fd_close")?.typed(&caller)?,
            };
            caller.data_mut().open_files.close = Some(close.clone());
            let errno = close.call_async(&mut caller, fd).await?;
            closed(&mut caller, errno);
            wasmtime::Result::Ok(errno)
        })
    })?;
    let linker_of = own;
    linker.func_wrap_async(
        WASI,
        "fd_renumber",
        move |mut caller: Caller<'_, Guest>, (from, to): (i32, i32)| {
            let own = Arc::clone(&linker_of);
            Box::new(async move {
                let known = caller.data().open_files.renumber.clone();
                let renumber = match known {
                    Some(renumber) => renumber,
                    None => find(&own, &mut caller, "fd_renumber")?.typed(&caller)?,
                };
                caller.data_mut().open_files.renumber = Some(renumber.clone());
                let errno = renumber.call_async(&mut caller, (from, to)).await?;
                if from != to {
                    closed(&mut caller, errno);
                }
                wasmtime::Result::Ok(errno)
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Folders and streams that were open from the start count as well once closed; the bound is that much higher then.
fn closed(caller: &mut Caller<'_, Guest>, errno: i32) {
    if errno == SUCCESS {
        let files = &mut caller.data_mut().open_files;
        files.count = files.count.saturating_sub(1);
    }
}

fn find(own: &Linker<Guest>, caller: &mut Caller<'_, Guest>, name: &str) -> wasmtime::Result<wasmtime::Func> {
    let function = own.get(caller, WASI, name)?.into_func();
    function.with_context(|| format!("WASI has no function {name}"))
}
