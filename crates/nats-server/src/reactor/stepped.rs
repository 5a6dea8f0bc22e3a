//! The loop without a thread: each round is run when the caller says so. For fuzzing, where the same input has to take the
//! same way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Waker};

use super::{Door, MAX_EVENTS, Reactor, WAKER};
use crate::auth::Authenticator;
use crate::error::Error;
use crate::hub::{Hub, LocalLimits};
use crate::options::Options;

/// Rounds until all must be quiet.
const MAX_ROUNDS: usize = 100_000;

/// What the server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) connections: u64,
    pub(crate) subscriptions: u64,
    /// Bytes.
    pub(crate) buffered: usize,
}

/// A server that stands still between two calls.
pub(crate) struct Stepped {
    reactor: Reactor,
    events: Events,
}

impl Stepped {
    /// # Errors
    /// Those of [`Server::start`](crate::Server::start).
    pub(crate) fn start(options: Options) -> Result<Stepped, Error> {
        options.check()?;
        let auth = Authenticator::new(&options)?;
        let doors = Door::all(&options)?;
        let poll = Poll::new().map_err(Error::Start)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(Error::Start)?;
        let hub = Arc::new(Hub::new(waker, LocalLimits::new(&options)));
        let reactor = Reactor::new(poll, doors, Arc::new(options), auth, hub).map_err(Error::Start)?;
        Ok(Stepped { reactor, events: Events::with_capacity(MAX_EVENTS) })
    }

    /// Where it listens: for ordinary clients, and for those with WebSockets.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        self.reactor.doors.iter().map(|door| door.addr).collect()
    }

    pub(crate) fn holdings(&self) -> Holdings {
        let Reactor { fabric, .. } = &self.reactor;
        let (connections, subscriptions) = (fabric.stats.connections, fabric.stats.subscriptions);
        Holdings { connections, subscriptions, buffered: fabric.buffered() }
    }

    /// Runs until there is nothing to do at this time.
    pub(crate) fn settle(&mut self) {
        let mut rounds = 0;
        while self.round(Duration::ZERO) {
            rounds += 1;
            assert!(rounds < MAX_ROUNDS, "the server does not come to rest");
        }
    }

    /// Runs until a condition holds, with the waits that the server asks for.
    pub(crate) fn run_until(&mut self, end: Instant, mut holds: impl FnMut(&Stepped) -> bool) -> bool {
        loop {
            self.settle();
            if holds(self) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.round(left.min(Duration::from_millis(20)));
        }
    }

    /// One round, after waiting for at most so long. False: there was nothing to do.
    fn round(&mut self, most: Duration) -> bool {
        let wait = self.reactor.timeout().map_or(most, |wait| wait.min(most));
        let had_work = self.reactor.timeout() == Some(Duration::ZERO);
        let polled = self.reactor.poll.poll(&mut self.events, Some(wait));
        if polled.is_err() || (self.events.is_empty() && !had_work && most.is_zero()) {
            return false;
        }
        self.reactor.round(&self.events);
        true
    }
}
