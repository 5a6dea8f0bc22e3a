//! The orchestrator around its core: the store, the bus, and the handle that the API calls.

mod command;
mod driver;
pub(crate) mod feed;
mod housekeeping;
mod intake;
mod lookup;
mod post;
mod prepare;
#[cfg(test)]
mod tests;

pub use prepare::SubmitOptions;

use crate::core::{Census, Core, NodeAction, Rerun, Settings, Submitted, same_type};
use bacalhau_images::Pinner;
use bacalhau_model::defaults::JobDefaults;
use bacalhau_model::error::code;
use bacalhau_model::explain::Explanation;
use bacalhau_model::{Connection, EncodedEvent, Error, Job, Membership, NodeInfo, NodeState, NodeType, Time};
use bacalhau_store::orchestrator::Reader;
use bacalhau_wire::bus::Bus;
use bacalhau_wire::logs::{LogLine, LogRequest, LogStreams};
use bacalhau_wire::postman::Postman;
use command::Command;
use driver::Driver;
use feed::{Cursor, Feed, LiveEvents};
use post::Post;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Commands that wait for the core at most; callers wait when it is full.
const MOST_COMMANDS: usize = 1024;

/// What an orchestrator needs to start.
pub struct Options {
    /// Folder of its own; created when missing.
    pub dir: PathBuf,
    /// Numbers for the core.
    pub settings: Settings,
    /// Filled into jobs that leave things open.
    pub job_defaults: JobDefaults,
    /// What this node says of itself; it lists itself among the nodes.
    pub info: NodeInfo,
    /// Instance ID of this installation, put into the metadata of jobs; may be empty.
    pub instance_id: String,
    /// Largest message that the bus takes, bytes: bigger jobs are refused.
    pub max_payload: usize,
    /// Decides IDs and the spread of equal choices.
    pub seed: u64,
    /// Events of the stream that are kept, at least; 0 is [`feed::EVENTS_KEPT`].
    pub events_kept: u64,
    /// Notes at submit which image a tag stands for; `None` leaves that to the nodes.
    pub pinner: Option<Pinner>,
}

/// A running orchestrator. Clones share it.
#[derive(Clone)]
pub struct Orchestrator {
    inner: Arc<Inner>,
}

struct Inner {
    commands: mpsc::Sender<Command>,
    reader: Reader,
    logs: LogStreams,
    /// Ends with the driver, so that readers of the stream do.
    events: broadcast::WeakSender<Arc<EncodedEvent>>,
    job_defaults: JobDefaults,
    own: NodeState,
    instance_id: String,
    max_payload: usize,
    pinner: Option<Pinner>,
    shutdown: watch::Sender<bool>,
    /// Where the driver runs: the bus tells of losses from a thread of its own.
    runtime: Handle,
}

/// The driver's end: an error when the orchestrator could not go on.
pub type Ended = JoinHandle<Result<(), Error>>;

/// Starts an orchestrator on `bus`. It takes part as soon as this returns.
pub async fn start(options: Options, bus: Arc<dyn Bus>) -> Result<(Orchestrator, Ended), Error> {
    let (writer, reader) = bacalhau_store::orchestrator::open(&options.dir).map_err(store_error)?;
    let mut core = Core::new(options.settings.clone(), options.seed);
    let now = Time::from_unix_nanos(clock());
    let snapshot = reader.load().map_err(store_error)?;
    let last_event = reader.event_bounds().map_err(store_error)?.map_or(0, |(_, newest)| newest);
    let events_kept = if options.events_kept == 0 { feed::EVENTS_KEPT } else { options.events_kept };
    let mut feed = Feed::new(&snapshot, last_event, events_kept);
    core.restore(now.unix_nanos(), snapshot);
    feed.restarted(core.nodes());
    let events = feed.live();
    let (commands, waiting) = mpsc::channel(MOST_COMMANDS);
    let (shutdown, stopping) = watch::channel(false);
    let life = bacalhau_wire::inbox::nuid();
    let post = Post::new(Postman::start(Arc::clone(&bus)), life.clone());
    let published = events.upgrade().map(|live| Cursor::new(live.subscribe(), last_event));
    let bell = housekeeping::start(options.settings.retention, reader.clone(), &commands, stopping.clone());
    let (driver, committed) = Driver::new(core, writer, reader.clone(), post, feed, bell);
    let bus_error = |e: bacalhau_wire::bus::BusError| {
        Error::new(code::SERVICE_UNAVAILABLE, format!("the orchestrator cannot subscribe on NATS: {e}"))
    };
    intake::start(Arc::clone(&bus), &life, commands.clone()).await.map_err(bus_error)?;
    let logs = LogStreams::start(Arc::clone(&bus)).await.map_err(bus_error)?;
    published
        .into_iter()
        .for_each(|cursor| drop(tokio::spawn(feed::publish(cursor, reader.clone(), Arc::clone(&bus)))));
    let ended = tokio::spawn(driver.run(waiting, committed, stopping));
    let inner = Inner {
        commands,
        reader,
        logs,
        events,
        job_defaults: options.job_defaults,
        own: own_state(options.info, now),
        instance_id: options.instance_id,
        max_payload: options.max_payload,
        pinner: options.pinner,
        shutdown,
        runtime: Handle::current(),
    };
    Ok((Orchestrator { inner: Arc::new(inner) }, ended))
}

