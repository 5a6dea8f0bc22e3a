//! Runs one execution: inputs, environment, engine, results, publishing, clean-up.
//!
//! Knows no queue and no store: whoever calls it decides what runs and records how it ended. Whatever happens, nothing
//! of an execution stays on disk but its log and what was published.

mod completion;
mod config;
mod disk;
mod env;
mod failure;
mod network;
mod offers;
mod ports;
mod probes;
mod published;
mod results;
mod run;
#[cfg(test)]
mod tests;
mod work;

pub use config::ExecutorConfig;
pub use failure::Failure;
pub use probes::ProbeConfig;
pub use run::{Ending, Resume};
pub use work::{LazyFolder, WorkFolder};

use crate::engines::Engines;
use crate::logs::{LogStore, is_safe_name};
use crate::metrics::Metrics;
use crate::publishers::{LocalPublisher, Noop, Publisher, Publishers};
use crate::sources::{Inline, Local, PathAllowList, Source, Sources, UrlDownload};
use bacalhau_model::{Error, Execution, RunCommandResult, SpecConfig, Task, error::code};
use env::EnvAllowList;
use futures_util::future::{join_all, try_join_all};
use ports::{PortLease, PortTable};
use probes::Probes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Runs executions. Clones share everything.
#[derive(Clone)]
pub struct Executor {
    inner: Arc<Inner>,
}

struct Inner {
    config: ExecutorConfig,
    engines: Engines,
    sources: Sources,
    publishers: Publishers,
    env_allowed: EnvAllowList,
    logs: LogStore,
    available: watch::Sender<Vec<String>>,
    ports: PortTable,
    probes: Probes,
    /// Ports of executions that are to be adopted, until they are.
    adopted_ports: Mutex<BTreeMap<String, PortLease>>,
    metrics: Arc<Metrics>,
}

/// What a look at an execution found, for the bid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Bytes its inputs take on disk, as far as that is known.
    pub disk_bytes: u64,
    /// Inputs that are not on this node yet.
    pub remote_inputs: usize,
}

/// Where a running execution stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Inputs are downloaded; a sentence for the history.
    Downloading(String),
    /// The engine fetches or prepares something; a sentence for the history.
    Preparing(String),
    /// The task's process runs.
    Running,
    /// The engine is done; results are being published.
    Publishing,
}

impl Phase {
    /// True for what only adds a line to the history.
    pub(crate) fn is_line(&self) -> bool {
        matches!(self, Phase::Downloading(_) | Phase::Preparing(_))
    }
}

/// What a run needs from its caller.
pub struct RunContext {
    /// Fires when the execution is to stop.
    pub cancel: CancellationToken,
    /// Called when a phase begins. Must not block.
    pub phase: Arc<dyn Fn(Phase) + Send + Sync>,
}

/// A run that came to its end. The exit code may still be other than 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finished {
    /// What it printed and its exit code.
    pub run_output: RunCommandResult,
    /// Where the results are; empty without a publisher.
    pub published_result: SpecConfig,
}

impl Executor {
    /// Sets everything up and starts the server of the `local` publisher. If its port cannot be bound the node works
    /// without that publisher, and the log says why.
    ///
    /// # Errors
    /// A pattern of the allow lists that cannot be read.
    pub async fn open(config: ExecutorConfig) -> Result<Executor, Error> {
        let wrong = |key: &str, reason: String| {
            Error::new(code::CONFIGURATION_ERROR, format!("{key}: {reason}")).hint(format!("Correct {key}"))
        };
        let paths = PathAllowList::new(&config.allow_listed_local_paths)
            .map_err(|reason| wrong("Compute.AllowListedLocalPaths", reason))?;
        let env_allowed = EnvAllowList::new(&config.env_allow_list)
            .map_err(|reason| wrong("Compute.Env.AllowList", reason))?;
        config.probes.check().map_err(|(key, reason)| wrong(key, reason))?;
        let sources: Vec<Arc<dyn Source>> =
            vec![Arc::new(Inline), Arc::new(Local::new(paths)), Arc::new(UrlDownload::new(config.downloads))];
        let mut publishers: Vec<Arc<dyn Publisher>> = vec![Arc::new(Noop)];
        if !config.disabled_publishers.iter().any(|name| name.trim().eq_ignore_ascii_case("local")) {
            match LocalPublisher::start(&config.local_publisher, config.published_folder()).await {
                Ok(local) => publishers.push(Arc::new(local)),
                Err(error) => tracing::warn!(
                    port = config.local_publisher.port,
                    %error,
                    "publisher 'local' is not available: its port cannot be bound; set Publishers.Types.Local.Port to a free one"
                ),
            }
        }
        let engines = Engines::new(offers::engines(&config)?, &config.disabled_engines);
        Ok(Executor::with_engines(config, engines, sources, publishers, env_allowed).await)
    }

