//! What runs a task: one folder per engine, and the registry that finds the right one.
//!
//! An engine gets prepared inputs, folders for results, the environment and a log; it runs the task, stops promptly
//! when told to, and says how it ended. It fetches and publishes nothing.

pub mod wasm;

use crate::executor::WorkFolder;
use crate::logs::LogWriter;
use crate::sources::Mount;
use bacalhau_model::{Error, Execution, SpecConfig, Task, error::code};
use futures_util::future::BoxFuture;
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

    /// Runs a task to its end and returns its exit code. A code other than 0 is no error.
    fn run(&self, request: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>>;
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
    /// Memory limit in bytes; 0 means the engine's own maximum.
    pub memory: u64,
    /// Time the task may run.
    pub timeout: Option<Duration>,
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

/// Why a task did not run to its end.
#[derive(Debug)]
pub enum EngineError {
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

    /// Offered names, lower case, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.list.iter().map(|engine| engine.name().to_owned()).collect();
        names.sort();
        names
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
