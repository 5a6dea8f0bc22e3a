//! Whose turn it is among the jobs that wait.

use super::checked::{Act, Checked, NODES};
use super::*;

/// A core with one node of four CPUs (six with oversubscription) and patient jobs of the given CPU.
fn one_node() -> Checked {
    let mut world = Checked::new(7);
    world.join(1);
    world
}

fn batch(cpu: u32, priority: i64) -> Act {
    Act::Submit { r#type: 0, count: 1, cpu, gpu: 0, picky: false, priority, patient: true }
}

/// Ends everything that lives and gives the jobs that were placed since, in the order of their IDs.
fn end_all(world: &mut Checked) -> Vec<String> {
    let before = world.live();
    for execution in &before {
        world.report(execution, 1);
    }
    world.live().into_iter().map(|e| e.job_id).collect()
}

#[test]
fn namespaces_take_turns_however_long_their_queues_are() {
    let mut world = one_node();
    world.act(&batch(4, 0));
    let mut queue = |namespace: &str, id: &str| {
        let mut job = Job { namespace: namespace.into(), ..job(id, "batch", 1) };
        job.tasks[0].resources.cpu = "4".into();
        job.tasks[0].timeouts.queue_timeout = 1_000_000;
        world.step(submission(job));
    };
    ["a1", "a2", "a3"].into_iter().for_each(|id| queue("a", id));
    ["b1", "b2"].into_iter().for_each(|id| queue("b", id));
    let order: Vec<String> = (0..5).flat_map(|_| end_all(&mut world)).collect();
    assert_eq!(order, ["a1", "b1", "a2", "b2", "a3"]);
}

#[test]
fn priority_overtakes_by_its_worth_in_time_and_no_more() {
    let mut world = one_node();
    world.act(&batch(4, 0));
    world.act(&Act::Report(0, 0));
    world.act(&batch(4, 0)); // j-1
    for _ in 0..11 {
        world.pass(29);
        (0..NODES).for_each(|_| world.heartbeats());
    }
    world.act(&batch(4, 1)); // j-2, more than five minutes later
    world.act(&batch(4, 2)); // j-3
    let order: Vec<String> = (0..3).flat_map(|_| end_all(&mut world)).collect();
    assert_eq!(order, ["j-3", "j-1", "j-2"]);
}

#[test]
fn a_large_job_gets_a_node_although_small_ones_always_fit_sooner() {
    let mut world = one_node();
    (0..6).for_each(|_| world.act(&batch(1, 0)));
    world.act(&batch(4, 0));
    let large = world.submitted.last().unwrap().id.clone();
    let mut rounds = 0;
    while !world.live().iter().any(|e| e.job_id == large) {
        rounds += 1;
        assert!(rounds < 200, "it starves");
        // One small one ends, the next one comes.
        let first = world.live().first().cloned();
        if let Some(first) = first {
            world.report(&first, 1);
        }
        world.act(&batch(1, 0));
        world.heartbeats();
        world.pass(10);
    }
    assert!(rounds > 20, "the small ones run as long as nobody has waited for long");
}

#[test]
fn no_node_is_kept_free_for_a_job_that_had_its_tries_there() {
    let mut w = World::new();
    w.node("n1", 1.0);
    let queue = Timeouts { queue_timeout: 100_000, ..Timeouts::default() };
    w.submit(with_timeouts(job("failed", "batch", 1), queue)).unwrap();
    for _ in 0..2 {
        let e = w.last();
        w.accept(&e);
        w.fail(&e);
    }
    w.submit(with_timeouts(job("busy", "batch", 1), queue)).unwrap();
    let busy = w.last();
    w.accept(&busy);
    w.pass_alive(1_000);
    w.submit(with_timeouts(job("next", "batch", 1), queue)).unwrap();
    w.complete(&busy);
    assert_eq!(w.executions().last().map(|e| e.job_id.clone()), Some("next".into()));
}
