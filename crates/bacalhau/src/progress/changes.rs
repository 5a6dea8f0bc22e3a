//! What happens to a job, from the server's event stream.
//!
//! An orchestrator of Bacalhau 1.9 has no such stream: there it is looked again and again, soon while things happen
//! and more rarely while nothing does. This is the only place that does so.

use super::patience::{Pace, persist};
use bacalhau_api::client::{Client, EventFeed, EventsQuery, Signal};
use bacalhau_model::{ClusterEvent, Error, EventKind};

/// Where changes come from. It begins with what happens after it was made, so the present is to be looked up then.
pub(super) struct Changes(Source);

enum Source {
    Stream(Box<EventFeed>),
    Looks(Pace),
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Change {
    /// Something happened.
    Event(Box<ClusterEvent>),
    /// Something may have happened: look it up.
    Look,
}

impl Changes {
    /// Changes of a job, full ID, of some kinds.
    pub(super) async fn of(client: &Client, id: &str, kinds: &[EventKind]) -> Result<Changes, Error> {
        let query = EventsQuery { job: id.to_owned(), kinds: kinds.to_vec(), ..EventsQuery::default() };
        let feed = persist(|| client.event_feed(query.clone())).await?;
        Ok(Changes(feed.map_or_else(|| Source::Looks(Pace::new()), |feed| Source::Stream(Box::new(feed)))))
    }

    /// Something was found by looking: more may follow soon.
    pub(super) fn quicken(&mut self) {
        if let Source::Looks(pace) = &mut self.0 {
            pace.quicken();
        }
    }

    /// Waits for the next. Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<Change, Error> {
        match &mut self.0 {
            Source::Stream(feed) => loop {
                match feed.next().await? {
                    Some(Signal::Event(event)) => return Ok(Change::Event(event)),
                    Some(Signal::Reset(_)) | None => return Ok(Change::Look),
                    Some(Signal::Reconnected) => {}
                }
            },
            Source::Looks(pace) => {
                tokio::time::sleep(pace.next()).await;
                Ok(Change::Look)
            }
        }
    }
}

/// The event that ends a job, unless somebody runs it again.
pub(super) fn is_end(event: &ClusterEvent) -> bool {
    event.r#type == EventKind::Job
        && ["Completed", "Failed", "Stopped", bacalhau_model::feed::JOB_DELETED]
            .contains(&event.state.as_ref())
}
