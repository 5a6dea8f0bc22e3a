//! One client: chooses the executions, runs a relay for each, and sends what they give.
//!
//! Everything in between is bounded: a client that does not read stops its relays, and they stop their nodes.

mod begin;

use super::item::{Item, Note, Shown};
use super::relay::{Done, Relay};
use super::select;
use super::stream::Stream;
use super::wish::Wish;
use crate::server::reply::{Failure, bad_request};
use crate::server::{App, Length, Records};
use bacalhau_model::error::code;
use bacalhau_model::{
    ClusterEvent, ComputeState, EncodedEvent, Error, EventKind, Execution, Job, JobState, feed,
};
use bacalhau_orchestrator::LiveEvents;
use bacalhau_store::orchestrator::Paging;
use serde::Deserialize;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Executions that one client follows at the same time; further ones wait for one to end.
const MOST_AT_ONCE: usize = 256;
/// Items that wait for the client.
const AHEAD: usize = 4;

/// How far a client has read: the time of the last output, nanoseconds since 1970, by execution.
pub(super) type Cursors = HashMap<String, i64>;

/// Reads the first message of a client that was here before.
pub(super) fn cursors(message: &[u8]) -> Result<Cursors, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Resume {
        cursors: Cursors,
    }
    let resume: Resume = serde_json::from_slice(message)
        .map_err(|e| bad_request(format!("the first message does not say where to go on: {e}")))?;
    Ok(resume.cursors)
}

/// See the module.
pub(super) struct Session {
    app: App,
    wish: Arc<Wish>,
    cursors: Cursors,
    /// Changes when something happens to the job or to a node.
    news: watch::Sender<u64>,
    give: mpsc::Sender<Item>,
    items: mpsc::Receiver<Item>,
    relays: JoinSet<Done>,
    queue: VecDeque<Execution>,
    /// Given up with a node that cannot be asked: their output is waited for as long as the job goes on, for the node may
    /// come back, and with it they may go on.
    parked: HashMap<String, Done>,
    /// Executions that come from there, and whether it was told that they are waited for.
    again: HashMap<String, bool>,
    /// Executions that were shown, are, or will not be.
    seen: HashSet<String>,
    /// Executions whose failure was told.
    told: HashSet<String>,
    /// No execution will come any more.
    over: bool,
    /// One execution ended well.
    any_well: bool,
    error: Option<Error>,
}

impl Session {
    pub(super) fn new(app: &App, wish: Wish, cursors: Cursors) -> Result<Session, Failure> {
        let (give, items) = mpsc::channel(AHEAD);
        Ok(Session {
            app: Arc::clone(app),
            wish: Arc::new(wish),
            cursors,
            news: watch::Sender::new(0),
            give,
            items,
            relays: JoinSet::new(),
            queue: VecDeque::new(),
            parked: HashMap::new(),
            again: HashMap::new(),
            seen: HashSet::new(),
            told: HashSet::new(),
            over: false,
            any_well: false,
            error: None,
        })
    }

    /// Serves the client to the end of its stream.
    pub(super) async fn run(mut self, id: &str, stream: &mut Stream) -> Result<(), Failure> {
        let (namespace, id) = (self.wish.namespace.clone(), id.to_owned());
        let resolve = move |records: &dyn Records| Ok(records.resolve(&namespace, &id)?.id);
        let job_id = self.app.read(Length::Short, resolve).await?;
        // Before the first look: what happens in between is heard.
        let mut events = self.app.backend()?.live_events()?;
        let mut job = match self.wish.all {
            true => self.begin_all(&job_id, stream).await?,
            false => match self.find_one(&job_id, &mut events, stream).await? {
                Some(job) => job,
                None => return Ok(()),
            },
        };
        while stream.is_open() {
            if self.over {
                let parked: Vec<Execution> =
                    self.parked.values().map(|done| done.execution.clone()).collect();
                parked.into_iter().for_each(|execution| self.join(execution));
            }
            self.start();
            if self.over && self.relays.is_empty() {
                break;
            }
            tokio::select! {
                Some(item) = self.items.recv() => {
                    self.send(item, stream).await;
                    // What else is there goes with it.
                    self.drain(stream).await;
                    stream.flush().await;
                }
                Some(ended) = self.relays.join_next(), if !self.relays.is_empty() => self.ended(ended, stream).await,
                event = next_event(&mut events, &job.id), if self.wish.follow => match event {
                    Some(event) => self.event(&mut job, event, stream).await,
                    None => self.look_again(&mut job).await?,
                },
                () = stream.heard() => {}
            }
        }
        self.drain(stream).await;
        stream.flush().await;
        match self.error {
            Some(error) if !self.any_well => Err(Failure(error)),
            _ => Ok(()),
        }
    }

    /// Some events were missed.
    async fn look_again(&mut self, job: &mut Job) -> Result<(), Failure> {
        self.news.send_modify(|number| *number = number.wrapping_add(1));
        if !self.wish.all || self.over {
            return Ok(());
        }
        let (fresh, executions) = self.read(&job.id, self.wish.versions, Paging::default()).await?;
        *job = fresh;
        self.over = job.is_terminal();
        for execution in executions {
            let state = execution.compute_state.state_type;
            let ran = select::has_run(state.as_str())
                || matches!(state, ComputeState::Failed | ComputeState::Cancelled);
            if ran && select::is_wanted(job, execution.job_version, &self.wish) {
                self.join(execution);
            }
        }
        Ok(())
    }

