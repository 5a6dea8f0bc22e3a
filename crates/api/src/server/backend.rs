//! What the handlers need from the rest of the house, as traits, so that they can be tried against a made-up cluster.
//!
//! Records are read synchronously, off the async threads (see [`super::App::read`]); everything else is a future.

use super::metrics::Exposition;
use bacalhau_model::explain::Explanation;
use bacalhau_model::{EncodedEvent, Error, Execution, Job, JobHistory, NodeInfo, NodeState, SpecConfig};
use bacalhau_orchestrator::{Diff, LiveEvents, NodeAction, Rerun, SubmitOptions, Submitted};
use bacalhau_store::orchestrator::{HistoryQuery, ListJobs, Page, Paging, Versions};
use bacalhau_wire::connect::Status;
use bacalhau_wire::logs::{LogLine, LogRequest};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

/// An answer that takes a while.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// Output as it comes, as much at once as is at hand; the end of the channel is the end of the log.
pub type Lines = mpsc::Receiver<Result<Vec<LogLine>, Error>>;

/// An orchestrator.
pub trait Backend: Send + Sync + 'static {
    /// Its ID.
    fn node_id(&self) -> &str;
    /// What it has stored.
    fn records(&self) -> &dyn Records;
    /// Takes a job, new or a new version of the one with its name; answers when it is on disk.
    fn submit(&self, job: Job, options: SubmitOptions) -> Reply<'_, Submitted>;
    /// Compares a job with the stored one of its name.
    fn diff(&self, job: Job) -> Reply<'_, Diff>;
    /// Says for every node why it is or is not chosen for a stored job.
    fn explain(&self, job: Job) -> Reply<'_, Explanation>;
    /// Says where a job would run if it were submitted now.
    fn explain_new(&self, job: Job) -> Reply<'_, Explanation>;
    /// Stops a job by its full ID. Gives the evaluation's ID, empty when the job was stopped already.
    fn stop<'a>(&'a self, job_id: &'a str, reason: &'a str) -> Reply<'a, String>;
    /// Deletes a finished job by its full ID, with all versions, executions and history.
    fn delete<'a>(&'a self, job_id: &'a str) -> Reply<'a, ()>;
    /// Runs a version of a job again, by its full ID; 0 is the latest version.
    fn rerun<'a>(&'a self, job_id: &'a str, version: u64) -> Reply<'a, Rerun>;
    /// All nodes, by ID.
    fn nodes(&self) -> Reply<'_, Vec<NodeState>>;
    /// One node by ID or unique prefix.
    fn node<'a>(&'a self, id: &'a str) -> Reply<'a, NodeState>;
    /// Approves, rejects, deletes, cordons or drains a node, by ID or unique prefix.
    fn update_node<'a>(&'a self, id: &'a str, action: NodeAction) -> Reply<'a, ()>;
    /// Opens the log of an execution on its node.
    fn logs<'a>(&'a self, node_id: &'a str, request: LogRequest) -> Reply<'a, Lines>;
    /// Events of the stream from now on; they are among the records before they come here.
    fn live_events(&self) -> Result<LiveEvents, Error>;
    /// Internals for people who look for trouble.
    fn debug(&self) -> Reply<'_, Map<String, Value>>;
    /// Adds figures about its jobs and nodes.
    fn metrics<'a>(&'a self, _text: &'a mut Exposition) -> Reply<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Stored jobs and what belongs to them. Methods may block for the time of a database read.
pub trait Records: Send + Sync {
    /// Finds a job by name in the namespace (empty means `default`), else by full ID, else by unique prefix of one.
    fn resolve(&self, namespace: &str, text: &str) -> Result<Job, Error>;
    /// A version of a job by its full ID; 0 is the latest.
    fn job(&self, id: &str, version: u64) -> Result<Job, Error>;
    /// A part of the list of jobs, each in its latest version.
    fn list(&self, list: &ListJobs) -> Result<Page<Job>, Error>;
    /// All versions of a job by its full ID, oldest first.
    fn versions(&self, id: &str) -> Result<Vec<Job>, Error>;
    /// Executions of a job by its full ID, each with the job in its version.
    fn executions(&self, job_id: &str, versions: Versions, paging: Paging) -> Result<Page<Execution>, Error>;
    /// An execution by its full ID, without its job.
    fn execution(&self, id: &str) -> Result<Option<Execution>, Error>;
    /// Lines of a job's history, oldest first.
    fn history(&self, query: &HistoryQuery<'_>) -> Result<Page<JobHistory>, Error>;
    /// What the completed executions of a job's latest version published.
    fn results(&self, job_id: &str) -> Result<Vec<SpecConfig>, Error>;
    /// Events of the stream after number `after`, oldest first, at most `limit`.
    fn events(&self, after: u64, limit: usize) -> Result<Vec<EncodedEvent>, Error>;
    /// Numbers of the oldest and the newest event that are kept.
    fn event_bounds(&self) -> Result<Option<(u64, u64)>, Error>;
}

/// The compute node in the same process.
pub trait Compute: Send + Sync + 'static {
    /// What it says of itself, and how busy it is.
    fn info(&self) -> BoxFuture<'_, NodeInfo>;
    /// How its connection to an orchestrator stands, if that is known.
    fn connection(&self) -> Option<Status> {
        None
    }
    /// Adds figures about the node and its executions.
    fn metrics<'a>(&'a self, _text: &'a mut Exposition) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
    /// Internals for people who look for trouble.
    fn debug(&self) -> Reply<'_, Map<String, Value>>;
}
