//! When a guest has to stop: it is cancelled, or its time is over. Its time begins when its code does.

use crate::engines::{EngineError, EngineRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SetOnce;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Time a guest's thread has to answer when it is to stop; it does so within milliseconds unless a file operation
/// of the host hangs. The execution then ends without it.
const GRACE: Duration = Duration::from_secs(5);

/// When one guest must stop, and whether it has begun.
#[derive(Clone)]
pub(super) struct Stop {
    /// The guest's own, so that it also ends when nobody waits for it any more.
    cancel: CancellationToken,
    timeout: Option<Duration>,
    /// Set when the guest's code is about to run; holds its deadline.
    begun: Arc<SetOnce<Option<Instant>>>,
}

impl Stop {
    pub(super) fn new(request: &EngineRequest) -> Stop {
        Stop { cancel: request.cancel.child_token(), timeout: request.timeout, begun: Arc::default() }
    }

    /// Stops the guest when the result is dropped.
    pub(super) fn when_dropped(&self) -> DropGuard {
        self.cancel.clone().drop_guard()
    }

    /// The guest's time begins. Called once.
    pub(super) fn begin(&self) {
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // A second call changes nothing.
        let _ = self.begun.set(deadline);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Resolves when it is cancelled.
    pub(super) async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Resolves when it is time to stop.
    pub(super) async fn reached(&self) -> EngineError {
        let timeout = async {
            match *self.begun.wait().await {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => EngineError::Cancelled,
            () = timeout => EngineError::TimedOut,
        }
    }

    /// The same for a thread that does not answer: while it compiles, which cannot be interrupted (it goes on by
    /// itself and leaves its result in the cache), or when the host's file system hangs under the guest.
    pub(super) async fn without_the_guest(&self) -> EngineError {
        let reason = self.reached().await;
        if self.begun.initialized() {
            tokio::time::sleep(GRACE).await;
        }
        reason
    }
}
