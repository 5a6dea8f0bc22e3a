//! Nodes that get lost, and an orchestrator that was away itself.

use super::*;

#[test]
fn a_lost_nodes_work_moves_and_a_short_cut_moves_nothing() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.node("n2", 4.0);
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.pass(1);
    assert_eq!(w.executions().len(), 1);
    w.node("n1", 4.0);
    w.pass(30);
    assert_eq!(w.executions().len(), 1);
    assert_eq!(w.sent.last().unwrap().2, PendingMessage::BidAccepted);
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.pass(11);
    let second = w.last();
    assert_ne!(second, e);
    assert_eq!(w.executions().last().unwrap().node_id, "n2");
    w.accept(&second);
    w.complete(&second);
    // The first attempt comes back late: fenced.
    w.complete(&e);
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
    assert_eq!(
        w.executions().iter().filter(|e| e.compute_state.state_type == ComputeState::Completed).count(),
        1
    );
}

#[test]
fn a_job_that_nothing_else_can_take_waits_for_its_node() {
    for (kind, comes_back) in [("batch", true), ("batch", false), ("ops", true), ("ops", false)] {
        let mut w = World::new();
        w.node("n1", 4.0);
        w.submit(job("j", kind, 1)).unwrap();
        let e = w.last();
        if kind == "batch" {
            w.accept(&e);
        }
        w.step(Input::ConnectionLost { node_id: "n1".into() });
        w.pass(30);
        assert_eq!(w.job("j").state.state_type, JobState::Running, "{kind}");
        let waits = w.history().iter().filter(|(_, text)| text.starts_with("Waiting for")).count();
        assert_eq!(waits, 1, "{:?}", w.history());
        w.restart();
        if comes_back {
            w.node("n1", 4.0);
            w.complete(&e);
            assert_eq!(w.job("j").state.state_type, JobState::Completed, "{kind}");
            assert_eq!(w.executions().len(), 1, "it went on where it was");
        } else {
            w.pass(61);
            assert_eq!(w.job("j").state.state_type, JobState::Failed, "{kind}");
        }
    }
}

#[test]
fn who_waits_for_a_lost_node_takes_another_at_once() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let first = w.last();
    w.accept(&first);
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.pass(10);
    w.node("n2", 4.0);
    let second = w.last();
    assert_ne!(second, first);
    w.accept(&second);
    w.complete(&second);
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
    // A job that comes now has never run anywhere: nobody knows that what it needs comes back.
    w.step(Input::ConnectionLost { node_id: "n2".into() });
    w.pass(10);
    w.submit(job("new", "batch", 1)).unwrap();
    assert_eq!(w.job("new").state.state_type, JobState::Failed);
}

#[test]
fn silence_is_loss_and_a_heartbeat_is_life() {
    let mut w = World::new();
    w.node("n1", 4.0);
    for _ in 0..5 {
        w.pass(20);
        w.heartbeat("n1");
        assert!(matches!(w.replies.pop(), Some(Reply::Heartbeat(Ok(_)))));
    }
    w.pass(61);
    assert_eq!(w.core.census().connected_nodes, 0);
    w.heartbeat("n1");
    match w.replies.pop() {
        Some(Reply::Heartbeat(Err(e))) => {
            assert_eq!((e.code.as_ref(), e.http_status()), ("HandshakeRequired", 428))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_absence_of_the_orchestrator_is_no_loss_of_its_nodes() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.node("n2", 4.0);
    let limits = Timeouts { execution_timeout: 20, ..Timeouts::default() };
    w.submit(with_timeouts(job("j", "batch", 1), limits)).unwrap();
    w.submit(job("asked", "batch", 1)).unwrap();
    let run = w.executions().into_iter().find(|e| e.job_id == "j").unwrap().id;
    w.accept(&run);
    w.sleep_through(3600);
    w.step(Input::Tick);
    assert_eq!(w.core.census().connected_nodes, 2);
    assert_eq!(w.executions().len(), 2, "nothing is done again");
    // The nodes have seen their connections die and may take longer than usual to come back.
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.step(Input::ConnectionLost { node_id: "n2".into() });
    w.pass(30);
    w.node("n1", 4.0);
    w.node("n2", 4.0);
    w.complete(&run);
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
    assert_eq!(w.executions().len(), 2);
    // Only so much longer.
    w.pass(61);
    assert_eq!(w.core.census().connected_nodes, 0);
}

#[test]
fn the_end_of_an_execution_that_was_given_up_counts_if_nothing_took_its_place() {
    let mut w = World::new();
    w.node("n1", 4.0);
    let queue = Timeouts { queue_timeout: 10_000, ..Timeouts::default() };
    for id in ["well", "badly"] {
        w.submit(with_timeouts(job(id, "batch", 1), queue)).unwrap();
    }
    let of = |w: &World, job: &str| w.executions().into_iter().find(|e| e.job_id == job).unwrap();
    let (well, badly) = (of(&w, "well").id, of(&w, "badly").id);
    w.accept(&well);
    w.accept(&badly);
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.pass(10);
    assert_eq!(w.core.census().live_executions, 0);
    w.complete(&well);
    assert_eq!(w.job("well").state.state_type, JobState::Completed);
    w.fail(&badly);
    assert_eq!(of(&w, "badly").compute_state.message, "boom");
    w.node("n1", 4.0);
    assert_eq!(w.executions().len(), 3, "what failed is tried again, and nothing else");
    assert_eq!(w.core.census().live_executions, 1);
}

#[test]
fn an_execution_whose_end_was_not_wanted_is_not_taken_back_later() {
    let mut w = World::new();
    w.node("n1", 4.0);
    let queue = Timeouts { queue_timeout: 10_000, ..Timeouts::default() };
    w.submit(with_timeouts(job("j", "batch", 1), queue)).unwrap();
    let first = w.last();
    w.accept(&first);
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.pass(10);
    w.node("n2", 4.0);
    let second = w.last();
    w.accept(&second);
    // Acknowledged, so the first node forgets it.
    w.complete(&first);
    assert_eq!(w.job("j").state.state_type, JobState::Running);
    w.step(Input::ConnectionLost { node_id: "n2".into() });
    w.pass(10);
    w.restart();
    w.node("n1", 4.0);
    let live: Vec<String> = w.executions().into_iter().filter(|e| !e.is_terminal()).map(|e| e.id).collect();
    assert!(live.len() == 1 && live[0] != first && live[0] != second, "{live:?}");
}
