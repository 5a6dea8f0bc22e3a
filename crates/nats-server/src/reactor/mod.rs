//! The loop: waits for sockets, the bell and time, and gives each its turn. One thread, one of these; it must never wait
//! for anything but the poll.
//!
//! A round reads each ready connection once into a buffer shared by all, routes what came, and then writes each touched
//! connection once: batching comes from the traffic itself, no message waits for company.

mod accept;
mod close;
mod door;
mod io;
mod lame_duck;
mod local;
mod login;
mod opening;
mod park;
mod relief;
mod reload;
mod session;
mod snapshot;
mod standing;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod stepped;
mod system;
mod tell;
mod timers;
mod trace;
mod turns;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};

use crate::auth::Authenticator;
use crate::auth::failures::FailureTable;
use crate::auth::slow::SlowChecks;
use crate::events::CloseReason;
use crate::fabric::Fabric;
use crate::hub::Hub;
use crate::options::Options;
use crate::proto::info::{Info, Reader, Tls};

pub(crate) use door::{Door, DoorTls};
use lame_duck::LameDuck;
pub(crate) use opening::Opening;
pub(crate) use turns::FIRST_READ;

use standing::Members;

/// Token of the bell.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// Bytes read from one connection in its turn.
const READ_BUFFER: usize = 128 * 1024;
/// How long sockets may take to accept what is queued when the server ends.
const END: Duration = Duration::from_millis(100);
/// Events taken from the system at a time.
const MAX_EVENTS: usize = 1024;

/// All state of the loop thread.
pub(crate) struct Reactor {
    poll: Poll,
    doors: Vec<Door>,
    options: Arc<Options>,
    hub: Arc<Hub>,
    info: Info,
    fabric: Fabric,
    /// The buffer that every read goes to.
    buffer: Vec<u8>,
    turns: turns::Turns,
    /// Subscriptions of connections that are gone.
    leaving: VecDeque<relief::Leaving>,
    /// Local clients with commands, each at most once.
    local_ready: VecDeque<u32>,
    /// Publishers held back, oldest first, with the time of their release.
    parked: VecDeque<(Instant, u32)>,
    /// A receiver has room again.
    drained: bool,
    /// Next time to look at connections; entries that do not agree with `Conn::timer_at` are stale.
    timers: BinaryHeap<Reverse<(Instant, u32)>>,
    auth: Authenticator,
    failures: FailureTable,
    slow_checks: SlowChecks,
    /// Connections by account.
    members: Members,
    last_cid: u64,
    lame_duck: Option<LameDuck>,
    closed: snapshot::ClosedRing,
    system: system::System,
    rhythm: tell::Rhythm,
    stopping: bool,
}

impl Reactor {
    pub(crate) fn new(
        poll: Poll,
        mut doors: Vec<Door>,
        options: Arc<Options>,
        auth: Authenticator,
        hub: Arc<Hub>,
    ) -> std::io::Result<Self> {
        for (number, door) in doors.iter_mut().enumerate() {
            door.register(number, poll.registry())?;
        }
        let port = doors.first().map_or(0, |door| door.addr.port());
        let now = Instant::now();
        Ok(Self {
            poll,
            doors,
            info: Info::new(&options, port),
            closed: snapshot::ClosedRing::new(options.monitor.is_some()),
            options,
            fabric: Fabric::new(hub.limits(), auth.accounts(), now),
            hub,
            buffer: vec![0; READ_BUFFER],
            turns: turns::Turns::default(),
            leaving: VecDeque::new(),
            local_ready: VecDeque::new(),
            parked: VecDeque::new(),
            drained: false,
            timers: BinaryHeap::new(),
            auth,
            failures: FailureTable::default(),
            slow_checks: SlowChecks::default(),
            members: Members::default(),
            last_cid: 0,
            lame_duck: None,
            system: system::System::default(),
            rhythm: tell::Rhythm::new(now),
            stopping: false,
        })
    }

    /// Id and name of the server.
    pub(crate) fn identity(&self) -> (Arc<str>, Arc<str>) {
        (self.info.server_id.clone(), self.info.server_name.clone())
    }

