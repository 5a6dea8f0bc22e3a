//! Reads a log stream to its end, through restarts of the orchestrator: it goes on where it stopped.

use super::printer::Printer;
use super::results;
use crate::failure::{Failure, fail};
use crate::progress::{Tries, persist};
use bacalhau_api::client::{Client, LogEvent, LogNote, LogQuery, LogStream};
use bacalhau_model::Error;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// How long a remark about waiting is kept back: what comes at once needs no excuse.
const SOON: Duration = Duration::from_secs(1);
/// Remarks that are remembered, so that none is made twice.
const MOST_REMARKS: usize = 10_000;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It was read to its end.
    All,
    /// The server is of Bacalhau 1.9 and knows nothing of several executions; nothing was shown.
    Unknown,
}

/// Shows what `query` asks for. With `alone` a server that only knows Bacalhau 1.9's log streams will do; else nothing
/// is shown of it.
///
/// # Errors
/// The job does not exist, nothing can be read, or the server stays away for too long.
pub(crate) async fn show(
    client: &Client,
    job: &str,
    query: &LogQuery,
    printer: &mut Printer,
    alone: bool,
) -> Result<Shown, Failure> {
    let mut query = LogQuery { details: true, ..query.clone() };
    let mut reading = Reading {
        client,
        job: job.to_owned(),
        follow: query.follow,
        cursors: BTreeMap::new(),
        remarks: HashSet::new(),
        lines: 0,
    };
    let (mut tries, mut lines) = (Tries::new(), 0);
    let mut stream = client.logs(job, &query).await?;
    if !stream.has_details() && !alone {
        stream.close().await;
        return Ok(Shown::Unknown);
    }
    if !stream.has_details() && (query.last_lines.is_some() || query.since.is_some()) {
        printer.remark(&LogNote {
            message: "the server is of an older version: it shows the whole log of one execution".to_owned(),
            ..LogNote::default()
        });
    }
    loop {
        let result = reading.until_the_end(&mut stream, printer).await;
        match result {
            Ok(()) => break,
            Err(Broken::Stream(error)) if error.retryable && stream.has_details() => {
                if std::mem::replace(&mut lines, reading.lines) < reading.lines {
                    tries.went_well();
                }
                tries.after(error).await?;
                query.cursors = Some(reading.cursors.clone());
                stream = persist(|| client.logs(&reading.job, &query)).await?;
            }
            Err(Broken::Stream(error)) => {
                printer.finish(None)?;
                return Err(reading.in_short(error).into());
            }
            Err(Broken::Output(failure)) => return Err(failure),
        }
    }
    printer.finish(None)?;
    Ok(Shown::All)
}

/// Why reading ended before its time.
enum Broken {
    Stream(Error),
    /// Nobody reads what is printed.
    Output(Failure),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Broken {
        Broken::Output(failure)
    }
}

struct Reading<'a> {
    client: &'a Client,
    /// As it was asked for, then its full ID.
    job: String,
    follow: bool,
    /// Time of the last output, by execution.
    cursors: BTreeMap<String, i64>,
    remarks: HashSet<String>,
    /// Pieces of output that came.
    lines: u64,
}

impl Reading<'_> {
    /// What was remarked of an execution already need not be said again.
    fn in_short(&self, error: Error) -> Error {
        if self.remarks.iter().any(|remark| remark.contains(&error.message)) {
            return fail("not all output of the job can be shown");
        }
        error
    }

    async fn until_the_end(&mut self, stream: &mut LogStream, printer: &mut Printer) -> Result<(), Broken> {
        let mut waiting: Vec<LogNote> = Vec::new();
        loop {
            let next = match waiting.is_empty() {
                true => stream.next().await,
                false => match tokio::time::timeout(SOON, stream.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        waiting.drain(..).for_each(|note| printer.remark(&note));
                        continue;
                    }
                },
            };
            let event = match next {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Err(Broken::Stream(error)),
                None => {
                    // Whoever follows has waited until there was nothing more to wait for.
                    let stale = self.follow && self.lines > 0;
                    waiting.drain(..).filter(|_| !stale).for_each(|note| printer.remark(&note));
                    return Ok(());
                }
            };
            match event {
                LogEvent::Job { id, many } => {
                    self.job = id;
                    printer.expect_many(many);
                }
                LogEvent::Execution(execution) => printer.joins(execution),
                LogEvent::Line(line) => {
                    self.lines = self.lines.saturating_add(1);
                    // What waited for this has nothing to say, and may have again.
                    let is_about = |note: &mut LogNote| {
                        note.execution_id.is_empty() || note.execution_id == line.execution_id
                    };
                    for note in waiting.extract_if(.., is_about) {
                        self.remarks.remove(&note.message);
                    }
                    printer.print(&line)?;
                    if let Some(time) = line.time {
                        self.cursors.insert(line.execution_id, time.unix_nanos());
                    }
                }
                LogEvent::Note(note) => {
                    let fresh =
                        self.remarks.len() < MOST_REMARKS && self.remarks.insert(note.message.clone());
                    if !fresh {
                        continue;
                    }
                    if note.is_waiting() {
                        waiting.push(note);
                        continue;
                    }
                    printer.remark(&note);
                    if let Some(result) = &note.published_result {
                        results::show(self.client, &self.job, &note.execution_id, result, printer).await?;
                        // All of it was shown.
                        self.cursors.insert(note.execution_id, i64::MAX);
                    }
                }
            }
        }
    }
}
