//! How jobs end on one node: stopped, timed out, with an exit code, with and without results.

use super::programs::{END, EXIT_3, GO_ON, program};
use super::{count, job, with_task};
use crate::cluster::{Cluster, NOTHING, UP_FOREVER};
use bacalhau_model::ComputeState;
use serde_json::json;

fn one_node(settings: &[&str]) -> Cluster {
    let mut cluster = Cluster::new("", settings);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    cluster
}

#[test]
fn stopping() {
    let cluster = one_node(&[]);
    let id = cluster.submit(&job("endless", "batch", 1, UP_FOREVER));
    cluster.wait_up("endless", 1);
    let other = cluster.submit(&job("other", "batch", 1, UP_FOREVER));
    // A beginning that fits both stops neither.
    let ambiguous = cluster.refusal(&["job", "stop", "j-"]);
    assert!(ambiguous.contains("multiple jobs"), "{ambiguous}");
    let stopped = cluster.ok(&["job", "stop", &id[..10]]);
    assert!(stopped.contains("Job stop successfully submitted with evaluation ID: "), "{stopped}");
    assert_eq!(cluster.state(&id), "Stopped");
    let reason = cluster.message(&id);
    assert_eq!(reason, "Stopped at user request");
    assert_eq!(count(&cluster.executions(&id, &[]), ComputeState::Cancelled), 1);
    assert!(["Pending", "Running"].contains(&cluster.state(&other).as_str()));
    // Again, over the API: the command line looks first. It succeeds and the first reason stays.
    let again = cluster.http("DELETE", &format!("/api/v1/orchestrator/jobs/{id}?reason=later"));
    assert!(again.starts_with("HTTP/1.1 200") && again.contains("\"EvaluationID\":\"\""), "{again}");
    assert_eq!(cluster.message(&id), reason);
    cluster.ok(&["job", "stop", &other]);

    let done = cluster.submit(&job("done", "batch", 1, NOTHING));
    assert_eq!(cluster.wait_final(&done), "Completed");
    let refused = cluster.http("DELETE", &format!("/api/v1/orchestrator/jobs/{done}"));
    assert!(refused.contains("cannot stop job in state Completed"), "{refused}");
    assert!(cluster.refusal(&["job", "stop", "nothing"]).contains("not found"));
}

#[test]
fn timeouts_results_and_exit_codes() {
    let cluster = one_node(&[
        "JobDefaults.Batch.Task.Publisher.Type=local",
        "JobDefaults.Batch.Task.Timeouts.TotalTimeout=2s",
        "JobDefaults.Ops.Task.Timeouts.TotalTimeout=3600s",
    ]);
    let total = |name: &str, module: &str, seconds: i64| {
        with_task(job(name, "batch", 1, module), "Timeouts", json!({ "TotalTimeout": seconds }))
    };
    assert_eq!(cluster.run(&job("over-default", "batch", 1, &program(&[], GO_ON))).0, "Failed");
    assert_eq!(cluster.message("over-default"), "Job timed out. Job took longer than 2s");
    assert_eq!(cluster.run(&total("over-own", &program(&[], GO_ON), 1)).0, "Failed");
    assert_eq!(cluster.message("over-own"), "Job timed out. Job took longer than 1s");
    assert_eq!(cluster.run(&total("under-own", NOTHING, 3600)).0, "Completed");
    assert_eq!(cluster.run(&job("under-default", "ops", 0, NOTHING)).0, "Completed");
    for name in ["under-own", "under-default"] {
        let kept = cluster.json(&["job", "describe", name]);
        assert_eq!(kept["Job"]["Tasks"][0]["Timeouts"]["TotalTimeout"], 3600, "{name}");
    }

    // The default publisher, for a job with and one without a result path. A non-zero exit code is no failure.
    let (state, executions) = cluster.run(&total("exit", &program(&[], EXIT_3), 3600));
    assert_eq!((state.as_str(), executions[0].run_output.exit_code), ("Completed", 3));
    let paths = json!([{ "Name": "outputs", "Path": "/outputs" }]);
    let with_paths = with_task(total("paths", NOTHING, 3600), "ResultPaths", paths);
    assert_eq!(cluster.run(&with_paths).0, "Completed");
    for (name, code) in [("exit", "3"), ("paths", "0")] {
        let out = cluster.root.path().join(format!("results-{name}"));
        std::fs::create_dir(&out).unwrap();
        cluster.ok(&["job", "get", name, "--output-dir", out.to_str().unwrap()]);
        assert_eq!(std::fs::read_to_string(out.join("exitCode")).unwrap(), code);
        let stdout = std::fs::read_to_string(out.join("stdout")).unwrap();
        assert_eq!(stdout.contains("BACALHAU_JOB_TYPE=batch"), name == "exit", "{stdout}");
        assert_eq!(out.join("outputs").is_dir(), name == "paths");
    }
}

#[test]
fn refusals_at_submit_and_jobs_without_a_publisher() {
    let cluster = one_node(&["Labels=place=here"]);
    let nodes = cluster.json(&["node", "list"]);
    let own: Vec<_> =
        nodes.as_array().unwrap().iter().filter(|n| n["Info"]["NodeType"] == "Requester").collect();
    assert_eq!((own.len(), &own[0]["Info"]["Labels"]["place"]), (1, &json!("here")));
    assert_eq!((&own[0]["Membership"], &own[0]["Connection"]), (&json!("APPROVED"), &json!("CONNECTED")));
    let id = own[0]["Info"]["NodeID"].as_str().unwrap();
    assert!(cluster.refusal(&["node", "cordon", id]).contains("is the orchestrator"));
    let paths = json!([{ "Name": "outputs", "Path": "/outputs" }]);
    let file = cluster.job_file(&with_task(job("paths", "batch", 1, NOTHING), "ResultPaths", paths));
    let refused = cluster.refusal(&["job", "run", &file]);
    assert!(refused.to_lowercase().contains("publisher"), "{refused}");
    assert_eq!(cluster.run(&job("nothing-kept", "batch", 1, &program(&[], END))).0, "Completed");
    let other_type = cluster.job_file(&job("nothing-kept", "ops", 0, &program(&[], END)));
    for flags in [&["--dry-run"][..], &[]] {
        let refused = cluster.refusal(&[&["job", "run", &other_type], flags].concat());
        assert!(
            refused.contains("cannot change the type of job nothing-kept from batch to ops"),
            "{refused}"
        );
    }
    let none = cluster.cli(&["job", "get", "nothing-kept"]);
    let said = [none.stdout, none.stderr].concat();
    assert!(none.status.success() && String::from_utf8_lossy(&said).contains("No results found"), "{said:?}");
    let ports = json!({ "Type": "Host", "Ports": [{ "Name": "web", "Static": 70_000 }] });
    let file = cluster.job_file(&with_task(job("ports", "batch", 1, NOTHING), "Network", ports));
    assert!(cluster.refusal(&["job", "run", &file]).contains("port"), "an impossible port was taken");
    let unknown = with_task(job("engine", "batch", 1, NOTHING), "Engine", json!({ "Type": "vroomvroom" }));
    let said = cluster.cli(&["job", "run", &cluster.job_file(&unknown)]);
    let said = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
    assert!(
        said.contains("not enough nodes to run job") && said.contains("does not support vroomvroom"),
        "{said}"
    );
}
