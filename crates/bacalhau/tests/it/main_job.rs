//! The main job, typed as a new user would: orchestrator, nodes with a token, a job, its logs, its results.

use crate::cluster::{Cluster, FOREVER, NOTHING, UP_FOREVER, eventually, example, wat_input, wat_job};

const TOKEN: &str = "correct-horse-battery";

#[test]
fn two_nodes_join_by_token_and_run_the_example_to_its_results() {
    let mut cluster = Cluster::new(TOKEN, &[]);
    let address = cluster.nats();
    cluster.add_node(&address, &["-c", &format!("Compute.Auth.Token={TOKEN}")]);
    cluster.add_node(&format!("{TOKEN}@{address}"), &[]);
    cluster.wait_connected(2);

    let printed = cluster.ok(&["job", "run", &example("climate.yaml")]);
    for text in [
        "Job successfully submitted. Job ID: j-",
        "Job submitted",
        "Requested execution on node-",
        "Completed successfully",
    ] {
        assert!(printed.contains(text), "{text:?} is not in\n{printed}");
    }
    assert_eq!(cluster.state("climate"), "Completed");

    let executions = cluster.json(&["job", "executions", "climate"]);
    let executions = executions.as_array().unwrap();
    assert_eq!(executions.len(), 2);
    assert!(executions.iter().all(|e| e["ComputeState"]["StateType"] == 9), "{executions:?}");
    let nodes: std::collections::BTreeSet<_> =
        executions.iter().map(|e| e["NodeID"].as_str().unwrap()).collect();
    assert_eq!(nodes.len(), 2, "the two partitions spread over the two nodes");

    let out = cluster.root.path().join("results");
    std::fs::create_dir(&out).unwrap();
    cluster.ok(&["job", "get", "climate", "--output-dir", out.to_str().unwrap()]);
    let stdout = std::fs::read_to_string(out.join("stdout")).unwrap();
    for line in ["2012: 366 days", "2013: 365 days", "2014: 365 days", "2015: 365 days"] {
        assert!(stdout.contains(line), "{line:?} is not in\n{stdout}");
    }
    let monthly = std::fs::read_to_string(out.join("outputs/monthly-2012.csv")).unwrap();
    assert!(monthly.contains("2012-01,31,"), "{monthly}");
    assert_eq!(monthly.lines().count(), 13);

    let described = cluster.ok(&["job", "describe", "climate"]);
    assert!(described.contains("Standard Output") && described.contains("2013: 365 days"), "{described}");
    let history = cluster.ok(&["job", "history", "climate"]);
    assert!(history.contains("Job submitted") && history.contains("Completed"), "{history}");
    assert!(cluster.ok(&["job", "list"]).contains("climate"));
    let refused = cluster.cli(&["job", "run", &example("climate.yaml")]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no changes detected for new job spec"));
}

#[test]
fn logs_follow_a_running_job_and_stop_ends_it() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    cluster.ok(&["job", "run", &example("ticker.yaml"), "--wait=false"]);
    // Following starts before the end and sees every line; standard error stays apart.
    let followed = cluster.cli(&["job", "logs", "--follow", "ticker"]);
    let (out, err) = (String::from_utf8_lossy(&followed.stdout), String::from_utf8_lossy(&followed.stderr));
    assert!(out.contains("tick 1 of 20\n") && out.contains("tick 20 of 20\n"), "{out}\n{err}");
    assert!(err.contains("10 lines so far") && !out.contains("lines so far"), "{out}\n{err}");

    let endless = cluster.file("endless.yaml", &wat_job("endless", FOREVER, ""));
    let watched = cluster.spawn(&["job", "run", &endless]);
    eventually("the endless job runs", || {
        let state = cluster.cli(&["job", "describe", "endless", "--output", "json"]);
        String::from_utf8_lossy(&state.stdout).contains("\"Running\"").then_some(())
    });
    cluster.ok(&["job", "stop", "endless"]);
    // Whoever goes on with its results must know that there are none.
    let watched = crate::logs::ended(watched);
    let said = String::from_utf8_lossy(&watched.stderr);
    assert!(watched.status.code() == Some(1) && said.contains("Error: job was stopped"), "{said}");
    assert_eq!(cluster.state("endless"), "Stopped");
    // The node is free again although the program never yields.
    let next = cluster.file("next.yaml", &wat_job("next", NOTHING, ""));
    cluster.ok(&["job", "run", &next]);
    assert_eq!(cluster.state("next"), "Completed");
}

