//! What runs a task: one folder per engine, and the registry that finds the right one.
//!
//! An engine gets prepared inputs, folders for results, the environment and a log; it runs the task, stops promptly
//! when told to, and says how it ended. Of what a task needs it fetches only the program itself (an image, a module).

pub mod container;
pub mod docker;
pub mod exec;
mod moments;
pub mod oci;
pub mod supervisor;
pub mod wasm;

use crate::executor::WorkFolder;
use crate::logs::LogWriter;
use crate::sources::Mount;
use bacalhau_model::{Error, Execution, NetworkConfig, Resources, SpecConfig, Task, error::code};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A way to run tasks.
pub trait Engine: Send + Sync {
    /// The name users write, in lower case.
    fn name(&self) -> &'static str;

    /// Checks the engine's parameters without looking at inputs.
    ///
    /// # Errors
    /// Parameters that can never work.
    fn validate(&self, task: &Task) -> Result<(), Error>;

    /// Whether it can run something now: its daemon answers, its programs are installed. Asked whenever the node
    /// describes itself, so it has to be quick; an engine that is not available is not offered.
    fn is_available(&self) -> BoxFuture<'_, bool> {
        ready(true).boxed()
    }

    /// Version of what runs the tasks, such as `Docker 20.10.24`, as far as it is known without asking: what the last look
    /// whether it is available found. People read it.
    fn version(&self) -> Option<String> {
        None
    }

    /// Checks with IO what a bid depends on, such as whether the image exists for this platform.
    ///
    /// # Errors
    /// The node cannot run the task: a refusal. It could not find out: an error that is retryable.
    fn check<'a>(&'a self, _execution: &'a Execution, _task: &'a Task) -> BoxFuture<'a, Result<(), Error>> {
        ready(Ok(())).boxed()
    }

    /// Whether [`Engine::check`] has to be asked about every task. Without it only those are asked about whose parameters
    /// name something in a registry.
    fn checks_every_bid(&self) -> bool {
        false
    }

    /// Targets of the inputs that hold the program itself: the engine takes them as files in memory where the source has
    /// them, and shows them read-only.
    fn program_inputs(&self, _task: &Task) -> Vec<String> {
        Vec::new()
    }

    /// Whether what it runs outlives the node's process, so that a restarted node can adopt it. To drop the future of
    /// [`Engine::run`] must then leave the task as it is: that is how the node lets go of it when it stops.
    fn outlives_the_node(&self) -> bool {
        false
    }

    /// Runs a task to its end and returns its exit code. A code other than 0 is no error.
    fn run(&self, request: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>>;

    /// Ends and removes everything that a former life of this node left behind, except what belongs to the executions
    /// in `keep`, which will be run with [`EngineRequest::adopt`]. Called once, before anything runs.
    fn clean_up<'a>(&'a self, _keep: &'a BTreeSet<String>) -> BoxFuture<'a, ()> {
        ready(()).boxed()
    }
}

/// Everything an engine needs for one execution.
#[derive(Debug)]
pub struct EngineRequest {
    /// The execution.
    pub execution: Arc<Execution>,
    /// The engine's parameters.
    pub engine: SpecConfig,
    /// Inputs.
    pub mounts: Vec<Mount>,
    /// Folders for results.
    pub results: Vec<ResultFolder>,
    /// Environment of the task.
    pub env: Vec<(String, String)>,
    /// What is set aside for it and not to be exceeded. 0 of something means the engine's own maximum.
    pub resources: Resources,
    /// Its network. `Default` means that neither the job nor the node says anything.
    pub network: NetworkConfig,
    /// Ports of the host that are its own until it ends.
    pub ports: Vec<Port>,
    /// Time the task may run, counted from [`Progress::started`]: to fetch its program does not count.
    pub timeout: Option<Duration>,
    /// A former life of the node started it: it is to be adopted. [`EngineError::Gone`] if it is not there any more. There
    /// are no mounts and no variables then, and `timeout` is what is left of the time. An engine whose daemon does not answer
    /// waits for it: to fail would leave the task running for nobody.
    pub adopt: bool,
    /// Tells how far it is.
    pub progress: Progress,
    /// Where output goes.
    pub log: LogWriter,
    /// Fires when the execution is to stop.
    pub cancel: CancellationToken,
    /// Private folder of the execution, created when first needed.
    pub work: Arc<WorkFolder>,
}

