//! What leaves the orchestrator once it is on disk: answers, acknowledgements and messages; and what answers promise.

use super::{OrchestratorHost, Outgoing, Token};
use crate::bugs::Bug;
use crate::invariants::{Promise, Violation};
use crate::network::Packet;
use bacalhau_orchestrator::core::{Effect, Input, Reply};
use bacalhau_store::orchestrator::Change;
use bacalhau_wire::delivery::Outbox;

impl OrchestratorHost {
    pub(super) fn effect(
        &mut self,
        local: i64,
        effect: Effect<Token>,
        outgoing: &mut Outgoing,
    ) -> Result<(), Violation> {
        match effect {
            Effect::Reply(Token::User(number), reply) => self.reply(number, &reply)?,
            Effect::Reply(Token::Node(node), Reply::Handshake(answer)) => {
                outgoing.push((node, Packet::HandshakeAnswer(answer.accepted)));
            }
            Effect::Reply(Token::Info(node), Reply::Handshake(answer)) => {
                outgoing.push((node, Packet::InfoAnswer(answer.accepted)));
            }
            Effect::Reply(Token::Node(node), Reply::Heartbeat(answer)) => {
                outgoing.push((node, Packet::HeartbeatAnswer(answer)));
            }
            Effect::Acknowledge(Token::Ack(node, seq)) => outgoing.push((node, Packet::ReportAck(seq))),
            Effect::Send { node_id, execution_id, kind } => {
                if let Some(outbox) = self.outboxes.get_mut(&node_id) {
                    outbox.push((execution_id, kind));
                }
            }
            Effect::NodeUp(node) => {
                let start = u64::try_from(local / 1_000).unwrap_or(0);
                let start = start.max(self.outboxes.get(&node).map_or(0, Outbox::last_seq));
                self.outboxes.insert(node, Outbox::new(start));
            }
            Effect::NodeDown(node) => {
                self.outboxes.remove(&node);
            }
            _ => {}
        }
        Ok(())
    }

    fn reply(&mut self, number: u64, reply: &Reply) -> Result<(), Violation> {
        let promise = self.promises.remove(&number);
        let done = match reply {
            Reply::Submitted(result) => result.is_ok(),
            Reply::Stopped(result) => result.is_ok(),
            Reply::Rerun(result) => result.is_ok(),
            _ => false,
        };
        match promise.filter(|_| done) {
            Some(promise) if self.bug == Some(Bug::EffectsBeforeCommit) => {
                // The user believes it; the disk will tell.
                self.watch.believed(promise);
                Ok(())
            }
            Some(promise) => self.watch.promised(promise, &self.disk),
            None => Ok(()),
        }
    }

    /// Messages that are due, built from the present state; stale ones vanish.
    pub(crate) fn deliver(&mut self, now: i64) -> Outgoing {
        let local = self.clock.read(now);
        let mut outgoing = Vec::new();
        let Some(core) = &self.core else { return outgoing };
        for (node, outbox) in &mut self.outboxes {
            while let Some(attempt) = outbox.poll(local) {
                let message = core.message(&attempt.key.0, attempt.key.1);
                match message {
                    Some(message) => outgoing.push((node.clone(), Packet::Message(attempt.seq, message))),
                    None => {
                        outbox.acked(attempt.seq);
                    }
                }
            }
        }
        outgoing
    }
}

/// The number of what a user asked for, the job, and whether it was a stop.
pub(super) fn asked(input: &Input<Token>) -> Option<(u64, String, bool)> {
    match input {
        Input::Stop { token: Token::User(number), job_id, .. } => Some((*number, job_id.clone(), true)),
        Input::Rerun { token: Token::User(number), job_id, .. } => Some((*number, job_id.clone(), false)),
        Input::Submit { token: Token::User(number), job, .. } => Some((*number, job.id.clone(), false)),
        _ => None,
    }
}

/// What the answer to a user will promise, by what the step stores.
pub(super) fn promise(changes: &[Change], job_id: &str, stopped: bool) -> Option<Promise> {
    changes.iter().find_map(|change| match change {
        Change::PutJob(job) if job.id == job_id && (!stopped || job.is_terminal()) => {
            Some(Promise { job_id: job.id.clone(), version: job.version, stopped })
        }
        _ => None,
    })
}
