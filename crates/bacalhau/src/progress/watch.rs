//! Watches a job until it ends: shows its history as it is written.

use super::lines::Lines;
use super::patience::persist;
use super::rolling::Rolling;
use super::rows::{Groups, Rows};
use super::spinner::Spinner;
use crate::failure::{Failure, fail};
use crate::output::Out;
use bacalhau_api::client::{Client, HistoryQuery, JobQuery};
use bacalhau_model::{HistoryType, Job};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two pictures of the spinner.
const FRAME: Duration = Duration::from_millis(100);
/// How watching ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The job needs no more watching.
    Job(Box<Job>),
    /// Nor does this one: its rolling update failed, and it went back to the version before.
    WentBack(Box<Job>),
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
        done = read(client, out, id, long_running, show) => done,
        () = timeout => Ok(Ended::TimedOut),
        pressed = tokio::signal::ctrl_c() => match pressed {
            Ok(()) => Ok(Ended::Cancelled),
            Err(e) => Err(fail(format!("cannot listen for Ctrl-C: {e}")).into()),
        },
    }
}

async fn read(
    client: &Client,
    out: &Out,
    id: &str,
    long_running: bool,
    show: Show,
) -> Result<Ended, Failure> {
    let mut rows = Rows::new(out.colour, out.debug);
    let mut groups = Groups::default();
    let mut rolling = Rolling::No;
    let mut spinner = Spinner::new(*out, "Processing");
    let query = HistoryQuery { event_type: "all".to_owned(), ..HistoryQuery::default() };
    let mut lines = Lines::of(client, id, query).await?;
    while let Some(records) = animated(lines.next(), show.events.then_some(&mut spinner)).await? {
        let mut text = String::new();
        for record in &records {
            rolling.note(record);
            match show.grouped {
                true => groups.add(record, out.colour),
                false => text.push_str(&rows.add(record)),
            }
        }
        if show.grouped && out.terminal {
            text = groups.draw(true);
        }
        if show.events && !text.is_empty() {
            spinner.erase();
            out.raw(text.as_bytes())?;
        }
        // One that never ends is left when it starts, or when all of it is replaced.
        let starts = || records.iter().any(|record| record.r#type == HistoryType::ExecutionLevel);
        if long_running && (rolling.is_over() || (rolling == Rolling::No && starts())) {
            break;
        }
    }
    drop(spinner);
    if show.events && show.grouped && !out.terminal {
        out.raw(groups.draw(false).as_bytes())?;
    }
    let query = JobQuery::default();
    let details = persist(|| client.job(id, &query)).await?;
    let job = Box::new(details.job);
    Ok(if rolling == Rolling::Failed { Ended::WentBack(job) } else { Ended::Job(job) })
}

/// Waits for `work` while the spinner spins.
async fn animated<T>(work: impl Future<Output = T>, spinner: Option<&mut Spinner>) -> T {
    let mut work = std::pin::pin!(work);
    let Some(spinner) = spinner else { return work.await };
    let mut frames = tokio::time::interval(FRAME);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = frames.tick() => spinner.tick(),
        }
    }
}
