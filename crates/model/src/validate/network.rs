//! Rules for the network section of a task.

use crate::network::{NetworkConfig, NetworkType, PortMapping};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Longest port name: the environment variable that carries it has a prefix.
const LONGEST_NAME: usize = 237;

/// All problems of a network section.
pub(super) fn problems(network: &NetworkConfig) -> Vec<String> {
    let mut errors = Vec::new();
    if network.r#type != NetworkType::Http && !network.domains.is_empty() {
        errors.push("domains can only be set for HTTP network mode".to_owned());
    }
    errors.extend(network.domains.iter().filter(|d| !is_domain(d)).map(|d| format!("invalid domain {d:?}")));
    let with_ports = matches!(network.r#type, NetworkType::Host | NetworkType::Full | NetworkType::Bridge);
    if !with_ports && !network.ports.is_empty() {
        errors.push("ports can only be set for Host or Bridge network modes".to_owned());
        return errors;
    }
    let (mut names, mut statics, mut targets) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for port in &network.ports {
        errors.extend(port_problem(port, network.r#type));
        if !port.name.is_empty() && !names.insert(&port.name) {
            errors.push(format!("duplicate port mapping name {:?}", port.name));
        }
        if port.r#static != 0 && !statics.insert(port.r#static) {
            errors.push(format!("duplicate port mapping static port {}", port.r#static));
        }
        if port.target != 0 && !targets.insert(port.target) {
            errors.push(format!("duplicate port mapping target port {}", port.target));
        }
    }
    errors
}

fn port_problem(port: &PortMapping, network: NetworkType) -> Option<String> {
    let mut chars = port.name.chars();
    let first = chars.next();
    if first.is_none() {
        return Some("port mapping name is required".to_owned());
    }
    let head = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !head || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Some("port name must be a valid environment variable name: start with letter/underscore and contain only letters, numbers, and underscores".to_owned());
    }
    if port.name.len() > LONGEST_NAME {
        return Some(format!("port name too long (max {LONGEST_NAME} characters)"));
    }
    match port.r#static {
        0 | 1024..=65535 => {}
        negative if negative < 0 => return Some(format!("invalid static port {negative}")),
        negative if negative < 0 => return Some(format!("invalid static port {negative}")),
        1..1024 => {
            return Some(format!("static port {} is in privileged port range (1-1023)", port.r#static));
        }
        other => return Some(format!("static port {other} is above maximum valid port 65535")),
    }
    if !(0..=65535).contains(&port.target) {
        return Some(format!("invalid target port {}", port.target));
    }
    if port.target != 0 && network != NetworkType::Bridge {
        return Some("target ports cannot be set for Host network mode".to_owned());
    }
    let address = &port.host_network;
    let wrong = !address.is_empty() && address.parse::<IpAddr>().is_err();
    wrong.then(|| format!("invalid host network IP address: {address}"))
}

/// A DNS name or an IP address; a leading dot stands for the name and all names below, `*.` for those below alone.
fn is_domain(text: &str) -> bool {
    let name = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    text.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(label))
}
