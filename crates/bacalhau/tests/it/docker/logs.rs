//! Logs that are followed while nodes and daemons go and come.

use super::{NUMBERS, alone, alone_with, are_numbers, job, runtime};
use crate::cluster::eventually;
use serde_json::json;
use std::io::Read;
use std::process::{Child, ChildStderr, Output};
use std::sync::{Arc, Mutex};

/// Waits for a command that was started.
fn ended(mut child: Child) -> Output {
    eventually("the command ended", || child.try_wait().unwrap());
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command has said so far.
fn collected(mut stderr: ChildStderr) -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let collecting = Arc::clone(&said);
    std::thread::spawn(move || {
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut piece) {
            collecting.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    });
    said
}

#[test]
fn a_follower_goes_on_when_the_node_is_back() {
    let Some(mut setup) = alone("followed", &[]) else { return };
    setup.submit(&job("followed", "service", NUMBERS));
    // It waits for nobody, and says nothing.
    setup.is_in_state("followed", 6);
    let mut follower = setup.cluster.spawn(&["job", "logs", "followed", "--follow"]);
    let words = collected(follower.stderr.take().unwrap());
    let said = || words.lock().unwrap().clone();
    let mut count = setup.more_lines("followed", 5).len();
    // For a moment, and until the follower says so.
    for noticed in [false, true] {
        setup.cluster.nodes[0].kill();
        if noticed {
            let name = "node docker-followed is not connected";
            let is_said = || said().contains(name) && said().contains("; waiting for it\n");
            eventually("the follower says so", || is_said().then_some(()));
        }
        setup.cluster.nodes[0].start();
        count = setup.more_lines("followed", count + 10).len();
    }
    setup.cluster.ok(&["job", "stop", "followed"]);
    let output = ended(follower);
    let lines = lines(&output);
    are_numbers(&lines);
    assert!(lines.len() >= count, "{} of {count}: {}", lines.len(), said());
    assert!(output.status.success(), "{}", said());
}

#[test]
fn a_follower_goes_on_with_what_was_given_up_and_goes_on() {
    let settings = ["Orchestrator.NodeManager.ReconnectGrace=100ms"];
    let Some(mut setup) = alone_with("revived", &[], &settings) else { return };
    let mut job = job("revived", "batch", &NUMBERS.replace("true", "[ $n -lt 100 ]"));
    job["Tasks"][0]["Timeouts"] = json!({"QueueTimeout": 600});
    setup.submit(&job);
    setup.is_in_state("revived", 6);
    let mut follower = setup.cluster.spawn(&["job", "logs", "revived", "--follow"]);
    let words = collected(follower.stderr.take().unwrap());
    let said = || words.lock().unwrap().clone();
    setup.more_lines("revived", 5);
    setup.cluster.nodes[0].kill();
    eventually("it is given up", || (setup.cluster.state("revived") == "Queued").then_some(()));
    eventually("the follower knows", || said().contains("failed: ").then_some(()));
    setup.cluster.nodes[0].start();
    assert_eq!(setup.cluster.wait_final("revived"), "Completed");
    assert_eq!(setup.executions("revived").len(), 1);
    let output = ended(follower);
    let lines = lines(&output);
    are_numbers(&lines);
    assert_eq!((lines.len(), output.status.success()), (100, true), "{}", said());
}

#[test]
fn a_follower_ends_when_the_job_is_stopped_while_its_node_is_away() {
    let Some(mut setup) = alone("deserted", &[]) else { return };
    setup.submit(&job("deserted", "service", NUMBERS));
    let follower = setup.cluster.spawn(&["job", "logs", "deserted", "--follow"]);
    setup.more_lines("deserted", 5);
    setup.cluster.nodes[0].kill();
    eventually("the loss is seen", || (setup.cluster.connected() == 0).then_some(()));
    setup.cluster.ok(&["job", "stop", "deserted"]);
    let output = ended(follower);
    are_numbers(&lines(&output));
    let words = words(&output);
    // What it printed last may not have come: that is no success.
    assert!(words.contains("node docker-deserted is not connected since"), "{words}");
    assert!(words.contains("not all output of the job can be shown") && !output.status.success(), "{words}");
    setup.cluster.nodes[0].start();
    setup.nothing_is_left();
}

#[test]
fn a_follower_sees_the_end_of_a_container_whose_daemon_died() {
    let Some(setup) = alone("orphan", &[]) else { return };
    setup.submit(&job("orphan", "batch", NUMBERS));
    setup.is_in_state("orphan", 6);
    let follower = setup.cluster.spawn(&["job", "logs", "orphan", "--follow"]);
    setup.more_lines("orphan", 5);
    setup.daemon.kill();
    let output = ended(follower);
    are_numbers(&lines(&output));
    assert!(lines(&output).len() > 5);
    let words = words(&output);
    assert!(words.contains("the Docker daemon went away while the container ran"), "{words}");
    runtime().block_on(setup.daemon.start_again());
    setup.nothing_is_left();
}
