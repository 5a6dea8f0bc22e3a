//! Batch and service jobs: one live execution for each of the partitions.

use super::Core;
use super::entry::JobEntry;
use super::evaluate::shortage_event;
use super::io::Output;
use super::place;
use super::record::{self, scheduling};
use bacalhau_model::event::detail;
use bacalhau_model::execution::DesiredState;
use bacalhau_model::{Event, JobState};

impl Core {
    /// Places what is not placed, and completes, queues or fails the job.
    pub(crate) fn evaluate_partitions<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        if entry.done.len() >= entry.job.count && !entry.job_type.is_long_running() {
            self.complete_job(entry, now, out);
            return;
        }
        if self.fail_when_exhausted(entry, now, out) {
            return;
        }
        if entry.unplaced.is_empty() {
            if entry.job.count == 0 && entry.job_type.is_long_running() {
                // As much of it runs as should.
                record::running(entry, now, out);
            }
            self.stop_waiting(entry);
            return;
        }
        let placement = place::place(entry, &mut self.nodes, &self.settings, &mut self.random);
        for (partition, node_id) in &placement.chosen {
            self.create_execution(entry, *partition, node_id, DesiredState::Pending, now, out);
        }
        if placement.left_over.is_empty() {
            self.stop_waiting(entry);
            return;
        }
        if self.may_wait(entry, now) {
            // Waiting for its turn again: no text is needed, it is known to wait.
            let known = entry.queued_since.is_some() && entry.job.state.state_type == JobState::Queued;
            if !known && placement.chosen.is_empty() && entry.live.is_empty() && entry.old.is_empty() {
                let shortage = place::explain(entry, &mut self.nodes, &self.settings, &placement.left_over);
                self.enter_queue(entry, &shortage, now, out);
            }
            self.wait(entry, now);
            return;
        }
        let shortage = place::explain(entry, &mut self.nodes, &self.settings, &placement.left_over);
        let runs = entry.all_live().next().is_some();
        if self.go_back_for_want_of_nodes(entry, &shortage, now, out) {
            // The version that it went back to has its own look.
        } else if shortage.room_would_help && runs {
            // Its own executions hold the room; when they end it goes on.
            self.wait(entry, now);
        } else if self.node_may_return(entry) || self.survives_shortage(entry) {
            if entry.queued_since.is_none() {
                let event = shortage_event(entry, &shortage, now);
                let message = format!("Waiting for nodes. {}", event.message);
                record::job_event(entry, Event { message, ..event }, now, out);
            }
            self.wait(entry, now);
        } else {
            let event = shortage_event(entry, &shortage, now);
            self.fail_job(entry, event, now, out);
        }
    }

    /// A service that ran once waits for nodes instead of failing: its node may be drained or lost at any time, and that
    /// is no reason to end what is meant to run for ever. Nor is a new version that no node can take a reason to end what
    /// still runs of the old one.
    fn survives_shortage(&self, entry: &JobEntry) -> bool {
        let ran = entry.previous.is_some() || entry.used.iter().any(|node| !entry.refused.contains(node));
        entry.job_type.is_long_running() && ran
    }

    /// Fails a job of which a partition, or a node, had all the attempts that its policy allows.
    pub(crate) fn fail_when_exhausted<T>(
        &mut self,
        entry: &mut JobEntry,
        now: i64,
        out: &mut Output<T>,
    ) -> bool {
        let Some((_, streak)) = entry.retries.exhausted() else { return false };
        let event = scheduling("Job failed because it has been retried too many times", now)
            .with(detail::IS_ERROR, "true")
            .with("Attempts", streak.failed.to_string())
            .with("LastError", streak.why.clone());
        self.fail_job(entry, event, now, out);
        true
    }
}
