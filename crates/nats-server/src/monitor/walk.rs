//! Asking the loop thread, part after part, until its table ends.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::State;
use super::failure::Failure;
use super::rows::{Ask, Page, Question};

/// Longest wait for one answer. The loop answers between two turns, so even a busy one needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

impl State {
    /// Hands every row of a table to `take`.
    ///
    /// # Errors
    /// If the loop has ended, or does not answer.
    pub(super) async fn walk<T>(
        &self,
        question: fn(Ask<T>) -> Question,
        mut take: impl FnMut(T),
    ) -> Result<(), Failure> {
        let mut from = Some(0);
        while let Some(at) = from {
            let _turn = self.asking.lock().await;
            let (reply, answer) = oneshot::channel();
            self.hub.ask(question(Ask { from: at, reply }));
            let Page { rows, next } = wait(answer, PATIENCE).await?;
            rows.into_iter().for_each(&mut take);
            from = next;
        }
        Ok(())
    }

    /// Does the loop turn?
    ///
    /// # Errors
    /// If it does not within `patience`.
    pub(super) async fn alive(&self, patience: Duration) -> Result<(), Failure> {
        let (reply, answer) = oneshot::channel();
        self.hub.ask(Question::Alive(reply));
        wait(answer, patience).await
    }
}

async fn wait<T>(answer: oneshot::Receiver<T>, patience: Duration) -> Result<T, Failure> {
    match timeout(patience, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Failure::unavailable("server is shutting down")),
        Err(_) => Err(Failure::unavailable("server does not answer in time")),
    }
}
