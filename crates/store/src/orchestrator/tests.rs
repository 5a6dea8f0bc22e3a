//! The orchestrator's database against what was put into it.

use super::*;
use bacalhau_model::event::detail;
use bacalhau_model::execution::{ComputeState, DesiredState, Execution};
use bacalhau_model::job::meta;
use bacalhau_model::state::State;
use bacalhau_model::{
    Event, HistoryType, Job, JobHistory, JobState, NodeInfo, NodeState, SpecConfig, Task, Time,
};
use std::sync::Arc;

pub(super) struct Db {
    pub(super) writer: Writer<Change>,
    pub(super) reader: Reader,
    pub(super) dir: tempfile::TempDir,
}

impl Db {
    pub(super) fn new() -> Db {
        let dir = tempfile::tempdir().unwrap();
        let (writer, reader) = open(dir.path()).unwrap();
        Db { writer, reader, dir }
    }

    pub(super) fn put(&self, changes: Vec<Change>) {
        let (tx, rx) = std::sync::mpsc::sync_channel(1);
        self.writer.commit(changes, Box::new(move |result| tx.send(result).unwrap()));
        rx.recv().unwrap().unwrap();
    }

    pub(super) fn reopen(self) -> Db {
        self.writer.close();
        let (writer, reader) = open(self.dir.path()).unwrap();
        Db { writer, reader, dir: self.dir }
    }
}

pub(super) fn job(n: i64) -> Job {
    let mut task = Task { name: "main".into(), engine: SpecConfig::new("wasm"), ..Task::default() };
    task.env.insert("A".into(), "b".into());
    Job {
        id: format!("j-{n:08x}-0000-4000-8000-000000000000"),
        name: format!("job-{n}"),
        namespace: "default".into(),
        r#type: "batch".into(),
        count: 1,
        labels: [("n".to_owned(), n.to_string())].into(),
        tasks: vec![task],
        state: State::new(JobState::Pending),
        version: 1,
        revision: 1,
        create_time: n,
        modify_time: n,
        ..Job::default()
    }
}

pub(super) fn execution(job: &Job, n: i64) -> Execution {
    Execution {
        id: format!("e-{n:08x}-0000-4000-8000-000000000000"),
        job_id: job.id.clone(),
        namespace: job.namespace.clone(),
        node_id: "n-1".into(),
        job_version: job.version,
        desired_state: State::new(DesiredState::Pending),
        compute_state: State::new(ComputeState::New),
        partition_index: n,
        revision: 1,
        create_time: n,
        modify_time: n,
        ..Execution::default()
    }
}

pub(super) fn line(job: &Job, seq_num: u64, execution_id: &str) -> Change {
    let r#type = if execution_id.is_empty() { HistoryType::JobLevel } else { HistoryType::ExecutionLevel };
    Change::AppendHistory(JobHistory {
        seq_num,
        r#type,
        job_id: job.id.clone(),
        job_version: job.version,
        execution_id: execution_id.into(),
        event: Event::new("Topic", format!("line {seq_num}"), Time::from_unix_nanos(5)).with("k", "v"),
        time: Time::from_unix_nanos(i64::try_from(seq_num).unwrap()),
    })
}

pub(super) fn finish(mut job: Job) -> Job {
    job.state = State::with_message(JobState::Completed, "done");
    job.revision += 1;
    job.modify_time += 100;
    job
}

#[test]
fn what_is_stored_comes_back() {
    let db = Db::new();
    let a = job(1);
    let mut e = execution(&a, 1);
    e.run_output.stdout = "hello".into();
    e.published_result = SpecConfig::new("urlDownload").with("URL", "http://x/y");
    db.put(vec![
        Change::PutJob(Arc::new(a.clone())),
        Change::PutExecution { execution: Arc::new(e.clone()), pending: Some(PendingMessage::AskForBid) },
        line(&a, 1, ""),
        line(&a, 2, &e.id),
        Change::PutNode(NodeState {
            info: NodeInfo { node_id: "n-1".into(), ..NodeInfo::default() },
            ..NodeState::default()
        }),
    ]);
    let db = db.reopen();
    let snapshot = db.reader.load().unwrap();
    assert_eq!(
        snapshot.jobs,
        vec![StoredJob { job: a.clone(), next_history_seq: 3, previous: None, replaced: Vec::new() }]
    );
    assert_eq!(snapshot.executions, vec![(e.clone(), Some(PendingMessage::AskForBid))]);
    assert_eq!(snapshot.nodes.len(), 1);
    assert_eq!(db.reader.find_job_by_name("default", "job-1").unwrap().unwrap().job, a);
    assert_eq!(db.reader.find_job_by_name("other", "job-1").unwrap(), None);
    let found = db.reader.execution(&e.id).unwrap().unwrap();
    assert_eq!(found.job.as_deref(), Some(&a));
    assert_eq!(Execution { job: None, ..found }, e);
    let history = db.reader.history(&HistoryQuery { job_id: &a.id, ..HistoryQuery::default() }).unwrap();
    assert_eq!(
        history.items.iter().map(|h| h.event.message.as_str()).collect::<Vec<_>>(),
        ["line 1", "line 2"]
    );
    assert_eq!(history.items[1].execution_id, e.id);
}

