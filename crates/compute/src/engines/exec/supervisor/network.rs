//! A network of its own: a loopback, and on it perhaps the door to the proxy.

use super::netlink;
use super::talk::Talk;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Makes the loopback usable.
pub(super) fn up() -> io::Result<()> {
    netlink::loopback_up()
}

/// Opens a socket on the task's loopback, hands it to the node, and tells the variables that lead programs there. What
/// connects before the node serves it waits.
pub(super) fn proxy(talk: &Talk) -> io::Result<Vec<(String, String)>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    talk.hand_over(&listener)?;
    Ok(crate::egress::variables(address))
}
