//! Attempts that fail: retries, restarts with back-off, crash loops.

use super::*;
use bacalhau_model::RetryPolicy;
use bacalhau_model::event::detail;

fn with_retry(mut job: Job, retry: RetryPolicy) -> Job {
    job.tasks[0].retry = Some(retry);
    job
}

/// Seconds between the end of each execution and the start of the next.
fn pauses(w: &World) -> Vec<i64> {
    w.executions().windows(2).map(|pair| (pair[1].create_time - pair[0].modify_time) / SECOND).collect()
}

/// The node accepts, and the program ends with that exit code.
fn exits(w: &mut World, e: &str, code: i64) {
    w.accept(e);
    w.report(e, |execution| {
        let mut execution = execution.clone();
        execution.run_output.exit_code = code;
        messages::run_result(&execution, None)
    });
}

#[test]
fn a_policy_says_how_often_and_when_a_partition_is_tried_again() {
    let mut w = World::new();
    w.node("n1", 4.0);
    let retry = RetryPolicy { max_attempts: 3, backoff: 5, ..RetryPolicy::default() };
    w.submit(with_retry(job("j", "batch", 1), retry)).unwrap();
    for attempt in 1..=3 {
        let e = w.last();
        assert_eq!(w.executions().len(), attempt);
        assert_eq!(w.executions().last().map(|e| e.attempt), Some(attempt as u64));
        w.accept(&e);
        w.fail(&e);
        w.pass_alive(15);
    }
    assert_eq!(pauses(&w), [5, 10]);
    let job = w.job("j");
    assert_eq!(job.state.state_type, JobState::Failed);
    assert_eq!(job.state.message, "Job failed because it has been retried too many times");
}

#[test]
fn an_exit_code_is_a_failure_where_the_task_says_so() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("plain", "batch", 1)).unwrap();
    let e = w.last();
    exits(&mut w, &e, 3);
    assert_eq!(w.job("plain").state.state_type, JobState::Completed, "the exit code is part of the result");

    let retry = RetryPolicy { max_attempts: 2, fail_on_exit_code: true, ..RetryPolicy::default() };
    w.submit(with_retry(job("strict", "batch", 1), retry)).unwrap();
    let e = w.last();
    exits(&mut w, &e, 3);
    let failed = w.executions().into_iter().find(|x| x.id == e).unwrap();
    assert_eq!(failed.compute_state.message, "execution failed with exit code 3");
    assert_eq!(failed.run_output.exit_code, 3, "what it printed and how it ended is kept");
    let again = w.last();
    assert_ne!(again, e);
    exits(&mut w, &again, 0);
    assert_eq!(w.job("strict").state.state_type, JobState::Completed);
}

#[test]
fn a_service_is_restarted_for_ever_with_growing_pauses_and_says_that_it_loops() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("s", "service", 1)).unwrap();
    for _ in 0..6 {
        let e = w.last();
        exits(&mut w, &e, 7);
        w.pass_alive(40);
    }
    assert_eq!(pauses(&w), [1, 2, 4, 8, 16, 32]);
    let job = w.job("s");
    assert_eq!(job.state.state_type, JobState::Running);
    assert_eq!(job.state.details.get(detail::CRASH_LOOP).map(String::as_str), Some("true"));
    let text = "Crash loop: partition 0 failed 6 times in a row, with pauses of 32s now. Last: execution completed unexpectedly (exit code 7)";
    assert_eq!(job.state.message, text);

    // It comes to its senses.
    let e = w.last();
    w.accept(&e);
    w.pass_alive(400);
    let job = w.job("s");
    assert_eq!((job.state.message.as_str(), job.state.details.len()), ("", 0));
    assert!(w.history().contains(&("Scheduling".into(), "Crash loop is over".into())));
    w.complete(&e);
    w.pass_alive(2);
    assert_ne!(w.last(), e, "the first failure of a new row costs one second");
}

#[test]
fn pauses_and_attempts_survive_a_restart() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("s", "service", 2)).unwrap();
    for _ in 0..5 {
        for e in w.executions().iter().filter(|e| e.partition_index == 0 && !e.is_terminal()) {
            w.accept(&e.id);
            w.fail(&e.id);
        }
        w.pass_alive(20);
    }
    let failing = w.executions().len();
    let e = w.executions().iter().rev().find(|e| e.partition_index == 0).unwrap().clone();
    w.accept(&e.id);
    w.fail(&e.id);
    w.restart();
    w.node("n1", 4.0);
    w.pass_alive(31);
    assert_eq!(w.executions().len(), failing, "the sixth pause is 32 s");
    w.pass_alive(2);
    let last = w.executions().last().unwrap().clone();
    assert_eq!((last.partition_index, last.attempt), (0, 7));
    assert_eq!(w.executions().iter().filter(|e| e.partition_index == 1).count(), 1, "the other went on");
}

