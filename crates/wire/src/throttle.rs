//! Keeps a peer that sends rubbish from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines per interval.
const LINES: u32 = 10;
/// The interval.
const INTERVAL: Duration = Duration::from_secs(60);

/// Lets the first 10 lines of each minute through and counts the rest.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Throttle {
    /// `Some` when a line may be written, with how many were left out since the last one; `None` leaves this one out.
    pub fn admit(&self) -> Option<u64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now())
    }
}

impl State {
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= INTERVAL) {
            self.began = Some(now);
            self.lines = 0;
        }
        if self.lines == LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_minute_and_a_count_of_the_others() {
        let (mut state, start) = (State::default(), Instant::now());
        let admitted = (0..1000).filter(|_| state.admit(start).is_some()).count();
        assert_eq!(admitted, 10);
        let later = start + INTERVAL;
        assert_eq!(state.admit(later), Some(990));
        assert_eq!(state.admit(later), Some(0));
    }
}
