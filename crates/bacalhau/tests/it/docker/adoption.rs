//! A node that goes and comes back: containers run on, and it goes on with them.

use super::daemon::Daemon;
use super::{NUMBERS, Setup, alone, alone_with, are_numbers, job, runtime, with};
use crate::cluster::eventually;
use serde_json::json;
use std::ops::Deref;

impl<D: Deref<Target = Daemon>> Setup<D> {
    /// IDs of the containers of the daemon, and whether each runs.
    fn containers(&self) -> Vec<(String, bool)> {
        let options = bollard::query_parameters::ListContainersOptionsBuilder::new().all(true).build();
        let all = runtime().block_on(self.daemon.docker.list_containers(Some(options))).unwrap();
        let state = |c: bollard::models::ContainerSummary| {
            Some((c.id?, c.state.is_some_and(|state| state.to_string() == "running")))
        };
        all.into_iter().filter_map(state).collect()
    }

    /// Ends the node, as its operator does or as a crash does, and starts it again.
    fn restart_node(&mut self, graceful: bool) {
        let node = &mut self.cluster.nodes[0];
        if graceful {
            assert!(node.terminate());
        } else {
            node.kill();
        }
        node.start();
    }
}

#[test]
fn a_service_goes_on_through_every_end_of_its_node() {
    let Some(mut setup) = alone("service", &[]) else { return };
    setup.submit(&job("service", "service", NUMBERS));
    let mut count = setup.more_lines("service", 5).len();
    let container = setup.containers();
    assert!(container.len() == 1 && container[0].1, "{container:?}");
    let execution = setup.executions("service")[0]["ID"].clone();
    for graceful in [false, true, false] {
        setup.restart_node(graceful);
        let lines = setup.more_lines("service", count + 5);
        are_numbers(&lines);
        count = lines.len();
        assert_eq!(setup.containers(), container);
        let all = setup.executions("service");
        assert_eq!((all.len(), &all[0]["ID"]), (1, &execution), "{all:?}");
        setup.is_in_state("service", 6);
    }
    setup.cluster.ok(&["job", "stop", "service"]);
    setup.nothing_is_left();
    assert_eq!(setup.containers(), []);
    are_numbers(&setup.lines("service"));
}