/// Completes when a stop is asked for, or nobody is left who could.
async fn asked_to_stop(shutdown: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live across other awaits, so it ends here.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Nanoseconds since 1970.
fn clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn own_state(info: NodeInfo, now: Time) -> NodeState {
    let mut state = NodeState { info, membership: Membership::Approved, ..NodeState::default() };
    state.connection = Connection::Connected;
    state.connection_state.status = Connection::Connected;
    state.connection_state.connected_since = now;
    state.connection_state.last_heartbeat = now;
    state
}

fn store_error(error: impl std::fmt::Display) -> Error {
    Error::new(code::INTERNAL_ERROR, format!("the job store cannot be opened: {error}"))
}

/// What [`Orchestrator::diff`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// Text with `+` and `-` lines; empty when nothing changed.
    pub diff: String,
    /// What was ignored or changed in the submission.
    pub warnings: Vec<String>,
}

impl Orchestrator {
    /// ID of this orchestrator.
    pub fn node_id(&self) -> &str {
        &self.inner.own.info.node_id
    }

    /// Queries, straight from the store.
    pub fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    /// Takes a job, new or a new version of the one with its name. The answer comes when it is on disk.
    pub async fn submit(&self, job: Job, options: SubmitOptions) -> Result<Submitted, Error> {
        let mut prepared = prepare::prepare(job, &options, &self.context())?;
        if let Some(pinner) = &self.inner.pinner {
            prepare::pin(&mut prepared.job, pinner, self.inner.max_payload).await;
        }
        let (job, own_id, force) = (Box::new(prepared.job), prepared.own_id, options.force);
        let submitted = self.ask(|answer| Command::Submit { job, own_id, force, answer }).await?;
        Ok(Submitted { warnings: prepared.warnings, ..submitted })
    }

    /// Compares a job with the stored one of its name.
    pub async fn diff(&self, job: Job) -> Result<Diff, Error> {
        let prepared = prepare::prepare(job, &SubmitOptions::default(), &self.context())?;
        let (name, namespace) = (&prepared.job.name, &prepared.job.namespace);
        let stored = self.inner.reader.find_job_by_name(namespace, name).map_err(|e| e.to_user())?;
        let stored = stored.ok_or_else(|| {
            Error::new(code::NOT_FOUND, format!("job name index not found: {name}:{namespace}"))
                .component("JobStore")
        })?;
        Ok(Diff { diff: bacalhau_model::diff::diff(&stored.job, &prepared.job), warnings: prepared.warnings })
    }

