//! Whether a fixed port of the host that a job asks for is taken by another execution of this node.
//!
//! Only the executor can tell what other programs of the machine listen on; it looks when the execution starts.

use super::{Core, Slot};
use bacalhau_model::{Execution, NetworkType};

/// The fixed ports of the host that an execution asks for.
fn static_ports(execution: &Execution) -> impl Iterator<Item = i64> {
    let network = execution.job.as_ref().and_then(|job| job.task()).and_then(|task| task.network.as_ref());
    let network =
        network.filter(|n| matches!(n.r#type, NetworkType::Host | NetworkType::Full | NetworkType::Bridge));
    network.into_iter().flat_map(|network| &network.ports).map(|port| port.r#static).filter(|port| *port > 0)
}

impl Core {
    /// The text of a refused bid if another execution that is not over has a fixed port of this one. Executions that were
    /// told to stop do not count: their ports will be free before long, and the executor waits for them.
    pub(super) fn taken_port(&self, asking: &Slot) -> Option<String> {
        static_ports(&asking.execution).find_map(|port| {
            let has_it = |slot: &&Slot| {
                let live = !slot.state().is_terminal() && slot.is_wanted();
                live && slot.execution.id != asking.execution.id
                    && static_ports(&slot.execution).any(|p| p == port)
            };
            let other = self.slots.values().find(has_it)?;
            Some(format!(
                "rejected bid: this node does not have port {port} free: execution {} has it",
                other.execution.id
            ))
        })
    }
}

impl Slot {
    /// The node has offered to run it, or runs it.
    fn is_wanted(&self) -> bool {
        self.state() != bacalhau_model::execution::ComputeState::New
    }
}
