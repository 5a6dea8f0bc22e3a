//! Engine `oci`: containers without a daemon, made by `crun` or `runc` from images that the node keeps itself.
//!
//! What it runs outlives the node: each container has a [`super::supervisor`], and a [`record`] of what else belongs to it.
//! The next life goes on with it ([`adopt`]) or removes it ([`remains`]).

mod adopt;
mod bundle;
mod cdi;
mod container;
mod devices;
mod end;
mod etc_files;
mod follow;
mod network;
mod prepare;
mod record;
mod remains;
mod rootfs;
mod runtime;
mod seccomp;
mod start;
mod user;

pub use devices::DeviceRoots;

use super::container::Params;
use super::{Engine, EngineError, EngineRequest, UNAVAILABLE, supervisor};
use crate::cgroup::Machine;
use bacalhau_images::{HeldLayers, ImageStore, Registry, RegistryConfig, StoreConfig};
use bacalhau_model::resources::Gpu;
use bacalhau_model::{Error, Execution, Task, error::code};
use devices::Devices;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use network::Bridge;
use runtime::{Runtime, Runtimes};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Component named in errors.
const COMPONENT: &str = "OCI";

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct OciConfig {
    /// The engine's own folder: what runtimes and supervisors note about containers.
    pub folder: PathBuf,
    /// Where images are kept.
    pub images: PathBuf,
    /// Where the folders of executions are.
    pub executions: PathBuf,
    /// The runtime's program; `None` takes `crun` or `runc`, whichever works.
    pub runtime: Option<PathBuf>,
    /// Processes and threads of one container at most; 0 is no limit.
    pub pids_limit: i64,
    /// Time between the request to end and the end, when a container is stopped.
    pub grace: Duration,
    /// Addresses for containers with a network of their own (`a.b.c.d/n`); four for each.
    pub subnet: String,
    /// Registries.
    pub registry: RegistryConfig,
    /// Bounds of what images take.
    pub store: StoreConfig,
    /// The GPUs that the node has for executions.
    pub gpus: Vec<Gpu>,
    /// Where the machine tells of its devices.
    pub devices: DeviceRoots,
    /// The program and first arguments that make a supervisor (see [`super::supervisor::supervise`]).
    pub supervisor: Vec<OsString>,
}

impl OciConfig {
    /// Defaults for a node with this data folder: 4096 processes, 1 s of grace as Bacalhau 1.9 has it, 10.201.0.0/16, this
    /// very executable as supervisor.
    pub fn new(data_folder: &std::path::Path) -> OciConfig {
        OciConfig {
            folder: data_folder.join("oci"),
            images: data_folder.join("images"),
            executions: data_folder.join("executions"),
            runtime: None,
            pids_limit: 4_096,
            grace: Duration::from_secs(1),
            subnet: "10.201.0.0/16".to_owned(),
            registry: RegistryConfig::default(),
            store: StoreConfig::default(),
            gpus: Vec::new(),
            devices: DeviceRoots::default(),
            // Not its path: the file may have been replaced by a newer version, or be gone.
            supervisor: vec!["/proc/self/exe".into(), supervisor::ARGUMENT.into()],
        }
    }
}

/// The engine. Costs next to nothing until it is used.
#[derive(Clone)]
pub struct OciEngine {
    shared: Arc<Shared>,
}

/// What all containers of a node share.
struct Shared {
    config: OciConfig,
    /// Cgroup above those of all containers of this node, in all of its lives.
    cgroup_parent: String,
    machine: Machine,
    runtimes: Runtimes,
    bridge: Arc<Bridge>,
    registry: OnceLock<Result<Registry, Error>>,
    images: OnceLock<Result<ImageStore, Error>>,
    /// Layers of containers that wait for their adoption, by execution.
    held: Mutex<BTreeMap<String, HeldLayers>>,
}

impl OciEngine {
    /// An engine with these settings.
    ///
    /// # Errors
    /// The subnet is none.
    pub fn new(config: OciConfig) -> Result<OciEngine, Error> {
        // Nodes of one machine differ in their folders.
        let hash = Sha256::digest(config.folder.as_os_str().as_encoded_bytes());
        let mark: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let shared = Shared {
            cgroup_parent: format!("/bacalhau-{mark}"),
            machine: Machine::find(),
            runtimes: Runtimes::default(),
            bridge: Arc::new(Bridge::new(&config.subnet, &mark)?),
            registry: OnceLock::new(),
            images: OnceLock::new(),
            held: Mutex::default(),
            config,
        };
        Ok(OciEngine { shared: Arc::new(shared) })
    }
}

