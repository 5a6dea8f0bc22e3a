//! Ports of the host that belong to executions: who has which, and which are free.
//!
//! A port is free when no execution of this node has it and nothing else on the machine listens on it. What an
//! execution got is noted in its folder, so that the next life of the node knows what an adopted one has. Nothing is
//! kept open: whoever uses the port binds it.

use super::disk;
use super::work::WorkFolder;
use crate::engines::Port;
use bacalhau_model::{Error, NetworkConfig, NetworkType, PortMapping, error::code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// An execution that was told to stop gets this long to give its fixed port to the next one.
const PATIENCE: Duration = Duration::from_secs(30);
/// Name of the note in the execution's folder.
const FILE: &str = "ports.json";
/// Longest note that is read, bytes: ports have short names, and a job has at most thousands.
const MOST: u64 = 4 << 20;

/// The ports of this node. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct PortTable {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    range: RangeInclusive<u16>,
    state: Mutex<State>,
    released: Notify,
}

#[derive(Debug)]
struct State {
    /// Who has it, by port.
    taken: BTreeMap<u16, String>,
    /// Where the next search begins.
    next: u16,
}

/// Ports that an execution has until this is dropped.
#[derive(Debug)]
pub(super) struct PortLease {
    table: PortTable,
    execution_id: String,
    ports: Vec<Port>,
}

impl PortLease {
    pub(super) fn ports(&self) -> &[Port] {
        &self.ports
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        if self.ports.is_empty() {
            return;
        }
        let mut state = self.table.state();
        for port in &self.ports {
            if state.taken.get(&port.host) == Some(&self.execution_id) {
                state.taken.remove(&port.host);
            }
        }
        drop(state);
        self.table.inner.released.notify_waiters();
    }
}

/// Why there is no port right now.
enum Missing {
    /// An execution of this node has it.
    TakenBy { port: u16, execution: String },
    /// There will not be one.
    Error(Error),
}

impl PortTable {
    /// All ports are free. Those that jobs do not choose are from `range`; `salt` is different for every node on one
    /// machine, so that they do not all begin with the same one.
    pub(super) fn new(range: RangeInclusive<u16>, salt: &Path) -> PortTable {
        let next = range.start().saturating_add(offset(salt, range.len()));
        let state = Mutex::new(State { taken: BTreeMap::new(), next });
        PortTable { inner: Arc::new(Inner { range, state, released: Notify::new() }) }
    }

