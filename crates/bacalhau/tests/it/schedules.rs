//! Jobs with a schedule, jobs that wait for others, and files with several jobs.

use crate::bin::{Bacalhau, text};
use crate::cluster::{Cluster, FOREVER, NOTHING, eventually, wat_job};
use serde_json::Value;
use std::collections::BTreeSet;

fn one_node() -> Cluster {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    cluster
}

/// A job file whose module does not exist: it fails.
fn broken_job(name: &str) -> String {
    wat_job(name, NOTHING, "").replace("EntryModule: /m.wasm", "EntryModule: /missing.wasm")
}

fn after(name: &str, module: &str, others: &[(&str, &str)]) -> String {
    let mut file = wat_job(name, module, "") + "DependsOn:\n";
    for (job, policy) in others {
        file += &format!("  - Job: {job}\n    OnFailure: {policy}\n");
    }
    file
}

/// All runs that a scheduled job made, by name.
fn runs(cluster: &Cluster, id: &str) -> Vec<Value> {
    let jobs = cluster.json(&["job", "list", "--limit", "1000"]);
    let is_run = |job: &&Value| job["Meta"]["bacalhau.org/scheduled-by"] == id;
    let mut runs: Vec<Value> = jobs.as_array().unwrap().iter().filter(is_run).cloned().collect();
    runs.sort_by_key(|job| job["Name"].as_str().unwrap().to_owned());
    runs
}

fn completed(runs: &[Value]) -> usize {
    runs.iter().filter(|run| run["State"]["StateType"] == "Completed").count()
}

