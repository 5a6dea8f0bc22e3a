//! Back-pressure: a publisher whose receiver is near its limit is not read for a moment. Nobody sleeps, and nobody is
//! forgotten: every parked publisher has a time of release, and any receiver that drains releases all at once.

use std::time::Duration;

use crate::peer::Peer;

use super::Reactor;

/// The longest a publisher is held back per batch.
const PAUSE: Duration = Duration::from_millis(10);

impl Reactor {
    /// Holds a publisher back.
    pub(super) fn park(&mut self, key: u32) {
        let parked = match self.fabric.peers.get_mut(key) {
            Some(Peer::Socket(conn)) => {
                conn.traffic.stalls += u64::from(!conn.parked);
                &mut conn.parked
            }
            Some(Peer::Local(local)) => &mut local.parked,
            Some(Peer::Leaving(_)) | None => return,
        };
        if !std::mem::replace(parked, true) {
            self.fabric.stats.stalls += 1;
            self.parked.push_back((self.fabric.now + PAUSE, key));
        }
    }

    /// Releases those whose time has come, or all of them if a receiver has drained.
    pub(super) fn unpark(&mut self) {
        let all = std::mem::take(&mut self.drained);
        while let Some((until, key)) = self.parked.front().copied() {
            if !all && until > self.fabric.now {
                return;
            }
            self.parked.pop_front();
            match self.fabric.peers.get_mut(key) {
                Some(Peer::Socket(conn)) => {
                    conn.parked = false;
                    if conn.readable || conn.stopped {
                        self.make_ready(key);
                    }
                }
                Some(Peer::Local(local)) => {
                    local.parked = false;
                    self.make_local_ready(key);
                }
                Some(Peer::Leaving(_)) | None => {}
            }
        }
    }
}
