//! The beginning: which executions are shown, and what is said while there are none.

use super::{Session, next_event};
use crate::server::logs::item::{Item, Note};
use crate::server::logs::stream::Stream;
use crate::server::logs::{select, words};
use crate::server::reply::Failure;
use crate::server::{Length, Records};
use bacalhau_model::{Execution, Job};
use bacalhau_orchestrator::LiveEvents;
use bacalhau_store::orchestrator::{OrderBy, Paging, Versions};
use std::collections::HashSet;

impl Session {
    /// The execution asked for or Bacalhau 1.9's choice. With `follow` it waits for a job that has none yet. `None` when
    /// the stream ended meanwhile.
    pub(super) async fn find_one(
        &mut self,
        job_id: &str,
        events: &mut LiveEvents,
        stream: &mut Stream,
    ) -> Result<Option<Job>, Failure> {
        let versions =
            if self.wish.versions == Versions::Latest { Versions::All } else { self.wish.versions };
        let newest = Paging { order_by: OrderBy::Modified, reverse: true, ..Paging::default() };
        let mut told = false;
        while stream.is_open() {
            let (job, executions) = self.read(job_id, versions, newest).await?;
            if let Some(found) = select::one(&job, executions, &self.wish)? {
                stream.send_job(&job.id, false).await;
                self.queue.push_back(found);
                self.over = true;
                return Ok(Some(job));
            }
            if !std::mem::replace(&mut told, true) {
                let note = Note::new(Note::WAITING, "", format!("{}; waiting", words::no_executions(&job)));
                stream.send_item(&Item::Note(note)).await;
                stream.flush().await;
            }
            tokio::select! {
                _ = next_event(events, job_id) => {}
                () = stream.heard() => {}
            }
        }
        Ok(None)
    }

    pub(super) async fn begin_all(&mut self, job_id: &str, stream: &mut Stream) -> Result<Job, Failure> {
        let (job, executions) = self.read(job_id, self.wish.versions, Paging::default()).await?;
        self.over = job.is_terminal() || !self.wish.follow;
        let seen: HashSet<String> = executions.iter().map(|e| e.id.clone()).collect();
        let chosen = select::all(&job, executions, &self.wish);
        if chosen.is_empty() && self.over {
            return Err(Failure(select::none(&job, &self.wish)));
        }
        self.seen = seen;
        stream.send_job(&job.id, select::may_be_many(&job, chosen.len())).await;
        if chosen.is_empty() {
            let note = Note::new(Note::WAITING, "", format!("{}; waiting", words::no_executions(&job)));
            stream.send_item(&Item::Note(note)).await;
        }
        for execution in chosen {
            let state = execution.compute_state.state_type;
            let waits = !select::has_run(state.as_str()) && !execution.is_terminal();
            if self.wish.follow && waits {
                // It joins when it runs.
                self.seen.remove(&execution.id);
                let text = format!("{}; waiting", words::not_yet(&execution));
                stream.send_item(&Item::Note(Note::new(Note::WAITING, &execution.id, text))).await;
            } else {
                self.queue.push_back(execution);
            }
        }
        stream.flush().await;
        Ok(job)
    }

    /// The job first: an execution that ends a job is then among those read after it. Without its tasks, which may hold
    /// megabytes of inline data: there may be thousands of streams.
    pub(super) async fn read(
        &self,
        job_id: &str,
        versions: Versions,
        paging: Paging,
    ) -> Result<(Job, Vec<Execution>), Failure> {
        let id = job_id.to_owned();
        let read = move |records: &dyn Records| {
            let job = Job { tasks: Vec::new(), ..records.job(&id, 0)? };
            let mut executions = records.executions(&id, versions, paging)?.items;
            executions.iter_mut().for_each(|execution| execution.job = None);
            Ok((job, executions))
        };
        self.app.read(Length::Unknown, read).await
    }
}
