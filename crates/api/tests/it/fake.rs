//! A cluster that says what a test wants it to say, and remembers what it was asked to do.

use crate::support::NODE_ID;
use bacalhau_api::server::{Backend, Lines, Records, Reply};
use bacalhau_model::explain::Explanation;
use bacalhau_model::{EncodedEvent, Error, Execution, Job, JobHistory, NodeState, SpecConfig};
use bacalhau_orchestrator::{Diff, LiveEvents, NodeAction, Rerun, SubmitOptions, Submitted};
use bacalhau_store::orchestrator::{HistoryQuery, ListJobs, OrderBy, Page, Paging, Versions};
use bacalhau_wire::logs::{LogLine, LogRequest};
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{broadcast, mpsc};

/// What is stored and what is answered.
#[derive(Default)]
pub struct World {
    /// All versions of all jobs.
    pub jobs: Vec<Job>,
    pub executions: Vec<Execution>,
    pub history: Vec<JobHistory>,
    pub results: Vec<SpecConfig>,
    pub nodes: Vec<NodeState>,
    /// What every call fails with.
    pub error: Option<Error>,
    pub evaluation_id: String,
    pub job_id: String,
    pub job_version: u64,
    pub warnings: Vec<String>,
    pub diff: String,
    /// What a log holds; the log does not end with `log_goes_on`.
    pub log: Vec<LogLine>,
    pub log_goes_on: bool,
    pub log_error: Option<Error>,
    /// What is kept of the event stream.
    pub events: Vec<EncodedEvent>,
    /// Calls that changed something or opened a log.
    pub seen: Vec<String>,
}

type Log = mpsc::Sender<Result<Vec<LogLine>, Error>>;

/// The made-up cluster.
#[derive(Default)]
pub struct Fake {
    world: Mutex<World>,
    /// Senders of logs that go on.
    open_logs: Mutex<Vec<Log>>,
    live: Live,
}

/// Readers of the event stream.
struct Live(broadcast::Sender<Arc<EncodedEvent>>);

impl Default for Live {
    fn default() -> Live {
        Live(broadcast::channel(4).0)
    }
}

impl Fake {
    pub fn new(world: World) -> Fake {
        Fake { world: Mutex::new(world), ..Fake::default() }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Logs that somebody still reads.
    pub fn logs_read(&self) -> usize {
        self.open_logs.lock().unwrap().iter().filter(|log| !log.is_closed()).count()
    }

    /// Something happens: it is stored, then live.
    pub fn happen(&self, event: EncodedEvent) {
        self.world().events.push(event.clone());
        // Nobody may be listening.
        let _ = self.live.0.send(Arc::new(event));
    }

    /// Streams of events that are open.
    pub fn event_readers(&self) -> usize {
        self.live.0.receiver_count()
    }

    fn call<T>(&self, what: String, answer: impl FnOnce(&mut World) -> T) -> Result<T, Error> {
        let mut world = self.world();
        world.seen.push(what);
        match world.error.clone() {
            Some(error) => Err(error),
            None => Ok(answer(&mut world)),
        }
    }
}

fn ready<'a, T: Send + 'a>(answer: Result<T, Error>) -> Reply<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Backend for Fake {
    fn node_id(&self) -> &str {
        NODE_ID
    }

    fn records(&self) -> &dyn Records {
        self
    }

    fn submit(&self, job: Job, options: SubmitOptions) -> Reply<'_, Submitted> {
        let what = format!(
            "submit {} x{} force={} {} {}",
            job.name, job.count, options.force, options.client_instance_id, options.client_installation_id
        );
        ready(self.call(what, |world| Submitted {
            job_id: world.job_id.clone(),
            evaluation_id: world.evaluation_id.clone(),
            warnings: world.warnings.clone(),
        }))
    }

    fn diff(&self, job: Job) -> Reply<'_, Diff> {
        let what = format!("diff {}", job.name);
        ready(self.call(what, |world| Diff { diff: world.diff.clone(), warnings: world.warnings.clone() }))
    }

    fn explain(&self, job: Job) -> Reply<'_, Explanation> {
        ready(self.call(format!("explain {}", job.id), |_| Explanation::default()))
    }

    fn explain_new(&self, job: Job) -> Reply<'_, Explanation> {
        ready(self.call(format!("explain new {}", job.name), |_| Explanation::default()))
    }

    fn stop<'a>(&'a self, job_id: &'a str, reason: &'a str) -> Reply<'a, String> {
        ready(self.call(format!("stop {job_id} {reason}"), |world| world.evaluation_id.clone()))
    }

    fn delete<'a>(&'a self, job_id: &'a str) -> Reply<'a, ()> {
        ready(self.call(format!("delete {job_id}"), |_| ()))
    }

    fn rerun<'a>(&'a self, job_id: &'a str, version: u64) -> Reply<'a, Rerun> {
        ready(self.call(format!("rerun {job_id} {version}"), |world| Rerun {
            evaluation_id: world.evaluation_id.clone(),
            job_version: world.job_version,
            run: None,
        }))
    }

    fn nodes(&self) -> Reply<'_, Vec<NodeState>> {
        Box::pin(async {
            let nodes = self.world().nodes.clone();
            assert!(nodes.iter().all(|n| n.info.node_id != "panic"), "asked to panic");
            Ok(nodes)
        })
    }

    fn node<'a>(&'a self, id: &'a str) -> Reply<'a, NodeState> {
        let found = self.world().nodes.iter().find(|n| n.info.node_id.starts_with(id)).cloned();
        let missing = || Error::new("NotFound", format!("node not found: {id}")).component("NodesManager");
        ready(found.ok_or_else(missing))
    }

    fn update_node<'a>(&'a self, id: &'a str, action: NodeAction) -> Reply<'a, ()> {
        ready(self.call(format!("{action:?} {id}"), |_| ()))
    }

    fn logs<'a>(&'a self, node_id: &'a str, request: LogRequest) -> Reply<'a, Lines> {
        let (sender, receiver) = mpsc::channel(64);
        let opened = self.call(format!("logs {node_id} {request:?}"), |world| {
            if !world.log.is_empty() {
                sender.try_send(Ok(world.log.clone())).unwrap();
            }
            if let Some(error) = &world.log_error {
                sender.try_send(Err(error.clone())).unwrap();
            }
            world.log_goes_on
        });
        ready(opened.map(|goes_on| {
            if goes_on {
                self.open_logs.lock().unwrap().push(sender);
            }
            receiver
        }))
    }

    fn live_events(&self) -> Result<LiveEvents, Error> {
        Ok(self.live.0.subscribe())
    }

    fn debug(&self) -> Reply<'_, Map<String, Value>> {
        ready(Ok(Map::new()))
    }
}

