//! Lame duck: the server is going to end, and its clients go elsewhere one after the other instead of all at once.

use std::time::{Duration, Instant};

use crate::events::CloseReason;

use super::Reactor;

/// Few clients need not wait for the whole time.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// The time between two clients.
fn step(whole: Duration, grace: Duration, clients: u32) -> Duration {
    (whole.saturating_sub(grace) / clients.max(1)).min(LONGEST_STEP)
}

/// The plan.
pub(super) struct LameDuck {
    /// Connections to close, the last one first.
    left: Vec<u32>,
    /// When the next one goes.
    next_at: Instant,
    /// Time between two.
    step: Duration,
}

impl LameDuck {
    /// When there is something to do.
    pub(super) fn next_at(&self) -> Instant {
        self.next_at
    }
}

impl Reactor {
    /// Closes the doors and tells all clients; further calls do nothing.
    pub(super) fn begin_lame_duck(&mut self) {
        if self.lame_duck.is_some() {
            return;
        }
        for door in &mut self.doors {
            door.close(self.poll.registry());
        }
        self.info.lame_duck = true;
        // The addresses announced are those of this server.
        self.info.connect_urls.clear();
        self.inform_all();
        self.tell_lame_duck();
        let left = self.fabric.peers.keys();
        let (grace, whole) = (self.options.lame_duck_grace_period, self.options.lame_duck_duration);
        let clients = u32::try_from(self.fabric.stats.connections.max(1)).unwrap_or(u32::MAX);
        let step = step(whole, grace, clients);
        tracing::info!(clients, "NATS server: lame duck mode, clients are asked to go elsewhere");
        self.lame_duck = Some(LameDuck { left, next_at: self.fabric.now + grace, step });
    }

    /// Closes those whose time has come; the server ends with the last one.
    pub(super) fn run_lame_duck(&mut self) {
        let Some(mut plan) = self.lame_duck.take() else { return };
        while plan.next_at <= self.fabric.now {
            let Some(key) = plan.left.pop() else {
                self.stopping = true;
                break;
            };
            // A key may be a local client's, or free; keys are not given again, for nobody comes in.
            if self.fabric.conn(key).is_some() {
                self.close_with(key, None, CloseReason::ServerShutdown);
                plan.next_at += plan.step;
            }
        }
        self.stopping |= self.fabric.stats.connections == 0;
        self.lame_duck = Some(plan);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_clients_share_the_time_and_few_do_not_need_it() {
        let seconds = Duration::from_secs;
        assert_eq!(step(seconds(120), seconds(10), 1100), Duration::from_millis(100));
        assert_eq!(step(seconds(120), seconds(10), 4), LONGEST_STEP);
        assert_eq!(step(seconds(5), seconds(10), 0), Duration::ZERO);
    }
}
