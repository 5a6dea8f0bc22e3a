//! Daemons that stop, die and come back under a node that goes on.

use super::{NUMBERS, alone, are_numbers, job, runtime};
use crate::cluster::eventually;
use serde_json::json;

#[test]
fn without_its_daemon_a_node_does_not_offer_docker_and_with_it_again_it_does() {
    let Some(setup) = alone("away", &[]) else { return };
    assert!(setup.engines().contains("docker"), "{}", setup.engines());
    setup.daemon.kill();
    eventually("docker is not offered", || (!setup.engines().contains("docker")).then_some(()));
    setup.submit(&job("refused", "batch", "echo refused"));
    assert_eq!(setup.cluster.wait_final("refused"), "Failed");
    let told = setup.cluster.ok(&["job", "describe", "refused"]);
    assert!(
        told.contains("not enough nodes to run job") && told.contains("does not support docker"),
        "{told}"
    );
    let mut waiting = job("waiting", "batch", "echo it runs");
    waiting["Tasks"][0]["Timeouts"] = json!({"QueueTimeout": 600});
    setup.submit(&waiting);
    eventually("it waits", || (setup.cluster.state("waiting") == "Queued").then_some(()));
    runtime().block_on(setup.daemon.start_again());
    assert_eq!(setup.cluster.wait_final("waiting"), "Completed");
    assert_eq!(setup.output("waiting")["Stdout"], "it runs\n");
    assert!(setup.engines().contains("docker"));
    setup.nothing_is_left();
}

#[test]
fn a_daemon_that_dies_fails_its_executions_in_words_and_leaves_nothing() {
    let Some(setup) = alone("dies", &[]) else { return };
    setup.submit(&job("dies", "batch", "echo begun; sleep 600"));
    setup.more_lines("dies", 0);
    // Before that, its start is not complete.
    setup.is_in_state("dies", 6);
    setup.daemon.kill();
    assert_eq!(setup.cluster.wait_final("dies"), "Failed");
    let words = "the Docker daemon went away while the container ran";
    let (history, described) = (setup.history("dies"), setup.cluster.ok(&["job", "describe", "dies"]));
    assert!(history.contains(words) && described.contains(words), "{history}\n{described}");
    assert_eq!(setup.cluster.ok(&["job", "logs", "dies", "--all-attempts", "--no-prefix"]), "begun\n");
    runtime().block_on(setup.daemon.start_again());
    setup.nothing_is_left();
    eventually("docker is offered", || setup.engines().contains("docker").then_some(()));
    setup.submit(&job("next", "batch", "echo next"));
    assert_eq!(setup.cluster.wait_final("next"), "Completed");
    setup.nothing_is_left();
}

#[test]
fn the_death_of_a_daemon_costs_a_job_one_try() {
    let Some(setup) = alone("one-try", &[]) else { return };
    let script = "echo begun; [ $BACALHAU_ATTEMPT != 1 ] || sleep 600";
    let mut job = job("one-try", "batch", script);
    job["Tasks"][0]["Timeouts"] = json!({"QueueTimeout": 600});
    setup.submit(&job);
    setup.more_lines("one-try", 0);
    setup.is_in_state("one-try", 6);
    setup.daemon.kill();
    // The node has told that it is without Docker before it told of the failure.
    eventually("it waits", || (setup.cluster.state("one-try") == "Queued").then_some(()));
    assert_eq!(setup.executions("one-try").len(), 1);
    runtime().block_on(setup.daemon.start_again());
    assert_eq!(setup.cluster.wait_final("one-try"), "Completed");
    assert_eq!(setup.executions("one-try").len(), 2);
    setup.nothing_is_left();
}

#[test]
fn with_live_restore_a_container_and_its_log_go_on() {
    let Some(setup) = alone("restored", &["--live-restore"]) else { return };
    setup.submit(&job("restored", "batch", &NUMBERS.replace("true", "[ $n -lt 100 ]")));
    setup.more_lines("restored", 5);
    setup.is_in_state("restored", 6);
    setup.daemon.kill();
    runtime().block_on(setup.daemon.start_again());
    assert_eq!(setup.cluster.wait_final("restored"), "Completed");
    let lines = setup.lines("restored");
    are_numbers(&lines);
    assert_eq!((lines.len(), setup.executions("restored").len()), (100, 1));
    setup.nothing_is_left();
}

#[test]
fn a_service_runs_again_when_its_daemon_is_back() {
    let Some(setup) = alone("again", &[]) else { return };
    setup.submit(&job("again", "service", NUMBERS));
    setup.more_lines("again", 2);
    setup.is_in_state("again", 6);
    setup.daemon.kill();
    eventually("docker is not offered", || (!setup.engines().contains("docker")).then_some(()));
    runtime().block_on(setup.daemon.start_again());
    eventually("another execution runs", || {
        let all = setup.executions("again");
        let running = all.iter().filter(|execution| execution["ComputeState"]["StateType"] == 6).count();
        (all.len() > 1 && running == 1).then_some(())
    });
    are_numbers(&setup.more_lines("again", 2));
    setup.cluster.ok(&["job", "stop", "again"]);
    setup.nothing_is_left();
}

#[test]
fn containers_that_are_ended_with_their_daemon_do_not_count_as_done() {
    let Some(setup) = alone("ends", &[]) else { return };
    let listens = "trap 'exit 143' TERM; echo begun; while true; do sleep 0.1; done";
    setup.submit(&job("listens", "batch", listens));
    setup.submit(&job("ignores", "batch", "echo begun; sleep 600"));
    for name in ["listens", "ignores"] {
        setup.is_in_state(name, 6);
    }
    setup.daemon.stop();
    for name in ["listens", "ignores"] {
        assert_eq!(setup.cluster.wait_final(name), "Failed");
        let history = setup.history(name);
        assert!(history.contains("the Docker daemon went away"), "{history}");
    }
    runtime().block_on(setup.daemon.start_again());
    setup.nothing_is_left();
}
