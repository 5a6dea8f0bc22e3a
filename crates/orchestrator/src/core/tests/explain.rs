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
    assert_eq!((dry.job_id.as_str(), dry.summary.as_str()), ("", "All 1 executions would run now."));
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