fn job_not_found(text: &str) -> Error {
    Error::new("NotFound", format!("job not found: {text}")).component("JobStore")
}

impl Records for Fake {
    fn resolve(&self, namespace: &str, text: &str) -> Result<Job, Error> {
        assert!(text != "panic", "asked to panic");
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        let world = self.world();
        if let Some(error) = &world.error {
            return Err(error.clone());
        }
        let named = |job: &&Job| job.name == text && job.namespace == namespace;
        let by_name = world.jobs.iter().rev().find(named);
        let found = by_name.or_else(|| world.jobs.iter().rev().find(|job| job.id == text));
        found.cloned().ok_or_else(|| job_not_found(text))
    }

    fn job(&self, id: &str, version: u64) -> Result<Job, Error> {
        let world = self.world();
        let found =
            world.jobs.iter().rev().find(|job| job.id == id && (version == 0 || job.version == version));
        found.cloned().ok_or_else(|| {
            Error::new("NotFound", format!("job version {version} not found for job {id}"))
                .component("JobStore")
        })
    }

    fn list(&self, list: &ListJobs) -> Result<Page<Job>, Error> {
        let world = self.world();
        let jobs =
            world.jobs.iter().filter(|job| list.namespace.as_ref().is_none_or(|n| *n == job.namespace));
        let jobs = jobs.filter(|job| list.labels.iter().all(|l| l.matches(&job.labels)));
        Ok(part(jobs.cloned().collect(), list.paging))
    }

    fn versions(&self, id: &str) -> Result<Vec<Job>, Error> {
        Ok(self.world().jobs.iter().filter(|job| job.id == id).cloned().collect())
    }

    fn executions(&self, job_id: &str, versions: Versions, paging: Paging) -> Result<Page<Execution>, Error> {
        let latest = self.job(job_id, 0)?.version;
        let mut items: Vec<Execution> =
            self.world().executions.iter().filter(|e| e.job_id == job_id).cloned().collect();
        items.retain(|e| match versions {
            Versions::All => true,
            Versions::Latest => e.job_version == latest,
            Versions::One(version) => e.job_version == version,
        });
        if paging.order_by == OrderBy::Modified {
            items.sort_by_key(|e| e.modify_time);
        }
        Ok(part(items, paging))
    }

    fn execution(&self, id: &str) -> Result<Option<Execution>, Error> {
        Ok(self.world().executions.iter().find(|e| e.id == id).cloned())
    }

    fn history(&self, query: &HistoryQuery<'_>) -> Result<Page<JobHistory>, Error> {
        let latest = self.job(query.job_id, 0)?.version;
        let mut items: Vec<JobHistory> =
            self.world().history.iter().filter(|h| h.job_id == query.job_id).cloned().collect();
        items.retain(|h| match query.versions {
            Versions::All => true,
            Versions::Latest => h.job_version == latest,
            Versions::One(version) => h.job_version == version,
        });
        items.retain(|h| h.seq_num >= query.from && h.execution_id.starts_with(query.execution));
        items.retain(|h| query.r#type.is_none_or(|t| t == h.r#type) && h.time.unix_nanos() >= query.since);
        Ok(part(items, Paging { limit: query.limit, ..Paging::default() }))
    }

    fn results(&self, _: &str) -> Result<Vec<SpecConfig>, Error> {
        Ok(self.world().results.clone())
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<EncodedEvent>, Error> {
        Ok(self.world().events.iter().filter(|e| e.seq_num > after).take(limit).cloned().collect())
    }

    fn event_bounds(&self) -> Result<Option<(u64, u64)>, Error> {
        let world = self.world();
        Ok(world.events.first().zip(world.events.last()).map(|(a, b)| (a.seq_num, b.seq_num)))
    }
}

fn part<T>(mut items: Vec<T>, paging: Paging) -> Page<T> {
    if paging.reverse {
        items.reverse();
    }
    let mut items: Vec<T> = items.into_iter().skip(paging.offset as usize).collect();
    let limit = if paging.limit == 0 { usize::MAX } else { paging.limit as usize };
    let more = items.len() > limit;
    items.truncate(limit);
    Page { items, more }
}
