//! Bounds of what clients can make the server hold, all of them together, and giving it back bit by bit.

use std::cmp::Reverse;
use std::collections::hash_map::IntoValues;
use std::time::{Duration, Instant};

use crate::events::CloseReason;
use crate::hash::ByteMap;
use crate::peer::{Conn, Peer};
use crate::router::SubId;

use super::Reactor;

/// A connection with more subscriptions than this loses them bit by bit.
const AT_ONCE: usize = 100;
/// Time for that in one round.
const SLICE: Duration = Duration::from_micros(25);

/// The subscriptions of a connection that is gone, to be removed.
pub(super) struct Leaving {
    key: u32,
    subs: IntoValues<Box<[u8]>, SubId>,
}

impl Reactor {
    /// How many subscriptions each connection may have now.
    pub(super) fn subscription_share(&self) -> usize {
        let total = self.options.max_total_subscriptions;
        let stats = &self.fabric.stats;
        match total == 0 || stats.subscriptions < total as u64 {
            true => usize::MAX,
            false => total / usize::try_from(stats.connections).unwrap_or(usize::MAX).max(1),
        }
    }

    /// Removes the subscriptions of a connection that takes no part in routing any more, or those of a former log-in. Until
    /// they are gone nothing is delivered to them.
    pub(super) fn remove_subscriptions(&mut self, key: u32, subs: ByteMap<SubId>) {
        if subs.len() <= AT_ONCE {
            return subs.into_values().for_each(|id| self.fabric.unsubscribe(id, None));
        }
        if let Some(conn) = self.fabric.conn(key) {
            conn.leaving += 1;
            self.leaving.push_back(Leaving { key, subs: subs.into_values() });
        }
    }

    /// Takes a connection out of the table. Its number is free when it has no subscriptions any more.
    pub(super) fn take_out(&mut self, key: u32) -> Option<Box<Conn>> {
        let peer = match self.fabric.conn(key)?.leaving {
            0 => self.fabric.peers.remove(key)?,
            lots => std::mem::replace(self.fabric.peers.get_mut(key)?, Peer::Leaving(lots)),
        };
        match peer {
            Peer::Socket(conn) => Some(conn),
            Peer::Local(_) | Peer::Leaving(_) => None,
        }
    }

    /// Gives back what is not needed any more, for a moment, and takes from those who hold too much.
    pub(super) fn relieve(&mut self) {
        if !self.leaving.is_empty() {
            self.go_on_leaving();
        }
        if self.fabric.buffered() > self.hub.limits().max_buffered {
            self.drop_largest();
        }
        // Also those who were found too slow outside of anybody's turn.
        self.drop_doomed();
    }

    fn go_on_leaving(&mut self) {
        let end = Instant::now() + SLICE;
        while let Some(leaving) = self.leaving.front_mut() {
            for id in leaving.subs.by_ref().take(AT_ONCE / 4) {
                self.fabric.unsubscribe(id, None);
            }
            if leaving.subs.len() == 0 {
                let key = leaving.key;
                self.leaving.pop_front();
                match self.fabric.peers.get_mut(key) {
                    // It has logged in again, or its last words are still on the way.
                    Some(Peer::Socket(conn)) => conn.leaving = conn.leaving.saturating_sub(1),
                    Some(Peer::Leaving(lots)) if *lots > 1 => *lots -= 1,
                    _ => drop(self.fabric.peers.remove(key)),
                }
            }
            if Instant::now() >= end {
                return;
            }
        }
    }

    /// Drops those who hold most, until a quarter is free again.
    fn drop_largest(&mut self) {
        let mut holders: Vec<(Reverse<usize>, u32)> = Vec::new();
        for key in self.fabric.peers.keys() {
            if let Some(conn) = self.fabric.conn(key) {
                holders.push((Reverse(conn.out.held() + conn.inbound.held()), key));
            }
        }
        holders.sort_unstable();
        let (mut dropped, before) = (0, self.fabric.buffered());
        let limit = self.hub.limits().max_buffered;
        for (Reverse(held), key) in holders {
            if held == 0 || self.fabric.buffered() <= limit / 4 * 3 {
                break;
            }
            self.drop_conn(key, CloseReason::MaxBufferedExceeded);
            dropped += 1;
        }
        tracing::warn!(
            dropped,
            before,
            now = self.fabric.buffered(),
            limit,
            "NATS server: clients made it hold too many bytes; those with most of them are dropped"
        );
    }
}
