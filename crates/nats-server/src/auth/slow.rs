//! Passwords that take long to check, on purpose (bcrypt), are checked here: on a thread of their own, so that the
//! loop thread goes on with everybody else's messages.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::hub::Hub;

/// Checks that wait at most; who comes then is refused and may try again.
const MOST_WAITING: usize = 1024;

/// One password to check, for connection `cid` in slot `key`.
pub(crate) struct Check {
    pub(crate) key: u32,
    pub(crate) cid: u64,
    pub(crate) hash: Box<str>,
    pub(crate) offered: String,
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
    to: Option<SyncSender<Check>>,
}

impl SlowChecks {
    /// Hands a check over; the result comes through the hub. False: there are too many, or there is no thread.
    pub(crate) fn submit(&mut self, check: Check, hub: &Arc<Hub>) -> bool {
        if self.to.is_none() {
            self.to = start(hub.clone());
        }
        self.to.as_ref().is_some_and(|to| to.try_send(check).is_ok())
    }
}

/// Does the password fit the hash?
pub(crate) fn is_good(hash: &str, offered: &str) -> bool {
    super::secret::is_bcrypt_of(hash, offered)
}

fn start(hub: Arc<Hub>) -> Option<SyncSender<Check>> {
    let (to, from) = sync_channel(MOST_WAITING);
    let thread =
        std::thread::Builder::new().name("nats-passwords".to_owned()).spawn(move || run(&from, &hub));
    match thread {
        Ok(_) => Some(to),
        Err(error) => {
            tracing::error!(%error, "NATS server: no thread to check passwords; who needs one is refused");
            None
        }
    }
}

fn run(from: &Receiver<Check>, hub: &Hub) {
    while let Ok(Check { key, cid, hash, offered }) = from.recv() {
        hub.checked(Checked { key, cid, good: is_good(&hash, &offered) });
    }
}