    /// Runs until the hub says stop.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(MAX_EVENTS);
        while !self.stopping {
            if let Err(error) = self.poll.poll(&mut events, self.timeout())
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "NATS server: waiting for events failed; the server stops");
                break;
            }
            self.round(&events);
        }
        self.end(&mut events);
        self.hub.stats.publish(&self.fabric.stats);
    }

    /// Acts on what the poll found, on what was asked for and on time.
    fn round(&mut self, events: &Events) {
        self.fabric.now = Instant::now();
        for event in events {
            self.event(event);
        }
        self.hear();
        self.serve();
        self.run_local_ready();
        self.flush_touched();
        self.relieve();
        self.run_timers();
        self.run_lame_duck();
        self.run_rhythm();
        self.unpark();
        self.hub.stats.publish(&self.fabric.stats);
    }

    /// Notes what the poll said.
    fn event(&mut self, event: &Event) {
        if event.token() == WAKER {
            return;
        }
        match Door::number(event.token()) {
            Some(number) => {
                if let Some(door) = self.doors.get_mut(number) {
                    door.ready = true;
                }
            }
            None => self.socket_event(event.token().0 as u32, event),
        }
    }

    /// The last round: everybody is told, and sockets get a moment to take what waits for them.
    fn end(&mut self, events: &mut Events) {
        self.fabric.now = Instant::now();
        for door in &mut self.doors {
            door.close(self.poll.registry());
        }
        self.tell_end();
        self.close_all();
        let until = self.fabric.now + END;
        while self.fabric.stats.connections > 0 && self.fabric.now < until {
            // A slice may have ended before everybody had a turn.
            let wait = if self.turns.is_empty() { until - self.fabric.now } else { Duration::ZERO };
            if self.poll.poll(events, Some(wait)).is_err() {
                break;
            }
            self.fabric.now = Instant::now();
            for event in events.iter() {
                self.event(event);
            }
            self.serve();
            self.flush_touched();
        }
        for key in self.fabric.peers.keys() {
            self.drop_conn(key, CloseReason::ServerShutdown);
        }
    }

    /// Calls the observer. Its panic is its own: the loop must go on for everybody else.
    fn observe(&self, call: impl FnOnce(&dyn crate::events::Events)) {
        let Some(events) = &self.options.events else { return };
        let call = std::panic::AssertUnwindSafe(|| call(&**events));
        if std::panic::catch_unwind(call).is_err() {
            tracing::error!("NATS server: the observer of connections panicked");
        }
    }

    /// How long the poll may wait.
    fn timeout(&self) -> Option<Duration> {
        let has_work = !self.turns.is_empty() || !self.local_ready.is_empty() || !self.leaving.is_empty();
        if has_work || self.hub.has_rung() {
            return Some(Duration::ZERO);
        }
        let waits = |door: &&Door| door.ready;
        if self.doors.iter().filter(waits).any(|door| door.not_before.is_none()) {
            return Some(Duration::ZERO);
        }
        let accept = self.doors.iter().filter(waits).filter_map(|door| door.not_before).min();
        let parked = self.parked.front().map(|(at, _)| *at);
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let duck = self.lame_duck.as_ref().map(LameDuck::next_at);
        let system = self.rhythm_at();
        let next = [parked, timer, accept, duck, system].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Acts on what the bell was rung for.
    fn hear(&mut self) {
        if !self.hub.has_rung() {
            return;
        }
        let heard = self.hub.hear();
        self.stopping |= heard.stopping;
        self.drained |= heard.drained;
        for checked in heard.checked {
            self.password_checked(checked);
        }
        if let Some(change) = heard.change {
            self.reload(*change);
        }
        for account in heard.accounts {
            self.account_changed(account);
        }
        for queue in heard.ready {
            self.local_announced(&queue);
        }
        for said in heard.said {
            self.say(&said);
        }
        for question in heard.questions {
            self.answer(question);
        }
        if heard.lame_duck {
            self.begin_lame_duck();
        }
    }

    /// Sends the present INFO to everybody who understands it at any time.
    fn inform_all(&mut self) {
        for key in self.fabric.peers.keys() {
            let Some(conn) = self.fabric.conn(key) else { continue };
            if conn.settled && conn.behaviour.protocol >= 1 && !conn.is_closing() {
                self.send_info(key, true);
            }
        }
    }

    /// Sends INFO to a connection.
    fn send_info(&mut self, key: u32, connected: bool) {
        let Some(conn) = self.fabric.conn(key) else { return };
        let tls = self.doors.get(conn.door).map(|door| Tls::of(door, self.options.tls_in_front));
        let line = self.info.line(Reader {
            cid: conn.cid,
            ip: conn.addr.ip().to_canonical().to_string(),
            auth_required: if connected {
                self.auth.has_credentials()
            } else {
                self.auth.must_authenticate()
            },
            nonce: conn.nonce.clone().filter(|_| !connected),
            is_system: self.auth.system_account() == Some(conn.account),
            account: connected.then(|| self.auth.account(conn.account)),
            max_payload: conn.pass.as_ref().and_then(|pass| pass.max_payload()),
            tls: tls.unwrap_or_default(),
        });
        self.fabric.send(key, &line);
    }
}

impl Drop for Reactor {
    /// Local clients that nobody has heard must not wait for ever; also if the loop should have panicked.
    fn drop(&mut self) {
        for queue in self.hub.close() {
            queue.close();
        }
    }
}
