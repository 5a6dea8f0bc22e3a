//! From an accepted socket to a stream of NATS bytes: TLS and WebSocket handshakes, and INFO at its place among them.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Instant;

use rustls::InvalidMessage;

use crate::certs;
use crate::events::CloseReason;
use crate::options::HandshakeFirst;
use crate::peer::Peer;
use crate::transport::web::{Below, WebStream};
use crate::transport::{TlsStream, Transport, first};

use super::Reactor;

/// For those who begin with HTTP where TLS is expected.
const IN_THE_CLEAR: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nThis port is encrypted: the address must begin with wss://, not with ws://.\n";

/// How far the opening of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The first byte will tell whether TLS comes; INFO has been sent or not.
    Peek { informed: bool, until: Instant },
    /// TLS handshake.
    Tls { informed: bool, until: Instant },
    /// HTTP request of a WebSocket client.
    Request { until: Instant },
    /// NATS.
    Done,
}

impl Opening {
    /// When it must have gone on.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self {
            Opening::Peek { until, .. } | Opening::Tls { until, .. } | Opening::Request { until } => {
                Some(*until)
            }
            Opening::Done => None,
        }
    }
}

impl Reactor {
    /// Begins with a connection that has just been accepted.
    pub(super) fn begin(&mut self, key: u32) {
        let now = self.fabric.now;
        let Some(conn) = self.fabric.conn(key) else { return };
        let Some(door) = self.doors.get(conn.door) else { return };
        let web = door.web.is_some();
        let Some((tls, _)) = &door.tls else {
            return if web { self.begin_request(key) } else { self.opened(key, false) };
        };
        let (first, optional, timeout) = (tls.handshake_first, tls.allow_non_tls, tls.timeout);
        let informed = !web && first == HandshakeFirst::Never;
        if informed && !self.inform_now(key) {
            return;
        }
        let Some(conn) = self.fabric.conn(key) else { return };
        conn.opening = match first {
            HandshakeFirst::Auto(wait) if !web => Opening::Peek { informed, until: now + wait },
            _ if optional && !web => Opening::Peek { informed, until: now + timeout },
            _ => Opening::Tls { informed, until: now + timeout },
        };
        if matches!(conn.opening, Opening::Tls { .. }) {
            self.begin_tls(key);
        }
        self.schedule(key);
    }

    /// Goes on with the opening. True: it is done, and what is read is NATS.
    pub(super) fn open(&mut self, key: u32) -> bool {
        let result = loop {
            let Some(conn) = self.fabric.conn(key) else { return false };
            let before = conn.opening;
            let step = match before {
                Opening::Done => return true,
                Opening::Peek { informed, .. } => self.peek(key, informed),
                Opening::Tls { .. } => self.tls_step(key),
                Opening::Request { .. } => self.request_step(key),
            };
            let goes_on = self.fabric.conn(key).is_some_and(|conn| conn.opening != before);
            if step.is_err() || !goes_on {
                break step;
            }
        };
        match result {
            Err(error) if error.kind() != ErrorKind::WouldBlock => self.opening_failed(key, &error),
            // Nothing more to read now; the rest comes with the next event.
            _ => {
                if let Some(conn) = self.fabric.conn(key) {
                    conn.readable = false;
                }
            }
        }
        false
    }

    /// The time for the present step is over.
    pub(super) fn opening_timeout(&mut self, key: u32) {
        let now = self.fabric.now;
        let Some(conn) = self.fabric.conn(key) else { return };
        let Some((tls, _)) = self.doors.get(conn.door).and_then(|door| door.tls.as_ref()) else {
            return self.drop_conn(key, CloseReason::ParseError);
        };
        match conn.opening {
            // The client waits for INFO, as most do.
            Opening::Peek { informed: false, .. } => {
                let (optional, until) = (tls.allow_non_tls, now + tls.timeout);
                conn.opening = match optional {
                    true => Opening::Peek { informed: true, until },
                    false => Opening::Tls { informed: true, until },
                };
                if self.inform_now(key) && !optional {
                    self.begin_tls(key);
                }
            }
            // It may use TLS and says nothing: an ordinary client that is slow, with the ordinary deadline.
            Opening::Peek { informed: true, .. } => self.opened(key, true),
            Opening::Tls { .. } => {
                self.fabric.stats.tls_failures += 1;
                self.drop_conn(key, CloseReason::TlsHandshakeFailure);
            }
            Opening::Request { .. } => self.drop_conn(key, CloseReason::ParseError),
            Opening::Done => {}
        }
    }

    fn peek(&mut self, key: u32, informed: bool) -> io::Result<()> {
        let until = self.tls_deadline(key);
        let Some(conn) = self.fabric.conn(key) else { return Ok(()) };
        let Transport::Tcp(socket) = &conn.transport else { return Ok(()) };
        if first::is_tls(socket)? {
            conn.opening = Opening::Tls { informed, until };
            self.begin_tls(key);
            return Ok(());
        }
        let optional = self.doors.get(conn.door).is_some_and(|door| !door.requires_tls());
        if optional {
            self.opened(key, informed);
            return Ok(());
        }
        Err(io::Error::new(ErrorKind::InvalidData, "the client does not use TLS, which is required"))
    }

