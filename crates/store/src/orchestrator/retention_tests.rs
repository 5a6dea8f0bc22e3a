//! Deleting: at once for those who look, in slices for the disk, and never what was promised to a node.

use super::tests::{Db, execution, finish, job, line};
use super::*;
use bacalhau_model::execution::{ComputeState, DesiredState, Execution};
use bacalhau_model::state::State;
use bacalhau_model::{Job, JobState};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Db {
    /// Rows that are in the file, whether a query shows them or not.
    fn rows(&self, table: &str) -> i64 {
        let file = rusqlite::Connection::open(self.dir.path().join("state.db")).unwrap();
        file.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    /// Size of the file without its log, bytes.
    fn size(&self) -> u64 {
        std::fs::metadata(self.dir.path().join("state.db")).unwrap().len()
    }

    fn finished(&self, n: i64, ended: i64) -> Job {
        let new = job(n);
        let done = Job { modify_time: ended, ..finish(new.clone()) };
        self.put(vec![Change::PutJob(Arc::new(new)), Change::PutJob(Arc::new(done.clone()))]);
        done
    }

    fn expired(&self, ended_before: i64, most: Option<u64>) -> Vec<i64> {
        let Some(bound) = self.reader.expiry_bound(ended_before, most).unwrap() else { return Vec::new() };
        let found = self.reader.expired(Place::default(), bound, 100).unwrap();
        found.iter().map(|e| self.reader.job(&e.job_id, 0).unwrap().create_time).collect()
    }
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ended(job: &Job, n: i64) -> Execution {
    let mut execution = execution(job, n);
    execution.desired_state = State::new(DesiredState::Stopped);
    execution.compute_state = State::new(ComputeState::Failed);
    execution
}

fn put(execution: &Execution, pending: Option<PendingMessage>) -> Change {
    Change::PutExecution { execution: Arc::new(execution.clone()), pending }
}

#[test]
fn a_large_job_is_gone_at_once_and_its_room_comes_back_in_slices() {
    let db = Db::new();
    let large = job(1);
    db.put(vec![Change::PutJob(Arc::new(large.clone()))]);
    for round in 0..20_i64 {
        let mut changes = Vec::new();
        for n in round * 500..round * 500 + 500 {
            let mut e = ended(&large, n);
            e.run_output.stdout = "x".repeat(2_000);
            changes.extend([put(&e, None), line(&large, n as u64 + 1, &e.id)]);
        }
        db.put(changes);
    }
    db.put(vec![Change::PutJob(Arc::new(finish(large.clone())))]);
    let full = 20_000_000;
    eventually("the log reaches the file", || db.size() > full);
    db.put(vec![Change::DeleteJob(large.id.clone())]);
    assert_eq!(db.reader.counts().unwrap(), Counts::default());
    assert_eq!(db.reader.job(&large.id, 0).unwrap_err().http_status(), 404);
    assert_eq!(db.reader.execution(&ended(&large, 3).id).unwrap(), None);
    // Its name and ID are free, and a new job does not inherit what is not swept out yet.
    db.put(vec![Change::PutJob(Arc::new(large.clone())), line(&large, 1, "")]);
    assert_eq!(db.reader.counts().unwrap(), Counts { jobs: 1, unfinished: 1, executions: 0 });
    for table in ["executions", "waste"] {
        eventually(&format!("{table} are swept out"), || db.rows(table) == 0);
    }
    assert_eq!((db.rows("history"), db.rows("versions")), (1, 1));
    eventually("the file shrinks", || db.size() < full / 10);
}

#[test]
fn a_slice_is_small() {
    let db = Db::new();
    let old = job(1);
    db.put(vec![Change::PutJob(Arc::new(old.clone()))]);
    db.put((0..1_200).flat_map(|n| [put(&ended(&old, n), None), line(&old, n as u64 + 1, "")]).collect());
    db.writer.close();
    let mut file = crate::files::open_writer(&db.dir.path().join("state.db")).unwrap();
    let transaction = file.transaction().unwrap();
    retention::delete_job(&transaction, &old.id).unwrap();
    transaction.commit().unwrap();
    let count = || ["executions", "history", "versions"].iter().map(|table| db.rows(table)).sum::<i64>();
    let (mut left, mut more) = (count(), true);
    assert_eq!(left, 2_401);
    while more {
        let transaction = file.transaction().unwrap();
        more = retention::sweep(&transaction).unwrap();
        transaction.commit().unwrap();
        let now = count();
        assert!(now < left && left - now <= 501, "{left} became {now}");
        left = now;
    }
    assert_eq!((left, db.rows("waste")), (0, 0));
}

#[test]
fn sweeping_goes_on_after_a_restart_and_under_load() {
    let db = Db::new();
    let old = job(1);
    db.put(vec![Change::PutJob(Arc::new(old.clone()))]);
    db.put((0..5_000).map(|n| put(&ended(&old, n), None)).collect());
    db.put(vec![Change::DeleteJob(old.id.clone())]);
    let db = db.reopen();
    assert!(db.reader.load().unwrap().executions.is_empty());
    // Never idle: batches wait all the time.
    let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for n in 2..3_000 {
        let done = Arc::clone(&done);
        let count = move |result: Result<(), _>| {
            result.unwrap();
            done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        db.writer.commit(vec![Change::PutJob(Arc::new(job(n)))], Box::new(count));
    }
    eventually("everything is swept out", || db.rows("executions") == 0 && db.rows("waste") == 0);
    eventually("everything is written", || done.load(std::sync::atomic::Ordering::Relaxed) == 2_998);
    assert_eq!(db.reader.counts().unwrap().jobs, 2_998);
}

#[test]
fn a_cancellation_outlives_its_job_until_it_is_acknowledged() {
    let db = Db::new();
    let done = db.finished(1, 5);
    let (promised, over) = (ended(&done, 1), ended(&done, 2));
    db.put(vec![put(&promised, Some(PendingMessage::CancelExecution)), put(&over, None)]);
    db.put(vec![Change::DeleteJob(done.id.clone())]);
    eventually("the other one is swept out", || db.rows("executions") == 1 && db.rows("versions") == 0);
    // A new job may take the same ID: what is promised belongs to none.
    db.put(vec![Change::PutJob(Arc::new(job(1)))]);
    let db = db.reopen();
    let snapshot = db.reader.load().unwrap();
    let nameless = Execution { job_id: String::new(), namespace: String::new(), ..promised };
    assert_eq!(snapshot.executions, vec![(nameless.clone(), Some(PendingMessage::CancelExecution))]);
    db.put(vec![put(&nameless, None)]);
    eventually("it is swept out", || db.rows("executions") == 0 && db.rows("waste") == 0);
    assert!(db.reader.load().unwrap().executions.is_empty());
}

#[test]
fn what_expires_by_age_and_by_number() {
    let db = Db::new();
    for n in 1..=6 {
        db.finished(n, n * 100);
    }
    db.put(vec![Change::PutJob(Arc::new(job(7)))]);
    assert_eq!(db.expired(0, None), Vec::<i64>::new());
    assert_eq!(db.expired(300, None), [1, 2]);
    assert_eq!(db.expired(0, Some(6)), Vec::<i64>::new());
    assert_eq!(db.expired(0, Some(4)), [1, 2]);
    assert_eq!(db.expired(500, Some(4)), [1, 2, 3, 4]);
    assert_eq!(db.expired(i64::MAX, Some(0)), [1, 2, 3, 4, 5, 6]);
    let bound = db.reader.expiry_bound(i64::MAX, None).unwrap().unwrap();
    let first = db.reader.expired(Place::default(), bound, 2).unwrap();
    let rest = db.reader.expired(first[1].place, bound, 100).unwrap();
    assert_eq!((first.len(), rest.len()), (2, 4));
    // Run again meanwhile: no longer what was found, even when it has ended again.
    db.put(vec![Change::PutJob(Arc::new(Job { modify_time: 900, ..finish(job(2)) }))]);
    assert_eq!(db.reader.still_expired(&first).unwrap(), [job(1).id]);
    db.put(vec![Change::DeleteJob(job(1).id)]);
    assert!(db.reader.still_expired(&first).unwrap().is_empty());
}

#[test]
fn a_service_keeps_its_newest_ends_and_lines() {
    let db = Db::new();
    let service = Job { r#type: "service".into(), state: State::new(JobState::Running), ..job(1) };
    db.put(vec![Change::PutJob(Arc::new(service.clone()))]);
    let live = execution(&service, 0);
    // Partition 1 ended once, long ago; partition 2 ends all the time, once without an acknowledgement.
    let mut changes = vec![put(&live, Some(PendingMessage::AskForBid)), put(&ended(&service, 1), None)];
    for n in 2..12 {
        let pending = (n == 3).then_some(PendingMessage::CancelExecution);
        changes.push(put(&Execution { partition_index: 2, ..ended(&service, n) }, pending));
    }
    changes.extend((1..=20).map(|seq| line(&service, seq, "")));
    db.put(changes);
    let keep = Keep { executions: Some(4), history: Some(6) };
    let (found, more) = db.reader.overgrown(keep, 0).unwrap();
    assert_eq!((found.len(), more), (1, None));
    let names = |e: &Excess| e.executions.clone();
    let ids = |of: &[i64]| of.iter().map(|n| execution(&service, *n).id).collect::<Vec<_>>();
    let slice = db.reader.excess(found[0], keep, 3).unwrap().unwrap();
    assert_eq!((names(&slice), slice.history_before), (ids(&[2, 4, 5]), 4));
    let all = db.reader.excess(found[0], keep, 100).unwrap().unwrap();
    assert_eq!((names(&all), all.history_before), (ids(&[2, 4, 5, 6, 7]), 15));
    db.put(vec![
        Change::DeleteExecutions(all.executions),
        Change::DeleteHistory { job_id: service.id.clone(), before: all.history_before },
    ]);
    assert_eq!(db.reader.excess(found[0], keep, 100).unwrap(), None);
    assert_eq!(db.reader.stored_job(&service.id).unwrap().unwrap().next_history_seq, 21);
    let kept = db.reader.executions(&service.id, Versions::All, Paging::default()).unwrap().items;
    assert_eq!(kept.iter().map(|e| e.create_time).collect::<Vec<_>>(), [0, 1, 3, 8, 9, 10, 11]);
    let nothing = db.reader.overgrown(Keep::default(), 0).unwrap();
    assert_eq!(nothing, (vec![], None));
}

#[test]
fn a_job_that_will_end_keeps_its_latest_version() {
    let db = Db::new();
    let first = job(1);
    let second = Job { version: 2, revision: 2, ..first.clone() };
    let (old, new): (Vec<_>, Vec<_>) =
        ((1..=3).map(|n| ended(&first, n)).collect(), (4..=9).map(|n| ended(&second, n)).collect());
    let mut changes = vec![Change::PutJob(Arc::new(first))];
    changes.extend(old.iter().map(|e| put(e, None)));
    changes.push(Change::PutJob(Arc::new(second)));
    changes.extend(new.iter().map(|e| put(e, None)));
    db.put(changes);
    let keep = Keep { executions: Some(2), history: None };
    let (found, _) = db.reader.overgrown(keep, 0).unwrap();
    let excess = db.reader.excess(found[0], keep, 100).unwrap().unwrap();
    assert_eq!(excess.executions, old.iter().map(|e| e.id.clone()).collect::<Vec<_>>());
    // A change of the count goes on with what the version before has done.
    let mut third = Job { version: 3, revision: 3, count: 9, ..job(1) };
    third.keep_versions(&[2].into());
    db.put(vec![Change::PutJob(Arc::new(third))]);
    assert_eq!(db.reader.excess(found[0], keep, 100).unwrap().unwrap(), excess);
}

#[test]
fn a_file_that_could_not_shrink_learns_to() {
    let db = Db::new();
    db.finished(1, 5);
    db.writer.close();
    let Db { writer, reader, dir } = db;
    drop((writer, reader));
    let file = dir.path().join("state.db");
    let mode = || {
        let file = rusqlite::Connection::open(&file).unwrap();
        file.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0)).unwrap()
    };
    let old = rusqlite::Connection::open(&file).unwrap();
    old.execute_batch("PRAGMA auto_vacuum = 0; VACUUM").unwrap();
    drop(old);
    assert_eq!(mode(), 0);
    let (_writer, reader) = open(dir.path()).unwrap();
    assert_eq!(mode(), 2);
    assert_eq!(reader.counts().unwrap().jobs, 1);
}
