//! New connections: refused with a reason when there are too many.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Token};

use crate::auth::nkey;
use crate::events::CloseReason;
use crate::peer::{Conn, Peer};
use crate::proto::text;

use super::Reactor;

/// Pause after the system refused to accept (most often: no file descriptors left).
const ERROR_PAUSE: Duration = Duration::from_millis(100);

impl Reactor {
    /// Accepts what waits at all doors, until the time is over, but at least one at each.
    pub(super) fn accept(&mut self, until: Instant) {
        for number in 0..self.doors.len() {
            self.accept_at(number, until);
        }
    }

    fn accept_at(&mut self, number: usize, until: Instant) {
        loop {
            let now = self.fabric.now;
            let Some(door) = self.doors.get_mut(number) else { return };
            if !door.ready || door.not_before.is_some_and(|at| at > now) {
                return;
            }
            door.not_before = None;
            let Some(listener) = &door.listener else { return };
            match listener.accept() {
                Ok((socket, addr)) => {
                    self.welcome(number, socket, addr);
                    if Instant::now() >= until {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    door.ready = false;
                    return;
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    tracing::warn!(%error, "NATS server: cannot accept a connection; trying again shortly");
                    door.not_before = Some(now + ERROR_PAUSE);
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, door: usize, socket: TcpStream, addr: SocketAddr) {
        // Small replies must not wait for the peer's acknowledgement; without this the server only gets slower.
        let _ = socket.set_nodelay(true);
        self.hear_change();
        let full = self.fabric.stats.connections >= self.options.max_connections as u64;
        self.last_cid += 1;
        let fabric = &self.fabric;
        let mut conn = Conn::new(socket, door, addr, self.last_cid, fabric.keyed, fabric.now);
        match self.auth.nobody() {
            Some(nobody) => conn.become_user(nobody.clone(), self.fabric.keyed),
            None => conn.must_authenticate = true,
        }
        conn.nonce = if self.auth.wants_signatures() { nkey::nonce() } else { None };
        let key = self.fabric.peers.insert(Peer::Socket(Box::new(conn)));
        self.fabric.stats.connections += 1;
        self.fabric.stats.total_connections += 1;
        let Some(conn) = self.fabric.conn(key) else { return };
        let Some(socket) = conn.transport.socket() else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(socket, Token(key as usize), interest) {
            tracing::warn!(%error, "NATS server: cannot watch a new connection; it is closed");
            return self.drop_conn(key, CloseReason::ReadError);
        }
        if !full {
            return self.begin(key);
        }
        self.fabric.stats.refused_connections += 1;
        if self.doors.get(door).is_some_and(|door| door.speaks_first()) {
            self.send_info(key, false);
            self.close_with(key, Some(text::MAX_CONNECTIONS), CloseReason::MaxConnectionsExceeded);
        } else {
            self.drop_conn(key, CloseReason::MaxConnectionsExceeded);
        }
    }
}
