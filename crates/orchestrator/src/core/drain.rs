//! Operators take nodes out of service and put them back: cordon, uncordon, drain.
//!
//! A cordoned node gets no new work. A drained one is cordoned and gets empty: services, daemons and work that has not
//! started leave at once, batch and ops executions may finish until a deadline.

use super::Core;
use super::end::Cause;
use super::io::Output;
use super::live::Live;
use bacalhau_model::{Drain, Error, Time};
use bacalhau_store::orchestrator::Change;

impl Core {
    /// No new work for the node, or new work again; the latter ends a drain.
    pub(crate) fn set_cordoned<T>(
        &mut self,
        node_id: &str,
        cordoned: bool,
        out: &mut Output<T>,
    ) -> Result<(), Error> {
        let Some(node) = self.nodes.get_mut(node_id) else { return Ok(()) };
        if node.state.cordoned == cordoned && (cordoned || node.state.drain.is_none()) {
            let what = if cordoned { "cordoned" } else { "schedulable" };
            return Err(Error::new("ConflictNodeState", format!("node {node_id} already {what}"))
                .component("NodesManager")
                .status(409));
        }
        node.state.cordoned = cordoned;
        if !cordoned {
            node.state.drain = None;
            self.draining.remove(node_id);
        }
        out.changes.push(Change::PutNode(node.state.clone()));
        self.set_node_timer(node_id);
        if !cordoned {
            self.wake_for_node(node_id);
        }
        Ok(())
    }

    /// Empties the node until `deadline` (nanoseconds since 1970). A second drain sets a new deadline.
    pub(crate) fn drain<T>(&mut self, now: i64, node_id: &str, deadline: i64, out: &mut Output<T>) {
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        node.state.cordoned = true;
        let started = node.state.drain.as_ref().filter(|d| d.finished.is_none()).map(|d| d.started);
        node.state.drain = Some(Drain {
            started: started.unwrap_or_else(|| Time::from_unix_nanos(now)),
            deadline: Time::from_unix_nanos(deadline),
            // Not what it is, so that the first count is stored.
            remaining: usize::MAX,
            finished: None,
        });
        self.draining.insert(node_id.to_owned());
        self.move_away(now, node_id, deadline <= now, out);
    }

    /// The deadline of a drain came: what is left goes too.
    pub(crate) fn drain_due<T>(&mut self, now: i64, node_id: &str, out: &mut Output<T>) {
        let drain = self.nodes.get(node_id).and_then(|node| node.state.drain.as_ref());
        if drain.is_some_and(|d| d.deadline.unix_nanos() <= now) {
            self.move_away(now, node_id, true, out);
        }
    }

    /// Stops what may not finish on the node. Its partitions are placed elsewhere in the same step.
    fn move_away<T>(&mut self, now: i64, node_id: &str, all: bool, out: &mut Output<T>) {
        let Some(node) = self.nodes.get(node_id) else { return };
        for (job_id, execution_id) in node.executions.to_vec() {
            let Some(mut entry) = self.jobs.remove(&job_id) else { continue };
            let started = entry.get_live(&execution_id).is_some_and(Live::is_approved);
            if all || !started || entry.job_type.is_long_running() {
                self.stop_execution(&mut entry, &execution_id, Cause::NodeDrained, now, out);
                self.dirty.insert(job_id.clone());
            }
            self.jobs.insert(job_id, entry);
        }
    }

    /// Writes down how far the drains are. Called at the end of each step.
    pub(crate) fn count_drains<T>(&mut self, now: i64, out: &mut Output<T>) {
        for node_id in self.draining.clone() {
            let Some(node) = self.nodes.get_mut(&node_id) else {
                self.draining.remove(&node_id);
                continue;
            };
            let remaining = node.executions.len();
            let Some(drain) = node.state.drain.as_mut().filter(|d| d.remaining != remaining) else {
                continue;
            };
            drain.remaining = remaining;
            if remaining == 0 {
                drain.finished = Some(Time::from_unix_nanos(now));
                self.draining.remove(&node_id);
            }
            out.changes.push(Change::PutNode(node.state.clone()));
            self.set_node_timer(&node_id);
        }
    }
}
