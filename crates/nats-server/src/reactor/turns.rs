//! Who is served when. A client that asks for little is served at once. One that always has more, and one that has not
//! logged in yet, is *busy*: the busy ones share, in turn, what time is left, one short slice after the other, and between
//! two slices the others are looked after. So a thousand clients that flood the server delay an ordinary one by a slice or
//! two, and not by a thousand turns.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Opening, READ_BUFFER, Reactor};
use crate::peer::Conn;

/// What one client may cost in its turn, in the steps of `Fabric.work`: enough for a full read buffer of the smallest
/// messages to one receiver.
const TURN: u64 = 20_000;
/// The same when many are busy; some 15 us, as long as `SLICE`.
const SHORT_TURN: u64 = 1_500;
/// Time for new connections and busy clients between two looks at the others. What was begun is always finished.
const SLICE: Duration = Duration::from_micros(15);
/// How long a client that had more than its turn counts as busy.
const BUSY: Duration = Duration::from_millis(100);
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
}

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.modest.is_empty() && self.busy.is_empty()
    }

    /// Are so many busy that turns have to be short?
    fn is_crowded(&self) -> bool {
        self.busy.len() as u64 >= TURN / SHORT_TURN
    }

    /// Bytes to read at most in a turn.
    pub(super) fn most_bytes(&self) -> usize {
        if self.is_crowded() { FIRST_READ } else { usize::MAX }
    }

    /// What a client may cost now: the more are busy, the less.
    pub(super) fn length(&self) -> u64 {
        (TURN / (self.busy.len() as u64 + 1)).max(SHORT_TURN)
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
        for _ in 0..self.turns.modest.len() {
            let Some(key) = self.turns.modest.pop_front() else { break };
            self.turn(key);
        }
        if self.turns.busy.is_empty() {
            return self.accept(Instant::now() + SLICE);
        }
        self.flush_touched();
        if self.turns.is_crowded() {
            // Who was just answered may be waiting for this very processor.
            std::thread::yield_now();
        }
        let end = Instant::now() + SLICE;
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