#[test]
fn a_rolling_update_comes_with_the_versions_that_still_run() {
    let db = Db::new();
    let of_version = |version: u64| Job { version, priority: i64::try_from(version).unwrap(), ..job(1) };
    let mut latest = of_version(4);
    latest.meta.insert(meta::ROLLS_FROM.into(), "2".into());
    latest.state.details.insert(detail::ROLLOUT.into(), "0/3".into());
    let stored = |job: &Job| Change::PutJob(Arc::new(job.clone()));
    db.put((1..4).map(|version| stored(&of_version(version))).chain([stored(&latest)]).collect());
    // Of the first all has ended; the third was an update that the fourth replaced before it was finished.
    let mut made: Vec<Execution> =
        (1..5).map(|v| Execution { job_version: v, ..execution(&latest, v.cast_signed()) }).collect();
    made[0].compute_state = State::new(ComputeState::Failed);
    let put = |e: Execution| Change::PutExecution { execution: Arc::new(e), pending: None };
    db.put(made.into_iter().map(put).collect());
    let found = db.reader.load().unwrap().jobs.remove(0);
    let versions = |jobs: &[Job]| jobs.iter().map(|job| (job.version, job.priority)).collect::<Vec<_>>();
    assert_eq!(found.previous.map(|job| job.version), Some(2));
    assert_eq!(versions(&found.replaced), [(2, 2), (3, 3)]);
}

#[test]
fn finished_jobs_are_not_loaded_but_their_unacknowledged_cancels_are() {
    let db = Db::new();
    let a = job(1);
    let e = execution(&a, 1);
    db.put(vec![
        Change::PutJob(Arc::new(a.clone())),
        Change::PutExecution {
            execution: Arc::new(e.clone()),
            pending: Some(PendingMessage::CancelExecution),
        },
        Change::PutJob(Arc::new(finish(a.clone()))),
    ]);
    let snapshot = db.reader.load().unwrap();
    assert!(snapshot.jobs.is_empty());
    assert_eq!(snapshot.executions.len(), 1);
    db.put(vec![Change::PutExecution { execution: Arc::new(e), pending: None }]);
    assert!(db.reader.load().unwrap().executions.is_empty());
    assert_eq!(db.reader.job(&a.id, 0).unwrap(), finish(a));
}

#[test]
fn versions_keep_their_spec_and_state() {
    let db = Db::new();
    let first = job(1);
    let done = finish(first.clone());
    let mut second = Job { version: 2, revision: 3, count: 4, ..done.clone() };
    second.state = State::new(JobState::Pending);
    db.put(vec![
        Change::PutJob(Arc::new(first.clone())),
        Change::PutJob(Arc::new(done.clone())),
        Change::PutJob(Arc::new(second.clone())),
    ]);
    assert_eq!(db.reader.versions(&first.id).unwrap(), vec![done.clone(), second.clone()]);
    assert_eq!(db.reader.job(&first.id, 1).unwrap(), done);
    assert_eq!(db.reader.job(&first.id, 0).unwrap(), second);
    let error = db.reader.job(&first.id, 7).unwrap_err();
    assert_eq!(
        (error.message, error.code.as_ref()),
        (format!("job version 7 not found for job {}", first.id), "NotFound")
    );
    assert_eq!(db.reader.job("j-nothing", 0).unwrap_err().http_status(), 404);
}

