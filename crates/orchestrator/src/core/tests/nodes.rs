//! Nodes that are taken out of service, change, or come back.

use super::*;
use bacalhau_model::Membership;

fn act(w: &mut World, node: &str, action: NodeAction) -> Result<(), Error> {
    w.step(Input::UpdateNode { node_id: node.into(), action, token: () });
    match w.replies.pop() {
        Some(Reply::NodeUpdated(result)) => result,
        other => panic!("{other:?}"),
    }
}

fn node(w: &World, id: &str) -> NodeState {
    w.core.nodes().find(|n| n.info.node_id == id).unwrap().clone()
}

fn on(w: &World, node: &str) -> usize {
    w.executions().iter().filter(|e| e.node_id == node && !e.is_terminal()).count()
}

#[test]
fn a_cordoned_node_gets_no_new_work_and_keeps_what_it_has() {
    let mut w = World::new();
    w.node("n1", 8.0);
    w.submit(job("a", "service", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    act(&mut w, "n1", NodeAction::Cordon).unwrap();
    assert_eq!(act(&mut w, "n1", NodeAction::Cordon).unwrap_err().http_status(), 409);
    let queue = Timeouts { queue_timeout: 1000, ..Timeouts::default() };
    w.submit(with_timeouts(job("b", "batch", 1), queue)).unwrap();
    assert_eq!((on(&w, "n1"), w.job("b").state.state_type), (1, JobState::Queued));
    w.restart();
    w.node("n1", 8.0);
    assert!(node(&w, "n1").cordoned, "a restart of either side changes nothing");
    assert_eq!(on(&w, "n1"), 1);
    act(&mut w, "n1", NodeAction::Uncordon).unwrap();
    assert_eq!(on(&w, "n1"), 2, "the waiting job is woken");
}

#[test]
fn a_drain_moves_services_at_once_and_lets_batch_jobs_finish_until_the_deadline() {
    let mut w = World::new();
    w.node("n1", 8.0);
    let queue = Timeouts { queue_timeout: 1000, ..Timeouts::default() };
    w.submit(with_timeouts(job("b", "batch", 2), queue)).unwrap();
    for e in w.executions() {
        w.accept(&e.id);
    }
    w.submit(job("s", "service", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.submit(job("d", "daemon", 0)).unwrap();
    w.node("n2", 8.0);
    act(&mut w, "n1", NodeAction::Drain { deadline: 60 * SECOND }).unwrap();
    assert_eq!((on(&w, "n1"), on(&w, "n2")), (2, 2), "service and daemon left, the batch executions stay");
    let drain = node(&w, "n1").drain.unwrap();
    assert_eq!((drain.remaining, drain.finished), (2, None));
    let first = w.executions().into_iter().find(|e| e.job_id == "b").unwrap();
    w.complete(&first.id);
    assert_eq!(node(&w, "n1").drain.unwrap().remaining, 1);
    w.restart();
    w.node("n1", 8.0);
    w.node("n2", 8.0);
    w.pass_alive(60);
    assert_eq!(on(&w, "n1"), 0);
    assert!(node(&w, "n1").drain.unwrap().finished.is_some());
    let moved = w.executions().into_iter().find(|e| e.job_id == "b" && !e.is_terminal()).unwrap();
    assert_eq!((moved.node_id.as_str(), moved.partition_index), ("n2", 1));
    assert_eq!(w.job("b").state.state_type, JobState::Running, "a drain is no failure");
}

#[test]
fn work_that_has_nowhere_to_go_waits_for_the_node() {
    let mut w = World::new();
    w.node("n1", 8.0);
    w.submit(job("b", "batch", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    act(&mut w, "n1", NodeAction::Drain { deadline: 0 }).unwrap();
    assert_eq!((on(&w, "n1"), w.job("b").state.state_type), (0, JobState::Running));
    w.submit(job("new", "batch", 1)).unwrap();
    assert_eq!(
        w.job("new").state.state_type,
        JobState::Failed,
        "a job that never ran fails at once, as without the node"
    );
    act(&mut w, "n1", NodeAction::Uncordon).unwrap();
    assert_eq!(on(&w, "n1"), 1);
}

#[test]
fn nothing_queues_behind_services_that_do_not_end() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("s", "service", 4)).unwrap();
    let queue = Timeouts { queue_timeout: 1000, ..Timeouts::default() };
    w.submit(with_timeouts(job("b", "batch", 1), queue)).unwrap();
    assert_eq!((on(&w, "n1"), w.job("b").state.state_type), (4, JobState::Queued));
    let less = job("s", "service", 3);
    w.submit(less).unwrap();
    let placed = w.executions().iter().filter(|e| e.job_id == "b" && !e.is_terminal()).count();
    assert_eq!((placed, on(&w, "n1")), (1, 4), "it takes the place of the service's at once");
    // Batch executions end, so more of them than run at once may wait on the node.
    w.submit(with_timeouts(job("c", "batch", 5), queue)).unwrap();
    assert_eq!(on(&w, "n1"), 6);
}

#[test]
fn a_daemon_follows_labels_and_approval() {
    let mut w = World::new();
    w.core.settings.manual_approval = true;
    w.node("n1", 4.0);
    let mut d = job("d", "daemon", 0);
    d.constraints = vec![bacalhau_model::selector::parse("zone=a").unwrap().remove(0)];
    w.submit(d).unwrap();
    assert_eq!(on(&w, "n1"), 0);
    w.relabel("n1", "zone", "a");
    assert_eq!(on(&w, "n1"), 0, "not approved yet");
    act(&mut w, "n1", NodeAction::Approve).unwrap();
    assert_eq!(on(&w, "n1"), 1);
    w.relabel("n1", "zone", "b");
    assert_eq!(on(&w, "n1"), 0);
    w.relabel("n1", "zone", "a");
    assert_eq!(on(&w, "n1"), 1);
}

#[test]
fn a_daemon_that_waits_for_a_job_starts_on_no_node_that_joins() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("b", "batch", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.complete(&e);
    let after = |command: &str| {
        let mut d = job("d", "daemon", 0);
        d.depends_on = vec![bacalhau_model::Dependency { job: "b".into(), ..Default::default() }];
        d.tasks[0].env.insert("COMMAND".into(), command.into());
        d
    };
    w.submit(after("a")).unwrap();
    assert_eq!(on(&w, "n1"), 1);
    let spec = std::sync::Arc::new(w.job("b"));
    w.step(Input::Rerun { job_id: "b".into(), spec, stored: None, token: () });
    w.replies.clear();
    w.submit(after("b")).unwrap();
    w.node("n2", 4.0);
    let of_d = |w: &World| w.executions().iter().filter(|e| e.job_id == "d" && !e.is_terminal()).count();
    assert_eq!(of_d(&w), 0, "the new version waits for the rerun");
    let again = w.executions().into_iter().find(|e| e.job_id == "b" && !e.is_terminal()).unwrap();
    w.accept(&again.id);
    w.complete(&again.id);
    assert_eq!(of_d(&w), 2);
}

#[test]
fn work_that_nobody_replaced_is_adopted_when_its_node_comes_back() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("s", "service", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.submit(job("d", "daemon", 0)).unwrap();
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.pass_alive(30);
    assert_eq!(on(&w, "n1"), 0);
    w.restart();
    w.node("n1", 4.0);
    assert_eq!((on(&w, "n1"), w.executions().len()), (2, 2), "nothing was started anew");
    let adopted = w.executions().into_iter().find(|x| x.id == e).unwrap();
    assert_eq!(adopted.compute_state.state_type, ComputeState::BidAccepted);
    w.fail(&e);
    w.pass_alive(2);
    assert_eq!(w.executions().last().map(|x| x.attempt), Some(2));
}

#[test]
fn work_that_was_replaced_is_cancelled_when_its_node_comes_back() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("s", "service", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.node("n2", 4.0);
    w.pass_alive(30);
    assert_eq!(on(&w, "n2"), 1);
    w.sent.clear();
    w.node("n1", 4.0);
    assert_eq!(on(&w, "n1"), 0);
    assert_eq!(w.sent, vec![("n1".into(), e, PendingMessage::CancelExecution)]);
}

#[test]
fn a_job_outlives_the_return_of_a_node_whose_work_was_replaced() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("s", "service", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.node("n2", 4.0);
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.pass(30);
    assert_eq!(on(&w, "n2"), 1);
    w.node("n1", 4.0);
    assert!(w.core.holds_job("s"));
}

#[test]
fn a_node_that_was_deleted_gets_nothing_back_before_it_is_approved() {
    let mut w = World::new();
    w.core.settings.manual_approval = true;
    w.node("n1", 4.0);
    act(&mut w, "n1", NodeAction::Approve).unwrap();
    let queue = Timeouts { queue_timeout: 1000, ..Timeouts::default() };
    w.submit(with_timeouts(job("b", "batch", 1), queue)).unwrap();
    let e = w.last();
    w.accept(&e);
    act(&mut w, "n1", NodeAction::Delete).unwrap();
    w.node("n1", 4.0);
    assert_eq!(node(&w, "n1").membership, Membership::Pending);
    assert_eq!((on(&w, "n1"), w.executions().len()), (0, 1), "its work was given up and is not taken back");
    assert_eq!(w.sent.last(), Some(&("n1".to_owned(), e, PendingMessage::CancelExecution)));
    act(&mut w, "n1", NodeAction::Approve).unwrap();
    assert_eq!((on(&w, "n1"), w.executions().len()), (1, 2));
}

#[test]
fn a_drained_node_that_comes_back_stays_empty() {
    for r#type in ["batch", "service", "daemon"] {
        let mut w = World::new();
        w.node("n1", 4.0);
        let queue = Timeouts { queue_timeout: 10_000, ..Timeouts::default() };
        w.submit(with_timeouts(job("j", r#type, i64::from(r#type != "daemon")), queue)).unwrap();
        let e = w.last();
        w.accept(&e);
        w.step(Input::ConnectionLost { node_id: "n1".into() });
        w.pass(10);
        act(&mut w, "n1", NodeAction::Drain { deadline: 3600 * SECOND }).unwrap();
        assert!(node(&w, "n1").drain.unwrap().finished.is_some());
        w.node("n1", 4.0);
        w.pass_alive(60);
        assert_eq!(on(&w, "n1"), 0, "{type}");
        act(&mut w, "n1", NodeAction::Uncordon).unwrap();
        assert_eq!(on(&w, "n1"), 1, "{type}");
    }
}

#[test]
fn an_ops_job_sees_what_becomes_of_the_nodes_that_it_waits_for() {
    let mut w = World::new();
    w.node("n1", 1.0);
    w.node("n2", 1.0);
    let mut full = job("full", "service", 1);
    full.constraints = bacalhau_model::selector::parse("name = n1").unwrap();
    w.submit(full).unwrap();
    let mut ops = job("ops", "ops", 0);
    ops.constraints = bacalhau_model::selector::parse("name in (n1,n2,n3)").unwrap();
    ops.tasks[0].timeouts.queue_timeout = 10_000;
    w.submit(ops).unwrap();
    let on_n2 = w.executions().into_iter().find(|e| e.job_id == "ops").unwrap();
    assert_eq!(on_n2.node_id, "n2");
    w.complete(&on_n2.id);
    assert_eq!(w.job("ops").state.state_type, JobState::Running, "n1 has no room yet");
    // One that matches comes, another one does not match, a third matches no more.
    w.node("n4", 1.0);
    w.node("n3", 1.0);
    let on_n3 = w.executions().into_iter().find(|e| e.node_id == "n3").unwrap();
    w.node("n3", 1.0);
    w.complete(&on_n3.id);
    assert_eq!(w.job("ops").state.state_type, JobState::Running);
    w.relabel("n1", "name", "other");
    assert_eq!(w.job("ops").state.state_type, JobState::Completed);
}

#[test]
fn a_node_that_is_rejected_is_told_to_stop_what_it_runs() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("s", "service", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    let effects = |w: &mut World, input| {
        let mut out = Output::default();
        w.now += 1_000_000;
        w.core.step(w.now, input, &mut out);
        out.effects
    };
    let down = |effects: &[Effect<()>]| effects.iter().any(|e| matches!(e, Effect::NodeDown(_)));
    let rejected =
        effects(&mut w, Input::UpdateNode { node_id: "n1".into(), action: NodeAction::Reject, token: () });
    let cancel = |effect: &Effect<()>| {
        matches!(effect, Effect::Send { node_id, execution_id, kind: PendingMessage::CancelExecution }
            if node_id == "n1" && *execution_id == e)
    };
    assert!(rejected.iter().any(cancel) && !down(&rejected), "the line is not cut before it is told");
    // Its next heartbeat leads to a handshake, and that is the end. So is whatever else shows that it is not there.
    let most = Resources { memory: 1 << 30, disk: 1 << 30, ..amounts(4.0) };
    assert!(down(&effects(&mut w, handshake(node_info("n1", most)))));
    assert!(down(&effects(&mut w, Input::ConnectionLost { node_id: "n1".into() })));
    let approved = Input::UpdateNode { node_id: "n1".into(), action: NodeAction::Approve, token: () };
    assert!(down(&effects(&mut w, approved)));
    w.node("n1", 4.0);
    w.step(Input::UpdateNode { node_id: "n1".into(), action: NodeAction::Reject, token: () });
    let mut ticks = (0..10).map(|_| {
        w.now += 10 * SECOND;
        effects(&mut w, Input::Tick)
    });
    assert!(ticks.any(|effects| down(&effects)));
}

#[test]
fn what_a_rejected_node_ran_is_not_adopted_when_it_is_approved_again() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("s", "service", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.step(Input::UpdateNode { node_id: "n1".into(), action: NodeAction::Reject, token: () });
    let lost = w.executions()[0].clone();
    assert_eq!(lost.compute_state.state_type, ComputeState::Failed);
    assert_eq!(lost.compute_state.message, "Execution stop requested because its node is rejected");
    w.step(Input::UpdateNode { node_id: "n1".into(), action: NodeAction::Approve, token: () });
    w.node("n1", 4.0);
    // It may have been stopped already, so it is made anew, at once.
    assert!(w.executions()[0].is_terminal());
    assert_eq!(w.executions().last().map(|e| (e.attempt, e.is_terminal())), Some((2, false)));
}
