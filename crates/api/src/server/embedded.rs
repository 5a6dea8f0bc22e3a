//! The orchestrator and the compute node of this process behind the traits of [`super::backend`].

use super::backend::{Backend, Compute, Lines, Records, Reply};
use super::metrics::{Exposition, write_compute, write_orchestrator};
use bacalhau_compute::ComputeNode;
use bacalhau_model::error::code;
use bacalhau_model::explain::Explanation;
use bacalhau_model::{EncodedEvent, Error, Execution, Job, JobHistory, NodeInfo, NodeState, SpecConfig};
use bacalhau_orchestrator::{Diff, LiveEvents, NodeAction, Orchestrator, Rerun, SubmitOptions, Submitted};
use bacalhau_store::StoreError;
use bacalhau_store::orchestrator::{HistoryQuery, ListJobs, Page, Paging, Reader, Versions};
use bacalhau_wire::connect::Status;
use bacalhau_wire::logs::LogRequest;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Map, Value, json};

impl Backend for Orchestrator {
    fn node_id(&self) -> &str {
        Orchestrator::node_id(self)
    }

    fn records(&self) -> &dyn Records {
        self.reader()
    }

    fn submit(&self, job: Job, options: SubmitOptions) -> Reply<'_, Submitted> {
        Box::pin(Orchestrator::submit(self, job, options))
    }

    fn diff(&self, job: Job) -> Reply<'_, Diff> {
        Box::pin(Orchestrator::diff(self, job))
    }

    fn explain(&self, job: Job) -> Reply<'_, Explanation> {
        Box::pin(Orchestrator::explain(self, job))
    }

    fn explain_new(&self, job: Job) -> Reply<'_, Explanation> {
        Box::pin(Orchestrator::explain_new(self, job))
    }

    fn stop<'a>(&'a self, job_id: &'a str, reason: &'a str) -> Reply<'a, String> {
        Box::pin(Orchestrator::stop(self, job_id, reason))
    }

    fn delete<'a>(&'a self, job_id: &'a str) -> Reply<'a, ()> {
        Box::pin(Orchestrator::delete(self, job_id))
    }

    fn rerun<'a>(&'a self, job_id: &'a str, version: u64) -> Reply<'a, Rerun> {
        Box::pin(Orchestrator::rerun(self, job_id, version))
    }

    fn nodes(&self) -> Reply<'_, Vec<NodeState>> {
        Box::pin(Orchestrator::nodes(self))
    }

    fn node<'a>(&'a self, id: &'a str) -> Reply<'a, NodeState> {
        Box::pin(Orchestrator::node(self, id))
    }

    fn update_node<'a>(&'a self, id: &'a str, action: NodeAction) -> Reply<'a, ()> {
        Box::pin(Orchestrator::update_node(self, id, action))
    }

    fn logs<'a>(&'a self, node_id: &'a str, request: LogRequest) -> Reply<'a, Lines> {
        Box::pin(Orchestrator::logs(self, node_id, request))
    }

    fn live_events(&self) -> Result<LiveEvents, Error> {
        Orchestrator::live_events(self)
    }

    fn debug(&self) -> Reply<'_, Map<String, Value>> {
        Box::pin(async move {
            let census = self.census().await?;
            let counts = json!({
                "UnfinishedJobs": census.jobs,
                "LiveExecutions": census.live_executions,
                "UnacknowledgedCancellations": census.cancelling,
                "Nodes": census.nodes,
                "SchedulableNodes": census.connected_nodes,
            });
            let nodes = value(&Orchestrator::nodes(self).await?)?;
            Ok([("Orchestrator".to_owned(), counts), ("DiscoveredNodes".to_owned(), nodes)]
                .into_iter()
                .collect())
        })
    }

    fn metrics<'a>(&'a self, text: &'a mut Exposition) -> Reply<'a, ()> {
        Box::pin(write_orchestrator(self, text))
    }
}

impl Records for Reader {
    fn resolve(&self, namespace: &str, text: &str) -> Result<Job, Error> {
        self.resolve_job(namespace, text)
    }

    fn job(&self, id: &str, version: u64) -> Result<Job, Error> {
        Reader::job(self, id, version)
    }

    fn list(&self, list: &ListJobs) -> Result<Page<Job>, Error> {
        self.list_jobs(list).map_err(to_user)
    }

    fn versions(&self, id: &str) -> Result<Vec<Job>, Error> {
        Reader::versions(self, id).map_err(to_user)
    }

    fn executions(&self, job_id: &str, versions: Versions, paging: Paging) -> Result<Page<Execution>, Error> {
        Reader::executions(self, job_id, versions, paging).map_err(to_user)
    }

    fn execution(&self, id: &str) -> Result<Option<Execution>, Error> {
        Reader::execution(self, id).map_err(to_user)
    }

    fn history(&self, query: &HistoryQuery<'_>) -> Result<Page<JobHistory>, Error> {
        Reader::history(self, query).map_err(to_user)
    }

    fn results(&self, job_id: &str) -> Result<Vec<SpecConfig>, Error> {
        Reader::results(self, job_id).map_err(to_user)
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<EncodedEvent>, Error> {
        Reader::events(self, after, limit).map_err(to_user)
    }

    fn event_bounds(&self) -> Result<Option<(u64, u64)>, Error> {
        Reader::event_bounds(self).map_err(to_user)
    }
}

/// Users learn that the store failed; the log learns where and why.
fn to_user(error: StoreError) -> Error {
    error.to_user()
}

impl Compute for ComputeNode {
    fn info(&self) -> BoxFuture<'_, NodeInfo> {
        Box::pin(ComputeNode::info(self))
    }

    fn connection(&self) -> Option<Status> {
        Some(ComputeNode::connection(self))
    }

    fn metrics<'a>(&'a self, text: &'a mut Exposition) -> BoxFuture<'a, ()> {
        Box::pin(write_compute(self, text))
    }

    fn debug(&self) -> Reply<'_, Map<String, Value>> {
        Box::pin(async move {
            let load = self.load().await;
            let connection = value(&ComputeNode::connection(self))?;
            Ok([
                ("Connection".to_owned(), connection),
                ("Running".to_owned(), Value::from(load.running)),
                ("Enqueued".to_owned(), Value::from(load.enqueued)),
            ]
            .into_iter()
            .collect())
        })
    }
}

fn value<T: Serialize + ?Sized>(what: &T) -> Result<Value, Error> {
    serde_json::to_value(what).map_err(|e| {
        tracing::error!(error = %e, "internals cannot be shown");
        Error::new(code::INTERNAL_ERROR, "Internal server error").component("Unknown")
    })
}
