//! What the loop thread and everybody else share: the bell, the local clients that have something to say, requests to
//! the loop, and the published counters. Locks here are held for a few instructions and never while routing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;

use crate::auth::operator::TrustedAccount;
use crate::auth::slow::Checked;
use crate::local::queue::ClientQueue;
use crate::monitor::rows::Question;
use crate::options::Options;
use crate::reload::Change;
use crate::stats::SharedStats;
use crate::system::Said;

/// The shared part of one server.
pub(crate) struct Hub {
    waker: Waker,
    /// Rung and not yet heard: saves a system call per publish.
    rung: AtomicBool,
    /// A receiver that had been near its limit has room again.
    drained: AtomicBool,
    stopping: AtomicBool,
    /// Other settings wait to be taken over.
    changing: AtomicBool,
    requests: Mutex<Requests>,
    pub(crate) stats: SharedStats,
    limits: SharedLimits,
}

/// Bounds of local clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalLimits {
    pub(crate) max_payload: usize,
    pub(crate) max_subject: usize,
    /// Bytes that may wait, per publishing client and per subscription.
    pub(crate) max_pending: usize,
    /// Messages that may wait in one subscription.
    pub(crate) max_msgs: usize,
    /// Bytes that may wait for all sockets together, with input that is kept.
    pub(crate) max_buffered: usize,
}

impl LocalLimits {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            max_payload: options.max_payload,
            // Room for the verb, the sid, a reply of the same length and the sizes is the client's business; half a line
            // is what a subject can have with a reply beside it.
            max_subject: options.max_control_line / 2,
            max_pending: options.max_pending,
            max_msgs: options.local_max_pending_msgs,
            max_buffered: options.max_buffered.max(options.max_pending),
        }
    }
}

/// The same, for all threads. They stand for themselves, so that it does no harm to see some of them before the others.
struct SharedLimits {
    max_payload: AtomicUsize,
    max_subject: AtomicUsize,
    max_pending: AtomicUsize,
    max_msgs: AtomicUsize,
    max_buffered: AtomicUsize,
}

impl SharedLimits {
    fn new(limits: LocalLimits) -> Self {
        let LocalLimits { max_payload, max_subject, max_pending, max_msgs, max_buffered } = limits;
        Self {
            max_payload: max_payload.into(),
            max_subject: max_subject.into(),
            max_pending: max_pending.into(),
            max_msgs: max_msgs.into(),
            max_buffered: max_buffered.into(),
        }
    }
}

#[derive(Default)]
struct Requests {
    /// Local clients with commands, each at most once.
    ready: Vec<Arc<ClientQueue>>,
    /// Other settings; several have become one.
    change: Option<Box<Change>>,
    lame_duck: bool,
    /// Accounts that are new or have changed; at most one entry for each.
    accounts: Vec<TrustedAccount>,
    /// Passwords that have been checked; at most one per connection.
    checked: Vec<Checked>,
    /// Of monitoring; at most one per connection to it.
    questions: Vec<Question>,
    /// Answers and events that took a while to make; at most one that the loop has not heard.
    said: Vec<Said>,
    /// The loop has ended: nobody will listen.
    closed: bool,
}

/// What the loop found when the bell had rung.
pub(crate) struct Heard {
    pub(crate) ready: Vec<Arc<ClientQueue>>,
    pub(crate) change: Option<Box<Change>>,
    pub(crate) lame_duck: bool,
    pub(crate) accounts: Vec<TrustedAccount>,
    pub(crate) checked: Vec<Checked>,
    pub(crate) questions: Vec<Question>,
    pub(crate) said: Vec<Said>,
    pub(crate) drained: bool,
    pub(crate) stopping: bool,
}