#[test]
fn a_batch_job_completes_after_its_node_was_killed() {
    let Some(mut setup) = alone("batch", &[]) else { return };
    let script = "i=0; while [ $i -lt 60 ]; do echo line $i; echo err $i >&2; i=$((i+1)); sleep 0.1; done; \
                  echo kept > /outputs/file; exit 4";
    let job = with(job("batch", "batch", script), "Publisher", json!({"Type": "local"}));
    setup.submit(&with(job, "ResultPaths", json!([{"Name": "outputs", "Path": "/outputs"}])));
    setup.more_lines("batch", 5);
    setup.cluster.nodes[0].kill();
    setup.cluster.nodes[0].start();
    assert_eq!(setup.cluster.wait_final("batch"), "Completed");
    assert_eq!(setup.output("batch")["ExitCode"], 4);
    let recorded = setup.output("batch")["Stdout"].as_str().unwrap().to_owned();
    assert!(recorded.starts_with("line 0\nline 1\n") && recorded.ends_with("line 59\n"), "{recorded}");
    let logs = setup.cluster.cli(&["job", "logs", "batch"]);
    let numbered = |word: &str| (0..60).map(|n| format!("{word} {n}\n")).collect::<String>();
    assert_eq!(String::from_utf8_lossy(&logs.stdout), numbered("line"));
    assert_eq!(String::from_utf8_lossy(&logs.stderr), numbered("err"));
    let target = setup.cluster.root.path().join("got");
    std::fs::create_dir(&target).unwrap();
    setup.cluster.ok(&["job", "get", "batch", "--output-dir", target.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(target.join("outputs/file")).unwrap(), "kept\n");
    assert_eq!(std::fs::read_to_string(target.join("stdout")).unwrap(), numbered("line"));
    setup.nothing_is_left();
}

#[test]
fn whoever_follows_the_output_sees_all_of_it_through_every_end_of_its_node() {
    let Some(mut setup) = alone("followed", &[]) else { return };
    let script = "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.1; done";
    setup.submit(&job("followed", "batch", script));
    let follower = setup.cluster.spawn(&["job", "logs", "--follow", "followed"]);
    let mut seen = 0;
    for graceful in [true, false] {
        seen = setup.more_lines("followed", seen + 5).len();
        setup.restart_node(graceful);
    }
    let output = crate::logs::ended(follower);
    assert!(output.status.success(), "{output:?}");
    let all: String = (0..60).map(|n| format!("line {n}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&output.stdout), all, "{output:?}");
    assert_eq!(setup.cluster.wait_final("followed"), "Completed");
    setup.nothing_is_left();
}

#[test]
fn one_that_ends_while_its_node_is_away_tells_its_end() {
    let Some(mut setup) = alone("ends", &[]) else { return };
    setup.submit(&job(
        "ends",
        "batch",
        "for i in 0 1 2 3 4 5 6 7 8 9; do echo line $i; sleep 0.2; done; exit 5",
    ));
    setup.more_lines("ends", 0);
    setup.cluster.nodes[0].kill();
    eventually("it has ended", || setup.containers().iter().all(|(_, runs)| !runs).then_some(()));
    setup.cluster.nodes[0].start();
    assert_eq!(setup.cluster.wait_final("ends"), "Completed");
    assert_eq!(setup.output("ends")["ExitCode"], 5);
    let lines = setup.lines("ends");
    are_numbers(&lines);
    assert_eq!(lines.len(), 10);
    setup.nothing_is_left();
}

#[test]
fn one_that_is_stopped_while_its_node_is_away_goes_when_it_is_back() {
    let Some(mut setup) = alone("stopped", &[]) else { return };
    setup.submit(&job("stopped", "service", NUMBERS));
    setup.more_lines("stopped", 0);
    setup.cluster.nodes[0].kill();
    setup.cluster.ok(&["job", "stop", "stopped"]);
    assert_eq!(setup.containers().len(), 1);
    setup.cluster.nodes[0].start();
    setup.nothing_is_left();
    assert_eq!(setup.containers(), []);
    assert_eq!(setup.cluster.state("stopped"), "Stopped");
}

#[test]
fn a_node_waits_for_the_daemon_that_has_its_containers() {
    waits_for_its_daemon("together", "docker");
}

/// Meanwhile, engine oci would take what comes.
#[test]
fn a_node_that_can_do_without_docker_waits_too() {
    waits_for_its_daemon("either", "auto");
}

/// Node and daemon are started at the same time, the daemon is slower.
fn waits_for_its_daemon(name: &str, backend: &str) {
    let backend = format!("Engines.Types.Docker.Backend={backend}");
    let Some(mut setup) = alone_with(name, &["--live-restore"], &[&backend]) else { return };
    setup.submit(&job("service", "service", NUMBERS));
    setup.submit(&job("batch", "batch", &NUMBERS.replace("true", "[ $n -lt 100 ]")));
    for name in ["service", "batch"] {
        setup.more_lines(name, 2);
    }
    let count = setup.lines("service").len();
    let mut containers = setup.containers();
    setup.cluster.nodes[0].kill();
    setup.daemon.kill();
    setup.cluster.nodes[0].start();
    eventually("it waits", || {
        (setup.cluster.nodes[0].log().matches("waiting for Docker").count() == 2).then_some(())
    });
    setup.cluster.wait_connected(1);
    for name in ["service", "batch"] {
        setup.is_in_state(name, 6);
    }
    runtime().block_on(setup.daemon.start_again());
    are_numbers(&setup.more_lines("service", count + 30));
    assert_eq!(setup.cluster.wait_final("batch"), "Completed");
    let lines = setup.lines("batch");
    are_numbers(&lines);
    assert_eq!(
        (lines.len(), setup.executions("batch").len(), setup.executions("service").len()),
        (100, 1, 1)
    );
    containers.retain(|container| setup.containers().contains(container));
    assert_eq!(containers.len(), 1);
    setup.cluster.ok(&["job", "stop", "service"]);
    setup.nothing_is_left();
}

/// What is cancelled while the daemon is away is over for the node at once, and removed when the daemon is back.
#[test]
fn what_is_stopped_while_its_daemon_is_away_is_removed_when_it_is_back() {
    let Some(mut setup) = alone("unseen", &["--live-restore"]) else { return };
    setup.submit(&job("unseen", "service", NUMBERS));
    setup.more_lines("unseen", 0);
    setup.cluster.nodes[0].kill();
    setup.daemon.kill();
    setup.cluster.nodes[0].start();
    eventually("it waits", || setup.cluster.nodes[0].log().contains("waiting for Docker").then_some(()));
    setup.cluster.wait_connected(1);
    setup.cluster.ok(&["job", "stop", "unseen"]);
    setup.is_idle();
    runtime().block_on(setup.daemon.start_again());
    setup.nothing_is_left();
    assert_eq!(setup.containers(), []);
}

/// The machine is restarted: node and daemon end, and the daemon ends its containers.
#[test]
fn what_ended_with_the_machine_is_done_again() {
    for graceful in [true, false] {
        let Some(mut setup) = alone("machine", &[]) else { return };
        let script = "trap 'exit 143' TERM; echo begun; while true; do sleep 0.1; done";
        // The node offers docker only some seconds after the daemon is there.
        setup.submit(&with(job("batch", "batch", script), "Timeouts", json!({"QueueTimeout": 600})));
        setup.submit(&job("service", "service", script));
        for name in ["batch", "service"] {
            setup.is_in_state(name, 6);
        }
        let before = setup.containers();
        if graceful {
            setup.cluster.nodes[0].terminate();
            setup.daemon.stop();
        } else {
            setup.cluster.nodes[0].kill();
            setup.daemon.kill();
        }
        setup.cluster.nodes[0].start();
        runtime().block_on(setup.daemon.start_again());
        // The first try of the batch job has failed with its node, the service goes on in the same execution.
        eventually("both run again", || {
            let running = setup.containers().into_iter().filter(|(_, runs)| *runs);
            (running.filter(|(id, _)| before.iter().all(|(old, _)| old != id)).count() == 2).then_some(())
        });
        assert_eq!(setup.executions("service").len(), 1);
        let batch = setup.executions("batch");
        let failed = batch.iter().filter(|execution| execution["ComputeState"]["StateType"] == 10);
        assert_eq!((batch.len(), failed.count()), (2, 1), "{batch:?}");
        assert!(setup.history("batch").contains("Failing due to node restart"));
        for name in ["batch", "service"] {
            setup.cluster.ok(&["job", "stop", name]);
        }
        setup.nothing_is_left();
        assert_eq!(setup.containers(), []);
    }
}
