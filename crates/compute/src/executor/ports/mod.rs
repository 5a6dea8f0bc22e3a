//! Ports of the host that belong to executions: who has which, and which are free.
//!
//! A port is free when no execution of a node on this machine has it and nothing else listens on it. What an
//! execution got is noted in its folder, so that the next life of the node knows what an adopted one has. The ports themselves are not kept open: whoever uses one binds it.

mod claim;
mod note;
mod search;

pub(super) use note::note;

use crate::engines::Port;
use bacalhau_model::{Error, NetworkConfig, NetworkType, error::code};
use claim::Claims;
use search::State;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// An execution that was told to stop gets this long to give its fixed port to the next one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Component named in errors.
const COMPONENT: &str = "PortAllocator";

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
            state.give_back(port.host, &self.execution_id);
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
        PortTable::among(Claims::of_the_machine(), range, salt)
    }

    fn among(claims: Claims, range: RangeInclusive<u16>, salt: &Path) -> PortTable {
        let state = Mutex::new(State::new(&range, salt, claims));
        PortTable { inner: Arc::new(Inner { range, state, released: Notify::new() }) }
    }

    /// Gives an execution the ports that its network asks for. Waits a while for a fixed port that another execution of
    /// this node has.
    ///
    /// # Errors
    /// A fixed port is in use or another node's, an address is not the machine's, or the range is full.
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
            // Some system calls for each port of the range.
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
                Ok(0) => state.take_any(&self.inner.range, mapping, execution_id),
                Ok(port) => state.take_fixed(port, mapping, execution_id),
                Err(_) => Err(Missing::Error(error(format!("{} is no port", mapping.r#static)))),
            };
            let host = match host {
                Ok(host) => host,
                Err(missing) => {
                    for port in &found {
                        state.give_back(port.host, execution_id);
                    }
                    return Err(missing);
                }
            };
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
        let ports = note::read(folder);
        let mut state = self.state();
        for port in &ports {
            state.take_over(port.host, execution_id);
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

fn error(message: String) -> Error {
    Error::new(code::RESOURCE_IN_USE, message).component(COMPONENT)
}

#[cfg(test)]
mod tests;
