//! Nodes that join over TLS, with the certificates that `bacalhau tls create` makes.

use crate::cluster::{Cluster, NOTHING, eventually, wat_job};

/// An orchestrator with certificates of its own; gives the path of the authority that nodes need.
fn encrypted(token: &str) -> (Cluster, String) {
    let mut cluster = Cluster::new(token, &[]);
    let folder = cluster.orchestrator.dir.display().to_string();
    let said = cluster.ok(&["tls", "create", "--host", "orchestrator.example", "--data-dir", &folder]);
    assert!(said.contains("Made a certificate authority") && said.contains("orchestrator.example"), "{said}");
    cluster.orchestrator.terminate();
    cluster.orchestrator.start();
    cluster.wait_alive();
    (cluster, format!("{folder}/tls/ca.pem"))
}

#[test]
fn nodes_join_over_tls_whoever_speaks_first() {
    let (mut cluster, ca) = encrypted("the-token");
    let address = cluster.nats();
    let authority = format!("Compute.TLS.CACert={ca}");
    let token = "Compute.Auth.Token=the-token";
    cluster.add_node(&address, &["-c", &authority, "-c", token, "-c", "Compute.TLS.RequireTLS=true"]);
    cluster.add_node(&address, &["-c", &authority, "-c", token]);
    cluster.add_node(&format!("tls://the-token@{address}"), &["-c", &authority]);
    cluster.wait_connected(3);
    let job = cluster.file("job.yaml", &wat_job("secure", NOTHING, ""));
    cluster.ok(&["job", "run", &job]);
    assert_eq!(cluster.state("secure"), "Completed");

    // A new certificate from the same authority is taken without an interruption.
    let folder = cluster.orchestrator.dir.display().to_string();
    let said = cluster.ok(&["tls", "create", "--data-dir", &folder]);
    assert!(said.contains("Used the certificate authority"), "{said}");
    cluster.orchestrator.signal("HUP");
    eventually("it is taken", || cluster.orchestrator.log().contains("were read again").then_some(()));
    assert_eq!(cluster.connected(), 3);
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    eventually("the node is back", || (cluster.nodes[0].log().matches("joined").count() > 1).then_some(()));
    cluster.wait_connected(3);
}

#[test]
fn who_does_not_trust_the_authority_does_not_talk() {
    let (mut cluster, _) = encrypted("");
    let address = cluster.nats();
    // Trusts the system's authorities only.
    let node = cluster.add_node(&format!("tls://{address}"), &[]);
    eventually("the node says why", || {
        cluster.nodes[node].log().to_lowercase().contains("certificate").then_some(())
    });
    assert_eq!(cluster.connected(), 0);
}

#[test]
fn certificates_that_cannot_be_used_are_said_at_the_start() {
    let mut cluster = Cluster::new("", &[]);
    let folder = cluster.orchestrator.dir.display().to_string();
    cluster.ok(&["tls", "create", "--data-dir", &folder]);
    std::fs::write(format!("{folder}/tls/server.key"), "no key").unwrap();
    cluster.orchestrator.terminate();
    cluster.orchestrator.start();
    eventually("it says what is wrong", || {
        let log = cluster.orchestrator.log();
        (log.contains("Orchestrator.TLS: ") && log.contains("server.key")).then_some(())
    });
}
