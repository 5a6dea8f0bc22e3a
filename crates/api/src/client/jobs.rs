//! Requests about jobs.

use super::Client;
use super::types::{
    Deleted, Diff, DiffBody, Explained, JobDetails, Page, Rerun, RerunBody, StopBody, Stopped, SubmitBody,
    Submitted,
};
use bacalhau_model::explain::Explanation;
use bacalhau_model::{Error, Execution, Job, JobHistory, SpecConfig};
use reqwest::Method;

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobsQuery {
    /// Namespace; empty for all.
    pub namespace: String,
    /// Label selectors, all of which must match.
    pub labels: Vec<String>,
    /// Field to sort by; empty for the server's choice.
    pub order_by: String,
    /// Descending.
    pub reverse: bool,
    /// At most so many; 0 for all.
    pub limit: u32,
    /// Where to go on.
    pub next_token: String,
}

/// Which job and which of its versions.
#[derive(Clone, Debug, Default)]
pub struct JobQuery {
    /// Namespace in which a name is looked up; empty for the default one.
    pub namespace: String,
    /// Version; 0 for the latest.
    pub version: u64,
    /// Comma-separated `history`, `executions`; empty for the job alone.
    pub include: &'static str,
    /// Leave out the copy of the job in each execution; see [`ExecutionsQuery::without_job`].
    pub without_job: bool,
}

/// Which executions of a job.
#[derive(Clone, Debug, Default)]
pub struct ExecutionsQuery {
    /// Namespace in which a name is looked up; empty for the default one.
    pub namespace: String,
    /// Version; 0 for the latest.
    pub version: u64,
    /// All versions.
    pub all_versions: bool,
    /// Field to sort by; empty for the server's choice.
    pub order_by: String,
    /// Descending.
    pub reverse: bool,
    /// At most so many; 0 for all.
    pub limit: u32,
    /// Where to go on.
    pub next_token: String,
    /// Leave out the copy of the job in each execution. A large job with many executions is a very large answer
    /// otherwise. Bacalhau 1.9 does not know this and always sends the copy.
    pub without_job: bool,
}

/// Which part of a job's history.
#[derive(Clone, Debug, Default)]
pub struct HistoryQuery {
    /// Namespace in which a name is looked up; empty for the default one.
    pub namespace: String,
    /// Version; 0 for the latest.
    pub version: u64,
    /// All versions.
    pub all_versions: bool,
    /// `all`, `job` or `execution`; empty for all.
    pub event_type: String,
    /// Execution or prefix; empty for all.
    pub execution_id: String,
    /// Field to sort by; empty for the server's choice.
    pub order_by: String,
    /// Descending.
    pub reverse: bool,
    /// At most so many; 0 for the server's choice.
    pub limit: u32,
    /// Where to go on; servers give one as long as more may follow.
    pub next_token: String,
}

