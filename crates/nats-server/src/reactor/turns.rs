//! Who is served when. A client that asks for little is served at once. One that always has more, and one that has not
//! logged in yet, is *busy*: the busy ones share, in turn, what time is left, one short slice after the other, and between
//! two slices the others are looked after. So a thousand clients that flood the server delay an ordinary one by a slice or
//! two, and not by a thousand turns.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Opening, READ_BUFFER, Reactor};
use crate::peer::Conn;

/// How much busy clients may do before others are looked after.
#[derive(Clone, Copy)]
struct Pace {
    /// What one may cost in its turn, in the steps of `Fabric.work`.
    turn: u64,
    /// Bytes read from it at most.
    read: usize,
    /// Time for new connections and busy clients together. What was begun is always finished.
    slice: Duration,
}

/// A few are busy. The turn is enough for a full read buffer of the smallest messages to one receiver; they share it.
const FEW: Pace = Pace { turn: 20_000, read: READ_BUFFER, slice: Duration::from_micros(15) };
/// Many are busy, and nobody else is there.
const CROWD: Pace = Pace { turn: 5_000, read: 32 * 1024, slice: Duration::from_micros(50) };
/// Many are busy, and others want to be served between them. Slices of 1 us with half the bytes made others wait 8 % less
/// (`cargo bench --bench hardship`), which is not worth what it would cost the busy ones.
const CROWD_AND_OTHERS: Pace = Pace { turn: 400, read: 4 * 1024, slice: Duration::from_micros(4) };
/// So many busy clients are many.
const MANY: usize = 13;
/// How long a client that had more than its turn counts as busy.
const BUSY: Duration = Duration::from_millis(100);
/// How long after one that asks for little another is expected.
const EXPECTED: Duration = Duration::from_millis(10);
/// Who gets the processor between two slices and keeps it longer than this is not somebody who was just answered.
const LONG_AWAY: Duration = Duration::from_micros(100);
/// Bytes read at a time from a connection that is new.
pub(crate) const FIRST_READ: usize = 16 * 1024;
/// Bytes read at a time from one whose bytes are worth more than a turn: what is left over is kept, so it must not be much.
const SMALL_READ: usize = 4 * 1024;

/// Connections to serve, each at most once in one of the two.
#[derive(Default)]
pub(super) struct Turns {
    modest: VecDeque<u32>,
    busy: VecDeque<u32>,
    /// In this round new connections come before busy ones.
    doors_first: bool,
    /// Until then another client that asks for little is expected.
    expected_until: Option<Instant>,
    /// Until then the processor is kept between two slices.
    keep_until: Option<Instant>,
}

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.modest.is_empty() && self.busy.is_empty()
    }

    fn pace(&self, now: Instant) -> Pace {
        let busy = self.busy.len();
        let others = self.expected_until.is_some_and(|until| now < until);
        match others {
            _ if busy < MANY => Pace { turn: FEW.turn / (busy as u64 + 1), ..FEW },
            false => CROWD,
            true => CROWD_AND_OTHERS,
        }
    }

    /// Lets whoever was just answered go on, who may be waiting for this very processor.
    fn lend_processor(&mut self, now: Instant) {
        if self.keep_until.is_some_and(|until| now < until) {
            return;
        }
        let start = Instant::now();
        std::thread::yield_now();
        self.has_processor_again(start, Instant::now());
    }

    /// Other programs may take a processor that is lent as well, and keep it for milliseconds, where a slice takes
    /// microseconds. Then it is not lent again before this one has had it for as long as they.
    fn has_processor_again(&mut self, lent: Instant, back: Instant) {
        let away = back - lent;
        self.keep_until = (away > LONG_AWAY).then(|| back + away);
    }

    /// Bytes to read at most in a turn.
    pub(super) fn most_bytes(&self, now: Instant) -> usize {
        self.pace(now).read
    }

    /// What a client may cost now, in the steps of `Fabric.work`.
    pub(super) fn length(&self, now: Instant) -> u64 {
        self.pace(now).turn
    }
}

impl Reactor {
    /// Puts a connection on the list of those to read.
    pub(super) fn make_ready(&mut self, key: u32) {
        let now = self.fabric.now;
        let Some(conn) = self.fabric.conn(key) else { return };
        if conn.in_ready || conn.parked || conn.is_held() {
            return;
        }
        conn.in_ready = true;
        let list = if is_busy(conn, now) { &mut self.turns.busy } else { &mut self.turns.modest };
        list.push_back(key);
    }

    /// Gives each modest connection a turn, and new and busy ones as long as the slice is.
    pub(super) fn serve(&mut self) {
        let now = self.fabric.now;
        for _ in 0..self.turns.modest.len() {
            let Some(key) = self.turns.modest.pop_front() else { break };
            self.turns.expected_until = Some(now + EXPECTED);
            self.turn(key);
        }
        let Pace { slice, .. } = self.turns.pace(now);
        if self.turns.busy.is_empty() {
            return self.accept(Instant::now() + slice);
        }
        self.flush_touched();
        if self.turns.busy.len() >= MANY {
            self.turns.lend_processor(now);
        }
        let end = Instant::now() + slice;
        // In turns, so that neither keeps the other from ever getting the first half of a slice.
        self.turns.doors_first = !self.turns.doors_first;
        if self.turns.doors_first {
            self.accept(end);
        }
        for _ in 0..self.turns.busy.len() {
            if Instant::now() >= end {
                return;
            }
            let Some(key) = self.turns.busy.pop_front() else { break };
            self.turn(key);
        }
        if !self.turns.doors_first && Instant::now() < end {
            self.accept(end);
        }
    }

    fn turn(&mut self, key: u32) {
        // What a local client has done before a socket client sends something must have happened before.
        self.hear();
        self.run_local_ready();
        self.read(key);
        self.drop_doomed();
    }

    /// Notes how a turn went in which `count` bytes were read, and lets the connection have another if it has more.
    pub(super) fn turn_over(&mut self, key: u32, count: usize) {
        let now = self.fabric.now;
        let Some(conn) = self.fabric.conn(key) else { return };
        if conn.stopped {
            conn.read_size = (conn.read_size / 2).max(SMALL_READ);
        } else if count == conn.read_size {
            conn.read_size = (conn.read_size * 2).min(READ_BUFFER);
        }
        if conn.stopped || conn.readable {
            conn.busy_until = Some(now + BUSY);
            self.make_ready(key);
        }
    }
}

fn is_busy(conn: &Conn, now: Instant) -> bool {
    let is_new = !conn.connected || conn.opening != Opening::Done || conn.linger_until.is_some();
    is_new || conn.busy_until.is_some_and(|until| now < until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_the_processor_long_does_not_get_it_at_once_again() {
        let lent = Instant::now();
        let mut turns = Turns::default();
        turns.has_processor_again(lent, lent + LONG_AWAY);
        assert_eq!(turns.keep_until, None, "that was somebody who was answered");
        let long = 50 * LONG_AWAY;
        turns.has_processor_again(lent, lent + long);
        assert_eq!(turns.keep_until, Some(lent + 2 * long));
        turns.lend_processor(lent + 2 * long - Duration::from_nanos(1));
        assert_eq!(turns.keep_until, Some(lent + 2 * long), "it was not lent");
        turns.has_processor_again(lent, lent);
        assert_eq!(turns.keep_until, None);
    }
}
