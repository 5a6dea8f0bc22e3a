//! The ends of connections. Subscriptions go and observers hear of it at once; what stays for a moment after an error is
//! only the socket, so that the peer can read why.

use std::time::Duration;

use crate::events::CloseReason;
use crate::local::SubscriptionEnd;
use crate::peer::{Hold, Peer};
use crate::proto::write::error_line;

use super::Reactor;

/// How long a closed connection may take to read its last words. Meanwhile its input is thrown away, because closing a
/// socket with unread input makes the system destroy what was sent.
const LINGER: Duration = Duration::from_millis(250);

impl Reactor {
    /// Ends a connection after an error, with or without telling the peer.
    pub(super) fn close_with(&mut self, key: u32, error: Option<&str>, reason: CloseReason) {
        let Some(conn) = self.fabric.conn(key) else { return };
        if conn.linger_until.is_some() {
            return;
        }
        tracing::debug!(cid = conn.cid, addr = %conn.addr, %reason, "NATS server: closing connection");
        if let Some(error) = error {
            self.fabric.send(key, &error_line(error));
        }
        self.leave(key, reason);
        let until = self.fabric.now + LINGER;
        let Some(conn) = self.fabric.conn(key) else { return };
        conn.linger_until = Some(until);
        let held = std::mem::take(&mut conn.inbound).held();
        // Nobody waits for the result of a check any more.
        conn.hold = Hold::No;
        conn.auth_deadline = None;
        conn.ping_at = None;
        conn.expires_at = None;
        self.fabric.held_input -= held;
        self.schedule(key);
        self.flush_lingering(key);
    }

    /// Writes the last words; when they are out, tells the peer that nothing follows.
    pub(super) fn flush_lingering(&mut self, key: u32) {
        let (now, pool) = (self.fabric.now, &mut self.fabric.pool);
        let Some(conn) = self.fabric.peers.get_mut(key).and_then(Peer::socket) else { return };
        match conn.flush(pool, now) {
            Ok(true) if conn.transport.finish().is_ok() => {}
            Ok(false) => {}
            // The peer is gone already.
            Ok(true) | Err(_) => self.drop_conn(key, CloseReason::ClientClosed),
        }
    }

    /// Ends a connection at once, without another byte.
    pub(super) fn drop_conn(&mut self, key: u32, reason: CloseReason) {
        self.leave(key, reason);
        let Some(mut conn) = self.take_out(key) else { return };
        self.fabric.held_input -= conn.inbound.held();
        conn.out.clear(&mut self.fabric.pool);
        // Dropping the stream closes it; deregistering first only keeps stale events away, so its failure is harmless.
        if let Some(socket) = conn.transport.socket() {
            let _ = self.poll.registry().deregister(socket);
        }
        self.fabric.stats.connections = self.fabric.stats.connections.saturating_sub(1);
        self.drained |= conn.congested;
    }

    /// Takes a connection out of routing and tells the observer, once.
    fn leave(&mut self, key: u32, reason: CloseReason) {
        let Some(conn) = self.fabric.conn(key) else { return };
        if conn.linger_until.is_none() {
            self.remember(key, reason);
        }
        let Some(conn) = self.fabric.conn(key) else { return };
        let subs = std::mem::take(&mut conn.subs);
        let account = conn.account;
        let info = std::mem::take(&mut conn.connected).then(|| conn.info());
        let first_time = conn.linger_until.is_none();
        if info.is_some() {
            self.members.leave(account);
        }
        self.remove_subscriptions(key, subs);
        if first_time {
            self.count(account, reason);
            self.tell_gone(key, reason, info.is_some());
        }
        if let Some(info) = info {
            self.observe(|events| events.disconnected(&info, reason));
        }
    }

    fn count(&mut self, account: u32, reason: CloseReason) {
        let stats = &mut self.fabric.stats;
        match reason {
            CloseReason::SlowConsumerPendingBytes | CloseReason::SlowConsumerWriteDeadline => {
                stats.slow_consumers += 1;
                if let Some(ledger) = self.fabric.ledger(account) {
                    ledger.slow_consumers += 1;
                }
            }
            CloseReason::StaleConnection => stats.stale_connections += 1,
            CloseReason::AuthenticationFailure | CloseReason::AuthenticationTimeout => {
                stats.auth_failures += 1
            }
            CloseReason::ParseError
            | CloseReason::ProtocolViolation
            | CloseReason::MaxPayloadExceeded
            | CloseReason::MaxControlLineExceeded => stats.protocol_errors += 1,
            _ => {}
        }
    }

    /// Drops the connections that turned out too slow during a delivery.
    pub(super) fn drop_doomed(&mut self) {
        while let Some((key, reason)) = self.fabric.doomed.pop() {
            let Some(conn) = self.fabric.conn(key).filter(|conn| conn.doomed) else { continue };
            tracing::warn!(
                cid = conn.cid, addr = %conn.addr, name = &*conn.name, pending = conn.out.len(), %reason,
                "NATS server: a client does not read fast enough and is dropped"
            );
            self.drop_conn(key, reason);
        }
    }

    /// Ends all connections because the server ends. What is queued for sockets is still written.
    pub(super) fn close_all(&mut self) {
        for key in self.fabric.peers.keys() {
            match self.fabric.peers.get_mut(key) {
                Some(Peer::Socket(_)) => self.close_with(key, None, CloseReason::ServerShutdown),
                Some(Peer::Local(_)) => self.drop_local(key, SubscriptionEnd::Closed),
                Some(Peer::Leaving(_)) | None => {}
            }
        }
    }
}
