//! What is kept, for how long, and what `job delete` leaves: nothing.

use crate::cluster::{Cluster, NOTHING, PATIENCE, UP_FOREVER, eventually, wat_job};
use bacalhau_model::DesiredState;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

impl Cluster {
    /// Sends a DELETE to the API. Gives the status and the body, nothing when there was no answer.
    fn delete(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.api_port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split("\r\n\r\n").nth(1)?.to_owned()))
    }

    fn delete_record(&self, job: &str) -> Option<(u16, String)> {
        self.delete(&format!("/api/v1/orchestrator/jobs/{job}/record"))
    }

    /// Names of all jobs, oldest first.
    fn names(&self) -> Vec<String> {
        let jobs = self.json(&["job", "list", "--limit", "1000", "--order-by", "created_at"]);
        let names = jobs.as_array().unwrap().iter().map(|job| job["Name"].as_str().unwrap().to_owned());
        names.collect()
    }

    fn executions_of(&self, job: &str) -> Vec<serde_json::Value> {
        let all = self.json(&["job", "executions", job, "--all-versions", "--limit", "1000"]);
        all.as_array().unwrap().clone()
    }

    /// Runs a job file and waits for its end. Gives the job's ID.
    fn done(&self, file: &str) -> String {
        let id = self.ok(&["job", "run", "--id-only", file]).trim().to_owned();
        self.wait_final(&id);
        id
    }
}

fn with_a_node(settings: &[&str]) -> Cluster {
    let mut cluster = Cluster::new("", settings);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    cluster
}

