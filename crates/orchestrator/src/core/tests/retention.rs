//! Finished jobs are deleted, and nothing else is.

use super::*;
use bacalhau_model::Dependency;
use bacalhau_store::orchestrator::Excess;

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
        Some(StoredJob { job: self.job(id), next_history_seq: 9, previous: None, replaced: Vec::new() })
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
    // It is nobody's although a new job has the same ID.
    w.submit(job("j", "service", 1)).unwrap();
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
    let trimmed = w.changes.iter().any(|c| matches!(c, Change::DeleteExecutions(ids) if *ids == ["over"]));
    assert!(trimmed);
    w.step(Input::Stop { job_id: "s".into(), reason: "".into(), stored: None, token: () });
    assert_eq!(w.tidy(Tidy { jobs: vec![], excess: Some(excess) }), 0);
}

#[test]
fn a_job_that_another_waits_for_is_kept() {
    let mut w = World::new();
    w.node("n1", 4.0);
    for id in ["first", "second"] {
        w.submit(job(id, "batch", 1)).unwrap();
    }
    let mut last = job("last", "batch", 1);
    last.depends_on =
        ["first", "second"].map(|j| Dependency { job: j.into(), ..Dependency::default() }).into();
    w.submit(last).unwrap();
    let first = w.executions().into_iter().find(|e| e.job_id == "first").unwrap();
    w.accept(&first.id);
    w.complete(&first.id);
    w.settle();
    let stored = w.stored("first");
    assert_eq!(w.delete("first", stored.clone()).unwrap_err().http_status(), 409);
    assert_eq!(w.tidy(Tidy { jobs: vec!["first".into()], excess: None }), 0);
    w.step(Input::Stop { job_id: "last".into(), reason: "".into(), stored: None, token: () });
    w.delete("first", stored).unwrap();
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
