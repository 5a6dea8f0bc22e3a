//! What the loop thread and everybody else share: the bell, the local clients that have something to say, requests to
//! the loop, and the published counters. Locks here are held for a few instructions and never while routing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;

use crate::auth::Authenticator;
use crate::auth::operator::TrustedAccount;
use crate::auth::slow::Checked;
use crate::local::queue::ClientQueue;
use crate::monitor::rows::Question;
use crate::stats::SharedStats;
use crate::system::Said;
use rustls::ServerConfig;

/// The shared part of one server.
pub(crate) struct Hub {
    waker: Waker,
    /// Rung and not yet heard: saves a system call per publish.
    rung: AtomicBool,
    /// A receiver that had been near its limit has room again.
    drained: AtomicBool,
    stopping: AtomicBool,
    requests: Mutex<Requests>,
    pub(crate) stats: SharedStats,
    pub(crate) limits: LocalLimits,
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

#[derive(Default)]
struct Requests {
    /// Local clients with commands, each at most once.
    ready: Vec<Arc<ClientQueue>>,
    connect_urls: Option<Vec<String>>,
    /// Certificates read anew, by number of the door.
    certificates: Vec<(usize, Arc<ServerConfig>)>,
    lame_duck: bool,
    /// Who may connect from now on.
    users: Option<Authenticator>,
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
    pub(crate) connect_urls: Option<Vec<String>>,
    pub(crate) certificates: Vec<(usize, Arc<ServerConfig>)>,
    pub(crate) lame_duck: bool,
    pub(crate) users: Option<Authenticator>,
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
            requests: Mutex::default(),
            stats: SharedStats::default(),
            limits,
        }
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

    /// New addresses to tell the clients.
    pub(crate) fn set_connect_urls(&self, urls: Vec<String>) {
        lock(&self.requests).connect_urls = Some(urls);
        self.ring();
    }

    /// Certificates for connections from now on.
    pub(crate) fn set_certificates(&self, certificates: Vec<(usize, Arc<ServerConfig>)>) {
        lock(&self.requests).certificates = certificates;
        self.ring();
    }

    /// Other users may connect from now on. False: the loop has ended.
    #[must_use]
    pub(crate) fn set_users(&self, users: Authenticator) -> bool {
        let open = {
            let mut requests = lock(&self.requests);
            requests.users = Some(users);
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
        Heard {
            ready: std::mem::take(&mut requests.ready),
            connect_urls: requests.connect_urls.take(),
            certificates: std::mem::take(&mut requests.certificates),
            lame_duck: std::mem::take(&mut requests.lame_duck),
            users: requests.users.take(),
            accounts: std::mem::take(&mut requests.accounts),
            checked: std::mem::take(&mut requests.checked),
            questions: std::mem::take(&mut requests.questions),
            said: std::mem::take(&mut requests.said),
            drained: self.drained.swap(false, Ordering::AcqRel),
            stopping: self.stopping.load(Ordering::Acquire),
        }
    }
}
