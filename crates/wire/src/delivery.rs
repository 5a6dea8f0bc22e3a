//! Numbered delivery to one peer: what has to be sent, in which order, and when again.
//!
//! An [`Outbox`] holds the keys of messages that the peer has not acknowledged. It is pure: the caller builds the
//! message from its own present state when an attempt is due, publishes it and tells what became of it. Delivery is
//! at least once; receivers take duplicates in their stride.
//!
//! Rules: messages are first sent in the order they were pushed; at most a window of the oldest ones is under way;
//! each is acknowledged by itself; every attempt has a new, higher number; only the latest attempt of a message can
//! acknowledge it, so a late acknowledgement of old content never clears new content.

use std::collections::VecDeque;
use std::fmt;

const SECOND: i64 = 1_000_000_000;

/// How patient an [`Outbox`] is. Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Messages under way at the same time, at least 1.
    pub window: usize,
    /// How long to wait for the first acknowledgement; doubles with every attempt.
    pub ack_timeout: i64,
    /// Pause after the first failure; doubles with every attempt.
    pub first_pause: i64,
    /// Upper bound of both.
    pub longest: i64,
}

impl Default for Patience {
    /// 256 messages; 30 s for an acknowledgement, as Bacalhau 1.9 waits; pauses from 1 s; never above 5 min.
    fn default() -> Self {
        Patience { window: 256, ack_timeout: 30 * SECOND, first_pause: SECOND, longest: 300 * SECOND }
    }
}

impl Patience {
    fn grown(&self, base: i64, attempts: u32) -> i64 {
        let factor = 1_i64 << attempts.saturating_sub(1).min(62);
        base.saturating_mul(factor).min(self.longest)
    }
}

/// Send this now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt<K> {
    /// Delivery number of this attempt.
    pub seq: u64,
    /// What was pushed.
    pub key: K,
}

/// One message that is not acknowledged.
struct Entry<K> {
    key: K,
    /// Number of the latest attempt while it is under way.
    seq: Option<u64>,
    attempts: u32,
    /// When the next attempt is due: for one under way, when its acknowledgement is overdue.
    due: i64,
}

/// Messages for one peer. Keys must tell different messages about the same thing apart.
pub struct Outbox<K> {
    entries: VecDeque<Entry<K>>,
    last_seq: u64,
    patience: Patience,
}

impl<K: Clone> Outbox<K> {
    /// An empty outbox. The first attempt gets number `start_seq + 1`.
    pub fn new(start_seq: u64) -> Outbox<K> {
        Outbox::with_patience(start_seq, Patience::default())
    }

    /// An empty outbox with limits of its own.
    pub fn with_patience(start_seq: u64, patience: Patience) -> Outbox<K> {
        Outbox { entries: VecDeque::new(), last_seq: start_seq, patience }
    }

    /// Adds a message behind all others.
    pub fn push(&mut self, key: K) {
        self.entries.push_back(Entry { key, seq: None, attempts: 0, due: i64::MIN });
    }

    /// The next message to send, oldest first. Call it until it returns `None`.
    ///
    /// A message that has become pointless is ended with [`Outbox::acked`].
    pub fn poll(&mut self, now: i64) -> Option<Attempt<K>> {
        let entry = self.entries.iter_mut().take(self.patience.window.max(1)).find(|e| e.due <= now)?;
        self.last_seq = self.last_seq.saturating_add(1);
        entry.attempts = entry.attempts.saturating_add(1);
        entry.seq = Some(self.last_seq);
        entry.due = now.saturating_add(self.patience.grown(self.patience.ack_timeout, entry.attempts));
        Some(Attempt { seq: self.last_seq, key: entry.key.clone() })
    }

    /// The peer has it. `None` when the number is not that of a latest attempt: late, repeated or unknown.
    pub fn acked(&mut self, seq: u64) -> Option<K> {
        let at = self.find(seq)?;
        self.entries.remove(at).map(|entry| entry.key)
    }

    /// The attempt did not get through: it is made again after a pause. Unknown numbers are ignored.
    pub fn failed(&mut self, seq: u64, now: i64) {
        let at = self.find(seq);
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            entry.seq = None;
            entry.due = now.saturating_add(self.patience.grown(self.patience.first_pause, entry.attempts));
        }
    }

    /// The peer is there again: everything unacknowledged is due now, in the order it was pushed.
    pub fn reset(&mut self, now: i64) {
        for entry in &mut self.entries {
            entry.seq = None;
            entry.attempts = 0;
            entry.due = now;
        }
    }

    /// When [`Outbox::poll`] has something next; in the past when it has now. `None` until something is pushed.
    pub fn next_wakeup(&self) -> Option<i64> {
        self.entries.iter().take(self.patience.window.max(1)).map(|entry| entry.due).min()
    }

    /// Messages that are not acknowledged.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of the latest attempt, or the start. A successor must start at or above it.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Position of the message whose latest attempt has this number: within the window, for none else was sent.
    fn find(&self, seq: u64) -> Option<usize> {
        self.entries.iter().take(self.patience.window.max(1)).position(|entry| entry.seq == Some(seq))
    }
}

impl<K> fmt::Debug for Outbox<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("len", &self.entries.len()).field("last_seq", &self.last_seq).finish()
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
