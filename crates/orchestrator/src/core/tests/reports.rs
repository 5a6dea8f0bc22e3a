//! What a job goes through when nothing is wrong, and reports that do not fit.

use super::*;

#[test]
fn a_batch_job_tells_the_story_users_know() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    assert_eq!(w.sent, vec![("n1".into(), e.clone(), PendingMessage::AskForBid)]);
    w.accept(&e);
    w.complete(&e);
    let lines: Vec<(&str, &str)> = vec![
        ("Submission", "Job submitted"),
        ("Scheduling", "Requested execution on n1"),
        ("State Update", "Running"),
        ("Execution", "Running"),
        ("Execution", "Completed successfully"),
        ("State Update", "Completed"),
    ];
    let expected: Vec<_> = lines.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    assert_eq!(w.history(), expected);
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
    assert_eq!(w.core.census().live_executions, 0);
    let batch = w.core.seal();
    w.core.settled(batch);
    assert!(!w.core.holds_job("j"));
}

#[test]
fn reports_that_come_twice_or_late_change_nothing() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.accept(&e);
    w.complete(&e);
    let before = w.changes.len();
    w.complete(&e);
    w.fail(&e);
    assert_eq!(w.changes.len(), before);
    // A bid for something that is over is answered with a cancellation.
    w.accept(&e);
    assert_eq!(w.sent.last().unwrap().2, PendingMessage::CancelExecution);
    assert!(w.core.message(&e, PendingMessage::CancelExecution).is_some());
    assert!(w.core.message(&e, PendingMessage::AskForBid).is_none());
}

#[test]
fn a_report_from_another_node_is_dropped() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.executions().pop().unwrap();
    let message = messages::compute_error(&e, Event::default());
    w.step(Input::Report { node_id: "n2".into(), message, seq: 1, token: () });
    assert_eq!(w.core.census().live_executions, 1);
}

#[test]
fn partitions_share_a_node_and_each_has_one_live_execution() {
    let mut w = World::new();
    w.node("n1", 2.0);
    w.submit(job("j", "batch", 5)).unwrap();
    // 1.5 times two cores hold three; the others wait for these.
    let placed = w.executions();
    assert_eq!(placed.iter().map(|e| e.partition_index).collect::<Vec<_>>(), vec![0, 1, 2]);
    for e in placed {
        w.accept(&e.id);
        w.complete(&e.id);
    }
    let all = w.executions();
    assert_eq!(all.len(), 5);
    for e in &all[3..] {
        w.accept(&e.id);
        w.complete(&e.id);
    }
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
}

#[test]
fn ops_runs_on_every_matching_node_without_asking_twice() {
    let mut w = World::new();
    for id in ["n1", "n2", "n3"] {
        w.node(id, 4.0);
    }
    w.submit(job("j", "ops", 0)).unwrap();
    let all = w.executions();
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|e| e.desired_state.state_type == DesiredState::Running));
    w.complete(&all[0].id);
    w.fail(&all[1].id);
    assert_eq!(w.job("j").state.state_type, JobState::Running);
    w.complete(&all[2].id);
    assert_eq!(w.job("j").state.state_type, JobState::Failed);
    assert_eq!(w.job("j").state.message, "Job failed because one or more executions failed");
}
