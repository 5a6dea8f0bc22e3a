//! What `job explain` and dry runs say is what the scheduler does.

use super::*;
use bacalhau_model::explain::{Explanation, Verdict};

fn explain(w: &mut World, job: Job) -> Explanation {
    w.step(Input::Explain { job: Box::new(job), token: () });
    match w.replies.pop() {
        Some(Reply::Explained(Some(found))) => found,
        other => panic!("{other:?}"),
    }
}

fn verdicts(found: &Explanation) -> Vec<(&str, Verdict, &str)> {
    found.nodes.iter().map(|n| (n.node_id.as_str(), n.verdict, n.reason.as_str())).collect()
}

fn in_zone(mut job: Job, zone: &str) -> Job {
    job.constraints = bacalhau_model::selector::parse(&format!("name in ({zone})")).unwrap();
    job
}

#[test]
fn every_node_has_a_verdict_and_the_dry_run_is_what_happens() {
    let mut w = World::new();
    for node in ["n1", "n2", "n3", "n4"] {
        w.node(node, 2.0);
    }
    w.step(Input::UpdateNode { node_id: "n3".into(), action: NodeAction::Cordon, token: () });
    w.step(Input::ConnectionLost { node_id: "n4".into() });
    w.submit(in_zone(job("full", "service", 3), "n1")).unwrap();
    let new = in_zone(job("new", "batch", 1), "n1,n2,n3,n4");
    let dry = explain(&mut w, Job { id: String::new(), ..new.clone() });
    assert_eq!(
        verdicts(&dry),
        [
            ("n2", Verdict::Chosen, "gets 1 execution"),
            ("n1", Verdict::Busy, "node busy with available capacity {CPU: 0, Memory: 1.1 GB, Disk: 1.1 GB}"),
            ("n3", Verdict::Unavailable, "node is cordoned"),
            ("n4", Verdict::Unavailable, "node is not connected: connection lost"),
        ]
    );
    assert_eq!((dry.job_id.as_str(), dry.summary.as_str()), ("", "1 execution would run now."));
    w.submit(new).unwrap();
    assert_eq!(w.executions().last().map(|e| e.node_id.clone()), Some("n2".into()), "as the dry run said");
    let stored = w.job("new");
    let found = explain(&mut w, stored);
    assert_eq!(verdicts(&found)[0], ("n2", Verdict::Running, "1 live execution"));
    assert_eq!(found.summary, "1 live, 0 completed, 0 to be placed.");
}

#[test]
fn a_job_that_waits_says_for_what() {
    let mut w = World::new();
    w.node("n1", 2.0);
    let queue = Timeouts { queue_timeout: 1000, ..Timeouts::default() };
    w.submit(with_timeouts(in_zone(job("j", "batch", 2), "n9"), queue)).unwrap();
    let stored = w.job("j");
    let found = explain(&mut w, stored);
    assert_eq!((found.wanted, found.placeable), (2, 0));
    assert_eq!(found.nodes[0].verdict, Verdict::Unsuitable);
    assert!(found.nodes[0].reason.starts_with("labels map["), "{}", found.nodes[0].reason);
    assert!(
        found.summary.starts_with("0 live, 0 completed, 2 to be placed. It waits: not enough nodes"),
        "{}",
        found.summary
    );
}

#[test]
fn a_job_whose_count_changes_is_explained_as_it_scales() {
    let mut w = World::new();
    w.node("n1", 8.0);
    w.submit(job("s", "service", 2)).unwrap();
    let with_count = |count| Job { id: String::new(), ..job("s", "service", count) };
    let more = explain(&mut w, with_count(5));
    let said = "It would be scaled in place: 2 executions would go on. All 3 executions would run now.";
    assert_eq!((more.summary.as_str(), more.wanted), (said, 3));
    assert_eq!(verdicts(&more), [("n1", Verdict::Running, "2 live executions, gets 3 more")]);
    let less = explain(&mut w, with_count(1));
    let said = "It would be scaled in place: 1 execution would go on. Nothing else would run.";
    assert_eq!((less.summary.as_str(), less.nodes[0].live), (said, 1));
    // It was only a question.
    assert_eq!(w.job("s").count, 2);
    w.submit(with_count(5)).unwrap();
    assert_eq!(w.executions().len(), 5, "as was said");
}

#[test]
fn a_pause_a_failure_and_an_end_are_told() {
    let mut w = World::new();
    w.node("n1", 8.0);
    w.node("n2", 8.0);
    let mut patient = job("patient", "batch", 1);
    patient.tasks[0].retry =
        Some(bacalhau_model::RetryPolicy { max_attempts: 2, backoff: 10, ..Default::default() });
    w.submit(patient).unwrap();
    let e = w.last();
    w.accept(&e);
    w.fail(&e);
    let stored = w.job("patient");
    let found = explain(&mut w, stored);
    let said = "0 live, 0 completed, 0 to be placed. 1 failed, its next attempt is made in 10s.";
    assert_eq!(found.summary, said);
    assert_eq!(found.nodes[0].reason, "what failed is tried again later");

    w.submit(job("everywhere", "ops", 0)).unwrap();
    let first = w.executions().into_iter().find(|e| e.job_id == "everywhere" && e.node_id == "n1").unwrap();
    w.fail(&first.id);
    let stored = w.job("everywhere");
    let found = explain(&mut w, stored);
    assert_eq!(found.summary, "1 live, 0 completed, 1 failed, 0 to be placed.");
    assert_eq!(verdicts(&found)[1], ("n1", Verdict::Possible, "its execution here failed"));

    let second = w.executions().into_iter().find(|e| e.job_id == "everywhere" && e.node_id == "n2").unwrap();
    w.complete(&second.id);
    let stored = w.job("everywhere");
    let found = explain(&mut w, stored);
    assert_eq!(found.summary, "The job is Failed. If it ran again: All 2 executions would run now.");
    let later = Job { schedule: Some(Default::default()), ..job("later", "batch", 1) };
    let found = explain(&mut w, Job { id: String::new(), ..later });
    assert!(found.summary.starts_with("It runs when its schedule says so."), "{}", found.summary);
}