#[test]
fn users_find_jobs_by_name_id_and_prefix() {
    let db = Db::new();
    let (mut a, b) = (job(0x11), job(0x12));
    a.name = b.id.clone(); // A name may look like another job's ID: the name wins.
    db.put(vec![Change::PutJob(Arc::new(a.clone())), Change::PutJob(Arc::new(b.clone()))]);
    let find = |text: &str| db.reader.resolve_job("", text).map(|j| j.id);
    assert_eq!(find("job-18").unwrap(), b.id);
    assert_eq!(find(&b.id).unwrap(), a.id);
    assert_eq!(find("j-00000012").unwrap(), b.id);
    let error = find("j-").unwrap_err();
    assert_eq!(
        (error.message.as_str(), error.hint.as_str()),
        ("multiple jobs found for id j-", "Use full job ID")
    );
    for text in ["nope", "", "%", "j-%", "j-ffffffff-0000-4000-8000-000000000000"] {
        assert_eq!(find(text).unwrap_err().message, format!("job not found: {text}"));
    }
}

#[test]
fn lists_page_filter_and_order() {
    let db = Db::new();
    let jobs: Vec<Job> = (1..=5).map(job).collect();
    db.put(jobs.iter().map(|j| Change::PutJob(Arc::new(j.clone()))).collect());
    db.put(vec![Change::PutJob(Arc::new(finish(jobs[0].clone())))]);
    let names = |list: ListJobs| {
        let page = db.reader.list_jobs(&list).unwrap();
        (page.items.iter().map(|j| j.create_time).collect::<Vec<_>>(), page.more)
    };
    let paging = |limit, offset, reverse| Paging { limit, offset, reverse, ..Paging::default() };
    assert_eq!(names(ListJobs::default()), (vec![1, 2, 3, 4, 5], false));
    assert_eq!(names(ListJobs { paging: paging(2, 0, false), ..Default::default() }), (vec![1, 2], true));
    assert_eq!(names(ListJobs { paging: paging(2, 4, false), ..Default::default() }), (vec![5], false));
    assert_eq!(names(ListJobs { paging: paging(2, 1, true), ..Default::default() }), (vec![4, 3], true));
    let modified = Paging { order_by: OrderBy::Modified, reverse: true, limit: 1, offset: 0 };
    assert_eq!(names(ListJobs { paging: modified, ..Default::default() }).0, vec![1]);
    let labels = bacalhau_model::selector::parse("n in (2,4)").unwrap();
    assert_eq!(
        names(ListJobs { labels, paging: paging(1, 1, false), ..Default::default() }),
        (vec![4], false)
    );
    assert_eq!(names(ListJobs { namespace: Some("x".into()), ..Default::default() }).0, Vec::<i64>::new());
}

#[test]
fn a_job_without_its_version_is_an_error_and_not_left_out() {
    let db = Db::new();
    db.put((1..=2).map(|n| Change::PutJob(Arc::new(job(n)))).collect());
    let file = rusqlite::Connection::open(db.dir.path().join("state.db")).unwrap();
    file.pragma_update(None, "foreign_keys", false).unwrap();
    let deleted = "DELETE FROM versions WHERE job = (SELECT number FROM jobs WHERE id = ?1)";
    assert_eq!(file.execute(deleted, [&job(1).id]).unwrap(), 1);
    let error = db.reader.list_jobs(&ListJobs::default()).unwrap_err().to_string();
    assert!(error.contains(&job(1).id) && error.contains("versions"), "{error}");
}

