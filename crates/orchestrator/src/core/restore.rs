//! Builds the state in memory from what the store holds.

use super::cancelled::Cancelled;
use super::entry::JobEntry;
use super::node::{self, NodeEntry};
use super::record;
use super::timers::Due;
use super::{Core, depends, evaluate};
use bacalhau_model::execution::Execution;
use bacalhau_model::{Connection, Job, JobState};
use bacalhau_store::orchestrator::{PendingMessage, Snapshot, StoredJob};
use std::collections::HashMap;
use std::sync::Arc;

/// Executions of each job, with the message that their node has not acknowledged.
type Executions = HashMap<String, Vec<(Execution, Option<PendingMessage>)>>;

impl Core {
    /// Takes over what the store holds. Nodes count as disconnected until they shake hands again.
    pub fn restore(&mut self, now: i64, snapshot: Snapshot) {
        for mut state in snapshot.nodes {
            if state.connection_state.status == Connection::Connected {
                node::disconnect(&mut state, now, "orchestrator restarted");
            }
            let mut node = NodeEntry::new(state);
            let lose_at = now.saturating_add(self.settings.disconnect_timeout);
            node.lose_work_at = Some(lose_at);
            let node_id = node.state.info.node_id.clone();
            if node.state.drain.as_ref().is_some_and(|drain| drain.finished.is_none()) {
                self.draining.insert(node_id.clone());
            }
            self.timers.set(Due::Node(node_id), node.due());
            self.nodes.insert(node);
        }
        let mut executions = Executions::new();
        for (execution, pending) in snapshot.executions {
            if execution.is_terminal() && pending.is_some() {
                let reason = record::scheduling(execution.compute_state.message.clone(), now);
                self.cancelled.insert(Cancelled { execution: Arc::new(execution.clone()), reason });
            }
            executions.entry(execution.job_id.clone()).or_default().push((execution, pending));
        }
        for stored in snapshot.jobs {
            self.restore_job(now, stored, &mut executions);
        }
        self.restore_queue(now);
    }

    /// Jobs that waited get their turns again, the oldest first.
    fn restore_queue(&mut self, now: i64) {
        let waiting = self.jobs.values().filter_map(|e| Some((e.queued_since?, e.job.id.clone())));
        let mut waiting: Vec<(i64, String)> = waiting.collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            if let Some(entry) = self.jobs.get(&id) {
                self.waiting.insert(entry, self.may_wait(entry, now), &self.settings);
            }
        }
    }

    fn restore_job(&mut self, now: i64, stored: StoredJob, executions: &mut Executions) {
        let job = Arc::new(stored.job);
        let found = executions.remove(&job.id).unwrap_or_default();
        // Where nobody noted when the version was submitted, or it had to wait for other jobs first, its first execution is
        // close to when its time began.
        let first =
            found.iter().map(|(e, _)| e).filter(|e| e.job_version == job.version).map(|e| e.create_time);
        let started = match depends::released_at(&job) {
            Some(at) => at,
            None => {
                let noted = job.submitted_at().filter(|_| job.depends_on.is_empty());
                noted.or(first.min()).unwrap_or(job.modify_time)
            }
        };
        let queued = job.state.state_type == JobState::Queued;
        let queued_since = queued.then_some(job.modify_time);
        let Some(mut entry) = JobEntry::new(Arc::clone(&job), stored.next_history_seq, started) else {
            return;
        };
        entry.queued_since = queued_since;
        entry.restore(found);
        entry.retries.rest_no_longer(now);
        entry.previous = stored.previous.map(Arc::new);
        // What a rolling update has still to replace holds what its own version asked for.
        let request = |job: &Job| Some((job.version, job.task()?.resources.parse().ok()?));
        entry.old.set_reserved(&stored.replaced.iter().filter_map(request).collect());
        let settings = &self.settings;
        for set in [&mut entry.live, &mut entry.old] {
            set.set_tells_progress(|node_id| self.nodes.tells_progress(node_id));
            set.set_deadlines(|live| evaluate::deadline(settings, live, &job, now));
        }
        for live in entry.all_live() {
            let execution = &live.execution;
            self.owner.insert(execution.id.clone(), job.id.clone());
            self.nodes.reserve(execution, &live.reserved, entry.stay(execution));
        }
        self.names.insert((job.namespace.clone(), job.name.clone()), job.id.clone());
        self.related.note(&job);
        self.timers.set(Due::Job(job.id.clone()), Some(now));
        self.jobs.insert(job.id.clone(), Box::new(entry));
    }
}
