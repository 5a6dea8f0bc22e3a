//! The compute node around its core: the store, the executor, the link to the orchestrator.

mod driver;
mod engines;
mod housekeeping;
mod link;
mod log_source;
mod phases;
mod runs;

pub use driver::Load;

use crate::core::{self, BidPolicy, Core, Output};
use crate::executor::{Executor, ExecutorConfig};
use crate::metrics::Metrics;
use bacalhau_model::error::code;
use bacalhau_model::{BuildVersion, ComputeNodeInfo, Error, NodeInfo, NodeType, node::protocol};
use bacalhau_store::compute::StoredExecution;
use bacalhau_wire::bus::Bus;
use bacalhau_wire::connect::{ConnectOptions, Status};
use driver::{Command, Driver};
use link::Link;
use log_source::Logs;
use runs::Runs;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Commands that wait for the core at most; senders wait when it is full.
const MOST_COMMANDS: usize = 1024;
/// Engines get this long at the start to remove what a former life of the node left behind.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(60);

/// How the node reaches its orchestrator.
pub enum Way {
    /// Over the network.
    Connect(ConnectOptions),
    /// In this process.
    Local(Arc<dyn Bus>),
}

/// What a compute node needs to start.
pub struct Options {
    /// ID of the node.
    pub node_id: String,
    /// Labels, with `name`, `os_type` and `os_arch`.
    pub labels: BTreeMap<String, String>,
    /// This build.
    pub version: BuildVersion,
    /// Folder of its own; created when missing.
    pub dir: PathBuf,
    /// What it wants and has. The names of engines, sources and publishers are filled in from the executor.
    pub policy: BidPolicy,
    /// What the executor may do.
    pub executor: ExecutorConfig,
    /// How it reaches its orchestrator.
    pub way: Way,
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// Between looks whether the node's description changed.
    pub info_update: Duration,
    /// Address announced to others, may be empty.
    pub address: String,
    /// When the node stops, tasks of engines that outlive it go on, and the next life of the node adopts them.
    pub leaves_tasks: bool,
}

/// A running compute node. Clones share it.
#[derive(Clone)]
pub struct ComputeNode {
    inner: Arc<Inner>,
}

struct Inner {
    commands: mpsc::Sender<Command>,
    description: Description,
    connection: watch::Receiver<Status>,
    shutdown: watch::Sender<bool>,
}

/// What the node says of itself that does not change with its load.
#[derive(Clone)]
struct Description {
    info: NodeInfo,
    executor: Executor,
}

impl Description {
    fn with_load(&self, load: &Load) -> NodeInfo {
        let mut info = self.info.clone();
        let compute = &mut info.compute_node_info;
        compute.execution_engines = self.executor.engines();
        compute.engine_versions = self.executor.engine_versions();
        compute.publishers = self.executor.publishers();
        compute.storage_sources = self.executor.sources();
        compute.available_capacity = load.available.clone();
        compute.queue_capacity = load.queued.clone();
        compute.running_executions = i64::try_from(load.running).unwrap_or(i64::MAX);
        compute.enqueued_executions = i64::try_from(load.enqueued).unwrap_or(i64::MAX);
        info
    }
}

/// The node's end: an error when it could not go on.
pub type Ended = JoinHandle<Result<(), Error>>;

