//! Components: programs for WASI 0.2 (`wasi:cli/command`), with `wasi:http` requests.
//!
//! A component brings its dependencies with it, so there is nothing to look for: what it imports is WASI, or an error.

use super::error;
use super::guest::ComponentGuest;
use super::linking::Trouble;
use super::params::{DEFAULT_ENTRYPOINT, Params};
use super::refusals;
use bacalhau_model::Error;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker, Val};
use wasmtime::{Engine, Store};
use wasmtime_wasi::p2::bindings::CommandPre;

/// Magic number and layer of a component, which starts like a module.
const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// What the errors call the version offered.
const OFFERED: &str = "WASI 0.2";

/// Whether these bytes are a component's.
pub(super) fn is_component(bytes: &[u8]) -> bool {
    bytes.starts_with(HEADER)
}

/// What components can import.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<ComponentGuest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    Ok(linker)
}

/// What only modules know must not be asked of a component.
pub(super) fn check(params: &Params) -> Result<(), Error> {
    if params.import_modules.is_empty() {
        return Ok(());
    }
    Err(error("ImportModules is for modules; the entry module is a component, which brings what it imports")
        .hint("Compose the components into one, such as with `wac plug`, and leave ImportModules out"))
}

/// A compiled component, ready to instantiate.
pub(super) struct PreparedComponent {
    component: Component,
    instance: InstancePre<ComponentGuest>,
    /// It exports `wasi:cli/run`.
    command: Option<CommandPre<ComponentGuest>>,
    /// It can ask for files; one that cannot needs none presented.
    pub(super) uses_files: bool,
}

impl PreparedComponent {
    /// Compiles. Blocks.
    ///
    /// # Errors
    /// It is broken, or imports what this node does not offer.
    pub(super) fn compile(
        engine: &Engine,
        linker: &Linker<ComponentGuest>,
        bytes: &[u8],
    ) -> Result<PreparedComponent, Error> {
        let component = Component::from_binary(engine, bytes).map_err(|e| error(format!("{e:#}")))?;
        let instance = linker
            .instantiate_pre(&component)
            .map_err(|e| unknown_import(engine, &component).unwrap_or_else(|| error(format!("{e:#}"))))?;
        let command = CommandPre::new(instance.clone()).ok();
        let uses_files =
            component.component_type().imports(engine).any(|(name, _)| name.starts_with("wasi:filesystem/"));
        Ok(PreparedComponent { component, instance, command, uses_files })
    }

    /// Bytes of machine code.
    pub(super) fn code_bytes(&self) -> usize {
        let image = self.component.image_range();
        (image.end as usize).saturating_sub(image.start as usize)
    }

    /// Instantiates it and calls `wasi:cli/run`, or the function the job names. Exit code 0, or 1 for an error result.
    pub(super) async fn call(
        &self,
        store: &mut Store<ComponentGuest>,
        entrypoint: &str,
    ) -> Result<i64, Trouble> {
        if let (Some(command), DEFAULT_ENTRYPOINT) = (&self.command, entrypoint) {
            let command = command.instantiate_async(&mut *store).await.map_err(Trouble::Guest)?;
            let result = command.wasi_cli_run().call_run(store).await.map_err(Trouble::Guest)?;
            return Ok(i64::from(result.is_err()));
        }
        let Some(export) = self.component.get_export_index(None, entrypoint) else {
            return Err(Trouble::Setup(self.no_entrypoint(entrypoint)));
        };
        let instance = self.instance.instantiate_async(&mut *store).await.map_err(Trouble::Guest)?;
        let Some(function) = instance.get_func(&mut *store, export) else {
            return Err(Trouble::Setup(self.no_entrypoint(entrypoint)));
        };
        let signature = function.ty(&*store);
        if signature.params().len() > 0 {
            return Err(Trouble::Setup(refusals::takes_parameters(entrypoint)));
        }
        let mut results = vec![Val::Bool(false); signature.results().len()];
        function.call_async(store, &[], &mut results).await.map_err(Trouble::Guest)?;
        Ok(i64::from(matches!(results.first(), Some(Val::Result(Err(_))))))
    }

    fn no_entrypoint(&self, entrypoint: &str) -> Error {
        let engine = self.component.engine();
        let exports = self.component.component_type();
        let names = || exports.exports(engine).map(|(name, _)| name);
        let refusal = if entrypoint == DEFAULT_ENTRYPOINT {
            error("the component is no command: it does not export wasi:cli/run@0.2")
        } else {
            refusals::no_entrypoint(entrypoint, "component")
        };
        let is_server = names().any(|name| name.starts_with("wasi:http/incoming-handler"));
        refusal.hint(if is_server {
            "It is a web server (wasi:http/incoming-handler); a job runs a program to its end".to_owned()
        } else {
            refusals::exported("component", "nothing", names())
        })
    }
}

/// Words for the first import that cannot be satisfied, if its name says why.
fn unknown_import(engine: &Engine, component: &Component) -> Option<Error> {
    let component_type = component.component_type();
    for (name, item) in component_type.imports(engine) {
        let (package, version) = match name.split_once('@') {
            Some((interface, version)) => (interface.split_once('/').map_or(interface, |(p, _)| p), version),
            None => (name, ""),
        };
        if let Some(wasi) = package.strip_prefix("wasi:") {
            if !["cli", "clocks", "filesystem", "http", "io", "random", "sockets"].contains(&wasi) {
                let hint = "This node offers the WASI packages cli, clocks, filesystem, http, io, random and sockets";
                return Some(refusals::unknown("import", name).hint(hint));
            }
            if !version.starts_with("0.2.") {
                let message = format!("the component needs \"{name}\"; this node offers {OFFERED}");
                return Some(error(message).hint("Build the program for the target wasm32-wasip2"));
            }
            continue;
        }
        // Types need no implementation.
        if !matches!(item.ty, ComponentItem::Type(_)) {
            let hint = "A component may import WASI 0.2 only: compose it with the component that exports this, such as with `wac plug`";
            return Some(refusals::unknown("import", name).hint(hint));
        }
    }
    None
}
