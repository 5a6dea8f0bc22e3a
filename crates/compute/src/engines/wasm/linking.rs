//! Finds the modules a guest is made of, links them and calls its entrypoint.
//!
//! A module that is imported from is looked for, in this order: among the ImportModules (by target path, by the
//! name inside the module, by file name with or without `.wasm`, by the last part of a registry's reference), as a
//! module of the node (WASI, HTTP requests), and as a path among the inputs.

use super::error;
use super::guest::Guest;
use super::http::host_module;
use super::library::Library;
use super::modules::Prepared;
use super::params::{OCI, Params};
use super::refusals;
use crate::sources::normalise_guest_path;
use bacalhau_model::Error;
use std::collections::HashMap;
use std::sync::Arc;
use wasmtime::{Instance, Linker, Store, Val};

/// The one WASI version offered.
pub(super) const WASI: &str = "wasi_snapshot_preview1";

/// Modules of one guest at most.
const MAX_MODULES: usize = 100;

/// What can go wrong once the guest's code may have run.
pub(super) enum Trouble {
    /// The modules do not fit together.
    Setup(Error),
    /// The guest's code ended other than by returning: exit or trap.
    Guest(wasmtime::Error),
}

/// A module to instantiate and the names others import it by.
struct Step {
    path: String,
    prepared: Arc<Prepared>,
    names: Vec<String>,
}

/// The modules of one guest in the order in which they can be instantiated, and the entry module.
pub(super) struct Plan {
    steps: Vec<Step>,
    entry: Arc<Prepared>,
}

struct Planner<'a> {
    library: &'a Library<'a>,
    listed: Vec<(String, Arc<Prepared>)>,
    steps: Vec<Step>,
    /// Import name to the position of its step.
    known: HashMap<String, usize>,
    /// Paths being looked at, to see circles.
    open: Vec<String>,
}

impl Plan {
    /// Loads and orders all modules. Blocks while they are compiled.
    pub(super) fn make(
        entry: Arc<Prepared>,
        params: &Params,
        library: &Library<'_>,
        has_network: bool,
    ) -> Result<Plan, Error> {
        let plan = Plan::resolve(entry, params, library)?;
        let uses_network =
            plan.entry.uses_network || plan.steps.iter().any(|step| step.prepared.uses_network);
        if uses_network && !has_network {
            // What 1.9 says of a job without network.
            return Err(refusals::unknown("module", host_module::MODULE)
                .hint("It gives HTTP requests, and the job has no network: set Network.Type to HTTP, with Domains, or Host"));
        }
        Ok(plan)
    }

    fn resolve(entry: Arc<Prepared>, params: &Params, library: &Library<'_>) -> Result<Plan, Error> {
        if entry.imports.is_empty() && params.import_modules.is_empty() {
            return Ok(Plan { steps: Vec::new(), entry });
        }
        let mut planner = Planner {
            library,
            listed: Vec::new(),
            steps: Vec::new(),
            known: HashMap::new(),
            open: Vec::new(),
        };
        for path in &params.import_modules {
            planner.listed.push(library.load_module(path)?);
        }
        for (path, prepared) in planner.listed.clone() {
            planner.add(&path.clone(), path, prepared)?;
        }
        for name in &entry.imports {
            planner.resolve(name)?;
        }
        Ok(Plan { steps: planner.steps, entry })
    }

    /// True when any of the modules can ask for files.
    pub(super) fn uses_files(&self) -> bool {
        self.entry.uses_files || self.steps.iter().any(|step| step.prepared.uses_files)
    }

    /// Instantiates all modules and calls the entrypoint. A normal return is exit code 0.
    pub(super) async fn call(
        &self,
        wasi: &Linker<Guest>,
        store: &mut Store<Guest>,
        entrypoint: &str,
    ) -> Result<i64, Trouble> {
        let instance = self.instantiate(wasi, store).await?;
        let Some(function) = instance.get_func(&mut *store, entrypoint) else {
            return Err(Trouble::Setup(self.no_entrypoint(entrypoint)));
        };
        let signature = function.ty(&*store);
        if signature.params().len() > 0 {
            return Err(Trouble::Setup(refusals::takes_parameters(entrypoint)));
        }
        let mut results = vec![Val::I32(0); signature.results().len()];
        function.call_async(store, &[], &mut results).await.map_err(Trouble::Guest)?;
        Ok(0)
    }

