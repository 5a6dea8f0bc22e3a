//! What the orchestrator takes in: commands of users and packets of nodes, turned into inputs of the core.

use super::{Command, OrchestratorHost, Outgoing, Token};
use crate::bugs::Bug;
use crate::network::Packet;
use crate::workload::{self, Action};
use bacalhau_model::Job;
use bacalhau_orchestrator::core::{Core, Input, NodeAction, Reference};
use bacalhau_wire::messages::NodeMessage;
use std::sync::Arc;

impl OrchestratorHost {
    /// Turns a command into an input, with what the core cannot know by itself.
    pub(super) fn input(&mut self, command: Command, outgoing: &mut Outgoing) -> Option<Input<Token>> {
        match command {
            Command::Tick => Some(Input::Tick),
            Command::ConnectionLost(node_id) => Some(Input::ConnectionLost { node_id }),
            Command::User(action) => self.user(*action),
            Command::Packet(node, packet) => self.packet(node, *packet, outgoing),
        }
    }

    fn user(&mut self, action: Action) -> Option<Input<Token>> {
        self.asked += 1;
        let token = Token::User(self.asked);
        match &action {
            Action::Submit(job) | Action::Update(_, job) => self.look_up(|core| core.unknown_to_submit(job)),
            _ => {}
        }
        if let Action::Rerun(n, back) = &action {
            let spec = self.version(*n, *back)?;
            self.look_up(|core| core.unknown_to_rerun(&spec));
        }
        let core = self.core.as_ref()?;
        let unless_held = |id: &str| if core.holds_job(id) { None } else { self.disk.stored(id) };
        let node =
            |n, action| Input::UpdateNode { node_id: workload::node_id(n), action, token: Token::Nobody };
        Some(match action {
            Action::Submit(job) | Action::Update(_, job) => {
                let held = core.job_named(&job.namespace, &job.name).is_some();
                let stored = if held { None } else { self.disk.named(&job.namespace, &job.name) };
                let id_taken = unless_held(&job.id).is_some();
                Input::Submit { job, stored, id_taken, force: false, token }
            }
            Action::Stop(n) => {
                let job_id = workload::job_id(n);
                Input::Stop { stored: unless_held(&job_id), job_id, reason: "user".into(), token }
            }
            Action::Rerun(n, back) => {
                let job_id = workload::job_id(n);
                let spec = self.version(n, back)?;
                Input::Rerun { stored: unless_held(&job_id), job_id, spec, token }
            }
            Action::Forget(n) => {
                let job_id = workload::job_id(n);
                Input::Delete { stored: unless_held(&job_id), job_id, token }
            }
            Action::Tidy => Input::Tidy { found: self.disk.too_much(), token: Token::Nobody },
            Action::Approve(n) => node(n, NodeAction::Approve),
            Action::Reject(n) => node(n, NodeAction::Reject),
            Action::Delete(n) => node(n, NodeAction::Delete),
            Action::Cordon(n) => node(n, NodeAction::Cordon),
            Action::Uncordon(n) => node(n, NodeAction::Uncordon),
            Action::Drain(n, deadline) => node(n, NodeAction::Drain { deadline }),
        })
    }

    /// The spec of a version of the n-th job, counted back from the latest.
    fn version(&self, n: usize, back: u64) -> Option<Arc<Job>> {
        let versions = &self.disk.jobs.get(&workload::job_id(n))?.versions;
        let wanted = versions.last_key_value()?.0.saturating_sub(back).max(1);
        versions.get(&wanted).cloned()
    }

    /// Tells the core what it has to know of jobs that it does not hold.
    pub(super) fn look_up(&mut self, unknown: impl Fn(&Core) -> Vec<Reference>) {
        let Some(core) = &mut self.core else { return };
        loop {
            let wanted = unknown(core);
            if wanted.is_empty() {
                return;
            }
            for reference in wanted {
                let found = self.disk.look_up(&reference);
                core.learn(reference, found);
            }
        }
    }

    fn packet(&mut self, node: String, packet: Packet, outgoing: &mut Outgoing) -> Option<Input<Token>> {
        Some(match packet {
            Packet::Handshake(info) => Input::Handshake { info, token: Token::Node(node) },
            Packet::Info(info) => Input::UpdateNodeInfo { info, token: Token::Info(node) },
            Packet::Goodbye(tasks_go_on) => {
                Input::ShutdownNotice { node_id: node, tasks_go_on, token: Token::Nobody }
            }
            Packet::Heartbeat(available, queued) => Input::Heartbeat {
                node_id: node.clone(),
                available,
                queued,
                last_orchestrator_seq: 0,
                token: Token::Node(node),
            },
            Packet::Report(seq, message) => {
                let token = Token::Ack(node.clone(), seq);
                if self.bug == Some(Bug::ReportsAcknowledgedEarly) {
                    outgoing.push((node.clone(), Packet::ReportAck(seq)));
                }
                let (node_id, message) = self.fenced(node, message);
                Input::Report { node_id, message, seq, token }
            }
            Packet::MessageAck(seq) => {
                let (execution_id, kind) = self.outboxes.get_mut(&node)?.acked(seq)?;
                self.acknowledged.push((node, (execution_id.clone(), kind)));
                Input::Delivered { execution_id, kind }
            }
            _ => return None,
        })
    }

    /// The report as it came; with [`Bug::NoFencing`] in the name of whoever holds the partition now.
    fn fenced(&self, node: String, mut message: NodeMessage) -> (String, NodeMessage) {
        if self.bug != Some(Bug::NoFencing) {
            return (node, message);
        }
        let same_place = |id: &str| {
            let (late, _) = self.disk.execution(id).filter(|(e, _)| e.is_terminal())?;
            let (_, now) = self
                .core
                .as_ref()?
                .live_executions()
                .find(|(job, e)| *job == late.job_id && e.partition_index == late.partition_index)?;
            Some((now.node_id.clone(), now.id.clone()))
        };
        let Some((node_id, id)) = same_place(message.execution_id()) else { return (node, message) };
        match &mut message {
            NodeMessage::BidResult(m) => m.execution_id = id,
            NodeMessage::RunResult(m) => m.execution_id = id,
            NodeMessage::ComputeError(m) => m.execution_id = id,
            NodeMessage::Progress(m) => m.execution_id = id,
        }
        (node_id, message)
    }
}
