//! Events that the server tells the system account: connections that come and go, figures from time to time, its end.
//! They are not made while nobody there listens to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::events::CloseReason;
use crate::monitor::State;
use crate::peer::Conn;
use crate::system::{Disconnect, ServerBlock, ServerRequest, What, connect, disconnect};

use super::Reactor;
use super::system::TOKEN_USER;

/// The first regular figures come this long after the start ...
const FIRST_STATSZ: Duration = Duration::from_millis(250);
/// ... and then each time after a pause twice as long as before, beginning with twice this ...
const HALF_PAUSE: Duration = Duration::from_millis(500);
/// ... up to this.
const STATSZ: Duration = Duration::from_secs(10);
/// How often an account with connections is told of.
const CONNS: Duration = Duration::from_secs(30);

/// When regular events are due.
pub(super) struct Rhythm {
    statsz_at: Instant,
    statsz_pause: Duration,
    conns_at: Instant,
}

impl Rhythm {
    pub(super) fn new(now: Instant) -> Rhythm {
        Rhythm { statsz_at: now + FIRST_STATSZ, statsz_pause: HALF_PAUSE, conns_at: now + CONNS }
    }

    fn next(&self) -> Instant {
        self.statsz_at.min(self.conns_at)
    }
}

/// The user of a connection, as others are told.
fn user(conn: &Conn) -> &str {
    if conn.has_proved && conn.user.is_empty() { TOKEN_USER } else { &conn.user }
}

impl Reactor {
    /// Who listens to an event: the system account, if anybody there does.
    fn listens(&mut self, subject: &str) -> Option<(u32, Arc<ServerBlock>, Arc<State>)> {
        let system = self.auth.system_account()?;
        if !self.fabric.has_interest(system, subject.as_bytes()) {
            return None;
        }
        let (block, state) = self.voice()?;
        Some((system, block, state))
    }

    /// Has the system account a subscription at all? Without one nothing here costs anything.
    fn is_heard(&self) -> bool {
        let system = self.auth.system_account();
        system.is_some_and(|system| self.fabric.has_subscriptions(system))
    }

    /// A client has logged in.
    pub(super) fn tell_connected(&mut self, key: u32) {
        if !self.is_heard() {
            return;
        }
        let Some(number) = self.fabric.conn(key).map(|conn| conn.account) else { return };
        let account = self.auth.account(number);
        let subject = format!("$SYS.ACCOUNT.{account}.CONNECT");
        let Some((system, block, state)) = self.listens(&subject) else { return };
        let label = self.auth.account_label(number);
        let Some(conn) = self.fabric.conn(key) else { return };
        let times = (state.time(), state.time_of(conn.start));
        let event = connect(&block, times, conn, (user(conn), &account, &label));
        self.fabric.tell(system, subject.as_bytes(), &event);
    }

    /// A connection has ended. One that had not logged in belonged to nobody, which is the global account.
    pub(super) fn tell_gone(&mut self, key: u32, reason: CloseReason, was_connected: bool) {
        if !self.is_heard() {
            return;
        }
        let number = match self.fabric.conn(key) {
            Some(conn) if was_connected => conn.account,
            _ => 0,
        };
        if was_connected {
            self.tell_conns(number);
        }
        if reason == CloseReason::AuthenticationFailure {
            let id = self.info.server_id.clone();
            self.tell_disconnect(format!("$SYS.SERVER.{id}.CLIENT.AUTH.ERR"), key, number, reason);
        }
        let account = self.auth.account(number);
        self.tell_disconnect(format!("$SYS.ACCOUNT.{account}.DISCONNECT"), key, number, reason);
    }

    fn tell_disconnect(&mut self, subject: String, key: u32, number: u32, reason: CloseReason) {
        let Some((system, block, state)) = self.listens(&subject) else { return };
        let (account, label) = (self.auth.account(number), self.auth.account_label(number));
        let Some(conn) = self.fabric.conn(key) else { return };
        let times = (state.time(), state.time_of(conn.start));
        let end = Disconnect { names: (user(conn), &account, &label), reason: reason.to_string() };
        let event = disconnect(&block, times, conn, &end);
        self.fabric.tell(system, subject.as_bytes(), &event);
    }

    /// The number of connections of an account has changed. Nobody counts those of the global account.
    pub(super) fn tell_conns(&mut self, number: u32) {
        if number == 0 || !self.is_heard() {
            return;
        }
        let account = self.auth.account(number);
        let subjects =
            [format!("$SYS.SERVER.ACCOUNT.{account}.CONNS"), format!("$SYS.ACCOUNT.{account}.SERVER.CONNS")];
        let mut event = None;
        for subject in subjects {
            let Some((system, block, state)) = self.listens(&subject) else { continue };
            let event = event.get_or_insert_with(|| self.conns(number).event(&block, state.time()));
            self.fabric.tell(system, subject.as_bytes(), event);
        }
    }

    /// When there is something to say; never, while nobody listens.
    pub(super) fn rhythm_at(&self) -> Option<Instant> {
        self.is_heard().then(|| self.rhythm.next())
    }

    /// Says what is said regularly.
    pub(super) fn run_rhythm(&mut self) {
        let now = self.fabric.now;
        if !self.is_heard() || now < self.rhythm.next() {
            return;
        }
        if now >= self.rhythm.statsz_at {
            // Who comes after a long time without anybody waits for the next time, as if it had been said all along.
            let late = now - self.rhythm.statsz_at;
            let is_on_time = late < HALF_PAUSE;
            self.rhythm.statsz_pause = match is_on_time {
                true => (self.rhythm.statsz_pause * 2).min(STATSZ),
                false => STATSZ,
            };
            let missed = u32::try_from(late.as_secs() / STATSZ.as_secs()).unwrap_or(0);
            self.rhythm.statsz_at += self.rhythm.statsz_pause + STATSZ * missed;
            if is_on_time {
                self.tell_statsz();
            }
        }
        if now >= self.rhythm.conns_at {
            self.rhythm.conns_at = now + CONNS;
            for number in 0..self.fabric.accounts() {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                if self.members.count(number) > 0 {
                    self.tell_conns(number);
                }
            }
        }
    }

    fn tell_statsz(&mut self) {
        let subject = format!("$SYS.SERVER.{}.STATSZ", self.info.server_id);
        if let Some((system, ..)) = self.listens(&subject) {
            self.submit(system, subject.as_bytes(), What::Server(ServerRequest::Statsz), b"");
        }
    }

    /// The server sends its clients elsewhere.
    pub(super) fn tell_lame_duck(&mut self) {
        self.tell_own("LAMEDUCK");
    }

    /// The server ends.
    pub(super) fn tell_end(&mut self) {
        self.tell_own("SHUTDOWN");
    }

    fn tell_own(&mut self, what: &str) {
        let subject = format!("$SYS.SERVER.{}.{what}", self.info.server_id);
        if let Some((system, block, state)) = self.listens(&subject) {
            self.fabric.tell(system, subject.as_bytes(), &block.alone(state.time()));
        }
    }
}
