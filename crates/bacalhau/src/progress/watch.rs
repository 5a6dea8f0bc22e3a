//! Watches a job until it ends: polls its history, fast while things happen, slower while nothing does.

use super::rows::{Groups, Rows};
use super::spinner::Spinner;
use crate::failure::{Failure, fail};
use crate::output::Out;
use bacalhau_api::client::{Client, HistoryQuery, JobQuery};
use bacalhau_model::{Error, HistoryType, Job};
use std::time::Duration;
use tokio::time::Instant;

/// First pause between two questions.
const SHORTEST: Duration = Duration::from_millis(20);
/// Longest pause between two questions.
const LONGEST: Duration = Duration::from_millis(500);
/// Pause between two pictures of the spinner.
const FRAME: Duration = Duration::from_millis(100);
/// How long the server may be away before watching gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Records asked for at once.
const PAGE: u32 = 100;

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
pub(super) struct Patience(Option<Instant>);

impl Patience {
    /// Passes answers through; `None` for a failure worth another try.
    pub(super) fn take<T>(&mut self, answer: Result<T, Error>) -> Result<Option<T>, Error> {
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

/// How watching ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The job needs no more watching.
    Job(Box<Job>),
    /// The time the user gave is over.
    TimedOut,
    /// The user pressed Ctrl-C.
    Cancelled,
}

/// What to show on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Show {
    /// Event rows and the spinner.
    pub(super) events: bool,
    /// One row for each execution instead.
    pub(super) grouped: bool,
}

/// Watches a job. `limit` is how long at most.
pub(super) async fn watch(
    client: &Client,
    out: &Out,
    id: &str,
    long_running: bool,
    show: Show,
    limit: Option<Duration>,
) -> Result<Ended, Failure> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let timeout = async {
        match deadline {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = poll(client, out, id, long_running, show) => done,
        () = timeout => Ok(Ended::TimedOut),
        pressed = tokio::signal::ctrl_c() => match pressed {
            Ok(()) => Ok(Ended::Cancelled),
            Err(e) => Err(fail(format!("cannot listen for Ctrl-C: {e}")).into()),
        },
    }
}

async fn poll(
    client: &Client,
    out: &Out,
    id: &str,
    long_running: bool,
    show: Show,
) -> Result<Ended, Failure> {
    let mut query = HistoryQuery { event_type: "all".to_owned(), limit: PAGE, ..HistoryQuery::default() };
    let mut rows = Rows::new(out.colour, out.debug);
    let mut groups = Groups::default();
    let mut spinner = Spinner::new(*out, "Processing");
    let (mut pace, mut patience) = (Pace::new(), Patience::default());
    loop {
        let page = patience.take(client.history(id, &query).await)?;
        let mut enough = false;
        if let Some(page) = page {
            let mut text = String::new();
            for record in &page.items {
                enough |= long_running && record.r#type == HistoryType::ExecutionLevel;
                match show.grouped {
                    true => groups.add(record, out.colour),
                    false => text.push_str(&rows.add(record)),
                }
            }
            if show.grouped && out.terminal && !page.items.is_empty() {
                text = groups.draw(true);
            }
            if show.events && !text.is_empty() {
                spinner.erase();
                out.raw(text.as_bytes())?;
            }
            if !page.items.is_empty() {
                pace.quicken();
            }
            enough |= page.next_token.is_empty();
            query.next_token = page.next_token;
        }
        if enough {
            break;
        }
        pause(pace.next(), show.events.then_some(&mut spinner)).await;
    }
    drop(spinner);
    if show.events && show.grouped && !out.terminal {
        out.raw(groups.draw(false).as_bytes())?;
    }
    loop {
        if let Some(details) = patience.take(client.job(id, &JobQuery::default()).await)? {
            return Ok(Ended::Job(Box::new(details.job)));
        }
        tokio::time::sleep(pace.next()).await;
    }
}

async fn pause(length: Duration, spinner: Option<&mut Spinner>) {
    let Some(spinner) = spinner else { return tokio::time::sleep(length).await };
    let end = Instant::now() + length;
    loop {
        spinner.tick();
        let next = Instant::now() + FRAME;
        if next >= end {
            return tokio::time::sleep_until(end).await;
        }
        tokio::time::sleep_until(next).await;
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

    #[test]
    fn only_passing_troubles_are_waited_out() {
        let mut patience = Patience::default();
        assert!(patience.take(Err::<(), _>(Error::plain("x").retryable())).unwrap().is_none());
        assert!(patience.take(Err::<(), _>(Error::plain("x"))).is_err());
        assert_eq!(patience.take(Ok(1)).unwrap(), Some(1));
    }
}