    /// One with no engine but this, the `noop` publisher and the `inline` source.
    #[cfg(test)]
    pub(crate) async fn with_engine(
        folder: &std::path::Path,
        engine: Arc<dyn crate::engines::Engine>,
    ) -> Executor {
        let (config, engines) = (ExecutorConfig::new(folder), Engines::new(vec![engine], &[]));
        let env = EnvAllowList::default();
        Executor::with_engines(config, engines, vec![Arc::new(Inline)], vec![Arc::new(Noop)], env).await
    }

    async fn with_engines(
        config: ExecutorConfig,
        engines: Engines,
        sources: Vec<Arc<dyn Source>>,
        publishers: Vec<Arc<dyn Publisher>>,
        env_allowed: EnvAllowList,
    ) -> Executor {
        let inner = Inner {
            available: watch::Sender::new(engines.available().await),
            metrics: Arc::new(Metrics::new(&engines.names())),
            ports: PortTable::new(config.port_range.clone(), &config.data_folder),
            adopted_ports: Mutex::default(),
            probes: Probes::new(config.probes.clone()),
            engines,
            sources: Sources::new(sources, &config.disabled_sources),
            publishers: Publishers::new(publishers, &config.disabled_publishers),
            env_allowed,
            logs: LogStore::new(config.executions_folder(), config.log_limits),
            config,
        };
        Executor { inner: Arc::new(inner) }
    }

    /// Engines this node offers, as far as they were available at the last look: lower case, sorted.
    pub fn engines(&self) -> Vec<String> {
        self.inner.available.borrow().clone()
    }

    /// Versions of those, as far as they are known.
    pub fn engine_versions(&self) -> BTreeMap<String, String> {
        let available = self.inner.available.borrow();
        let versions = self.inner.engines.versions().into_iter();
        versions.filter(|(name, _)| available.contains(name)).collect()
    }

    /// The same, and whenever it changes.
    pub fn watch_engines(&self) -> watch::Receiver<Vec<String>> {
        self.inner.available.subscribe()
    }

