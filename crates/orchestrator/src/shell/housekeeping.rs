//! Looks now and then for what is kept longer or in greater number than it should be, and hands it to the driver in
//! small portions. It waits for each portion to be on disk before it asks for the next, so that deleting never
//! crowds out other work.

use super::command::Command;
use crate::core::{Retention, Tidy};
use bacalhau_model::Error;
use bacalhau_store::StoreError;
use bacalhau_store::orchestrator::{Excess, Expired, Keep, Place, Reader};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Longest time between two rounds.
const ROUND: Duration = Duration::from_secs(60);
/// Shortest time between two rounds.
const PAUSE: Duration = Duration::from_secs(1);
/// Jobs deleted in one portion.
const JOBS: usize = 64;
/// Executions and lines of history deleted in one portion.
const ROWS: usize = 500;
/// A round comes earlier after this share of what is kept has ended, and after this many ends at most.
const BURST_SHARE: u64 = 8;
const MOST_ENDS: u64 = 1_000;

/// What the driver found of a portion.
pub(super) struct Found {
    /// Finished jobs beyond the limits.
    pub(super) jobs: Vec<Expired>,
    /// What an unfinished job has too much of.
    pub(super) excess: Option<Excess>,
}

impl Found {
    /// For the core. Jobs that have run since they were found are left out.
    pub(super) fn check(self, reader: &Reader) -> Result<Tidy, StoreError> {
        let jobs = if self.jobs.is_empty() { Vec::new() } else { reader.still_expired(&self.jobs)? };
        Ok(Tidy { jobs, excess: self.excess })
    }
}

/// Wakes housekeeping after many ends. Belongs to the driver.
pub(super) struct Bell {
    notify: Arc<Notify>,
    after: u64,
    rung_at: u64,
}

impl Bell {
    /// So many jobs and executions ended since the start.
    pub(super) fn ends(&mut self, ends: u64) {
        if ends.saturating_sub(self.rung_at) >= self.after {
            self.rung_at = ends;
            self.notify.notify_one();
        }
    }
}

/// Starts the task. It ends with the driver or when `stopping` says so.
pub(super) fn start(
    retention: Retention,
    reader: Reader,
    commands: &mpsc::Sender<Command>,
    stopping: watch::Receiver<bool>,
) -> Bell {
    let kept = [retention.max_jobs, retention.max_executions, retention.max_history];
    let least = kept.into_iter().flatten().min().unwrap_or(u64::MAX);
    let notify = Arc::new(Notify::new());
    let bell =
        Bell { notify: Arc::clone(&notify), after: (least / BURST_SHARE).clamp(1, MOST_ENDS), rung_at: 0 };
    if retention != Retention::default() {
        let keeper = Housekeeping { retention, reader, commands: commands.downgrade() };
        tokio::spawn(keeper.run(notify, stopping));
    }
    bell
}

struct Housekeeping {
    retention: Retention,
    reader: Reader,
    /// Weak, so that the driver ends when nobody else is left.
    commands: mpsc::WeakSender<Command>,
}

impl Housekeeping {
    async fn run(self, notify: Arc<Notify>, mut stopping: watch::Receiver<bool>) {
        let age = self.retention.max_age.and_then(|nanos| u64::try_from(nanos).ok());
        let every = age.map_or(ROUND, |nanos| Duration::from_nanos(nanos / 2).clamp(PAUSE, ROUND));
        let rounds = async {
            loop {
                match self.round().await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        tracing::warn!(%error, "a round of housekeeping failed, the next one tries again")
                    }
                }
                tokio::time::sleep(PAUSE).await;
                // Early when many ended, else when the time is over.
                let _ = tokio::time::timeout(every.saturating_sub(PAUSE), notify.notified()).await;
            }
        };
        tokio::select! {
            () = rounds => {}
            () = super::asked_to_stop(&mut stopping) => {}
        }
    }

    /// Everything that is beyond the limits now. False when the driver is gone.
    async fn round(&self) -> Result<bool, StoreError> {
        Ok(self.finished_jobs().await? && self.unfinished_jobs().await?)
    }

    async fn finished_jobs(&self) -> Result<bool, StoreError> {
        let Retention { max_age, max_jobs, .. } = self.retention;
        let before = max_age.map_or(0, |age| super::clock().saturating_sub(age));
        let Some(bound) = self.read(move |r| r.expiry_bound(before, max_jobs)).await? else {
            return Ok(true);
        };
        let mut after = Place::default();
        loop {
            let jobs = self.read(move |r| r.expired(after, bound, JOBS)).await?;
            let Some(last) = jobs.last() else { return Ok(true) };
            after = last.place;
            if self.hand_over(Found { jobs, excess: None }).await.is_none() {
                return Ok(false);
            }
        }
    }

    async fn unfinished_jobs(&self) -> Result<bool, StoreError> {
        let keep = Keep { executions: self.retention.max_executions, history: self.retention.max_history };
        if keep == Keep::default() {
            return Ok(true);
        }
        let mut after = Some(0);
        while let Some(start) = after {
            let (jobs, next) = self.read(move |r| r.overgrown(keep, start)).await?;
            for number in jobs {
                if !self.unfinished_job(number, keep).await? {
                    return Ok(false);
                }
            }
            after = next;
        }
        Ok(true)
    }

    async fn unfinished_job(&self, number: i64, keep: Keep) -> Result<bool, StoreError> {
        loop {
            let excess = self.read(move |r| r.excess(number, keep, ROWS)).await?;
            if excess.is_none() {
                return Ok(true);
            }
            match self.hand_over(Found { jobs: Vec::new(), excess }).await {
                None => return Ok(false),
                // Nothing could be deleted: another try would be as vain.
                Some(Ok(0)) => return Ok(true),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "old executions of a job are not deleted now");
                    return Ok(true);
                }
            }
        }
    }

    /// Lets the driver delete a portion and waits until that is on disk. `None` when the driver is gone.
    async fn hand_over(&self, found: Found) -> Option<Result<usize, Error>> {
        let (answer, answered) = oneshot::channel();
        self.commands.upgrade()?.send(Command::Tidy { found, answer }).await.ok()?;
        answered.await.ok()
    }

    /// Reads on a thread that may block.
    async fn read<R: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let reader = self.reader.clone();
        let read = tokio::task::spawn_blocking(move || query(&reader)).await;
        read.unwrap_or_else(|_| Err(StoreError::Stopped("a query ended abnormally".to_owned())))
    }
}
