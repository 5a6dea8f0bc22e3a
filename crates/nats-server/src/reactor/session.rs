//! What a client on a socket may do: each operation checked and carried out, and the answers it gets. The bytes were
//! read by `proto`; delivery is `fabric`'s.

use bytes::Bytes;

use crate::events::CloseReason;
use crate::fabric::Congestion;
use crate::local::{Message, Subject};
use crate::proto::connect::{Behaviour, Connect};
use crate::proto::inbound::{Flow, Sink};
use crate::proto::parser::{Limits, Op, Publish};
use crate::proto::write::{Outgoing, error_line};
use crate::proto::{text, told};
use crate::subject;

use super::{Reactor, trace};

/// One batch of one connection.
pub(super) struct Session<'a> {
    reactor: &'a mut Reactor,
    key: u32,
    /// Copies of the connection's state, so that a publication does not have to look it up.
    behaviour: Behaviour,
    limits: Limits,
    /// Bytes of a message, for everybody.
    max_payload: usize,
    may_pause: bool,
    congestion: Congestion,
    /// The client does not have all permissions.
    guarded: bool,
    /// It has shown nothing yet, where others log in. Whatever it does before CONNECT, it does as nobody.
    is_new: bool,
    /// A log-in takes time; nothing more is read until then.
    waiting: bool,
    closed: bool,
    /// It did something that shows that it is there, without being asked.
    active: bool,
    /// The turn ends when the fabric has worked so much.
    turn_ends: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(reactor: &'a mut Reactor, key: u32, may_pause: bool) -> Self {
        let limits = Limits {
            control_line: reactor.options.max_control_line,
            payload: reactor.options.max_payload,
            connect_only: false,
            headers: false,
        };
        let behaviour = Behaviour::default();
        let turn_ends = reactor.fabric.work + reactor.turns.length(reactor.fabric.now);
        let congestion = Congestion::None;
        let mut session = Self {
            reactor,
            key,
            behaviour,
            limits,
            max_payload: limits.payload,
            may_pause,
            congestion,
            guarded: false,
            is_new: false,
            waiting: false,
            closed: false,
            active: false,
            turn_ends,
        };
        session.reload();
        session
    }

    /// Should this publisher be held back?
    pub(super) fn should_pause(&self) -> bool {
        match self.congestion {
            Congestion::None => false,
            Congestion::Socket => self.may_pause,
            Congestion::Local => true,
        }
    }

    /// Was there anything that makes a PING unnecessary? An answer to the last one does not.
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    fn reload(&mut self) {
        match self.reactor.fabric.conn(self.key) {
            Some(conn) => {
                self.closed = conn.is_closing();
                self.behaviour = conn.behaviour;
                self.guarded = conn.guard.is_some();
                self.is_new = !conn.connected && conn.shown.is_none() && self.reactor.auth.has_credentials();
                self.limits.connect_only = conn.must_authenticate;
                self.limits.headers = conn.behaviour.headers;
                let own = conn.pass.as_ref().and_then(|pass| pass.max_payload());
                self.limits.payload = own.map_or(self.max_payload, |own| own.min(self.max_payload));
            }
            None => self.closed = true,
        }
    }

    fn error(&mut self, text: &str) {
        self.reactor.fabric.send(self.key, &error_line(text));
    }

    fn ok(&mut self) {
        if self.behaviour.verbose {
            self.reactor.fabric.send(self.key, b"+OK\r\n");
        }
    }

    fn close(&mut self, text: Option<&str>, reason: CloseReason) {
        self.closed = true;
        self.reactor.close_with(self.key, text, reason);
    }

    fn connect(&mut self, json: &[u8]) {
        let Ok(connect) = Connect::parse(json) else {
            return self.close(None, CloseReason::ParseError);
        };
        let mut behaviour = self.behaviour;
        behaviour.update(&connect);
        behaviour.headers &= self.reactor.options.headers;
        self.waiting = self.reactor.log_in(self.key, connect, behaviour);
        self.reload();
    }

    #[inline]
    fn publish(&mut self, publish: &Publish<'_>) {
        if self.behaviour.pedantic && !subject::is_valid_literal(publish.subject) {
            self.error(text::INVALID_PUBLISH);
        }
        if text::is_reserved_subject(publish.subject) || (self.guarded && !self.may_publish(publish.subject))
        {
            self.reactor.fabric.refused(self.key, Outgoing::from(publish).size());
            return self.error(&text::publish_denied(publish.subject));
        }
        if let Some(reply) = publish.reply.filter(|reply| text::is_reserved_reply(reply)) {
            self.reactor.fabric.refused(self.key, Outgoing::from(publish).size());
            return self.error(&text::reply_denied(reply));
        }
        self.ok();
        let fabric = &mut self.reactor.fabric;
        let outcome = fabric
            .publish(self.key, self.behaviour.echo, &Outgoing::from(publish), &mut || local_message(publish));
        self.congestion = self.congestion.max(outcome.congestion);
        if publish.subject.starts_with(b"$SYS.") && self.reactor.asked(self.key, publish) {
            return;
        }
        if let Some(reply) = publish.reply
            && outcome.delivered == 0
            && self.behaviour.no_responders
        {
            self.reactor.fabric.no_responders(self.key, publish.subject, reply);
        }
    }

    fn may_publish(&mut self, subject: &[u8]) -> bool {
        let now = self.reactor.fabric.now;
        let guard = self.reactor.fabric.conn(self.key).and_then(|conn| conn.guard.as_mut());
        guard.is_none_or(|guard| guard.may_publish(subject, now))
    }

    fn may_subscribe(&mut self, pattern: &[u8], queue: Option<&[u8]>) -> bool {
        let guard = self.reactor.fabric.conn(self.key).and_then(|conn| conn.guard.as_mut());
        queue != Some(b"_sys_") && guard.is_none_or(|guard| guard.may_subscribe(pattern, queue))
    }

    fn subscribe(&mut self, pattern: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
        trace::sub(self.reactor, self.key, pattern, queue, sid);
        if !self.may_subscribe(pattern, queue) {
            return self.error(&text::subscribe_denied(pattern, queue));
        }
        let tokens = self.reactor.options.max_subscription_tokens;
        if tokens > 0 && pattern.split(|byte| *byte == b'.').count() > tokens {
            return self.error(&text::too_many_tokens(pattern));
        }
        let max = self.reactor.options.max_subscriptions;
        let share = self.reactor.subscription_share();
        let Some(conn) = self.reactor.fabric.conn(self.key) else { return };
        let own = conn.pass.as_ref().and_then(|pass| pass.max_subs()).unwrap_or(usize::MAX);
        if conn.subs.len() >= own
            || conn.subs.len() + conn.stale_subs >= share
            || (max > 0 && conn.subs.len() >= max)
        {
            return self.error(text::MAX_SUBSCRIPTIONS);
        }
        // An id in use keeps its first subscription, without a word.
        if !conn.subs.contains_key(sid) {
            if !subject::is_valid_pattern(pattern) {
                return self.error(text::INVALID_SUBJECT);
            }
            let id = self.reactor.fabric.subscribe(self.key, sid, pattern, queue, None);
            let now = self.reactor.fabric.now;
            if let Some(conn) = self.reactor.fabric.conn(self.key) {
                conn.traffic.last = now;
                conn.subs.insert(sid.into(), id);
            }
        }
        self.ok();
    }

    fn unsubscribe(&mut self, sid: &[u8], max: Option<u64>) {
        trace::unsub(self.reactor, self.key, sid, max);
        let now = self.reactor.fabric.now;
        let conn = self.reactor.fabric.conn(self.key);
        let id = conn.and_then(|conn| {
            conn.traffic.last = now;
            conn.subs.get(sid).copied()
        });
        if let Some(id) = id {
            self.reactor.fabric.unsubscribe_after(id, max.unwrap_or(0));
        }
        self.ok();
    }

    fn ping(&mut self) {
        self.reactor.fabric.send(self.key, b"PONG\r\n");
        let may_skip_connect = self.reactor.auth.has_credentials();
        let Some(conn) = self.reactor.fabric.conn(self.key) else { return };
        // With the first PING after CONNECT the client shows that its protocol is known on both sides. Who needs no CONNECT
        // to be somebody shows it without.
        if (conn.connected || may_skip_connect)
            && !std::mem::replace(&mut conn.settled, true)
            && conn.behaviour.protocol >= 1
        {
            self.reactor.send_info(self.key, true);
        }
    }
}

