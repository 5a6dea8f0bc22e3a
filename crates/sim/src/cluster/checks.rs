//! What must hold between two events, where the orchestrator and its nodes are compared.

use super::Cluster;
use crate::faults::Host;
use crate::invariants::{Violation, broken};
use bacalhau_store::compute::PendingReport;
use bacalhau_store::orchestrator::PendingMessage;

impl Cluster {
    /// D2: what a node acknowledged is on its disk.
    pub(super) fn check_messages(&mut self) -> Result<(), Violation> {
        for (node_id, (id, kind)) in std::mem::take(&mut self.orchestrator.acknowledged) {
            let node = self.nodes.iter().find(|node| node.id == node_id);
            let record = node.and_then(|node| node.disk.executions.get(&id));
            let runs = record.is_some_and(|(e, _, _)| e.compute_state.state_type.is_executing());
            if kind == PendingMessage::CancelExecution && runs {
                return broken("D2", format!("{node_id} acknowledged the end of {id} and would run it"));
            }
        }
        Ok(())
    }

    /// D1: what the orchestrator acknowledged is on its disk.
    pub(super) fn check_reports(&mut self, n: usize) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(n) else { return Ok(()) };
        for (id, kind) in std::mem::take(&mut node.acknowledged) {
            let record = self.orchestrator.disk.execution(&id);
            let open = record.map(|(e, _)| e).filter(|e| !e.is_terminal());
            let ends = !matches!(kind, PendingReport::BidResult | PendingReport::Progress);
            if let Some(e) = open.filter(|_| ends) {
                let state = e.compute_state.state_type;
                return broken("D1", format!("{kind:?} of {id} was acknowledged, it is stored as {state}"));
            }
        }
        Ok(())
    }

    /// What must hold between two events.
    pub(super) fn check(&mut self, host: Host) -> Result<(), Violation> {
        match host {
            Host::Orchestrator => {
                if self.orchestrator.is_quiet() && self.random.u32(0..64) == 0 {
                    self.report.restarts_compared += 1;
                    self.orchestrator.check_restart(self.now)?;
                }
                Ok(())
            }
            Host::Node(n) => {
                let Some(node) = self.nodes.get(n) else { return Ok(()) };
                node.check()?;
                node.told_to_run().try_for_each(|execution| self.wanted(&node.id, &execution.id))
            }
        }
    }

    /// N2 for one execution.
    fn wanted(&self, node: &str, id: &str) -> Result<(), Violation> {
        match self.orchestrator.disk.execution(id) {
            None => broken("N2", format!("{node} runs {id}, which was never stored")),
            Some((execution, pending))
                if execution.is_terminal() && *pending != Some(PendingMessage::CancelExecution) =>
            {
                let state = execution.compute_state.state_type;
                broken("N2", format!("{node} runs {id}, which is {state}, and nobody will tell it to stop"))
            }
            Some(_) => Ok(()),
        }
    }
}
