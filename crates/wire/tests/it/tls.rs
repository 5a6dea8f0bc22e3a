//! TLS to a server with a certificate of a private authority, with and without the handshake first.

use crate::connect::Log;
use crate::servers::{Kind, TestServer, free_port, kinds, within};
use bacalhau_wire::address::{Credentials, parse_addresses};
use bacalhau_wire::bus_client::TlsOptions;
use bacalhau_wire::connect::{ConnectOptions, Connector};
use std::path::Path;
use std::process::Command;

/// Makes an authority and a server certificate for 127.0.0.1. `false` when there is no openssl.
fn certificates(folder: &Path) -> bool {
    std::fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    [
        format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"),
        format!("req {key} -keyout server.key -out server.csr -subj /CN=server"),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile san"
            .to_owned(),
    ]
    .iter()
    .all(|arguments| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
        output.is_ok_and(|output| output.status.success())
    })
}

fn connector(addr: &str, token: &str, tls: TlsOptions) -> Connector {
    let addresses = parse_addresses(&[addr], &Credentials::token(token)).unwrap();
    Connector::new(ConnectOptions { node_id: "n-1".into(), reread: None, addresses, tls, seed: 7 })
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    if !kinds().contains(&Kind::Original) || !certificates(folder.path()) {
        eprintln!("SKIPPED: TLS needs the original NATS server and openssl");
        return;
    }
    for handshake_first in [false, true] {
        let (port, file) = (free_port(), folder.path().join("server.conf"));
        let (cert, key) = (folder.path().join("server.pem"), folder.path().join("server.key"));
        let config = format!(
            "host: 127.0.0.1, port: {port}\nauthorization {{ token: t }}\n\
             tls {{ cert_file: {cert:?}, key_file: {key:?}, handshake_first: {handshake_first} }}\n"
        );
        std::fs::write(&file, config).unwrap();
        let server = TestServer::configured(port, &file);
        let ca_cert = Some(folder.path().join("ca.pem"));
        let address = format!("nats://{}", server.addr);
        let trusting = TlsOptions { ca_cert: ca_cert.clone(), handshake_first };
        let connected = within(connector(&address, "t", trusting.clone()).connect()).await;
        assert_eq!(connected.bus.max_payload(), 1 << 20);
        let mut refused = connector(&address, "wrong", trusting);
        let mut status = refused.status();
        let trying = tokio::spawn(async move { refused.connect().await });
        within(status.wait_for(|s| s.last_error.contains("refused this node's token"))).await.unwrap();
        trying.abort();

        let mut distrusting = connector(&address, "t", TlsOptions { ca_cert: None, handshake_first });
        let mut status = distrusting.status();
        let trying = tokio::spawn(async move { distrusting.connect().await });
        within(status.wait_for(|s| s.failed_rounds > 0)).await.unwrap();
        let error = status.borrow().last_error.clone();
        assert!(error.contains("comes from an authority that this node does not trust"), "{error}");
        trying.abort();
    }
}

#[tokio::test]
async fn who_begins_with_the_handshake_is_told_that_there_is_no_encryption() {
    for kind in kinds() {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let server = TestServer::start(kind, "t");
        let tls = TlsOptions { ca_cert: None, handshake_first: true };
        let mut connector = connector(&server.addr.to_string(), "t", tls);
        let mut status = connector.status();
        let trying = tokio::spawn(async move { connector.connect().await });
        within(status.wait_for(|s| s.failed_rounds > 0)).await.unwrap();
        let error = status.borrow().last_error.clone();
        assert!(error.contains("it answers without TLS"), "{error}");
        let warnings = log.warnings();
        assert!(warnings[0].contains("unset Compute.TLS.RequireTLS"), "{warnings:?}");
        trying.abort();
    }
}