impl Sink for Session<'_> {
    #[inline]
    fn limits(&self) -> Limits {
        self.limits
    }

    #[inline]
    fn op(&mut self, op: Op<'_>) -> Flow {
        self.reactor.fabric.work += cost(&op);
        if self.is_new && !matches!(op, Op::Connect(_)) {
            self.is_new = false;
            self.reactor.presume(self.key);
        }
        self.active |=
            matches!(op, Op::Publish(_) | Op::Subscribe { .. } | Op::Unsubscribe { .. } | Op::Ping);
        match op {
            Op::Publish(publish) => self.publish(&publish),
            Op::Subscribe { subject, queue, sid } => self.subscribe(subject, queue, sid),
            Op::Unsubscribe { sid, max } => self.unsubscribe(sid, max),
            Op::Ping => self.ping(),
            Op::Pong => {
                let now = self.reactor.fabric.now;
                if let Some(conn) = self.reactor.fabric.conn(self.key) {
                    conn.pings_out = 0;
                    if let Some(asked) = conn.pinged_at.take() {
                        conn.rtt = Some(now.saturating_duration_since(asked));
                    }
                }
            }
            Op::Connect(json) => self.connect(json),
            Op::Info(json) => {
                if !told::is_info(json) {
                    self.close(None, CloseReason::ParseError);
                }
            }
            Op::Ok => {}
            Op::Err => self.close(None, CloseReason::ClientClosed),
        }
        let stop =
            self.closed || self.waiting || self.should_pause() || self.reactor.fabric.work > self.turn_ends;
        if stop { Flow::Stop } else { Flow::Continue }
    }
}

/// What an operation costs beside its deliveries, in the steps of `Fabric.work`. Estimates: they only have to keep a turn
/// of expensive operations from being much longer than one of cheap ones.
#[inline]
fn cost(op: &Op<'_>) -> u64 {
    match op {
        Op::Publish(_) => 3,
        Op::Subscribe { .. } | Op::Unsubscribe { .. } => 150,
        Op::Connect(_) | Op::Info(_) => 1_000,
        Op::Ping | Op::Pong | Op::Ok | Op::Err => 4,
    }
}

/// The form for local subscriptions: one copy of the frame, cut into its parts.
fn local_message(publish: &Publish<'_>) -> Message {
    let frame = Bytes::copy_from_slice(publish.frame);
    let body_at = frame.len() - publish.body.len();
    let reply = publish.reply.map(|reply| frame.slice(publish.reply_at..publish.reply_at + reply.len()));
    Message {
        subject: Subject::from_wire(frame.slice(..publish.subject.len())),
        reply: reply.map(Subject::from_wire),
        headers: publish.headers.map(|headers| frame.slice(body_at - headers.len()..body_at)),
        payload: frame.slice(body_at..),
    }
}
