//! The supervisor's end of its socket to the node.

use super::{ORDER, Order};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// A node that is there.
pub(super) struct Node {
    pub(super) socket: UnixStream,
    heard: Vec<u8>,
    /// It knows that there is output.
    pub(super) told: bool,
}

impl Node {
    pub(super) fn new(socket: UnixStream) -> io::Result<Node> {
        socket.set_nonblocking(true)?;
        Ok(Node { socket, heard: Vec::new(), told: false })
    }

    pub(super) fn tell(&mut self, letter: u8) {
        // A node that does not listen reads everything when it comes back.
        let _ = self.socket.write(&[letter]);
    }

    /// Hears what it wants. `None` when it is gone.
    pub(super) fn orders(&mut self) -> Option<Vec<Order>> {
        let mut bytes = [0; 64 * ORDER];
        match self.socket.read(&mut bytes) {
            Ok(length @ 1..) => self.heard.extend_from_slice(bytes.get(..length).unwrap_or_default()),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => return None,
        }
        let mut orders = Vec::new();
        while let Some(order) = self.heard.first_chunk::<ORDER>() {
            orders.extend(Order::decode(*order));
            self.heard.drain(..ORDER);
        }
        Some(orders)
    }
}
