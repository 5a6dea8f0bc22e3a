//! One message on its way to those who are interested: what each receiver's state allows, and what becomes of slow ones.
//! Chooses no receivers.

use std::time::Instant;

use super::{Congestion, FLUSH_EARLY, LocalEnd, Subscription, touch};
use crate::events::CloseReason;
use crate::hub::LocalLimits;
use crate::local::Message;
use crate::local::subscription::{Put, SubscriptionEnd};
use crate::outbound::{Block, ChunkPool};
use crate::peer::{Conn, Peer};
use crate::proto::write::Outgoing;
use crate::router::SubId;
use crate::slab::Slab;
use crate::stats::Stats;

/// One delivery, borrowed from the fabric beside the list of receivers.
pub(super) struct Delivery<'a> {
    pub(super) peers: &'a mut Slab<Peer>,
    pub(super) subs: &'a mut Slab<Subscription>,
    /// Subscriptions that are over, for their number of messages or because nobody takes any.
    pub(super) finished: &'a mut Vec<(SubId, Option<SubscriptionEnd>)>,
    /// The publisher, if it does not want its own messages back.
    pub(super) excluded: Option<u32>,
    pub(super) way: Way<'a>,
}

/// What a message needs on its way to any receiver, and what became of it so far.
pub(super) struct Way<'a> {
    pub(super) pool: &'a mut ChunkPool,
    pub(super) touched: &'a mut Vec<u32>,
    pub(super) doomed: &'a mut Vec<(u32, CloseReason)>,
    pub(super) stats: &'a mut Stats,
    pub(super) limits: &'a LocalLimits,
    pub(super) held_input: usize,
    pub(super) now: Instant,
    pub(super) local: &'a mut dyn FnMut() -> Message,
    /// The local form, once somebody needed it.
    pub(super) made: Option<Message>,
    /// The form that many sockets get.
    pub(super) common: Common,
    pub(super) congestion: Congestion,
}

impl Delivery<'_> {
    /// Delivers to one subscription; false if it cannot take the message.
    #[inline]
    pub(super) fn to(&mut self, id: SubId, message: &Outgoing<'_>) -> bool {
        let Some(sub) = self.subs.get_mut(id) else { return false };
        if self.excluded == Some(sub.peer) {
            return false;
        }
        // A finished subscription stays in the table until the end of this delivery.
        if sub.max > 0 && sub.delivered >= sub.max {
            return false;
        }
        let taken = match (self.peers.get_mut(sub.peer), &sub.local) {
            (Some(Peer::Socket(conn)), _) => self.way.send(conn, sub, message),
            (Some(Peer::Local(_)), Some(end)) => match self.way.hand_over(end) {
                Ok(()) => true,
                Err(end) => {
                    self.finished.push((id, end));
                    false
                }
            },
            _ => false,
        };
        if taken {
            sub.delivered += 1;
            if sub.max > 0 && sub.delivered >= sub.max {
                self.finished.push((id, None));
            }
        }
        taken
    }

    /// Lets go of what it made; whether a publisher should pause.
    pub(super) fn end(self) -> Congestion {
        if let Common::Made(tail) = self.way.common {
            self.way.pool.release(tail);
        }
        self.way.congestion
    }
}