impl Shared {
    /// Where the runtime keeps what it notes.
    fn state(&self) -> PathBuf {
        self.config.folder.join("state")
    }

    /// The folder of a container's supervisor.
    fn kept(&self, id: &str) -> PathBuf {
        self.config.folder.join("containers").join(id)
    }

    /// A container's group, all of it.
    fn cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.cgroup_parent)
    }

    /// The part that the runtime makes and sets limits for.
    fn cgroup_of_program(&self, id: &str) -> String {
        format!("{}/{id}/c", self.cgroup_parent)
    }

    /// The part for the supervisor, which is not bound by the limits.
    fn cgroup_of_supervisor(&self, id: &str) -> String {
        format!("{}/{id}/s", self.cgroup_parent)
    }

    fn registry(&self) -> Result<&Registry, Error> {
        self.registry
            .get_or_init(|| Registry::new(self.config.registry.clone()))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The first use opens the store: a few file operations.
    fn images(&self) -> Result<&ImageStore, Error> {
        let open = || {
            ImageStore::open(&self.config.images, self.config.store).map_err(|e| {
                error(format!("the store of images {} cannot be used: {e}", self.config.images.display()))
            })
        };
        self.images.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    async fn runtime(&self) -> Result<Runtime, String> {
        let config = &self.config;
        self.runtimes.get(config.runtime.as_deref(), &config.folder, self.machine.only_v2()).await
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.machine.group(&self.cgroup_parent).remove_empty();
    }
}

/// Whether any GPU of the node could be given to a container: nobody knows yet which one it will be.
async fn check_gpus(config: &OciConfig) -> Result<(), Error> {
    let (gpus, roots) = (config.gpus.clone(), config.devices.clone());
    let found = tokio::task::spawn_blocking(move || Devices::of(&gpus, &roots).map(drop)).await;
    found.map_err(|e| error(format!("looking for GPUs broke down: {e}")))?
}

impl Engine for OciEngine {
    fn name(&self) -> &'static str {
        "oci"
    }

    fn validate(&self, task: &Task) -> Result<(), Error> {
        Params::read(&task.engine).map(|_| ())
    }

    fn is_available(&self) -> BoxFuture<'_, bool> {
        async { self.shared.runtime().await.is_ok() }.boxed()
    }

    fn version(&self) -> Option<String> {
        self.shared.runtimes.version()
    }

    fn checks_every_bid(&self) -> bool {
        true
    }

    fn outlives_the_node(&self) -> bool {
        true
    }

    fn check<'a>(&'a self, execution: &'a Execution, task: &'a Task) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let params = Params::read(&task.engine)?;
            if task.resources.parse().is_ok_and(|asked| asked.gpu > 0) {
                check_gpus(&self.shared.config).await?;
            }
            network::check(&task.network())?;
            let image = prepare::image_name(&params, execution);
            if self.shared.images()?.cached(&image).is_some() {
                return Ok(());
            }
            self.shared.registry()?.describe(&image).await.map(drop)
        }
        .boxed()
    }

    fn run(&self, request: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>> {
        async move {
            let shared = &self.shared;
            if request.adopt {
                return Box::pin(adopt::adopt(shared, request)).await;
            }
            let runtime = shared.runtime().await.map_err(|reason| {
                let message = format!("no container runtime works on this node: {reason}");
                let error = Error::new(UNAVAILABLE, message).component(COMPONENT);
                EngineError::not_started(
                    error.hint("Install runc or crun, or set Engines.Types.OCI.Runtime").retryable(),
                )
            })?;
            let params = Params::read(&request.engine).map_err(EngineError::not_started)?;
            let name = prepare::image_name(&params, &request.execution);
            let image = tokio::select! {
                biased;
                () = request.cancel.cancelled() => return Err(EngineError::Cancelled),
                image = prepare::fetch(shared, &name, &request.progress) => image.map_err(EngineError::not_started)?,
            };
            start::make_way(shared, &request.execution.id).await;
            // Quick, and not broken off, so that nothing of it is still under way when this returns.
            let prepared = prepare::prepare(shared, &request, &params, image).await;
            let prepared = prepared.map_err(EngineError::not_started)?;
            Box::pin(start::start(shared, runtime, request, prepared)).await
        }
        .boxed()
    }

    fn clean_up<'a>(&'a self, keep: &'a BTreeSet<String>) -> BoxFuture<'a, ()> {
        remains::clean_up(&self.shared, keep).boxed()
    }
}

/// An error of this engine.
fn error(message: impl Into<String>) -> Error {
    Error::new(code::BAD_REQUEST, message).component(COMPONENT)
}