#[test]
fn executions_and_history_by_version() {
    let db = Db::new();
    let first = job(1);
    let second = Job { version: 2, revision: 2, ..first.clone() };
    let (mut e1, e2, e3) = (execution(&first, 3), execution(&second, 2), execution(&second, 1));
    e1.compute_state = State::new(ComputeState::Completed);
    e1.published_result = SpecConfig::new("old");
    let mut done = e3.clone();
    done.compute_state = State::new(ComputeState::Completed);
    done.published_result = SpecConfig::new("new");
    db.put(vec![
        Change::PutJob(Arc::new(first.clone())),
        Change::PutExecution { execution: Arc::new(e1.clone()), pending: None },
        line(&first, 1, ""),
        Change::PutJob(Arc::new(second.clone())),
        Change::PutExecution { execution: Arc::new(e2.clone()), pending: None },
        Change::PutExecution { execution: Arc::new(done.clone()), pending: None },
        line(&second, 2, ""),
        line(&second, 3, &e2.id),
        line(&second, 4, &e3.id),
    ]);
    let ids = |versions, paging| {
        let page = db.reader.executions(&first.id, versions, paging).unwrap();
        (page.items.iter().map(|e| e.create_time).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(ids(Versions::Latest, Paging::default()), (vec![1, 2], false));
    assert_eq!(ids(Versions::One(1), Paging::default()), (vec![3], false));
    assert_eq!(
        ids(Versions::All, Paging { limit: 2, reverse: true, ..Paging::default() }),
        (vec![3, 2], true)
    );
    let results = db.reader.results(&first.id).unwrap();
    assert_eq!(results.iter().map(|r| r.r#type.as_str()).collect::<Vec<_>>(), ["new"]);
    let seqs = |query: HistoryQuery<'_>| {
        let page = db.reader.history(&HistoryQuery { job_id: &first.id, ..query }).unwrap();
        (page.items.iter().map(|h| h.seq_num).collect::<Vec<_>>(), page.more)
    };
    let all = HistoryQuery { versions: Versions::All, ..HistoryQuery::default() };
    assert_eq!(seqs(HistoryQuery::default()), (vec![2, 3, 4], false));
    assert_eq!(seqs(HistoryQuery { limit: 2, ..all }), (vec![1, 2], true));
    assert_eq!(seqs(HistoryQuery { from: 3, ..all }), (vec![3, 4], false));
    assert_eq!(seqs(HistoryQuery { r#type: Some(HistoryType::JobLevel), ..all }), (vec![1, 2], false));
    assert_eq!(seqs(HistoryQuery { execution: &e2.id[..10], ..all }), (vec![3], false));
    assert_eq!(seqs(HistoryQuery { since: 4, ..all }), (vec![4], false));
    assert_eq!(db.reader.counts().unwrap(), Counts { jobs: 1, unfinished: 1, executions: 3 });
    db.put(vec![Change::DeleteJob(first.id.clone())]);
    assert_eq!(db.reader.counts().unwrap(), Counts::default());
}

#[test]
fn a_row_without_its_job_stops_the_writer() {
    let db = Db::new();
    let (tx, rx) = std::sync::mpsc::sync_channel(2);
    for changes in [vec![line(&job(1), 1, "")], vec![Change::PutJob(Arc::new(job(2)))]] {
        let tx = tx.clone();
        db.writer.commit(changes, Box::new(move |result| tx.send(result.is_ok()).unwrap()));
    }
    assert_eq!((rx.recv().unwrap(), rx.recv().unwrap()), (false, false));
    assert_eq!(db.reader.counts().unwrap(), Counts::default());
}

/// Set in the child of [`what_was_acknowledged_survives_kill_9`]: the folder of its database.
const CHILD: &str = "BACALHAU_STORE_TEST_CHILD";

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return write_until_killed(std::path::Path::new(&dir));
    }
    use std::io::BufRead;
    for round in 0..5_u32 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "orchestrator::tests::what_was_acknowledged_survives_kill_9", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = Vec::new();
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("acknowledged ") {
                acknowledged.push(n.parse::<i64>().unwrap());
                if acknowledged.len() == 20 + 37 * round as usize {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        let (_writer, reader) = open(dir.path()).unwrap();
        for n in acknowledged {
            assert_eq!(reader.job(&job(n).id, 0).unwrap().create_time, n, "acknowledged job {n} is gone");
        }
    }
}

fn write_until_killed(dir: &std::path::Path) {
    use std::io::Write;
    let (writer, _reader) = open(dir).unwrap();
    for n in 0..100_000 {
        let said = move |result: Result<(), _>| {
            if result.is_ok() {
                let mut out = std::io::stdout().lock();
                let _ = writeln!(out, "acknowledged {n}").and_then(|()| out.flush());
            }
        };
        writer.commit(vec![Change::PutJob(Arc::new(job(n)))], Box::new(said));
    }
}

#[test]
fn the_log_does_not_grow_without_end() {
    let db = Db::new();
    let log = db.dir.path().join("state.db-wal");
    let size = || std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let mut largest = 0;
    for round in 0..400_i64 {
        let jobs = (0..50).map(|n| Change::PutJob(Arc::new(job(round * 50 + n)))).collect();
        db.put(jobs);
        largest = largest.max(size());
    }
    assert!(largest < 64 << 20, "{largest}");
    // When nothing happens it is emptied and, large as it became, cut.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while size() > 4 << 20 {
        assert!(std::time::Instant::now() < deadline, "the log still has {} bytes", size());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(db.reader.counts().unwrap().jobs, 20_000);
}
