//! Nodes come, live, change and go.

use super::Core;
use super::end::Cause;
use super::io::{Effect, Handshake, NodeAction, Output, Reply};
use super::node::{self, NodeEntry};
use super::timers::Due;
use bacalhau_model::execution::{ComputeState, Execution};
use bacalhau_model::node::protocol;
use bacalhau_model::{Connection, Error, JobType, Membership, NodeInfo, Resources, Time};
use bacalhau_store::orchestrator::{Change, PendingMessage};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Core {
    pub(crate) fn handshake<T>(&mut self, now: i64, info: NodeInfo, token: T, out: &mut Output<T>) {
        let known = self.nodes.get(&info.node_id);
        if !node::is_compute(&info) {
            out.reply(token, Reply::Handshake(refused("node is not a compute node")));
            return;
        }
        if known.is_some_and(|n| n.state.membership == Membership::Rejected) {
            out.reply(token, Reply::Handshake(refused("node has been rejected")));
            // It had the time since its last heartbeat to take what it was told to stop.
            self.cut_line(&info.node_id, out);
            return;
        }
        let node_id = info.node_id.clone();
        let progress = protocol::EXECUTION_PROGRESS;
        let protocols: Vec<String> = info.speaks(progress).then(|| progress.to_owned()).into_iter().collect();
        let reason = if known.is_some() { "node reconnected" } else { "node registered" };
        if known.is_none() {
            let state = node::first_seen(info.clone(), self.settings.manual_approval);
            self.nodes.insert(NodeEntry::new(state));
        }
        let Some(node) = self.nodes.get_mut(&node_id) else { return };
        node.state.info = info;
        (node.lose_work_at, node.gone_at) = (None, None);
        node.silent_at = Some(now.saturating_add(self.settings.disconnect_timeout));
        node::connect(&mut node.state, now);
        let last_compute_seq = node.state.connection_state.last_compute_seq_num;
        out.changes.push(Change::PutNode(node.state.clone()));
        self.set_node_timer(&node_id);
        let answer = Handshake { accepted: true, reason: reason.to_owned(), last_compute_seq, protocols };
        // The answer leaves before the first message: a Go node takes its sequence number from it.
        out.reply(token, Reply::Handshake(answer));
        out.effects.push(Effect::NodeUp(node_id.clone()));
        self.adopt_lost(now, &node_id, out);
        self.resend(now, &node_id, out);
        self.wake_for_node(&node_id);
    }

    /// Sends the present wish about every execution of the node again. A node that has it already does nothing;
    /// one that lost its disk learns, or says, that it does not have it.
    fn resend<T>(&mut self, now: i64, node_id: &str, out: &mut Output<T>) {
        let pairs: Vec<(String, String)> =
            self.nodes.get(node_id).map(|n| n.executions.to_vec()).unwrap_or_default();
        let mut messages: Vec<(i64, String, PendingMessage)> = Vec::new();
        let tells_progress = self.nodes.tells_progress(node_id);
        for (job_id, execution_id) in pairs {
            let Some(entry) = self.jobs.get_mut(&job_id) else { continue };
            let job = Arc::clone(&entry.job);
            let job_type = entry.job_type;
            let Some(live) = entry.live_mut(&execution_id) else { continue };
            let told_before = std::mem::replace(&mut live.tells_progress, tells_progress);
            // The time that the node was away does not count against its answer.
            let anew = super::evaluate::deadline(&self.settings, live, &job, now);
            let deadline = if told_before == tells_progress { anew.max(live.deadline()) } else { anew };
            let created = live.execution.create_time;
            let wish = wish(&live.execution, job_type);
            entry.set_deadline(&execution_id, deadline);
            messages.extend(wish.map(|kind| (created, execution_id, kind)));
            self.look_at_node(&job_id, node_id);
        }
        let cancels = self.cancelled.on_node(node_id).map(|c| &c.execution);
        messages.extend(cancels.map(|e| (e.create_time, e.id.clone(), PendingMessage::CancelExecution)));
        messages.sort();
        for (_, execution_id, kind) in messages {
            out.effects.push(Effect::Send { node_id: node_id.to_owned(), execution_id, kind });
        }
    }

    pub(crate) fn heartbeat<T>(
        &mut self,
        now: i64,
        node_id: &str,
        (available, queued): (Resources, Resources),
        last_orchestrator_seq: u64,
        token: T,
        out: &mut Output<T>,
    ) {
        let node = self.nodes.get_mut(node_id);
        let Some(node) = node.filter(|n| n.state.connection_state.status == Connection::Connected) else {
            out.reply(token, Reply::Heartbeat(Err(handshake_required(node_id))));
            return;
        };
        let link = &mut node.state.connection_state;
        link.last_heartbeat = Time::from_unix_nanos(now);
        link.last_orchestrator_seq_num = last_orchestrator_seq;
        node.state.info.compute_node_info.available_capacity = available;
        node.state.info.compute_node_info.queue_capacity = queued;
        let last = node.state.connection_state.last_compute_seq_num;
        node.silent_at = Some(now.saturating_add(self.settings.disconnect_timeout));
        self.set_node_timer(node_id);
        out.reply(token, Reply::Heartbeat(Ok(last)));
    }

    pub(crate) fn update_node_info<T>(&mut self, info: NodeInfo, token: T, out: &mut Output<T>) {
        let answer = match self.nodes.get_mut(&info.node_id) {
            Some(node) if node::is_compute(&info) => {
                let node_id = info.node_id.clone();
                node.state.info = info;
                out.changes.push(Change::PutNode(node.state.clone()));
                self.wake_for_node(&node_id);
                Handshake { accepted: true, ..refused("") }
            }
            Some(_) => refused("node is not a compute node"),
            None => refused("node not yet registered - handshake required"),
        };
        out.reply(token, Reply::Handshake(answer));
    }

    pub(crate) fn shutdown_notice<T>(
        &mut self,
        now: i64,
        node_id: &str,
        tasks_go_on: &[String],
        token: T,
        out: &mut Output<T>,
    ) {
        let patience = if tasks_go_on.is_empty() { 0 } else { self.settings.disconnect_timeout };
        let last = self.nodes.get(node_id).map(|n| n.state.connection_state.last_compute_seq_num);
        if last.is_some() {
            let times = (now.saturating_add(patience), self.gone_after(now));
            self.go_offline(now, node_id, "graceful shutdown", times, out);
            if patience > 0 {
                let go_on: BTreeSet<&str> = tasks_go_on.iter().map(String::as_str).collect();
                self.lose_executions(now, node_id, |id| !go_on.contains(id), out);
            }
        }
        out.reply(token, Reply::Heartbeat(last.ok_or_else(|| handshake_required(node_id))));
    }

    pub(crate) fn connection_lost<T>(&mut self, now: i64, node_id: &str, out: &mut Output<T>) {
        let times = (now.saturating_add(self.grace(now)), self.gone_after(now));
        self.go_offline(now, node_id, "connection lost", times, out);
        if self.nodes.get(node_id).is_some_and(|node| node.state.membership == Membership::Rejected) {
            self.cut_line(node_id, out);
        }
    }

    /// The node gets no new work; what it has is given up at `lose_at` unless it is back by then. A job that nothing else
    /// can take waits for it until `gone_at`.
    fn go_offline<T>(
        &mut self,
        now: i64,
        node_id: &str,
        why: &str,
        (lose_at, gone_at): (i64, i64),
        out: &mut Output<T>,
    ) {
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        if node.state.connection_state.status != Connection::Connected {
            return;
        }
        node::disconnect(&mut node.state, now, why);
        node.lose_work_at = Some(lose_at);
        node.gone_at = Some(gone_at).filter(|at| *at > now);
        out.changes.push(Change::PutNode(node.state.clone()));
        if node.state.membership == Membership::Rejected {
            // It is still told to stop what it runs. Its line is cut when it goes, at its next handshake, which its next
            // heartbeat makes it try, or when it is silent.
            node.silent_at = Some(now.saturating_add(self.settings.disconnect_timeout));
        } else {
            self.cut_line(node_id, out);
        }
        self.set_node_timer(node_id);
        if lose_at <= now {
            self.lose_work(now, node_id, out);
        }
    }

    /// Nothing is sent to the node any more.
    fn cut_line<T>(&mut self, node_id: &str, out: &mut Output<T>) {
        if let Some(node) = self.nodes.get_mut(node_id) {
            node.silent_at = None;
        }
        out.effects.push(Effect::NodeDown(node_id.to_owned()));
    }

    /// A node's timer: no heartbeat for too long, no return in time, or a drain is over.
    pub(crate) fn node_due<T>(&mut self, now: i64, node_id: &str, out: &mut Output<T>) {
        let Some(node) = self.nodes.get(node_id) else { return };
        let is_over = |at: Option<i64>| at.is_some_and(|at| at <= now);
        let connected = node.state.connection_state.status == Connection::Connected;
        if is_over(node.silent_at) && !connected {
            self.cut_line(node_id, out);
        } else if is_over(node.silent_at) {
            // Nobody has waited for less than the whole time.
            self.go_offline(now, node_id, "heartbeat timeout", (now, now), out);
        } else if is_over(node.lose_work_at) {
            self.lose_work(now, node_id, out);
        }
        self.wait_no_longer(now, node_id);
        self.drain_due(now, node_id, out);
        self.set_node_timer(node_id);
    }

    fn gone_after(&self, now: i64) -> i64 {
        now.saturating_add(self.settings.disconnect_timeout)
    }

    /// Jobs that waited for this node to come back look elsewhere or fail now.
    fn wait_no_longer(&mut self, now: i64, node_id: &str) {
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        if node.gone_at.is_some_and(|at| at <= now) {
            node.gone_at = None;
            self.look_at_impatient();
        }
    }

    /// Jobs that wait only because something may change soon. Those that have executions wait for them.
    fn look_at_impatient(&mut self) {
        let idle = |id: &String| self.jobs.get(id).is_some_and(|entry| entry.all_live().next().is_none());
        self.dirty.extend(self.waiting.impatient().filter(idle));
    }

    /// One timer per node: the earliest of everything that can become due.
    pub(crate) fn set_node_timer(&mut self, node_id: &str) {
        let due = self.nodes.get(node_id).and_then(NodeEntry::due);
        self.timers.set(Due::Node(node_id.to_owned()), due);
    }

    /// Gives up everything the node was doing. It is told so when it returns.
    fn lose_work<T>(&mut self, now: i64, node_id: &str, out: &mut Output<T>) {
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        node.lose_work_at = None;
        self.lose_executions(now, node_id, |_| true, out);
    }

    fn lose_executions<T>(
        &mut self,
        now: i64,
        node_id: &str,
        which: impl Fn(&str) -> bool,
        out: &mut Output<T>,
    ) {
        let Some(node) = self.nodes.get(node_id) else { return };
        let cause = match node.state.membership {
            Membership::Rejected => Cause::NodeRejected,
            _ => Cause::NodeLost,
        };
        for (job_id, execution_id) in node.executions.to_vec() {
            if !which(&execution_id) {
                continue;
            }
            if let Some(mut entry) = self.jobs.remove(&job_id) {
                self.stop_execution(&mut entry, &execution_id, cause, now, out);
                self.jobs.insert(job_id.clone(), entry);
                self.look_at_node(&job_id, node_id);
            }
        }
        self.look_at_impatient();
        self.wake_for_node(node_id);
    }

    pub(crate) fn update_node<T>(
        &mut self,
        now: i64,
        node_id: &str,
        action: NodeAction,
        out: &mut Output<T>,
    ) -> Result<(), Error> {
        let Some(node) = self.nodes.get_mut(node_id) else {
            return Err(
                Error::new("NotFound", format!("node not found: {node_id}")).component("NodesManager")
            );
        };
        if node.state.membership == Membership::Pending && action.needs_member() {
            return Err(Error::new("ConflictNodeState", format!("node {node_id} is not approved yet"))
                .component("NodesManager")
                .status(409)
                .hint(format!("Approve it first: bacalhau node approve {node_id}")));
        }
        let conflict = |what: &str| {
            Error::new("ConflictNodeState", format!("node {node_id} already {what}"))
                .component("NodesManager")
                .status(409)
        };
        match (action, node.state.membership) {
            (NodeAction::Approve, Membership::Approved) => return Err(conflict("approved")),
            (NodeAction::Reject, Membership::Rejected) => return Err(conflict("rejected")),
            (NodeAction::Approve, _) => {
                node.state.membership = Membership::Approved;
                out.changes.push(Change::PutNode(node.state.clone()));
                if node.state.connection_state.status != Connection::Connected {
                    self.cut_line(node_id, out);
                }
                self.wake_for_node(node_id);
            }
            (NodeAction::Reject, _) => {
                node.state.membership = Membership::Rejected;
                out.changes.push(Change::PutNode(node.state.clone()));
                self.go_offline(now, node_id, "node rejected", (now, now), out);
                self.look_at_impatient();
            }
            (NodeAction::Cordon, _) => return self.set_cordoned(node_id, true, out),
            (NodeAction::Uncordon, _) => return self.set_cordoned(node_id, false, out),
            (NodeAction::Drain { deadline }, _) => {
                self.drain(now, node_id, now.saturating_add(deadline), out)
            }
            (NodeAction::Delete, _) => {
                self.go_offline(now, node_id, "node deleted", (now, now), out);
                self.lose_work(now, node_id, out);
                self.nodes.remove(node_id);
                self.timers.set(Due::Node(node_id.to_owned()), None);
                out.changes.push(Change::DeleteNode(node_id.to_owned()));
            }
        }
        Ok(())
    }

    /// A node changed: waiting jobs, and jobs that run on all nodes, look at it again.
    pub(crate) fn wake_for_node(&mut self, node_id: &str) {
        self.wake = true;
        for job_id in self.everywhere.iter().cloned().collect::<Vec<_>>() {
            self.look_at_node(&job_id, node_id);
        }
    }
}

/// The message that says what the orchestrator wants of a live execution.
fn wish(execution: &Execution, job_type: JobType) -> Option<PendingMessage> {
    let state = execution.compute_state.state_type;
    if is_asked(job_type, state) {
        return Some(PendingMessage::AskForBid);
    }
    state.is_executing().then_some(PendingMessage::BidAccepted)
}

/// True when the ask says what is wanted of the execution. On jobs that run on all nodes it is told to run with the ask,
/// so that is what a node needs that does not know it any more, however far it was.
pub(crate) fn is_asked(job_type: JobType, state: ComputeState) -> bool {
    state == ComputeState::New || (job_type.is_on_all_nodes() && state.is_executing())
}

fn refused(reason: &str) -> Handshake {
    Handshake { accepted: false, reason: reason.to_owned(), last_compute_seq: 0, protocols: Vec::new() }
}

fn handshake_required(node_id: &str) -> Error {
    Error::new("HandshakeRequired", format!("node {node_id} not connected - handshake required"))
        .component("NodesManager")
        .status(428)
        .retryable()
}
