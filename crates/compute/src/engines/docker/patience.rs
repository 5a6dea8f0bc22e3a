//! How long the adoption of a container waits for a daemon that does not answer: long enough for one that is started
//! together with the node or after an update, and never past the end of the execution.

use crate::engines::{EngineError, EngineRequest, UNAVAILABLE};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a daemon that leaves containers running may take to come back.
pub(super) const RETURN_LIMIT: Duration = Duration::from_secs(60);
pub(super) const RETURN_PAUSE: Duration = Duration::from_millis(500);

/// What is left of it.
pub(super) struct Patience {
    execution_id: String,
    give_up: Instant,
    /// When the execution's time is over.
    deadline: Option<Instant>,
    cancel: CancellationToken,
    waits: bool,
}

impl Patience {
    pub(super) fn new(request: &EngineRequest) -> Patience {
        let now = Instant::now();
        Patience {
            execution_id: request.execution.id.clone(),
            give_up: now + RETURN_LIMIT,
            deadline: request.timeout.and_then(|timeout| now.checked_add(timeout)),
            cancel: request.cancel.clone(),
            waits: false,
        }
    }

    /// When the execution's time is over, in what is left of it.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits a moment, if the error means that the daemon does not answer and there is time for another try.
    ///
    /// # Errors
    /// What the run ends with: the error itself, or that it was cancelled or has no time any more.
    pub(super) async fn after(&mut self, error: EngineError) -> Result<(), EngineError> {
        match &error {
            EngineError::Failed { error: why, .. } if why.code == UNAVAILABLE => {
                if Instant::now() >= self.give_up {
                    return Err(error);
                }
                if !std::mem::replace(&mut self.waits, true) {
                    let execution = &self.execution_id;
                    tracing::warn!(execution, %why, "a container is to be gone on with; waiting for Docker");
                }
            }
            _ => return Err(error),
        }
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(EngineError::Cancelled),
            () = tokio::time::sleep(RETURN_PAUSE) => match self.time_left() {
                Some(Duration::ZERO) => Err(EngineError::TimedOut),
                _ => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::docker::errors;

    fn patience(wait: Duration, timeout: Option<Duration>) -> Patience {
        let now = Instant::now();
        Patience {
            execution_id: "e-1".into(),
            give_up: now + wait,
            deadline: timeout.map(|timeout| now + timeout),
            cancel: CancellationToken::new(),
            waits: false,
        }
    }

    fn away() -> EngineError {
        EngineError::not_started(errors::unreachable("looking", "it is away"))
    }

    #[tokio::test]
    async fn only_for_a_daemon_that_is_away_and_not_for_ever() {
        let mut waiting = patience(RETURN_LIMIT, None);
        let other = EngineError::not_started(errors::internal("something else"));
        assert!(matches!(waiting.after(other).await, Err(EngineError::Failed { .. })));
        assert!(matches!(waiting.after(EngineError::Gone).await, Err(EngineError::Gone)));
        assert!(waiting.after(away()).await.is_ok());
        let mut over = patience(Duration::ZERO, None);
        assert!(matches!(over.after(away()).await, Err(EngineError::Failed { .. })));
    }

    #[tokio::test]
    async fn not_longer_than_the_execution() {
        let mut waiting = patience(RETURN_LIMIT, Some(RETURN_PAUSE / 2));
        assert!(matches!(waiting.after(away()).await, Err(EngineError::TimedOut)));
        let mut waiting = patience(RETURN_LIMIT, None);
        waiting.cancel.cancel();
        assert!(matches!(waiting.after(away()).await, Err(EngineError::Cancelled)));
    }
}
