//! New versions: scaled in place, rolled out, gone back.

use super::*;
use bacalhau_model::UpdatePolicy;
use bacalhau_model::event::detail;

fn update(w: &mut World, job: Job) {
    w.submit(job).unwrap();
}

fn versions_live(w: &World) -> Vec<(i64, u64)> {
    let mut live: Vec<_> = w
        .executions()
        .into_iter()
        .filter(|e| !e.is_terminal())
        .map(|e| (e.partition_index, e.job_version))
        .collect();
    live.sort_unstable();
    live
}

fn accept_all(w: &mut World) {
    let asked = w
        .executions()
        .into_iter()
        .filter(|e| !e.is_terminal())
        .filter(|e| e.desired_state.state_type == DesiredState::Pending);
    for e in asked.collect::<Vec<_>>() {
        w.accept(&e.id);
    }
}

#[test]
fn a_count_that_changes_scales_in_place() {
    let mut w = World::new();
    w.node("n1", 8.0);
    w.submit(job("s", "service", 2)).unwrap();
    accept_all(&mut w);
    update(&mut w, job("s", "service", 4));
    accept_all(&mut w);
    assert_eq!(versions_live(&w), [(0, 1), (1, 1), (2, 2), (3, 2)]);
    assert_eq!(w.job("s").state.state_type, JobState::Running);
    assert_eq!(w.job("s").version, 2);
    update(&mut w, job("s", "service", 1));
    assert_eq!(versions_live(&w), [(0, 1)]);
    w.restart();
    w.node("n1", 8.0);
    w.pass_alive(100);
    assert_eq!(versions_live(&w), [(0, 1)], "a restart knows what the version keeps");
    update(&mut w, job("s", "service", 3));
    assert_eq!(versions_live(&w), [(0, 1), (1, 4), (2, 4)]);
}

#[test]
fn a_batch_job_scales_and_what_completed_stays_completed() {
    let mut w = World::new();
    w.node("n1", 2.0);
    let queue = Timeouts { queue_timeout: 1000, ..Timeouts::default() };
    w.submit(with_timeouts(job("b", "batch", 6), queue)).unwrap();
    let first = w.executions()[0].id.clone();
    w.accept(&first);
    w.complete(&first);
    update(&mut w, with_timeouts(job("b", "batch", 2), queue));
    assert_eq!(versions_live(&w).len(), 1);
    let other = w.executions().into_iter().find(|e| !e.is_terminal()).unwrap().id;
    w.accept(&other);
    w.complete(&other);
    assert_eq!(w.job("b").state.state_type, JobState::Completed);
}

#[test]
fn a_batch_job_that_is_scaled_says_what_its_partitions_were_told() {
    for force in [false, true] {
        let mut w = World::new();
        w.node("n1", 8.0);
        w.submit(job("b", "batch", 3)).unwrap();
        accept_all(&mut w);
        w.step(Input::Submit {
            job: job("b", "batch", 5).into(),
            stored: None,
            id_taken: false,
            force,
            token: (),
        });
        assert!(matches!(w.replies.pop(), Some(Reply::Submitted(Ok(_)))));
        let told = w.history().iter().any(|(_, text)| text.contains("BACALHAU_PARTITION_COUNT=3"));
        assert_eq!(told, !force);
        let versions: Vec<u64> = versions_live(&w).into_iter().map(|(_, version)| version).collect();
        assert_eq!(versions, if force { [2; 5] } else { [1, 1, 1, 2, 2] });
    }
}

#[test]
fn a_service_of_none_runs() {
    let mut w = World::new();
    w.node("n1", 8.0);
    w.submit(job("s", "service", 0)).unwrap();
    assert_eq!(w.job("s").state.state_type, JobState::Running);
    update(&mut w, job("s", "service", 2));
    accept_all(&mut w);
    let mut other = job("s", "service", 0);
    other.tasks[0].env.insert("A".into(), "b".into());
    update(&mut w, other);
    assert_eq!((w.job("s").state.state_type, versions_live(&w).len()), (JobState::Running, 0));
}

fn rolling(count: i64, command: &str) -> Job {
    let mut job = job("s", "service", count);
    job.update = Some(UpdatePolicy { max_parallel: 1, healthy_after: 10, auto_revert: true });
    job.tasks[0].env.insert("COMMAND".into(), command.into());
    job
}

