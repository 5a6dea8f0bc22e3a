//! One execution, from the first byte that is wanted to its end, through lost connections and restarts of its node.
//!
//! It remembers the time of what it passed on last and goes on after that, so nothing comes twice.

use super::item::{Item, Note, Shown, joined, last_lines};
use super::wish::Wish;
use super::words;
use crate::server::reply::Failure;
use crate::server::{App, Length};
use bacalhau_model::{Error, Execution};
use bacalhau_wire::logs::{LogLine, LogRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// First wait until a node is asked again that had nothing; doubles up to [`LONGEST_LOOK`]. What happens to the job or to
/// a node shortens it.
const LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Relay {
    pub(super) app: App,
    pub(super) wish: Arc<Wish>,
    pub(super) shown: Arc<Shown>,
    pub(super) give: mpsc::Sender<Item>,
    /// Changes when something happens to the job or to a node.
    pub(super) news: watch::Receiver<u64>,
    /// Time of the last output that was passed on; 0 for none.
    pub(super) cursor: i64,
    /// Something was passed on, now or to the client before it came again.
    pub(super) printed: bool,
    /// That it waits for its node was told, and nothing has come since.
    pub(super) told: bool,
}

/// Why the node has nothing of an execution that has printed something.
const NOT_KEPT: &str = "its log is not kept on its node any more";

/// How much of the output is left where the log is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    All,
    Beginning,
    Nothing,
}

/// The client is gone.
#[derive(Debug)]
struct Gone;

/// How a relay ended.
pub(super) struct Done {
    /// As it was last seen.
    pub(super) execution: Execution,
    /// Time of the last output that was passed on; 0 for none.
    pub(super) cursor: i64,
    /// That it waits for its node was told, and nothing has come since.
    pub(super) told: bool,
    /// Its node cannot be asked now.
    pub(super) away: bool,
    /// Why there is nothing, or not all.
    pub(super) result: Result<(), Error>,
}

impl Relay {
    /// Passes on what there is.
    pub(super) async fn run(mut self, mut execution: Execution) -> Done {
        let mut away = false;
        let result = self.follow(&mut execution, &mut away).await;
        Done { execution, cursor: self.cursor, told: self.told, away, result }
    }

