//! New connections: greeted with INFO, refused with a reason when there are too many.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Token};

use crate::auth::nkey;
use crate::events::CloseReason;
use crate::peer::{Conn, Peer};
use crate::proto::text;

use super::Reactor;

/// Connections accepted in one round, so that a flood of them does not starve those that are there.
const PER_ROUND: usize = 64;
/// Pause after the system refused to accept (most often: no file descriptors left).
const ERROR_PAUSE: Duration = Duration::from_millis(100);

impl Reactor {
    /// Accepts what waits.
    pub(super) fn accept(&mut self) {
        if self.accept_not_before.is_some_and(|at| at > self.fabric.now) || !self.accept_ready {
            return;
        }
        self.accept_not_before = None;
        for _ in 0..PER_ROUND {
            match self.listener.accept() {
                Ok((stream, addr)) => self.welcome(stream, addr),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.accept_ready = false;
                    return;
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    tracing::warn!(%error, "NATS server: cannot accept a connection; trying again shortly");
                    self.accept_not_before = Some(self.fabric.now + ERROR_PAUSE);
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, stream: TcpStream, addr: SocketAddr) {
        // Small replies must not wait for the peer's acknowledgement; without this the server only gets slower.
        let _ = stream.set_nodelay(true);
        let full = self.fabric.stats.connections >= self.options.max_connections as u64;
        self.last_cid += 1;
        let mut conn = Conn::new(stream, addr, self.last_cid, self.fabric.keyed);
        match self.auth.nobody() {
            Some(nobody) => conn.become_user(nobody.clone(), self.fabric.keyed),
            None => {
                conn.must_authenticate = true;
                conn.auth_deadline = Some(self.fabric.now + self.options.auth_timeout);
            }
        }
        conn.nonce = if self.auth.wants_signatures() { nkey::nonce() } else { None };
        conn.ping_at = Some(self.fabric.now + self.first_ping_delay());
        let key = self.fabric.peers.insert(Peer::Socket(Box::new(conn)));
        self.fabric.stats.connections += 1;
        self.fabric.stats.total_connections += 1;
        let registered = match self.fabric.peers.get_mut(key).and_then(Peer::socket) {
            Some(conn) => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut conn.stream, Token(key as usize), interest)
            }
            None => return,
        };
        if let Err(error) = registered {
            tracing::warn!(%error, "NATS server: cannot watch a new connection; it is closed");
            self.drop_conn(key, CloseReason::ReadError);
            return;
        }
        self.send_info(key, false);
        if full {
            self.fabric.stats.refused_connections += 1;
            self.close_with(key, Some(text::MAX_CONNECTIONS), CloseReason::MaxConnectionsExceeded);
            return;
        }
        self.schedule(key);
    }
}