#[test]
fn following_a_job_that_says_nothing_ends_with_it() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    // The reader may come before, between and after the moments in which the job ends: often enough for each.
    for round in 0..60 {
        let silent = wat_job(&format!("silent-{round}"), NOTHING, "");
        let job = cluster.file("silent.yaml", &silent);
        cluster.ok(&["job", "run", &job, "--follow"]);
        let broken = wat_job(&format!("broken-{round}"), NOTHING, "");
        let broken = broken.replace("EntryModule: /m.wasm", "EntryModule: /missing.wasm");
        let job = cluster.file("broken.yaml", &broken);
        let failed = cluster.cli(&["job", "run", &job, "--follow"]);
        assert!(!failed.status.success(), "{}", String::from_utf8_lossy(&failed.stdout));
    }
}

#[test]
fn an_id_of_ones_own_names_one_job_only() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    // The command line refuses IDs, other clients send them.
    let submit = |name: &str, program: &str, id: &str| {
        let inputs = serde_json::json!([wat_input(program)]);
        let engine = serde_json::json!({
            "Type": "wasm", "Params": { "EntryModule": "/m.wasm", "Entrypoint": "_start" }
        });
        let once = serde_json::json!({ "MaxAttempts": 1 });
        let task =
            serde_json::json!({ "Name": "main", "Engine": engine, "InputSources": inputs, "Retry": once });
        let job =
            serde_json::json!({ "ID": id, "Name": name, "Type": "service", "Count": 1, "Tasks": [task] });
        cluster.put("/api/v1/orchestrator/jobs", &serde_json::json!({ "Job": job }))
    };
    // A service that ends and has no attempts left has failed, and leaves the orchestrator's memory.
    assert!(submit("first", NOTHING, "my-own").contains("\"JobID\":\"my-own\""));
    assert_eq!(cluster.wait_final("my-own"), "Failed");
    let refused = submit("second", NOTHING, "my-own");
    assert!(refused.contains("job already exists: my-own"), "{refused}");
    for odd in ["..", "a/b", "a\nb"] {
        let refused = submit("third", NOTHING, odd);
        assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("cannot be used"), "{refused}");
    }
    for command in [["job", "describe", ".."], ["node", "describe", "."]] {
        let missing = cluster.cli(&command);
        assert!(!missing.status.success(), "{}", String::from_utf8_lossy(&missing.stdout));
    }
    // The same name is the same job, whoever remembers it.
    let again = submit("first", UP_FOREVER, "my-own");
    assert!(again.contains("\"JobID\":\"my-own\""), "{again}");
    assert_eq!(cluster.json(&["job", "describe", "my-own"])["Job"]["Version"], 2);
    cluster.ok(&["job", "stop", "my-own"]);
}

#[test]
fn an_ops_job_runs_on_every_node_and_a_timeout_fails_a_job() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    for _ in 0..3 {
        cluster.add_node(&address, &[]);
    }
    cluster.wait_connected(3);
    cluster.ok(&["job", "run", &example("everywhere.yaml")]);
    assert_eq!(cluster.json(&["job", "executions", "everywhere"]).as_array().unwrap().len(), 3);

    let slow = wat_job("slow", FOREVER, "    Timeouts:\n      ExecutionTimeout: 1\n");
    let slow = cluster.file("slow.yaml", &slow);
    cluster.cli(&["job", "run", &slow]);
    assert_eq!(cluster.wait_final("slow"), "Failed");
    let history = cluster.ok(&["job", "history", "slow"]);
    assert!(history.to_lowercase().contains("timed out"), "{history}");
}