    /// Says for every node why it is or is not chosen for a job that is stored.
    pub async fn explain(&self, job: Job) -> Result<Explanation, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Explain { job: Box::new(job), answer }).await?;
        let found = answered.await.map_err(|_| stopping())?;
        found.ok_or_else(|| {
            Error::new(code::BAD_REQUEST, "the job has no task, an unknown type or unreadable resources")
        })
    }

    /// Says where a job would run if it were submitted now, without submitting it.
    ///
    /// # Errors
    /// When it would be refused for what it is.
    pub async fn explain_new(&self, job: Job) -> Result<Explanation, Error> {
        let prepared = prepare::prepare(job, &SubmitOptions::default(), &self.context())?;
        let (name, namespace) = (&prepared.job.name, &prepared.job.namespace);
        let stored = self.inner.reader.find_job_by_name(namespace, name).map_err(|e| e.to_user())?;
        if let Some(stored) = stored {
            same_type(&stored.job, &prepared.job)?;
        }
        self.explain(Job { id: String::new(), ..prepared.job }).await
    }

    /// Stops a job by its full ID. Gives the evaluation ID, empty when it was stopped already.
    pub async fn stop(&self, job_id: &str, reason: &str) -> Result<String, Error> {
        let (job_id, reason) = (job_id.to_owned(), reason.to_owned());
        self.ask(|answer| Command::Stop { job_id, reason, answer }).await
    }

    /// Runs a job again, by its full ID. Version 0 takes the spec of the latest.
    pub async fn rerun(&self, job_id: &str, version: u64) -> Result<Rerun, Error> {
        let job_id = job_id.to_owned();
        self.ask(|answer| Command::Rerun { job_id, version, answer }).await
    }

    /// Deletes a finished job with everything that is known of it, by its full ID.
    pub async fn delete(&self, job_id: &str) -> Result<(), Error> {
        let job_id = job_id.to_owned();
        self.ask(|answer| Command::Delete { job_id, answer }).await
    }

    /// All nodes, this one included, by ID.
    pub async fn nodes(&self) -> Result<Vec<NodeState>, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::ListNodes { answer }).await?;
        let mut nodes = answered.await.map_err(|_| stopping())?;
        let own = &self.inner.own;
        if !nodes.iter().any(|n| n.info.node_id == own.info.node_id) {
            nodes.push(own.clone());
            nodes.sort_by(|a, b| a.info.node_id.cmp(&b.info.node_id));
        }
        Ok(nodes)
    }

    /// One node by ID or unique prefix. The exact ID wins.
    pub async fn node(&self, id: &str) -> Result<NodeState, Error> {
        let nodes = self.nodes().await?;
        if let Some(exact) = nodes.iter().find(|n| n.info.node_id == id) {
            return Ok(exact.clone());
        }
        let mut found = nodes.into_iter().filter(|n| !id.is_empty() && n.info.node_id.starts_with(id));
        match (found.next(), found.next()) {
            (None, _) => {
                Err(Error::new(code::NOT_FOUND, format!("node not found: {id}")).component("NodesManager"))
            }
            (Some(node), None) => Ok(node),
            (Some(first), Some(second)) => {
                let rest =
                    found.next().map(|third| format!(" {} ...", third.info.node_id)).unwrap_or_default();
                let ids = format!("[{} {}{rest}]", first.info.node_id, second.info.node_id);
                Err(Error::new(
                    "MultipleNodesFound",
                    format!("multiple nodes found for prefix: {id}, matching IDs: {ids}"),
                )
                .component("NodesManager")
                .status(409)
                .hint("Use a more specific node ID prefix"))
            }
        }
    }

    /// Approves, rejects or deletes a node, by ID or unique prefix.
    pub async fn update_node(&self, id: &str, action: NodeAction) -> Result<(), Error> {
        let info = self.node(id).await?.info;
        let node_id = info.node_id;
        if info.node_type != NodeType::Compute {
            let text = format!("node {node_id} is the orchestrator; only compute nodes can be managed");
            return Err(Error::new(code::BAD_REQUEST, text).component("NodesManager"));
        }
        self.ask(|answer| Command::UpdateNode { node_id, action, answer }).await
    }

    /// Opens a log stream of an execution on its node.
    pub async fn logs(
        &self,
        node_id: &str,
        request: LogRequest,
    ) -> Result<mpsc::Receiver<Result<Vec<LogLine>, Error>>, Error> {
        self.inner.logs.open(node_id, request).await
    }

    /// Events from now on. Events are in [`Orchestrator::reader`] before they come here.
    ///
    /// # Errors
    /// When the orchestrator has stopped.
    pub fn live_events(&self) -> Result<LiveEvents, Error> {
        self.inner.events.upgrade().map(|live| live.subscribe()).ok_or_else(stopping)
    }

    /// The bus lost the connection of a node. May be called from any thread; does not block.
    pub fn connection_lost(&self, node_id: &str) {
        self.inner.logs.node_lost(node_id);
        let lost = Command::ConnectionLost { node_id: node_id.to_owned() };
        // Many may be lost at once, with the switch they hang on. Each waits for its place in the queue; they are no more
        // than there were connections.
        if let Err(TrySendError::Full(lost)) = self.inner.commands.try_send(lost) {
            let commands = self.inner.commands.clone();
            self.inner.runtime.spawn(async move { commands.send(lost).await });
        }
    }

    /// Counts of what is going on.
    pub async fn census(&self) -> Result<Census, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Census { answer }).await?;
        answered.await.map_err(|_| stopping())
    }

    /// Asks it to end; what was acknowledged is on disk.
    pub fn shutdown(&self) {
        self.inner.shutdown.send_replace(true);
    }

    fn context(&self) -> prepare::Context<'_> {
        prepare::Context {
            node_id: self.node_id(),
            instance_id: &self.inner.instance_id,
            defaults: &self.inner.job_defaults,
            max_payload: self.inner.max_payload,
        }
    }

    async fn ask<R>(&self, command: impl FnOnce(command::Answer<R>) -> Command) -> Result<R, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(command(answer)).await?;
        answered.await.map_err(|_| stopping())?
    }

    async fn send(&self, command: Command) -> Result<(), Error> {
        self.inner.commands.send(command).await.map_err(|_| stopping())
    }
}

fn stopping() -> Error {
    Error::new(code::SERVICE_UNAVAILABLE, "the orchestrator is stopping").retryable()
}
