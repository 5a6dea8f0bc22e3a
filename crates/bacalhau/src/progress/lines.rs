//! The lines of a job's history, each once and in order: those that are stored, then each as it is written, until the
//! job ends.

use super::changes::{Change, Changes, is_end};
use super::patience::persist;
use bacalhau_api::client::{Client, HistoryQuery};
use bacalhau_model::{Error, EventKind, HistoryType, JobHistory};

/// Lines asked for at once.
const PAGE: u32 = 100;

/// A history that is being read.
pub(crate) struct Lines {
    client: Client,
    /// Full ID.
    id: String,
    query: HistoryQuery,
    changes: Changes,
    /// Number of the last line.
    last: u64,
    /// What is stored has to be read.
    look: bool,
    over: bool,
}

impl Lines {
    /// The history of a job, by its full ID; what `query` says of pages does not count.
    pub(crate) async fn of(client: &Client, id: &str, query: HistoryQuery) -> Result<Lines, Error> {
        let changes = Changes::of(client, id, &[EventKind::Job, EventKind::History]).await?;
        let query = HistoryQuery { limit: PAGE, next_token: String::new(), ..query };
        Ok(Lines {
            client: client.clone(),
            id: id.to_owned(),
            query,
            changes,
            last: 0,
            look: true,
            over: false,
        })
    }

    /// One line or more; `None` when the job has ended and there are no more.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<JobHistory>>, Error> {
        while !self.over {
            let lines = match self.look {
                true => self.stored().await?,
                false => match self.changes.next().await? {
                    Change::Look => {
                        self.look = true;
                        Vec::new()
                    }
                    Change::Event(event) => {
                        // What belongs to the end was written before it.
                        self.over = is_end(&event);
                        event.into_history().filter(|line| self.wants(line)).into_iter().collect()
                    }
                },
            };
            if let Some(line) = lines.last() {
                self.last = line.seq_num;
                return Ok(Some(lines));
            }
        }
        Ok(None)
    }

    /// A page of what is stored after the last line.
    async fn stored(&mut self) -> Result<Vec<JobHistory>, Error> {
        let page = persist(|| self.client.history(&self.id, &self.query)).await?;
        // There is a token as long as there is or will be more.
        self.over = page.next_token.is_empty();
        self.look = page.items.len() >= PAGE as usize;
        self.query.next_token = page.next_token;
        if !page.items.is_empty() {
            self.changes.quicken();
        }
        Ok(page.items.into_iter().filter(|line| line.seq_num > self.last).collect())
    }

    /// As the server chooses among what is stored.
    fn wants(&self, line: &JobHistory) -> bool {
        let query = &self.query;
        let kind = match query.event_type.as_str() {
            "job" => line.r#type == HistoryType::JobLevel,
            "execution" => line.r#type == HistoryType::ExecutionLevel,
            _ => true,
        };
        kind && line.seq_num > self.last
            && (query.version == 0 || query.all_versions || query.version == line.job_version)
            && line.execution_id.starts_with(&query.execution_id)
    }
}
