//! What must hold on a compute node at every step of its.

use super::NodeHost;
use crate::invariants::{Violation, broken};
use bacalhau_model::execution::Execution;
use bacalhau_store::compute::PendingReport;

impl NodeHost {
    /// Executions that it was told to run and that are not being cancelled.
    pub(crate) fn told_to_run(&self) -> impl Iterator<Item = &Execution> {
        let slots = self.core.iter().flat_map(|core| core.slots());
        slots.filter(|slot| slot.state().is_executing()).map(|slot| &slot.execution)
    }

    /// N3 and that no more engines run than the core knows of.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        let Some(core) = self.core.as_ref().filter(|_| self.is_quiet()) else { return Ok(()) };
        let (_, _, running, _) = core.load();
        if self.runs.len() > running {
            return broken(
                "N1",
                format!("{} engines run on {}, {running} are known", self.runs.len(), self.id),
            );
        }
        let in_memory: Vec<String> = core
            .slots()
            .map(|slot| line(&slot.execution, slot.pending.filter(|_| slot.state().is_terminal())))
            .collect();
        let on_disk: Vec<String> = self
            .disk
            .executions
            .values()
            .map(|(execution, pending, _)| line(execution, pending.filter(|_| execution.is_terminal())))
            .collect();
        if in_memory == on_disk {
            return Ok(());
        }
        broken("N3", format!("{} knows {in_memory:?} and stored {on_disk:?}", self.id))
    }
}

/// The acknowledgement of a bid is not stored.
fn line(execution: &Execution, pending: Option<PendingReport>) -> String {
    format!("{} {} {pending:?}", execution.id, execution.compute_state.state_type)
}
