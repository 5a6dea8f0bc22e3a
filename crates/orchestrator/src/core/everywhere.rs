//! Ops and daemon jobs: one execution on every matching node.

use super::Core;
use super::backoff::Slot;
use super::end::Cause;
use super::entry::JobEntry;
use super::evaluate::shortage_event;
use super::io::Output;
use super::record::{self, scheduling};
use super::{place, suitable};
use bacalhau_model::execution::DesiredState;
use bacalhau_model::{Connection, JobState, Membership};

impl Core {
    /// Places executions on nodes that want one, takes daemons off nodes that do not match any more, and completes,
    /// queues or fails an ops job.
    pub(crate) fn evaluate_all_nodes<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        let daemon = entry.job_type.is_long_running();
        if daemon {
            self.leave_mismatched_nodes(entry, now, out);
        }
        // An ops job goes on on the other nodes, with or without a policy, and fails when all have ended.
        if daemon && self.fail_when_exhausted(entry, now, out) {
            return;
        }
        let (with_room, without_room): (Vec<_>, Vec<_>) = self
            .wanted_nodes(entry)
            .into_iter()
            .partition(|id| self.nodes.has_room_for(entry, id, self.settings.oversubscription));
        if !with_room.is_empty() {
            record::running(entry, now, out);
        }
        for node_id in &with_room {
            self.create_execution(entry, 0, node_id, DesiredState::Running, now, out);
        }
        if !without_room.is_empty() || daemon {
            self.wait(entry, now);
            return;
        }
        if entry.used.is_empty() {
            self.no_node_matches(entry, now, out);
            return;
        }
        if entry.live.is_empty() && self.lost_node_may_return(entry) {
            if entry.queued_since.is_none() {
                record::job_event(
                    entry,
                    scheduling("Waiting for a node that was lost to come back", now),
                    now,
                    out,
                );
            }
            self.wait(entry, now);
            return;
        }
        self.stop_waiting(entry);
        if !entry.live.is_empty() || entry.retries.next_due().is_some() {
            return;
        }
        if entry.retries.any_failing() || entry.completed == 0 {
            let event = scheduling("Job failed because one or more executions failed", now);
            self.fail_job(entry, event, now, out);
        } else {
            self.complete_job(entry, now, out);
        }
    }

    /// Nodes that may get work now, suit the job and want an execution of it, by ID.
    pub(crate) fn wanted_nodes(&mut self, entry: &JobEntry) -> Vec<String> {
        let matching = self.nodes.matching(entry).into_iter().map(|n| n.state.info.node_id.clone());
        matching.filter(|id| wants_execution(entry, id)).collect()
    }

    /// An ops job that no node matches waits as long as it may, then fails.
    fn no_node_matches<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        let shortage = place::explain(entry, &mut self.nodes, &self.settings, &[]);
        if self.may_wait(entry, now) {
            if entry.job.state.state_type != JobState::Queued {
                self.enter_queue(entry, &shortage, now, out);
            }
            self.wait(entry, now);
        } else if self.node_may_return(entry) {
            self.wait(entry, now);
        } else {
            let event = shortage_event(entry, &shortage, now);
            self.fail_job(entry, event, now, out);
        }
    }

    /// True when a node that was lost with the job's work on it may come back and go on.
    fn lost_node_may_return(&self, entry: &JobEntry) -> bool {
        self.nodes.iter().any(|n| {
            let id = &n.state.info.node_id;
            let is_away = n.lose_work_at.is_some() || n.gone_at.is_some();
            is_away
                && n.state.membership == Membership::Approved
                && n.state.drain.is_none()
                && entry.used.contains(id)
                && entry.retries.is_failing(&Slot::Node(id.clone()))
        })
    }

    /// A daemon leaves nodes whose labels, or whatever else it asks for, changed so that it would not be placed there.
    fn leave_mismatched_nodes<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        let leaving: Vec<String> = entry
            .all_live()
            .filter(|live| {
                let node = self.nodes.get(&live.execution.node_id);
                node.is_some_and(|n| {
                    n.state.connection_state.status == Connection::Connected
                        && suitable::unsuitable(entry, n).is_some()
                })
            })
            .map(|live| live.execution.id.clone())
            .collect();
        for id in leaving {
            self.stop_execution(entry, &id, Cause::NodeMismatch, now, out);
        }
    }
}

/// True when the job wants an execution on the node now. An ops job runs once on each node, or as often as its policy
/// allows while it fails; a daemon whenever it does not run or rest.
pub(crate) fn wants_execution(entry: &JobEntry, node_id: &str) -> bool {
    let slot = Slot::Node(node_id.to_owned());
    if entry.retries.is_resting(&slot) || entry.live_on(node_id) > 0 {
        return false;
    }
    entry.job_type.is_long_running()
        || !entry.used.contains(node_id)
        || (entry.retries.is_failing(&slot) && entry.retries.may_try(&slot))
}
