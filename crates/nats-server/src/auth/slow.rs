//! Passwords that take long to check, on purpose (bcrypt), are checked here: on a thread of their own, so that the
//! loop thread goes on with everybody else's messages.
//!
//! When many come at once some give up and come again. Who is still there is served first: otherwise nobody would be, as
//! soon as the queue takes longer than the clients' patience.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use crate::hub::Hub;

/// Checks that wait at most; who comes then is refused and may try again.
const MOST_WAITING: usize = 1024;

/// A connection that waits for a check. It is dropped with the connection.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    /// Nothing more comes from it: most such clients have given up, but one may have sent all that it had to say.
    pub(crate) left: AtomicBool,
}

/// One password to check, for connection `cid` in slot `key`.
pub(crate) struct Check {
    pub(crate) key: u32,
    pub(crate) cid: u64,
    pub(crate) hash: Box<str>,
    pub(crate) offered: String,
    pub(crate) asker: Weak<Asker>,
}

/// What came of a check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    pub(crate) key: u32,
    pub(crate) cid: u64,
    pub(crate) good: bool,
}

/// The way to the thread, which starts with the first check and ends with this value.
#[derive(Default)]
pub(crate) struct SlowChecks {
    to: Option<Arc<Queue>>,
}

impl SlowChecks {
    /// Hands a check over; the result comes through the hub. False: there are too many, or there is no thread.
    pub(crate) fn submit(&mut self, check: Check, hub: &Arc<Hub>) -> bool {
        if self.to.is_none() {
            self.to = start(hub.clone());
        }
        self.to.as_ref().is_some_and(|to| to.push(check))
    }
}

impl Drop for SlowChecks {
    fn drop(&mut self) {
        if let Some(to) = &self.to {
            to.end();
        }
    }
}

/// Does the password fit the hash?
pub(crate) fn is_good(hash: &str, offered: &str) -> bool {
    super::secret::is_bcrypt_of(hash, offered)
}

fn start(hub: Arc<Hub>) -> Option<Arc<Queue>> {
    let queue = Arc::new(Queue::default());
    let from = Arc::clone(&queue);
    let thread =
        std::thread::Builder::new().name("nats-passwords".to_owned()).spawn(move || run(&from, &hub));
    match thread {
        Ok(_) => Some(queue),
        Err(error) => {
            tracing::error!(%error, "NATS server: no thread to check passwords; who needs one is refused");
            None
        }
    }
}

fn run(from: &Queue, hub: &Hub) {
    while let Some(Check { key, cid, hash, offered, .. }) = from.pop() {
        hub.checked(Checked { key, cid, good: is_good(&hash, &offered) });
    }
}

/// Checks that wait.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Check>,
    ended: bool,
}

impl Queue {
    fn push(&self, check: Check) -> bool {
        let mut state = self.lock();
        if state.waiting.len() >= MOST_WAITING {
            state.waiting.retain(|check| check.asker.strong_count() > 0);
        }
        let has_room = state.waiting.len() < MOST_WAITING;
        if has_room {
            state.waiting.push_back(check);
            self.changed.notify_one();
        }
        has_room
    }

    /// The next check; `None` at the end.
    fn pop(&self) -> Option<Check> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            if let Some(check) = state.next() {
                return Some(check);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first of those who are still there, else the first; nobody waits any more for those whose connection is gone.
    fn next(&mut self) -> Option<Check> {
        self.waiting.retain(|check| check.asker.strong_count() > 0);
        let is_there =
            |check: &Check| check.asker.upgrade().is_some_and(|asker| !asker.left.load(Ordering::Relaxed));
        let first = self.waiting.iter().position(is_there).unwrap_or(0);
        self.waiting.remove(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_still_there_comes_first_and_who_is_gone_not_at_all() {
        let queue = Queue::default();
        let mut askers: Vec<Arc<Asker>> = (0..4).map(|_| Arc::default()).collect();
        for (cid, asker) in askers.iter().enumerate() {
            let asker = Arc::downgrade(asker);
            assert!(queue.push(Check {
                key: 0,
                cid: cid as u64,
                hash: "".into(),
                offered: String::new(),
                asker
            }));
        }
        askers[1].left.store(true, Ordering::Relaxed);
        askers.remove(0);
        let order: Vec<u64> = std::iter::from_fn(|| queue.lock().next()).map(|check| check.cid).collect();
        assert_eq!(order, [2, 3, 1]);
        queue.end();
        assert!(queue.pop().is_none());
    }

    #[test]
    fn those_who_are_gone_make_room() {
        let queue = Queue::default();
        let push = |asker: &Arc<Asker>| {
            let asker = Arc::downgrade(asker);
            queue.push(Check { key: 0, cid: 0, hash: "".into(), offered: String::new(), asker })
        };
        let (first, other) = (Arc::default(), Arc::default());
        assert!((0..MOST_WAITING).all(|_| push(&first)));
        assert!(!push(&other));
        drop(first);
        assert!(push(&other));
    }
}