    fn begin_tls(&mut self, key: u32) {
        let Some(conn) = self.fabric.conn(key) else { return };
        let Some((_, config)) = self.doors.get(conn.door).and_then(|door| door.tls.as_ref()) else { return };
        let Transport::Tcp(socket) = std::mem::replace(&mut conn.transport, Transport::Gone) else { return };
        match TlsStream::new(socket, Arc::clone(config)) {
            Ok(stream) => conn.transport = Transport::Tls(Box::new(stream)),
            Err(error) => {
                tracing::error!(%error, "NATS server: TLS cannot begin");
                self.drop_conn(key, CloseReason::TlsHandshakeFailure);
            }
        }
    }

    fn tls_step(&mut self, key: u32) -> io::Result<()> {
        let Some(conn) = self.fabric.conn(key) else { return Ok(()) };
        let Opening::Tls { informed, .. } = conn.opening else { return Ok(()) };
        let Transport::Tls(stream) = &mut conn.transport else { return Ok(()) };
        if !stream.handshake()? {
            return Ok(());
        }
        let Some(door) = self.doors.get(conn.door) else { return Ok(()) };
        if door.tls.as_ref().is_some_and(|(options, _)| options.verify_and_map) {
            let names = stream.peer_certificate().map(|certificate| certs::names(certificate));
            conn.certificate_names = names.unwrap_or_default();
            if conn.certificate_names.is_empty() {
                // Nobody has this name; without one a password would be asked for.
                conn.certificate_names.push(certs::Name::Plain(String::new()));
            }
        }
        match door.web.is_some() {
            true => self.begin_request(key),
            false => self.opened(key, informed),
        }
        Ok(())
    }

    fn begin_request(&mut self, key: u32) {
        let now = self.fabric.now;
        let Some(conn) = self.fabric.conn(key) else { return };
        let Some((origins, timeout)) = self.doors.get(conn.door).and_then(|door| door.web.as_ref()) else {
            return;
        };
        let below = match std::mem::replace(&mut conn.transport, Transport::Gone) {
            Transport::Tcp(socket) => Below::Tcp(socket),
            Transport::Tls(stream) => Below::Tls(stream),
            other => return conn.transport = other,
        };
        conn.transport = Transport::Web(Box::new(WebStream::new(below, origins.clone())));
        conn.opening = Opening::Request { until: now + *timeout };
        self.schedule(key);
    }

    fn request_step(&mut self, key: u32) -> io::Result<()> {
        let Some(conn) = self.fabric.conn(key) else { return Ok(()) };
        let Transport::Web(stream) = &mut conn.transport else { return Ok(()) };
        if stream.handshake()? {
            self.opened(key, false);
        }
        Ok(())
    }

    /// From here on it is NATS.
    fn opened(&mut self, key: u32, informed: bool) {
        let (now, timeout) = (self.fabric.now, self.options.auth_timeout);
        let ping_at = now + self.options.ping_interval;
        // Whoever may go ahead as somebody else's user must say something, too.
        let must_speak = self.auth.has_credentials();
        let Some(conn) = self.fabric.conn(key) else { return };
        conn.opening = Opening::Done;
        conn.ping_at = Some(ping_at);
        if must_speak || conn.must_authenticate {
            conn.auth_deadline = Some(now + timeout);
        }
        if !informed {
            self.send_info(key, false);
        }
        self.schedule(key);
    }

    /// Sends INFO before encryption begins, in one go: nothing of it may wait. False: the connection is gone.
    fn inform_now(&mut self, key: u32) -> bool {
        self.send_info(key, false);
        let (now, pool) = (self.fabric.now, &mut self.fabric.pool);
        let Some(conn) = self.fabric.peers.get_mut(key).and_then(Peer::socket) else { return false };
        let sent = conn.flush(pool, now) == Ok(true);
        if !sent {
            self.drop_conn(key, CloseReason::WriteError);
        }
        sent
    }

    fn tls_deadline(&mut self, key: u32) -> Instant {
        let door = self.fabric.conn(key).map(|conn| conn.door).unwrap_or_default();
        let tls = self.doors.get(door).and_then(|door| door.tls.as_ref());
        self.fabric.now + tls.map(|(options, _)| options.timeout).unwrap_or_default()
    }

    fn opening_failed(&mut self, key: u32, error: &io::Error) {
        let Some(conn) = self.fabric.conn(key) else { return };
        tracing::debug!(cid = conn.cid, addr = %conn.addr, %error, "NATS server: handshake failed");
        let reason = match conn.opening {
            _ if error.kind() == ErrorKind::UnexpectedEof => CloseReason::ClientClosed,
            Opening::Request { .. } => CloseReason::ParseError,
            _ => CloseReason::TlsHandshakeFailure,
        };
        self.fabric.stats.tls_failures += u64::from(reason == CloseReason::TlsHandshakeFailure);
        if reason == CloseReason::TlsHandshakeFailure && is_in_the_clear(error) {
            self.say_that_it_is_encrypted(key);
        }
        self.drop_conn(key, reason);
    }

    /// Tells a page that it should have used `wss`. Best effort: it is gone afterwards in any case.
    fn say_that_it_is_encrypted(&mut self, key: u32) {
        let Some(conn) = self.fabric.conn(key) else { return };
        let is_web = self.doors.get(conn.door).is_some_and(|door| door.web.is_some());
        if let Some(socket) = conn.transport.socket().filter(|_| is_web) {
            let _ = socket.write(IN_THE_CLEAR);
        }
    }
}

/// Was what came no TLS at all?
fn is_in_the_clear(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)))
}
