//! Reading and writing of sockets.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use mio::event::Event;

use crate::events::CloseReason;
use crate::peer::{Hold, Peer};
use crate::proto::inbound::{Flow, Inbound};
use crate::proto::parser::Fault;
use crate::proto::text;
use crate::transport::Got;

use super::Reactor;
use super::opening::Opening;
use super::session::Session;

impl Reactor {
    /// Notes what the poll said about a connection.
    pub(super) fn socket_event(&mut self, key: u32, event: &Event) {
        let Some(conn) = self.fabric.conn(key) else { return };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            conn.readable = true;
            conn.read_closed |= event.is_read_closed() || event.is_error();
            if let (true, Hold::Checking(_, asker)) = (conn.read_closed, &conn.hold) {
                asker.left.store(true, Ordering::Relaxed);
            }
            self.make_ready(key);
        }
        let Some(conn) = self.fabric.conn(key) else { return };
        conn.writable |= event.is_writable();
        if !event.is_writable() || !conn.wants_to_write() {
            return;
        }
        if conn.opening != Opening::Done {
            self.make_ready(key);
        } else if !std::mem::replace(&mut conn.touched, true) {
            self.fabric.touched.push(key);
        }
    }

    /// The turn of a connection: acts on what it has sent.
    pub(super) fn read(&mut self, key: u32) {
        let Some(conn) = self.fabric.conn(key) else { return };
        conn.in_ready = false;
        if conn.linger_until.is_some() {
            return self.discard_input(key);
        }
        if conn.is_held() || (conn.opening != Opening::Done && !self.open(key)) {
            return;
        }
        let Some(conn) = self.fabric.conn(key) else { return };
        // The rest of a batch in which reading stopped comes first, and nothing is read before its end.
        if std::mem::take(&mut conn.stopped) && !self.feed(key, &[]) {
            return;
        }
        let most = self.turns.most_bytes(self.fabric.now);
        let Some(conn) = self.fabric.conn(key) else { return };
        if conn.stopped {
            return self.turn_over(key, 0);
        }
        if conn.parked || conn.is_held() || conn.is_closing() || !conn.readable {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let size = conn.read_size.min(most);
        let result = conn.transport.receive(buffer.get_mut(..size).unwrap_or_default());
        match result {
            Ok(Got { count: 0, .. }) => self.drop_conn(key, CloseReason::ClientClosed),
            Ok(Got { count, more }) => {
                // The end of the stream may have been announced together with the last bytes.
                conn.readable = more || conn.read_closed;
                conn.held_back = false;
                self.hear_change();
                if self.fabric.conn(key).is_some_and(|conn| !conn.is_closing()) {
                    self.feed(key, buffer.get(..count).unwrap_or_default());
                    self.turn_over(key, count);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => conn.readable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => self.make_ready(key),
            Err(_) => self.drop_conn(key, CloseReason::ReadError),
        }
        self.buffer = buffer;
    }

    /// Lets a session act on bytes; true if the connection is still open.
    fn feed(&mut self, key: u32, bytes: &[u8]) -> bool {
        let Some(conn) = self.fabric.conn(key) else { return false };
        // A receiver that does not move may hold a publisher back once per batch, not for ever (local readers: see
        // `Congestion`).
        let may_pause = !conn.held_back;
        // Taken out, because operations need the whole reactor.
        let mut inbound: Inbound = std::mem::take(&mut conn.inbound);
        self.fabric.held_input -= inbound.held();
        let (result, pause, active) = {
            let mut session = Session::new(self, key, may_pause);
            let result = inbound.feed(bytes, &mut session);
            (result, session.should_pause(), session.is_active())
        };
        match result {
            Ok(flow) => {
                let Some(conn) = self.fabric.conn(key) else { return false };
                if conn.is_closing() {
                    return false;
                }
                conn.stopped = flow == Flow::Stop && !inbound.is_empty();
                conn.held_back |= pause;
                conn.active |= active;
                let held = inbound.held();
                conn.inbound = inbound;
                self.fabric.held_input += held;
                if pause {
                    self.park(key);
                }
                true
            }
            Err(fault) => {
                self.fault(key, fault);
                false
            }
        }
    }

    fn fault(&mut self, key: u32, fault: Fault) {
        let (text, reason) = match fault {
            Fault::UnknownOperation => (Some(text::UNKNOWN_OPERATION), CloseReason::ParseError),
            Fault::Malformed => (None, CloseReason::ParseError),
            Fault::ControlLine => (Some(text::CONTROL_LINE), CloseReason::MaxControlLineExceeded),
            Fault::MaxPayload => (Some(text::MAX_PAYLOAD), CloseReason::MaxPayloadExceeded),
            Fault::NotAuthorized => return self.refuse(key),
        };
        self.close_with(key, text, reason);
    }

    /// Throws away what a closing connection still sends, until it is closed on the other side too.
    fn discard_input(&mut self, key: u32) {
        let Some(conn) = self.fabric.peers.get_mut(key).and_then(Peer::socket) else { return };
        match conn.transport.receive(&mut self.buffer) {
            Ok(Got { count: 0, .. }) => self.drop_conn(key, CloseReason::ClientClosed),
            Ok(_) => self.make_ready(key),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.drop_conn(key, CloseReason::ReadError),
        }
    }

    /// Writes to every connection that has got something this round.
    pub(super) fn flush_touched(&mut self) {
        // Whoever has received something must not find counters that know nothing of it yet.
        self.hub.stats.publish(&self.fabric.stats);
        let mut touched = std::mem::take(&mut self.fabric.touched);
        for key in touched.drain(..) {
            self.flush(key);
        }
        self.fabric.touched = touched;
    }

    fn flush(&mut self, key: u32) {
        let (now, pool, limits) = (self.fabric.now, &mut self.fabric.pool, self.hub.limits());
        let Some(conn) = self.fabric.peers.get_mut(key).and_then(Peer::socket) else { return };
        conn.touched = false;
        if conn.linger_until.is_some() {
            return self.flush_lingering(key);
        }
        match conn.flush(pool, now) {
            Ok(done) => {
                if conn.congested && conn.out.len() < limits.max_pending / 2 {
                    conn.congested = false;
                    self.drained = true;
                }
                if !done {
                    self.schedule(key);
                }
            }
            Err(reason) => self.drop_conn(key, reason),
        }
    }
}
