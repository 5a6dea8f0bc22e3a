//! Ports of the host that lead into a container: accepted here and passed on, so that they are reachable from
//! everywhere (the loopback too), a port that is taken is noticed at once, and nothing is left in the firewall.

use super::super::error;
use crate::accept::accept;
use crate::engines::Port;
use bacalhau_model::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Connections of one container at once; more wait to be accepted.
const MOST_CONNECTIONS: usize = 1_024;

/// Longest time to reach the container.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ports that are open until this is dropped.
#[derive(Debug)]
pub(super) struct Forwards {
    _stop: DropGuard,
}

impl Forwards {
    /// Opens all of them.
    pub(super) async fn open(ports: &[Port], container: Ipv4Addr) -> Result<Forwards, Error> {
        let stop = CancellationToken::new();
        let opened = Forwards { _stop: stop.clone().drop_guard() };
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        for port in ports {
            let host = match port.host_address.as_str() {
                "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                text => {
                    text.parse().map_err(|_| error(format!("port {}: {text:?} is no address", port.name)))?
                }
            };
            let from = SocketAddr::new(host, port.host);
            let listener = TcpListener::bind(from).await.map_err(|e| {
                error(format!("port {} of the task cannot be opened on {from}: {e}", port.name)).retryable()
            })?;
            let to = SocketAddr::new(IpAddr::V4(container), port.target);
            let who = format!("the port of a container at {to}");
            let serve = move |stream| pass_on(stream, to);
            tokio::spawn(accept(listener, Arc::clone(&connections), stop.clone(), who, serve));
        }
        Ok(opened)
    }
}

async fn pass_on(mut from: TcpStream, to: SocketAddr) {
    // A container that does not listen (yet) looks like that: the connection ends.
    let Ok(Ok(mut to)) = tokio::time::timeout(PATIENCE, TcpStream::connect(to)).await else { return };
    let _ = to.set_nodelay(true);
    // How it ended is the business of the two ends.
    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
}
