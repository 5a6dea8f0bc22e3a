//! No node, no room, no luck: attempts elsewhere, queues and the end of patience.

use super::*;

#[test]
fn two_tries_per_node_then_the_job_fails_with_the_reasons() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let first = w.last();
    w.accept(&first);
    w.fail(&first);
    let second = w.last();
    assert_ne!(first, second);
    w.accept(&second);
    w.fail(&second);
    let job = w.job("j");
    assert_eq!(job.state.state_type, JobState::Failed);
    assert_eq!(
        job.state.message,
        "not enough nodes to run job. requested: 1, available: 1, suitable: 0.\n• Node n1: job already executed on this node more than once"
    );
    assert_eq!(w.executions().len(), 2);
}

#[test]
fn a_refused_bid_goes_elsewhere() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.node("n2", 4.0);
    w.submit(job("j", "batch", 1)).unwrap();
    let first = w.executions().pop().unwrap();
    let event = Event::new("Exec Scanning", "rejected bid: no", Default::default());
    w.report(&first.id, |e| messages::bid_result(e, false, Some(vec![event.clone()])));
    let second = w.executions().into_iter().find(|e| e.id != first.id).unwrap();
    assert_ne!(second.node_id, first.node_id);
    w.accept(&second.id);
    w.complete(&second.id);
    assert_eq!(w.job("j").state.state_type, JobState::Completed);
}

#[test]
fn no_node_fails_at_once_or_queues() {
    let mut w = World::new();
    w.submit(job("a", "batch", 1)).unwrap();
    assert_eq!(w.job("a").state.state_type, JobState::Failed);
    assert_eq!(
        w.job("a").state.message,
        "not enough nodes to run job. requested: 1, available: 0, suitable: 0."
    );
    let queue = Timeouts { queue_timeout: 60, ..Timeouts::default() };
    w.submit(with_timeouts(job("b", "batch", 1), queue)).unwrap();
    assert_eq!(w.job("b").state.state_type, JobState::Queued);
    w.node("n1", 4.0);
    assert_eq!(w.executions().len(), 1);
    w.submit(with_timeouts(job("c", "ops", 0), queue)).unwrap();
    let mut w = World::new();
    w.submit(with_timeouts(job("d", "batch", 1), queue)).unwrap();
    w.pass(61);
    assert_eq!(w.job("d").state.state_type, JobState::Failed);
}

#[test]
fn waiting_jobs_get_freed_room_in_order_of_priority() {
    let mut w = World::new();
    w.node("n1", 1.0);
    let queue = Timeouts { queue_timeout: 600, ..Timeouts::default() };
    w.submit(job("first", "batch", 1)).unwrap();
    let running = w.last();
    w.submit(with_timeouts(job("low", "batch", 1), queue)).unwrap();
    let mut urgent = with_timeouts(job("high", "batch", 1), queue);
    urgent.priority = 10;
    w.submit(urgent).unwrap();
    assert_eq!(w.executions().len(), 1);
    w.accept(&running);
    w.complete(&running);
    assert_eq!(w.executions().last().unwrap().job_id, "high");
    assert_eq!(w.executions().len(), 2);
}

#[test]
fn a_service_leaves_room_for_what_waits_on_its_node() {
    let mut w = World::new();
    w.node("n1", 2.0);
    w.submit(sized("large", "batch", "1.5")).unwrap();
    let large = w.last();
    // Both fit into what may be set aside. But the node may start the service first, and then the other never.
    w.submit(sized("web", "service", "1")).unwrap();
    assert_eq!(w.job("web").state.state_type, JobState::Queued);
    w.submit(sized("small", "service", "0.5")).unwrap();
    assert_eq!(w.executions().len(), 2);
    w.accept(&large);
    w.complete(&large);
    assert_eq!(w.executions().last().map(|e| e.job_id.clone()), Some("web".into()));
}

#[test]
fn a_service_that_must_wait_does_not_stand_before_others_of_its_size() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(sized("one", "batch", "3")).unwrap();
    let one = w.last();
    w.submit(sized("two", "batch", "3")).unwrap();
    let mut web = sized("web", "service", "3");
    web.priority = 1;
    w.submit(web).unwrap();
    w.submit(sized("three", "batch", "3")).unwrap();
    assert_eq!(w.executions().len(), 2);
    w.accept(&one);
    w.complete(&one);
    assert_eq!(w.job("web").state.state_type, JobState::Queued, "the second may still wait on the node");
    assert_eq!(w.executions().last().map(|e| e.job_id.clone()), Some("three".into()));
}
