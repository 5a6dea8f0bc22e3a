//! Time: log-in deadline, PING and stale connections, write deadline, the end of lingering. Each connection has at most
//! one valid entry in the heap, for the earliest of its times.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use crate::events::CloseReason;
use crate::peer::Conn;
use crate::proto::text;

use super::Reactor;

/// Also a client that always talks is asked once in this time.
const MEASURED: Duration = Duration::from_secs(60 * 60);

impl Reactor {
    /// The first PING, with up to a fifth more so that clients that came together are not asked together.
    pub(super) fn first_ping_delay(&self) -> Duration {
        self.options.first_ping.min(self.options.ping_interval).mul_f64(1.0 + fastrand::f64() / 5.0)
    }

    /// Makes sure that the heap knows the connection's earliest time.
    pub(super) fn schedule(&mut self, key: u32) {
        let write_deadline = self.options.write_deadline;
        let Some(conn) = self.fabric.conn(key) else { return };
        let Some(at) = earliest(conn, write_deadline) else { return };
        if conn.timer_at.is_none_or(|known| at < known) {
            conn.timer_at = Some(at);
            self.timers.push(Reverse((at, key)));
        }
    }

    /// Acts on every time that has come.
    pub(super) fn run_timers(&mut self) {
        while let Some(Reverse((at, key))) = self.timers.peek().copied() {
            if at > self.fabric.now {
                break;
            }
            self.timers.pop();
            let Some(conn) = self.fabric.conn(key) else { continue };
            if conn.timer_at == Some(at) {
                conn.timer_at = None;
                self.conn_timer(key);
                self.schedule(key);
            }
        }
        self.flush_touched();
    }

    fn conn_timer(&mut self, key: u32) {
        let (now, options) = (self.fabric.now, self.options.clone());
        let come = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let Some(conn) = self.fabric.conn(key) else { return };
        if come(conn.linger_until) {
            return self.drop_conn(key, CloseReason::ServerShutdown);
        }
        if come(conn.blocked_since.map(|since| since + options.write_deadline)) {
            conn.doomed = true;
            self.fabric.doomed.push((key, CloseReason::SlowConsumerWriteDeadline));
            return self.drop_doomed();
        }
        if come(conn.opening.until()) {
            return self.opening_timeout(key);
        }
        if come(conn.auth_deadline) {
            let addr = conn.addr;
            let reason = CloseReason::AuthenticationTimeout;
            self.close_with(key, Some(text::AUTH_TIMEOUT), reason);
            self.report_refused(addr, reason);
            return;
        }
        if come(conn.refused_until()) {
            return self.cut_off(key);
        }
        if come(conn.expires_at) {
            return self.expire(key);
        }
        if come(conn.ping_at) {
            self.ping(key);
        }
    }

    fn ping(&mut self, key: u32) {
        let (now, interval, max) = (self.fabric.now, self.options.ping_interval, self.options.ping_max);
        let Some(conn) = self.fabric.conn(key) else { return };
        conn.ping_at = Some(now + interval);
        // Whoever talks is alive. The first PING is sent all the same: clients take it for a sign of a whole server; and one
        // from time to time, which measures how far away they are.
        let measured = conn.last_ping.is_some_and(|last| now - last < MEASURED);
        if std::mem::take(&mut conn.active) && measured {
            return;
        }
        if conn.must_authenticate {
            return;
        }
        if conn.pings_out + 1 > max {
            self.close_with(key, Some(text::STALE), CloseReason::StaleConnection);
            // It has sent nothing that could cost it the last word: no need to linger.
            let told = |conn: &mut Conn| !conn.readable && !conn.wants_to_write();
            if self.fabric.conn(key).is_some_and(told) {
                self.drop_conn(key, CloseReason::StaleConnection);
            }
            return;
        }
        conn.pings_out += 1;
        conn.last_ping = Some(now);
        conn.pinged_at = Some(now);
        self.fabric.send(key, b"PING\r\n");
    }
}

/// The earliest time at which something is due for a connection.
fn earliest(conn: &Conn, write_deadline: Duration) -> Option<Instant> {
    let blocked = conn.blocked_since.map(|since| since + write_deadline);
    if conn.linger_until.is_some() {
        return conn.linger_until;
    }
    [conn.opening.until(), conn.auth_deadline, conn.refused_until(), conn.ping_at, conn.expires_at, blocked]
        .into_iter()
        .flatten()
        .min()
}
