//! From configuration to the way between a node and its orchestrator: addresses, credentials, encryption, on both sides.

use super::options;
use crate::failure::fail;
use bacalhau_config::Config;
use bacalhau_model::Error;
use bacalhau_nats_server::{Advertise, HandshakeFirst};
use bacalhau_wire::address::{Address, Credentials, parse_addresses};
use bacalhau_wire::bus_client::TlsOptions;
use bacalhau_wire::connect::{ConnectOptions, Reread};
use bacalhau_wire::credentials::NodeCredentials;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

/// How long the server waits whether a client begins with the TLS handshake, as the NATS server's `auto` does.
const HANDSHAKE_WAIT: Duration = Duration::from_millis(50);

/// The node's own credentials, if it has any.
pub(super) fn credentials(config: &Config) -> Result<Option<NodeCredentials>, Error> {
    let path = config.text("Compute.Auth.Credentials");
    if path.is_empty() {
        return Ok(None);
    }
    let unusable = |why: String| {
        fail(format!("Compute.Auth.Credentials: {path:?} cannot be used: {why}"))
            .hint("`bacalhau node credentials create <name>` makes such a file")
    };
    let text = std::fs::read_to_string(path).map_err(|e| unusable(e.to_string()))?;
    NodeCredentials::parse(&text).map(Some).map_err(unusable)
}

/// Addresses of the orchestrators and their tokens.
pub(super) fn orchestrators(config: &Config) -> Result<Vec<Address>, Error> {
    let entries = config.list("Compute.Orchestrators");
    let usual = match credentials(config)? {
        Some(own) => Credentials::Node(own),
        None => Credentials::token(config.text("Compute.Auth.Token")),
    };
    parse_addresses(entries, &usual).map_err(|why| {
        fail(format!("Compute.Orchestrators: {why}")).hint("Write host, host:port or token@host:port")
    })
}

/// Encryption of the embedded NATS server, if it is configured. A client may begin with the handshake, as nodes with
/// `Compute.TLS.RequireTLS` do, or wait for the server's first words.
pub(super) fn nats_tls(config: &Config) -> Option<bacalhau_nats_server::TlsOptions> {
    let file = |key: &str| config.text(key).to_owned();
    let (cert, key) = (file("Orchestrator.TLS.ServerCert"), file("Orchestrator.TLS.ServerKey"));
    if cert.is_empty() {
        return None;
    }
    let mut tls = bacalhau_nats_server::TlsOptions::new(cert, key);
    tls.handshake_first = HandshakeFirst::Auto(HANDSHAKE_WAIT);
    if let Ok(seconds @ 1..) = u64::try_from(config.int("Orchestrator.TLS.ServerTimeout")) {
        tls.timeout = Duration::from_secs(seconds);
    }
    Some(tls)
}

/// What `Orchestrator.Advertise` announces to nodes, as `host:port`.
///
/// # Errors
/// No host, or a port that is none.
pub(super) fn announced(config: &Config) -> Result<Option<String>, Error> {
    let text = config.text("Orchestrator.Advertise").trim();
    if text.is_empty() {
        return Ok(None);
    }
    let found = Advertise::parse(text);
    // A colon that is left over belonged to a port that is none, unless the host is an IPv6 address.
    let is_name = !found.host.is_empty() && !found.host.contains(['/', ' ', ':', '@']);
    if !is_name && found.host.parse::<Ipv6Addr>().is_err() {
        return Err(fail(format!("Orchestrator.Advertise: {text:?} is no address"))
            .hint("write host or host:port, an IPv6 address with a port in brackets: [2001:db8::1]:4222"));
    }
    let port = found.port.unwrap_or_else(|| options::port(config, "Orchestrator.Port"));
    Ok(Some(Advertise { port: Some(port), ..found }.to_string()))
}

/// How a compute node connects.
///
/// # Errors
/// An authority's file that cannot be used.
pub(super) fn connect(
    config: &Config,
    name: &str,
    addresses: Vec<Address>,
    reread: Option<Reread>,
) -> Result<ConnectOptions, Error> {
    let tls =
        TlsOptions { ca_cert: ca_cert(config)?, handshake_first: config.bool("Compute.TLS.RequireTLS") };
    Ok(ConnectOptions { node_id: name.to_owned(), addresses, reread, tls, seed: options::seed() })
}

/// The file of the authority that the orchestrator's certificate must come from, if one is configured.
fn ca_cert(config: &Config) -> Result<Option<PathBuf>, Error> {
    let path = config.text("Compute.TLS.CACert");
    if path.is_empty() {
        return Ok(None);
    }
    let unusable = |why: String| {
        fail(format!("Compute.TLS.CACert: {path:?} cannot be used: {why}"))
            .hint("copy ca.pem from the orchestrator, where `bacalhau tls create` made it")
    };
    let read = CertificateDer::pem_file_iter(path).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    match read {
        Ok(found) if found.is_empty() => Err(unusable("it holds no certificate in PEM form".to_owned())),
        Ok(_) => Ok(Some(PathBuf::from(path))),
        Err(e) => Err(unusable(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_config::{Item, Sources};

    fn config(items: &[String]) -> Config {
        let items = items.iter().map(|item| Item::parse(item).unwrap()).collect();
        Config::load(&Sources { items, home: Some("/nowhere".into()), ..Sources::default() }).unwrap()
    }

    #[test]
    fn what_is_announced() {
        for (text, expected) in [
            ("", None),
            ("me", Some("me:4000")),
            ("me.example:4333", Some("me.example:4333")),
            ("192.0.2.1", Some("192.0.2.1:4000")),
            ("2001:db8::1", Some("[2001:db8::1]:4000")),
            ("[2001:db8::1]:4333", Some("[2001:db8::1]:4333")),
        ] {
            let config = config(&["Orchestrator.Port=4000".into(), format!("Orchestrator.Advertise={text}")]);
            assert_eq!(announced(&config).unwrap().as_deref(), expected, "{text}");
        }
        for text in ["me:99999", "me:x", "nats://me:4222", "a b", ":4222", "token@me"] {
            let error = announced(&config(&[format!("Orchestrator.Advertise={text}")])).unwrap_err();
            assert!(error.message.contains("Orchestrator.Advertise"), "{text}: {error}");
        }
    }

    #[test]
    fn an_authority_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("empty.pem"), "no certificate").unwrap();
        for name in ["missing.pem", "empty.pem"] {
            let error = ca_cert(&config(&[format!("Compute.TLS.CACert={}", at(name))])).unwrap_err();
            assert!(error.message.contains("Compute.TLS.CACert") && error.message.contains(name), "{error}");
        }
        assert_eq!(ca_cert(&config(&[])).unwrap(), None);
    }
}