#[test]
fn a_schedule_goes_on_through_kill_9_and_ends_when_stopped() {
    let mut cluster = one_node();
    let file = wat_job(
        "tick",
        NOTHING,
        "Schedule:\n  Cron: \"* * * * * *\"\n  TimeZone: Europe/Berlin\n  Overlap: allow\n",
    );
    let file = cluster.file("tick.yaml", &file);
    let said = cluster.ok(&["job", "run", &file]);
    assert!(said.contains("Next run at 20") && said.contains("To end the schedule"), "{said}");
    let id = cluster.json(&["job", "describe", "tick"])["Job"]["ID"].as_str().unwrap().to_owned();
    for round in 1..4 {
        let before = runs(&cluster, &id).len();
        eventually("more runs completed", || (completed(&runs(&cluster, &id)) > before.max(1)).then_some(()));
        if round < 3 {
            cluster.orchestrator.kill();
            cluster.orchestrator.start();
            cluster.wait_alive();
        }
    }
    assert!(cluster.ok(&["job", "list"]).contains("Running"));
    let described = cluster.ok(&["job", "describe", "tick"]);
    assert!(described.contains("Next run at") && described.contains("Latest Runs"), "{described}");
    assert!(described.contains("tick-20"), "{described}");

    let rerun = cluster.ok(&["job", "rerun", "tick"]);
    assert!(rerun.contains("Completed"), "{rerun}");

    let said = cluster.ok(&["job", "stop", "tick"]);
    assert!(said.contains("The schedule makes no more runs"), "{said}");
    assert_eq!(cluster.state("tick"), "Stopped");
    eventually("all runs ended", || {
        let all = runs(&cluster, &id);
        (completed(&all) == all.len()).then_some(())
    });
    let all = runs(&cluster, &id);
    let names: BTreeSet<&str> = all.iter().map(|run| run["Name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), all.len(), "one run for each due time");
    for run in &all {
        let executions = cluster.json(&["job", "executions", run["ID"].as_str().unwrap()]);
        let done =
            executions.as_array().unwrap().iter().filter(|e| e["ComputeState"]["StateType"] == 9).count();
        assert_eq!((run["Version"].as_u64(), done), (Some(1), 1), "{run}");
    }
    // The history tells of each run.
    let history = cluster.json(&["job", "history", "tick"]);
    let started = |run: &&Value| {
        let line = format!("Run {} started", run["Name"].as_str().unwrap());
        history.as_array().unwrap().iter().any(|h| h["Event"]["Message"].as_str().unwrap().starts_with(&line))
    };
    assert_eq!(all.iter().filter(started).count(), all.len());
}

#[test]
fn an_unfinished_run_is_replaced_or_keeps_the_next_away() {
    let cluster = one_node();
    for overlap in ["skip", "replace"] {
        let schedule = format!("Schedule:\n  Cron: \"* * * * * *\"\n  Overlap: {overlap}\n");
        let file = cluster.file("long.yaml", &wat_job(overlap, FOREVER, &schedule));
        let id = cluster.ok(&["job", "run", &file, "--id-only"]).trim().to_owned();
        match overlap {
            "skip" => eventually("runs were skipped", || {
                let history = cluster.ok(&["job", "history", &id]);
                history.contains("is skipped because run skip-20").then_some(())
            }),
            _ => eventually("a run was replaced", || {
                let stopped = |run: &Value| run["State"]["StateType"] == "Stopped";
                let found = runs(&cluster, &id).into_iter().find(stopped)?;
                assert!(
                    found["State"]["Message"].as_str().unwrap().starts_with("Replaced by run replace-20")
                );
                Some(())
            }),
        }
        cluster.ok(&["job", "stop", &id]);
        let left: Vec<Value> =
            runs(&cluster, &id).into_iter().filter(|r| r["State"]["StateType"] != "Stopped").collect();
        assert_eq!(left.len(), 1, "{overlap}: the run under way goes on");
        cluster.ok(&["job", "stop", left[0]["ID"].as_str().unwrap()]);
    }
}

#[test]
fn a_diamond_of_jobs_is_one_submission() {
    let mut cluster = one_node();
    let diamond = |tag: &str| {
        let name = |part: &str| format!("{part}-{tag}");
        [
            after(&name("bottom"), NOTHING, &[(&name("left"), "fail"), (&name("right"), "fail")]),
            after(&name("left"), NOTHING, &[(&name("top"), "fail")]),
            after(&name("right"), NOTHING, &[(&name("top"), "fail")]),
            wat_job(&name("top"), NOTHING, ""),
        ]
        .join("---\n")
    };
    let file = cluster.file("one.yaml", &diamond("one"));
    cluster.ok(&["job", "validate", &file]);
    let said = cluster.ok(&["job", "run", &file, "--dry-run"]);
    assert_eq!(said.matches("---\n").count(), 3, "{said}");
    let said = cluster.ok(&["job", "run", &file]);
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text:?} is not in\n{said}"));
    assert!(at("Job top-one successfully submitted. Job ID: j-") < at("Job left-one"), "{said}");
    assert!(at("bottom-one Completed") > at("right-one Completed"), "{said}");
    let time = |job: &str, field: &str| {
        cluster.json(&["job", "executions", job])[0][field]
            .as_i64()
            .unwrap_or_else(|| panic!("{job} {field}"))
    };
    for (first, then) in [("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom")] {
        let (first, then) = (format!("{first}-one"), format!("{then}-one"));
        assert!(time(&first, "ModifyTime") <= time(&then, "CreateTime"), "{first} before {then}");
    }
    let described = cluster.ok(&["job", "describe", "bottom-one"]);
    assert!(described.contains("Depends On") && described.contains("left-one"), "{described}");

    // The same with the orchestrator killed while jobs wait. The top never ends by itself.
    let waiting = diamond("two").replace(&wat_job("top-two", NOTHING, ""), &wat_job("top-two", FOREVER, ""));
    let file = cluster.file("two.yaml", &waiting);
    let ids = cluster.ok(&["job", "run", &file, "--wait=false"]);
    assert_eq!(ids.lines().filter(|line| line.starts_with("j-")).count(), 4, "{ids}");
    cluster.orchestrator.kill();
    cluster.orchestrator.start();
    cluster.wait_alive();
    let message = |job: &str| cluster.json(&["job", "describe", job])["Job"]["State"]["Message"].clone();
    assert_eq!(message("bottom-two"), "Waiting for left-two, right-two");
    assert_eq!(message("left-two"), "Waiting for top-two");
    // A new version of the top is the same job: the others go on waiting for it.
    let file = cluster.file("top.yaml", &wat_job("top-two", NOTHING, ""));
    cluster.ok(&["job", "run", &file]);
    assert_eq!(cluster.wait_final("bottom-two"), "Completed");
}

#[test]
fn a_failing_dependency_has_the_consequence_that_was_asked_for() {
    let cluster = one_node();
    let file = [
        broken_job("broken"),
        after("fails", NOTHING, &[("broken", "fail")]),
        after("stops", NOTHING, &[("broken", "stop")]),
        after("runs", NOTHING, &[("broken", "run")]),
        after("last", NOTHING, &[("stops", "run"), ("runs", "fail")]),
    ]
    .join("---\n");
    let file = cluster.file("all.yaml", &file);
    let output = cluster.cli(&["job", "run", &file]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let (said, wrong) = (text(&output.stdout), text(&output.stderr));
    for line in [
        "fails Failed: dependency broken failed\n",
        "stops Stopped: dependency broken failed\n",
        "runs Completed\n",
        "last Completed\n",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    assert!(wrong.contains("not completed: broken, fails"), "{wrong}");
    // Later submissions count what has ended.
    let file = cluster.file("late.yaml", &after("late", NOTHING, &[("runs", "fail"), ("broken", "run")]));
    cluster.ok(&["job", "run", &file]);
    assert_eq!(cluster.state("late"), "Completed");
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_submitted() {
    let cluster = one_node();
    let refused = |file: &str, why: &str| {
        let file = cluster.file("refused.yaml", file);
        let output = cluster.cli(&["job", "run", &file]);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{why:?} is not in\n{said}");
        assert!(said.contains("Hint:"), "{said}");
    };
    refused(
        &[after("one", NOTHING, &[("two", "fail")]), after("two", NOTHING, &[("one", "fail")])].join("---\n"),
        "one -> two -> one",
    );
    refused(
        &[wat_job("one", NOTHING, ""), after("two", NOTHING, &[("nobody", "fail")])].join("---\n"),
        "job two depends on nobody, and there is no such job",
    );
    refused(&after("two", NOTHING, &[("nobody", "fail")]), "there is no such job in namespace default");
    refused(&wat_job("one", NOTHING, "Schedule: {Cron: soon}\n"), "Schedule.Cron \"soon\" cannot be used");
    refused(
        &wat_job("one", NOTHING, "Schedule: {Cron: \"@daily\", TimeZone: Berlin}\n"),
        "Schedule.TimeZone \"Berlin\" is not known",
    );
    assert_eq!(cluster.json(&["job", "list"]).as_array().map_or(0, Vec::len), 0);
    // An update that would close a circle.
    let file = [wat_job("a", NOTHING, ""), after("b", NOTHING, &[("a", "fail")])].join("---\n");
    cluster.ok(&["job", "run", &cluster.file("ab.yaml", &file)]);
    refused(&after("a", NOTHING, &[("b", "fail")]), "form a cycle: a -> b -> a");
}

#[test]
fn validation_needs_no_server() {
    let bacalhau = Bacalhau::new();
    let validate = |content: &str| {
        let file = bacalhau.file("job.yaml", content);
        let output = bacalhau.run(&["job", "validate", &file]);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let wrong = validate(&wat_job("one", NOTHING, "Schedule: {Cron: \"61 * * * *\"}\n"));
    assert!(
        wrong.0 == Some(1) && wrong.2.contains("cannot be used") && wrong.2.contains("Hint:"),
        "{wrong:?}"
    );
    let file = [
        after("one", NOTHING, &[("three", "fail")]),
        wat_job("two", NOTHING, "Schedule: {Cron: \"@hourly\"}\n"),
    ];
    let right = validate(&file.join("---\n"));
    assert_eq!((right.0, right.1.as_str()), (Some(0), "OK\n"), "{right:?}");
    assert!(right.2.contains("one depends on three, which is not in this file"), "{right:?}");
    let wrong = validate(&[file[1].as_str(), "Name: q\nType: nope\n"].join("---\n"));
    assert!(wrong.0 == Some(1) && wrong.2.contains("job q: the job provided is invalid"), "{wrong:?}");
}
