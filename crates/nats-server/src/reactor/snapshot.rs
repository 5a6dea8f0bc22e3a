//! Answers to monitoring: copies of small parts of the state. What a question costs is bounded by the constants here,
//! whatever is connected.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::events::CloseReason;
use crate::monitor::rows::{AccountRow, Ask, ConnRow, Page, Question, SubRow};
use crate::peer::{Conn, Peer};

use super::Reactor;

/// Slots of a table looked at per question: some ten microseconds.
const SLOTS: u32 = 128;
/// Closed connections that are remembered.
const MAX_CLOSED: usize = 1000;
/// Bytes of the name of a closed connection that are remembered.
const MAX_CLOSED_NAME: usize = 256;

/// The connections that were closed last, oldest first. Empty when nobody can ask.
#[derive(Default)]
pub(super) struct ClosedRing {
    rows: VecDeque<ConnRow>,
    /// How many have been forgotten, which is the number of the first row.
    forgotten: u64,
    capacity: usize,
}

impl ClosedRing {
    pub(super) fn new(monitored: bool) -> Self {
        Self { capacity: if monitored { MAX_CLOSED } else { 0 }, ..Self::default() }
    }

    fn push(&mut self, mut row: ConnRow) {
        if row.name.len() > MAX_CLOSED_NAME {
            let end = row.name.floor_char_boundary(MAX_CLOSED_NAME);
            row.name = Arc::from(row.name.get(..end).unwrap_or_default());
        }
        if self.rows.len() >= self.capacity {
            self.rows.pop_front();
            self.forgotten += 1;
        }
        self.rows.push_back(row);
    }

    fn page(&self, from: u64) -> Page<ConnRow> {
        let from = from.max(self.forgotten);
        let skip = usize::try_from(from - self.forgotten).unwrap_or(usize::MAX);
        let rows: Vec<ConnRow> = self.rows.iter().skip(skip).take(SLOTS as usize).cloned().collect();
        let next = from + rows.len() as u64;
        let end = self.forgotten + self.rows.len() as u64;
        Page { rows, next: (next < end).then_some(next) }
    }
}

/// Gives the answer; that nobody waits for it any more is fine.
fn answer<T>(ask: Ask<T>, page: impl FnOnce(u64) -> Page<T>) {
    if !ask.reply.is_closed() {
        let page = page(ask.from);
        let _ = ask.reply.send(page);
    }
}

fn slot(from: u64) -> u32 {
    u32::try_from(from).unwrap_or(u32::MAX)
}

impl Reactor {
    /// Answers monitoring.
    pub(super) fn answer(&self, question: Question) {
        match question {
            Question::Alive(reply) => {
                let _ = reply.send(());
            }
            Question::Open(ask) => answer(ask, |from| self.open_conns(slot(from))),
            Question::Closed(ask) => answer(ask, |from| self.closed.page(from)),
            Question::Subscriptions(ask) => answer(ask, |from| self.subscription_rows(slot(from))),
            Question::Accounts(ask) => answer(ask, |from| self.account_rows(slot(from))),
        }
    }

    /// Remembers a connection that ends; to be called before its subscriptions are gone.
    pub(super) fn remember(&mut self, key: u32, reason: CloseReason) {
        if self.closed.capacity == 0 {
            return;
        }
        if let Some(Peer::Socket(conn)) = self.fabric.peers.get(key) {
            let row = ConnRow { end: Some((self.fabric.now, reason)), ..self.conn_row(conn) };
            self.closed.push(row);
        }
    }

    fn conn_row(&self, conn: &Conn) -> ConnRow {
        ConnRow {
            cid: conn.cid,
            addr: conn.addr,
            account: self.auth.account(conn.account),
            user: conn.user.clone(),
            name: conn.name.clone(),
            lang: conn.lang.clone(),
            version: conn.version.clone(),
            start: conn.start,
            rtt: conn.rtt,
            traffic: conn.traffic,
            pending: conn.out.len() as u64,
            subscriptions: conn.subs.len() as u64,
            end: None,
        }
    }

    fn open_conns(&self, from: u32) -> Page<ConnRow> {
        let (peers, next) = self.fabric.peers.scan(from, SLOTS);
        let rows = peers.filter_map(|(_, peer)| match peer {
            // Those that only linger are among the closed ones already.
            Peer::Socket(conn) if conn.linger_until.is_none() => Some(self.conn_row(conn)),
            _ => None,
        });
        Page { rows: rows.collect(), next: next.map(u64::from) }
    }

    fn subscription_rows(&self, from: u32) -> Page<SubRow> {
        let (listed, next) = self.fabric.subscriptions(from, SLOTS);
        let rows = listed.into_iter().map(|sub| SubRow {
            cid: match self.fabric.peers.get(sub.peer) {
                Some(Peer::Socket(conn)) => conn.cid,
                _ => 0,
            },
            account: self.auth.account(sub.account),
            subject: sub.pattern.into(),
            queue: sub.queue.map(Into::into),
            sid: sub.local.map_or_else(|| sub.sid.into(), |number| number.to_string().into_bytes().into()),
            delivered: sub.delivered,
            max: sub.max,
        });
        Page { rows: rows.collect(), next: next.map(u64::from) }
    }

    fn account_rows(&self, from: u32) -> Page<AccountRow> {
        let count = slot(self.fabric.accounts() as u64);
        let end = from.saturating_add(SLOTS).min(count);
        let rows = (from..end).filter_map(|number| {
            let interest = self.fabric.interest(number).filter(|_| self.auth.has_account(number))?;
            Some(AccountRow {
                name: self.auth.account(number),
                label: self.auth.account_label(number),
                interest,
                figures: self.account_figures(number),
            })
        });
        Page { rows: rows.collect(), next: (end < count).then_some(u64::from(end)) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::peer::Traffic;

    fn row(cid: u64) -> ConnRow {
        let (empty, now): (Arc<str>, _) = ("".into(), Instant::now());
        ConnRow {
            cid,
            addr: ([127, 0, 0, 1], 1).into(),
            account: empty.clone(),
            user: empty.clone(),
            name: "ä".repeat(500).into(),
            lang: empty.clone(),
            version: empty,
            start: now,
            rtt: None,
            traffic: Traffic::new(now),
            pending: 0,
            subscriptions: 0,
            end: Some((now, CloseReason::ClientClosed)),
        }
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let mut ring = ClosedRing::new(true);
        (0..MAX_CLOSED as u64 + 100).for_each(|cid| ring.push(row(cid)));
        let (mut seen, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            let page = ring.page(at);
            assert!(page.rows.len() <= SLOTS as usize && page.rows.iter().all(|row| row.name.len() <= 256));
            seen.extend(page.rows.iter().map(|row| row.cid));
            from = page.next;
        }
        assert_eq!(seen, (100..MAX_CLOSED as u64 + 100).collect::<Vec<_>>());
        assert!(ring.page(u64::MAX).rows.is_empty());
    }
}
