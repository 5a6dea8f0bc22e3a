//! Finished jobs are deleted: because a user says so, or because housekeeping found them beyond the limits.
//!
//! What is not over is never deleted, whatever the store said a moment ago. A cancellation that a node has not
//! acknowledged stays in memory and in the store although its job is gone; see [`Change::DeleteJob`].

use super::Core;
use super::io::{Output, Reply};
use bacalhau_model::error::code;
use bacalhau_model::{Error, JobState};
use bacalhau_store::orchestrator::{Change, Excess, StoredJob};

/// How long and how much is kept. `None` is for ever, or everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Nanoseconds that a finished job is kept after its end (`Orchestrator.Retention.MaxAge`).
    pub max_age: Option<i64>,
    /// Finished jobs kept, those that ended last (`Orchestrator.Retention.MaxJobs`).
    pub max_jobs: Option<u64>,
    /// Executions that are over kept of a job that is not (`Orchestrator.Retention.MaxExecutionsPerJob`).
    pub max_executions: Option<u64>,
    /// Lines of history kept of a job that is not over (`Orchestrator.Retention.MaxHistoryPerJob`).
    pub max_history: Option<u64>,
}

/// What housekeeping found in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tidy {
    /// Full IDs of finished jobs beyond the limits.
    pub jobs: Vec<String>,
    /// What an unfinished job has too much of.
    pub excess: Option<Excess>,
}

/// Deletions that are on their way to the disk, and what ended since the start.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Deleted jobs, with the batch that stores it. Until then a reader still finds them.
    deleted: Vec<(u64, String)>,
    /// Jobs and executions that ended.
    pub(super) ends: u64,
}

impl Ledger {
    pub(super) fn settled(&mut self, batch: u64) {
        self.deleted.retain(|(b, _)| *b > batch);
    }
}

impl Core {
    /// Jobs and executions that ended since the start. Housekeeping comes earlier after many.
    pub fn ends(&self) -> u64 {
        self.ledger.ends
    }

    /// A user deletes a job.
    pub(super) fn delete<T>(
        &mut self,
        job_id: &str,
        stored: Option<StoredJob>,
        token: T,
        out: &mut Output<T>,
    ) {
        let held = self.jobs.get(job_id).map(|entry| entry.job.state.state_type);
        let state = held.or_else(|| self.unless_deleted(stored).map(|s| s.job.state.state_type));
        let result = match state {
            None => Err(not_found(job_id)),
            Some(state) if !state.is_terminal() => Err(unfinished(job_id, state)),
            Some(_) if self.is_needed(job_id) => Err(needed(job_id)),
            Some(_) => {
                self.forget(job_id, out);
                Ok(())
            }
        };
        out.reply(token, Reply::Deleted(result));
    }

    /// Deletes what housekeeping found, as far as nobody needs it. Answers with how much that was.
    pub(super) fn tidy<T>(&mut self, found: Tidy, token: T, out: &mut Output<T>) {
        let mut count = 0;
        for job_id in found.jobs {
            // One that is held runs again, or its end is not on disk yet: the next round finds it.
            if !self.holds_job(&job_id) && !self.is_deleted(&job_id) && !self.is_needed(&job_id) {
                self.forget(&job_id, out);
                count += 1;
            }
        }
        if let Some(excess) = found.excess {
            count += self.trim(excess, out);
        }
        out.reply(token, Reply::Tidied(count));
    }

    /// Deletes old executions and lines of an unfinished job.
    fn trim<T>(&mut self, excess: Excess, out: &mut Output<T>) -> usize {
        let Excess { job_id, mut executions, history_before } = excess;
        if self.jobs.get(&job_id).is_none_or(|entry| entry.job.is_terminal()) {
            return 0;
        }
        executions.retain(|id| !self.owner.contains_key(id) && !self.cancelled.contains(id));
        let count = executions.len() + usize::from(history_before > 0);
        if !executions.is_empty() {
            out.changes.push(Change::DeleteExecutions(executions));
        }
        if history_before > 0 {
            out.changes.push(Change::DeleteHistory { job_id, before: history_before });
        }
        count
    }

    /// The one place where a job is deleted.
    fn forget<T>(&mut self, job_id: &str, out: &mut Output<T>) {
        if let Some(entry) = self.jobs.remove(job_id) {
            self.names.remove(&(entry.job.namespace.clone(), entry.job.name.clone()));
        }
        // What is promised to nodes belongs to no job any more, as after a restart: a new one may take the same ID.
        self.cancelled.leave_job(job_id);
        self.ledger.deleted.push((self.batch, job_id.to_owned()));
        out.changes.push(Change::DeleteJob(job_id.to_owned()));
    }

    /// A finished job stays while an unfinished one waits for it and others.
    fn is_needed(&self, job_id: &str) -> bool {
        self.related.waiters(job_id).next().is_some()
    }

    /// True while the job's deletion is on its way to the disk.
    pub(super) fn is_deleted(&self, job_id: &str) -> bool {
        !self.jobs.contains_key(job_id) && self.ledger.deleted.iter().any(|(_, id)| id == job_id)
    }

    /// What a reader found, unless the job was deleted since.
    pub(super) fn unless_deleted(&self, stored: Option<StoredJob>) -> Option<StoredJob> {
        stored.filter(|stored| !self.is_deleted(&stored.job.id))
    }
}

fn not_found(id: &str) -> Error {
    Error::new(code::NOT_FOUND, format!("job not found: {id}")).component("JobStore")
}

fn unfinished(id: &str, state: JobState) -> Error {
    Error::new("ConflictJobState", format!("job {id} cannot be deleted: it is {state}, not finished"))
        .component("JobStore")
        .status(409)
        .hint(format!("Stop it first: bacalhau job stop {id}"))
}

fn needed(id: &str) -> Error {
    Error::new("ConflictJobState", format!("job {id} cannot be deleted: another job waits for how it ended"))
        .component("JobStore")
        .status(409)
        .hint("Delete it when that job has started, or stop that job")
}