#[test]
fn a_user_deletes_finished_jobs_only() {
    let cluster = with_a_node(&[]);
    let first = cluster.file("a.yaml", &wat_job("a", NOTHING, ""));
    let id = cluster.done(&first);
    cluster.ok(&["job", "rerun", "a", "--wait"]);
    cluster.wait_final("a");
    let live = cluster.file("live.yaml", &wat_job("live", UP_FOREVER, "").replace("batch", "service"));
    let live = cluster.ok(&["job", "run", "--id-only", "--wait=false", &live]).trim().to_owned();

    let (status, body) = cluster.delete_record("live").unwrap();
    assert_eq!(status, 409, "{body}");
    let refused = cluster.cli(&["job", "delete", "nothing", "live", "a"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("job not found: nothing"), "{said}");
    assert!(said.contains(&format!("Hint:  Stop it first: bacalhau job stop {live}")), "{said}");
    assert_eq!(String::from_utf8(refused.stdout).unwrap(), format!("Deleted job {id}\n"));

    assert_eq!(cluster.names(), ["live"]);
    for lost in [["job", "describe"], ["job", "history"], ["job", "executions"], ["job", "versions"]] {
        let output = cluster.cli(&[lost[0], lost[1], &id]);
        assert!(!output.status.success() && output.stdout.is_empty(), "{lost:?}: {output:?}");
    }
    assert_eq!(cluster.delete_record(&id).unwrap().0, 404);
    // The name is free: a new job begins with version 1.
    cluster.done(&first);
    assert_eq!(cluster.json(&["job", "describe", "a"])["Job"]["Version"], 1);
    cluster.ok(&["job", "stop", "live"]);
    cluster.ok(&["job", "delete", "--quiet", "live", "a"]);
    assert!(cluster.names().is_empty());
}

#[test]
fn finished_jobs_are_kept_in_number_and_time() {
    let cluster = with_a_node(&["Orchestrator.Retention.MaxJobs=3", "Orchestrator.Retention.MaxAge=1h"]);
    let live = cluster.file("live.yaml", &wat_job("live", UP_FOREVER, "").replace("batch", "service"));
    cluster.ok(&["job", "run", "--wait=false", &live]);
    for n in 0..6 {
        cluster.done(&cluster.file("job.yaml", &wat_job(&format!("job-{n}"), NOTHING, "")));
    }
    let newest = ["live", "job-3", "job-4", "job-5"];
    eventually("only the newest are kept", || (cluster.names() == newest).then_some(()));

    let mut cluster = cluster;
    cluster.orchestrator.terminate();
    cluster.orchestrator.replace_arg("Orchestrator.Retention.MaxAge=1h", "Orchestrator.Retention.MaxAge=1s");
    cluster.orchestrator.start();
    cluster.wait_alive();
    eventually("what is old is gone", || (cluster.names() == ["live"]).then_some(()));
}

#[test]
fn a_service_does_not_grow_without_end() {
    let cluster = with_a_node(&[
        "Orchestrator.Retention.MaxExecutionsPerJob=3",
        "Orchestrator.Retention.MaxHistoryPerJob=10",
    ]);
    let file = cluster.file("s.yaml", &wat_job("s", UP_FOREVER, "").replace("batch", "service"));
    cluster.ok(&["job", "run", "--wait=false", &file]);
    // Each version stops the execution of the one before.
    for version in 2..=12 {
        eventually("it runs", || (cluster.state("s") == "Running").then_some(()));
        cluster.ok(&["job", "rerun", "s", "--wait=false"]);
        assert_eq!(cluster.json(&["job", "describe", "s"])["Job"]["Version"], version);
    }
    let stopped = DesiredState::Stopped as u64;
    let is_over = |e: &&serde_json::Value| e["DesiredState"]["StateType"] == stopped;
    eventually("three executions that are over are left", || {
        (cluster.executions_of("s").iter().filter(is_over).count() == 3).then_some(())
    });
    eventually("ten lines of history are left", || {
        let history = cluster.json(&["job", "history", "s", "--all-versions", "--limit", "1000"]);
        (history.as_array().unwrap().len() == 10).then_some(())
    });
    assert_eq!(cluster.executions_of("s").iter().filter(|e| !is_over(e)).count(), 1);
    eventually("it runs still", || (cluster.state("s") == "Running").then_some(()));
}

#[test]
fn kill_9_leaves_jobs_whole_or_gone() {
    const JOBS: usize = 12;
    const COUNT: usize = 4;
    let mut cluster = with_a_node(&[]);
    let job =
        |n: usize| wat_job(&format!("job-{n}"), NOTHING, "").replace("Count: 1", &format!("Count: {COUNT}"));
    let files: Vec<String> = (0..JOBS).map(|n| cluster.file(&format!("{n}.yaml"), &job(n))).collect();
    let ids: Vec<String> = files
        .iter()
        .map(|file| cluster.ok(&["job", "run", "--id-only", "--wait=false", file]).trim().to_owned())
        .collect();
    ids.iter().for_each(|id| assert_eq!(cluster.wait_final(id), "Completed"));

    // Killed while it deletes, after the fifth answer at the earliest.
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (deleting, ids, answered) = (&cluster, &ids, &answered);
        let orchestrator = &deleting.orchestrator;
        scope.spawn(move || {
            for id in ids {
                let Some((status, _)) = deleting.delete_record(id) else { return };
                assert_eq!(status, 200);
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
        while answered.load(Ordering::SeqCst) < 5 {
            std::thread::yield_now();
        }
        orchestrator.signal("KILL");
    });
    cluster.orchestrator.kill();
    cluster.orchestrator.start();
    cluster.wait_alive();
    let answered = answered.into_inner();
    for (n, id) in ids.iter().enumerate() {
        let described = cluster.cli(&["job", "describe", id]);
        if described.status.success() {
            assert!(n >= answered, "job {n} is back although its deletion was acknowledged");
            assert_eq!(cluster.executions_of(id).len(), COUNT);
            let history = cluster.json(&["job", "history", id, "--limit", "1000"]);
            assert_eq!(history[0]["Event"]["Message"], "Job submitted");
        } else {
            assert!(String::from_utf8_lossy(&described.stderr).contains("job not found"), "{described:?}");
        }
    }
    let left = cluster.names();
    if !left.is_empty() {
        let all: Vec<&str> = ["job", "delete"].into_iter().chain(left.iter().map(String::as_str)).collect();
        cluster.ok(&all);
    }
    assert!(cluster.names().is_empty());
}
