//! How far one run is, on its way from the engine to the driver.
//!
//! Whoever tells never waits, and nothing that matters is lost: there is room for every state that a run can reach. Lines
//! about its preparation come at most once in a while; of those that come too soon only the latest is kept.

use crate::executor::Phase;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Between two lines about the preparation.
const PACE: Duration = Duration::from_secs(3);
/// Phases that wait at most; states among them are never given up.
const MOST: usize = 16;

/// The phases that were told and not taken yet. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Phases {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    told: VecDeque<Phase>,
    /// Too soon after the last line.
    held: Option<Phase>,
    /// When the next line may be told.
    next_line: Option<Instant>,
}

impl Phases {
    /// Takes note of a phase. Never blocks.
    pub(super) fn tell(&self, phase: Phase) {
        self.lock().tell(phase, Instant::now());
        self.inner.news.notify_one();
    }

    /// The next phase. Waits for ever when there is none.
    pub(super) async fn next(&self) -> Phase {
        loop {
            let taken = self.lock().take(Instant::now());
            let due = match taken {
                Ok(phase) => return phase,
                Err(due) => due,
            };
            tokio::select! {
                () = self.inner.news.notified() => {}
                () = until(due) => {}
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, phase: Phase, now: Instant) {
        if !phase.is_line() {
            let last_line = self.held.take();
            last_line.into_iter().for_each(|line| self.push(line));
            self.push(phase);
        } else if self.next_line.is_some_and(|at| now < at) {
            self.held = Some(phase);
        } else {
            self.next_line = Some(now + PACE);
            self.push(phase);
        }
    }

    /// The next phase, or when there will be one unless another is told before.
    fn take(&mut self, now: Instant) -> Result<Phase, Option<Instant>> {
        if let Some(phase) = self.told.pop_front() {
            return Ok(phase);
        }
        let due = self.next_line.filter(|_| self.held.is_some());
        if due.is_some_and(|at| at <= now)
            && let Some(line) = self.held.take()
        {
            self.next_line = Some(now + PACE);
            return Ok(line);
        }
        Err(due)
    }

    fn push(&mut self, phase: Phase) {
        if self.told.len() >= MOST
            && let Some(line) = self.told.iter().position(Phase::is_line)
        {
            self.told.remove(line);
        }
        self.told.push_back(phase);
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Phase {
        Phase::Preparing(text.to_owned())
    }

    #[test]
    fn lines_are_rare_and_states_are_never_lost() {
        let (mut state, start) = (State::default(), Instant::now());
        state.tell(line("begin"), start);
        for percent in 0..100 {
            state.tell(line(&format!("{percent} %")), start + PACE / 2);
        }
        assert_eq!(state.take(start), Ok(line("begin")));
        assert_eq!(state.take(start + PACE / 2), Err(Some(start + PACE)));
        assert_eq!(state.take(start + PACE), Ok(line("99 %")), "the latest of those that came too soon");
        state.tell(line("nearly"), start + PACE);
        state.tell(line("done"), start + PACE);
        state.tell(Phase::Running, start + PACE);
        state.tell(Phase::Publishing, start + PACE);
        for expected in [line("done"), Phase::Running, Phase::Publishing] {
            assert_eq!(state.take(start + PACE), Ok(expected));
        }
        assert_eq!(state.take(start + PACE * 9), Err(None));
    }

    #[test]
    fn it_never_grows_without_end() {
        let (mut state, start) = (State::default(), Instant::now());
        for n in 0..100 {
            state.tell(line("a line"), start + PACE * n);
        }
        state.tell(Phase::Running, start);
        assert_eq!((state.told.len(), state.told.back()), (MOST, Some(&Phase::Running)));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let phases = Phases::default();
        let waiting = tokio::spawn({
            let phases = phases.clone();
            async move { phases.next().await }
        });
        phases.tell(Phase::Running);
        assert_eq!(waiting.await.unwrap(), Phase::Running);
    }
}
