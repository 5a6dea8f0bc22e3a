//! When the orchestrator itself was away: its process was stopped, its machine slept, its clock was set forward.
//!
//! Silence that nobody could hear proves nothing about the nodes. Their deadlines start anew, as after a restart, and
//! their reports that waited meanwhile come first.

use super::timers::Due;
use super::{Core, SECOND, evaluate};
use bacalhau_model::Connection;

/// A step that comes so much later than the core asked for means that it was away. A busy machine is late by much less,
/// and when it is not, the same remedy is right.
const AWAY: i64 = 2 * SECOND;

impl Core {
    /// Called before anything else in a step.
    pub(crate) fn notice_absence(&mut self, now: i64) {
        if self.timers.next().is_none_or(|due| now.saturating_sub(due) <= AWAY) {
            return;
        }
        self.lenient_until = now.saturating_add(self.settings.disconnect_timeout);
        for node in self.nodes.iter_mut() {
            let waits = node.lose_work_at.is_some();
            if waits {
                node.lose_work_at = Some(self.lenient_until);
            }
            if node.gone_at.is_some() {
                node.gone_at = Some(self.lenient_until);
            }
            if node.state.connection_state.status == Connection::Connected {
                node.silent_at = Some(self.lenient_until);
            }
            self.timers.set(Due::Node(node.state.info.node_id.clone()), node.due());
        }
        for entry in self.jobs.values_mut() {
            let (settings, job) = (&self.settings, &entry.job);
            for set in [&mut entry.live, &mut entry.old] {
                set.set_deadlines(|live| evaluate::deadline(settings, live, job, now).max(live.deadline()));
            }
        }
    }

    /// How long the work of a node whose connection broke may wait for it, nanoseconds. After an absence the nodes have
    /// given up their connections too, and may be pausing between two tries.
    pub(crate) fn grace(&self, now: i64) -> i64 {
        let timeout = self.settings.disconnect_timeout;
        if now < self.lenient_until { timeout } else { self.settings.reconnect_grace.min(timeout) }
    }
}