    async fn instantiate(&self, wasi: &Linker<Guest>, store: &mut Store<Guest>) -> Result<Instance, Trouble> {
        if let (Some(ready), true) = (&self.entry.ready, self.steps.is_empty()) {
            return ready.instantiate_async(store).await.map_err(Trouble::Guest);
        }
        let mut linker = wasi.clone();
        for step in &self.steps {
            let instance = linker.instantiate_async(&mut *store, &step.prepared.module).await;
            let instance = instance.map_err(|e| link_trouble(&step.path, e))?;
            for name in &step.names {
                linker.instance(&mut *store, name, instance).map_err(|e| link_trouble(&step.path, e))?;
            }
        }
        let instance = linker.instantiate_async(store, &self.entry.module).await;
        instance.map_err(|e| link_trouble("the entry module", e))
    }

    fn no_entrypoint(&self, entrypoint: &str) -> Error {
        let functions = self.entry.module.exports().filter(|e| e.ty().func().is_some()).map(|e| e.name());
        let hint = refusals::exported("module", "no functions", functions);
        refusals::no_entrypoint(entrypoint, "WASM module").hint(hint)
    }
}

/// A missing or mistyped import is a mistake of the job; anything else comes from the guest's code.
fn link_trouble(what: &str, cause: wasmtime::Error) -> Trouble {
    let from_code = cause.is::<wasmtime::Trap>() || cause.is::<wasmtime_wasi::I32Exit>();
    if from_code {
        Trouble::Guest(cause)
    } else {
        Trouble::Setup(error(format!("cannot link {what}: {cause:#}")))
    }
}

impl Planner<'_> {
    /// Makes sure that imports from `name` can be satisfied.
    fn resolve(&mut self, name: &str) -> Result<(), Error> {
        if self.known.contains_key(name) {
            return Ok(());
        }
        let (path, prepared) = match self.listed.iter().find(|(path, module)| answers_to(path, module, name))
        {
            Some((path, module)) => (path.clone(), Arc::clone(module)),
            None => self.among_inputs(name)?,
        };
        self.add(name, path, prepared)
    }

    fn among_inputs(&self, name: &str) -> Result<(String, Arc<Prepared>), Error> {
        let unknown = || {
            refusals::unknown("module", name).hint(
                "Add an input with that module, and its Target to ImportModules; of WASI only preview 1 is offered",
            )
        };
        let path = normalise_guest_path(name).map_err(|_| unknown())?;
        // A module that is there and broken is an error of its own.
        self.library.find(&path).map_err(|_| unknown())?;
        self.library.load_module(&path)
    }

    fn add(&mut self, name: &str, path: String, prepared: Arc<Prepared>) -> Result<(), Error> {
        if let Some(position) = self.steps.iter().position(|step| step.path == path) {
            if let Some(step) = self.steps.get_mut(position)
                && !step.names.iter().any(|n| n == name)
            {
                step.names.push(name.to_owned());
            }
            self.known.insert(name.to_owned(), position);
            return Ok(());
        }
        if self.open.contains(&path) {
            return Err(error(format!(
                "modules import each other in a circle: {} -> {path}",
                self.open.join(" -> ")
            )));
        }
        if self.steps.len() + self.open.len() >= MAX_MODULES {
            return Err(error(format!("the job links more than {MAX_MODULES} modules")));
        }
        self.open.push(path.clone());
        for import in &prepared.imports {
            self.resolve(import)?;
        }
        self.open.pop();
        self.known.insert(name.to_owned(), self.steps.len());
        self.steps.push(Step { path, prepared, names: vec![name.to_owned()] });
        Ok(())
    }
}

fn answers_to(path: &str, module: &Prepared, name: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    // Of a registry's reference, the name without tag and digest.
    let reference = file.split([':', '@']).next().filter(|_| path.starts_with(OCI));
    path == name
        || reference == Some(name)
        || path.trim_start_matches('/') == name
        || module.module.name() == Some(name)
        || file == name
        || file.strip_suffix(".wasm") == Some(name)
}
