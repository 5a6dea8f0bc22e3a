//! Queries. Every method takes a connection of the pool for as long as it runs; all are short reads on indexes.

use super::change::{Snapshot, StoredJob};
use crate::error::StoreError;
use crate::pool::Pool;
use bacalhau_model::error::code;
use bacalhau_model::selector::Requirement;
use bacalhau_model::{EncodedEvent, Error, Execution, HistoryType, Job, JobHistory, SpecConfig};
use std::path::Path;
use std::sync::Arc;

/// Reads the orchestrator's database. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) pool: Arc<Pool>,
}

/// Which versions of a job a query is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// The latest.
    #[default]
    Latest,
    /// All.
    All,
    /// This one.
    One(u64),
}

/// Order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderBy {
    /// By time of creation.
    #[default]
    Created,
    /// By time of the last change.
    Modified,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paging {
    /// Order.
    pub order_by: OrderBy,
    /// Newest first.
    pub reverse: bool,
    /// At most so many; 0 means all.
    pub limit: u32,
    /// After skipping so many.
    pub offset: u32,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct ListJobs {
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// Only with labels that match all of these.
    pub labels: Vec<Requirement>,
    /// Order and part.
    pub paging: Paging,
}

/// A part of a list and whether there is more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page<T> {
    /// The part.
    pub items: Vec<T>,
    /// There are more after these.
    pub more: bool,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs.
    pub jobs: u64,
    /// Of these, not final.
    pub unfinished: u64,
    /// Executions.
    pub executions: u64,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Reader, StoreError> {
        Ok(Reader { pool: Arc::new(Pool::open(path)?) })
    }

    /// Everything a starting orchestrator has to know.
    pub fn load(&self) -> Result<Snapshot, StoreError> {
        self.pool.read(super::load::snapshot)
    }

    /// The job of that name, if there is one.
    pub fn find_job_by_name(&self, namespace: &str, name: &str) -> Result<Option<StoredJob>, StoreError> {
        self.pool.read(|c| match super::jobs::number_by_name(c, namespace, name)? {
            Some(number) => super::jobs::stored(c, number),
            None => Ok(None),
        })
    }

    /// The job of that full ID, if there is one.
    pub fn stored_job(&self, id: &str) -> Result<Option<StoredJob>, StoreError> {
        self.pool.read(|c| match super::jobs::number_by_id(c, id)? {
            Some(number) => super::jobs::stored(c, number),
            None => Ok(None),
        })
    }

    /// Finds a job by what users type: its name in the namespace, else its full ID, else a unique prefix of one.
    pub fn resolve_job(&self, namespace: &str, text: &str) -> Result<Job, Error> {
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        self.pool.read(|c| super::jobs::resolve(c, namespace, text)).map_err(|e| e.to_user())?
    }

    /// A version of a job by its full ID; 0 is the latest.
    pub fn job(&self, id: &str, version: u64) -> Result<Job, Error> {
        let found = self.pool.read(|c| {
            let Some(number) = super::jobs::number_by_id(c, id)? else { return Ok(Err(job_not_found(id))) };
            let job = super::jobs::version(c, number, version)?;
            Ok(job.ok_or_else(|| version_not_found(id, version)))
        });
        found.map_err(|e| e.to_user())?
    }

    /// A list of jobs, each in its latest version.
    pub fn list_jobs(&self, list: &ListJobs) -> Result<Page<Job>, StoreError> {
        self.pool.read(|c| super::jobs::list(c, list))
    }

    /// All versions of a job, oldest first, each as it was last stored.
    pub fn versions(&self, id: &str) -> Result<Vec<Job>, StoreError> {
        self.pool.read(|c| super::jobs::versions(c, id))
    }

    /// Executions of a job, each with the job as it was in its version.
    pub fn executions(
        &self,
        job_id: &str,
        versions: Versions,
        paging: Paging,
    ) -> Result<Page<Execution>, StoreError> {
        self.pool.read(|c| super::executions::of_job(c, job_id, versions, paging))
    }

    /// One execution by its full ID, with its job.
    pub fn execution(&self, id: &str) -> Result<Option<Execution>, StoreError> {
        self.pool.read(|c| super::executions::by_id(c, id))
    }

    /// Lines of a job's history from number `from` on, oldest first. `r#type` `None` means both kinds;
    /// `execution` is a prefix; `since` is nanoseconds since 1970.
    pub fn history(&self, query: &HistoryQuery<'_>) -> Result<Page<JobHistory>, StoreError> {
        self.pool.read(|c| super::history::of_job(c, query))
    }

    /// What the completed executions of a job's latest version published, by partition.
    pub fn results(&self, job_id: &str) -> Result<Vec<SpecConfig>, StoreError> {
        let page = self.executions(job_id, Versions::Latest, Paging::default())?;
        let mut done: Vec<Execution> = page.items;
        done.retain(|e| e.compute_state.state_type == bacalhau_model::ComputeState::Completed);
        done.retain(|e| !e.published_result.is_empty());
        done.sort_by(|a, b| (a.partition_index, &a.node_id).cmp(&(b.partition_index, &b.node_id)));
        Ok(done.into_iter().map(|e| e.published_result).collect())
    }

    /// Events of the stream after number `after`, oldest first, at most `limit`. When the first one is not the next
    /// number, those between are kept no longer.
    pub fn events(&self, after: u64, limit: usize) -> Result<Vec<EncodedEvent>, StoreError> {
        self.pool.read(|c| super::events::after(c, after, limit))
    }

    /// Numbers of the oldest and the newest event that are kept; `None` when nothing ever happened.
    pub fn event_bounds(&self) -> Result<Option<(u64, u64)>, StoreError> {
        self.pool.read(super::events::bounds)
    }

    /// How much there is.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        self.pool.read(super::load::counts)
    }
}

/// Which lines of a history.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistoryQuery<'a> {
    /// Full job ID.
    pub job_id: &'a str,
    /// Of which versions.
    pub versions: Versions,
    /// Only of this kind.
    pub r#type: Option<HistoryType>,
    /// Only of executions whose ID starts so; empty for all.
    pub execution: &'a str,
    /// Only recorded at or after this, nanoseconds since 1970.
    pub since: i64,
    /// Only from this number on.
    pub from: u64,
    /// At most so many; 0 means all.
    pub limit: u32,
}

pub(super) fn job_not_found(text: &str) -> Error {
    Error::new(code::NOT_FOUND, format!("job not found: {text}")).component("JobStore")
}

fn version_not_found(id: &str, version: u64) -> Error {
    Error::new(code::NOT_FOUND, format!("job version {version} not found for job {id}")).component("JobStore")
}
