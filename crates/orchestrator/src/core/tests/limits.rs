//! Time limits.

use super::*;

#[test]
fn an_unanswered_bid_and_an_endless_run_time_out() {
    let mut w = World::new();
    w.node("n1", 4.0);
    let alive = |w: &mut World| {
        for _ in 0..3 {
            w.pass(50);
            w.node("n1", 4.0);
        }
    };
    let limits = Timeouts { execution_timeout: 20, ..Timeouts::default() };
    w.submit(with_timeouts(job("j", "batch", 1), limits)).unwrap();
    let first = w.last();
    // Each handshake gives the node time to answer anew, so only heartbeats may follow.
    for _ in 0..3 {
        w.pass(45);
        w.heartbeat("n1");
    }
    let second = w.last();
    assert_ne!(first, second);
    w.accept(&second);
    alive(&mut w);
    let stored = w.executions().into_iter().find(|e| e.id == second).unwrap();
    assert_eq!(stored.compute_state.state_type, ComputeState::Failed);
    assert_eq!(stored.compute_state.message, "Execution timed out. Execution took longer than 20s");
}

#[test]
fn the_total_timeout_ends_the_job() {
    let mut w = World::new();
    w.node("n1", 4.0);
    let limits = Timeouts { total_timeout: 30, ..Timeouts::default() };
    w.submit(with_timeouts(job("j", "batch", 1), limits)).unwrap();
    w.pass(31);
    let job = w.job("j");
    assert_eq!(job.state.message, "Job timed out. Job took longer than 30s");
    assert_eq!(w.executions()[0].desired_state.message, "Execution stopped due to job failure");
}

#[test]
fn the_total_timeout_counts_from_the_submission_of_a_version_across_restarts() {
    let mut w = World::new();
    w.node("n1", 1.0);
    w.submit(job("blocker", "service", 1)).unwrap();
    w.accept(&w.last());
    let limits = Timeouts { total_timeout: 100, queue_timeout: 90, ..Timeouts::default() };
    w.submit(with_timeouts(job("j", "batch", 1), limits)).unwrap();
    w.pass_alive(30);
    let mut second = with_timeouts(job("j", "batch", 1), limits);
    second.tasks[0].env.insert("A".into(), "b".into());
    w.submit(second).unwrap();
    w.pass_alive(60);
    w.step(Input::Stop { job_id: "blocker".into(), reason: String::new(), stored: None, token: () });
    let e = w.executions().into_iter().find(|e| e.job_id == "j").unwrap();
    w.accept(&e.id);
    w.restart();
    w.node("n1", 1.0);
    w.pass_alive(30);
    assert_eq!((w.job("j").version, w.job("j").state.state_type), (2, JobState::Running));
    w.pass_alive(15);
    assert_eq!(w.job("j").state.message, "Job timed out. Job took longer than 1m40s");
}
