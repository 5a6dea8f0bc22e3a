//! Tells the orchestrator at once when the connection of a node breaks.

use super::credentials::{Claim, Keys};
use bacalhau_nats_server::{CloseReason, ConnInfo, Events};
use bacalhau_orchestrator::Orchestrator;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Watches the embedded server's connections. A node's connection carries its ID as name.
pub(super) struct Watch {
    orchestrator: OnceLock<Orchestrator>,
    connections: Mutex<Connections>,
}

impl Watch {
    pub(super) fn new(keys: Keys) -> Watch {
        let connections = Connections { keys, newest: HashMap::new() };
        Watch { orchestrator: OnceLock::new(), connections: Mutex::new(connections) }
    }

    /// From now on the orchestrator is told.
    pub(super) fn tell(&self, orchestrator: Orchestrator) {
        // It is set once, right after the start; a second call would change nothing.
        let _ = self.orchestrator.set(orchestrator);
    }
}

impl Events for Watch {
    fn connected(&self, conn: &ConnInfo) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).came(conn);
    }

    fn disconnected(&self, conn: &ConnInfo, reason: CloseReason) {
        if !self.connections.lock().unwrap_or_else(PoisonError::into_inner).went(conn) {
            return;
        }
        tracing::debug!(node = %conn.name, %reason, "connection ended");
        if let Some(orchestrator) = self.orchestrator.get() {
            orchestrator.connection_lost(&conn.name);
        }
    }

    fn auth_failed(&self, addr: SocketAddr, reason: CloseReason) {
        tracing::debug!(%addr, %reason, "a connection was refused");
    }
}

/// The connections of nodes.
struct Connections {
    keys: Keys,
    /// Newest connection of each name: the end of an older one says nothing.
    newest: HashMap<String, Newest>,
}

struct Newest {
    cid: u64,
    claim: Claim,
}

impl Connections {
    /// A name is a claim: with the key of one node nobody speaks for another, and without a key nobody for a node that is
    /// there with its own.
    fn came(&mut self, conn: &ConnInfo) {
        let claim = self.keys.judge(&conn.name, &conn.user);
        let before = self.newest.get(conn.name.as_ref());
        let is_there = before.is_some_and(|newest| newest.claim == Claim::Proved);
        if claim == Claim::False || (claim == Claim::Possible && is_there) {
            return;
        }
        if before.is_some() && !conn.name.is_empty() {
            tracing::warn!(
                node = %conn.name, addr = %conn.addr,
                "a node connects that is connected: its former connection is dead, or two machines have the same node ID"
            );
        }
        self.newest.insert(conn.name.to_string(), Newest { cid: conn.cid, claim });
    }

    /// Whether that was the node's connection.
    fn went(&mut self, conn: &ConnInfo) -> bool {
        let was_its = self.newest.get(conn.name.as_ref()).is_some_and(|newest| newest.cid == conn.cid);
        if was_its {
            self.newest.remove(conn.name.as_ref());
        }
        was_its
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_api::credentials::NodeCredential;

    fn conn(cid: u64, name: &str, user: &str) -> ConnInfo {
        ConnInfo { cid, name: name.into(), addr: ([127, 0, 0, 1], 1).into(), user: user.into() }
    }

    fn connections(known: &[(&str, &str)]) -> Connections {
        let credential = |(name, key): &(&str, &str)| NodeCredential {
            name: (*name).to_owned(),
            public_key: (*key).to_owned(),
            ..NodeCredential::default()
        };
        let keys = Keys::default();
        keys.set(&known.iter().map(credential).collect::<Vec<_>>());
        Connections { keys, newest: HashMap::new() }
    }

    #[test]
    fn the_end_of_an_older_connection_says_nothing() {
        let mut all = connections(&[]);
        let (old, new) = (conn(1, "n", ""), conn(2, "n", ""));
        all.came(&old);
        all.came(&new);
        assert!(!all.went(&old));
        assert!(all.went(&new));
        assert!(!all.went(&new));
    }

    #[test]
    fn nobody_ends_the_connection_of_another() {
        let mut all = connections(&[("seven", "U7"), ("eight", "U8")]);
        let eight = conn(1, "eight", "U8");
        all.came(&eight);
        // The key of another node, the shared token, and the key of a node for one that has none.
        for stranger in [conn(2, "eight", "U7"), conn(3, "eight", ""), conn(4, "nine", "U7")] {
            all.came(&stranger);
            assert!(!all.went(&stranger), "{stranger:?}");
        }
        let nine = conn(5, "nine", "");
        all.came(&nine);
        assert!(all.went(&nine) && all.went(&eight));
        // A node that has a key and does not use it yet is watched all the same, until one comes with the key.
        let (token, eight) = (conn(6, "eight", ""), conn(7, "eight", "U8"));
        all.came(&token);
        assert!(all.went(&token));
        all.came(&token);
        all.came(&eight);
        assert!(!all.went(&token) && all.went(&eight));
    }
}