/// A folder whose content is published afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultFolder {
    /// Its name in the results.
    pub name: String,
    /// Where the task expects it: an absolute, normalised path.
    pub path: String,
    /// Where it is on the host.
    pub host_path: PathBuf,
}

/// A port of the host that belongs to an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the job.
    pub name: String,
    /// On the host.
    pub host: u16,
    /// Inside; the same as on the host unless the network is `Bridge`.
    pub target: u16,
    /// Address of the host to bind; empty means all.
    pub host_address: String,
}

/// How an engine tells how far it is. Clones tell the same listener; neither call blocks.
#[derive(Clone)]
pub struct Progress {
    listener: Arc<dyn Fn(Step) + Send + Sync>,
}

/// How far an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It fetches or prepares something: a sentence for the execution's history, such as `Pulling image "x": 43%`. Said
    /// when it begins, when it ends, and a few times in between.
    Preparing(String),
    /// The task's process runs; its time begins.
    Started,
}

impl Progress {
    /// Tells `listener`, which must not block.
    pub fn new(listener: impl Fn(Step) + Send + Sync + 'static) -> Progress {
        Progress { listener: Arc::new(listener) }
    }

    /// See [`Step::Preparing`].
    pub fn preparing(&self, what: impl Into<String>) {
        (self.listener)(Step::Preparing(what.into()));
    }

    /// See [`Step::Started`].
    pub fn started(&self) {
        (self.listener)(Step::Started);
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

/// Why a task did not run to its end.
#[derive(Debug)]
pub enum EngineError {
    /// It was to be adopted, and is not there any more.
    Gone,
    /// It was told to stop.
    Cancelled,
    /// It took longer than it may.
    TimedOut,
    /// It could not start (no exit code), or it broke down (exit code as far as there is one).
    Failed {
        /// Exit code to report.
        exit_code: Option<i64>,
        /// What happened.
        error: Error,
    },
}

impl EngineError {
    /// The task never started.
    pub fn not_started(error: Error) -> EngineError {
        EngineError::Failed { exit_code: None, error }
    }
}

/// Code of an error that means that what runs the tasks does not answer: the engine is to be looked at before it is
/// offered again.
pub const UNAVAILABLE: &str = "Unavailable";

/// How long an engine may take to say whether it is available.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// The engines this node offers.
#[derive(Clone, Default)]
pub struct Engines {
    list: Vec<Arc<dyn Engine>>,
}

impl Engines {
    /// A registry without the disabled names (compared without regard to case).
    pub fn new(list: Vec<Arc<dyn Engine>>, disabled: &[String]) -> Engines {
        let is_disabled = |name: &str| disabled.iter().any(|d| d.trim().eq_ignore_ascii_case(name));
        Engines { list: list.into_iter().filter(|engine| !is_disabled(engine.name())).collect() }
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<dyn Engine>] {
        &self.list
    }

    /// Names of those that are not switched off, lower case, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.list.iter().map(|engine| engine.name().to_owned()).collect();
        names.sort();
        names
    }

    /// Names of those that can run something now, lower case, sorted. All are asked at the same time; one that does not
    /// answer within [`ANSWER_LIMIT`] cannot.
    pub async fn available(&self) -> Vec<String> {
        let asked = self.list.iter().map(|engine| async move {
            let answer = tokio::time::timeout(ANSWER_LIMIT, engine.is_available()).await;
            answer.unwrap_or(false).then(|| engine.name().to_owned())
        });
        let mut names: Vec<String> = join_all(asked).await.into_iter().flatten().collect();
        names.sort();
        names
    }

    /// Versions by name, of those that are known.
    pub fn versions(&self) -> BTreeMap<String, String> {
        let version = |engine: &Arc<dyn Engine>| Some((engine.name().to_owned(), engine.version()?));
        self.list.iter().filter_map(version).collect()
    }

    /// The engine of a task.
    ///
    /// # Errors
    /// The node does not offer it; the text lists what it offers.
    pub fn get(&self, task: &Task) -> Result<&Arc<dyn Engine>, Error> {
        self.list.iter().find(|engine| task.engine.is_type(engine.name())).ok_or_else(|| {
            let message = format!("this node does not support engine \"{}\"", task.engine.r#type.trim());
            Error::new(code::BAD_REQUEST, message).hint(format!("It offers: {}", self.names().join(", ")))
        })
    }
}
