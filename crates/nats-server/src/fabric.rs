//! Routing: subscriptions, and the delivery of a message to those who are interested. Owns who takes part and what they
//! subscribe to; reads no socket and knows no verbs. Messages end in the outbound queues of connections, which the
//! reactor flushes, or in the queues of local subscriptions.

mod delivery;

use std::time::Instant;

use self::delivery::{Common, Delivery, Way};
use crate::events::CloseReason;
use crate::hash::Keyed;
use crate::hub::LocalLimits;
use crate::local::Message;
use crate::local::subscription::{Put, Receiver, SubscriptionEnd};
use crate::outbound::ChunkPool;
use crate::peer::{Conn, Peer};
use crate::proto::write::{Outgoing, no_responders};
use crate::router::{Interest, Router, SubId};
use crate::slab::Slab;
use crate::stats::Stats;

/// A receiver's queue above this is written in the middle of a batch, so that a large fan-out does not pile up.
const FLUSH_EARLY: usize = 1024 * 1024;

/// A subscription: who, under which id, and how many messages.
struct Subscription {
    peer: u32,
    /// The log-in of that connection which made it.
    login: u32,
    /// The account in whose subjects it is.
    account: u32,
    /// The client's id with a blank on both sides, as it stands in MSG. Empty for local ones.
    sid: Box<[u8]>,
    delivered: u64,
    /// Removed after this many; 0: never.
    max: u64,
    /// Where messages of a local subscription go.
    local: Option<LocalEnd>,
}

impl Subscription {
    /// The client's id as the client wrote it. It may begin or end with bytes that are blanks elsewhere.
    fn own_sid(&self) -> &[u8] {
        self.sid.get(1..self.sid.len().saturating_sub(1)).unwrap_or_default()
    }
}

/// The server's end of a local subscription: its id at its client, and the way to its reader.
pub(crate) struct LocalEnd {
    pub(crate) sid: u64,
    pub(crate) receiver: Receiver,
}

/// A subscription, for those who only look.
pub(crate) struct Listed<'a> {
    pub(crate) peer: u32,
    pub(crate) account: u32,
    pub(crate) pattern: &'a [u8],
    pub(crate) queue: Option<&'a [u8]>,
    /// The client's id; empty for local ones, which have a number.
    pub(crate) sid: &'a [u8],
    pub(crate) local: Option<u64>,
    pub(crate) delivered: u64,
    /// 0: none.
    pub(crate) max: u64,
}

/// Everything that routing needs.
pub(crate) struct Fabric {
    pub(crate) peers: Slab<Peer>,
    pub(crate) pool: ChunkPool,
    pub(crate) stats: Stats,
    pub(crate) keyed: Keyed,
    /// Connections with something to flush at the end of the round.
    pub(crate) touched: Vec<u32>,
    /// Connections to drop when the current batch is done.
    pub(crate) doomed: Vec<(u32, CloseReason)>,
    /// Time of this round.
    pub(crate) now: Instant,
    subs: Slab<Subscription>,
    /// Interest, by number of the account.
    routers: Vec<Router>,
    /// What each account has sent and got, by its number.
    ledgers: Vec<Ledger>,
    /// The cost of all operations so far, in steps of some ten nanoseconds: what was searched, and what was copied. Only
    /// differences mean something.
    pub(crate) work: u64,
    /// Bytes of memory for input that is not complete, of all connections.
    pub(crate) held_input: usize,
    /// Subscriptions that reached their maximum or lost their reader during a delivery.
    finished: Vec<(SubId, Option<SubscriptionEnd>)>,
    limits: LocalLimits,
}

/// Messages of one account. "in" and "out" are seen from the server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) in_msgs: u64,
    pub(crate) in_bytes: u64,
    pub(crate) out_msgs: u64,
    pub(crate) out_bytes: u64,
    pub(crate) slow_consumers: u64,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Subscriptions that got it.
    pub(crate) delivered: u32,
    /// Is a receiver near its limit?
    pub(crate) congestion: Congestion,
}

/// Whether a publisher should pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Congestion {
    #[default]
    None,
    /// A socket has much to write: pause once per batch. The system and the bytes limit give it time enough.
    Socket,
    /// A local reader is behind: pause after each message. Its queue is short, and the program around it is what the
    /// server is there for.
    Local,
}

