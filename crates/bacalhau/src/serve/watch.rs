//! Tells the orchestrator at once when the connection of a node breaks.

use bacalhau_nats_server::{CloseReason, ConnInfo, Events};
use bacalhau_orchestrator::Orchestrator;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Watches the embedded server's connections. A node's connection carries its ID as name.
#[derive(Default)]
pub(super) struct Watch {
    orchestrator: OnceLock<Orchestrator>,
    /// Newest connection of each name: the end of an older one says nothing.
    newest: Mutex<HashMap<String, u64>>,
}

impl Watch {
    /// From now on the orchestrator is told.
    pub(super) fn tell(&self, orchestrator: Orchestrator) {
        // It is set once, right after the start; a second call would change nothing.
        let _ = self.orchestrator.set(orchestrator);
    }
}

impl Events for Watch {
    fn connected(&self, conn: &ConnInfo) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(conn.name.to_string(), conn.cid);
    }

    fn disconnected(&self, conn: &ConnInfo, reason: CloseReason) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.get(conn.name.as_ref()) != Some(&conn.cid) {
            return;
        }
        newest.remove(conn.name.as_ref());
        tracing::debug!(node = %conn.name, %reason, "connection ended");
        if let Some(orchestrator) = self.orchestrator.get() {
            orchestrator.connection_lost(&conn.name);
        }
    }

    fn auth_failed(&self, addr: SocketAddr, reason: CloseReason) {
        tracing::debug!(%addr, %reason, "a connection was refused");
    }
}