#[test]
fn a_daemon_is_restarted_on_its_node_and_the_job_says_so() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.node("n2", 4.0);
    w.submit(job("d", "daemon", 0)).unwrap();
    for _ in 0..4 {
        for e in w.executions().iter().filter(|e| e.node_id == "n1" && !e.is_terminal()) {
            w.fail(&e.id);
        }
        w.pass_alive(10);
    }
    let on = |node: &str| w.executions().iter().filter(|e| e.node_id == node).count();
    assert_eq!((on("n1"), on("n2")), (5, 1));
    assert!(w.job("d").state.message.starts_with("Crash loop: the execution on n1 failed 4 times in a row"));
}

#[test]
fn an_ops_job_tries_again_where_its_policy_says_so() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.node("n2", 4.0);
    let retry = RetryPolicy { max_attempts: 2, backoff: 1, ..RetryPolicy::default() };
    w.submit(with_retry(job("o", "ops", 0), retry)).unwrap();
    let first = w.executions();
    w.fail(&first[0].id);
    w.complete(&first[1].id);
    w.pass_alive(2);
    assert_eq!(w.executions().len(), 3);
    let again = w.last();
    w.complete(&again);
    assert_eq!(w.job("o").state.state_type, JobState::Completed);
}

#[test]
fn an_ops_job_goes_on_where_it_can_when_a_node_had_all_its_attempts() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.node("n2", 4.0);
    let retry = RetryPolicy { max_attempts: 1, backoff: 1, ..RetryPolicy::default() };
    w.submit(with_retry(job("o", "ops", 0), retry)).unwrap();
    let first = w.executions();
    w.fail(&first[0].id);
    w.pass_alive(5);
    assert_eq!((w.job("o").state.state_type, w.executions().len()), (JobState::Running, 2));
    w.complete(&first[1].id);
    let state = w.job("o").state;
    let why = "Job failed because one or more executions failed";
    assert_eq!((state.state_type, state.message.as_str()), (JobState::Failed, why));
}

#[test]
fn a_lost_node_costs_no_pause_and_a_service_waits_for_another() {
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(job("s", "service", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.pass_alive(30);
    assert_eq!(w.job("s").state.state_type, JobState::Running, "it waits for a node instead of failing");
    let told = |w: &World| {
        let waits = "Waiting for nodes. not enough nodes to run job. requested: 1, available: 0";
        w.history().iter().filter(|(_, text)| text.starts_with(waits)).count()
    };
    assert_eq!(told(&w), 1, "and says so, once");
    w.node("n2", 4.0);
    assert_eq!(w.executions().last().map(|e| (e.node_id.clone(), e.attempt)), Some(("n2".into(), 2)));

    // Nodes that go one after the other are no crash loop of the service.
    for (gone, next) in [("n2", "n3"), ("n3", "n4"), ("n4", "n5")] {
        let e = w.last();
        w.accept(&e);
        w.node(next, 4.0);
        w.step(Input::ConnectionLost { node_id: gone.into() });
        w.pass_alive(5);
    }
    let state = w.job("s").state;
    assert_eq!((state.state_type, state.message.as_str(), state.details.len()), (JobState::Running, "", 0));
    assert_eq!(w.executions().last().map(|e| (e.node_id.clone(), e.attempt)), Some(("n5".into(), 5)));
    assert_eq!(told(&w), 1);
}

#[test]
fn a_clock_that_was_set_back_makes_no_pause_longer() {
    let mut w = World::new();
    w.now = 100_000 * SECOND;
    w.node("n1", 4.0);
    let retry = RetryPolicy { max_attempts: 3, backoff: 30, ..RetryPolicy::default() };
    w.submit(with_retry(job("j", "batch", 1), retry)).unwrap();
    let e = w.last();
    w.accept(&e);
    w.fail(&e);
    w.now -= 3600 * SECOND;
    w.restart();
    w.node("n1", 4.0);
    w.pass_alive(20);
    assert_eq!(w.executions().len(), 1, "it rests");
    w.pass_alive(20);
    assert_eq!(w.core.live_executions().count(), 1);
}
