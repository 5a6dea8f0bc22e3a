//! Nodes that join over TLS, with the certificates that `bacalhau tls create` makes.

use crate::cluster::{Cluster, NOTHING, eventually, wat_job};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

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
        cluster.nodes[node].log().contains("set Compute.TLS.CACert to a copy").then_some(())
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

/// Ends TLS for `port`, with the certificate in `folder`; gives its own port.
async fn proxy(folder: &Path, port: u16) -> u16 {
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    own
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_may_end_tls_for_the_orchestrator() {
    let settings = &["Orchestrator.SupportReverseProxy=true"];
    let mut cluster = tokio::task::block_in_place(|| Cluster::new("the-token", settings));
    let folder = cluster.root.path().join("proxy");
    tokio::task::block_in_place(|| {
        cluster.ok(&["tls", "create", "--data-dir", &folder.display().to_string()]);
        // Nodes of Bacalhau 1.9 that insist on TLS leave a server that does not offer it.
        let mut info = String::new();
        BufReader::new(TcpStream::connect(cluster.nats()).unwrap()).read_line(&mut info).unwrap();
        assert!(info.contains("\"tls_available\":true") && !info.contains("tls_required"), "{info}");
    });
    let port = proxy(&folder.join("tls"), cluster.nats_port).await;
    let ca = format!("Compute.TLS.CACert={}", folder.join("tls/ca.pem").display());
    tokio::task::block_in_place(|| {
        let node = ["-c", &ca, "-c", "Compute.Auth.Token=the-token", "-c", "Compute.TLS.RequireTLS=true"];
        cluster.add_node(&format!("127.0.0.1:{port}"), &node);
        cluster.wait_connected(1);
    });
}

#[test]
fn a_node_says_what_is_wrong_with_its_encryption() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    let node = cluster.add_node(&address, &["-c", "Compute.TLS.RequireTLS=true"]);
    eventually("it says that there is no encryption", || {
        let log = cluster.nodes[node].log();
        (log.contains("it answers without TLS") && log.contains("unset Compute.TLS.RequireTLS")).then_some(())
    });
    let node = cluster.add_node(&address, &["-c", "Compute.TLS.CACert=/no/such/ca.pem"]);
    eventually("it names the file", || {
        let log = cluster.nodes[node].log();
        (log.contains("Compute.TLS.CACert: \"/no/such/ca.pem\" cannot be used")).then_some(())
    });
}
