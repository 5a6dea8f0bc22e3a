//! What the nodes of one machine tell each other about ports: who has given one away holds a name of the kernel's.
//!
//! An abstract Unix socket is such a name: it can be had once in a network namespace, as the port itself, nothing of it
//! lies on a disk, and the kernel takes it back from a process that is killed. It only keeps honest nodes apart, from when
//! a port is given away until its task has bound it; nobody is ever asked to leave, and nothing is sent through it.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What names begin with.
const PREFIX: &str = "bacalhau-port-";

/// How nodes that share a machine name its ports.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    prefix: String,
}

/// A port that this node has given away, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    _name: UnixDatagram,
}

impl Claims {
    /// Those of all nodes in this network namespace.
    pub(super) fn of_the_machine() -> Claims {
        Claims { prefix: PREFIX.to_owned() }
    }

    /// Those of nodes that call themselves alike.
    #[cfg(test)]
    pub(super) fn of(group: &str) -> Claims {
        Claims { prefix: format!("{PREFIX}{group}-") }
    }

    /// Claims a port.
    ///
    /// # Errors
    /// `AddrInUse`: another node has it. Anything else: the kernel has no socket to give.
    pub(super) fn take(&self, port: u16) -> io::Result<Claim> {
        let name = SocketAddr::from_abstract_name(format!("{}{port}", self.prefix))?;
        Ok(Claim { _name: UnixDatagram::bind_addr(&name)? })
    }
}