    /// An error says why there is nothing, or not all; `away` whether it is because of the node's connection.
    async fn follow(&mut self, execution: &mut Execution, away: &mut bool) -> Result<(), Error> {
        let mut pause = LOOK;
        loop {
            let result = match self.once().await {
                Ok(result) => result,
                Err(Gone) => return Ok(()),
            };
            let is_known = self.look_up(execution).await;
            let over = execution.is_terminal() || !is_known || !self.wish.follow;
            match result {
                Ok(()) if over => return self.ended(execution).await,
                // The node ends a log while its task goes on when it is stopped itself. Without times it cannot be asked for
                // what comes after this.
                Ok(()) if self.printed && self.cursor == 0 => return self.ended(execution).await,
                Err(error) if over || !error.retryable => {
                    *away = error.retryable;
                    return self.failed(execution, error).await;
                }
                Err(error) if !self.told => {
                    self.told = true;
                    let error = words::unreachable(&self.app, &execution.node_id, error).await;
                    let text = format!("execution {}: {}; waiting for it", execution.id, error.message);
                    self.note(Note::new(Note::WAITING, &execution.id, text)).await;
                }
                _ => {}
            }
            tokio::time::sleep(LOOK).await;
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = LONGEST_LOOK.min(pause * 2),
                changed = self.news.changed() => if changed.is_err() { return Ok(()) },
                () = self.give.closed() => return Ok(()),
            }
        }
    }

    /// Asks the node once and passes on what it sends.
    async fn once(&mut self) -> Result<Result<(), Error>, Gone> {
        let request = LogRequest {
            execution_id: self.shown.id.clone(),
            follow: self.wish.follow,
            // What was wanted of the past is there once something was passed on.
            tail: self.wish.tail && self.cursor == 0,
            last_lines: self.wish.last_lines.filter(|_| self.cursor == 0),
            since: self.wish.since.max(if self.cursor > 0 { self.cursor.saturating_add(1) } else { 0 }),
        };
        let backend = match self.app.backend() {
            Ok(backend) => backend,
            Err(Failure(error)) => return Ok(Err(error)),
        };
        let mut batches = match backend.logs(&self.shown.node_id, request).await {
            Ok(batches) => batches,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            let batch = tokio::select! {
                batch = batches.recv() => batch,
                () = self.give.closed() => return Err(Gone),
            };
            match batch {
                Some(Ok(lines)) => self.pass_on(lines).await?,
                Some(Err(error)) => return Ok(Err(error)),
                None => return Ok(Ok(())),
            }
        }
    }

    async fn pass_on(&mut self, lines: Vec<LogLine>) -> Result<(), Gone> {
        let newest = lines.iter().map(|line| line.time).max().unwrap_or(0);
        if !self.printed && newest == 0 && !self.wish.is_whole() && !self.wish.tail {
            let text = "its node is of an older version and shows the whole log".to_owned();
            self.note(Note::new(
                Note::INCOMPLETE,
                &self.shown.id,
                format!("execution {}: {text}", self.shown.id),
            ))
            .await;
        }
        self.printed |= !lines.is_empty();
        self.told = false;
        self.cursor = self.cursor.max(newest);
        let lines = if self.wish.timestamps { lines } else { joined(lines) };
        self.give.send(Item::Output(Arc::clone(&self.shown), lines)).await.map_err(|_| Gone)
    }

    async fn note(&self, note: Note) {
        // A client that is gone is noticed by whoever sends next.
        let _ = self.give.send(Item::Note(note)).await;
    }

    /// Looks up how the execution is now; it stays as it was when that cannot be found out. False: it is not there any more.
    async fn look_up(&self, execution: &mut Execution) -> bool {
        let id = execution.id.clone();
        match self.app.read(Length::Short, move |records| Ok(records.execution(&id)?)).await {
            Ok(Some(now)) => *execution = Execution { job: None, ..now },
            Ok(None) => return false,
            Err(_) => {}
        }
        true
    }

    /// The node has sent all it has.
    async fn ended(&self, execution: &Execution) -> Result<(), Error> {
        if self.printed {
            return Ok(());
        }
        if !execution.is_terminal() {
            let text = words::not_yet(execution);
            self.note(Note::new(Note::WAITING, &execution.id, text)).await;
            return Ok(());
        }
        if self.wish.tail || self.wish.since > 0 || self.wish.last_lines == Some(0) {
            return Ok(());
        }
        match self.kept(execution, None).await {
            Kept::All => return Ok(()),
            Kept::Beginning => return Err(Error::plain(NOT_KEPT)),
            Kept::Nothing => {}
        }
        let state = &execution.compute_state;
        if let Some(note) = Note::failed(&execution.id, state.state_type.as_str(), &state.message) {
            self.note(note).await;
        } else if let Some(text) = words::never(execution) {
            self.note(Note::new(Note::WAITING, &execution.id, text)).await;
        }
        Ok(())
    }

    /// The node cannot be asked, or says no.
    async fn failed(&self, execution: &Execution, error: Error) -> Result<(), Error> {
        let error = match error.retryable {
            true => words::unreachable(&self.app, &execution.node_id, error).await,
            false => error,
        };
        let may_help = execution.is_terminal() && !self.printed && !self.wish.tail;
        match may_help && self.kept(execution, Some(&error)).await == Kept::All {
            true => Ok(()),
            false => Err(error),
        }
    }

    /// The log is gone: what is left of the output is in the published results, and its beginning in the record.
    async fn kept(&self, execution: &Execution, why: Option<&Error>) -> Kept {
        let output = &execution.run_output;
        let recorded = !output.stdout.is_empty() || !output.stderr.is_empty();
        let is_worth_it = recorded || why.is_some();
        let why = match why {
            Some(error) => error.message.clone(),
            None => NOT_KEPT.to_owned(),
        };
        let id = &execution.id;
        if self.wish.details && words::is_published(execution) && is_worth_it {
            let text = format!("execution {id}: {why}; shown from published results, without times");
            let published_result = Some(execution.published_result.clone());
            self.note(Note { published_result, ..Note::new(Note::RESULTS, id, text) }).await;
            return Kept::All;
        }
        if !recorded {
            return Kept::Nothing;
        }
        let (kept, more) = match output.stdout_truncated || output.stderr_truncated {
            true => (Kept::Beginning, "only the beginning of "),
            false => (Kept::All, ""),
        };
        let text = format!("execution {id}: {why}; {more}its output is left in its record, without times");
        self.note(Note::new(Note::INCOMPLETE, id, text)).await;
        let lines =
            [(1, &output.stdout), (2, &output.stderr)].into_iter().filter(|(_, text)| !text.is_empty());
        let lines = lines.map(|(stream, text)| {
            let text = last_lines(text, self.wish.last_lines).to_owned().into();
            LogLine { stream, time: 0, text }
        });
        // A client that is gone needs nothing.
        let _ = self.give.send(Item::Output(Arc::clone(&self.shown), lines.collect())).await;
        kept
    }
}