impl Fabric {
    pub(crate) fn new(limits: LocalLimits, accounts: usize, now: Instant) -> Self {
        Self {
            peers: Slab::default(),
            pool: ChunkPool::default(),
            stats: Stats::default(),
            keyed: Keyed::default(),
            touched: Vec::new(),
            doomed: Vec::new(),
            now,
            subs: Slab::default(),
            routers: std::iter::repeat_with(Router::default).take(accounts.max(1)).collect(),
            ledgers: vec![Ledger::default(); accounts.max(1)],
            work: 0,
            held_input: 0,
            finished: Vec::new(),
            limits,
        }
    }

    /// Makes room for accounts with numbers below `count`.
    pub(crate) fn add_accounts(&mut self, count: usize) {
        if count > self.routers.len() {
            self.routers.resize_with(count, Router::default);
            self.ledgers.resize(count, Ledger::default());
        }
    }

    /// Other limits from now on.
    pub(crate) fn set_limits(&mut self, limits: LocalLimits) {
        self.limits = limits;
    }

    /// The socket connection `key`, if it is one.
    #[inline]
    pub(crate) fn conn(&mut self, key: u32) -> Option<&mut Conn> {
        self.peers.get_mut(key).and_then(Peer::socket)
    }

    /// Queues bytes that are no message to a socket connection. One that asks and asks and never reads the answers is as
    /// slow as one that does not read its messages.
    pub(crate) fn send(&mut self, key: u32, bytes: &[u8]) {
        let Some(conn) = self.peers.get_mut(key).and_then(Peer::socket) else { return };
        conn.send(bytes, &mut self.pool);
        touch(conn, key, &mut self.touched);
        if conn.out.len() > self.limits.max_pending && !conn.is_closing() {
            conn.doomed = true;
            self.doomed.push((key, CloseReason::SlowConsumerPendingBytes));
        }
    }

    /// Bytes of memory that wait for sockets, or came from them and are not complete.
    pub(crate) fn buffered(&self) -> usize {
        self.pool.lent() + self.held_input
    }

    /// Adds a subscription of a socket (`sid`) or of a local client (`local`).
    pub(crate) fn subscribe(
        &mut self,
        peer: u32,
        sid: &[u8],
        pattern: &[u8],
        queue: Option<&[u8]>,
        local: Option<LocalEnd>,
    ) -> SubId {
        let sid = [b" ", sid, b" "].concat().into();
        // Local clients are in the first account.
        let (account, login) = self.conn(peer).map_or((0, 0), |conn| (conn.account, conn.login));
        let id = self.subs.insert(Subscription { peer, login, account, sid, delivered: 0, max: 0, local });
        if let Some(router) = self.routers.get_mut(account as usize) {
            router.insert(id, pattern, queue);
            self.stats.subscriptions += 1;
        }
        id
    }

    /// The pattern and queue group of a subscription.
    pub(crate) fn pattern(&self, id: SubId) -> Option<(&[u8], Option<&[u8]>)> {
        let sub = self.subs.get(id)?;
        self.routers.get(sub.account as usize)?.pattern(id)
    }

    /// Removes a subscription from routing and from its owner's table. A local reader is told `end`.
    pub(crate) fn unsubscribe(&mut self, id: SubId, end: Option<SubscriptionEnd>) {
        let Some(sub) = self.subs.remove(id) else { return };
        if let Some(router) = self.routers.get_mut(sub.account as usize) {
            router.remove(id);
            self.stats.subscriptions = self.stats.subscriptions.saturating_sub(1);
        }
        match self.peers.get_mut(sub.peer) {
            // The id may belong to a later log-in's subscription by now.
            Some(Peer::Socket(conn)) if sub.login != conn.login => {
                conn.stale_subs = conn.stale_subs.saturating_sub(1);
            }
            Some(Peer::Socket(conn)) => {
                conn.subs.remove(sub.own_sid());
            }
            Some(Peer::Local(local)) => {
                if let Some(own) = &sub.local {
                    local.subs.remove(&own.sid);
                }
            }
            Some(Peer::Leaving(_)) | None => {}
        }
        if let (Some(local), Some(end)) = (sub.local, end) {
            local.receiver.end(end);
        }
    }

    /// Removes `id` once it has received `max` messages in all; now if it has already.
    pub(crate) fn unsubscribe_after(&mut self, id: SubId, max: u64) {
        match self.subs.get_mut(id) {
            Some(sub) if max > sub.delivered => sub.max = max,
            _ => self.unsubscribe(id, None),
        }
    }

