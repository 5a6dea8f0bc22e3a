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
        executions.retain(|id| !self.owner.contains_key(id) && !self.cancelled.contains_key(id));
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
        self.ledger.deleted.push((self.batch, job_id.to_owned()));
        out.changes.push(Change::DeleteJob(job_id.to_owned()));
    }

    /// A finished job that an unfinished one still asks about must stay. Nothing does so yet.
    fn is_needed(&self, _job_id: &str) -> bool {
        false
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

#[cfg(test)]
mod tests {
    use super::super::tests::{World, job};
    use super::*;
    use crate::core::{Effect, Input};
    use bacalhau_store::orchestrator::PendingMessage;

    impl World {
        /// A job that a node completed, with its execution.
        fn done(&mut self, id: &str) -> String {
            self.submit(job(id, "batch", 1)).unwrap();
            let execution = self.last();
            self.accept(&execution);
            self.complete(&execution);
            execution
        }

        /// Everything so far is on disk.
        fn settle(&mut self) {
            let batch = self.core.seal();
            self.core.settled(batch);
        }

        fn stored(&self, id: &str) -> Option<StoredJob> {
            Some(StoredJob { job: self.job(id), next_history_seq: 9, previous: None })
        }

        fn delete(&mut self, id: &str, stored: Option<StoredJob>) -> Result<(), Error> {
            self.step(Input::Delete { job_id: id.into(), stored, token: () });
            match self.replies.pop() {
                Some(Reply::Deleted(result)) => result,
                other => panic!("{other:?}"),
            }
        }

        fn tidy(&mut self, found: Tidy) -> usize {
            self.step(Input::Tidy { found, token: () });
            match self.replies.pop() {
                Some(Reply::Tidied(count)) => count,
                other => panic!("{other:?}"),
            }
        }

        fn deleted(&self) -> Vec<&str> {
            let deleted = self.changes.iter().filter_map(|change| match change {
                Change::DeleteJob(id) => Some(id.as_str()),
                _ => None,
            });
            deleted.collect()
        }
    }

    #[test]
    fn only_finished_jobs_are_deleted() {
        let mut w = World::new();
        w.node("n1", 4.0);
        assert_eq!(w.delete("nothing", None).unwrap_err().http_status(), 404);
        w.submit(job("live", "service", 1)).unwrap();
        let refused = w.delete("live", None).unwrap_err();
        assert_eq!(
            (refused.http_status(), refused.hint.as_str()),
            (409, "Stop it first: bacalhau job stop live")
        );
        w.done("held");
        w.delete("held", None).unwrap();
        assert!(!w.core.holds_job("held"));
        w.done("stored");
        w.settle();
        let stored = w.stored("stored");
        w.delete("stored", stored).unwrap();
        assert_eq!(w.deleted(), ["held", "stored"]);
        // The end of a job that was deleted before it left the memory comes to disk, too.
        w.settle();
        assert_eq!(w.core.census().jobs, 1);
    }

    #[test]
    fn what_a_reader_found_before_the_deletion_is_not_believed() {
        let mut w = World::new();
        w.node("n1", 4.0);
        w.done("j");
        w.settle();
        let stale = w.stored("j");
        w.delete("j", stale.clone()).unwrap();
        assert_eq!(w.delete("j", stale.clone()).unwrap_err().http_status(), 404);
        let spec = std::sync::Arc::new(w.job("j"));
        w.step(Input::Rerun { job_id: "j".into(), spec, stored: stale.clone(), token: () });
        assert!(matches!(w.replies.pop(), Some(Reply::Rerun(Err(_)))));
        w.step(Input::Stop { job_id: "j".into(), reason: "".into(), stored: stale.clone(), token: () });
        assert!(matches!(w.replies.pop(), Some(Reply::Stopped(Err(_)))));
        assert_eq!(w.tidy(Tidy { jobs: vec!["j".into()], excess: None }), 0);
        // The same name and ID again is a new job.
        let again = Box::new(job("j", "batch", 1));
        w.step(Input::Submit { job: again, stored: stale, id_taken: true, force: false, token: () });
        assert!(matches!(w.replies.pop(), Some(Reply::Submitted(Ok(_)))));
        assert_eq!((w.job("j").version, w.deleted().len()), (1, 1));
        w.settle();
        assert!(w.core.holds_job("j"));
    }

    #[test]
    fn housekeeping_deletes_nothing_that_is_held() {
        let mut w = World::new();
        w.node("n1", 4.0);
        w.done("not settled");
        w.submit(job("live", "service", 1)).unwrap();
        let found = Tidy { jobs: ["not settled", "live", "old"].map(String::from).to_vec(), excess: None };
        assert_eq!(w.tidy(found), 1);
        assert_eq!(w.deleted(), ["old"]);
    }

    #[test]
    fn a_promised_cancellation_survives_the_deletion() {
        let mut w = World::new();
        w.node("n1", 4.0);
        w.submit(job("j", "service", 1)).unwrap();
        let execution = w.last();
        w.accept(&execution);
        w.step(Input::Stop { job_id: "j".into(), reason: "enough".into(), stored: None, token: () });
        w.delete("j", None).unwrap();
        w.settle();
        assert_eq!(w.core.census().cancelling, 1);
        assert!(w.core.message(&execution, PendingMessage::CancelExecution).is_some());
        let mut out = crate::core::Output::<()>::default();
        let kind = PendingMessage::CancelExecution;
        let now = w.now;
        w.core.step(now, Input::Delivered { execution_id: execution.clone(), kind }, &mut out);
        let noted = |change: &Change| matches!(change, Change::PutExecution { execution: e, pending: None } if e.id == execution);
        assert!(out.changes.iter().any(noted), "{:?}", out.changes);
        assert!(!out.effects.iter().any(|effect| matches!(effect, Effect::Send { .. })));
        assert_eq!(w.core.census().cancelling, 0);
    }

    #[test]
    fn only_what_is_over_is_trimmed() {
        let mut w = World::new();
        w.node("n1", 4.0);
        w.submit(job("s", "service", 1)).unwrap();
        let live = w.last();
        let executions = vec!["over".to_owned(), live];
        let excess = Excess { job_id: "s".into(), executions, history_before: 3 };
        assert_eq!(w.tidy(Tidy { jobs: vec![], excess: Some(excess.clone()) }), 2);
        let trimmed =
            w.changes.iter().any(|c| matches!(c, Change::DeleteExecutions(ids) if *ids == ["over"]));
        assert!(trimmed);
        w.step(Input::Stop { job_id: "s".into(), reason: "".into(), stored: None, token: () });
        assert_eq!(w.tidy(Tidy { jobs: vec![], excess: Some(excess) }), 0);
    }

    #[test]
    fn ends_are_counted() {
        let mut w = World::new();
        w.node("n1", 4.0);
        w.done("a");
        assert_eq!(w.core.ends(), 1);
        w.settle();
        assert_eq!(w.core.ends(), 2);
    }
}
