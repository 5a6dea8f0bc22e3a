//! The clock that makes guests yield: one thread per engine, at rest while nothing runs.

use super::error;
use bacalhau_model::Error;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time between two yields of a guest: how promptly it can be stopped, against what the yields cost.
const TICK: Duration = Duration::from_millis(10);

/// Ticks while at least one [`Ticking`] is held.
#[derive(Debug)]
pub(super) struct Ticker {
    engine: wasmtime::Engine,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// The thread exists.
    started: bool,
    /// The thread waits for the next guest; it must be woken.
    resting: bool,
    /// The engine is gone.
    closed: bool,
}

/// Held while a guest runs.
#[derive(Debug)]
pub(super) struct Ticking {
    shared: Arc<Shared>,
}

impl Ticker {
    pub(super) fn new(engine: wasmtime::Engine) -> Ticker {
        Ticker { engine, shared: Arc::default() }
    }

    /// Ticks until the result is dropped.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub(super) fn start(&self) -> Result<Ticking, Error> {
        let mut state = self.shared.lock();
        if !state.started {
            let (engine, shared) = (self.engine.clone(), Arc::clone(&self.shared));
            std::thread::Builder::new()
                .name("wasm-ticker".to_owned())
                .stack_size(64 * 1024)
                .spawn(move || shared.tick(&engine))
                .map_err(|e| error(format!("cannot start a thread: {e}")).retryable())?;
            state.started = true;
        }
        state.running += 1;
        if state.resting {
            self.shared.wake.notify_one();
        }
        Ok(Ticking { shared: Arc::clone(&self.shared) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.running = state.running.saturating_sub(1);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self, engine: &wasmtime::Engine) {
        let mut state = self.lock();
        while !state.closed {
            state = if state.running == 0 {
                state.resting = true;
                let mut woken = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                woken.resting = false;
                woken
            } else {
                self.wake.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0
            };
            engine.increment_epoch();
        }
    }
}