    async fn event(&mut self, job: &mut Job, event: Arc<EncodedEvent>, stream: &mut Stream) {
        self.news.send_modify(|number| *number = number.wrapping_add(1));
        if !self.wish.all || event.kind == EventKind::Node {
            return;
        }
        let Ok(event) = serde_json::from_str::<ClusterEvent>(&event.text) else { return };
        if event.r#type == EventKind::Job {
            job.version = job.version.max(event.job_version);
            let state: &str = &event.state;
            self.over = state == feed::JOB_DELETED || JobState::parse(state).is_terminal();
            return;
        }
        if !select::is_wanted(job, event.job_version, &self.wish) {
            return;
        }
        if let Some(note) = Note::failed(&event.execution_id, &event.state, &event.message) {
            // What is here of its output goes first.
            self.drain(stream).await;
            self.send(Item::Note(note), stream).await;
            stream.flush().await;
        }
        if select::has_run(&event.state) {
            let mut execution = Execution {
                id: event.execution_id,
                job_id: event.job_id,
                node_id: event.node_id,
                job_version: event.job_version,
                partition_index: event.partition_index,
                attempt: event.attempt,
                ..Execution::default()
            };
            execution.compute_state.state_type = ComputeState::BidAccepted;
            self.join(execution);
        }
    }

    fn join(&mut self, execution: Execution) {
        if let Some(done) = self.parked.remove(&execution.id) {
            self.cursors.insert(execution.id.clone(), done.cursor);
            self.again.insert(execution.id.clone(), done.told);
            self.queue.push_back(execution);
        } else if self.seen.insert(execution.id.clone()) {
            self.queue.push_back(execution);
        }
    }

    /// Starts relays for those that wait, as many as there may be: what is not followed comes one after the other.
    fn start(&mut self) {
        let most = if self.wish.follow { MOST_AT_ONCE } else { 1 };
        while self.relays.len() < most
            && let Some(execution) = self.queue.pop_front()
        {
            let cursor = self.cursors.remove(&execution.id).unwrap_or(0);
            let again = self.again.remove(&execution.id);
            let relay = Relay {
                app: Arc::clone(&self.app),
                wish: Arc::clone(&self.wish),
                shown: Shown::of(&execution),
                give: self.give.clone(),
                news: self.news.subscribe(),
                cursor,
                printed: cursor > 0,
                told: again.unwrap_or(false),
            };
            self.relays.spawn(async move {
                if again.is_none() {
                    // Nobody there to hear it is noticed by what follows.
                    let _ = relay.give.send(Item::Execution(Arc::clone(&relay.shown))).await;
                }
                relay.run(execution).await
            });
        }
    }

    async fn ended(&mut self, ended: Result<Done, tokio::task::JoinError>, stream: &mut Stream) {
        let done = ended.unwrap_or_else(|e| {
            let why = format!("the log stream ended unexpectedly: {e}");
            let result = Err(Error::new(code::INTERNAL_ERROR, why));
            Done { execution: Execution::default(), cursor: 0, told: false, away: false, result }
        });
        let id = done.execution.id.clone();
        match done.result {
            Ok(()) => self.any_well = true,
            Err(ref error) if self.wish.all && !self.over && done.away => {
                if !done.told {
                    let text = format!("execution {id}: {}; waiting for it", error.message);
                    self.send(Item::Note(Note::new(Note::WAITING, &id, text)), stream).await;
                    stream.flush().await;
                }
                self.parked.insert(id, Done { told: true, ..done });
            }
            Err(error) if self.wish.all => {
                let hint = if error.hint.is_empty() { String::new() } else { format!(". {}", error.hint) };
                let text = format!("execution {id}: {}{hint}", error.message);
                // What it gave before goes first.
                self.drain(stream).await;
                self.send(Item::Note(Note::new(Note::INCOMPLETE, &id, text)), stream).await;
                stream.flush().await;
                self.error = Some(error);
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// Sends what was given so far, and no more than that.
    async fn drain(&mut self, stream: &mut Stream) {
        for _ in 0..self.items.len() {
            let Ok(item) = self.items.try_recv() else { return };
            self.send(item, stream).await;
        }
    }

    async fn send(&mut self, item: Item, stream: &mut Stream) {
        if let Item::Note(note) = &item
            && note.code == Note::FAILED
            && !self.told.insert(note.execution_id.clone())
        {
            return;
        }
        stream.send_item(&item).await;
    }
}

/// The next event of a job, its executions or any node; `None` when some were missed.
async fn next_event(events: &mut LiveEvents, job_id: &str) -> Option<Arc<EncodedEvent>> {
    loop {
        match events.recv().await {
            Ok(event) if event.kind == EventKind::Node => return Some(event),
            Ok(event) if event.subject_id != job_id => {}
            Ok(event) if matches!(event.kind, EventKind::Job | EventKind::Execution) => return Some(event),
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return None,
            // The orchestrator stops, and this server with it.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