impl Way<'_> {
    /// Puts the message behind what the connection has still to send; false if it may not or cannot take it.
    #[inline(always)]
    fn send(&mut self, conn: &mut Conn, sub: &Subscription, message: &Outgoing<'_>) -> bool {
        if conn.is_closing() || conn.login != sub.login {
            return false;
        }
        if let Some(guard) = &mut conn.guard {
            if !guard.may_receive(message.subject) {
                return false;
            }
            if let Some(reply) = message.reply {
                guard.note_reply(reply, self.now);
            }
        }
        if conn.out.len() > FLUSH_EARLY && conn.blocked_since.is_none() {
            // An error here is found again, and acted on, at the end of the round.
            let _ = conn.flush(self.pool, self.now);
        }
        if let Some(reason) = self.is_too_much(conn, conn.out.len() + message.wire_size(&sub.sid)) {
            conn.doomed = true;
            self.doomed.push((sub.peer, reason));
            return false;
        }
        let headers = conn.behaviour.headers;
        match self.common.tail(message, conn, self.pool) {
            Some(tail) => {
                message.write_head(&mut conn.out.writer(self.pool), &sub.sid, headers);
                conn.out.push(tail);
            }
            None => message.write(&mut conn.out.writer(self.pool), &sub.sid, headers),
        }
        conn.traffic.sent(message.size(), self.now);
        touch(conn, sub.peer, self.touched);
        true
    }

    /// Why the connection has to go rather than have `waiting` bytes to send. Notes congestion when it comes close.
    #[inline(always)]
    fn is_too_much(&mut self, conn: &mut Conn, waiting: usize) -> Option<CloseReason> {
        let (max_pending, max_buffered) = (self.limits.max_pending, self.limits.max_buffered);
        if waiting > max_pending && conn.out.len() > 0 {
            return Some(CloseReason::SlowConsumerPendingBytes);
        }
        let blocked = conn.blocked_since.is_some();
        let buffered = self.pool.lent() + self.held_input;
        // Those who hold most go first, between two turns; but one message to many must not wait for that.
        if blocked && buffered / 3 * 2 > max_buffered {
            return Some(CloseReason::MaxBufferedExceeded);
        }
        if waiting > max_pending / 4 * 3 || (blocked && buffered > max_buffered / 4 * 3) {
            conn.congested = true;
            self.congestion = self.congestion.max(Congestion::Socket);
        }
        None
    }

    /// Gives the message to a client in this process. The error is how its subscription ends.
    fn hand_over(&mut self, end: &LocalEnd) -> Result<(), Option<SubscriptionEnd>> {
        let copy = self.made.get_or_insert_with(&mut *self.local).clone();
        match end.receiver.put(copy, self.limits) {
            Put::Done => Ok(()),
            Put::Congested => {
                self.congestion = Congestion::Local;
                Ok(())
            }
            Put::Overflow => {
                self.stats.local_overflows += 1;
                Err(Some(SubscriptionEnd::Overflow))
            }
            Put::Gone => Err(None),
        }
    }
}

/// What is behind the head of a message, once for all receivers: a large message to many would take longest to copy, and
/// most memory if they are slow.
pub(super) enum Common {
    /// Each gets a copy: the message is small, or for few.
    No,
    /// It pays, and nobody needed it yet.
    Yes,
    Made(Block),
}

/// From this size on, in bytes, and this many receivers, they share. Below, a copy costs less than two more slices in a
/// write call.
const SHARE_BYTES: usize = 4096;
const SHARE_RECEIVERS: usize = 4;

impl Common {
    pub(super) fn of(message: &Outgoing<'_>, receivers: usize) -> Common {
        if message.size() >= SHARE_BYTES && receivers >= SHARE_RECEIVERS { Common::Yes } else { Common::No }
    }

    /// The tail for this connection; `None`: it gets a copy.
    #[inline]
    fn tail(&mut self, message: &Outgoing<'_>, conn: &Conn, pool: &mut ChunkPool) -> Option<Block> {
        if matches!(self, Common::No) {
            return None;
        }
        self.shared_tail(message, conn, pool)
    }

    #[cold]
    fn shared_tail(&mut self, message: &Outgoing<'_>, conn: &Conn, pool: &mut ChunkPool) -> Option<Block> {
        // Without headers there is another tail, and those who encrypt copy anyway.
        if (message.headers.is_some() && !conn.behaviour.headers) || !conn.transport.takes_slices() {
            return None;
        }
        if let Common::Made(tail) = self {
            return Some(tail.clone());
        }
        let mut tail = Vec::with_capacity(message.wire_size(b""));
        message.write_tail(&mut tail, true);
        let tail = pool.share(tail);
        *self = Common::Made(tail.clone());
        Some(tail)
    }
}