    /// The subscriptions in at most `slots` slots of the table from `from` on, and where to go on, if anywhere.
    pub(crate) fn subscriptions(&self, from: u32, slots: u32) -> (Vec<Listed<'_>>, Option<u32>) {
        let (found, next) = self.subs.scan(from, slots);
        let listed = found.filter_map(|(id, sub)| {
            let (pattern, queue) = self.routers.get(sub.account as usize)?.pattern(id)?;
            let (sid, delivered, max) = (sub.own_sid(), sub.delivered, sub.max);
            let local = sub.local.as_ref().map(|local| local.sid);
            Some(Listed { peer: sub.peer, account: sub.account, pattern, queue, sid, local, delivered, max })
        });
        (listed.collect(), next)
    }

    /// The counters of an account's interest.
    pub(crate) fn interest(&self, account: u32) -> Option<Interest> {
        self.routers.get(account as usize).map(Router::interest)
    }

    /// What an account has sent and got.
    pub(crate) fn ledger(&mut self, account: u32) -> Option<&mut Ledger> {
        self.ledgers.get_mut(account as usize)
    }

    /// The same, to look at.
    pub(crate) fn ledger_of(&self, account: u32) -> Ledger {
        let mut ledger = self.ledgers.get(account as usize).copied().unwrap_or_default();
        if account == 0 {
            let others = |figure: fn(&Ledger) -> u64| self.ledgers.iter().skip(1).map(figure).sum::<u64>();
            ledger.in_msgs = self.stats.in_msgs.saturating_sub(others(|ledger| ledger.in_msgs));
            ledger.in_bytes = self.stats.in_bytes.saturating_sub(others(|ledger| ledger.in_bytes));
            ledger.out_msgs = self.stats.out_msgs.saturating_sub(others(|ledger| ledger.out_msgs));
            ledger.out_bytes = self.stats.out_bytes.saturating_sub(others(|ledger| ledger.out_bytes));
        }
        ledger
    }

    /// Has anybody in the account a subscription?
    pub(crate) fn has_subscriptions(&self, account: u32) -> bool {
        self.routers.get(account as usize).is_some_and(|router| !router.is_empty())
    }

    /// Does anybody in the account listen to a subject? Costs next to nothing if the account has no subscriptions.
    pub(crate) fn has_interest(&mut self, account: u32, subject: &[u8]) -> bool {
        let Some(router) = self.routers.get_mut(account as usize) else { return false };
        if router.is_empty() {
            return false;
        }
        let matches = router.matches(subject, &mut self.work);
        !matches.plain.is_empty() || !matches.groups.is_empty()
    }

    /// Delivers a message of the server itself to an account.
    #[cold]
    pub(crate) fn tell(&mut self, account: u32, subject: &[u8], body: &[u8]) {
        let message = Outgoing { subject, reply: None, headers: None, body, sizes: None, forward: None };
        let mut local = || Message {
            subject: crate::local::Subject::from_wire(bytes::Bytes::copy_from_slice(subject)),
            reply: None,
            headers: None,
            payload: bytes::Bytes::copy_from_slice(body),
        };
        let delivered = u64::from(self.deliver(account as usize, None, &message, &mut local).delivered);
        if let Some(ledger) = self.ledgers.get_mut(account as usize) {
            ledger.out_msgs += delivered;
            ledger.out_bytes += delivered * body.len() as u64;
        }
    }

    /// How many accounts have a subject space.
    pub(crate) fn accounts(&self) -> usize {
        self.routers.len()
    }

    /// Counts a message that is delivered to nobody, for its sender may not send it.
    pub(crate) fn refused(&mut self, from: u32, size: usize) {
        let account = self.received(from, size);
        if account > 0
            && let Some(ledger) = self.ledgers.get_mut(account)
        {
            ledger.in_msgs += 1;
            ledger.in_bytes += size as u64;
        }
    }

    /// Counts a message that came, except in its account's ledger; gives that account.
    #[inline(always)]
    fn received(&mut self, from: u32, size: usize) -> usize {
        self.stats.in_msgs += 1;
        self.stats.in_bytes += size as u64;
        // Local clients are in the first account.
        match self.peers.get_mut(from) {
            Some(Peer::Socket(conn)) => {
                conn.traffic.received(size, self.now);
                conn.account as usize
            }
            _ => 0,
        }
    }

    /// Delivers a message to everybody interested. `local` makes the form that local subscriptions get.
    #[inline]
    pub(crate) fn publish(
        &mut self,
        from: u32,
        echo: bool,
        message: &Outgoing<'_>,
        local: &mut dyn FnMut() -> Message,
    ) -> Outcome {
        let account = self.received(from, message.size());
        let outcome = self.deliver(account, (!echo).then_some(from), message, local);
        // What the first account does is the rest of what all do; most servers have no other, and count once.
        if account > 0
            && let Some(ledger) = self.ledgers.get_mut(account)
        {
            ledger.in_msgs += 1;
            ledger.in_bytes += message.size() as u64;
            ledger.out_msgs += u64::from(outcome.delivered);
            ledger.out_bytes += u64::from(outcome.delivered) * message.size() as u64;
        }
        outcome
    }