    /// Looks which engines are available now. Takes a few seconds at most.
    pub async fn look_at_engines(&self) {
        let now = self.inner.engines.available().await;
        self.inner.available.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                tracing::info!(engines = now.join(", "), "the engines that are available changed");
                *known = now;
            }
            changed
        });
    }

    /// What happened so far, in figures.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// Input sources this node offers: lower case, sorted.
    pub fn sources(&self) -> Vec<String> {
        self.inner.sources.names()
    }

    /// Publishers this node offers: lower case, sorted.
    pub fn publishers(&self) -> Vec<String> {
        self.inner.publishers.names()
    }

    /// The logs of all executions of this node.
    pub fn logs(&self) -> &LogStore {
        &self.inner.logs
    }

    /// Checks whether this node could run an execution and what its inputs would take. May ask the network.
    ///
    /// # Errors
    /// The node cannot run it, or it cannot find out.
    pub async fn probe(&self, execution: &Execution) -> Result<Probe, Error> {
        let inner = &self.inner;
        let task = task_of(execution)?;
        let engine = inner.engines.get(task)?;
        engine.validate(task)?;
        self.check_network(task)?;
        if let Some(publisher) = inner.publishers.get(&task.publisher)? {
            publisher.validate(&task.publisher)?;
        }
        results::validate(&task.result_paths)?;
        inner.env_allowed.check(task)?;
        let sizes = task.input_sources.iter().map(|input| async move {
            let source = inner.sources.get(input)?;
            source.validate(input)?;
            Ok::<_, Error>((source.size(input).await?, source.is_local(input)))
        });
        let checks = (engine.check(execution, task), inner.probes.ask(execution));
        let (found, (), ()) = tokio::try_join!(try_join_all(sizes), checks.0, checks.1)?;
        Ok(Probe {
            disk_bytes: found.iter().fold(0, |sum: u64, (bytes, _)| sum.saturating_add(*bytes)),
            remote_inputs: found.iter().filter(|(_, local)| !local).count(),
        })
    }

    /// Removes what a former life left behind: the folders of all executions but those in `keep`, for nothing runs yet
    /// and whatever runs again prepares its inputs afresh. Blocks; call it at start.
    /// Logs stay; see [`LogStore::prune`]. Returns how many folders were removed.
    ///
    /// # Errors
    /// The folder of executions cannot be listed.
    pub fn sweep(&self, keep: &BTreeSet<String>) -> io::Result<usize> {
        work::sweep(&self.inner.config.executions_folder(), keep)
    }

    /// Lets every engine end and remove what a former life of the node left running, except what is in `keep`. Call it
    /// once, before anything runs.
    pub async fn clean_up(&self, keep: &BTreeSet<String>) {
        self.take_ports_over(keep);
        let engines = self.inner.engines.all().iter();
        join_all(engines.map(|engine| engine.clean_up(keep))).await;
    }

    /// True when the execution's task has ended and its results only have to be published (again). Blocks.
    pub fn has_complete_results(&self, execution: &Execution) -> bool {
        let publishes = task_of(execution).is_ok_and(|task| !task.publisher.is_empty());
        publishes
            && is_safe_name(&execution.id)
            && completion::read(&self.inner.config.work_folder(&execution.id)).is_some()
    }

    /// True when the execution's engine starts tasks that outlive this process.
    pub fn outlives_the_node(&self, execution: &Execution) -> bool {
        let engine = task_of(execution).and_then(|task| self.inner.engines.get(task));
        engine.is_ok_and(|engine| engine.outlives_the_node())
    }

    /// Names of the engines whose tasks outlive this process, available or not.
    pub fn outliving(&self) -> Vec<String> {
        let engines = self.inner.engines.all().iter().filter(|engine| engine.outlives_the_node());
        engines.map(|engine| engine.name().to_owned()).collect()
    }

    /// Names of the engines that have to be asked before every bid, available or not.
    pub fn asking(&self) -> Vec<String> {
        let engines = self.inner.engines.all().iter().filter(|engine| engine.checks_every_bid());
        engines.map(|engine| engine.name().to_owned()).collect()
    }

    /// How long the log of an execution is kept after its end.
    pub fn log_age(&self) -> Duration {
        self.inner.config.log_age
    }

    /// Removes logs that are too old, the oldest logs beyond their limit, and results of
    /// the `local` publisher that are too old or too many. Blocks; gives how many files were removed.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub fn tidy(&self) -> io::Result<usize> {
        // Both are tried: trouble with the one must not let the other grow.
        let logs = self.inner.logs.prune(self.inner.config.log_age, self.inner.config.log_limits.together);
        let config = &self.inner.config;
        let results =
            published::prune(&config.published_folder(), config.results_age, config.results_together);
        Ok(logs? + results?)
    }
}

fn task_of(execution: &Execution) -> Result<&Task, Error> {
    execution
        .job
        .as_ref()
        .and_then(|job| job.task())
        .ok_or_else(|| Error::new(code::BAD_REQUEST, format!("execution {} has no task", execution.id)))
}
