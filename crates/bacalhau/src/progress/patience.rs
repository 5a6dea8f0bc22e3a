//! Waiting out a server that is away for a while.

use bacalhau_model::Error;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// First pause between two questions.
const SHORTEST: Duration = Duration::from_millis(20);
/// Longest pause between two questions.
const LONGEST: Duration = Duration::from_millis(500);
/// How long the server may be away before a command gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pauses that start short and grow.
#[derive(Debug)]
pub(super) struct Pace(Duration);

impl Pace {
    /// Starts at the shortest pause.
    pub(super) fn new() -> Pace {
        Pace(SHORTEST)
    }

    /// Something happened: more may follow soon.
    pub(super) fn quicken(&mut self) {
        self.0 = SHORTEST;
    }

    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (self.0 * 3 / 2).min(LONGEST);
        pause
    }
}

/// Keeps count of how long the server has been away.
#[derive(Debug, Default)]
struct Patience(Option<Instant>);

impl Patience {
    /// Passes answers through; `None` for a failure worth another try.
    fn take<T>(&mut self, answer: Result<T, Error>) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => {
                self.0 = None;
                Ok(Some(answer))
            }
            Err(error) if error.retryable && self.0.get_or_insert_with(Instant::now).elapsed() < PATIENCE => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Asks until there is an answer, or an error that another try does not mend.
///
/// # Errors
/// That one, or the last one after a minute without an answer.
pub(crate) async fn persist<T, F: Future<Output = Result<T, Error>>>(
    mut ask: impl FnMut() -> F,
) -> Result<T, Error> {
    let (mut pace, mut patience) = (Pace::new(), Patience::default());
    loop {
        if let Some(answer) = patience.take(ask().await)? {
            return Ok(answer);
        }
        tokio::time::sleep(pace.next()).await;
    }
}

/// Patience with something that answers for a while and then breaks off, again and again.
#[derive(Debug)]
pub(crate) struct Tries {
    pace: Pace,
    patience: Patience,
}

impl Tries {
    pub(crate) fn new() -> Tries {
        Tries { pace: Pace::new(), patience: Patience::default() }
    }

    /// It got further: the next trouble is a new one.
    pub(crate) fn went_well(&mut self) {
        *self = Tries::new();
    }

    /// Waits before another try.
    ///
    /// # Errors
    /// The trouble itself, when another try does not mend it, or after a minute of troubles.
    pub(crate) async fn after(&mut self, trouble: Error) -> Result<(), Error> {
        self.patience.take(Err::<(), _>(trouble))?;
        tokio::time::sleep(self.pace.next()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest() {
        let mut pace = Pace::new();
        let pauses: Vec<_> = (0..20).map(|_| pace.next()).collect();
        assert_eq!(pauses[0], SHORTEST);
        assert!(pauses.windows(2).all(|p| p[0] <= p[1]));
        assert_eq!(pauses.last(), Some(&LONGEST));
        pace.quicken();
        assert_eq!(pace.next(), SHORTEST);
    }

    #[tokio::test]
    async fn troubles_that_may_pass_are_tried_again() {
        let trouble = || Error::plain("x").retryable();
        let mut tries = Tries::new();
        assert!(tries.after(Error::plain("x")).await.is_err());
        assert!(tries.after(trouble()).await.is_ok());
        let since = tries.patience.0;
        assert!(tries.after(trouble()).await.is_ok());
        assert_eq!(tries.patience.0, since, "the first trouble counts");
        tries.went_well();
        assert!(tries.patience.0.is_none());
    }

    #[test]
    fn only_passing_troubles_are_waited_out() {
        let mut patience = Patience::default();
        assert!(patience.take(Err::<(), _>(Error::plain("x").retryable())).unwrap().is_none());
        assert!(patience.take(Err::<(), _>(Error::plain("x"))).is_err());
        assert_eq!(patience.take(Ok(1)).unwrap(), Some(1));
    }
}