/// Collects the parameters that are set.
#[derive(Default)]
struct Pairs(Vec<(&'static str, String)>);

impl Pairs {
    fn text(mut self, key: &'static str, value: &str) -> Self {
        if !value.is_empty() {
            self.0.push((key, value.to_owned()));
        }
        self
    }
    fn number(mut self, key: &'static str, value: u64) -> Self {
        if value != 0 {
            self.0.push((key, value.to_string()));
        }
        self
    }
    fn flag(self, key: &'static str, value: bool) -> Self {
        self.text(key, if value { "true" } else { "" })
    }
}

const JOBS: [&str; 2] = ["orchestrator", "jobs"];

impl Client {
    /// Submits a job. With `force` also when the same spec is already stored.
    pub async fn submit(&self, job: &Job, force: bool) -> Result<Submitted, Error> {
        let body = SubmitBody { namespace: &job.namespace, idempotency_token: "", job, force };
        self.call(Method::PUT, &JOBS, &[], Some(&body)).await
    }

    /// Compares a job with the stored one of the same name.
    pub async fn diff(&self, job: &Job) -> Result<Diff, Error> {
        let body = DiffBody { namespace: &job.namespace, job };
        self.call(Method::PUT, &["orchestrator", "jobs", "diff"], &[], Some(&body)).await
    }

    /// Why a stored job runs where it runs, by name, ID or unique prefix.
    pub async fn explain(&self, job: &str, namespace: &str) -> Result<Explanation, Error> {
        let pairs = Pairs::default().text("namespace", namespace);
        let answer: Explained = self.get(&["orchestrator", "jobs", job, "explain"], &pairs.0).await?;
        Ok(answer.explanation)
    }

    /// Where a job would run if it were submitted now.
    pub async fn explain_new(&self, job: &Job) -> Result<Explanation, Error> {
        let body = DiffBody { namespace: &job.namespace, job };
        let path = ["orchestrator", "explain"];
        let answer: Explained = self.call(Method::PUT, &path, &[], Some(&body)).await?;
        Ok(answer.explanation)
    }

    /// One page of jobs.
    pub async fn jobs(&self, query: &JobsQuery) -> Result<Page<Job>, Error> {
        let mut pairs = Pairs::default()
            .text("namespace", &query.namespace)
            .text("order_by", &query.order_by)
            .flag("reverse", query.reverse)
            .number("limit", query.limit.into())
            .text("next_token", &query.next_token)
            .0;
        pairs.extend(query.labels.iter().map(|l| ("labels", l.clone())));
        self.get(&JOBS, &pairs).await
    }

    /// One job by name, ID or unique prefix.
    pub async fn job(&self, id: &str, query: &JobQuery) -> Result<JobDetails, Error> {
        let pairs = Pairs::default()
            .text("namespace", &query.namespace)
            .number("job_version", query.version)
            .text("include", query.include)
            .flag("without_job", query.without_job);
        self.get(&["orchestrator", "jobs", id], &pairs.0).await
    }

    /// Executions of a job.
    pub async fn executions(&self, id: &str, query: &ExecutionsQuery) -> Result<Page<Execution>, Error> {
        let pairs = Pairs::default()
            .text("namespace", &query.namespace)
            .number("job_version", query.version)
            .flag("all_job_versions", query.all_versions)
            .text("order_by", &query.order_by)
            .flag("reverse", query.reverse)
            .number("limit", query.limit.into())
            .text("next_token", &query.next_token)
            .flag("without_job", query.without_job);
        self.get(&["orchestrator", "jobs", id, "executions"], &pairs.0).await
    }

    /// One page of a job's history, oldest first.
    pub async fn history(&self, id: &str, query: &HistoryQuery) -> Result<Page<JobHistory>, Error> {
        let pairs = Pairs::default()
            .text("namespace", &query.namespace)
            .number("job_version", query.version)
            .flag("all_job_versions", query.all_versions)
            .text("event_type", &query.event_type)
            .text("execution_id", &query.execution_id)
            .text("order_by", &query.order_by)
            .flag("reverse", query.reverse)
            .number("limit", query.limit.into())
            .text("next_token", &query.next_token);
        self.get(&["orchestrator", "jobs", id, "history"], &pairs.0).await
    }

    /// Stored versions of a job, ascending.
    pub async fn versions(&self, id: &str, namespace: &str) -> Result<Page<Job>, Error> {
        let pairs = Pairs::default().text("namespace", namespace);
        self.get(&["orchestrator", "jobs", id, "versions"], &pairs.0).await
    }

    /// Where the results of a job are.
    pub async fn results(&self, id: &str, namespace: &str) -> Result<Page<SpecConfig>, Error> {
        let pairs = Pairs::default().text("namespace", namespace);
        self.get(&["orchestrator", "jobs", id, "results"], &pairs.0).await
    }

    /// Stops a job.
    pub async fn stop(&self, id: &str, namespace: &str, reason: &str) -> Result<Stopped, Error> {
        let pairs = Pairs::default().text("namespace", namespace);
        let body = StopBody { namespace, reason };
        self.call(Method::DELETE, &["orchestrator", "jobs", id], &pairs.0, Some(&body)).await
    }

    /// Deletes a finished job with all versions, executions and history.
    pub async fn delete(&self, id: &str, namespace: &str) -> Result<Deleted, Error> {
        let pairs = Pairs::default().text("namespace", namespace);
        self.call(Method::DELETE, &["orchestrator", "jobs", id, "record"], &pairs.0, None::<&()>).await
    }

    /// Runs a version of a job again, as a new version; 0 for the latest.
    pub async fn rerun(&self, id: &str, namespace: &str, version: u64) -> Result<Rerun, Error> {
        let pairs = Pairs::default().text("namespace", namespace);
        let body = RerunBody { namespace, job_version: version, reason: "" };
        self.call(Method::PUT, &["orchestrator", "jobs", id, "rerun"], &pairs.0, Some(&body)).await
    }
}
