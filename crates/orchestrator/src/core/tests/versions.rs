//! Stop, update, run again, restart.

use super::*;

#[test]
fn a_stopped_job_cancels_until_the_node_acknowledges() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    w.step(Input::Stop { job_id: "j".into(), reason: "enough".into(), stored: None, token: () });
    assert!(matches!(w.replies.pop(), Some(Reply::Stopped(Ok(id))) if !id.is_empty()));
    assert_eq!(w.job("j").state.message, "enough");
    w.step(Input::Stop { job_id: "j".into(), reason: "again".into(), stored: None, token: () });
    assert!(matches!(w.replies.pop(), Some(Reply::Stopped(Ok(id))) if id.is_empty()));
    assert!(w.core.message(&e, PendingMessage::AskForBid).is_none());
    assert!(w.core.message(&e, PendingMessage::CancelExecution).is_some());
    w.step(Input::Delivered { execution_id: e.clone(), kind: PendingMessage::CancelExecution });
    assert!(w.core.message(&e, PendingMessage::CancelExecution).is_none());
    assert_eq!(w.core.census().cancelling, 0);
}

#[test]
fn resubmitting_is_an_update_and_nothing_new_is_refused() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let mut again = job("other-id", "batch", 1);
    again.name = "j".into();
    let error = w.submit(again.clone()).unwrap_err();
    assert_eq!(error.message, "no changes detected for new job spec. Job Name: 'j', Job Id: 'j'");
    again.tasks[0].env.insert("A".into(), "b".into());
    assert_eq!(w.submit(again.clone()).unwrap(), "j");
    let job2 = w.job("j");
    assert_eq!((job2.version, job2.create_time), (2, w.job("j").create_time));
    assert_eq!(w.executions()[0].compute_state.message, "Execution stopped for job update");
    assert_eq!(w.executions()[1].job_version, 2);
    again.r#type = "ops".into();
    again.count = 0;
    assert_eq!(w.submit(again).unwrap_err().http_status(), 400);
}

#[test]
fn a_finished_job_runs_again_from_the_store() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.complete(&e);
    let batch = w.core.seal();
    w.core.settled(batch);
    let stored = StoredJob { job: w.job("j"), next_history_seq: 7, previous: None, replaced: Vec::new() };
    let spec = Arc::new(w.job("j"));
    w.step(Input::Rerun { job_id: "j".into(), spec, stored: Some(stored), token: () });
    assert!(matches!(w.replies.pop(), Some(Reply::Rerun(Ok(r))) if r.job_version == 2));
    let e2 = w.last();
    assert_ne!(e, e2);
    w.accept(&e2);
    w.complete(&e2);
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
    let batch = w.core.seal();
    w.core.settled(batch);
    assert!(!w.core.holds_job("j"));
}

#[test]
fn a_restart_restores_the_same_state() {
    let mut w = World::new();
    w.node("n1", 2.0);
    let queue = Timeouts { queue_timeout: 600, ..Timeouts::default() };
    w.submit(with_timeouts(job("j", "batch", 4), queue)).unwrap();
    let e = w.executions();
    w.accept(&e[0].id);
    w.accept(&e[1].id);
    w.complete(&e[1].id);
    let snapshot = Snapshot {
        jobs: vec![StoredJob {
            job: w.job("j"),
            next_history_seq: w.history().len() as u64 + 1,
            previous: None,
            replaced: Vec::new(),
        }],
        executions: w.executions().into_iter().map(|e| (e, None)).collect(),
        nodes: w.core.nodes().cloned().collect(),
    };
    let live: Vec<String> = w.core.live_executions().map(|(_, e)| e.id.clone()).collect();
    w.core = Core::new(Settings::default(), 8);
    w.core.restore(w.now, snapshot);
    assert_eq!(w.core.live_executions().map(|(_, e)| e.id.clone()).collect::<Vec<_>>(), live);
    w.pass(1);
    w.sent.clear();
    w.node("n1", 2.0);
    assert_eq!(w.sent.len(), live.len());
    for e in w.executions() {
        w.accept(&e.id);
        w.complete(&e.id);
    }
    for e in w.executions() {
        w.accept(&e.id);
        w.complete(&e.id);
    }
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
}