    /// Gives an execution the ports that its network asks for. Waits a while for a fixed port that another execution of
    /// this node has.
    ///
    /// # Errors
    /// A fixed port is in use, an address is not the machine's, or the range is full.
    pub(super) async fn allocate(
        &self,
        execution_id: &str,
        network: &NetworkConfig,
    ) -> Result<PortLease, Error> {
        let has_ports = matches!(network.r#type, NetworkType::Host | NetworkType::Full | NetworkType::Bridge);
        if !has_ports || network.ports.is_empty() {
            return Ok(self.lease(execution_id, Vec::new()));
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut released = std::pin::pin!(self.inner.released.notified());
            released.as_mut().enable();
            let (table, id, network) = (self.clone(), execution_id.to_owned(), network.clone());
            // Up to two system calls for each port of the range.
            let tried = tokio::task::spawn_blocking(move || table.take(&id, &network)).await;
            match tried.map_err(|panic| error(format!("cannot look for ports: {panic}")))? {
                Ok(lease) => return Ok(lease),
                Err(Missing::Error(error)) => return Err(error),
                Err(Missing::TakenBy { port, execution }) => {
                    if tokio::time::timeout_at(deadline, released).await.is_err() {
                        let message = format!("port {port} is taken by execution {execution} of this node");
                        return Err(error(message).hint("Leave Static out to get a free port").retryable());
                    }
                }
            }
        }
    }

    /// All ports or none. Blocks.
    fn take(&self, execution_id: &str, network: &NetworkConfig) -> Result<PortLease, Missing> {
        let bridge = network.r#type == NetworkType::Bridge;
        let mut state = self.state();
        let mut found: Vec<Port> = Vec::with_capacity(network.ports.len());
        // Those with a fixed port first, so that no other gets it.
        let (fixed, others): (Vec<_>, Vec<_>) = network.ports.iter().partition(|port| port.r#static > 0);
        for mapping in fixed.into_iter().chain(others) {
            let host = match u16::try_from(mapping.r#static) {
                Ok(0) => state.search(&self.inner.range, mapping),
                Ok(port) => state.check(port, mapping).map(|()| port),
                Err(_) => Err(Missing::Error(error(format!("{} is no port", mapping.r#static)))),
            };
            let host = match host {
                Ok(host) => host,
                Err(missing) => {
                    for port in &found {
                        state.taken.remove(&port.host);
                    }
                    return Err(missing);
                }
            };
            state.taken.insert(host, execution_id.to_owned());
            let target = u16::try_from(mapping.target).ok().filter(|target| bridge && *target > 0);
            found.push(Port {
                name: mapping.name.clone(),
                host,
                target: target.unwrap_or(host),
                host_address: mapping.host_network.clone(),
            });
        }
        drop(state);
        // In the order of the job.
        let place = |port: &Port| network.ports.iter().position(|mapping| mapping.name == port.name);
        found.sort_by_key(place);
        Ok(self.lease(execution_id, found))
    }

    /// The ports that an execution of a former life of the node has, from the note in its folder. They are taken whatever
    /// else there is: the task has bound them already.
    pub(super) fn take_over(&self, execution_id: &str, folder: &Path) -> PortLease {
        let ports = read(folder);
        let mut state = self.state();
        for port in &ports {
            state.taken.insert(port.host, execution_id.to_owned());
        }
        drop(state);
        self.lease(execution_id, ports)
    }

    fn lease(&self, execution_id: &str, ports: Vec<Port>) -> PortLease {
        PortLease { table: self.clone(), execution_id: execution_id.to_owned(), ports }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self, port: u16, mapping: &PortMapping) -> Result<(), Missing> {
        if let Some(execution) = self.taken.get(&port) {
            return Err(Missing::TakenBy { port, execution: execution.clone() });
        }
        match can_bind(port, &mapping.host_network) {
            Ok(()) => Ok(()),
            Err(why) if why.kind() == io::ErrorKind::AddrInUse => Err(Missing::Error(
                error(format!("port {port} of this node is in use by a program that is no job"))
                    .hint("Choose another Static port, or leave it out to get a free one")
                    .retryable(),
            )),
            Err(why) => Err(Missing::Error(unusable(port, mapping, &why))),
        }
    }

    /// The next free port of the range, after the last one that was given away.
    fn search(&mut self, range: &RangeInclusive<u16>, mapping: &PortMapping) -> Result<u16, Missing> {
        let (first, last) = (*range.start(), *range.end());
        let start = if range.contains(&self.next) { self.next } else { first };
        for port in (start..=last).chain(first..start) {
            if self.taken.contains_key(&port) {
                continue;
            }
            match can_bind(port, &mapping.host_network) {
                Ok(()) => {
                    self.next = if port == last { first } else { port.saturating_add(1) };
                    return Ok(port);
                }
                Err(why) if why.kind() == io::ErrorKind::AddrInUse => {}
                Err(why) => return Err(Missing::Error(unusable(port, mapping, &why))),
            }
        }
        let message = format!("no free port for \"{}\": all from {first} to {last} are in use", mapping.name);
        Err(Missing::Error(
            error(message)
                .hint("The node's Compute.Network.PortRangeStart and PortRangeEnd say which ports jobs get")
                .retryable(),
        ))
    }
}

/// Binds the port for a moment, on the address or on all of them.
fn can_bind(port: u16, address: &str) -> io::Result<()> {
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

fn error(message: String) -> Error {
    Error::new(code::RESOURCE_IN_USE, message).component("PortAllocator")
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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Note {
    name: String,
    host: u16,
    target: u16,
    #[serde(default)]
    host_address: String,
}

/// Notes the ports in the execution's folder.
///
/// # Errors
/// The file system refuses.
pub(super) async fn note(work: &Arc<WorkFolder>, lease: &PortLease) -> Result<(), Error> {
    if lease.ports.is_empty() {
        return Ok(());
    }
    let notes = lease.ports.iter().map(|port| Note {
        name: port.name.clone(),
        host: port.host,
        target: port.target,
        host_address: port.host_address.clone(),
    });
    let (notes, work) = (notes.collect::<Vec<_>>(), Arc::clone(work));
    let written = tokio::task::spawn_blocking(move || {
        let text = serde_json::to_vec(&notes).map_err(io::Error::other)?;
        let folder = work.create("")?;
        // Renamed into place, so that no half of it is ever found.
        let part = folder.join(format!("{FILE}.part"));
        fs::write(&part, text)?;
        fs::rename(part, folder.join(FILE))
    });
    let written: io::Result<()> = written.await.map_err(io::Error::other).flatten();
    written.map_err(|why| {
        let error =
            Error::new(code::INTERNAL_ERROR, format!("cannot note the ports of the execution: {why}"));
        disk::explain_full(error.component("PortAllocator"), &why)
    })
}

fn read(folder: &Path) -> Vec<Port> {
    let path = folder.join(FILE);
    let short = fs::metadata(&path).is_ok_and(|meta| meta.len() <= MOST);
    let notes: Vec<Note> = short
        .then(|| fs::read(&path).ok())
        .flatten()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let port = |note: Note| Port {
        name: note.name,
        host: note.host,
        target: note.target,
        host_address: note.host_address,
    };
    notes.into_iter().map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::WorkFolder;

    fn port(name: &str, fixed: i64, target: i64) -> PortMapping {
        PortMapping { name: name.into(), r#static: fixed, target, ..PortMapping::default() }
    }

    fn network(r#type: NetworkType, ports: Vec<PortMapping>) -> NetworkConfig {
        NetworkConfig { r#type, ports, ..NetworkConfig::default() }
    }

    /// A table with `count` ports that nothing listens on, as far as the machine holds still.
    fn table(count: u16) -> PortTable {
        let free = |first: u16| (first..first + count).all(|port| can_bind(port, "").is_ok());
        // Far from where the kernel chooses ports, and each test process begins elsewhere.
        let start = 10_000 + u16::try_from(std::process::id() % 8_000).unwrap();
        let first = (start..30_000).step_by(usize::from(count)).find(|first| free(*first)).unwrap();
        PortTable::new(first..=first + count - 1, Path::new("/"))
    }

    fn hosts(lease: &PortLease) -> Vec<u16> {
        lease.ports().iter().map(|port| port.host).collect()
    }

    #[tokio::test]
    async fn every_port_has_one_owner_and_comes_back() {
        let table = table(3);
        let wanted = network(NetworkType::Host, vec![port("a", 0, 0), port("b", 0, 0)]);
        let one = table.allocate("e-1", &wanted).await.unwrap();
        assert_ne!(hosts(&one)[0], hosts(&one)[1]);
        assert!(one.ports().iter().all(|port| port.target == port.host), "host network");
        let error = table.allocate("e-2", &wanted).await.unwrap_err();
        assert!(error.message.starts_with("no free port for \"b\": all from "), "{error}");
        assert!(error.retryable);
        let single = network(NetworkType::Bridge, vec![port("a", 0, 80)]);
        let two = table.allocate("e-2", &single).await.unwrap();
        assert!(!hosts(&one).contains(&hosts(&two)[0]) && two.ports()[0].target == 80);
        let before = hosts(&one);
        drop(one);
        assert_eq!(table.state().taken.len(), 1, "given back");
        let again = table.allocate("e-3", &wanted).await.unwrap();
        assert_eq!(hosts(&again).iter().collect::<std::collections::BTreeSet<_>>(), before.iter().collect());
    }

    #[tokio::test]
    async fn ports_go_round() {
        let table = table(4);
        let wanted = network(NetworkType::Full, vec![port("a", 0, 0)]);
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..4 {
            seen.extend(hosts(&table.allocate(&format!("e-{n}"), &wanted).await.unwrap()));
        }
        assert_eq!(seen.len(), 4, "a port that was just given back is the last to be given away");
    }

    #[tokio::test]
    async fn a_fixed_port_is_waited_for() {
        let table = table(1);
        let fixed = i64::from(*table.inner.range.start());
        let wanted = network(NetworkType::Bridge, vec![port("a", fixed, 0)]);
        let first = table.allocate("e-1", &wanted).await.unwrap();
        assert_eq!(
            first.ports()[0].target,
            first.ports()[0].host,
            "the target is the host's port by default"
        );
        let waiting = tokio::spawn({
            let (table, wanted) = (table.clone(), wanted.clone());
            async move { table.allocate("e-2", &wanted).await }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(hosts(&waiting.await.unwrap().unwrap()), [u16::try_from(fixed).unwrap()]);
    }

    #[tokio::test]
    async fn what_others_listen_on_is_not_free() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port();
        let table = PortTable::new(taken..=taken, Path::new("/"));
        let fixed = network(NetworkType::Host, vec![port("a", i64::from(taken), 0)]);
        let error = table.allocate("e-1", &fixed).await.unwrap_err();
        assert_eq!(error.message, format!("port {taken} of this node is in use by a program that is no job"));
        let any = network(NetworkType::Host, vec![port("a", 0, 0)]);
        assert!(table.allocate("e-1", &any).await.unwrap_err().message.starts_with("no free port"));
        let mut elsewhere = any.clone();
        elsewhere.ports[0].host_network = "192.0.2.1".into();
        let error = table.allocate("e-1", &elsewhere).await.unwrap_err();
        assert!(error.message.contains("cannot be bound on 192.0.2.1"), "{error}");
        assert!(table.state().taken.is_empty());
    }

    #[tokio::test]
    async fn only_some_networks_have_ports() {
        let table = table(1);
        for kind in [NetworkType::None, NetworkType::Default, NetworkType::Http] {
            let lease = table.allocate("e-1", &network(kind, vec![port("a", 0, 0)])).await.unwrap();
            assert!(lease.ports().is_empty());
        }
    }

    #[tokio::test]
    async fn the_next_life_knows_them() {
        let dir = tempfile::tempdir().unwrap();
        let work = Arc::new(WorkFolder::new(dir.path().join("e-1")));
        let (before, after) = (table(2), table(2));
        let wanted = network(NetworkType::Bridge, vec![port("a", 0, 80), port("b", 0, 0)]);
        let lease = before.allocate("e-1", &wanted).await.unwrap();
        note(&work, &lease).await.unwrap();
        let adopted = after.take_over("e-1", work.path());
        assert_eq!(adopted.ports(), lease.ports());
        assert!(hosts(&lease).iter().all(|port| after.state().taken.get(port).unwrap() == "e-1"));
        drop(adopted);
        assert!(after.state().taken.is_empty());
        assert!(after.take_over("e-2", &dir.path().join("e-2")).ports().is_empty());
    }
}
