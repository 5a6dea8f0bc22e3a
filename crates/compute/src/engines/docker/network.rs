//! Networks of containers: Docker's words for each kind, and the private network of kind HTTP with its proxy.

use super::daemon::Connected;
use super::errors;
use super::names::Names;
use crate::engines::Port;
use bacalhau_model::{Error, Execution, NetworkConfig, NetworkType};
use bollard::models::{NetworkCreateRequest, PortBinding};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;

/// The name by which a container reaches the host's own services, and Docker's word for the host.
const HOST_ENTRY: &str = "host.docker.internal:host-gateway";

/// Docker's option for the name of a bridge.
const INTERFACE_OPTION: &str = "com.docker.network.bridge.name";

/// How the names of private bridges begin, so that an operator can write rules for all of them.
const INTERFACE_PREFIX: &str = "bac-";

/// A network in the words of Docker's "create".
#[derive(Debug, Default, PartialEq)]
pub(super) struct Settings {
    pub(super) mode: String,
    pub(super) disabled: bool,
    pub(super) extra_hosts: Option<Vec<String>>,
    pub(super) bindings: Option<HashMap<String, Option<Vec<PortBinding>>>>,
    pub(super) exposed: Option<Vec<String>>,
}

/// What a kind of network is for Docker. For kind HTTP the mode is filled in when its network is there.
pub(super) fn settings(network: &NetworkConfig, ports: &[Port]) -> Settings {
    let extra_hosts = Some(vec![HOST_ENTRY.to_owned()]);
    match network.r#type {
        // Both words: no interface at all, and no work for Docker's network layer at the start.
        NetworkType::None => Settings { mode: "none".into(), disabled: true, ..Settings::default() },
        NetworkType::Default | NetworkType::Http => Settings { mode: "bridge".into(), ..Settings::default() },
        NetworkType::Host | NetworkType::Full => {
            Settings { mode: "host".into(), extra_hosts, ..Settings::default() }
        }
        NetworkType::Bridge => {
            let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
            for port in ports {
                let address =
                    if port.host_address.is_empty() { "0.0.0.0" } else { port.host_address.as_str() };
                let binding =
                    PortBinding { host_ip: Some(address.to_owned()), host_port: Some(port.host.to_string()) };
                let of_target = bindings.entry(format!("{}/tcp", port.target)).or_default();
                of_target.get_or_insert_default().push(binding);
            }
            let exposed: Vec<String> = bindings.keys().cloned().collect();
            Settings {
                mode: "bridge".into(),
                extra_hosts,
                exposed: (!exposed.is_empty()).then_some(exposed),
                bindings: (!bindings.is_empty()).then_some(bindings),
                ..Settings::default()
            }
        }
    }
}

/// A network that leads nowhere but to the host's address in it.
#[derive(Debug)]
pub(super) struct Private {
    pub(super) id: String,
    pub(super) gateway: IpAddr,
}

/// Creates the private network of an execution.
pub(super) async fn create_private(
    daemon: &Connected,
    names: &Names,
    execution: &Execution,
) -> Result<Private, Error> {
    let what = "creating the network of the execution";
    let request = NetworkCreateRequest {
        name: names.object(execution, "network"),
        driver: Some("bridge".to_owned()),
        internal: Some(true),
        options: Some(HashMap::from([(INTERFACE_OPTION.to_owned(), interface(&execution.id))])),
        labels: Some(names.labels(execution)),
        ..NetworkCreateRequest::default()
    };
    let created = daemon.docker.create_network(request).await.map_err(|error| {
        let error = errors::explain(what, &error);
        if error.message.contains("address pool") {
            return error.retryable().hint(
                "Docker has no subnet left: run fewer jobs with network type HTTP at once, or give Docker more in \
                 default-address-pools of its daemon.json",
            );
        }
        error
    })?;
    let gateway = gateway(daemon, &created.id).await?;
    Ok(Private { id: created.id, gateway })
}

/// Name of the bridge of an execution: 15 characters, as many as Linux allows.
fn interface(execution_id: &str) -> String {
    let digest = Sha256::digest(execution_id.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{INTERFACE_PREFIX}{}", hex.get(..11).unwrap_or_default())
}

/// The host's address in a network.
pub(super) async fn gateway(daemon: &Connected, network: &str) -> Result<IpAddr, Error> {
    let what = "looking at the network of the execution";
    let found = daemon.docker.inspect_network(network, None).await.map_err(|e| errors::explain(what, &e))?;
    let addresses = found.ipam.and_then(|ipam| ipam.config).into_iter().flatten();
    let gateway = addresses.filter_map(|config| config.gateway).find_map(|text| text.parse().ok());
    gateway.ok_or_else(|| errors::internal(format!("{what}: Docker gave it no gateway")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(kind: NetworkType) -> NetworkConfig {
        NetworkConfig { r#type: kind, ..NetworkConfig::default() }
    }

    #[test]
    fn kinds_are_what_docker_calls_them() {
        let mode = |kind| settings(&network(kind), &[]).mode;
        assert_eq!(mode(NetworkType::Default), "bridge");
        assert_eq!(mode(NetworkType::Full), "host");
        let none = settings(&network(NetworkType::None), &[]);
        assert!(none.disabled && none.mode == "none" && none.extra_hosts.is_none());
    }

    #[test]
    fn ports_are_bound_on_bridges_only() {
        let port = |host, target, address: &str| Port {
            name: "p".into(),
            host,
            target,
            host_address: address.into(),
        };
        let ports = [port(20000, 80, ""), port(20001, 80, "127.0.0.1")];
        assert_eq!(settings(&network(NetworkType::Host), &ports).bindings, None);
        let bridge = settings(&network(NetworkType::Bridge), &ports);
        let bound = bridge.bindings.unwrap()["80/tcp"].clone().unwrap();
        let text: Vec<String> = bound
            .iter()
            .map(|b| format!("{}:{}", b.host_ip.as_deref().unwrap(), b.host_port.as_deref().unwrap()))
            .collect();
        assert_eq!(text, ["0.0.0.0:20000", "127.0.0.1:20001"]);
        assert_eq!(bridge.exposed.unwrap(), ["80/tcp"]);
        assert_eq!(bridge.extra_hosts.unwrap(), [HOST_ENTRY]);
    }

    #[test]
    fn bridges_have_names_that_linux_allows() {
        let name = interface("e-0c9f6d3e-6e3c-4a55-8f52-1a6f6d2f9d11");
        assert!(name.starts_with("bac-") && name.len() == 15, "{name}");
        assert_ne!(name, interface("e-1"));
    }
}
