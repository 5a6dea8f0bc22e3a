//! Rules that concern several keys, checked before a node starts.

use crate::load::Config;
use bacalhau_model::Error;
use bacalhau_model::error::code;
use std::net::IpAddr;

/// All problems that keep a node from starting.
pub fn validate(config: &Config) -> Result<(), Error> {
    let mut problems = Vec::new();
    for path in ["API.Port", "Orchestrator.Port", "Orchestrator.Cluster.Port", "Publishers.Types.Local.Port"]
    {
        problems.extend(port(config.int(path)).map(|why| format!("{path}: {why}")));
    }
    let (cert, key) = (config.text("API.TLS.CertFile"), config.text("API.TLS.KeyFile"));
    problems.extend(pair(cert, key).map(|why| format!("API.TLS: {why}")));
    let (cert, key) = (config.text("Orchestrator.TLS.ServerCert"), config.text("Orchestrator.TLS.ServerKey"));
    problems.extend(pair(cert, key).map(|why| format!("Orchestrator.TLS: {why}")));
    let (from, to) =
        (config.int("Compute.Network.PortRangeStart"), config.int("Compute.Network.PortRangeEnd"));
    if from > to || from < 1 || to > 65_535 {
        problems.push(format!("Compute.Network: port range {from} to {to} is empty or out of 1 to 65535"));
    }
    for path in [
        "Orchestrator.NodeManager.DisconnectTimeout",
        "Compute.Heartbeat.Interval",
        "Compute.Heartbeat.InfoUpdateInterval",
    ] {
        if config.duration(path).is_zero() {
            problems.push(format!("{path}: must be longer than 0s"));
        }
    }
    problems.extend(not_supported(config));
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new(code::CONFIGURATION_ERROR, format!("invalid config: {}", problems.join("; "))))
}

fn port(number: i64) -> Option<String> {
    match number {
        ..0 => Some(format!("invalid negative port number: {number}")),
        0..=65_535 => None,
        _ => Some(format!("port number {number} exceeds maximum allowed value (65535)")),
    }
}

fn pair(cert: &str, key: &str) -> Option<&'static str> {
    match (cert.is_empty(), key.is_empty()) {
        (false, true) => Some("TLS cert specified without corresponding private key"),
        (true, false) => Some("TLS private key specified without corresponding cert"),
        _ => None,
    }
}

/// Settings that promise protection must never be ignored: a node that cannot keep the promise does not start.
fn not_supported(config: &Config) -> Vec<String> {
    let text = [
        "API.TLS.CertFile",
        "API.TLS.AutoCert",
        "API.Auth.AccessPolicyPath",
        "API.Auth.Oauth2.ProviderID",
        "Orchestrator.TLS.ServerCert",
        "Orchestrator.Cluster.Name",
    ];
    let flags = ["API.TLS.SelfSigned", "WebUI.Enabled", "Orchestrator.SupportReverseProxy"];
    let mut asked: Vec<&str> = text.into_iter().filter(|path| !config.text(path).is_empty()).collect();
    asked.extend(flags.into_iter().filter(|path| config.bool(path)));
    if !config.json("API.Auth.Users").is_null() {
        asked.push("API.Auth.Users");
    }
    if !config.list("Orchestrator.Cluster.Peers").is_empty() {
        asked.push("Orchestrator.Cluster.Peers");
    }
    let say =
        |path: &str| format!("{path}: not supported by this version of bacalhau; remove it to start without");
    asked.into_iter().map(say).collect()
}

/// An address that a server can listen on: an IP address, or a word for the kind of interface.
pub fn listen_address(host: &str, own: &[IpAddr]) -> Result<IpAddr, Error> {
    crate::address::resolve(host, own).map_err(|why| Error::new(code::CONFIGURATION_ERROR, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;
    use crate::load::Sources;

    fn problems(items: &[&str]) -> String {
        let items = items.iter().map(|i| Item::parse(i).unwrap()).collect();
        let sources = Sources { items, home: Some("/nowhere".into()), ..Sources::default() };
        validate(&Config::load(&sources).unwrap()).map_or_else(|e| e.message, |()| String::new())
    }

    #[test]
    fn rules() {
        assert_eq!(problems(&[]), "");
        for (items, says) in [
            (&["API.Port=-1"][..], "API.Port: invalid negative port number: -1"),
            (&["Orchestrator.Port=70000"][..], "port number 70000 exceeds maximum allowed value (65535)"),
            (&["API.TLS.CertFile=x"][..], "TLS cert specified without corresponding private key"),
            (&["Compute.Network.PortRangeStart=40000"][..], "port range 40000 to 32000"),
            (&["Compute.Heartbeat.Interval=0"][..], "must be longer than 0s"),
            (&["API.Auth.AccessPolicyPath=x"][..], "API.Auth.AccessPolicyPath: not supported"),
        ] {
            assert!(problems(items).contains(says), "{}", problems(items));
        }
    }
}
