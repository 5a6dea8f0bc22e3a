//! What breaks heals without hands: tokens, orchestrators that go away, restarts.

use crate::cluster::{Cluster, NOTHING, UP_FOREVER, eventually, wat_job};

#[test]
fn a_wrong_token_is_said_once_and_a_right_one_joins_by_itself() {
    let mut cluster = Cluster::new("the-right-token", &[]);
    let address = cluster.nats();
    let node = cluster.add_node(&address, &["-c", "Compute.Auth.Token=the-wrong-token"]);
    let hint = "Compute.Auth.Token";
    eventually("the node says that its token is refused", || {
        cluster.nodes[node].log().contains(hint).then_some(())
    });
    assert_eq!(cluster.connected(), 0);
    let log = cluster.nodes[node].log();
    assert!(!log.contains("the-wrong-token"), "the token is in the log:\n{log}");

    // The operator sets the orchestrator's token to what the node has: the node joins without being touched.
    cluster.orchestrator.kill();
    cluster
        .orchestrator
        .replace_arg("Orchestrator.Auth.Token=the-right-token", "Orchestrator.Auth.Token=the-wrong-token");
    cluster.orchestrator.start();
    cluster.wait_alive();
    cluster.wait_connected(1);
    assert_eq!(cluster.nodes[node].log().matches(hint).count(), 1, "said once, not at every try");
}

#[test]
fn a_token_corrected_in_the_node_s_file_is_taken_without_a_restart() {
    let mut cluster = Cluster::new("the-right-token", &[]);
    let address = cluster.nats();
    let folder = cluster.root.path().join("node-0").display().to_string();
    cluster.ok(&["config", "set", "Compute.Auth.Token=the-wrong-token", "--data-dir", &folder]);
    let node = cluster.add_node(&address, &[]);
    eventually("the token is refused", || cluster.nodes[node].log().contains("refused").then_some(()));
    cluster.ok(&["config", "set", "Compute.Auth.Token=the-right-token", "--data-dir", &folder]);
    cluster.wait_connected(1);
}

#[test]
fn restarts_of_either_side_heal() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    cluster.orchestrator.kill();
    cluster.orchestrator.start();
    cluster.wait_alive();
    cluster.wait_connected(1);
    cluster.nodes[0].kill();
    eventually("the loss of the connection is seen", || (cluster.connected() == 0).then_some(()));
    cluster.nodes[0].start();
    cluster.wait_connected(1);
    let job = cluster.file("job.yaml", &wat_job("after", NOTHING, ""));
    cluster.ok(&["job", "run", &job]);
    assert_eq!(cluster.state("after"), "Completed");
    assert!(cluster.nodes[0].terminate(), "a node ends well on SIGTERM");
    eventually("the good-bye is seen", || (cluster.connected() == 0).then_some(()));
    assert!(cluster.orchestrator.terminate(), "an orchestrator ends well on SIGTERM");
}

#[test]
fn a_service_goes_on_after_a_kill_of_its_node() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    let job = wat_job("service", UP_FOREVER, "").replace("Type: batch", "Type: service");
    let job = cluster.file("service.yaml", &job);
    cluster.ok(&["job", "run", &job, "--wait=false"]);
    let times_up = |cluster: &Cluster| {
        let output = cluster.cli(&["job", "logs", "service"]);
        String::from_utf8_lossy(&output.stdout).matches("up\n").count()
    };
    eventually("the service is up", || (times_up(&cluster) == 1).then_some(()));
    cluster.nodes[0].kill();
    eventually("the loss of the connection is seen", || (cluster.connected() == 0).then_some(()));
    cluster.nodes[0].start();
    cluster.wait_connected(1);
    // The log of an execution goes on where it was; another execution has another log.
    let executions =
        |cluster: &Cluster| cluster.json(&["job", "executions", "service"]).as_array().map_or(0, Vec::len);
    eventually("the service is up again", || {
        (times_up(&cluster) == 2 || executions(&cluster) > 1).then_some(())
    });
    assert_eq!(executions(&cluster), 1, "the same execution went on");
}

#[test]
fn an_orchestrator_that_slept_gives_no_work_away() {
    let mut cluster = Cluster::new("", &["Orchestrator.NodeManager.DisconnectTimeout=3s"]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    let job = wat_job("long", UP_FOREVER, "");
    let job = cluster.file("long.yaml", &job);
    cluster.ok(&["job", "run", &job, "--wait=false"]);
    eventually("it runs", || cluster.ok(&["job", "logs", "long"]).contains("up").then_some(()));
    // The fault itself: nothing can be waited for while the orchestrator does not run.
    cluster.orchestrator.signal("STOP");
    std::thread::sleep(std::time::Duration::from_secs(8));
    cluster.orchestrator.signal("CONT");
    cluster.wait_connected(1);
    let after = cluster.file("after.yaml", &wat_job("after", NOTHING, ""));
    cluster.ok(&["job", "run", &after]);
    let executions = cluster.json(&["job", "executions", "long"]);
    assert_eq!(executions.as_array().map_or(0, Vec::len), 1, "the work goes on where it is: {executions}");
    cluster.ok(&["job", "stop", "long"]);
}

#[test]
fn a_node_with_several_addresses_uses_the_next_one() {
    let mut cluster = Cluster::new("", &[]);
    let dead = crate::cluster::free_port();
    let addresses = format!("127.0.0.1:{dead},{}", cluster.nats());
    cluster.add_node(&addresses, &[]);
    cluster.wait_connected(1);
}
