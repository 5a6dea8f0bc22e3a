//! Jobs that run on all nodes, node by node: what happens on one node is no reason to look at all others.
//!
//! A daemon is looked at as a whole when it is new, changed or being rolled out; after that only the nodes are visited
//! on which something happened. An ops job is looked at as a whole again when that may change anything for it: most of
//! what happens, and that its nodes come back one after the other, does not.

use super::Core;
use super::end::Cause;
use super::entry::JobEntry;
use super::everywhere::wants_execution;
use super::io::Output;
use super::{depends, record, suitable};
use bacalhau_model::execution::DesiredState;
use bacalhau_model::{Connection, JobType};
use std::collections::BTreeSet;

impl Core {
    /// Something happened to a node, or to an execution of the job on it: the job is looked at before the step ends.
    pub(crate) fn look_at_node(&mut self, job_id: &str, node_id: &str) {
        if self.is_visited(job_id) {
            self.visits.entry(job_id.to_owned()).or_default().insert(node_id.to_owned());
        } else {
            self.dirty.insert(job_id.to_owned());
        }
    }

    /// Something is due for the job.
    pub(crate) fn look_at_due(&mut self, job_id: String) {
        let is_daemon = self.jobs.get(&job_id).is_some_and(|entry| entry.job_type == JobType::Daemon);
        if is_daemon && self.is_visited(&job_id) {
            self.visits.entry(job_id).or_default();
        } else {
            self.dirty.insert(job_id);
        }
    }

    /// True for a job on all nodes that was looked at as a whole, is not being rolled out and waits for no other job.
    fn is_visited(&self, job_id: &str) -> bool {
        let entry = self.jobs.get(job_id);
        let settled = entry
            .is_some_and(|e| e.job_type.is_on_all_nodes() && e.previous.is_none() && !depends::waits(&e.job));
        settled && self.everywhere.contains(job_id)
    }

    /// Looks at a job on some nodes; at a daemon also on those where it has rested for long enough.
    pub(crate) fn visit<T>(
        &mut self,
        now: i64,
        job_id: &str,
        mut nodes: BTreeSet<String>,
        out: &mut Output<T>,
    ) {
        let Some(mut entry) = self.jobs.remove(job_id) else { return };
        if entry.job_type == JobType::Ops && !entry.job.is_terminal() {
            let goes_on = self.goes_on(&entry, &nodes);
            if goes_on {
                self.set_timer(&entry, now);
            }
            self.jobs.insert(job_id.to_owned(), entry);
            if !goes_on {
                self.evaluate(now, job_id, out);
            }
            return;
        }
        if !entry.job.is_terminal() && !self.fail_when_exhausted(&mut entry, now, out) {
            nodes.extend(entry.wake_rested(now));
            for node_id in nodes {
                self.visit_node(&mut entry, &node_id, now, out);
            }
            self.wait(&mut entry, now);
            self.watch_crash_loop(&mut entry, now, out);
            self.set_timer(&entry, now);
        }
        self.jobs.insert(job_id.to_owned(), entry);
    }

    /// True when an ops job has executions to wait for, and there is nothing to do for it on these nodes.
    fn goes_on(&self, entry: &JobEntry, nodes: &BTreeSet<String>) -> bool {
        let wants = |node_id: &String| {
            let node = self.nodes.get(node_id);
            wants_execution(entry, node_id)
                && node.is_some_and(|node| suitable::unsuitable_in_brief(entry, node).is_none())
        };
        !entry.live.is_empty()
            && !self.waiting.contains(&entry.job.id)
            && entry.retries.exhausted().is_none()
            && !nodes.iter().any(wants)
    }

    fn visit_node<T>(&mut self, entry: &mut JobEntry, node_id: &str, now: i64, out: &mut Output<T>) {
        let Some(node) = self.nodes.get(node_id) else { return };
        let suits = suitable::unsuitable(entry, node).is_none();
        if entry.live_on(node_id) > 0 {
            if !suits && node.state.connection_state.status == Connection::Connected {
                let of_job: Vec<String> = node.executions.of_job(&entry.job.id).map(str::to_owned).collect();
                for id in of_job {
                    self.stop_execution(entry, &id, Cause::NodeMismatch, now, out);
                }
            }
            return;
        }
        let takes_work = suits && node.state.is_schedulable();
        if takes_work
            && wants_execution(entry, node_id)
            && self.nodes.has_room_for(entry, node_id, self.settings.oversubscription)
        {
            record::running(entry, now, out);
            self.create_execution(entry, 0, node_id, DesiredState::Running, now, out);
        }
    }
}