#[test]
fn an_update_rolls_one_by_one_when_new_ones_prove_healthy() {
    let mut w = World::new();
    w.node("n1", 16.0);
    w.submit(rolling(3, "a")).unwrap();
    accept_all(&mut w);
    update(&mut w, rolling(3, "b"));
    assert_eq!(versions_live(&w), [(0, 2), (1, 1), (2, 1)]);
    w.pass_alive(30);
    assert_eq!(versions_live(&w), [(0, 2), (1, 1), (2, 1)], "nothing goes on before the new one runs");
    accept_all(&mut w);
    w.pass_alive(9);
    assert_eq!(versions_live(&w), [(0, 2), (1, 1), (2, 1)]);
    w.pass_alive(2);
    assert_eq!(versions_live(&w), [(0, 2), (1, 2), (2, 1)]);
    assert_eq!(w.job("s").state.details.get(detail::ROLLOUT).map(String::as_str), Some("1/3"));
    w.restart();
    w.node("n1", 16.0);
    accept_all(&mut w);
    w.pass_alive(11);
    accept_all(&mut w);
    assert_eq!(versions_live(&w), [(0, 2), (1, 2), (2, 2)], "a restart goes on with it");
    w.pass_alive(11);
    assert!(w.job("s").state.details.is_empty());
    assert!(w.history().contains(&("Scheduling".into(), "Rolling update finished".into())));
}

#[test]
fn a_failing_update_goes_back_and_what_ran_goes_on() {
    let mut w = World::new();
    w.node("n1", 16.0);
    w.submit(rolling(3, "a")).unwrap();
    accept_all(&mut w);
    let before: Vec<String> = w.executions().iter().map(|e| e.id.clone()).collect();
    update(&mut w, rolling(3, "bad"));
    accept_all(&mut w);
    let new = w.last();
    w.fail(&new);
    let job = w.job("s");
    assert_eq!((job.version, job.state.state_type), (3, JobState::Running));
    assert_eq!(job.tasks[0].env.get("COMMAND").map(String::as_str), Some("a"));
    assert!(job.state.message.contains("going back to version 1: boom"), "{}", job.state.message);
    assert_eq!(versions_live(&w), [(0, 3), (1, 1), (2, 1)]);
    for id in &before[1..] {
        let untouched = w.executions().into_iter().find(|e| e.id == *id).unwrap();
        assert!(!untouched.is_terminal());
    }
    w.restart();
    w.node("n1", 16.0);
    accept_all(&mut w);
    w.pass_alive(100);
    assert_eq!(versions_live(&w), [(0, 3), (1, 1), (2, 1)]);
}

#[test]
fn what_proved_itself_serves_until_the_way_back_comes_to_it() {
    let mut w = World::new();
    w.node("n1", 16.0);
    w.submit(rolling(4, "a")).unwrap();
    accept_all(&mut w);
    update(&mut w, rolling(4, "b"));
    for _ in 0..2 {
        accept_all(&mut w);
        w.pass_alive(11);
    }
    accept_all(&mut w);
    assert_eq!(versions_live(&w), [(0, 2), (1, 2), (2, 2), (3, 1)]);
    let third = w.executions().into_iter().find(|e| !e.is_terminal() && e.partition_index == 2).unwrap().id;
    w.fail(&third);
    assert_eq!((w.job("s").version, w.job("s").state.state_type), (3, JobState::Running));
    assert_eq!(versions_live(&w), [(0, 2), (1, 2), (2, 3), (3, 1)], "one after the other");
    w.restart();
    w.node("n1", 16.0);
    // What comes back is not taken back, whatever happens to it.
    accept_all(&mut w);
    let again = w.executions().into_iter().find(|e| !e.is_terminal() && e.partition_index == 2).unwrap().id;
    w.fail(&again);
    w.pass_alive(5);
    assert_eq!(w.job("s").version, 3);
    for _ in 0..4 {
        accept_all(&mut w);
        w.pass_alive(11);
    }
    assert_eq!(versions_live(&w), [(0, 3), (1, 3), (2, 3), (3, 1)]);
    assert!(w.job("s").state.details.is_empty(), "{:?}", w.job("s").state);
}

