//! Log-ins: credentials judged at once or later, whoever is let in made known, whoever is not cut off.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::auth::Verdict;
use crate::auth::operator::{Caller, unix_now};
use crate::auth::slow::{Asker, Check, Checked};
use crate::events::CloseReason;
use crate::peer::{Hold, Login};
use crate::proto::connect::{Behaviour, Connect};
use crate::proto::text;
use crate::transport::Transport;

use super::Reactor;

/// Longest name or version of a client library that is kept, in bytes.
const BRIEF: usize = 64;

/// A client's word about its library: for people to read, so a long one is cut.
fn brief(text: &str) -> Arc<str> {
    text.get(..text.floor_char_boundary(BRIEF)).unwrap_or_default().into()
}

impl Reactor {
    /// Acts on a CONNECT. True: the client must wait before anything else it sends is looked at.
    pub(super) fn log_in(&mut self, key: u32, mut connect: Connect, behaviour: Behaviour) -> bool {
        let now = self.fabric.now;
        let Some(conn) = self.fabric.conn(key) else { return false };
        if let Some(before) = &conn.shown {
            connect.complete(before);
        }
        let (cid, conn_left) = (conn.cid, conn.read_closed);
        conn.rtt.get_or_insert(now.saturating_duration_since(conn.start));
        let verdict = match connect.asks_for_account() {
            true => Verdict::Refused,
            false if !conn.certificate_names.is_empty() => {
                self.auth.judge_certificate(&connect, &conn.certificate_names, conn.connection_type())
            }
            false => {
                let caller = Caller {
                    nonce: conn.nonce.as_deref(),
                    addr: conn.addr.ip(),
                    connection_type: conn.connection_type(),
                    now: unix_now(),
                };
                self.auth.judge(&connect, &caller)
            }
        };
        match verdict {
            Verdict::Accepted(identity) => {
                self.let_in(key, Login { connect, behaviour, identity });
                false
            }
            Verdict::Refused => {
                self.refuse(key);
                true
            }
            Verdict::Slow { hash, offered, identity } => {
                let asker = Arc::new(Asker { left: conn_left.into() });
                let check = Check { key, cid, hash, offered, asker: Arc::downgrade(&asker) };
                if self.slow_checks.submit(check, &self.hub) {
                    if let Some(conn) = self.fabric.conn(key) {
                        // It has said what it had to say in time; how long the check takes is not up to it.
                        conn.auth_deadline = None;
                        conn.hold = Hold::Checking(Box::new(Login { connect, behaviour, identity }), asker);
                    }
                } else {
                    self.refuse(key);
                }
                true
            }
        }
    }

    /// A client goes ahead without CONNECT: from now on it is the user that those are who show nothing, and a CONNECT is
    /// a second one.
    pub(super) fn presume(&mut self, key: u32) {
        let mut connect = Connect::default();
        if let Some(identity) = self.auth.nobody() {
            self.auth.note_nobody(&mut connect, identity);
        }
        if let Some(conn) = self.fabric.conn(key) {
            conn.shown = connect.into_credentials();
            conn.auth_deadline = None;
        }
    }

    /// The result of a check that took its time; the connection may be gone by now.
    pub(super) fn password_checked(&mut self, checked: Checked) {
        let Some(conn) = self.fabric.conn(checked.key).filter(|conn| conn.cid == checked.cid) else { return };
        match std::mem::replace(&mut conn.hold, Hold::No) {
            Hold::Checking(login, _) if checked.good => self.let_in(checked.key, *login),
            Hold::Checking(..) => return self.refuse(checked.key),
            // Closing already, for example because it took too long.
            other => return conn.hold = other,
        }
        self.make_ready(checked.key);
    }

    /// Bytes of the longest WebSocket frame of a client that has logged in.
    pub(super) fn longest_frame(&self) -> usize {
        self.options.max_payload.saturating_add(self.options.max_control_line).saturating_mul(2)
    }