    #[inline(always)]
    fn deliver(
        &mut self,
        account: usize,
        excluded: Option<u32>,
        message: &Outgoing<'_>,
        local: &mut dyn FnMut() -> Message,
    ) -> Outcome {
        let Some(router) = self.routers.get_mut(account) else {
            return Outcome { delivered: 0, congestion: Congestion::None };
        };
        let matches = router.matches(message.subject, &mut self.work);
        let way = Way {
            pool: &mut self.pool,
            touched: &mut self.touched,
            doomed: &mut self.doomed,
            stats: &mut self.stats,
            limits: &self.limits,
            held_input: self.held_input,
            now: self.now,
            local,
            made: None,
            common: Common::of(message, matches.plain.len()),
            congestion: Congestion::None,
        };
        let (peers, subs, finished) = (&mut self.peers, &mut self.subs, &mut self.finished);
        let mut delivery = Delivery { peers, subs, finished, excluded, way };
        let mut delivered = 0;
        for id in &matches.plain {
            delivered += u32::from(delivery.to(*id, message));
        }
        self.work += (matches.plain.len() + matches.groups.len()) as u64;
        // Copying takes a step per 64 bytes.
        let copies = if matches!(delivery.way.common, Common::No) { matches.plain.len() } else { 1 };
        self.work += (copies * message.size() / 64) as u64;
        for group in &matches.groups {
            // A random start and then the next that can take it: even shares without a counter per group.
            let start = if group.len() > 1 { fastrand::usize(..group.len()) } else { 0 };
            let (before, after) = group.split_at_checked(start).unwrap_or((group, &[]));
            delivered += u32::from(after.iter().chain(before).any(|id| delivery.to(*id, message)));
        }
        let congestion = delivery.end();
        self.stats.out_msgs += u64::from(delivered);
        self.stats.out_bytes += u64::from(delivered) * message.size() as u64;
        while let Some((id, end)) = self.finished.pop() {
            self.unsubscribe(id, end);
        }
        Outcome { delivered, congestion }
    }

    /// Tells a publisher that nobody received its request: a message with status 503 on its own subscription for the
    /// reply subject, if it has a plain one. It does not count towards that subscription's maximum.
    pub(crate) fn no_responders(&mut self, from: u32, subject: &[u8], reply: &[u8]) {
        let (account, login) = self.conn(from).map_or((0, 0), |conn| (conn.account, conn.login));
        let Some(router) = self.routers.get_mut(account as usize) else { return };
        let matches = router.matches(reply, &mut self.work);
        let own = matches
            .plain
            .iter()
            .find(|id| self.subs.get(**id).is_some_and(|sub| sub.peer == from && sub.login == login));
        let Some(id) = own.copied() else { return };
        let Some(sub) = self.subs.get_mut(id) else { return };
        let headers = no_responders(subject);
        match self.peers.get_mut(from) {
            Some(Peer::Socket(conn)) => {
                let message = Outgoing {
                    subject: reply,
                    reply: None,
                    headers: Some(&headers),
                    body: b"",
                    sizes: None,
                    forward: None,
                };
                message.write(&mut conn.out.writer(&mut self.pool), &sub.sid, true);
                touch(conn, from, &mut self.touched);
            }
            Some(Peer::Local(_)) => {
                let message = Message {
                    subject: crate::local::Subject::from_wire(bytes::Bytes::copy_from_slice(reply)),
                    reply: None,
                    headers: Some(headers.into()),
                    payload: bytes::Bytes::new(),
                };
                let put = sub.local.as_ref().map(|local| local.receiver.put(message, &self.limits));
                if matches!(put, Some(Put::Overflow | Put::Gone)) {
                    self.stats.local_overflows += u64::from(put == Some(Put::Overflow));
                    self.unsubscribe(id, Some(SubscriptionEnd::Overflow));
                }
            }
            Some(Peer::Leaving(_)) | None => {}
        }
    }
}

/// Puts a connection on the list of those to flush, once.
#[inline]
pub(crate) fn touch(conn: &mut Conn, key: u32, touched: &mut Vec<u32>) {
    if !conn.touched {
        conn.touched = true;
        touched.push(key);
    }
}