#[test]
fn a_rerun_rolls_as_an_update_does() {
    let mut w = World::new();
    w.node("n1", 16.0);
    w.submit(rolling(3, "a")).unwrap();
    accept_all(&mut w);
    w.step(Input::Rerun { job_id: "s".into(), spec: rolling(3, "a").into(), stored: None, token: () });
    assert!(matches!(w.replies.pop(), Some(Reply::Rerun(Ok(Rerun { job_version: 2, .. })))));
    assert_eq!(versions_live(&w), [(0, 2), (1, 1), (2, 1)]);
}

/// The same update, for nodes that are named so.
fn rolling_on(node: &str, revert: bool) -> Job {
    let mut job = rolling(2, "b");
    job.constraints = bacalhau_model::selector::parse(&format!("name={node}")).unwrap();
    job.update.as_mut().unwrap().auto_revert = revert;
    job
}

#[test]
fn an_update_that_no_node_can_take_goes_back() {
    let mut w = World::new();
    w.node("n1", 16.0);
    w.submit(rolling(2, "a")).unwrap();
    accept_all(&mut w);
    update(&mut w, rolling_on("moon", true));
    let job = w.job("s");
    assert_eq!((job.version, job.state.state_type), (3, JobState::Running));
    assert_eq!(job.tasks[0].env.get("COMMAND").map(String::as_str), Some("a"));
    let why = "Rolling update of version 2 failed, going back to version 1: not enough nodes to run job.";
    assert!(job.state.message.starts_with(why), "{}", job.state.message);
    assert_eq!(versions_live(&w), [(0, 1), (1, 1)], "nothing was stopped for it");
}

#[test]
fn without_the_way_back_an_update_that_no_node_can_take_waits_beside_the_old_version() {
    let mut w = World::new();
    w.node("n1", 16.0);
    w.submit(rolling(2, "a")).unwrap();
    accept_all(&mut w);
    update(&mut w, rolling_on("n2", false));
    w.pass_alive(100);
    assert_eq!((w.job("s").version, w.job("s").state.state_type), (2, JobState::Running));
    assert_eq!(versions_live(&w), [(1, 1)]);
    assert!(w.history().last().unwrap().1.starts_with("Waiting for nodes."), "{:?}", w.history());
    w.node("n2", 16.0);
    assert_eq!(versions_live(&w), [(0, 2), (1, 1)]);
}

#[test]
fn an_update_waits_for_a_node_that_is_away_as_long_as_it_may() {
    for queue_timeout in [0, 60] {
        let mut w = World::new();
        w.node("n1", 16.0);
        w.node("n2", 16.0);
        w.submit(rolling(2, "a")).unwrap();
        accept_all(&mut w);
        w.step(Input::ConnectionLost { node_id: "n2".into() });
        w.pass_alive(10);
        accept_all(&mut w);
        let timeouts = Timeouts { queue_timeout, ..Timeouts::default() };
        update(&mut w, with_timeouts(rolling_on("n2", true), timeouts));
        w.pass_alive(50);
        assert_eq!(w.job("s").version, 2, "it waits");
        w.pass_alive(20);
        assert_eq!(w.job("s").version, if queue_timeout > 0 { 3 } else { 2 });
    }
}

#[test]
fn a_daemon_rolls_node_by_node() {
    let mut w = World::new();
    for node in ["n1", "n2", "n3"] {
        w.node(node, 4.0);
    }
    let make = |command: &str| Job { r#type: "daemon".into(), count: 0, ..rolling(0, command) };
    w.submit(make("a")).unwrap();
    update(&mut w, make("b"));
    let live = |w: &World, version| versions_live(w).iter().filter(|(_, v)| *v == version).count();
    assert_eq!((live(&w, 1), live(&w, 2)), (2, 1));
    assert_eq!(w.job("s").state.details.get(detail::ROLLOUT).map(String::as_str), Some("0/3"));
    w.pass_alive(11);
    assert_eq!((live(&w, 1), live(&w, 2)), (1, 2));
    w.pass_alive(22);
    assert_eq!((live(&w, 1), live(&w, 2)), (0, 3));
}

#[test]
fn without_a_policy_all_starts_anew() {
    let mut w = World::new();
    w.node("n1", 16.0);
    w.submit(job("s", "service", 3)).unwrap();
    accept_all(&mut w);
    let mut changed = job("s", "service", 3);
    changed.tasks[0].env.insert("A".into(), "b".into());
    update(&mut w, changed);
    assert_eq!(versions_live(&w), [(0, 2), (1, 2), (2, 2)]);
}