    fn let_in(&mut self, key: u32, login: Login) {
        let Login { mut connect, behaviour, identity } = login;
        let frame = self.longest_frame();
        if !(0..=1).contains(&behaviour.protocol) {
            return self.close_with(key, Some(text::CLIENT_PROTOCOL), CloseReason::ProtocolViolation);
        }
        if behaviour.no_responders && !behaviour.headers {
            return self.close_with(key, Some(text::NO_RESPONDERS), CloseReason::ProtocolViolation);
        }
        if !self.enter(key, identity.account) {
            let reason = CloseReason::MaxAccountConnectionsExceeded;
            return self.close_with(key, Some(text::MAX_ACCOUNT_CONNECTIONS), reason);
        }
        let has_proved = self.auth.has_credentials()
            && self.auth.nobody().is_none_or(|nobody| nobody.user != identity.user);
        self.auth.note_nobody(&mut connect, &identity);
        if self.auth.operator().is_none() {
            // It can be long, and counts for nothing.
            connect.jwt = None;
        }
        let keyed = self.fabric.keyed;
        let Some(conn) = self.fabric.conn(key) else { return };
        // Whoever logs in again starts afresh: what the former login was allowed to hear, this one may not be. Nobody has
        // logged in before where the first CONNECT proves nothing.
        if conn.connected || self.auth.has_credentials() {
            conn.login = conn.login.wrapping_add(1);
            let subs = std::mem::take(&mut conn.subs);
            conn.stale_subs += subs.len();
            self.remove_subscriptions(key, subs);
        }
        let Some(conn) = self.fabric.conn(key) else { return };
        conn.behaviour = behaviour;
        conn.become_user(identity, keyed);
        conn.has_proved = has_proved;
        if let Transport::Web(stream) = &mut conn.transport {
            stream.trust(frame);
        }
        let first_ping = Some(self.fabric.now + self.first_ping_delay());
        self.note_expiry(key);
        let Some(conn) = self.fabric.conn(key) else { return };
        let first = !std::mem::replace(&mut conn.connected, true);
        // Observers know a connection by its name, so a later CONNECT cannot change it.
        if let (true, Some(name)) = (first, &connect.name) {
            conn.name = name.as_str().into();
        }
        if first {
            conn.ping_at = first_ping;
        }
        for (field, given) in [(&mut conn.lang, &connect.lang), (&mut conn.version, &connect.version)] {
            if let Some(given) = given {
                *field = brief(given);
            }
        }
        let info = conn.info();
        tracing::debug!(
            cid = info.cid, addr = %info.addr, name = &*info.name, user = &*info.user,
            lang = &*conn.lang, version = &*conn.version,
            "NATS server: client connected"
        );
        conn.shown = connect.into_credentials();
        if behaviour.verbose {
            self.fabric.send(key, b"+OK\r\n");
        }
        self.schedule(key);
        self.tell_connected(key);
        if first {
            self.observe(|events| events.connected(&info));
        }
    }

    /// Ends a connection that may not be here; later, if its address has tried too often.
    pub(super) fn refuse(&mut self, key: u32) {
        let now = self.fabric.now;
        let Some(conn) = self.fabric.conn(key) else { return };
        let addr = conn.addr;
        conn.auth_deadline = None;
        let delay = self.report_refused(addr, CloseReason::AuthenticationFailure);
        if delay.is_zero() {
            return self.cut_off(key);
        }
        if let Some(conn) = self.fabric.conn(key) {
            conn.hold = Hold::RefusedUntil(now + delay);
        }
        self.schedule(key);
    }

    /// Tells a client that it is refused, and closes.
    pub(super) fn cut_off(&mut self, key: u32) {
        self.close_with(key, Some(text::AUTHORIZATION), CloseReason::AuthenticationFailure);
    }

    /// Tells the log (once per address and interval) and the observer; gives the time that the client has to wait.
    pub(super) fn report_refused(&mut self, addr: SocketAddr, reason: CloseReason) -> std::time::Duration {
        let treatment = self.failures.note(addr.ip(), self.fabric.now);
        if treatment.log {
            tracing::warn!(%addr, %reason, "NATS server: refused a client; check the credentials it uses");
        }
        self.observe(|events| events.auth_failed(addr, reason));
        treatment.delay
    }
}
