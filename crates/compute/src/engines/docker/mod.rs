//! The `docker` engine: containers under a Docker Engine (or what speaks its API), through its socket.
//!
//! Containers belong to the daemon, not to this process: they outlive the node and carry labels by which it finds them
//! again. Whatever happens, each ends as the result of an execution or is removed. Credentials never reach a container,
//! a log or an error.

mod config;
mod container;
mod credentials;
mod daemon;
mod ending;
mod errors;
mod gpus;
mod image;
mod life;
mod manifests;
mod names;
mod network;
mod output;
mod patience;
mod pull;
mod remains;
mod started;
mod usage;

pub use config::{DockerConfig, ManifestCacheConfig};

use self::daemon::Daemon;
use self::image::ImageName;
use self::life::Life;
use self::manifests::Manifests;
use self::names::Names;
use self::pull::Pulls;
use self::remains::Remains;
use super::container::Params;
use super::{Engine, EngineError, EngineRequest, UNAVAILABLE};
use bacalhau_model::{Error, Execution, Job, SpecConfig, Task};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// After an execution was told to stop, its grace period is over and this has passed too, it ends for the node whether
/// or not the daemon answers. What is left of it is removed when it does.
const LATEST_END: Duration = Duration::from_secs(12);

/// The engine. Costs nothing until it is asked for something.
pub struct DockerEngine {
    parts: Arc<Parts>,
}

/// What all executions share.
struct Parts {
    config: Arc<DockerConfig>,
    daemon: Daemon,
    names: Names,
    manifests: Manifests,
    pulls: Pulls,
    remains: Remains,
}

impl DockerEngine {
    /// An engine of the node with this ID.
    pub fn new(config: DockerConfig, node_id: &str) -> DockerEngine {
        let (daemon, names) = (Daemon::new(&config.host), Names::new(node_id));
        let parts = Parts {
            manifests: Manifests::new(config.manifests),
            pulls: Pulls::default(),
            remains: Remains::new(daemon.clone(), names.clone()),
            config: Arc::new(config),
            daemon,
            names,
        };
        DockerEngine { parts: Arc::new(parts) }
    }

    /// After an error that means that the daemon is gone, nobody relies on what was known of it.
    fn notice(&self, error: &Error) {
        if error.code == UNAVAILABLE {
            self.parts.daemon.doubt();
        }
    }
}

/// The parameters of a task of `job`; the digest that was noted at submit says which image its tag stands for.
fn params(spec: &SpecConfig, job: Option<&Job>) -> Result<Params<ImageName>, Error> {
    let read = |text: &str| {
        let name = ImageName::parse(text)?;
        Ok(match job {
            Some(job) => name.pinned(job),
            None => name,
        })
    };
    Params::read_with(spec, read)
}

impl Engine for DockerEngine {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn validate(&self, task: &Task) -> Result<(), Error> {
        params(&task.engine, None).map(|_| ())
    }

    fn is_available(&self) -> BoxFuture<'_, bool> {
        self.parts.daemon.answers().boxed()
    }

    fn checks_every_bid(&self) -> bool {
        true
    }

    fn version(&self) -> Option<String> {
        self.parts.daemon.version()
    }

    fn check<'a>(&'a self, execution: &'a Execution, task: &'a Task) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let params = params(&task.engine, execution.job.as_deref())?;
            let checked = async {
                let daemon = self.parts.daemon.get().await?;
                self.parts.manifests.check(&daemon, &self.parts.config, &params.image).await
            };
            checked.await.inspect_err(|error| self.notice(error))
        }
        .boxed()
    }

    fn outlives_the_node(&self) -> bool {
        true
    }

    fn run(&self, request: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>> {
        async move {
            // In a task of its own, so that a daemon that hangs cannot hold back the end of an execution.
            let (id, cancel) = (request.execution.id.clone(), request.cancel.clone());
            let latest = self.parts.config.stop_grace.saturating_add(LATEST_END);
            // Dropped, it lets go of the container as it is.
            let mut task =
                AbortOnDropHandle::new(tokio::spawn(Life::new(Arc::clone(&self.parts), request).run()));
            let too_late = async {
                cancel.cancelled().await;
                tokio::time::sleep(latest).await;
            };
            let ended = tokio::select! {
                ended = &mut task => ended.unwrap_or_else(|panic| {
                    self.parts.remains.done_with(&id);
                    self.parts.remains.sweep_later();
                    Err(EngineError::not_started(errors::internal(format!("the engine broke down: {panic}"))))
                }),
                () = too_late => {
                    // It ends by itself, whenever the daemon lets it.
                    drop(task.detach());
                    Err(EngineError::Cancelled)
                }
            };
            ended.inspect_err(|ended| {
                if let EngineError::Failed { error, .. } = ended {
                    self.notice(error);
                }
            })
        }
        .boxed()
    }

    fn clean_up<'a>(&'a self, keep: &'a BTreeSet<String>) -> BoxFuture<'a, ()> {
        self.parts.remains.clean_up(keep).boxed()
    }
}
