//! A listening socket inside another network namespace.
//!
//! A socket belongs to the namespace it was made in, whoever uses it. So the proxy can listen on the loopback of a
//! task that has no network at all, while its own connections leave through the node's: nothing has to be set up
//! between the two, and nothing is left behind.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Listens on `address` (port 0: a free one) in the network namespace at `namespace` (`/proc/<pid>/ns/net`, or a file it is
/// bound to). Needs the right to enter it, which root has. The address must be up there.
///
/// # Errors
/// The namespace cannot be entered, or the address is not there or taken.
pub async fn listen_inside(namespace: &Path, address: SocketAddr) -> io::Result<TcpListener> {
    let namespace = File::open(namespace)?;
    let (tell, told) = oneshot::channel();
    // A thread of its own, which ends: those of the runtime must stay where they are.
    std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
        let listen = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        // Nobody waits any more: the socket is closed.
        let _ = tell.send(listen());
    })?;
    let listener: io::Result<std::net::TcpListener> = told.await.map_err(io::Error::other)?;
    TcpListener::from_std(listener?)
}