/// A poisoned lock means that a thread panicked while holding it; the few instructions under our locks leave the data
/// whole at every point, so going on is right.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn new(waker: Waker, limits: LocalLimits) -> Self {
        Self {
            waker,
            rung: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            changing: AtomicBool::new(false),
            requests: Mutex::default(),
            stats: SharedStats::default(),
            limits: SharedLimits::new(limits),
        }
    }

    /// The limits that hold now.
    #[inline]
    pub(crate) fn limits(&self) -> LocalLimits {
        LocalLimits {
            max_payload: self.limits.max_payload.load(Ordering::Relaxed),
            max_subject: self.limits.max_subject.load(Ordering::Relaxed),
            max_pending: self.limits.max_pending.load(Ordering::Relaxed),
            max_msgs: self.limits.max_msgs.load(Ordering::Relaxed),
            max_buffered: self.limits.max_buffered.load(Ordering::Relaxed),
        }
    }

    /// Loop thread only: other limits from now on.
    pub(crate) fn set_limits(&self, limits: LocalLimits) {
        self.limits.max_payload.store(limits.max_payload, Ordering::Relaxed);
        self.limits.max_subject.store(limits.max_subject, Ordering::Relaxed);
        self.limits.max_pending.store(limits.max_pending, Ordering::Relaxed);
        self.limits.max_msgs.store(limits.max_msgs, Ordering::Relaxed);
        self.limits.max_buffered.store(limits.max_buffered, Ordering::Relaxed);
    }

    /// A local client has commands; the caller sees to it that it is not announced twice. False: the loop has ended.
    #[must_use]
    pub(crate) fn announce(&self, queue: Arc<ClientQueue>) -> bool {
        let open = {
            let mut requests = lock(&self.requests);
            if !requests.closed {
                requests.ready.push(queue);
            }
            !requests.closed
        };
        if open {
            self.ring();
        }
        open
    }

    /// Other settings from now on. False: the loop has ended.
    #[must_use]
    pub(crate) fn change(&self, change: Change) -> bool {
        let open = {
            let mut requests = lock(&self.requests);
            if change.users.is_some() {
                // The accounts that wait are known to whoever made the new list.
                requests.accounts.clear();
            }
            if !requests.closed {
                let change = match requests.change.take() {
                    Some(earlier) => earlier.then(change),
                    None => change,
                };
                requests.change = Some(Box::new(change));
                self.changing.store(true, Ordering::Release);
            }
            !requests.closed
        };
        self.ring();
        open
    }

    /// Asks the loop to send its clients elsewhere and end.
    pub(crate) fn lame_duck(&self) {
        lock(&self.requests).lame_duck = true;
        self.ring();
    }

    /// An account is new or has changed. False: the loop has ended.
    #[must_use]
    pub(crate) fn put_account(&self, account: TrustedAccount) -> bool {
        let open = {
            let mut requests = lock(&self.requests);
            requests.accounts.retain(|waiting| waiting.key() != account.key());
            if !requests.closed {
                requests.accounts.push(account);
            }
            !requests.closed
        };
        if open {
            self.ring();
        }
        open
    }

    /// A password has been checked.
    pub(crate) fn checked(&self, checked: Checked) {
        lock(&self.requests).checked.push(checked);
        self.ring();
    }

    /// Asks the loop. If it has ended, or ends before it answers, the way back is dropped.
    pub(crate) fn ask(&self, question: Question) {
        {
            let mut requests = lock(&self.requests);
            if requests.closed {
                return;
            }
            requests.questions.push(question);
        }
        self.ring();
    }

    /// Something for the loop to publish.
    pub(crate) fn say(&self, said: Said) {
        {
            let mut requests = lock(&self.requests);
            if requests.closed {
                return;
            }
            requests.said.push(said);
        }
        self.ring();
    }

    /// Publishers that were held back may try again.
    pub(crate) fn drained(&self) {
        self.drained.store(true, Ordering::Release);
        self.ring();
    }

    /// Asks the loop to end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            // Without the bell the loop still looks after each batch of traffic; say so instead of failing the caller.
            self.rung.store(false, Ordering::Release);
            tracing::error!(%error, "NATS server: cannot wake the loop thread");
        }
    }

    /// Has the bell rung? Cheap enough to ask before every read.
    #[inline]
    pub(crate) fn has_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    /// Do other settings wait? What was sent after they were asked for must not be acted on before they are taken over.
    #[inline]
    pub(crate) fn is_changing(&self) -> bool {
        self.changing.load(Ordering::Acquire)
    }

    /// Loop thread only, at its end: the local clients that nobody has heard, and no more after these.
    pub(crate) fn close(&self) -> Vec<Arc<ClientQueue>> {
        let mut requests = lock(&self.requests);
        requests.closed = true;
        requests.questions.clear();
        requests.said.clear();
        std::mem::take(&mut requests.ready)
    }

    /// Loop thread only: takes everything that was asked for.
    pub(crate) fn hear(&self) -> Heard {
        // The bell is reset before looking, so whatever comes later rings again.
        self.rung.store(false, Ordering::SeqCst);
        let mut requests = lock(&self.requests);
        self.changing.store(false, Ordering::Release);
        Heard {
            ready: std::mem::take(&mut requests.ready),
            change: requests.change.take(),
            lame_duck: std::mem::take(&mut requests.lame_duck),
            accounts: std::mem::take(&mut requests.accounts),
            checked: std::mem::take(&mut requests.checked),
            questions: std::mem::take(&mut requests.questions),
            said: std::mem::take(&mut requests.said),
            drained: self.drained.swap(false, Ordering::AcqRel),
            stopping: self.stopping.load(Ordering::Acquire),
        }
    }
}
