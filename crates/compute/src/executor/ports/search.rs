//! Which port of the host is free: no execution of this node has it, none of another node of this machine, and nothing
//! else listens on it.

use super::claim::{Claim, Claims};
use super::{Missing, error};
use bacalhau_model::{Error, PortMapping};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::Path;

/// The ports that are given away, and where to look next.
#[derive(Debug)]
pub(super) struct State {
    /// Who has it, by port.
    taken: BTreeMap<u16, Holder>,
    /// Where the next search begins.
    next: u16,
    claims: Claims,
}

/// Who has a port.
#[derive(Debug)]
struct Holder {
    execution_id: String,
    /// Keeps other nodes away. `None` if one of them was faster than a node that came back, or the kernel has no names.
    _claim: Option<Claim>,
}

impl State {
    /// Nothing is given away. The search begins somewhere in `range`: where, `salt` says.
    pub(super) fn new(range: &RangeInclusive<u16>, salt: &Path, claims: Claims) -> State {
        let next = range.start().saturating_add(offset(salt, range.len()));
        State { taken: BTreeMap::new(), next, claims }
    }

    /// Takes a port that the job has chosen.
    pub(super) fn take_fixed(
        &mut self,
        port: u16,
        mapping: &PortMapping,
        execution_id: &str,
    ) -> Result<u16, Missing> {
        if let Some(holder) = self.taken.get(&port) {
            return Err(Missing::TakenBy { port, execution: holder.execution_id.clone() });
        }
        match self.try_out(port, mapping) {
            Ok(claim) => self.put(port, execution_id, claim),
            Err(Obstacle::Node) => {
                let message = format!("port {port} is taken by an execution of another node of this machine");
                return Err(Missing::Error(error(message).hint(OTHER_PORT).retryable()));
            }
            Err(Obstacle::Program) => {
                let message = format!("port {port} of this node is in use by a program that is no job");
                return Err(Missing::Error(error(message).hint(OTHER_PORT).retryable()));
            }
            Err(Obstacle::Error(error)) => return Err(Missing::Error(error)),
        }
        Ok(port)
    }

    /// Takes the next free port of the range, after the last one that was given away.
    pub(super) fn take_any(
        &mut self,
        range: &RangeInclusive<u16>,
        mapping: &PortMapping,
        execution_id: &str,
    ) -> Result<u16, Missing> {
        let (first, last) = (*range.start(), *range.end());
        let start = if range.contains(&self.next) { self.next } else { first };
        for port in (start..=last).chain(first..start) {
            if self.taken.contains_key(&port) {
                continue;
            }
            match self.try_out(port, mapping) {
                Ok(claim) => {
                    self.next = if port == last { first } else { port.saturating_add(1) };
                    self.put(port, execution_id, claim);
                    return Ok(port);
                }
                Err(Obstacle::Node | Obstacle::Program) => {}
                Err(Obstacle::Error(error)) => return Err(Missing::Error(error)),
            }
        }
        let message = format!("no free port for \"{}\": all from {first} to {last} are in use", mapping.name);
        Err(Missing::Error(
            error(message)
                .hint("The node's Compute.Network.PortRangeStart and PortRangeEnd say which ports jobs get")
                .retryable(),
        ))
    }

    /// Takes a port that an execution has already, whatever else there is.
    pub(super) fn take_over(&mut self, port: u16, execution_id: &str) {
        let claim = self.claims.take(port);
        if let Err(error) = &claim {
            tracing::warn!(port, execution = execution_id, %error, "a port of an adopted execution cannot be claimed among the nodes of this machine");
        }
        self.put(port, execution_id, claim.ok());
    }

    /// Takes a port back, if it is this execution's.
    pub(super) fn give_back(&mut self, port: u16, execution_id: &str) {
        if self.owner(port) == Some(execution_id) {
            self.taken.remove(&port);
        }
    }

    /// The execution that has a port.
    pub(super) fn owner(&self, port: u16) -> Option<&str> {
        self.taken.get(&port).map(|holder| holder.execution_id.as_str())
    }

    /// How many ports are given away.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.taken.len()
    }

    fn put(&mut self, port: u16, execution_id: &str, claim: Option<Claim>) {
        self.taken.insert(port, Holder { execution_id: execution_id.to_owned(), _claim: claim });
    }

    /// Claims a port and binds it for a moment, where the task will be served.
    fn try_out(&self, port: u16, mapping: &PortMapping) -> Result<Option<Claim>, Obstacle> {
        let claim = match self.claims.take(port) {
            Ok(claim) => Some(claim),
            Err(why) if why.kind() == io::ErrorKind::AddrInUse => return Err(Obstacle::Node),
            Err(error) => {
                tracing::debug!(port, %error, "a port cannot be claimed among the nodes of this machine");
                None
            }
        };
        can_bind(port, &mapping.host_network).map_err(|why| match why.kind() {
            io::ErrorKind::AddrInUse => Obstacle::Program,
            _ => Obstacle::Error(unusable(port, mapping, &why)),
        })?;
        Ok(claim)
    }
}

/// What to do about a fixed port that somebody has.
const OTHER_PORT: &str = "Choose another Static port, or leave it out to get a free one";

/// Why a port cannot be had.
enum Obstacle {
    /// Another node of this machine has given it away.
    Node,
    /// A program listens on it.
    Program,
    /// It can never be.
    Error(Error),
}

/// Binds the port for a moment, on the address or on all of them.
pub(super) fn can_bind(port: u16, address: &str) -> io::Result<()> {
    if let Ok(address) = address.parse::<IpAddr>() {
        return TcpListener::bind(SocketAddr::new(address, port)).map(drop);
    }
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => Err(why),
        // A machine without IPv6 has no trouble there.
        _ => Ok(()),
    }
}

fn unusable(port: u16, mapping: &PortMapping, why: &io::Error) -> Error {
    let address = if mapping.host_network.is_empty() { "all addresses" } else { &mapping.host_network };
    error(format!("port {port} cannot be bound on {address}: {why}"))
        .hint("HostNetwork has to be an IP address of the node; leave it out for all of them")
}

/// A number below `count` that depends on the folder only.
fn offset(salt: &Path, count: usize) -> u16 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    salt.hash(&mut hasher);
    let count = u64::try_from(count.max(1)).unwrap_or(1);
    u16::try_from(hasher.finish() % count).unwrap_or(0)
}