/// Starts a node. It connects, and keeps connecting, on its own.
pub async fn start(options: Options) -> Result<(ComputeNode, Ended), Error> {
    let (writer, stored) = bacalhau_store::compute::open(&options.dir).map_err(|e| {
        Error::new(code::INTERNAL_ERROR, format!("the execution store cannot be opened: {e}"))
    })?;
    let mut executor = ExecutorConfig { node_id: options.node_id.clone(), ..options.executor };
    executor.oci.gpus.clone_from(&options.policy.capacity.gpus);
    let executor = Executor::open(executor).await?;
    let (complete, outliving) = (complete_results(&executor, &stored), executor.outliving());
    let adopted = to_be_adopted(&executor, &stored, &complete);
    // Before the folders go: some of them may still be mounted.
    if tokio::time::timeout(CLEAN_UP_LIMIT, executor.clean_up(&adopted)).await.is_err() {
        tracing::warn!("engines could not remove what a former life left behind within {CLEAN_UP_LIMIT:?}");
    }
    match executor.sweep(&complete.union(&adopted).cloned().collect()) {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "removed folders that a former life left behind"),
        Err(error) => tracing::warn!(%error, "folders of a former life could not be removed"),
    }
    let policy = BidPolicy {
        outliving,
        engines: executor.engines(),
        asking: executor.asking(),
        publishers: executor.publishers(),
        sources: executor.sources(),
        ..options.policy
    };
    let capacity = policy.capacity.clone();
    let mut core = Core::new(policy);
    let mut restored = Output::default();
    core.restore(clock(), stored, &complete, &mut restored);
    let (commands, waiting) = mpsc::channel(MOST_COMMANDS);
    let (shutdown, stopping) = watch::channel(false);
    let (processed, last_processed) = watch::channel(0);
    let (told, engines_told) = watch::channel(None);
    let runs = Runs::new(executor.clone(), commands.clone(), engines_told);
    let lasting = options.leaves_tasks.then(|| runs.lasting());
    let (driver, committed) =
        Driver::new(options.node_id.clone(), core, writer, runs, processed, options.leaves_tasks);
    let ended = tokio::spawn(driver.run(restored, waiting, committed, stopping.clone()));
    let info = NodeInfo {
        node_id: options.node_id,
        node_type: NodeType::Compute,
        labels: options.labels,
        supported_protocols: [protocol::BPROTOCOL_V2, protocol::NCL_V1, protocol::EXECUTION_PROGRESS]
            .map(str::to_owned)
            .to_vec(),
        compute_node_info: ComputeNodeInfo {
            max_capacity: capacity.clone(),
            max_job_requirements: capacity,
            address: options.address,
            ..ComputeNodeInfo::default()
        },
        bacalhau_version: options.version,
    };
    tokio::spawn(housekeeping::run(executor.clone(), stopping.clone()));
    tokio::spawn(engines::watch(executor.clone(), commands.clone(), stopping.clone()));
    let description = Description { info, executor };
    let link = Link {
        commands: commands.clone(),
        description: description.clone(),
        last_processed,
        stopping,
        heartbeat: options.heartbeat,
        info_update: options.info_update,
        logs: Arc::new(Logs::new(description.executor.clone(), commands.clone())),
        told,
        started: bacalhau_model::Time::from_unix_nanos(clock()),
        lasting,
    };
    let (connection, linked) = link.spawn(options.way);
    // The good-bye to the orchestrator comes first, the end of the driver after it.
    let ended = tokio::spawn(async move {
        let result = ended.await;
        // The link ends by itself; that it panicked would have been logged by the runtime.
        let _ = linked.await;
        result.unwrap_or_else(|e| {
            Err(Error::new(code::INTERNAL_ERROR, format!("the compute node ended abnormally: {e}")))
        })
    });
    Ok((ComputeNode { inner: Arc::new(Inner { commands, description, connection, shutdown }) }, ended))
}

/// Executions whose results only have to be published (again).
fn complete_results(executor: &Executor, stored: &[StoredExecution]) -> BTreeSet<String> {
    let complete = core::begun(stored).filter(|execution| executor.has_complete_results(execution));
    complete.map(|execution| execution.id.clone()).collect()
}

/// Executions whose tasks may still run.
fn to_be_adopted(
    executor: &Executor,
    stored: &[StoredExecution],
    complete: &BTreeSet<String>,
) -> BTreeSet<String> {
    let running = core::begun(stored).filter(|execution| executor.outlives_the_node(execution));
    running.map(|execution| execution.id.clone()).filter(|id| !complete.contains(id)).collect()
}

fn clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Asks the driver how busy it is; a node that is stopping is not.
async fn load(commands: &mpsc::Sender<Command>) -> Load {
    let (answer, answered) = oneshot::channel();
    if commands.send(Command::Load(answer)).await.is_err() {
        return Load::default();
    }
    answered.await.unwrap_or_default()
}

impl ComputeNode {
    /// What the node says of itself, with its load right now.
    pub async fn info(&self) -> NodeInfo {
        self.inner.description.with_load(&load(&self.inner.commands).await)
    }

    /// How busy it is.
    pub async fn load(&self) -> Load {
        load(&self.inner.commands).await
    }

    /// What happened so far, in figures.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(self.inner.description.executor.metrics())
    }

    /// How its connection stands.
    pub fn connection(&self) -> Status {
        self.inner.connection.borrow().clone()
    }

    /// Asks it to end: it says good-bye and stops what runs.
    pub fn shutdown(&self) {
        self.inner.shutdown.send_replace(true);
    }
}
